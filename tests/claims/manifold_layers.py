"""Deep tanh networks whose hidden weights lie on a manifold, with gradients of a real loss; no claim of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.func import grad, jvp

from numerics import constraints
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
    tangent vector.
    """

    w: Tensor
    gradient: Tensor
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

    def loss(at: tuple[Tensor, ...]) -> Tensor:
        weights = tuple(w.mT if flip else w for w, flip in zip(at, wide, strict=True))
        moved = Perceptron(weights, net.biases, net.readout, net.readout_bias, net.activation)
        return (moved.forward(x).outputs - y).square().mean()

    gradients = grad(loss)(points)
    layers = tuple(_layer(surface, w, z, draw) for w, z in zip(points, gradients, strict=True))
    return Subject(surface, loss, layers)


def _placed(w: Tensor, manifold: str) -> Tensor:
    return torch.linalg.qr(w).Q if manifold == "stiefel" else w / w.norm(dim=0)


def _layer(surface: Surface, w: Tensor, z: Tensor, draw: torch.Generator) -> Layer:
    slope = constraints.tangent(surface, w, z)
    other = constraints.tangent(surface, w, normal(tuple(w.shape), draw))
    return Layer(w, z, slope, -LENGTH * slope / torch.linalg.matrix_norm(slope, 2), other)


@lru_cache(maxsize=64)
def path(manifold: str, depth: int, widths: str | tuple[int, ...], seed: int, tolerance: float = 1e-10) -> Curve:
    """The geodesic of the last hidden layer along its velocity to times 1/2 and 1, with ``other`` carried along."""
    kind = "stiefel" if manifold == "canonical" else manifold
    layer = on_manifold(kind, depth, widths, seed).layers[-1]
    carried = [] if manifold == "canonical" else [layer.other]
    times = [0.0, 0.5, 1.0]
    return constraints.geodesic(SURFACES[manifold], layer.w, layer.velocity, times, carried, tolerance=tolerance)


def derivative(curve: Callable[[Tensor], Tensor], order: int) -> Tensor:
    """The derivative of a curve at time 0, by forward differentiation of forward differentiation."""
    one = torch.ones((), dtype=torch.float64)
    for _ in range(order):
        curve = _differentiated(curve, one)
    return curve(0 * one)


def _differentiated(curve: Callable[[Tensor], Tensor], one: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda h: jvp(curve, (h,), (one,))[1]


def chain(layer: Layer, order: int = 1) -> int:
    """Roundings along a chain of products and factorisations of (n, p) matrices, differentiated ``order`` times."""
    n, p = layer.w.shape
    return 4 * n * p * (p + 1) * order


def vector_rounding(layer: Layer, scale: float, order: int = 1) -> Bound:
    """Rounding of a vector of the given size at a well-conditioned point."""
    return rounding(scale, chain(layer, order))
