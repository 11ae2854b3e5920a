"""Flows of the weights along an update rule, with a measured error.

Time is in units of 1 / eta. The integrator is DOP853 with one step size per seed; it steps exactly to
every reported time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from numerics import curvature
from numerics._descent import fused_descent
from numerics._dop853 import Diverged, Solution, solve
from numerics.networks import DeepLinear, flatten, unflatten
from numerics.problems import Problem
from numerics.rules import GradientDescent, Rule

__all__ = ["Diverged", "Trajectory", "flow", "heavy_ball", "integrate"]

FLOOR = 3e-14
Times = Sequence[float] | Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Networks at the reported times (T,); weights[i-1] has shape (T, *S, n_i, n_{i-1}).

    error bounds the absolute error of every weight: the largest difference between the run at the asked
    tolerance and one at 100x tighter tolerance (whose weights these are), plus accumulated rounding.
    """

    times: Tensor
    weights: tuple[Tensor, ...]
    error: float
    evaluations: int
    steps: int

    def net(self, k: int) -> DeepLinear:
        """Return the network at times[k]."""
        return DeepLinear(tuple(w[k] for w in self.weights))

    def nets(self) -> DeepLinear:
        """Return the networks of all times as one batch (T, *S)."""
        return DeepLinear(self.weights)

    def products(self) -> Tensor:
        """Return the end-to-end maps (T, *S, n_d, n_0)."""
        return self.nets().product()

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[DeepLinear]:
        return (self.net(k) for k in range(len(self)))


def flow(net: DeepLinear, problem: Problem, rule: Rule, times: Times, *, tolerance: float = 1e-12) -> Trajectory:
    """Follow dw/dt = rule.velocity(w) from net at times[0] through increasing times.

    Raises ValueError for times that do not increase, Diverged when the solution leaves every bound.
    """

    def rhs(_: Tensor, y: Tensor) -> Tensor:
        return flatten(rule.velocity(DeepLinear(unflatten(y, net.widths)), problem))

    if isinstance(rule, GradientDescent) and net.device.type == "cpu" and len(net.batch) <= 1:
        problem.error(net)
        return _follow(net, flatten(net.weights), fused_descent(net.widths, problem, rule.eta), times, tolerance)
    return _follow(net, flatten(net.weights), rhs, times, tolerance)


def heavy_ball(
    net: DeepLinear, problem: Problem, friction: float, times: Times, *, tolerance: float = 1e-12
) -> Trajectory:
    """Follow d2w/dt2 = -friction dw/dt - g from rest."""

    def rhs(_: Tensor, y: Tensor) -> Tensor:
        weights, velocity = y.chunk(2, dim=-1)
        g = flatten(curvature.gradient(DeepLinear(unflatten(weights, net.widths)), problem))
        return torch.cat([velocity, -friction * velocity - g], dim=-1)

    start = flatten(net.weights)
    return _follow(net, torch.cat([start, torch.zeros_like(start)], dim=-1), rhs, times, tolerance)


def integrate(
    rhs: Callable[[Tensor, Tensor], Tensor],
    y0: Tensor,
    times: Times,
    tolerance: float = 1e-12,
    *,
    batch: int = 0,
) -> tuple[Tensor, float]:
    """Solve dy/dt = rhs(t, y) and return (y at the times, (T, *y0.shape); error), error as in Trajectory.

    The first `batch` dimensions of y0 hold independent systems with their own step sizes; t has that shape.
    """
    shape = tuple(y0.shape)
    flat = y0.reshape(*shape[:batch], -1) if batch else y0.reshape(1, -1)

    def wrapped(t: Tensor, y: Tensor) -> Tensor:
        found = rhs(t.reshape(shape[:batch]), y.reshape(shape))
        return found.reshape(y.shape)

    grid = torch.as_tensor(times, dtype=torch.float64, device=y0.device)
    solution, error = _measured(wrapped, flat, grid, tolerance)
    return solution.values.reshape(len(grid), *shape), error


def _follow(
    net: DeepLinear,
    start: Tensor,
    rhs: Callable[[Tensor, Tensor], Tensor],
    times: Times,
    tolerance: float,
) -> Trajectory:
    grid = torch.as_tensor(times, dtype=torch.float64, device=net.device)

    def shaped(t: Tensor, y: Tensor) -> Tensor:
        return rhs(t, y.reshape(start.shape)).reshape(y.shape)

    own = rhs if start.ndim == 2 else shaped
    solution, error = _measured(own, start.reshape(-1, start.shape[-1]), grid, tolerance)
    values = solution.values.reshape(len(grid), *start.shape)[..., : net.parameters]
    return Trajectory(grid, unflatten(values, net.widths), error, solution.evaluations, solution.steps)


def _measured(
    rhs: Callable[[Tensor, Tensor], Tensor], start: Tensor, times: Tensor, tolerance: float
) -> tuple[Solution, float]:
    if not FLOOR <= tolerance <= 1e-3:
        raise ValueError(f"tolerance: {tolerance} given, allowed: {FLOOR} <= tolerance <= 1e-3")
    if times.ndim != 1 or len(times) < 1 or not bool((times.diff() > 0).all()):
        raise ValueError(f"times: {times.tolist()} given, allowed: an increasing sequence")
    coarse = solve(rhs, start, times, tolerance)
    fine = solve(rhs, start, times, max(tolerance / 100, FLOOR))
    if fine.steps < 1.5 * coarse.steps and len(times) > 1:
        # a method of order 8 should take 1.8 times the steps: where dense reports set them instead, both runs would
        # share their error, so halve the steps of one
        halves = torch.cat([times, (times[1:] + times[:-1]) / 2]).sort().values
        halved = solve(rhs, start, halves, max(tolerance / 100, FLOOR))
        fine = replace(halved, values=halved.values[::2])
    rounding = torch.finfo(start.dtype).eps * fine.steps * float(fine.values.abs().max())
    return fine, float((fine.values - coarse.values).abs().max()) + rounding
