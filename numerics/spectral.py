"""Eigenbases of the dual kernel and functions of it, with the Moore-Penrose convention for its null space.

The kernel acts on matrices (*S, n_d, n_0). Values below the cut-off count as zero and are sent to zero.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from numerics.networks import unvec, vec


class Eigenbasis(Protocol):
    """Eigenvalues of the kernel, which of them count as non-zero, and how a function of it acts."""

    @property
    def values(self) -> Tensor:
        """All eigenvalues, (*S, n_d n_0) or (*S, n_d, n_0)."""
        ...

    @property
    def kept(self) -> Tensor:
        """Which eigenvalues are above the cut-off, same shape."""
        ...

    def apply(self, function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
        """Return function(kernel) matrix on the range of the kernel and zero on its null space."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class DenseBasis:
    """Eigenvectors (*S, m, k) of the kernel acting on column-major vecs, m = n_d n_0."""

    values: Tensor
    vectors: Tensor
    kept: Tensor

    def apply(self, function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
        """Return function(kernel) matrix."""
        coefficients = (self.vectors.mT @ vec(matrix)[..., None])[..., 0]
        found = (self.vectors @ (_on(self, function) * coefficients)[..., None])[..., 0]
        return unvec(found, *matrix.shape[-2:])


@dataclass(frozen=True, slots=True, eq=False)
class ProductBasis:
    """Eigenmatrices u_a v_b^T from the columns of left (*S, n_d, n_d) and right (*S, n_0, n_0)."""

    values: Tensor
    left: Tensor
    right: Tensor
    kept: Tensor

    def apply(self, function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
        """Return function(kernel) matrix."""
        return self.left @ (_on(self, function) * (self.left.mT @ matrix @ self.right)) @ self.right.mT


def rank(basis: Eigenbasis) -> Tensor:
    """Return the number of eigenvalues above the cut-off, shape S."""
    dims = (-2, -1) if isinstance(basis, ProductBasis) else (-1,)
    return basis.kept.sum(dims)


def power(exponent: float) -> Callable[[Tensor], Tensor]:
    """Return x -> x^exponent."""
    return lambda values: values**exponent


def checked(cutoff: float | None) -> float:
    """Return the cut-off, 1e-13 unless given; ValueError outside (0, 1e-10]."""
    if cutoff is None:
        return 1e-13
    if not 0 < cutoff <= 1e-10:
        raise ValueError(f"cutoff: {cutoff} given, allowed: 0 < cutoff <= 1e-10")
    return cutoff


def dense(kernel: Tensor, cutoff: float) -> DenseBasis:
    """Eigenvectors of a symmetric kernel (*S, m, m); the cut-off is relative to the largest eigenvalue."""
    values, vectors = torch.linalg.eigh(kernel)
    return DenseBasis(values, vectors, values > cutoff * values[..., -1:])


def from_factor(factor: Tensor, cutoff: float) -> DenseBasis:
    """Eigenvectors of M M^T from the singular values of M (*S, m, P), cut off relative to the largest."""
    if factor.shape[-1] > 4 * factor.shape[-2]:
        # M^T = Q R: the small factor R^T has the same left singular vectors
        factor = torch.linalg.qr(factor.mT, mode="r").R.mT
    u, s, _ = torch.linalg.svd(factor, full_matrices=False)
    return DenseBasis(s.square(), u, s > cutoff * s[..., :1])


def kronecker(upper: Tensor, lower: Tensor, terms: int, shape: tuple[int, int], cutoff: float) -> ProductBasis:
    """Eigenbasis of sum over i = 1..terms of (lower^T lower)^{i-1} kron (upper upper^T)^{terms-i}.

    upper is (*S, n_d, .), lower is (*S, ., n_0); their Grams are never formed. The cut-off is relative, on
    the scale of the singular values of the factors.
    """
    left, a = _left(upper, shape[0])
    right, b = _left(lower.mT, shape[1])
    exponents = range(terms)
    upper_powers = torch.stack([a ** (2 * (terms - 1 - i)) for i in exponents], dim=-1)
    lower_powers = torch.stack([b ** (2 * i) for i in exponents], dim=-1)
    values = upper_powers @ lower_powers.mT
    threshold = cutoff ** (2 * max(terms - 1, 1)) * values.amax((-2, -1), keepdim=True)
    return ProductBasis(values, left, right, values > threshold)


def _left(matrix: Tensor, n: int) -> tuple[Tensor, Tensor]:
    u, s, _ = torch.linalg.svd(matrix, full_matrices=matrix.shape[-1] < n)
    return u, torch.nn.functional.pad(s, (0, n - s.shape[-1]))


def _on(basis: Eigenbasis, function: Callable[[Tensor], Tensor]) -> Tensor:
    safe = torch.where(basis.kept, basis.values, torch.ones_like(basis.values))
    return torch.where(basis.kept, function(safe), torch.zeros_like(safe))
