"""The blocks of a Fisher matrix next to the lengths and singular values that bound them, network by network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import normal
from numerics.likelihoods import hessians, roots
from numerics.perceptrons import Perceptron, blocks, output_jacobians, parameter_jacobian
from tests.checker.bounds import rounding
from tests.checker.evidence import Bound
from tests.claims.settings import array, sizes

Widths = str | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One network on inputs (N_0, T): its Jacobian by automatic differentiation, and what its factors measure."""

    net: Perceptron
    x: Tensor
    likelihood: str = "identity"

    def __post_init__(self) -> None:
        if self.x.shape[-1] < 1:
            raise ValueError("samples: 0 given, allowed: at least 1")

    @cached_property
    def rows(self) -> Tensor:
        """R^T J with R R^T = H, for all inputs, (T r, P): the Fisher matrix is the mean of its squares."""
        left = roots(self.likelihood, self.net.forward(self.x).outputs)
        return (left.mT @ parameter_jacobian(self.net, self.x)).flatten(0, 1)

    def norm(self, first: str, second: str) -> float:
        """The largest singular value of the block of two parameters, such as "W1" and "b2"."""
        places = blocks(self.net)
        # tall blocks have large null spaces: triangular factors keep the singular values
        a, b = (_narrow(self.rows[:, places[name]].mT) for name in (first, second))
        return float(torch.linalg.matrix_norm(a @ b.mT, 2)) / self.x.shape[-1]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """W1, b1, W2, b2, ..."""
        return tuple(blocks(self.net))

    @cached_property
    def lengths(self) -> dict[str, np.ndarray]:
        """|x^{l-1}| for weights, 1 for biases, (T,) each."""
        found = self.net.forward(self.x).x
        ones = np.ones(self.x.shape[-1])
        return {name: array(found[int(name[1:]) - 1].norm(dim=-2)) if name[0] == "W" else ones for name in self.names}

    @cached_property
    def steepness(self) -> np.ndarray:
        """s_max(J_l) of every layer and input, (L, T)."""
        return np.array([array(torch.linalg.matrix_norm(j, 2)) for j in output_jacobians(self.net.forward(self.x))])

    @cached_property
    def links(self) -> np.ndarray:
        """s_max(H) of every input, (T,)."""
        return array(torch.linalg.matrix_norm(hessians(self.likelihood, self.net.forward(self.x).outputs), 2))

    @cached_property
    def rooted(self) -> np.ndarray:
        """s_max(H^{1/2} J_l)^2 of every layer and input, (L, T)."""
        found = self.net.forward(self.x)
        through = output_jacobians(found, roots(self.likelihood, found.outputs))
        return np.array([array(torch.linalg.matrix_norm(j, 2).square()) for j in through])

    @cached_property
    def second_moment(self) -> float:
        """The largest eigenvalue of the mean of x x^T."""
        return float(torch.linalg.matrix_norm(self.x, 2)) ** 2 / self.x.shape[-1]

    @cached_property
    def covariance(self) -> float:
        """The largest eigenvalue of the covariance of the inputs."""
        centred = self.x - self.x.mean(-1, keepdim=True)
        return float(torch.linalg.matrix_norm(centred, 2)) ** 2 / self.x.shape[-1]

    @cached_property
    def mean_input(self) -> float:
        """|E x|, the length of the mean input."""
        return float(self.x.mean(-1).norm())

    @cached_property
    def rounding(self) -> Bound:
        """Rounding of block norms: the norm of the whole, products over inputs and layers."""
        operations = 2 * self.rows.shape[-1] + sum(self.net.widths) + self.x.shape[-1]
        return rounding(float(torch.linalg.matrix_norm(self.rows, 2)) ** 2 / self.x.shape[-1], operations)


def _narrow(matrix: Tensor) -> Tensor:
    """A matrix with as many columns and the same Gram matrix, and no more rows than columns."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else torch.linalg.qr(matrix, mode="r").R


def opposite(net: Perceptron) -> Perceptron:
    """The network with a second output that is the first one's negative."""
    readout, shift = (torch.cat([p, -p], -1 - k) for k, p in ((1, net.readout), (0, net.readout_bias)))
    return Perceptron(net.weights, net.biases, readout, shift, net.activation)


@lru_cache(maxsize=128)
def vectors(depth: int, widths: Widths, activation: str, likelihood: str, seed: int) -> Anatomy:
    """A network on one input whose blocks have rank one: one output, or two opposite ones under the softmax."""
    draw, n = generator(seed), sizes(depth, widths)
    net = perceptron(n, 1, draw, ensemble="gaussian", sigma_w=1.3, sigma_b=0.4, readout=1.1, activation=activation)
    if likelihood == "softmax":
        net = opposite(net)
    return Anatomy(net, normal((n[0], 1), draw), likelihood)


@lru_cache(maxsize=128)
def network(
    depth: int,
    widths: Widths,
    activation: str,
    likelihood: str,
    seed: int,
    *,
    samples: int = 5,
    outputs: int = 3,
    scale: float = 1.0,
    shift: float = 0.0,
    centred: bool = False,
) -> Anatomy:
    """A Gaussian network with biases on normal inputs of deviation ``scale`` and mean ``shift`` (or of mean zero)."""
    draw, n = generator(seed), sizes(depth, widths)
    net = perceptron(n, outputs, draw, ensemble="gaussian", sigma_w=1.3, sigma_b=0.4, activation=activation)
    x = scale * normal((n[0], samples), draw) + shift
    return Anatomy(net, x - x.mean(-1, keepdim=True) if centred else x, likelihood)
