"""The Dormand-Prince method of order 8 with one step size per system.

Coefficients are those published by scipy. The error of a step is measured per system in the Euclidean
norm, relative to the norm of its state. The bookkeeping runs in numpy on the CPU, where its operations cost a
fraction of torch's, and in torch elsewhere: `xp` is the module in use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy.integrate import DOP853
from torch import Tensor

Rhs = Callable[[Tensor, Tensor], Tensor]
Array = Any
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


def solve(rhs: Rhs, start: Tensor, times: Tensor, tolerance: float) -> Solution:
    """Integrate dy/dt = rhs(t, y), t (S,), y (S, n), through all times to a relative tolerance."""
    if start.device.type != "cpu":
        return _solve(torch, rhs, start, times, tolerance, _tableau(times.new_tensor))

    def bridged(t: Array, y: Array) -> Array:
        return rhs(torch.from_numpy(t), torch.from_numpy(y)).numpy()

    with np.errstate(all="ignore"):
        return _solve(np, bridged, start.numpy(), times.numpy(), tolerance, _tableau(np.asarray))


def _tableau(array: Callable[[Any], Array]) -> tuple[Array, ...]:
    return tuple(array(part) for part in (DOP853.A, DOP853.B, DOP853.C, DOP853.E3, DOP853.E5))


def _solve(
    xp: ModuleType,
    rhs: Callable[[Array, Array], Array],
    y: Array,
    times: Array,
    tolerance: float,
    tableau: tuple,
) -> Solution:
    systems, last = y.shape[0], len(times) - 1
    t = times[:1].repeat(systems)
    values = xp.stack([y] * len(times))
    stages = xp.stack([rhs(t, y)] * 13)
    goal = xp.ones_like(t, dtype=xp.int64)
    planned = _first_step(xp, y, stages[0], tolerance, times)
    rejected = goal < 0
    for count in range(LIMIT):
        running = goal <= last
        if not bool(running.any()):
            return Solution(torch.as_tensor(values), 1 + 12 * count, count)
        _check(planned, t, y, running)
        target = times[xp.clip(goal, None, last)]
        # a step that would leave a sliver before the target is stretched to it
        reaches = planned * 1.000001 >= target - t
        h = xp.where(reaches, target - t, planned) * running
        proposal, error = _attempt(xp, rhs, t, y, h, stages, tableau)
        error = xp.nan_to_num(error / tolerance, nan=np.inf)
        accepted = (error < 1) & running
        growth = xp.clip(0.9 * xp.clip(error, 1e-20, None) ** (-1 / 8), 0.2, 5.0)
        growth = xp.where(rejected, xp.clip(growth, None, 1.0), growth)
        # a step shortened to meet a reported time says little about the next one
        proposed = xp.where(accepted & reaches, xp.maximum(planned, h * growth), h * growth)
        planned = xp.where(running, proposed, planned)
        rejected = running & ~accepted
        y = xp.where(accepted[:, None], proposal, y)
        t = xp.where(accepted, xp.where(reaches, target, t + h), t)
        stages[0] = xp.where(accepted[:, None], stages[12], stages[0])
        arrived = accepted & reaches
        if bool(arrived.any()):
            which = xp.nonzero(arrived, **({"as_tuple": True} if xp is torch else {}))[0]
            values[goal[which], which] = y[which]
            goal = goal + arrived
    time = float(t.min())
    raise Diverged(f"flow: {LIMIT} steps were not enough, the slowest system reached t = {time:.6g}", time)


def _attempt(
    xp: ModuleType,
    rhs: Callable[[Array, Array], Array],
    t: Array,
    y: Array,
    h: Array,
    stages: Array,
    tableau: tuple,
) -> tuple[Array, Array]:
    a, b, c, e3, e5 = tableau
    flat, width = stages.reshape(13, -1), h[:, None]
    try:
        for s in range(1, 12):
            stages[s] = rhs(t + c[s] * h, y + width * (a[s, :s] @ flat[:s]).reshape(y.shape))
        proposal = y + width * (b @ flat[:12]).reshape(y.shape)
        stages[12] = rhs(t + h, proposal)
    except (torch.linalg.LinAlgError, np.linalg.LinAlgError):
        # an infinite stage has no decomposition: every system retries with a shorter step
        return y, xp.full_like(h, np.inf)
    fifth = ((e5 @ flat).reshape(y.shape) ** 2).sum(-1)
    third = ((e3 @ flat).reshape(y.shape) ** 2).sum(-1)
    scale = xp.maximum(_norm(xp, y), _norm(xp, proposal))
    return proposal, h * fifth / xp.clip(xp.sqrt(fifth + 0.01 * third), 1e-300, None) / scale


def _norm(xp: ModuleType, y: Array) -> Array:
    return xp.clip(xp.sqrt((y * y).sum(-1)), 1e-150, None)


def _first_step(xp: ModuleType, y: Array, velocity: Array, tolerance: float, times: Array) -> Array:
    rate = _norm(xp, velocity) / _norm(xp, y)
    return xp.clip(tolerance**0.125 / rate, 1e-300, float(times[-1] - times[0]) or 1.0)


def _check(planned: Array, t: Array, y: Array, running: Array) -> None:
    stuck = running & (planned < 4e-16 * abs(t))
    if bool(stuck.any()):
        k = int(stuck.nonzero()[0][0])
        time, size = float(t[k]), float((y[k] ** 2).sum() ** 0.5)
        raise Diverged(
            f"flow: system {k} cannot pass t = {time:.9g}: the step size fell below rounding at state norm "
            f"{size:.3g}; the solution or its velocity becomes singular there",
            time,
        )
