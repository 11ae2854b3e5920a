"""Maps that start at zero or close to it, and the clocks of the square root rule."""

from __future__ import annotations

from math import inf

import numpy as np
from sympy import Integer, atanh, log, sqrt

from derivations.compiled import evaluate
from derivations.decide import zero
from derivations.deep_linear import closed_forms
from derivations.deep_linear.closed_forms import ROOT
from derivations.notation import ETA_TILDE, SIGMA_0, SIGMA_STAR, TIME
from numerics.flows import flow
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most, both
from tests.checker.evidence import Bound
from tests.claims.assumptions import ALIGNED, BALANCED, WHITENED
from tests.claims.closed_forms import GIVEN, ZERO_MAP, returned_times
from tests.claims.maps import NONNEGATIVE, balanced_start, map_history, order_rule
from tests.claims.settings import array

delayed = Claim(
    "closed-form.zero-start-limit",
    source="A section 3.2, after eq. 21",
    says="Curves from small starts approach the curve from zero like the root of the start; their gap has this bound.",
    formula=closed_forms.delay,
    lhs=r"\max_t \lvert \sigma(t) - \sigma^* \tanh^2(\tilde\eta\sqrt{\sigma^*} t/2) \rvert",
    relation=r"\le",
    given=GIVEN,
    uses=("closed-form.tanh-squared",),
    near_misses={
        "linear in the start": lambda: 4 * sqrt(3) / 9 * SIGMA_STAR * atanh(SIGMA_0 / SIGMA_STAR),
        "half of the slope": lambda: closed_forms.delay() / 2,
    },
    falsifiers={"twice the slope": lambda: 2 * closed_forms.delay()},
    remark=(
        "A start of one millionth of the goal still leaves a gap of almost a thousandth. The limit exists, but it "
        "is slow: "
        "this is how the network remembers the saddle."
    ),
)


@delayed.proof(generic_in="start, goal")
def steepest_slope_times_shift(formula):
    """The mean value theorem with the steepest slope of the squared hyperbolic tangent."""
    return closed_forms.bounds_delay(formula)


STARTS = (1e-3, 1e-4, 1e-5, 1e-6)


@delayed.check(grid(start=STARTS, goal=[1.0, 1.7]))
def gap_to_the_curve_from_zero(formula, start, goal):
    """The gap of a full network at the steepest part of the curve: within the bound, and up to third order reached."""
    if not 0 < start < goal / 10:
        raise ValueError(f"start: {start} given, allowed: between 0 and a tenth of the goal")
    setting = balanced_start(2, (2, 3, 2), 0, starts=(start, start), goals=(goal, goal))
    shift = float(np.arctanh(np.sqrt(start / goal)))
    # the window of this length around the steepest point tanh^2 = 1/3
    middle = 2 / np.sqrt(goal) * (np.arctanh(1 / np.sqrt(3)) - shift / 2)
    times = (0.0, middle / 2, middle, 2 * middle)
    found, bound = map_history(setting, order_rule(2.0, 2**-0.5), times)
    from_zero = goal * np.tanh(np.sqrt(goal) * np.array(times) / 2) ** 2
    gaps = found[:, 0] - from_zero
    wanted = float(evaluate(formula, {SIGMA_STAR: goal, SIGMA_0: start}))
    # |(tanh^2)'''| = 8 T (1 - T^2) |2 - 3 T^2| is largest near T = 0.36, where it is below 5
    third = Bound((("third order", goal * 5 * shift**3 / 24),))
    reached = agree(gaps[2], wanted, bound=bound + third)
    return both(reached, at_most(np.abs(gaps), wanted, bound=bound)).on(setting)


