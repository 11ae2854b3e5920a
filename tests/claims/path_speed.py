"""Speed along the path: curvature correction accelerates weakly coupled modes and slows strongly coupled ones."""

from __future__ import annotations

from math import inf

import numpy as np
from sympy import Integer, Rational, log

from derivations.compiled import evaluate
from derivations.deep_linear import path
from derivations.notation import NORM_J, SIGMA, SIGMA_0, SIGMA_STAR, Q
from numerics.rules import Fractional, GradientDescent, NaturalGradient
from tests.checker.bounds import integration
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_least, both
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, BALANCED, WHITENED
from tests.claims.damping_fixed import two_modes
from tests.claims.mode_flows import balanced_modes, mode_history, until_half
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned


def speed_ratio(setting: Setting, q: float) -> tuple[np.ndarray, Bound]:
    """Speed of each mode under qNGD over its speed under gradient descent, (r,), with the budget of the quotient."""
    fast, slow = (np.linalg.norm(mode_velocity(setting, rule), axis=0) for rule in (Fractional(q), GradientDescent()))
    errors = [velocity_rounding(setting, power).total for power in (-1 / q, 0.0)]
    worst = float(((errors[0] + errors[1] * fast / slow) / slow).max())
    return fast / slow, Bound((("rounding", worst),))


ratio = Claim(
    "path.acceleration",
    source="A section 3.1",
    says="Along its curve a mode runs faster than under gradient descent if its coupling is below 1, else slower.",
    formula=path.acceleration,
    lhs=r"\lVert\dot\sigma\rVert_{q\mathrm{NGD}} / \lVert\dot\sigma\rVert_{\mathrm{SGD}}",
    given=(ALIGNED, ACTIVE, WHITENED),
    uses=("modes.fractional-rate",),
    near_misses={
        "exponent 1/q instead of 2/q": lambda: NORM_J ** (-1 / Q),
        "exponent 1 - 2/q": lambda: NORM_J ** (1 - 2 / Q),
    },
    falsifiers={"reciprocal": lambda: NORM_J ** (2 / Q)},
    remark="The smaller the order $`q`$, the stronger the effect, both ways; $`\\lVert j \\rVert = 1`$ is neutral.",
)


@ratio.proof(generic_in="depth, order q, widths")
def rates_divided_by_those_of_gradient_descent(formula):
    """The rate of a mode is divided by its rate under gradient descent."""
    return path.is_acceleration(formula)


@ratio.check(
    grid(depth=[2, 3], q=[1, 1.5, 2, inf], widths=["square", "waist"], seed=[0])
    + grid(depth=[1, 4], q=[3], widths=["widening"], seed=[1])
)
def ratio_of_speeds(formula, depth, q, widths, seed):
    """Quotient of the speeds of all modes under two rules, from the full weight matrices."""
    setting = aligned(depth, widths, seed)
    observed, bound = speed_ratio(setting, q)
    return agree(observed, evaluate(formula, {NORM_J: mode_values(setting)[NORM_J][0], Q: q}), bound=bound).on(setting)


WEAK = Assumption(
    "weak couplings",
    "no mode has a coupling norm above 1",
    lambda setting: bool(mode_values(setting)[NORM_J].max() < 1 + 1e-10),
)

faster = Claim(
    "path.only-accelerates",
    source="A abstract",
    says="Curvature correction only accelerates the motion along the path, it never slows it.",
    formula=lambda: Integer(1),
    lhs=r"\lVert\dot\sigma\rVert_{q\mathrm{NGD}} / \lVert\dot\sigma\rVert_{\mathrm{SGD}}",
    relation=r"\ge",
    given=(ALIGNED, ACTIVE, WHITENED),
    conditions=(WEAK,),
    uses=("path.acceleration",),
    near_misses={"by at least one part in a million": lambda: 1 + Rational(1, 10**6)},
    falsifiers={"at least half the speed, and sharp": lambda: Rational(1, 2), "at least twice": lambda: Integer(2)},
    remark=(
        "Small initial weights have weak couplings, so learning starts faster; towards the end of learning a mode of a "
        "large teacher value has a strong coupling and is held back. Strong teachers are learned later."
    ),
)


@faster.proof(generic_in="depth, order q, widths")
def least_at_the_neutral_coupling(formula):
    """The ratio of speeds falls with the coupling and equals the formula at the coupling 1."""
    return path.least_acceleration(formula)


def _at_least(formula, depth: int, q: float, widths: str, weakest: float, strongest: float, seed: int) -> Evidence:
    setting = two_modes(depth, widths, seed, weakest, strongest)
    observed, bound = speed_ratio(setting, q)
    floor = evaluate(formula, {})
    reached = agree(observed.min(), floor, bound=bound)
    return both(at_least(observed, floor, bound=bound), reached).on(setting)


@faster.check(
    grid(depth=[2, 3, 4], q=[1, 2, 5], widths=["square", "waist"], weakest=[0.05, 0.7], strongest=[1], seed=[0])
)
def weak_modes_of_a_network(formula, depth, q, widths, weakest, strongest, seed):
    """The ratio of speeds of a weak mode, and of one of coupling 1 where the formula must be reached."""
    return _at_least(formula, depth, q, widths, weakest, strongest, seed)


