"""Matrices in blocks: Fisher matrices of full networks by parameter block, and random ones with a declared number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from sympy import Symbol
from torch import Tensor

from derivations.information.gershgorin import CENTRE, LARGEST, NUCLEAR, RADIUS, ROW, SMALLEST
from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import normal
from numerics.perceptrons import Perceptron, blocks
from numerics.tangent_kernels import fisher_matrix
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption
from tests.checker.evidence import Bound
from tests.claims.settings import array, sizes

RANDOM = 400
Widths = str | tuple[int, ...]
Statistic = Callable[[list[Tensor], Tensor], Tensor]  # of singular values in a row; zero for an empty row


@dataclass(frozen=True, eq=False)
class Partitioned:
    """Matrices (S, P, P) cut into blocks of the given sizes."""

    matrix: Tensor
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if sum(self.sizes) != self.matrix.shape[-1] or min(self.sizes) < 1:
            raise ValueError(f"sizes: {self.sizes} given, allowed: positive, adding up to {self.matrix.shape[-1]}")

    def block(self, i: int, j: int) -> Tensor:
        """The blocks A_ij, shape (S, p_i, p_j)."""
        edges = np.cumsum((0, *self.sizes))
        return self.matrix[..., edges[i] : edges[i + 1], edges[j] : edges[j + 1]]

    @cached_property
    def symmetric(self) -> bool:
        """Whether every matrix is symmetric to rounding."""
        return bool((self.matrix - self.matrix.mT).abs().max() <= 1e-13 * self.matrix.abs().max())

    @cached_property
    def spectrum(self) -> np.ndarray:
        """All eigenvalues by descending real part, complex unless symmetric, (S, P)."""
        if self.symmetric:
            return array(torch.linalg.eigvalsh(self.matrix).flip(-1))
        found = array(torch.linalg.eigvals(self.matrix))
        return np.take_along_axis(found, np.argsort(-found.real, axis=-1, kind="stable"), -1)

    @cached_property
    def within(self) -> tuple[np.ndarray, ...]:
        """Eigenvalues of the diagonal blocks in descending order, L arrays (S, p_i)."""
        diagonal = [self.block(i, i) for i in range(len(self.sizes))]
        if any((one - one.mT).abs().max() > 1e-13 * self.matrix.abs().max() for one in diagonal):
            return tuple(-np.sort(-array(torch.linalg.eigvals(one)).real) for one in diagonal)
        return tuple(array(torch.linalg.eigvalsh(one).flip(-1)) for one in diagonal)

    @cached_property
    def rows(self) -> dict[Symbol, np.ndarray]:
        """c_i, R_i and the statistics that could be mistaken for R_i, each (S, L)."""
        count = range(len(self.sizes))
        values = {(i, j): torch.linalg.svdvals(self.block(i, j)) for i in count for j in count if i != j}
        zero = torch.zeros(self.matrix.shape[:-2], dtype=self.matrix.dtype)

        def table(read: Statistic) -> np.ndarray:
            return np.stack([array(read([values[i, j] for j in count if j != i], zero)) for i in count], -1)

        rest = [torch.cat([self.block(i, j) for j in count if j != i] or [zero[..., None, None]], -1) for i in count]
        row = np.stack([array(torch.linalg.matrix_norm(one, 2)) for one in rest], -1)
        sums = {symbol: table(read) for symbol, read in _STATISTICS.items()}
        return {CENTRE: np.stack([one[..., 0] for one in self.within], -1), ROW: row, **sums}

    @cached_property
    def rounding(self) -> Bound:
        """Rounding of eigenvalues: size, norm, and for matrices that are not symmetric the eigenvectors' condition."""
        norm = float(torch.linalg.matrix_norm(self.matrix, 2).max())
        condition = 1.0
        if not self.symmetric:
            condition = float(torch.linalg.cond(torch.linalg.eig(self.matrix).eigenvectors).max())
        return rounding(norm, 4 * self.matrix.shape[-1], max(condition, 1.0))


_STATISTICS: dict[Symbol, Statistic] = {
    RADIUS: lambda found, zero: sum((one[..., 0] for one in found), zero),
    LARGEST: lambda found, zero: torch.stack([zero, *(one[..., 0] for one in found)]).amax(0),
    SMALLEST: lambda found, zero: sum((one[..., -1] for one in found), zero),
    NUCLEAR: lambda found, zero: sum((one.sum(-1) for one in found), zero),
}