at_rest = Claim(
    "closed-form.zero-start-as-printed",
    source="A section 3.2, after eq. 21",
    says="The printed curves for stiffness below one describe balanced networks whose map starts at zero.",
    formula=lambda: closed_forms.tanh_squared(Integer(0)),
    control=lambda: Integer(0),
    corrected_by=("closed-form.zero-start-limit",),
    lhs=r"\sigma(t)",
    given=(ALIGNED, WHITENED, BALANCED, NONNEGATIVE, ZERO_MAP),
    near_misses={
        "escape in finite time": lambda: (ETA_TILDE * SIGMA_STAR * TIME / 2) ** 2,
        "exponential": closed_forms.linear,
    },
    falsifiers={"goal at once": lambda: SIGMA_STAR},
    remark=(
        "A balanced zero map has all layers zero, so no rule moves it. The equation does not contradict this: "
        "below stiffness "
        "one it has two solutions from zero, rest and the printed curve. The curve is the limit of small starts."
    ),
)


@at_rest.proof(generic_in="order q")
def all_layers_are_zero(formula):
    """Balanced layers have one size, so a zero map has zero layers and, from two layers on, zero couplings."""
    return closed_forms.rests(formula)


@at_rest.check(grid(depth=[2, 3], widths=["widening", "waist"], q=[1, 2, inf], seed=[0]))
def network_of_zeros(formula, depth, widths, q, seed):
    """A full network of zeros under the fractional rule."""
    setting = balanced_start(depth, widths, seed, starts=(0.0, 0.0))
    times = (0.0, 1.0, 3.0)
    path = flow(setting.net, setting.problem, order_rule(q, 1.0), times)
    found = array(setting.frame.modes(path.nets())).prod(1)
    values = {SIGMA_STAR: array(setting.goals), ETA_TILDE: 1.0, TIME: np.array(times)[:, None]}
    predicted = np.broadcast_to(evaluate(formula, values), found.shape)
    return agree(found, predicted, bound=rounding(1.0, 10), scale=1.0).on(setting)


root_clocks = Claim(
    "closed-form.sqrt-depths",
    source="A eq. 21",
    says=(
        "Under the square root rule time is an elementary function of one layer, whatever the depth; here depths "
        "2 to 4."
    ),
    formula=closed_forms.root_clocks,
    lhs=r"\tilde\eta \sigma^{*p} t + \mathrm{const}",
    given=GIVEN,
    uses=("map.balanced-rate",),
    near_misses={
        "one sheet at depth 4": lambda: {**closed_forms.root_clocks(), "depth 4": 4 * atanh(ROOT)},
        "depth 3 without angle": lambda: {
            **closed_forms.root_clocks(),
            "depth 3": log(1 + ROOT + ROOT**2) / 2 - log(1 - ROOT),
        },
    },
    falsifiers={
        "linear layers": lambda: {f"depth {d}": d * ROOT for d in (2, 3, 4)},
        "half at depth 2": lambda: {**closed_forms.root_clocks(), "depth 2": atanh(ROOT)},
    },
    equivalent=lambda formula, mutant: all(zero((formula[n] - mutant[n]).diff(ROOT)).proved for n in formula),
    remark=(
        "With $`\\sigma = \\sigma^* u^d`$ the layer u obeys $`\\dot u \\propto 1 - u^d`$: it starts at a finite "
        "speed at every depth, "
        "and saturates the more abruptly the deeper the network."
    ),
)


@root_clocks.proof(instances="d = 2, 3, 4, any start, goal and rate")
def derivative_of_the_clock(formula):
    """The derivative is $`d / (1 - u^d)`$."""
    return closed_forms.are_root_clocks(formula)


@root_clocks.check(grid(depth=[2, 3, 4], widths=["widening", "wide"], seed=[0]))
def times_of_full_networks(formula, depth, widths, seed):
    """Times of the flow, recovered from the size of the layers."""
    if f"depth {depth}" not in formula:
        raise ValueError(f"depth: {depth} given, allowed: {', '.join(n.removeprefix('depth ') for n in formula)}")
    setting, times = balanced_start(depth, widths, seed), (0.0, 0.5, 1.5)
    found, bound = map_history(setting, order_rule(2.0, depth**-0.5), times)
    goals = array(setting.goals)
    clock = evaluate(formula[f"depth {depth}"], {ROOT: (found / goals) ** (1 / depth)})
    unit = goals ** (1 - 1 / depth)
    speed = float((np.abs(found - goals) * found ** (1 - 1 / depth)).min())
    return returned_times(found, clock, unit, bound, times, speed).on(setting)
