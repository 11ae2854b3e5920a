"""Newton's method with the true Hessian: it is drawn to critical points of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp

import numpy as np
import torch
from scipy.optimize import brentq
from sympy import Expr, S, Symbol
from sympy import exp as exponential

from derivations.compiled import evaluate, function
from derivations.deep_linear import critical_points
from derivations.notation import DEPTH, ETA, TIME
from numerics import autograd, curvature
from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear, Direction, flatten, unflatten
from numerics.problems import Problem
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most, both, equal, vanishes
from tests.checker.figure import Figure, Panel, Series
from tests.claims.loss import Widths
from tests.claims.settings import Setting, aligned, array, generic


@dataclass(frozen=True, slots=True)
class Newton:
    """dw/dt = -H^{-1} g with the true Hessian of the loss, from automatic differentiation."""

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        slope = flatten(curvature.gradient(net, problem))
        return unflatten(-torch.linalg.solve(autograd.hessian(net, problem), slope[..., None])[..., 0], net.widths)


@lru_cache(maxsize=32)
def newton_flow(widths: Widths, scale: float, seed: int, time: float) -> tuple[Setting, Trajectory]:
    """Newton's flow of three two-layer networks from small Gaussian weights, with correlated inputs."""
    setting = generic(2, widths, seed, scale=scale, correlated=True, seeds=3)
    if setting.net.widths[0] != setting.net.widths[-1]:
        raise ValueError(f"widths: {setting.net.widths} given, allowed: as many outputs as inputs")
    times = np.linspace(0, time, 4).tolist()
    return setting, flow(setting.net, setting.problem, Newton(), times, tolerance=1e-8)


newton = Claim(
    "hessian.newton-any-extremum",
    source="A section 2",
    says="Wherever the true Hessian can be inverted, its flow makes the gradient decay exponentially: critical points "
    "of every kind attract.",
    formula=critical_points.newton_gradient,
    lhs="g(t)",
    uses=("hessian.saddle",),
    near_misses={
        "half the rate": lambda: critical_points.SLOPE_0 * exponential(-ETA * TIME / 2),
        "algebraic decay": lambda: critical_points.SLOPE_0 / (1 + ETA * TIME),
    },
    falsifiers={"driven away": lambda: critical_points.SLOPE_0 * exponential(ETA * TIME)},
    remark=(
        "The signs of the curvature cancel from $`\\dot g = H \\dot w = -\\eta\\, g`$. Two-layer networks with "
        "small weights run into the saddle at zero, which gradient descent leaves."
    ),
)


@newton.proof(generic_in="loss, network, parameters")
def curvature_cancels(formula):
    """The Hessian meets its inverse, and the gradient obeys a linear equation."""
    return critical_points.is_newton_gradient(formula)


@newton.check(grid(widths=[(2, 2, 2), (2, 3, 2), (3, 1, 3)], scale=[0.1], seed=[0], time=[3.0]))
def gradient_along_the_flow(formula, widths, scale, seed, time):
    """Newton's flow of networks near the saddle: their gradients over time, and their weights at the end."""
    setting, run = newton_flow(widths, scale, seed, time)
    net, problem = setting.net, setting.problem
    slopes = array(flatten(autograd.gradient(run.nets(), problem)))
    values = {critical_points.SLOPE_0: slopes[0], TIME: array(run.times)[:, None, None], ETA: 1.0}
    predicted = evaluate(formula, values)
    stretch = float(torch.linalg.matrix_norm(autograd.hessian(net, problem), 2).max())
    budget = integration(stretch * net.parameters**0.5 * run.error)
    decay = agree(slopes, predicted, bound=budget + rounding(float(np.abs(slopes).max()), net.parameters))
    # near the saddle the weights are the gradient divided by curvatures of at least the smallest singular value
    softest = float(torch.linalg.svdvals(problem.teacher @ problem.covariance).min())
    at_the_end = 2 * np.linalg.norm(predicted[-1], axis=-1) / softest
    return both(decay, at_most(run.net(-1).norm(), at_the_end, bound=integration(run.error))).on(setting)


threshold = Claim(
    "hessian.newton-threshold",
    source="A section 2",
    says="From balanced weights Newton's method finds the goal only if it starts above a fixed fraction of it.",
    formula=critical_points.newton_threshold,
    lhs=r"\sigma_c / \sigma^*",
    uses=("hessian.newton-any-extremum",),
    near_misses={
        "one more layer": lambda: DEPTH / (2 * DEPTH + 1),
        "one half, the limit of deep networks": lambda: S.Half,
    },
    falsifiers={"share of one layer": lambda: 1 / DEPTH, "no threshold": lambda: S.Zero},
    remark=(
        "Lower starts end at the saddle at zero. The fraction grows from $`1/3`$ for two layers towards $`1/2`$; at "
        "the threshold the curvature along the balanced direction vanishes."
    ),
)


