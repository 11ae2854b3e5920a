"""Effective depth: depth and order of a rule as one depth of gradient descent, its bounds, and what it leaves out."""

from __future__ import annotations

from functools import lru_cache
from math import inf, isinf

import numpy as np
from sympy import FiniteSet, Integer, S

from derivations.compiled import evaluate
from derivations.deep_linear import effective_depth as effective
from derivations.notation import D_EFF, DEPTH, Q
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, equal
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.escape import half_time, halfway
from tests.claims.growth import GIVEN, stiffness
from tests.claims.maps import balanced_start, map_rounding, measured
from tests.claims.settings import Setting
from tests.claims.tradeoff import SIZES, pulls

Widths = str | tuple[int, ...]


@lru_cache(maxsize=128)
def measured_depth(depth: int, q: float, widths: Widths) -> tuple[Setting, float, Bound]:
    """The depth D = 2 / (2 - p) of gradient descent with the exponent p that the map of a full network shows."""
    stiffness(depth, q)
    (setting, *small), (_, *large) = (pulls(depth, q, widths, size) for size in SIZES)
    span = np.log(SIZES[1] / SIZES[0])
    p = float(np.log(large[0] / small[0]) / span)
    found = 2 / (2 - p)
    noise = (small[2] + large[2]) / span + rounding(1.0, 8).total
    return setting, found, Bound((("rounding", found**2 / 2 * noise),)) + rounding(found, 8)


identity = Claim(
    "effective-depth.identity",
    source="A eq. 22",
    says="A rule of order q makes a network as stiff as gradient descent a shallower one; depth and order are equals.",
    formula=effective.effective_depth,
    lhs=D_EFF,
    given=GIVEN,
    uses=("map.balanced-rate-signed",),
    near_misses={
        "without the 1": lambda: DEPTH * Q / (DEPTH + Q),
        "harmonic mean of depth and order": lambda: 2 * DEPTH * Q / (DEPTH + Q),
    },
    falsifiers={"depth over order": lambda: DEPTH / Q, "depth untouched": lambda: DEPTH},
    remark=(
        "What multiplies is the distance from linearity, $`1 - 1/d_{\\mathrm{eff}} = (1 - 1/d)(1 - 1/q)`$: depth "
        "$`d`$ under order $`q`$ is as stiff as depth $`q`$ under order $`d`$, and either factor alone can "
        "make it linear. The effective depth is rarely an integer."
    ),
)


@identity.proof(generic_in="depth, order q")
def equal_stiffness(formula):
    """Gradient descent at the asserted depth has the stiffness of depth and order together."""
    return effective.has_stiffness(formula)


NETS = (
    grid(depth=[2, 4], q=[1, 1.5, 2, inf], widths=["wide"])
    + grid(depth=[1], q=[1, 2], widths=["narrowing"])
    + grid(depth=[3], q=[2, 7], widths=["widening", "narrowing"])
)


@identity.check(NETS)
def depth_seen_in_the_exponent(formula, depth, q, widths):
    """The depth that the exponent of the map reveals, from velocities of full networks of two sizes."""
    setting, observed, bound = measured_depth(depth, q, widths)
    return agree(observed, evaluate(formula, {DEPTH: float(depth), Q: q if q < inf else 1e300}), bound=bound).on(
        setting
    )


@identity.figure
def effective_depths(formula):
    """Effective depth over 1/q for several depths."""
    inverse, dots = np.linspace(0.0, 1.0, 60), np.array([0.0, 1 / 7, 0.5, 2 / 3, 1.0])
    series = []
    for depth in (2, 3, 4):
        orders = np.array([1e300 if x == 0 else 1 / x for x in inverse])
        series.append(Series(f"depth {depth}", inverse, evaluate(formula, {DEPTH: float(depth), Q: orders})))
        seen = [measured_depth(depth, inf if x == 0 else float(1 / x), (2,) * (depth + 1))[1] for x in dots]
        series.append(Series("", dots, seen, "simulation"))
    fine = inverse[inverse > 0.2]
    series.append(Series("the order itself", fine, 1 / fine, "reference"))
    panel = Panel("balanced networks", "$1/q$", "effective depth", tuple(series))
    return Figure(
        "From gradient descent (left) to the natural gradient (right): lines are the formula, dots are read off the "
        "velocities of full networks. All curves stay below the order.",
        (panel,),
    )


