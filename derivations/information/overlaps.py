r"""Means of products of activations over two correlated Gaussian pre-activations: the maps behind wide networks.

u and v are normal of variance q and covariance c. Price's theorem d/dc E phi(u) phi(v) = E phi'(u) phi'(v) links the
two means. Closed forms where there are, else the trapezoidal rule, which converges like exp(-2 pi a / h) for functions
analytic in a strip of half-width a.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from sympy import Expr, Integer, Rational, Symbol, acos, asin, diff, pi, sqrt

from derivations.compiled import evaluate
from derivations.decide import Decision, all_of, equal, step
from derivations.information.critical_line import critical_point, second_moment, slope_moment
from derivations.notation import QSTAR

COVARIANCE = Symbol("c", real=True)
CLOSED = ("linear", "relu", "erf")
_REACH, _STEP = 9.0, 0.1


def overlap(activation: str) -> Expr:
    r"""E phi(u) phi(v) as a function of q and c, where there is a closed form; ValueError otherwise.

    >>> overlap("erf").subs(COVARIANCE, 0)
    0
    """
    q, c = QSTAR, COVARIANCE
    forms = {
        "linear": c,
        "relu": (sqrt(q**2 - c**2) + c * (pi - acos(c / q))) / (2 * pi),
        "erf": 2 / pi * asin(pi * c / (2 + pi * q)),
    }
    return _of(forms, activation)


def slope_overlap(activation: str) -> Expr:
    r"""E phi'(u) phi'(v) as a function of q and c, where there is a closed form; ValueError otherwise.

    >>> slope_overlap("relu").subs(COVARIANCE, 0)
    1/4
    """
    q, c = QSTAR, COVARIANCE
    forms = {
        "linear": Integer(1),
        "relu": Rational(1, 2) - acos(c / q) / (2 * pi),
        "erf": 2 / sqrt((2 + pi * q) ** 2 - pi**2 * c**2),
    }
    return _of(forms, activation)


def _of(forms: dict[str, Expr], activation: str) -> Expr:
    if activation not in forms:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join(forms)}")
    return forms[activation]


def is_overlap(activation: str) -> Decision:
    """Whether both means satisfy Price's theorem and meet the moments of one pre-activation at c = q.

    >>> is_overlap("erf").outcome
    'proved'
    """
    value, slope = overlap(activation), slope_overlap(activation)
    return all_of(
        equal(diff(value, COVARIANCE), slope),
        equal(value.subs(COVARIANCE, QSTAR), second_moment(activation)),
        equal(slope.subs(COVARIANCE, QSTAR), slope_moment(activation)),
    ).explain(
        step("The derivative with respect to the covariance is the mean product of slopes", slope),
        step("and at full correlation both are the moments of a single pre-activation."),
    )


def overlaps(activation: str, q: float, c: Any) -> tuple[np.ndarray, np.ndarray]:
    """E phi(u) phi(v) and E phi'(u) phi'(v) at variance q and an array of covariances, float64.

    >>> [round(float(value), 6) for value in overlaps("erf", 1.0, 0.5)]
    [0.197652, 0.408516]
    """
    c = np.clip(np.asarray(c, float), -q, q)
    if activation in CLOSED:
        values = {QSTAR: q, COVARIANCE: c}
        found = (evaluate(form(activation), values) for form in (overlap, slope_overlap))
        value, slope = (np.broadcast_to(one, c.shape) for one in found)
        return value, slope
    return _trapezoid(activation, q, c)


def _trapezoid(activation: str, q: float, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    functions = {"tanh": (np.tanh, lambda h: np.cosh(h) ** -2.0)}
    if activation not in functions:
        raise ValueError(f"activation: {activation!r} given, allowed: {', '.join((*CLOSED, *functions))}")
    act, slope = functions[activation]
    z = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    weight = np.exp(-(z**2) / 2) * _STEP / np.sqrt(2 * np.pi)
    u = np.sqrt(q) * z
    found = []
    for rho in c.ravel() / q:
        v = np.sqrt(q) * (rho * z[:, None] + np.sqrt(1 - rho**2) * z)
        found.append(((weight * act(u)) @ act(v) @ weight, (weight * slope(u)) @ slope(v) @ weight))
    pairs = np.array(found).reshape(*c.shape, 2)
    return pairs[..., 0], pairs[..., 1]


@lru_cache(maxsize=256)
def _course(activation: str, q: float, depth: int, start: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    at, below = critical_point(activation, q), np.array(start)
    products, gains = [below], []
    for _ in range(depth):
        product, slope = overlaps(activation, q, at.sigma_w**2 * below + at.sigma_b**2)
        below = product
        products.append(product)
        gains.append(at.sigma_w**2 * slope)
    return np.array(products[:-1]), np.cumprod(gains[::-1], axis=0)[::-1]


def course(activation: str, q: float, depth: int, start: Any) -> tuple[np.ndarray, np.ndarray]:
    r"""Overlaps E x_i x_j of the inputs of layers 1..L, and products of chi_c from each layer to the last, (L, ...).

    start: x_i . x_j / N_0 of pairs of inputs; the network rests at length q on the critical line.

    >>> [one.shape for one in course("erf", 0.5, 3, [0.1, 0.2])]
    [(3, 2), (3, 2)]
    """
    begin = np.asarray(start, float)
    products, gains = _course(activation, q, depth, tuple(begin.ravel()))
    return products.reshape(depth, *begin.shape), gains.reshape(depth, *begin.shape)
