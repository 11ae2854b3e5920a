"""Students that learn a low-rank teacher from noisy data: tasks, small initial weights, damped block rules, courses.

Inputs are white, so that the loss of new data is 1/2 |W - T|^2 with the clean teacher T; the data themselves are
explained best by the map T + noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from numerics.frames import haar, normal
from numerics.networks import DeepLinear, Direction
from numerics.problems import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A clean teacher map, the problem that its noisy data pose, and the number of its modes."""

    teacher: Tensor
    problem: Problem
    rank: int

    def new_data_loss(self, maps: Tensor) -> Tensor:
        """Return the loss on new data of maps (*S, n, n), up to the variance of the noise."""
        return (maps - self.teacher).square().sum((-2, -1)) / 2

    def strengths(self, maps: Tensor) -> Tensor:
        """Return the fractions (*S, n) to which maps have learned each singular mode of the data, strongest first."""
        u, s, vh = torch.linalg.svd(self.problem.teacher)
        return (u.mT @ maps @ vh.mT).diagonal(dim1=-2, dim2=-1) / s


def lesson(n: int, values: tuple[float, ...], noise: float, generator: torch.Generator) -> Lesson:
    """Return an n x n teacher with the given singular values whose data have noise of the given largest mode.

    The noise is Gaussian; its spectrum fills [0, noise] for large n.
    """
    if len(values) > n:
        raise ValueError(f"values: {len(values)} given, allowed: at most {n}")
    left, right = haar(n, generator), haar(n, generator)
    teacher = left[:, : len(values)] * torch.tensor(values, dtype=torch.float64) @ right[:, : len(values)].mT
    disturbed = teacher + noise / (2 * n**0.5) * normal((n, n), generator)
    return Lesson(teacher, Problem(disturbed), len(values))


def small_weights(n: int, depth: int, largest: float, generator: torch.Generator) -> DeepLinear:
    """Return Gaussian layers (n, n), each with the given largest singular value."""
    layers = [normal((n, n), generator) for _ in range(depth)]
    return DeepLinear(tuple(largest * w / torch.linalg.matrix_norm(w, 2) for w in layers))


@dataclass(frozen=True, slots=True)
class DampedBlocks:
    """dw_i/dt = -(1 / d) (epsilon + H_i)^{-1} g_i with one curvature block per layer, for white inputs."""

    epsilon: float

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        error, found = problem.error(net), []
        for a, b in zip(net.lefts(), net.rights(), strict=True):
            upper, lower = torch.linalg.svd(a, full_matrices=False), torch.linalg.svd(b, full_matrices=False)
            product = upper.S[..., :, None] * lower.S[..., None, :]
            core = product / (self.epsilon + product**2) * (upper.U.mT @ error @ lower.Vh.mT)
            found.append(-(upper.Vh.mT @ core @ lower.U.mT) / net.depth)
        return tuple(found)


def half_times(times: Tensor, strengths: Tensor) -> Tensor:
    """Return the times (n,) at which the strengths (T, n) first pass one half, linear in log time; inf if never."""
    passed = strengths >= 0.5
    first = passed.to(torch.int64).argmax(0)
    before = (first - 1).clamp_min(0)
    columns = torch.arange(strengths.shape[1])
    low, high = strengths[before, columns], strengths[first, columns]
    share = torch.where(first > 0, (0.5 - low) / (high - low), torch.ones_like(low))
    found = torch.exp(torch.lerp(times[before].log(), times[first].log(), share))
    return torch.where(passed.any(0), found, torch.inf)
