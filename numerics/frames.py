"""Orthogonal frames in which an aligned network is diagonal, and uniform random bases.

Random numbers are drawn on the generator's device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from numerics.networks import DeepLinear


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Orthogonal bases (Q_0, ..., Q_d), Q_i of shape (*S, n_i, n_i), and the number r of modes they carry."""

    bases: tuple[Tensor, ...]
    rank: int

    def modes(self, net: DeepLinear) -> Tensor:
        """Return the signed mode values (*S, d, r): the first r diagonal entries of Q_i^T w_i Q_{i-1}."""
        diagonals = [c.diagonal(dim1=-2, dim2=-1) for c in self.components(net)]
        return torch.stack([v[..., : self.rank] for v in diagonals], dim=-2)

    def components(self, net: DeepLinear) -> tuple[Tensor, ...]:
        """Return Q_i^T w_i Q_{i-1} for i = 1..d."""
        pairs = zip(self.bases[1:], net.weights, self.bases, strict=False)
        return tuple(upper.mT @ w @ lower for upper, w, lower in pairs)

    def leak(self, net: DeepLinear) -> Tensor:
        """Return the largest absolute entry of Q_i^T w_i Q_{i-1} outside its r mode values, shape S."""
        worst = []
        for c in self.components(net):
            mask = torch.ones(c.shape[-2:], dtype=torch.bool, device=c.device)
            mask.diagonal()[: self.rank] = False
            worst.append((c.abs() * mask).amax((-2, -1)))
        return torch.stack(worst).amax(0)


def normal(shape: Sequence[int], generator: torch.Generator, seeds: int | None = None) -> Tensor:
    """Return independent standard normal entries of the given shape, with a leading batch of seeds."""
    batch = () if seeds is None else (seeds,)
    return torch.randn((*batch, *shape), generator=generator, dtype=torch.float64, device=generator.device)


def haar(n: int, generator: torch.Generator, seeds: int | None = None) -> Tensor:
    """Return orthogonal (n, n) matrices uniformly distributed over O(n)."""
    q, r = torch.linalg.qr(normal((n, n), generator, seeds))
    # QR alone is not uniform: the signs of R's diagonal are a convention of the library
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]


def haars(n: int, generator: torch.Generator, batch: tuple[int, ...]) -> Tensor:
    """Return uniform orthogonal matrices with an arbitrary batch shape, (*batch, n, n)."""
    return haar(n, generator, prod(batch)).reshape(*batch, n, n)


def aligned_teacher(frame: Frame, values: Tensor) -> Tensor:
    """Return the teacher Q_d diag(values) Q_0^T of a frame; values has shape (*S, r)."""
    count = values.shape[-1]
    first, last = frame.bases[0], frame.bases[-1]
    if count > min(first.shape[-1], last.shape[-1]):
        allowed = min(first.shape[-1], last.shape[-1])
        raise ValueError(f"values: {count} mode values given, allowed: at most {allowed}")
    return last[..., :count] * values.to(last)[..., None, :] @ first[..., :count].mT
