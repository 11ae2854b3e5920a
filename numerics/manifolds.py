"""Steps on the oblique and the Stiefel manifold, batched: tangents, exponentials, retractions, transport.

Points w are (*S, n, p), n >= p on the Stiefel manifold (w^T w = 1), any shape on the oblique one (unit columns).
Lengths are those of the space of matrices unless the canonical metric is named.
"""

from typing import Literal

import torch
from torch import Tensor

Metric = Literal["euclidean", "canonical"]
POLAR_ROUNDS = 12


def oblique_tangent(w: Tensor, z: Tensor) -> Tensor:
    """Return the nearest tangent vector to z: every column loses its part along the point."""
    return z - w * (w * z).sum(-2, keepdim=True)


def oblique_exponential(w: Tensor, xi: Tensor) -> Tensor:
    """Return the ends of the great circles that start at the columns of w with velocities xi."""
    r = xi.norm(dim=-2, keepdim=True)
    return w * r.cos() + xi * torch.sinc(r / torch.pi)


def oblique_transport(w: Tensor, zeta: Tensor, xi: Tensor) -> Tensor:
    """Return xi carried in parallel along the great circles with velocities zeta."""
    r = zeta.norm(dim=-2, keepdim=True)
    along = (zeta * xi).sum(-2, keepdim=True)
    # (1 - cos r) / r^2 without cancellation, and without division by zero for columns that rest
    curved = torch.sinc(r / (2 * torch.pi)).square() / 2
    return xi - (zeta * curved + w * torch.sinc(r / torch.pi)) * along


def stiefel_tangent(w: Tensor, z: Tensor) -> Tensor:
    """Return the nearest tangent vector to z; at the end of a step this is the vector transport."""
    inner = w.mT @ z
    return z - w @ ((inner + inner.mT) / 2)


def qr_retraction(w: Tensor, xi: Tensor) -> Tensor:
    """Return the orthogonal factor of w + xi whose triangular factor has a positive diagonal."""
    q, r = torch.linalg.qr(w + xi)
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]


def newton_qr_retraction(w: Tensor, xi: Tensor, rounds: int = 6) -> Tensor:
    """Return the same factor by products alone, for steps of spectral norm below about 1/2.

    Each round multiplies by 1 - up(q^T q - 1), where up keeps the part above the diagonal and half of the diagonal: the
    factor stays triangular and the distance from orthonormal columns is squared.
    """
    q, identity = w + xi, torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    for _ in range(rounds):
        q = q - q @ half_upper(q.mT @ q - identity)
    return q


def half_upper(symmetric: Tensor) -> Tensor:
    """Return the upper triangular u with u + u^T = symmetric."""
    return symmetric.triu(1) + torch.diag_embed(symmetric.diagonal(dim1=-2, dim2=-1)) / 2


def polar_retraction(w: Tensor, xi: Tensor) -> Tensor:
    """Return the nearest matrix to w + xi with orthonormal columns, by Newton's iteration x (1 + (x^T x)^-1) / 2."""
    x = w + xi
    identity = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device).expand_as(x.mT @ x)
    for _ in range(POLAR_ROUNDS):
        x = (x + x @ _solved(x.mT @ x, identity)) / 2
    return x


def cayley_retraction(w: Tensor, xi: Tensor) -> Tensor:
    """Return (1 - b / 2)^-1 (1 + b / 2) w for the skew b with b w = xi."""
    b = rotation(w, xi)
    half = torch.eye(w.shape[-2], dtype=w.dtype, device=w.device) + b / 2
    # (1 - b/2)^-1 = (1 - b^2/4)^-1 (1 + b/2) asks for a Cholesky factor only, which is safe in batches
    return _solved(half @ half.mT, half @ (half @ w))


def _solved(definite: Tensor, right: Tensor) -> Tensor:
    """definite^-1 right for positive definite matrices."""
    factor = torch.linalg.cholesky(definite)
    halfway = torch.linalg.solve_triangular(factor, right, upper=False)
    return torch.linalg.solve_triangular(factor.mT, halfway, upper=True)


def rotation(w: Tensor, xi: Tensor) -> Tensor:
    """Return the skew (n, n) matrix b with b w = xi that vanishes between vectors orthogonal to w."""
    outside = xi - w @ (w.mT @ xi) / 2
    return outside @ w.mT - w @ outside.mT


def stiefel_exponential(w: Tensor, xi: Tensor, metric: Metric = "euclidean") -> Tensor:
    """Return the end of the geodesic from w with velocity xi, by exponentials of (n, n) or (2p, 2p) matrices."""
    if metric == "canonical":
        return torch.linalg.matrix_exp(rotation(w, xi)) @ w
    if metric != "euclidean":
        raise ValueError(f"metric: {metric!r} given, allowed: 'euclidean', 'canonical'")
    p = w.shape[-1]
    turn, identity = w.mT @ xi, torch.eye(p, dtype=w.dtype, device=w.device)
    top, bottom = torch.cat([turn, -xi.mT @ xi], -1), torch.cat([identity.expand_as(turn), turn], -1)
    moved = torch.linalg.matrix_exp(torch.cat([top, bottom], -2))[..., :p]
    return torch.cat([w, xi], -1) @ moved @ torch.linalg.matrix_exp(-turn)
