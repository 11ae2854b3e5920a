r"""Numbers for spectral edges: slopes of an activation as weighted points, and the least value of a curve x(m).

The curve is a formula in m, u, L, sigma_w and g, with m(u) = E[a / (u - a)] of the squared slopes a = phi'^2 <= 1.
Source: B section 2.2, beyond B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import erf as _erf
from sympy import Expr, expand_log, log

from derivations.compiled import function
from derivations.information.free_products import G, M, U
from derivations.notation import LAYERS, SIGMA_W

_PANELS, _NODES, _REACH = 60, 24, 12.0
_GRID = np.geomspace(1e-10, 1e10, 401)


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Squared slopes a = 1 - gaps with weights that add to 1; gaps are kept because they may be tiny."""

    gaps: np.ndarray
    weights: np.ndarray

    def moment(self, k: int) -> float:
        """E a^k."""
        return float(self.weights @ (1 - self.gaps) ** k)

    def function(self, distance: np.ndarray) -> np.ndarray:
        """E[a / (u - a)] at u = 1 + distance, for an array of distances > 0."""
        flat = np.atleast_1d(distance)[:, None]
        return (self.weights * (1 - self.gaps) / (flat + self.gaps)).sum(-1)

    @property
    def relative_variance(self) -> float:
        """mu_2 / mu_1^2 - 1, from the gaps and so without cancellation."""
        mean = float(self.weights @ self.gaps)
        return float(self.weights @ (self.gaps - mean) ** 2) / (1 - mean) ** 2


@dataclass(frozen=True, slots=True)
class Edge:
    """The end of a spectrum: its value, m there, and the scale of the Tracy-Widom law at N = 1.

    With g = (1 + m)/x the law has the scale (x''(g)/2)^{1/3} N^{-2/3} at the edge, and x''(g) = x^2 x''(m).
    """

    value: float
    m: float
    scale: float


@lru_cache(maxsize=256)
def slopes(activation: str, q: float) -> Slopes:
    r"""The squared slopes of h normal of variance q; graded panels resolve the flat top of phi' at small distances.

    >>> round(slopes("erf", 1.0).moment(1) * (1 + np.pi) ** 0.5, 12)
    1.0
    """
    if not q > 0:
        raise ValueError(f"q: {q} given, allowed: q > 0")
    if activation in ("relu", "hard-tanh"):
        share = 0.5 if activation == "relu" else float(_erf(1 / (2 * q) ** 0.5))
        return Slopes(np.array([0.0, 1.0]), np.array([share, 1 - share]))
    ends = np.concatenate([[0.0], np.geomspace(1e-9, _REACH, _PANELS)])
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    h = (ends[:-1, None] + np.diff(ends)[:, None] * (nodes + 1) / 2).ravel()
    weight = (np.diff(ends)[:, None] * weights / 2).ravel() * np.exp(-(h**2) / 2) * (2 / np.pi) ** 0.5
    return Slopes(_gap(activation, q**0.5 * h), weight / weight.sum())


def _gap(activation: str, h: np.ndarray) -> np.ndarray:
    """1 - phi'(h)^2 without cancellation; ValueError for an unknown activation."""
    if activation == "linear":
        return np.zeros_like(h)
    if activation == "erf":
        return -np.expm1(-np.pi * h**2 / 2)
    if activation == "tanh":
        return np.tanh(h) ** 2 * (1 + np.cosh(h) ** -2)
    raise ValueError(f"activation: {activation!r} given, allowed: linear, tanh, erf, relu, hard-tanh")


@lru_cache(maxsize=256)
def _moments_on_grid(of: Slopes) -> np.ndarray:
    return of.function(_GRID)


@lru_cache(maxsize=1024)
def _logarithm(curve: Expr) -> Callable[..., np.ndarray]:
    return function(expand_log(log(curve), force=True), (M, U, LAYERS, SIGMA_W, G))


def least(curve: Expr, of: Slopes, *, depth: int, sigma_w: float, gaussian: bool = False) -> Edge:
    """The least value of the curve over u > 1: a grid over 20 decades of u - 1, then Brent's method around its minimum.

    NaN where the curve has no minimum; a curve that falls towards u = 1 ends there, at the largest slope.
    """
    formula = _logarithm(curve)

    def height(distance: np.ndarray, m: np.ndarray) -> np.ndarray:
        found = formula(m, 1 + distance, depth, sigma_w, gaussian)
        return np.broadcast_to(np.full((), np.nan) if np.iscomplexobj(found) else found, distance.shape)

    heights = height(_GRID, _moments_on_grid(of))
    place = int(np.argmin(np.where(np.isnan(heights), np.inf, heights)))
    if np.isnan(heights[place]) or place == len(_GRID) - 1:
        return Edge(float("nan"), float("nan"), float("nan"))
    if place == 0:
        return Edge(float(np.exp(heights[0])), float("inf"), 0.0)

    def at(t: float) -> float:
        distance = np.exp(np.array([t]))
        return float(height(distance, of.function(distance))[0])

    bracket = (np.log(_GRID[place - 1]), np.log(_GRID[place + 1]))
    best = minimize_scalar(at, bounds=bracket, method="bounded", options={"xatol": 1e-9})
    near = np.exp(best.x + np.array([-0.02, 0.0, 0.02]))
    m = of.function(near)
    value = height(near, m)
    bend = max(2 * np.polyfit(m / m[1] - 1, value - value[1], 2)[0], 0.0) / m[1] ** 2
    edge = float(np.exp(best.fun))
    return Edge(edge, float(m[1]), float((edge**3 * bend / 2) ** (1 / 3)))
