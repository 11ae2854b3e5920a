"""Surfaces {w : c(w) = 0} of matrices, known by their constraint alone: tangents, geodesics, parallel transport.

Nothing here knows a closed form: tangent spaces, accelerations and transport come from derivatives of c. Constraints
are quadratic, so that differences of c are its derivatives without truncation; lengths, which need not be, are
differentiated automatically. Points w and vectors are (n, p); times are those of a curve of the given initial velocity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp

from numerics.flows import integrate

Energy = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Surface:
    """The zeros of independent quadratic constraints (*S, n, p) -> (*S, c), with squared lengths g_w(v, v) -> ().

    energy None stands for the metric inherited from the space of matrices.
    """

    constraint: Callable[[Tensor], Tensor]
    energy: Energy | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A geodesic at the times (T,): points and velocities (T, n, p), carried vectors (T, k, n, p), absolute error."""

    points: Tensor
    velocities: Tensor
    carried: Tensor
    error: float


def upper(matrix: Tensor) -> Tensor:
    """Return the entries on and above the diagonal of square matrices (*S, p, p) as vectors (*S, p (p + 1) / 2)."""
    rows, columns = torch.triu_indices(*matrix.shape[-2:])
    return matrix[..., rows, columns]


def orthonormal_columns(canonical: bool = False) -> Surface:
    """Matrices with w^T w = 1; canonical measures lengths as in the quotient of rotations, half along w itself."""

    def half_along(w: Tensor, v: Tensor) -> Tensor:
        return (v * v).sum() - (w.mT @ v).square().sum() / 2

    return Surface(_gram_defect, half_along if canonical else None)


def unit_columns() -> Surface:
    """Matrices whose columns have length 1."""
    return Surface(lambda w: (w * w).sum(-2) - 1)


def defect(surface: Surface, w: Tensor) -> float:
    """Return the largest violated constraint."""
    return float(surface.constraint(w).abs().max())


def jacobian(surface: Surface, w: Tensor) -> Tensor:
    """Return the derivative (c, n p) of the constraint: central differences along all entries."""
    entries = torch.eye(w.numel(), dtype=w.dtype).reshape(-1, *w.shape)
    return ((surface.constraint(w + entries) - surface.constraint(w - entries)) / 2).mT


def bend(surface: Surface, v: Tensor) -> Tensor:
    """Return the change (c, n p) of that derivative along v, the same everywhere."""
    return jacobian(surface, v) - jacobian(surface, 0 * v)


def tangent(surface: Surface, w: Tensor, z: Tensor) -> Tensor:
    """Return the nearest tangent vector to z in the space of matrices: the part orthogonal to all gradients of c."""
    normals = torch.linalg.qr(jacobian(surface, w).mT).Q
    flat = z.reshape(-1)
    return (flat - normals @ (normals.mT @ flat)).reshape(z.shape)


def acceleration(surface: Surface, w: Tensor, v: Tensor) -> Tensor:
    """Return the second derivative of the geodesic with position w and velocity v.

    The Euler-Lagrange equation of g_w(v, v) / 2 with c(w) = 0: its multipliers and the acceleration solve one linear
    system with the second derivative of the constraint on the right.
    """
    normals, bent, energy = jacobian(surface, w), bend(surface, v) @ v.reshape(-1), surface.energy
    if energy is None:
        return _shortest(normals, -bent).reshape(w.shape)
    momentum = grad(lambda at, u: energy(at, u) / 2, argnums=1)
    mass = jacrev(momentum, argnums=1)(w, v).reshape(w.numel(), w.numel())
    force = grad(lambda at: energy(at, v) / 2)(w) - jvp(lambda at: momentum(at, v), (w,), (v,))[1]
    corner = torch.zeros(len(normals), len(normals), dtype=w.dtype)
    system = torch.cat([torch.cat([mass, normals.mT], 1), torch.cat([normals, corner], 1)])
    return torch.linalg.solve(system, torch.cat([force.reshape(-1), -bent]))[: w.numel()].reshape(w.shape)


def jet(surface: Surface, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first three derivatives of the geodesic at its start, the third by differentiating the second."""
    found = jvp(lambda at, u: acceleration(surface, at, u), (w, v), (v, acceleration(surface, w, v)))
    return v, found[0], found[1]


def geodesic(
    surface: Surface,
    w: Tensor,
    v: Tensor,
    times: Sequence[float],
    carried: Sequence[Tensor] = (),
    *,
    tolerance: float = 1e-12,
) -> Curve:
    """Follow the geodesic from w with velocity v and carry tangent vectors along it by parallel transport.

    A vector is parallel when its change is normal to the surface. Times start at 0. Raises ValueError for vectors to
    carry in a metric that is not inherited.
    """
    if len(carried) and surface.energy is not None:
        raise ValueError("carried: vectors given, allowed: none, unless the metric is inherited")

    def rhs(_: Tensor, state: Tensor) -> Tensor:
        at, vectors = state[0], state[1:]
        if surface.energy is not None:
            return torch.stack([vectors[0], acceleration(surface, at, vectors[0])])
        normals = jacobian(surface, at)
        changes = _shortest(normals, -bend(surface, vectors[0]) @ vectors.flatten(1).mT)
        return torch.cat([vectors[:1], changes.mT.reshape(vectors.shape)])

    path, error = integrate(rhs, torch.stack([w, v, *carried]), times, tolerance)
    return Curve(path[:, 0], path[:, 1], path[:, 2:], error)


def _gram_defect(w: Tensor) -> Tensor:
    return upper(w.mT @ w - torch.eye(w.shape[-1], dtype=w.dtype))


def _shortest(normals: Tensor, target: Tensor) -> Tensor:
    """The shortest x with normals x = target."""
    return normals.mT @ torch.linalg.solve(normals @ normals.mT, target)
