"""The largest singular value of the Jacobian from inputs to the last hidden layer, without forming the Jacobian.

Golub-Kahan bidiagonalisation with full orthogonalisation, all samples (and networks) at once.
"""

import torch
from torch import Tensor

from numerics.perceptrons import Pass, input_jacobian

# below this width forming the Jacobian is faster than 40 sweeps through it
_NARROW = 128


def largest_singular_value(
    found: Pass, tolerance: float = 1e-10, *, steps: int = 200, krylov: torch.dtype = torch.float64
) -> Tensor:
    """Return s_max(d x^L / d x^0) of every sample, (*S, T); narrow networks go through the Jacobian itself.

    Stops when the residual of every sample is below sqrt(tolerance) times its value, so that the value, a Rayleigh
    quotient evaluated in float64, is good to the tolerance unless singular values cluster. krylov=torch.float32 looks
    for the vector in single precision (about twice as fast). Raises ValueError when steps do not suffice.
    """
    if min(found.net.widths) <= _NARROW:
        return torch.linalg.svdvals(input_jacobian(found))[..., 0]
    search, exact = _Sweep(found, krylov), _Sweep(found, torch.float64)
    vector = _search(search, tolerance**0.5, steps)
    image = exact.down(vector.to(torch.float64))
    return image.norm(dim=-2) / vector.to(torch.float64).norm(dim=-2)


class _Sweep:
    """Products with the Jacobian and its transpose, vectors as columns: (*S, N_0, T) <-> (*S, N_L, T)."""

    def __init__(self, found: Pass, dtype: torch.dtype) -> None:
        self.weights = [w.to(dtype) for w in found.net.weights]
        self.slopes = [s.to(dtype) for s in found.slopes]
        self.like = found.x[0].to(dtype)

    def down(self, v: Tensor) -> Tensor:
        """J v, layer after layer."""
        for w, slope in zip(self.weights, self.slopes, strict=True):
            v = slope * (w @ v)
        return v

    def up(self, u: Tensor) -> Tensor:
        """J^T u, in reverse order."""
        for w, slope in zip(reversed(self.weights), reversed(self.slopes), strict=True):
            u = w.mT @ (slope * u)
        return u


def _search(sweep: _Sweep, tolerance: float, steps: int) -> Tensor:
    """The leading right singular vector of every sample, (*S, N_0, T)."""
    draw = torch.Generator(device=sweep.like.device).manual_seed(1)
    start = torch.randn(sweep.like.shape[-2:], generator=draw, dtype=sweep.like.dtype, device=sweep.like.device)
    v = start.expand_as(sweep.like) / start.norm(dim=-2, keepdim=True)
    lefts: list[Tensor] = []
    rights, diagonal, upper, least = [v], [], [], min(sweep.like.shape[-2], sweep.weights[-1].shape[-2])
    for step in range(1, steps + 1):
        u = _orthogonal(sweep.down(rights[-1]), lefts)
        diagonal.append(u.norm(dim=-2))
        lefts.append(_unit(u, diagonal[-1]))
        v = _orthogonal(sweep.up(lefts[-1]), rights)
        upper.append(v.norm(dim=-2))
        left, values, right = torch.linalg.svd(_bidiagonal(diagonal, upper[:-1]))
        residual = upper[-1] * left[..., -1, 0].abs()
        if bool((residual <= tolerance * values[..., 0]).all()) or step == least:
            return torch.einsum("...tk,k...nt->...nt", right[..., 0, :].to(v.dtype), torch.stack(rights))
        rights.append(_unit(v, upper[-1]))
    worst = float((residual / values[..., 0]).max())
    raise ValueError(f"steps: {steps} given, residual {worst:.1e}, allowed: {tolerance:.1e}; give more steps")


def _unit(v: Tensor, norm: Tensor) -> Tensor:
    # an exhausted sample has norm 0; its vectors stay zero and change nothing any more
    return torch.where(norm[..., None, :] > 0, v / norm[..., None, :], torch.zeros_like(v))


def _orthogonal(v: Tensor, basis: list[Tensor]) -> Tensor:
    """v minus its components along the columns' earlier vectors, twice for full precision."""
    if basis:
        stack = torch.stack(basis)
        for _ in range(2):
            v = v - ((stack * v).sum(-2, keepdim=True) * stack).sum(0)
    return v


def _bidiagonal(diagonal: list[Tensor], upper: list[Tensor]) -> Tensor:
    found = torch.diag_embed(torch.stack(diagonal, -1))
    if upper:
        found = found + torch.diag_embed(torch.stack(upper, -1), offset=1)
    return found.to(torch.float64)
