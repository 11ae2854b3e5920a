"""Growth of the map out of small values: linear gaps, power laws and layers linear in time."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Expr, exp, sqrt

from derivations.compiled import evaluate
from derivations.deep_linear import growth
from derivations.deep_linear.loss import GAP_0
from derivations.notation import (
    DEPTH,
    ETA,
    ETA_TILDE,
    SIGMA_0,
    SIGMA_I0,
    SIGMA_STAR,
    TIME,
    P,
    Q,
)
from numerics.flows import flow
from numerics.rules import Fractional, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED, BALANCED, DEFINITE, FULL_ROW_RANK, WHITENED
from tests.claims.maps import balanced_start
from tests.claims.modes_natural import RATE
from tests.claims.settings import Setting, array, near_solution

GIVEN = (ALIGNED, BALANCED, WHITENED)
TIMES = (0.0, 0.5, 2.0)


def rule_of(q: float) -> Rule:
    """The rule of an order; gradient descent has a faster flow of its own."""
    return GradientDescent(RATE) if q == inf else Fractional(q, RATE)


def stiffness(depth: int, q: float) -> float:
    """p of depth and order, as a number; raises ``ValueError`` for an order below 1."""
    if not q >= 1:
        raise ValueError(f"q: {q} given, allowed: q >= 1")
    return 2 * (1 - 1 / depth) * (1 - 1 / q)


def balanced_values(depth: int, q: float, goal: float) -> dict:
    """Stiffness, rate constant, goal, depth and order of a balanced mode."""
    clock = RATE * depth ** (1 - 1 / q)
    return {P: stiffness(depth, q), ETA_TILDE: clock, ETA: RATE, SIGMA_STAR: goal, DEPTH: depth, Q: q}


@lru_cache(maxsize=64)
def linear_flow(depth: int, widths: str | tuple[int, ...], seed: int) -> tuple[Setting, np.ndarray, Bound]:
    """Gaps (T, n_d, n_0) along natural gradient descent on correlated inputs, nothing aligned, and their budget."""
    setting = near_solution(depth, widths, seed, correlated=True)
    run = flow(setting.net, setting.problem, NaturalGradient(RATE), TIMES)
    gaps = array(run.products() - setting.problem.teacher)
    reach = sum(
        float((np.linalg.norm(array(a), 2, (-2, -1)) * np.linalg.norm(array(b), 2, (-2, -1))).max())
        for a, b in zip(run.nets().lefts(), run.nets().rights(), strict=True)
    )
    operations = setting.net.parameters + sum(setting.net.widths)
    size = float(np.abs(array(run.products())).max())
    return setting, gaps, integration(reach * max(setting.net.widths) * run.error) + rounding(size, operations)


linear = Claim(
    "growth.linear-map",
    source="A section 3.2",
    says="Under natural gradient descent the gap of the map decays with one time constant, as in a shallow network.",
    formula=growth.linear_gap,
    lhs=r"\Delta(t)",
    given=(DEFINITE,),
    conditions=(FULL_ROW_RANK,),
    uses=("natural-gradient.any-covariance",),
    near_misses={
        "depth-calibrated rate of the square root": lambda: GAP_0 * exp(-ETA * sqrt(DEPTH) * TIME),
        "rate of the loss": lambda: GAP_0 * exp(-2 * ETA * TIME),
    },
    falsifiers={"faster with depth": lambda: GAP_0 * exp(-ETA * DEPTH * TIME)},
    remark=(
        "Depth, teacher and input covariance drop out, without alignment and without balance. What is needed is that "
        "the layers can make every change of the map: no hidden layer narrower than both ends, and no loss of rank on "
        "the way. A balanced mode that starts with the wrong sign must pass zero, where the weights become singular."
    ),
)


@linear.proof(generic_in="depth, widths, covariance, teacher")
def linear_equation_of_the_map(formula):
    """The velocity of the map under the natural gradient, and the linear equation that it leaves."""
    return growth.is_linear_gap(formula)


def _decays(formula: Expr, depth: int, widths: str | tuple[int, ...], seed: int) -> Evidence:
    setting, gaps, bound = linear_flow(depth, widths, seed)
    values = {GAP_0: gaps[0], TIME: np.array(TIMES)[:, None, None], ETA: RATE, DEPTH: depth}
    return agree(gaps, evaluate(formula, values), bound=bound).on(setting)


@linear.check(
    grid(depth=[2, 3], widths=["narrowing", "wide"], seed=[0]) + grid(depth=[1, 4], widths=["widening"], seed=[0])
)
def gaps_of_flows(formula, depth, widths, seed):
    """All entries of the gap along flows of full networks on correlated inputs, nothing aligned or balanced."""
    return _decays(formula, depth, widths, seed)


@linear.without(FULL_ROW_RANK, grid(depth=[2, 3], widths=["waist"], seed=[0]))
def gaps_behind_a_bottleneck(formula, depth, widths, seed):
    """The same with a hidden layer narrower than both ends."""
    return _decays(formula, depth, widths, seed)


@lru_cache(maxsize=64)
def small_flow(
    depth: int, q: float, widths: str | tuple[int, ...], start: float, goal: float, time: float
) -> tuple[Setting, np.ndarray, Bound]:
    """Layer values (T, d) of one balanced mode at thirds of a short time, and their relative budget."""
    if time <= 0:
        raise ValueError(f"time: {time} given, allowed: time > 0")
    setting = balanced_start(depth, widths, 0, starts=(start,), goals=(goal,))
    run = flow(setting.net, setting.problem, rule_of(q), [0.0, time / 3, 2 * time / 3, time], tolerance=1e-11)
    layers = array(setting.frame.modes(run.nets()))[1:, :, 0]
    relative = depth * max(setting.net.widths) * (run.error / float(layers.min()))
    return setting, layers, Bound((("integration", relative),))


law = Claim(
    "growth.power-law",
    source="A section 3.2",
    says="Out of small values a balanced map grows by one power law: polynomial for p < 1, explosive for p > 1.",
    formula=growth.power_law,
    lhs=r"\sigma(t \mid \sigma \ll \sigma^*)",
    given=GIVEN,
    uses=("map.balanced-rate-signed",),
    near_misses={
        "exponent 1/(1 + p)": lambda: (SIGMA_0 ** (1 - P) + (1 - P) * ETA_TILDE * SIGMA_STAR * TIME) ** (1 / (1 + P)),
        "plain learning rate": lambda: growth.power_law().subs(ETA_TILDE, ETA),
    },
    falsifiers={"linear for every stiffness": lambda: growth.power_law().subs(P, 0)},
    remark=(
        "For natural gradient descent this is $`\\sigma \\simeq \\eta\\sigma^* t`$, for the square root "
        "$`\\sigma \\propto t^d`$, from a start of exactly zero included as a limit. For $`p > 1`$ the power is "
        "negative and the map would be infinite at the time $`\\sigma_0^{1-p} / ((p - 1) \\tilde\\eta \\sigma^*)`$: "
        "this is the escape time."
    ),
)


@law.proof(generic_in="stiffness p, start, goal")
def straight_line_in_the_absorbed_variable(formula):
    """The equation with its full gap is solved for p below and above 1; the shrinking of the gap bounds the error."""
    return growth.follows_power_law(formula)


SHORT = (
    grid(depth=[2], q=[2], widths=["wide"], start=[1e-12], goal=[1.0], time=[1e-4])
    + grid(depth=[3], q=[2], widths=["widening"], start=[1e-12], goal=[1.7], time=[1e-3])
    + grid(depth=[2, 3], q=[1], widths=["narrowing"], start=[1e-11], goal=[2.0], time=[1e-9])
    + grid(depth=[1], q=[2], widths=["widening"], start=[1e-11], goal=[2.0], time=[1e-9])
    + grid(depth=[3], q=[inf], widths=["wide"], start=[1e-12], goal=[1.3], time=[9e3])
    + grid(depth=[4], q=[4], widths=[(2, 3, 2, 2, 3)], start=[1e-12], goal=[1.0], time=[60])
)


@law.check(SHORT)
def short_flows(formula, depth, q, widths, start, goal, time):
    """Short flows of full networks from tiny starts, fast and slow, below a ten-millionth of the goal."""
    values = balanced_values(depth, q, goal)
    if values[P] == 1:
        raise ValueError(f"q: {q} given with depth {depth}, allowed: orders of a stiffness other than 1")
    setting, layers, relative = small_flow(depth, q, widths, start, goal, time)
    observed = layers.prod(1)
    times = np.array([1 / 3, 2 / 3, 1]) * time
    predicted = evaluate(formula, {**values, SIGMA_0: start, TIME: times})
    # the gap lies between goal - sigma and goal: y = sigma^(1-p) lags by this, and sigma by sigma^p times as much
    shift = 2 * observed ** (1 + values[P]) * values[ETA_TILDE] * times
    worst = float((shift / observed).max()) * float(observed.max())
    rest = relative.total + rounding(1.0, 8 * depth, 1 + float(np.log(goal / start))).total
    bound = remainder(worst) + Bound((("integration and rounding", rest * float(observed.max())),))
    return agree(observed, predicted, bound=bound).on(setting)


@law.figure
def growth_over_decades(formula):
    """Log-log learning curves near zero of three rules at several depths."""
    panels = []
    for title, q, last in (
        ("natural gradient", 1.0, 0.1),
        ("square root", 2.0, 1.0),
        ("gradient descent", inf, 142.0),
    ):
        series = []
        for depth in (2, 3):
            values = balanced_values(depth, q, 1.0)
            if values[P] == 1:
                continue
            times = np.geomspace(last / 1e4, last, 13)
            setting = balanced_start(depth, (2,) * (depth + 1), 0, starts=(1e-6,), goals=(1.0,))
            run = flow(setting.net, setting.problem, rule_of(q), [0.0, *times], tolerance=1e-6)
            dots = array(setting.frame.modes(run.nets()))[1:, :, 0].prod(1)
            fine = np.geomspace(times[0], times[-1], 80)
            line = evaluate(formula, {**values, SIGMA_0: 1e-6, TIME: fine})
            line[line > 1] = np.nan
            series += [Series(f"depth {depth}", fine, line), Series("", times, dots, "simulation")]
        panels.append(Panel(title, "time", r"map value $\sigma$", tuple(series), log_x=True, log_y=True))
    return Figure(
        "Maps that start at a millionth of their goal, 1: lines are the power law of small values, dots full networks. "
        "Natural gradients start at once and alike at all depths, the square root follows the power of its depth, and "
        "gradient descent stays where it is until it escapes.",
        tuple(panels),
    )


layers = Claim(
    "growth.sqrt-linear-layers",
    source="A section 3.2",
    says="Under the square root rule all layers of a small balanced mode grow at one constant speed.",
    formula=growth.linear_layers,
    lhs=r"\sigma_i(t \mid \sigma \ll \sigma^*)",
    given=GIVEN,
    uses=("modes.fractional-rate", "growth.power-law"),
    near_misses={
        "speed of a single layer": lambda: SIGMA_I0 + ETA * SIGMA_STAR * TIME,
        "divided by the depth": lambda: SIGMA_I0 + ETA * SIGMA_STAR * TIME / DEPTH,
    },
    falsifiers={"twice the speed": lambda: SIGMA_I0 + 2 * ETA * SIGMA_STAR * TIME / sqrt(DEPTH)},
    remark=(
        "The weights leave the origin like those of a shallow network; the map, their product, grows like $`t^d`$. Its "
        "growth rate vanishes at zero, and yet it leaves zero in a finite time, because the weights never slow down."
    ),
)


@layers.proof(generic_in="depth, start, goal")
def constant_speed(formula):
    """Equal couplings drop out of the rate of order two; the product of the layers is the power law."""
    return growth.are_linear_layers(formula)


@layers.check(
    grid(depth=[1, 2], widths=["wide", "narrowing"], start=[1e-12], goal=[1.5], time=[1e-5])
    + grid(depth=[3], widths=["waist"], start=[1e-12], goal=[1.0], time=[1e-3])
    + grid(depth=[5], widths=[(2, 2, 3, 2, 2, 2)], start=[1e-12], goal=[1.0], time=[0.02])
)
def layers_of_short_flows(formula, depth, widths, start, goal, time):
    """Layer values of full networks along short flows of the square root rule."""
    setting, found, relative = small_flow(depth, 2.0, widths, start, goal, time)
    times = np.array([1 / 3, 2 / 3, 1])[:, None] * time
    values = {SIGMA_I0: start ** (1 / depth), SIGMA_STAR: goal, TIME: times, DEPTH: depth, ETA: RATE}
    predicted = np.broadcast_to(evaluate(formula, values), found.shape)
    # the gap is at least goal - sigma(time), so a layer falls behind by at most eta sigma t / sqrt(d)
    late = RATE * time * float(found[-1].prod()) / depth**0.5
    scale = float(found.max())
    bound = remainder(late) + Bound((("integration", relative.total * scale),)) + rounding(scale, 8 * depth)
    return agree(found, predicted, bound=bound).on(setting)
