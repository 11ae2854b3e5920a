"""Small perceptrons with the Jacobian of all outputs on all samples, as the claims on the tangent kernel use them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.likelihoods import Likelihood, hessians, roots
from numerics.perceptrons import Parameters, Perceptron, parameter_jacobian
from numerics.tangent_kernels import fisher_matrix
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption
from tests.checker.evidence import Bound
from tests.claims.settings import array, sizes

FLOOR = 1e-11


@dataclass(frozen=True, slots=True, eq=False)
class Linearised:
    """A network at inputs (N_0, T): Jacobian (M, P), sample-major, and R R^T = H of the likelihood (M, M)."""

    net: Perceptron
    x: torch.Tensor
    which: Parameters
    likelihood: Likelihood
    jacobian: np.ndarray
    curvature: np.ndarray
    root: np.ndarray

    @property
    def samples(self) -> int:
        """The number of inputs."""
        return self.x.shape[-1]


def draw_network(
    depth: int, widths: str | tuple[int, ...], outputs: int, samples: int, activation: str, seed: int
) -> tuple[Perceptron, torch.Tensor]:
    """A Gaussian perceptron with biases everywhere, and normal inputs."""
    draw = generator(seed, "cpu")
    n = sizes(depth, widths)
    net = perceptron(
        n, outputs, draw, ensemble="gaussian", sigma_w=1.2, sigma_b=0.3, readout_bias=0.3, activation=activation
    )
    return net, gaussian_inputs(n[0], samples, 1.0, draw)


@lru_cache(maxsize=256)
def linearised(
    depth: int,
    widths: str | tuple[int, ...],
    outputs: int,
    samples: int,
    seed: int,
    *,
    activation: str = "tanh",
    which: Parameters = "hidden",
    likelihood: Likelihood = "identity",
) -> Linearised:
    """The network with its Jacobian by automatic differentiation and the likelihood's curvature at its outputs."""
    net, x = draw_network(depth, widths, outputs, samples, activation, seed)
    jacobian = array(parameter_jacobian(net, x, which).flatten(0, 1))
    found = net.forward(x).outputs
    return Linearised(
        net, x, which, likelihood, jacobian, _stacked(hessians(likelihood, found)), _stacked(roots(likelihood, found))
    )


@lru_cache(maxsize=256)
def fisher(setting: Linearised) -> np.ndarray:
    """The Fisher matrix of the setting, averaged over its inputs, (P, P)."""
    return array(fisher_matrix(setting.net, setting.x, setting.which, setting.likelihood))


def _stacked(blocks: torch.Tensor) -> np.ndarray:
    return array(torch.block_diag(*blocks))


def matrix_rounding(setting: Linearised, scale: float | None = None, condition: float = 1.0) -> Bound:
    """Rounding of products of Jacobians: their squared norm, sums over parameters or points, and the depth."""
    points, parameters = setting.jacobian.shape
    size = float(np.linalg.norm(setting.jacobian, 2) ** 2) if scale is None else scale
    operations = points + parameters + sum(setting.net.widths)
    return rounding(size, operations, condition)


def spectral_function(matrix: np.ndarray, values_of: object, floor: float = FLOOR) -> np.ndarray:
    """A function of a symmetric matrix that vanishes on its null space (the Moore-Penrose convention)."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > floor * values[-1]
    image = np.zeros_like(values)
    image[kept] = values_of(values[kept])
    # wrong formulas may overflow; the comparison judges what comes out
    with np.errstate(all="ignore"):
        return (vectors * image) @ vectors.T


def spread(setting: Linearised) -> float:
    """The ratio of the largest to the smallest non-zero eigenvalue of the kernel."""
    values = np.linalg.svd(setting.jacobian, compute_uv=False) ** 2
    kept = values[values > FLOOR * values[0]]
    return float(kept[0] / kept[-1])


def chebyshev(intervals: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the Clenshaw-Curtis rule on [0, length], increasing."""
    nodes = -np.cos(np.pi * np.arange(intervals + 1) / intervals)
    order = np.arange(intervals + 1)
    moments = np.where(order % 2 == 0, 2.0 / (1.0 - np.where(order % 2, 0, order) ** 2), 0.0)
    weights = np.linalg.solve(np.polynomial.chebyshev.chebvander(nodes, intervals).T, moments)
    return (nodes + 1) * length / 2, weights * length / 2


EQUALLY_MANY = Assumption(
    "as many parameters as points",
    "the Jacobian is square: as many parameters as outputs times samples",
    lambda setting: setting.jacobian.shape[0] == setting.jacobian.shape[1],
)
