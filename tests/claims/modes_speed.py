"""Speeds of aligned singular modes under fractional powers of the curvature."""

from __future__ import annotations

from math import inf, log

import numpy as np
from sympy import Abs, sqrt

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from derivations.deep_linear import modes
from derivations.notation import DEPTH, ETA, NORM_J, SIGMA_DELTA, Q
from numerics.flows import flow
from numerics.rules import Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, slope
from tests.checker.evidence import Bound, Evidence, Outcome
from tests.checker.figure import Figure, Panel, Series
from tests.claims.mode_updates import (
    GIVEN,
    NETS,
    RATE,
    SCALES,
    measured_speed,
    one_mode,
    predicted,
    speed_agrees,
    started,
)
from tests.claims.modes import mode_values, velocity_rounding
from tests.claims.settings import Setting

fractional_speed = Claim(
    "modes.fractional-speed",
    source="A eq. 15",
    says="A fractional rule moves an aligned mode at a speed that is a power of its coupling strength.",
    formula=modes.fractional_speed,
    lhs=r"\lVert \dot\sigma \rVert",
    given=GIVEN,
    uses=("modes.fractional-rate",),
    near_misses={"exponent 1 - 1/q": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J ** (1 - 1 / Q)},
    falsifiers={
        "exponent of the map's rate": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J ** (2 - 2 / Q),
        "gradient descent at every order": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J,
    },
    remark=(
        "Vanishing and exploding are two sides of one exponent, $`1 - 2/q`$: positive above $`q = 2`$, where "
        "small weights stall, negative below, where they are driven ever faster, and zero at the square root."
    ),
)


@fractional_speed.proof(generic_in="depth, order q, widths")
def speed_of_the_fractional_rate(formula):
    """All layers share one factor, so the speed is its size times the coupling strength."""
    found = modes.speed(modes.fractional_velocity())
    return equal(formula, found).explain(step("The velocities of the layers add up in squares to", found))


@fractional_speed.check(
    grid(depth=[2, 3, 5], q=[1, 1.5, 2, 7, inf], widths=["square", "widening", "waist"], start=["random"], seed=[0])
    + grid(depth=[2, 3], q=[1.5, inf], widths=["narrowing", "wide"], start=["zero factor", "equal modes"], seed=[0])
    + grid(depth=[1], q=[1, 3], widths=["narrowing"], start=["random"], seed=[0])
)
def speeds_at_every_order(formula, depth, q, widths, start, seed, device="cpu"):
    """Speed of every mode of a full network under the fractional rule."""
    return speed_agrees(formula, started(depth, widths, start, seed, device), q)


@fractional_speed.check(grid(depth=[2, 4], q=[1, 1.5, 2, 7, inf], seed=[0]))
def exponent(formula, depth, q, seed):
    """Log-log slope of the measured speed per displacement over the coupling strength, for networks of four scales."""
    settings = [one_mode(depth, scale, seed) for scale in SCALES]
    if depth == 1:
        no_slope = Evidence(Outcome.UNDECIDED, 0.0, 0.0, (), "at depth 1 all couplings are one: no slope to fit")
        return no_slope.on(settings[0])
    strength = [float(mode_values(one)[NORM_J][0, 0]) for one in settings]
    gaps = [abs(float(mode_values(one)[SIGMA_DELTA][0, 0])) for one in settings]
    found = [float(measured_speed(one, q)[0]) / gap for one, gap in zip(settings, gaps, strict=True)]
    power = formula.diff(NORM_J) * NORM_J / formula
    wanted = float(evaluate(power, {NORM_J: 1.5, SIGMA_DELTA: 1.0, Q: q, ETA: RATE}))
    noise = [velocity_rounding(one, -1 / q).total / speed for one, speed in zip(settings, found, strict=True)]
    steepness = 2 * max(noise) / log(strength[-1] / strength[0])
    return slope(strength, found, predicted=wanted, systematic=steepness).on(settings[0])