@faster.without(WEAK, grid(depth=[2, 3], q=[1, 2], widths=["square"], weakest=[0.3], strongest=[1.5, 8], seed=[0]))
def strong_modes_of_a_network(formula, depth, q, widths, weakest, strongest, seed):
    """The same with a mode of coupling above 1: it is slowed down."""
    return _at_least(formula, depth, q, widths, weakest, strongest, seed)


half = Claim(
    "path.half-time-ratio",
    source="A abstract",
    says="In two balanced layers natural gradient descent reaches half of a strong goal later than gradient descent.",
    formula=path.half_time_ratio,
    lhs=r"t_{1/2}^{\mathrm{SGD}} / t_{1/2}^{\mathrm{NGD}}",
    given=(ALIGNED, BALANCED, WHITENED),
    uses=("path.acceleration",),
    near_misses={
        "without the factor 2 of the two layers": lambda: 2 * path.half_time_ratio(),
        "start neglected for natural gradient descent": lambda: (
            log(SIGMA_STAR / SIGMA_0 - 1) / (2 * SIGMA_STAR * log(2))
        ),
    },
    falsifiers={"natural gradient descent always first": lambda: path.half_time_ratio() * SIGMA_STAR},
    remark=(
        "The times are equal at one teacher value, which depends on the start through a logarithm only: for "
        "$`\\sigma_0 = \\sigma^* / 100`$ it is $`\\sigma^* = \\ln 99 / (2 \\ln 1.98)`$. Above it gradient descent wins."
    ),
)


@half.proof(generic_in="teacher value, start")
def clocks_of_both_rules(formula):
    """The inverse rates of both rules are integrated from the start to half of the goal."""
    return path.is_half_time_ratio(formula)


@half.check(
    grid(goal=[0.8, 3, 10], start=[0.01], widths=["square"], seed=[0])
    + grid(goal=[3.5], start=[0.1], widths=["waist"], seed=[0])
)
def half_times_of_flows(formula, goal, start, widths, seed):
    """Half-maximum times of flows of a balanced two-layer network under both rules."""
    setting = balanced_modes(2, widths, (float(goal),), float(start), seed)
    times, errors = [], []
    for rule in (GradientDescent(), NaturalGradient()):
        time, net, error = until_half(setting, rule)
        rate = np.abs(mode_velocity(setting.moved(net), rule)).max() * np.sqrt(goal)
        times.append(time)
        # the error of the map value over its rate, and the resolution of the root finder
        errors.append(4 * max(setting.net.widths) * np.sqrt(goal) * error / rate + 2e-14 + time * 2.0**-50)
    observed = times[0] / times[1]
    bound = integration(observed * (errors[0] / times[0] + errors[1] / times[1]))
    predicted = evaluate(formula, {SIGMA_STAR: goal, SIGMA_0: start * goal})
    return agree(observed, predicted, bound=bound).on(setting)


@half.figure
def race_on_a_strong_teacher(formula):
    """The ratio of the half-maximum times over the teacher value, and the two learning curves of a strong teacher."""
    goals = np.logspace(-0.3, 1, 60)
    line = evaluate(formula, {SIGMA_STAR: goals, SIGMA_0: goals / 100})
    dots = [0.8, 3.0, 10.0]
    seen = []
    for goal in dots:
        setting = balanced_modes(2, "square", (goal,), 0.01, 0)
        seen.append(until_half(setting, GradientDescent())[0] / until_half(setting, NaturalGradient())[0])
    ratios = Panel(
        "Half-maximum times",
        r"teacher value $\sigma^*$",
        r"$t_\mathrm{SGD}\,/\,t_\mathrm{NGD}$",
        (
            Series("theory", goals, line),
            Series("networks", dots, seen, "simulation"),
            Series("equal times", [goals[0], goals[-1]], [1.0, 1.0], "reference"),
        ),
        log_x=True,
        log_y=True,
    )
    setting, times = balanced_modes(2, "square", (10.0,), 0.01, 0), np.linspace(0.0, 1.5, 16)
    heights = 10.0 - 9.9 * np.geomspace(1.0, 1e-14, 300)
    curves = []
    for name, (_, clock) in path.clocks().items():
        passed = evaluate(clock, {SIGMA: heights, SIGMA_STAR: 10.0}) - evaluate(clock, {SIGMA: 0.1, SIGMA_STAR: 10.0})
        curves.append(Series(name, passed[passed < 1.5], heights[passed < 1.5]))
    curves += [
        Series("", times, mode_history(setting, rule, 1.5, 16)[0].prod(1)[:, 0], "simulation")
        for rule in (GradientDescent(), NaturalGradient())
    ]
    race = Panel(
        r"A strong teacher, $\sigma^* = 10$", r"time in units of $1/\eta$", r"map value $\sigma$", tuple(curves)
    )
    return Figure(
        "Balanced networks of two layers that start at a hundredth of the teacher value. Left: who is first at half "
        "of the goal; above 1 natural gradient descent is. Right: flows of the weight matrices.",
        (ratios, race),
    )
