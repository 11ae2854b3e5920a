"""The Dormand-Prince method of order 8 with one step size per system, in torch.

Coefficients are those published by scipy. The error of a step is measured per system in the Euclidean
norm, relative to the norm of its state.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from scipy.integrate import DOP853
from torch import Tensor

Rhs = Callable[[Tensor, Tensor], Tensor]
LIMIT = 100_000


class Diverged(RuntimeError):
    """The solution could not be continued; `time` is how far it got."""

    def __init__(self, message: str, time: float) -> None:
        super().__init__(message)
        self.time = time


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """States (T, S, n) at the reported times; evaluations and steps of the batch as a whole."""

    values: Tensor
    evaluations: int
    steps: int


@cache
def _tableau(device: torch.device) -> tuple[Tensor, ...]:
    parts = (DOP853.A, DOP853.B, DOP853.C, DOP853.E3, DOP853.E5)
    return tuple(torch.tensor(p, dtype=torch.float64, device=device) for p in parts)


def solve(rhs: Rhs, start: Tensor, times: Tensor, tolerance: float) -> Solution:
    """Integrate dy/dt = rhs(t, y), t (S,), y (S, n), through all times to a relative tolerance."""
    systems, n = start.shape
    t = times[0].expand(systems).clone()
    y, values = start.clone(), start.expand(len(times), systems, n).clone()
    stages = torch.empty((13, systems, n), dtype=start.dtype, device=start.device)
    stages[0] = rhs(t, y)
    goal = torch.ones(systems, dtype=torch.long, device=start.device)
    planned = _first_step(y, stages[0], tolerance, times)
    rejected = torch.zeros(systems, dtype=torch.bool, device=start.device)
    evaluations, last = 1, len(times) - 1
    for count in range(LIMIT):
        running = goal <= last
        if not bool(running.any()):
            return Solution(values, evaluations, count)
        target = times[goal.clamp_max(last)]
        remaining = target - t
        # a step that would leave a sliver before the target is stretched to it
        reaches = planned * 1.000001 >= remaining
        h = torch.where(reaches, remaining, planned) * running
        _check(planned, t, y, running)
        proposal, error = _attempt(rhs, t, y, h, stages)
        evaluations += 12
        error = torch.nan_to_num(error / tolerance, nan=torch.inf)
        accepted = (error < 1) & running
        growth = 0.9 * error.clamp_min(1e-20) ** (-1 / 8)
        growth = growth.clamp(0.2, 10.0)
        growth = torch.where(rejected, growth.clamp_max(1.0), growth)
        # a step shortened to meet a reported time says little about the next one
        regular = torch.where(accepted & reaches, torch.maximum(planned, h * growth), h * growth)
        planned = torch.where(running, regular, planned)
        rejected = ~accepted & running
        y = torch.where(accepted[:, None], proposal, y)
        t = torch.where(accepted, torch.where(reaches, target, t + h), t)
        stages[0] = torch.where(accepted[:, None], stages[12], stages[0])
        arrived = accepted & reaches
        values[goal[arrived], arrived.nonzero()[:, 0]] = y[arrived]
        goal = goal + arrived
    time = float(t.min())
    raise Diverged(f"flow: {LIMIT} steps were not enough, the slowest system reached t = {time:.6g}", time)


def _attempt(rhs: Rhs, t: Tensor, y: Tensor, h: Tensor, stages: Tensor) -> tuple[Tensor, Tensor]:
    a, b, c, e3, e5 = _tableau(y.device)
    flat = stages.reshape(13, -1)
    width = h[:, None]
    try:
        for s in range(1, 12):
            stages[s] = rhs(t + c[s] * h, y + width * (a[s, :s] @ flat[:s]).reshape(y.shape))
        proposal = y + width * (b @ flat[:12]).reshape(y.shape)
        stages[12] = rhs(t + h, proposal)
    except torch.linalg.LinAlgError:
        # an infinite stage has no decomposition: every system retries with a shorter step
        return y, torch.full_like(h, torch.inf)
    fifth = (e5 @ flat).reshape(y.shape).square().sum(-1)
    third = (e3 @ flat).reshape(y.shape).square().sum(-1)
    scale = torch.maximum(y.square().sum(-1), proposal.square().sum(-1)).sqrt().clamp_min(1e-150)
    size = (fifth + 0.01 * third).sqrt().clamp_min(1e-300)
    return proposal, h * fifth / size / scale


def _first_step(y: Tensor, velocity: Tensor, tolerance: float, times: Tensor) -> Tensor:
    span = times[-1] - times[0]
    rate = velocity.norm(dim=-1) / y.norm(dim=-1).clamp_min(1e-150)
    return torch.minimum(tolerance**0.125 / rate.clamp_min(1e-150), span.expand_as(rate)).clamp_min(1e-300)


def _check(planned: Tensor, t: Tensor, y: Tensor, running: Tensor) -> None:
    stuck = running & (planned < 4e-16 * t.abs().clamp_min(1e-300))
    if bool(stuck.any()):
        k = int(stuck.nonzero()[0])
        time, size = float(t[k]), float(y[k].norm())
        raise Diverged(
            f"flow: system {k} cannot pass t = {time:.9g}: the step size fell below rounding at state norm "
            f"{size:.3g}; the solution or its velocity becomes singular there",
            time,
        )