ORDERS = (
    (1, "natural, q = 1"),
    (1.5, "q = 1.5"),
    (2, "square root, q = 2"),
    (4, "q = 4"),
    (inf, "gradient, q = ∞"),
)


@fractional_speed.figure
def fan(formula):
    """Speed per displacement over the coupling strength, five orders."""
    series, worst, budget = [], ([], []), 0.0
    strength = np.geomspace(0.03, 20, 60)
    for q, name in ORDERS:
        theory = evaluate(formula, {NORM_J: strength, SIGMA_DELTA: 1.0, Q: q, ETA: 1.0})
        series.append(Series(name, strength, theory))
        settings = [one_mode(3, scale, 1) for scale in np.geomspace(0.15, 2.8, 9)]
        values = [mode_values(one) for one in settings]
        x = [float(one[NORM_J][0, 0]) for one in values]
        gaps = [abs(float(one[SIGMA_DELTA][0, 0])) for one in values]
        y = [float(measured_speed(one, q)[0]) / gap / RATE for one, gap in zip(settings, gaps, strict=True)]
        series.append(Series("network", x, y, "simulation"))
        ideal = evaluate(formula, {NORM_J: np.array(x), SIGMA_DELTA: 1.0, Q: q, ETA: 1.0})
        worst[0].extend(x)
        worst[1].extend(np.array(y) / ideal - 1)
        budget = max(budget, *(velocity_rounding(s, -1 / q).total / v for s, v in zip(settings, y, strict=True)))
    panel = Panel(
        "Vanishing, exploding, constant",
        r"coupling strength $\Vert j\Vert$",
        r"$\Vert\dot\sigma\Vert \,/\, \eta|\sigma_\Delta|$",
        tuple(series),
        residual=Series("relative difference", *worst, style="simulation"),
        residual_bound=budget,
        log_x=True,
        log_y=True,
    )
    caption = "Speed of one mode of networks of depth 3 per displacement, over the strength of its couplings."
    return Figure(caption, (panel,))


root_speed = Claim(
    "modes.sqrt-speed",
    source="A eq. 16",
    says="The square-root rule moves an aligned mode at the speed of its displacement, whatever its couplings.",
    formula=lambda: modes.fractional_speed(2),
    lhs=r"\lVert \dot\sigma \rVert",
    given=GIVEN,
    uses=("modes.fractional-speed",),
    near_misses={"share of one layer": lambda: ETA * Abs(SIGMA_DELTA) / sqrt(DEPTH)},
    falsifiers={
        "squared displacement": lambda: ETA * SIGMA_DELTA**2,
        "a trace of the coupling": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J ** (Q / 2),
    },
    remark=(
        "Neither depth nor the size of the weights enters. The same holds for arbitrary, unaligned weights "
        "with the loss in place of the displacement, see the claim on the square-root speed of the natural "
        "gradient family."
    ),
)


@root_speed.proof(generic_in="depth, widths")
def couplings_cancel(formula):
    """At q = 2 the factor common to all layers is inverse to the coupling strength."""
    found = modes.speed(modes.fractional_velocity(2))
    return equal(formula, found).explain(step("The velocities of the layers add up in squares to", found))


@root_speed.check(NETS)
def speeds_at_the_square_root(formula, depth, widths, start, seed, device="cpu"):
    """Speed of every mode of a full network under the square-root rule."""
    return speed_agrees(formula, started(depth, widths, start, seed, device), 2)