SELF_ADJOINT = Assumption(
    "self-adjoint diagonal blocks",
    "every diagonal block is symmetric",
    lambda p: all(bool((p.block(i, i) == p.block(i, i).mT).all()) for i in range(len(p.sizes))) or p.symmetric,
)
SYMMETRIC = Assumption("symmetric matrix", "the whole matrix is symmetric", lambda p: p.symmetric)
POSITIVE = Assumption(
    "positive semi-definite",
    "the matrix has no negative eigenvalue",
    lambda p: p.symmetric and bool((p.spectrum[..., -1] >= -p.rounding.total).all()),
)
TWO_BLOCKS = Assumption("two blocks", "the matrix is cut into two blocks, not more", lambda p: len(p.sizes) == 2)


@lru_cache(maxsize=128)
def fisher(
    depth: int,
    widths: Widths,
    activation: str,
    likelihood: str,
    seed: int,
    samples: int = 3,
    outputs: int = 2,
    ensemble: str = "gaussian",
    cut: str = "layers",
) -> Partitioned:
    """The Fisher matrix of a full network (biases and weights of order one), in its blocks W^1, b^1, W^2, ...

    ``cut``: "layers" for these blocks, "first" for the first layer against all others, "biases" for weights and biases.
    """
    draw, n = generator(seed), sizes(depth, widths)
    net = perceptron(n, outputs, draw, ensemble=ensemble, sigma_w=1.2, sigma_b=0.5, readout=1.0, activation=activation)
    return cut_fisher(net, normal((n[0], samples), draw), likelihood, cut)


def cut_fisher(net: Perceptron, x: Tensor, likelihood: str = "identity", cut: str = "layers") -> Partitioned:
    """The Fisher matrix of a network on inputs (N_0, T), cut into blocks of parameters."""
    if x.shape[-1] < 1:
        raise ValueError("samples: 0 given, allowed: at least 1")
    matrix, places = fisher_matrix(net, x, "hidden", likelihood), blocks(net)
    lengths = {name: place.stop - place.start for name, place in places.items()}
    if cut == "layers":
        return Partitioned(matrix[None], tuple(lengths.values()))
    if cut == "first":
        first = lengths["W1"] + lengths["b1"]
        return Partitioned(matrix[None], (first, matrix.shape[-1] - first))
    if cut != "biases":
        raise ValueError(f"cut: {cut} given, allowed: layers, first, biases")
    order = sorted(places, key=lambda name: name[0])  # W before b
    index = torch.cat([torch.arange(places[name].start, places[name].stop) for name in order])
    weights = sum(length for name, length in lengths.items() if name[0] == "W")
    return Partitioned(matrix[index][:, index][None], (weights, matrix.shape[-1] - weights))


@lru_cache(maxsize=64)
def isometric(depth: int, width: int, outputs: int, seed: int) -> Partitioned:
    """The Fisher matrix of an orthogonal linear network on one input of unit length: all its blocks have norm one."""
    if outputs > width:
        raise ValueError(f"outputs: {outputs} given, allowed: at most the width {width}")
    draw = generator(seed)
    net = perceptron((width,) * (depth + 1), outputs, draw, activation="linear")
    x = normal((width, 1), draw)
    return cut_fisher(net, x / x.norm())


@lru_cache(maxsize=64)
def random(kind: str, cut: tuple[int, ...], seed: int) -> Partitioned:
    """A declared number of random matrices in blocks: "symmetric", "positive" of low rank, or "plain".

    Rows of positive ones are scaled over a decade. Plain ones are symmetric in their diagonal blocks alone.
    """
    draw, size = generator(seed), sum(cut)
    a = normal((size, size), draw, RANDOM)
    if kind == "positive":
        a = a[..., : max(1, size // 2)] * torch.logspace(-1, 0, size, dtype=a.dtype)[:, None]
        return Partitioned(a @ a.mT, cut)
    if kind == "symmetric":
        return Partitioned(a + a.mT, cut)
    if kind != "plain":
        raise ValueError(f"kind: {kind} given, allowed: symmetric, positive, plain")
    mask = torch.block_diag(*[torch.ones(n, n, dtype=a.dtype) for n in cut])
    return Partitioned(torch.where(mask > 0, a + a.mT, a), cut)
