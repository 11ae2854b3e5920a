"""Escape from small values: half-maximum times at stiffness one, and below and above it."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Rational, log

from derivations.compiled import evaluate
from derivations.deep_linear import growth, half_max
from derivations.notation import ETA_TILDE, SIGMA_0, SIGMA_STAR, P
from numerics.flows import flow
from numerics.networks import DeepLinear
from tests.checker.bounds import UNIT, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.growth import GIVEN, balanced_values, rule_of, stiffness
from tests.claims.maps import balanced_start, map_velocity
from tests.claims.settings import Setting, array

Widths = str | tuple[int, ...]


@lru_cache(maxsize=256)
def half_time(setting: Setting, q: float, mode: int = 0, tolerance: float = 1e-10) -> tuple[float, Bound]:
    """The time at which a mode of the map is halfway to its goal, by Newton steps along the flow, and its budget.

    The flow of a mode is autonomous: an error of the map value at any time is a shift in time by its quotient with
    the velocity there, which stays.
    """
    rule, goal, net = rule_of(q), float(setting.goals[mode]) / 2, setting.net
    widest, depth = max(net.widths), net.depth

    def at(here: DeepLinear) -> tuple[float, float, float]:
        """Distance to half of the goal, velocity, and the time shift of a unit error of the weights."""
        layers = np.abs(array(setting.frame.modes(here))[:, mode])
        velocity = float(map_velocity(setting.moved(here), rule)[mode])
        return (
            goal - float(layers.prod()),
            velocity,
            depth * widest * float(layers.prod() / layers.min()) / abs(velocity),
        )

    missing, velocity, lever = at(net)
    if missing <= 0:
        raise ValueError("start: the mode starts beyond half of its goal, allowed: a start below")
    passed, shift, precise = 0.0, lever * UNIT * float(net.norm()), max(8 * UNIT, tolerance / 1e3) * goal
    span = min(missing, 2 * (goal - missing)) / velocity
    for _ in range(80):
        run = flow(net, setting.problem, rule, [0.0, span], tolerance=tolerance)
        missing, velocity, lever = at(run.net(1))
        if missing < -precise:
            span = max(span + missing / velocity, span / 8)
            continue
        net, passed, shift = run.net(1), passed + span, shift + lever * run.error
        if missing <= precise:
            break
        span = min(missing, 2 * (goal - missing)) / velocity
    ends = abs(missing / velocity) + rounding(goal, 8 * depth * sum(net.widths)).total / velocity
    return passed, Bound((("integration", shift), ("rounding", ends + 100 * UNIT * passed)))


def halfway(depth: int, q: float, widths: Widths, start: float, goals: tuple[float, ...]) -> Setting:
    """A balanced network whose modes start at one share of their goals."""
    if not 0 < start < 0.5:
        raise ValueError(f"start: {start} given, allowed: 0 < start < 0.5, a share of the goal")
    stiffness(depth, q)
    return balanced_start(depth, widths, 0, starts=tuple(start * goal for goal in goals), goals=goals)


logarithm = Claim(
    "growth.escape-logarithm",
    source="A section 3.2",
    says="At stiffness 1 the time to escape from a small start grows like minus the logarithm of the start.",
    formula=growth.escape_logarithm,
    lhs=r"t_{1/2}",
    given=GIVEN,
    uses=("map.balanced-rate-signed",),
    near_misses={
        "start neglected beside the goal": lambda: log(SIGMA_STAR / SIGMA_0) / (ETA_TILDE * SIGMA_STAR),
        "root of the goal": lambda: log(SIGMA_STAR / SIGMA_0 - 1) / (ETA_TILDE * SIGMA_STAR ** Rational(1, 2)),
    },
    falsifiers={"inverse of the start": lambda: (SIGMA_STAR / SIGMA_0 - 2) / (ETA_TILDE * SIGMA_STAR)},
    remark=(
        "Exact for every start below the goal. Stiffness 1 is gradient descent with one hidden layer, but also any "
        "depth and order with $`1/d + 1/q - 1/(dq) = 1/2`$, such as four layers at order three."
    ),
)


@logarithm.proof(generic_in="start, goal, depth and order of stiffness 1")
def integral_of_the_inverse_rate(formula):
    """The formula vanishes at half of the goal and saves the inverse rate per later start."""
    return growth.is_escape_logarithm(formula)


@logarithm.check(
    grid(depth=[2], q=[inf], widths=["wide", "waist"], start=[1e-2], goal=[1.0])
    + grid(depth=[2], q=[inf], widths=["narrowing"], start=[1e-8], goal=[2.5])
    + grid(depth=[3], q=[4], widths=[(2, 3, 2, 2)], start=[1e-3], goal=[1.4])
)
def half_times_at_stiffness_one(formula, depth, q, widths, start, goal):
    """Half-maximum times of flows of full balanced networks, gradient descent and fractional orders."""
    if stiffness(depth, q) != 1:
        raise ValueError(f"q: {q} given with depth {depth}, allowed: depth and order of stiffness 1")
    setting = halfway(depth, q, widths, start, (goal,))
    observed, bound = half_time(setting, q)
    predicted = evaluate(formula, {**balanced_values(depth, q, goal), SIGMA_0: start * goal})
    return agree(observed, predicted, bound=bound).on(setting)


power = Claim(
    "growth.escape-time",
    source="A section 3.2",
    says="The time to escape from a small start is finite for p < 1, and a power of the start for p > 1.",
    formula=growth.escape_time,
    lhs=r"t_{1/2}(\sigma_0 \ll \sigma^*)",
    given=GIVEN,
    uses=("map.balanced-rate-signed",),
    near_misses={
        "power $`-p`$ of the start": lambda: (
            growth.escape_time()
            + ((SIGMA_0 / SIGMA_STAR) ** (1 - P) - (SIGMA_0 / SIGMA_STAR) ** (-P))
            / ((1 - P) * ETA_TILDE * SIGMA_STAR**P)
        ),
        "without the time above the start": lambda: SIGMA_0 ** (1 - P) / ((P - 1) * ETA_TILDE * SIGMA_STAR),
    },
    falsifiers={"as from zero": lambda: half_max.clock_of(Rational(1, 2)) / (ETA_TILDE * SIGMA_STAR**P)},
    remark=(
        "One formula for both sides of $`p = 1`$. Below, the start only saves time and the limit is finite: the "
        "square root leaves zero after $`F_p(1/2)`$. Above, the second term dominates, "
        "$`\\sigma_0^{1-p} / ((p - 1) \\tilde\\eta \\sigma^*)`$, and $`F_p(1/2)`$ is the finite part of a divergent "
        "integral. What is left out is at most $`x_0^{2-p} / (2 - p)(1 - x_0)`$ in units of the goal."
    ),
)


@power.proof(generic_in="stiffness p, start, goal")
def finite_part(formula):
    """The exact half-maximum time, with the inverse rate split into what diverges at the start and what does not."""
    return growth.is_escape_time(formula)


ESCAPES = (
    grid(depth=[2], q=[2], widths=["wide"], start=[1e-8], goal=[1.9])
    + grid(depth=[3], q=[inf], widths=["waist"], start=[1e-9], goal=[1.3])
    + grid(depth=[2], q=[1], widths=[(2, 3, 2)], start=[1e-5], goal=[2.0])
)


@power.check(ESCAPES)
def half_times_from_small_starts(formula, depth, q, widths, start, goal):
    """Half-maximum times of flows of full balanced networks that start far below their goal."""
    values = balanced_values(depth, q, goal)
    p, clock = values[P], values[ETA_TILDE]
    if p == 1:
        raise ValueError(f"q: {q} given with depth {depth}, allowed: orders of a stiffness other than 1")
    setting = halfway(depth, q, widths, start, (goal,))
    observed, bound = half_time(setting, q)
    predicted = evaluate(formula, {**values, SIGMA_0: start * goal})
    left_out = start ** (2 - p) / ((2 - p) * (1 - start)) / (clock * goal**p)
    return agree(observed, predicted, bound=bound + remainder(left_out)).on(setting)


@power.figure
def escape_over_start(formula):
    """Half-maximum times over the start, for the square root and gradient descent at two depths."""
    starts, fine, panels = np.geomspace(1e-5, 1e-2, 3), np.geomspace(1e-6, 2e-2, 60), []
    for title, q in (("square root", 2.0), ("gradient descent", inf)):
        series = []
        for depth in (2, 3):
            values = balanced_values(depth, q, 1.0)
            if values[P] == 1:
                line = evaluate(growth.escape_logarithm(), {**values, SIGMA_0: fine})
            else:
                line = evaluate(formula, {**values, SIGMA_0: fine})
            dots = [
                half_time(halfway(depth, q, (1,) * (depth + 1), float(s), (1.0,)), q, tolerance=1e-6)[0] for s in starts
            ]
            series += [Series(f"depth {depth}", fine, line), Series("", starts, dots, "simulation")]
        panels.append(
            Panel(title, r"start $\sigma_0 / \sigma^*$", "half-maximum time", tuple(series), log_x=True, log_y=True)
        )
    return Figure(
        "Time to half of the goal over the start. Under the square root it tends to a finite limit at every depth; "
        "under gradient descent it diverges, like a logarithm at depth two and like a power at depth three.",
        tuple(panels),
    )