@root_speed.figure
def collapse(formula):
    """Speed over displacement along whole trainings from small weights."""
    gap = np.geomspace(0.02, 1, 40)
    series = [Series("theory", gap, evaluate(formula, {SIGMA_DELTA: gap, NORM_J: 1.0, Q: 2, ETA: 1.0, DEPTH: 2}))]
    runs = (
        (2.0, 2, 7, "simulation"),
        (2.0, 4, 7, "simulation"),
        (1.0, 3, 4, "reference"),
        (inf, 3, 16, "reference"),
    )
    for q, depth, late, style in runs:
        start = one_mode(depth, 0.3, 2)
        times = np.linspace(0, late**0.5, 24 if q == 2 else 90) ** 2
        path = flow(start.net, start.problem, Fractional(q), times.tolist(), tolerance=1e-6)
        states = [start.moved(net) for net in path]
        x = np.array([abs(float(mode_values(one)[SIGMA_DELTA][0, 0])) for one in states])
        y = np.array([float(measured_speed(one, q)[0]) / RATE for one in states])
        name = {2.0: "square root", 1.0: "natural gradient", inf: "gradient"}[q]
        series.append(Series(f"{name}, depth {depth}", x[x > 0.02], y[x > 0.02], style))
    panel = Panel(
        "Speed is displacement",
        r"displacement $|\sigma_\Delta|$",
        r"speed $\Vert\dot\sigma\Vert/\eta$",
        tuple(series),
        log_x=True,
        log_y=True,
    )
    return Figure(
        "Speed over displacement along trainings from small weights, right to left. Under the square-root "
        "rule networks of all depths fall on one line; gradient descent starts far below it, the natural "
        "gradient far above.",
        (panel,),
    )


reciprocal = Claim(
    "modes.reciprocal-speed",
    source="A section 3.1, after eq. 13",
    says="On one mode the speeds of two conjugate orders multiply to the squared displacement.",
    formula=lambda: (ETA * SIGMA_DELTA) ** 2,
    lhs=r"\lVert \dot\sigma \rVert_q \, \lVert \dot\sigma \rVert_{q'}",
    given=GIVEN,
    uses=("modes.fractional-speed",),
    near_misses={"couplings do not cancel": lambda: (ETA * SIGMA_DELTA) ** 2 * NORM_J ** (1 / Q)},
    falsifiers={
        "displacement not squared": lambda: ETA**2 * Abs(SIGMA_DELTA),
        "squared coupling left": lambda: (ETA * SIGMA_DELTA) ** 2 * NORM_J**2,
    },
    remark=(
        "Orders with $`1/q + 1/q' = 1`$ are reciprocal: natural gradient and gradient descent are one such "
        "pair, the square root is its own partner. On a whole network the product is larger than the square, "
        "except where one mode is left."
    ),
)


@reciprocal.proof(generic_in="depth, order q, widths")
def exponents_of_conjugate_orders_cancel(formula):
    """The exponents of conjugate orders add up to zero."""
    product = modes.fractional_speed(Q) * modes.fractional_speed(Q / (Q - 1))
    return all_of(equal(formula, product), equal(formula, modes.fractional_speed(2) ** 2)).explain(
        step("The product of the two speeds is", product), step("which is the square of the speed at q = 2.", formula)
    )


@reciprocal.check(
    grid(depth=[2, 3, 5], q=[1, 1.25, 1.5, 3, inf], widths=["square", "widening", "waist"], start=["random"], seed=[0])
    + grid(depth=[1, 2, 3], q=[1, 1.5], widths=["narrowing", "wide"], start=["zero factor", "equal modes"], seed=[0])
)
def product_of_two_velocities(formula, depth, q, widths, start, seed, device="cpu"):
    """Speeds of every mode of a full network at an order, its conjugate and the square root."""
    setting = started(depth, widths, start, seed, device)
    conjugate = inf if q == 1 else 1.0 if q == inf else q / (q - 1)
    first, second, middle = (measured_speed(setting, order) for order in (q, conjugate, 2.0))
    wanted = predicted(formula, setting, q)[0]
    bound = _product_rounding(setting, first, second, q, conjugate)
    middle_bound = _product_rounding(setting, middle, middle, 2.0, 2.0)
    return both(agree(first * second, wanted, bound=bound), agree(middle**2, wanted, bound=middle_bound)).on(setting)


def _product_rounding(setting: Setting, first: np.ndarray, second: np.ndarray, q: float, p: float) -> Bound:
    one, two = velocity_rounding(setting, -1 / q).total, velocity_rounding(setting, -1 / p).total
    return rounding(float((first * second).max()), 3) + Bound(
        (("rounding of the velocities", float(first.max()) * two + float(second.max()) * one),)
    )
