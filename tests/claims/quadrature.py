"""Gaussian means by the trapezoidal rule: values of mean-field formulas for a given activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
from scipy.special import erf as np_erf
from sympy import Abs, Dummy, Expr, Integral, Max, Min, Symbol, erf, pi, sqrt, sympify, tanh

from derivations.compiled import evaluate, function
from derivations.information.gaussian_means import U, with_activation

# 12 deviations in steps of 1/25, off the kinks at 0: up to length 50 the rule is exact to rounding for tanh and erf
STEP = 0.04
NODES = STEP * (np.arange(-300, 300) + 0.5)
WEIGHTS = np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi) * STEP
SYMBOLIC: Mapping[str, Expr] = {
    "linear": U,
    "tanh": tanh(U),
    "erf": erf(sqrt(pi) / 2 * U),
    "relu": (U + Abs(U)) / 2,
    "hard-tanh": Max(-1, Min(1, U)),
}
BOUNDED = ("tanh", "erf", "hard-tanh")
SLOPES: Mapping[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "linear": (lambda h: h, np.ones_like),
    "relu": (lambda h: np.maximum(h, 0), lambda h: (h > 0).astype(float)),
    "tanh": (np.tanh, lambda h: 1 - np.tanh(h) ** 2),
    "erf": (lambda h: np_erf(np.sqrt(np.pi) / 2 * h), lambda h: np.exp(-np.pi / 4 * h**2)),
}


def value(formula: Any, activation: str, values: Mapping[Symbol, Any]) -> np.ndarray:
    """A formula in phi, phi', phi'' and integrals over the line, at arrays of values, for one activation."""
    if activation not in SYMBOLIC:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join(SYMBOLIC)}")
    expr, nodes = _prepared(sympify(formula), activation)
    given = {symbol: np.asarray(number, dtype=float) for symbol, number in values.items()}
    for stand_in, node in nodes:
        given[stand_in] = _line(node, given)
    return evaluate(expr, given)


def along(
    formula: Any, activation: str, length: Symbol, at: np.ndarray, values: Mapping[Symbol, Any], order: int = 32
) -> np.ndarray:
    """As ``value`` at many lengths: by the polynomial through Chebyshev points in the logarithm of the length.

    Gaussian means of an activation are analytic in the logarithm of the length; over a decade the coefficients fall
    by more than a factor of 3 per order.
    """
    logs = np.log(at)
    ends = float(logs.min()) - 0.01, float(logs.max()) + 0.01

    def exactly(t: np.ndarray) -> np.ndarray:
        return np.broadcast_to(value(formula, activation, {**values, length: np.exp(t)}), t.shape)

    return np.polynomial.Chebyshev.interpolate(exactly, order, ends)(logs)


@lru_cache(maxsize=512)
def _prepared(formula: Expr, activation: str) -> tuple[Expr, tuple[tuple[Dummy, Integral], ...]]:
    """The formula for one activation with a symbol for every integral."""
    expr = with_activation(formula, SYMBOLIC[activation])
    nodes = tuple((Dummy("integral"), node) for node in sorted(expr.atoms(Integral), key=str))
    return expr.xreplace({node: stand_in for stand_in, node in nodes}), nodes


def _line(node: Integral, values: Mapping[Symbol, np.ndarray]) -> np.ndarray:
    variable = node.limits[0][0]
    used = sorted(node.function.free_symbols - {variable}, key=str)
    columns = [values[symbol][..., None] for symbol in used]
    found = function(node.function, (variable, *used))(NODES, *columns)
    wide = np.broadcast_to(found, np.broadcast_shapes(found.shape, NODES.shape))
    return wide.sum(-1) * STEP


def mean_of(f: Callable[[np.ndarray], np.ndarray], q: float) -> float:
    """E f(h) for h normal of variance q."""
    return float(f(np.sqrt(q) * NODES) @ WEIGHTS)


def slope_moments(activation: str, q: float) -> tuple[float, ...]:
    """E phi^2, mu_1, mu_2, mu_3 at length q."""
    phi, slope = SLOPES[activation]
    return (mean_of(lambda h: phi(h) ** 2, q), *(mean_of(lambda h, k=k: slope(h) ** (2 * k), q) for k in (1, 2, 3)))


@lru_cache(maxsize=16)
def precise_tanh_moments(q: str, digits: int = 30) -> tuple[Any, ...]:
    """E tanh^2, mu_1, mu_2, mu_3 at an exact length, in numbers of many digits."""
    with mpmath.workdps(digits):
        root, step = mpmath.sqrt(mpmath.fraction(*map(int, (*q.split("/"), "1")[:2]))), mpmath.mpf(1) / 25
        nodes = [(step * k, step * mpmath.exp(-((step * k) ** 2) / 2)) for k in range(-300, 301)]
        pairs = [(mpmath.tanh(root * h) ** 2, weight) for h, weight in nodes]
        norm = mpmath.sqrt(2 * mpmath.pi)
        square = sum(t * weight for t, weight in pairs) / norm
        return (square, *(sum((1 - t) ** (2 * k) * weight for t, weight in pairs) / norm for k in (1, 2, 3)))
