"""Gaussian means by the trapezoidal rule: values of mean-field formulas for a given activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import erf as np_erf
from sympy import Dummy, Expr, Heaviside, Integral, Max, Min, Piecewise, Symbol, erf, pi, sqrt, sympify, tanh

from derivations.compiled import evaluate, function
from derivations.information.gaussian_means import U, with_activation

# 12 deviations and steps of 1/25: up to length 50 the rule is exact to rounding for tanh, erf and powers
NODES = np.linspace(-12.0, 12.0, 601)
WEIGHTS = np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi) * (NODES[1] - NODES[0])
SYMBOLIC: Mapping[str, Expr] = {
    "linear": U,
    "tanh": tanh(U),
    "erf": erf(sqrt(pi) / 2 * U),
    "relu": Piecewise((0, U < 0), (U, True)),
    "hard-tanh": Max(-1, Min(1, U)),
}
BOUNDED = ("tanh", "erf", "hard-tanh")
SLOPES: Mapping[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "linear": (lambda h: h, np.ones_like),
    "tanh": (np.tanh, lambda h: np.cosh(h) ** -2.0),
    "erf": (lambda h: np_erf(np.sqrt(np.pi) / 2 * h), lambda h: np.exp(-np.pi / 4 * h**2)),
}


def value(formula: Any, activation: str, values: Mapping[Symbol, Any]) -> np.ndarray:
    """A formula in phi, phi', phi'' and integrals over the line, at arrays of values, for one activation."""
    if activation not in SYMBOLIC:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join(SYMBOLIC)}")
    expr = with_activation(sympify(formula), SYMBOLIC[activation])
    given = {symbol: np.asarray(number, dtype=float) for symbol, number in values.items()}
    for node in sorted(expr.atoms(Integral), key=str):
        stand_in = Dummy("integral")
        given[stand_in] = _line(node, given)
        expr = expr.xreplace({node: stand_in})
    return evaluate(expr, given)


def _line(node: Integral, values: Mapping[Symbol, np.ndarray]) -> np.ndarray:
    variable = node.limits[0][0]
    integrand = node.function.replace(Heaviside, lambda *args: Heaviside(args[0], sympify(1) / 2))
    used = sorted(integrand.free_symbols - {variable}, key=str)
    columns = [values[symbol][..., None] for symbol in used]
    found = function(integrand, (variable, *used))(NODES, *columns)
    wide = np.broadcast_to(found, np.broadcast_shapes(found.shape, NODES.shape))
    return wide.sum(-1) * (NODES[1] - NODES[0])


def mean_of(f: Callable[[np.ndarray], np.ndarray], q: float) -> float:
    """E f(h) for h normal of variance q."""
    return float(f(np.sqrt(q) * NODES) @ WEIGHTS)


def slope_moments(activation: str, q: float) -> tuple[float, ...]:
    """E phi^2, mu_1, mu_2, mu_3 at length q."""
    phi, slope = SLOPES[activation]
    return (mean_of(lambda h: phi(h) ** 2, q), *(mean_of(lambda h, k=k: slope(h) ** (2 * k), q) for k in (1, 2, 3)))
