"""Quadratic learning problems: a teacher map and an input covariance.

Samples are columns: x is (n_0, samples), y is (n_d, samples).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from numerics.frames import haar
from numerics.networks import DeepLinear


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The loss 1/2 Tr (W - W*) S (W - W*)^T of a teacher W* (*S, n_d, n_0) and input covariance S (n_0, n_0).

    covariance None means whitened inputs, S = 1. Raises ValueError for a covariance that is not
    symmetric positive semidefinite or does not fit the teacher.
    """

    teacher: Tensor
    covariance: Tensor | None = None
    root: Tensor | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.covariance is not None:
            object.__setattr__(self, "root", _root(self.covariance, self.teacher.shape[-1]))

    def error(self, net: DeepLinear) -> Tensor:
        """Return W - W* of shape (*S, n_d, n_0)."""
        ends = (net.widths[-1], net.widths[0])
        if tuple(self.teacher.shape[-2:]) != ends:
            given, allowed = tuple(self.teacher.shape), f"(*S, {ends[0]}, {ends[1]})"
            raise ValueError(f"teacher: shape {given} given, allowed: {allowed}")
        batch = tuple(self.teacher.shape[:-2])
        if batch != net.batch[len(net.batch) - len(batch) :]:
            raise ValueError(f"teacher: batch {batch} given, allowed: none or that of the network, {net.batch}")
        return net.product() - self.teacher

    def weighted(self, error: Tensor) -> Tensor:
        """Return error S, the derivative of the loss with respect to W."""
        return error if self.covariance is None else error @ self.covariance

    def loss(self, net: DeepLinear) -> Tensor:
        """Return 1/2 Tr (W - W*) S (W - W*)^T of shape S."""
        error = self.error(net)
        return (self.weighted(error) * error).sum((-2, -1)) / 2

    def at(self, index: int | slice | Tensor) -> "Problem":
        """Return the problems at an index of the first batch dimension of the teacher."""
        return Problem(self.teacher[index] if self.teacher.ndim > 2 else self.teacher, self.covariance)


def covariance(n: int, generator: torch.Generator, *, condition: float = 10.0) -> Tensor:
    """Return a random positive definite (n, n) matrix of mean eigenvalue 1 and given condition number."""
    if condition < 1:
        raise ValueError(f"condition: {condition} given, allowed: condition >= 1")
    values = torch.logspace(0, 1, n, base=condition, dtype=torch.float64, device=generator.device)
    basis = haar(n, generator)
    found = (basis * (values / values.mean())) @ basis.mT
    return (found + found.mT) / 2


def from_data(x: Tensor, y: Tensor) -> Problem:
    """Return the problem with S = x x^T / samples and W* = y x^+, of least norm when S is singular."""
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"y: {y.shape[-1]} samples given, allowed: {x.shape[-1]} as in x")
    found = x @ x.mT / x.shape[-1]
    return Problem(y @ torch.linalg.pinv(x, rtol=1e-13), (found + found.mT) / 2)


def data_loss(net: DeepLinear, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean over samples of 1/2 |W x - y|^2, shape S."""
    return (net.product() @ x - y).square().sum(-2).mean(-1) / 2


def _root(matrix: Tensor, n: int) -> Tensor:
    if tuple(matrix.shape) != (n, n):
        raise ValueError(f"covariance: shape {tuple(matrix.shape)} given, allowed: ({n}, {n})")
    if not torch.allclose(matrix, matrix.mT, rtol=0, atol=1e-14 * float(matrix.abs().max())):
        raise ValueError("covariance: not symmetric, allowed: symmetric positive semidefinite")
    values, vectors = torch.linalg.eigh(matrix)
    if values[0] < -1e-13 * values[-1].abs():
        raise ValueError(f"covariance: eigenvalue {float(values[0]):.3g} given, allowed: >= 0")
    # rounding leaves 1e-16 where the covariance is singular: its root, 1e-8, would no longer be negligible
    values = torch.where(values > 1e-14 * values[-1], values, torch.zeros_like(values))
    return (vectors * values.sqrt()) @ vectors.mT