bounds = Claim(
    "effective-depth.bounds",
    source="A section 3.2",
    says="The effective depth lies between 1 and both depth and order; it tends to the one when the other grows.",
    formula=effective.distances,
    given=GIVEN,
    uses=("effective-depth.identity",),
    near_misses={
        "distance from the order without the 1": lambda: {
            **effective.distances(),
            "below the order": Q**2 / (DEPTH + Q - 1),
        },
        "distance above one halved": lambda: {
            **effective.distances(),
            "above one": effective.distances()["above one"] / 2,
        },
    },
    falsifiers={
        "depth and order exchanged": lambda: {
            **effective.distances(),
            "below the order": effective.distances()["below the depth"],
        }
    },
    remark=(
        "The square root makes every network less stiff than one hidden layer under gradient descent: its effective "
        "depth is $`2 - 2/(d + 1)`$. The smaller of depth and order is the better bound, and at most half away: "
        "$`d_{\\mathrm{eff}} \\ge \\min(d, q) / 2`$."
    ),
)


@bounds.proof(generic_in="depth, order q")
def distances_are_not_negative(formula):
    """Each distance is computed, its sign is certified for depths and orders from one on, and the limits are taken."""
    return effective.are_distances(formula)


def _finite(q: float) -> float:
    if isinf(q):
        raise ValueError(f"q: {q} given, allowed: finite orders")
    return q


@bounds.check(
    grid(depth=[2, 4], q=[1, 1.5, 2, 7], widths=["wide"])
    + grid(depth=[1, 3], q=[2], widths=["narrowing"])
    + grid(depth=[8], q=[2], widths=[(2,) * 9])
)
def distances_of_networks(formula, depth, q, widths):
    """Distances of the depth that full networks show from their order, their depth and 1."""
    setting, found, bound = measured_depth(depth, _finite(q), widths)
    observed = np.array([q - found, depth - found, found - 1])
    predicted = np.array([float(evaluate(part, {DEPTH: depth, Q: q})) for part in formula.values()])
    return agree(observed, predicted, bound=bound, scale=1.0).on(setting)


attained = Claim(
    "effective-depth.orders-attained",
    source="A section 3.2",
    says="The effective depth stays below the order at every order but one: the natural gradient attains it.",
    formula=effective.orders_attained,
    lhs=r"\{q \ge 1 : d_{\mathrm{eff}} = q\}",
    given=GIVEN,
    uses=("effective-depth.bounds",),
    near_misses={"the square root as well": lambda: FiniteSet(1, 2)},
    falsifiers={"the square root instead": lambda: FiniteSet(2), "none": lambda: S.EmptySet},
    mutate=False,
    remark=(
        "At $`q = 1`$ the map is linear at every depth, its effective depth is 1, and so is the order. Below the order "
        "by $`q (q - 1) / (d + q - 1)`$ otherwise, which is small for deep networks and never zero."
    ),
)


@attained.proof(generic_in="depth, order q")
def zeros_of_the_distance(formula):
    """The distance has the factors q and q - 1."""
    return effective.attains(formula)


def _attains(formula, depth: int, q: float, widths: Widths) -> Evidence:
    setting, found, bound = measured_depth(depth, _finite(q), widths)
    if abs(q - found) > bound.total and abs(q - found) < 1e3 * bound.total:
        raise ValueError(f"q: {q} given, allowed: 1, or orders further from it than rounding")
    exact = S(q) if q == int(q) else S(str(q))
    return equal([bool(abs(q - found) <= bound.total)], [exact in formula]).on(setting)


ORDERS = grid(depth=[1, 2, 4], q=[1, 1.5, 2, 7], widths=["wide"])


@attained.check(ORDERS)
def orders_of_networks(formula, depth, q, widths):
    """Whether the depth that a full network shows equals its order up to rounding."""
    return _attains(formula, depth, q, widths)


