"""Deep tanh networks whose hidden weights lie on a manifold, with gradients of a real loss; no claim of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jvp

from numerics import constraints, manifolds
from numerics.constraints import Curve, Surface
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.frames import normal
from numerics.perceptrons import Perceptron
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption
from tests.checker.evidence import Bound
from tests.claims.settings import sizes

SAMPLES, OUTPUTS, LENGTH = 12, 3, 0.7
SHARES = (0.0, 0.5, 1.0, 1.5, 2.0)
TINY = 1e-12
SURFACES: dict[str, Surface] = {
    "stiefel": constraints.orthonormal_columns(),
    "oblique": constraints.unit_columns(),
    "canonical": constraints.orthonormal_columns(canonical=True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A hidden layer as point w (n, p) of the manifold with tall side up: Euclidean gradient and tangent vectors.

    ``slope`` is the tangent part of the gradient, ``velocity`` the step -slope at a fixed length, ``other`` a random
    tangent vector. ``halves`` are Euclidean gradients of the loss on the first and on the second half of the data.
    """

    w: Tensor
    gradient: Tensor
    halves: tuple[Tensor, Tensor]
    slope: Tensor
    velocity: Tensor
    other: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A network on a manifold with its loss as function of the hidden points, and those points as layers."""

    surface: Surface
    loss: Callable[[tuple[Tensor, ...]], Tensor]
    layers: tuple[Layer, ...]


def _on(surface: Surface) -> Callable[[Subject], bool]:
    return lambda subject: max(constraints.defect(surface, one.w) for one in subject.layers) < TINY


ORTHONORMAL = Assumption(
    "orthonormal columns",
    "the columns of every hidden weight matrix (rows, where it is wide) are orthonormal",
    _on(SURFACES["stiefel"]),
)
UNIT_COLUMNS = Assumption(
    "unit columns", "the columns of every hidden weight matrix have length one", _on(SURFACES["oblique"])
)


@lru_cache(maxsize=64)
def on_manifold(manifold: str, depth: int, widths: str | tuple[int, ...], seed: int) -> Subject:
    """A random tanh network with hidden weights on "stiefel" or "oblique", and a mean squared loss on random data."""
    if manifold not in ("stiefel", "oblique"):
        raise ValueError(f"manifold: {manifold} given, allowed: stiefel, oblique")
    n, draw, surface = sizes(depth, widths), generator(seed), SURFACES[manifold]
    net = perceptron(n, OUTPUTS, draw, ensemble="gaussian", sigma_w=1.5, sigma_b=0.3)
    x, y = gaussian_inputs(n[0], SAMPLES, 1.0, draw), normal((OUTPUTS, SAMPLES), draw)
    wide = tuple(manifold == "stiefel" and w.shape[0] < w.shape[1] for w in net.weights)
    points = tuple(_placed(w.mT if flip else w, manifold) for w, flip in zip(net.weights, wide, strict=True))
    if any(len(w) == 1 for w in points):
        raise ValueError(f"widths: {n} given, allowed: no layer of a single row, which has no tangent direction")

    def loss(at: tuple[Tensor, ...], part: slice = slice(None)) -> Tensor:
        weights = tuple(w.mT if flip else w for w, flip in zip(at, wide, strict=True))
        moved = Perceptron(weights, net.biases, net.readout, net.readout_bias, net.activation)
        return (moved.forward(x[:, part]).outputs - y[:, part]).square().mean()

    first, second = (grad(loss)(points, part) for part in (slice(SAMPLES // 2), slice(SAMPLES // 2, SAMPLES)))
    layers = tuple(_layer(surface, w, halves, draw) for w, *halves in zip(points, first, second, strict=True))
    return Subject(surface, loss, layers)


def _placed(w: Tensor, manifold: str) -> Tensor:
    # signs as in w: the factor as the library returns it comes from a few sign patterns only
    return manifolds.qr_retraction(w, 0 * w) if manifold == "stiefel" else w / w.norm(dim=0)


def _layer(surface: Surface, w: Tensor, halves: list[Tensor], draw: torch.Generator) -> Layer:
    z = (halves[0] + halves[1]) / 2
    slope = constraints.tangent(surface, w, z)
    # projected again: a slope that is small beside its gradient has a relatively large normal part from rounding
    velocity = constraints.tangent(surface, w, -LENGTH * slope / torch.linalg.matrix_norm(slope, 2))
    other = constraints.tangent(surface, w, normal(tuple(w.shape), draw))
    return Layer(w, z, (halves[0], halves[1]), slope, velocity, other)


@lru_cache(maxsize=64)
def path(manifold: str, depth: int, widths: str | tuple[int, ...], seed: int) -> Curve:
    """The geodesic of the last hidden layer along its velocity at ``SHARES``, with ``other`` carried along."""
    kind = "stiefel" if manifold == "canonical" else manifold
    layer = on_manifold(kind, depth, widths, seed).layers[-1]
    carried = [] if manifold == "canonical" else [layer.other]
    return constraints.geodesic(SURFACES[manifold], layer.w, layer.velocity, SHARES, carried)


def derivative(curve: Callable[[Tensor], Tensor]) -> Tensor:
    """The derivative of a curve at time 0, by forward differentiation."""
    one = torch.ones((), dtype=torch.float64)
    return jvp(curve, (0 * one,), (one,))[1]


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """Coefficients of h, h^2, h^3 of a curve (3, n, p), the amplification of rounding and the neglected terms, (3,)."""

    values: np.ndarray
    amplification: tuple[float, ...]
    neglected: tuple[float, ...]


def coefficients(curve: Callable[[Tensor], Tensor], nodes: int = 31, reach: float = 1.0) -> Coefficients:
    """Power series of an analytic curve from its values at Chebyshev points in [-reach, reach].

    ``curve`` takes times (K, 1, 1) and returns points (K, n, p). The neglected terms are those that four points less
    would change.
    """
    (few, _), (many, weights) = (_interpolated(curve, count, reach) for count in (nodes - 4, nodes))
    neglected = np.abs(many - few).max((1, 2))
    return Coefficients(many, tuple(np.abs(weights).sum(1)), tuple(neglected))


def _interpolated(curve: Callable[[Tensor], Tensor], nodes: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    times = np.polynomial.chebyshev.chebpts1(nodes)
    to_chebyshev = np.linalg.inv(np.polynomial.chebyshev.chebvander(times, nodes - 1))
    powers = np.array(
        [np.pad(p := np.polynomial.chebyshev.cheb2poly(row), (0, nodes - len(p))) for row in np.eye(nodes)]
    )
    weights = (powers.T @ to_chebyshev)[1:4] / reach ** np.arange(1, 4)[:, None]
    values = curve(torch.from_numpy(reach * times)[:, None, None]).numpy()
    return np.einsum("kj,jnp->knp", weights, values), weights


def chain(layer: Layer) -> int:
    """Roundings along a chain of products and factorisations of (n, p) matrices."""
    n, p = layer.w.shape
    return 4 * n * p * (p + 1)


def vector_rounding(layer: Layer, scale: float, condition: float = 1.0) -> Bound:
    """Rounding of a vector of the given size at a well-conditioned point."""
    return rounding(scale, chain(layer), condition)