@threshold.proof(generic_in="depth, teacher value")
def slope_along_balanced_weights(formula):
    """The gradient over balanced weights falls, then rises; Newton's flow moves to where it was already smaller."""
    return critical_points.is_newton_threshold(formula)


@lru_cache(maxsize=256)
def balanced_at(depth: int, widths: Widths, seed: int, fraction: float) -> Setting:
    """An aligned, balanced network whose every map value is a given fraction of the teacher's."""
    goals = aligned(depth, widths, seed).goals
    values = [float((fraction * goal) ** (1 / depth)) if fraction * goal >= 0 else float("nan") for goal in goals]
    return aligned(depth, widths, seed, modes=(tuple(values),) * depth, goals=tuple(float(goal) for goal in goals))


def _predicted(formula: Expr, depth: int) -> float:
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 2")
    return float(evaluate(formula, {DEPTH: depth}))


@threshold.check(grid(depth=[2, 3, 4, 6], widths=["square", "widening", "wide"], seed=range(2)))
def curvature_vanishes(formula, depth, widths, seed):
    """The Hessian of a full network at the threshold, along the balanced direction of each of its modes."""
    setting = balanced_at(depth, widths, seed, _predicted(formula, depth))
    net, bases = setting.net, setting.frame.bases
    found = []
    for k, goal in enumerate(array(setting.goals)):
        along = tuple(torch.outer(bases[i + 1][:, k], bases[i][:, k]) for i in range(depth))
        image = autograd.hessian_vector(net, setting.problem, along)
        scale = depth**0.5 * (2 * depth - 1) * goal ** (2 - 2 / depth)
        bound = rounding(scale, 4 * sum(net.widths) + net.widths[0] * net.widths[-1])
        found.append(vanishes(flatten(image), bound=bound, scale=scale))
    return both(*found).on(setting)


STARTS = (0.15, 0.32, 0.345, 0.39, 0.41, 0.43, 0.45, 0.8)


@lru_cache(maxsize=64)
def newton_chains(depth: int) -> Trajectory:
    """Newton's flow of balanced chains of single units with the goal 1, one for each start; maps (T, starts, 1, 1)."""
    layer = torch.tensor(STARTS, dtype=torch.float64).pow(1 / depth)[:, None, None]
    problem = Problem(torch.ones((1, 1), dtype=torch.float64))
    return flow(DeepLinear((layer,) * depth), problem, Newton(), [0, 0.1, 0.25, 0.5, 1, 2, 3, 5], tolerance=1e-4)


@threshold.check(grid(depth=[2, 5]))
def ends_of_the_flow(formula, depth):
    """Newton's flow of chains of single units: which starts end at the goal, and which at zero."""
    run = newton_chains(depth)
    ends = np.rint(array(run.products()[-1]).ravel())
    reached = np.array(STARTS) > _predicted(formula, depth)
    setting = Setting(run.net(0), Problem(torch.ones((1, 1), dtype=torch.float64)))
    return equal(ends.tolist(), reached.astype(float).tolist()).on(setting)


@threshold.figure
def basins(formula):
    """Map values over time along Newton's flow, from starts on either side of the threshold."""
    return Figure(
        "Newton's flow of balanced chains of single units, trained as dots. The lines follow from the exponential "
        "decay of the gradient alone; starts above the threshold reach the goal, the others the saddle at zero.",
        tuple(_basin_panel(formula, depth) for depth in (2, 5)),
    )


def _basin_panel(formula, depth):
    run, limit, series = newton_chains(depth), _predicted(formula, depth), []
    times, fine = array(run.times), 5 * np.linspace(0, 1, 31) ** 2
    above = int(np.searchsorted(STARTS, limit))
    for place in sorted({0, above - 1, above, len(STARTS) - 1} & set(range(len(STARTS)))):
        curve = _decayed(depth, STARTS[place], limit, fine)
        series.append(Series("" if place else "theory", fine, curve, "theory"))
        dots = run.products()[:, place].ravel()
        series.append(Series("" if place else "simulation", times, dots, "simulation"))
    series.append(Series("threshold", [0, 5], [limit, limit], "reference"))
    return Panel(f"{depth} layers", "time", "map value / goal", tuple(series))


def _decayed(depth: int, start: float, limit: float, times: np.ndarray) -> list[float]:
    """The map values on the same side of the threshold at which the slope has decayed by exp(-time)."""
    a = Symbol("a", positive=True)
    slope = function(critical_points.balanced_slope(a, S.One), (a, DEPTH))
    low, high = (1e-300, limit) if start < limit else (limit, 1.0)
    found = [start]
    for time in times[1:]:
        decayed = exp(-time) * float(slope(start ** (1 / depth), depth))
        found.append(brentq(lambda value, aim=decayed: float(slope(value ** (1 / depth), depth)) - aim, low, high))
    return found