strict = Claim(
    "effective-depth.strict-as-printed",
    source="A section 3.2",
    says="Curvature correction of order q reduces the effective depth to strictly less than q.",
    formula=lambda: S.EmptySet,
    control=effective.orders_attained,
    corrected_by=("effective-depth.orders-attained", "effective-depth.bounds"),
    lhs=r"\{q \ge 1 : d_{\mathrm{eff}} \ge q\}",
    given=GIVEN,
    near_misses={"equality at the square root": lambda: FiniteSet(2)},
    falsifiers={"equality at both": lambda: FiniteSet(1, 2)},
    mutate=False,
    remark="Strict for every order above 1. The natural gradient has order 1 and effective depth 1.",
)


@strict.proof(generic_in="depth, order q")
def equality_at_order_one(formula):
    """The distance between order and effective depth at explicit orders."""
    return effective.attains(formula)


@strict.check(ORDERS)
def orders_that_stay_below(formula, depth, q, widths):
    """Whether the depth that a full network shows equals its order up to rounding."""
    return _attains(formula, depth, q, widths)


clock = Claim(
    "effective-depth.clock",
    source="A eq. 22",
    says="Equal stiffness is not equal speed: a deep network runs faster than gradient descent at its effective depth.",
    formula=effective.clock_ratio,
    lhs=r"\tilde\eta / (\eta\, d_{\mathrm{eff}})",
    given=GIVEN,
    uses=("effective-depth.identity", "map.balanced-rate-signed"),
    near_misses={
        "same speed": lambda: Integer(1),
        "rate constant of gradient descent": lambda: DEPTH / effective.effective_depth(),
    },
    falsifiers={"slower": lambda: 1 / effective.clock_ratio()},
    remark=(
        "$`d_{\\mathrm{eff}}`$ is the harmonic mean of 1 and $`d`$ with the weights $`1/q`$ and $`1 - 1/q`$; the rate "
        "constant $`d^{1 - 1/q}`$ is their geometric mean with the same weights. So the speed is never lower, and "
        "equal only for one layer, for gradient descent and for the natural gradient. Learning curves coincide after a "
        "rescaling of time, not before."
    ),
)


@clock.proof(generic_in="depth, order q")
def geometric_over_harmonic_mean(formula):
    """The rate constants of both networks, and the inverse of the effective depth as a weighted mean."""
    return effective.is_clock_ratio(formula)


def order_for(depth: int, shallow: int) -> float:
    """The order that gives a network of this depth the effective depth ``shallow``; ``ValueError`` if there is none."""
    if not 1 < shallow < depth:
        raise ValueError(f"shallow: {shallow} given, allowed: 1 < shallow < depth = {depth}")
    return shallow * (depth - 1) / (depth - shallow)


@clock.check(grid(depth=[3, 4, 6], shallow=[2], size=[0.05, 0.6]) + grid(depth=[5], shallow=[3, 4], size=[0.2]))
def velocities_at_equal_maps(formula, depth, shallow, size):
    """Velocities of the map of a deep network and of a shallower one under gradient descent, at the same map value."""
    q = order_for(depth, shallow)
    deep, less = (balanced_start(n, "wide", 0, starts=(size,), goals=(1.0,)) for n in (depth, shallow))
    fast, slow = float(measured(deep, q)[0]), float(measured(less, inf)[0])
    noise = map_rounding(deep, q).total / fast + map_rounding(less, inf).total / slow
    predicted = evaluate(formula, {DEPTH: depth, Q: q})
    bound = Bound((("rounding", fast / slow * (noise + 16 * 2.0**-53)),))
    return agree(fast / slow, predicted, bound=bound).on(deep)


@clock.check(grid(depth=[3, 4], shallow=[2], start=[0.05], goal=[1.6]))
def half_times_of_both_networks(formula, depth, shallow, start, goal):
    """Half-maximum times of flows of both networks from the same share of the same goal."""
    q = order_for(depth, shallow)
    deep, less = (halfway(n, order, (2,) * (n + 1), start, (goal,)) for n, order in ((depth, q), (shallow, inf)))
    (fast, first), (slow, second) = half_time(deep, q), half_time(less, inf)
    observed = slow / fast
    bound = Bound((("integration and rounding", observed * (first.total / fast + second.total / slow)),))
    return agree(observed, evaluate(formula, {DEPTH: depth, Q: q}), bound=bound).on(deep)
