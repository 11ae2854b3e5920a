"""Shapes of learning curves: the turn of every sigmoidal one, and the time scales of strong and weak modes."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from numpy.polynomial import Chebyshev

from derivations.compiled import evaluate
from derivations.deep_linear import growth
from derivations.deep_linear.growth import RATIO
from derivations.notation import DEPTH, SIGMA_STAR, P, Q
from numerics.flows import flow
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.escape import half_time, halfway
from tests.claims.growth import GIVEN, balanced_values, rule_of
from tests.claims.maps import balanced_start, map_rounding, measured
from tests.claims.settings import Setting, array

Widths = str | tuple[int, ...]


turn = Claim(
    "growth.inflection",
    source="A section 3.2",
    says="Every stiffness above zero gives sigmoidal learning curves; growth is fastest at p/(1 + p) of the goal.",
    formula=growth.inflection,
    lhs=r"\mathrm{arg\,max}_\sigma\, \dot\sigma",
    given=GIVEN,
    uses=("map.balanced-rate-signed",),
    near_misses={
        "half of the goal": lambda: SIGMA_STAR / 2,
        "half of the stiffness": lambda: P * SIGMA_STAR / 2,
    },
    falsifiers={"counted from the goal": lambda: SIGMA_STAR / (1 + P)},
    remark=(
        "A sigmoidal curve is no mark of gradient descent: the square root turns at a third of the goal with two "
        "layers, gradient descent at a half, and no rule beyond two thirds. What only $`p \\ge 1`$ has is an "
        "infinite wait at zero. At $`p = 0`$ the turn is at zero, and the curve is concave from the start."
    ),
)


@turn.proof(generic_in="stiffness p, goal")
def where_the_rate_is_largest(formula):
    """The derivative of the rate is a positive power times a falling line."""
    return growth.is_inflection(formula)


NODES = 40
INSIDE = (0.1, 0.9)


@lru_cache(maxsize=64)
def fastest(depth: int, q: float, widths: Widths, goal: float) -> tuple[Setting, float, Bound]:
    """The map value of fastest growth among balanced networks on one path, from an interpolant of their velocities."""
    low, high = INSIDE[0] * goal, INSIDE[1] * goal
    places = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    settings = [balanced_start(depth, widths, 0, starts=(float(s),), goals=(goal,)) for s in places]
    speeds = np.array([measured(one, q)[0] for one in settings])
    curve = Chebyshev.fit(places, speeds, NODES - 1, domain=(low, high))
    slope = curve.deriv()
    fine = np.linspace(low, high, 400)
    turns = np.flatnonzero((slope(fine[:-1]) > 0) & (slope(fine[1:]) <= 0))
    if len(turns) != 1:
        raise ValueError(f"q: {q} given with depth {depth}, allowed: orders of stiffness above 1/9, which turn once")
    found = float(fine[turns[0]])
    for _ in range(20):
        found -= float(slope(found) / slope.deriv()(found))
    noise = max(map_rounding(one, q).total for one in settings)
    tail = float(np.abs(curve.coef[-4:]).max())
    # Markov's inequality: a polynomial of degree n and size h has a slope of at most n^2 h on [-1, 1]
    bend = NODES**2 * 2 / (high - low) / abs(float(slope.deriv()(found)))
    return settings[0], found, Bound((("rounding", bend * noise), ("interpolation", bend * tail)))


@turn.check(
    grid(depth=[2], q=[2, inf], widths=["wide"], goal=[1.0, 2.2])
    + grid(depth=[3], q=[1.5, inf], widths=[(2, 3, 2, 2)], goal=[1.3])
)
def fastest_growth_of_networks(formula, depth, q, widths, goal):
    """The largest velocity of the map among full balanced networks on one path."""
    setting, observed, bound = fastest(depth, q, widths, goal)
    return agree(observed, evaluate(formula, balanced_values(depth, q, goal)), bound=bound).on(setting)


@turn.figure
def growth_rates(formula):
    """Velocity of the map over its value, for three rules at depth three, with the asserted turning points."""
    shares, series = np.linspace(0.02, 0.98, 25), []
    for title, q in (("natural gradient", 1.0), ("square root", 2.0), ("gradient descent", inf)):
        settings = [balanced_start(3, (2,) * 4, 0, starts=(float(s),), goals=(1.0,)) for s in shares]
        speeds = np.array([measured(one, q)[0] for one in settings])
        place = float(evaluate(formula, balanced_values(3, q, 1.0)))
        series += [
            Series(title, shares, speeds / speeds.max(), "simulation"),
            Series("", [place, place], [0.0, 1.0], "theory"),
        ]
    panel = Panel(
        "three layers", r"map value $\sigma / \sigma^*$", r"$\dot\sigma$, relative to its maximum", tuple(series)
    )
    return Figure(
        "Velocities of the map of balanced networks (dots) and the asserted places of fastest growth (lines): at zero "
        "for the natural gradient, later the stiffer the map.",
        (panel,),
    )


separated = Claim(
    "growth.separation",
    source="A section 3.2",
    says="The stiffer the map, the further apart in time its strong and weak modes are learned.",
    formula=growth.separation,
    lhs=r"t_{1/2}^{\mathrm{weak}} / t_{1/2}^{\mathrm{strong}}",
    given=GIVEN,
    uses=("map.balanced-rate-signed",),
    near_misses={
        "stiffness of gradient descent at every order": lambda: RATIO ** (2 - 2 / DEPTH),
        "stiffness of one hidden layer at every depth": lambda: RATIO ** (1 - 1 / Q),
    },
    falsifiers={"one time scale": lambda: RATIO**0 + 0 * DEPTH},
    remark=(
        "For modes that start at the same share of their goals, exactly. The time scale of a mode is "
        "$`1 / (\\tilde\\eta \\sigma^{*p})`$: all modes at once under natural gradient descent, strong ones first "
        "under the others, by a power below 1 for the square root and from 1 to 2 for gradient descent."
    ),
)


@separated.proof(generic_in="depth, order q, goals, share at the start")
def one_equation_in_shares(formula):
    """Both modes obey the same equation in their shares, in different units of time."""
    return growth.is_separation(formula)


GOALS = (1.0, 0.2)


@separated.check(
    grid(depth=[4], q=[1, 2, inf], widths=[(2, 2, 3, 2, 2)], goal=[1.0], weaker=[0.2], start=[0.2])
    + grid(depth=[2], q=[1.5], widths=["wide"], goal=[2.1], weaker=[0.7], start=[0.1])
)
def two_modes_of_one_network(formula, depth, q, widths, goal, weaker, start):
    """Half-maximum times of a strong and a weak mode of one full network."""
    if not 0 < weaker <= goal:
        raise ValueError(f"weaker: {weaker} given, allowed: 0 < weaker <= goal = {goal}")
    setting = halfway(depth, q, widths, start, (float(goal), float(weaker)))
    (strong, first), (weak, second) = (half_time(setting, q, mode) for mode in (0, 1))
    observed = weak / strong
    bound = Bound((("integration and rounding", observed * (first.total / strong + second.total / weak)),))
    predicted = evaluate(formula, {RATIO: goal / weaker, DEPTH: depth, Q: q})
    return agree(observed, predicted, bound=bound).on(setting)


@separated.figure
def stages(formula):
    """Learning curves of both modes under three rules, each in units of the strong mode's half-maximum time."""
    panels = []
    for title, q in (("natural gradient", 1.0), ("square root", 2.0), ("gradient descent", inf)):
        setting = halfway(4, q, (2, 2, 3, 2, 2), 0.05, GOALS)
        strong = half_time(setting, q, tolerance=1e-6)[0]
        later = float(evaluate(formula, {RATIO: GOALS[0] / GOALS[1], DEPTH: 4, Q: q}))
        times = np.linspace(0, 1.8 * later, 40)
        run = flow(setting.net, setting.problem, rule_of(q), times * strong, tolerance=1e-6)
        shares = array(setting.frame.modes(run.nets())).prod(1) / np.array(GOALS)
        series = (
            Series("strong mode", times, shares[:, 0], "simulation"),
            Series("weak mode", times, shares[:, 1], "simulation"),
            Series("weak mode halfway, theory", [later], [0.5], "marker"),
        )
        panels.append(Panel(title, "time / half time of the strong mode", "share of the goal", series))
    return Figure(
        "One network of four layers with goals 1 and 0.2. Diamonds: when the weak mode should be halfway. Natural "
        "gradients learn both at once, gradient descent in stages.",
        tuple(panels),
    )
