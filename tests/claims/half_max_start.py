"""Half-maximum times of modes that start at one small value: the law with the exponent that holds there."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Integer, Max

from derivations.compiled import evaluate
from derivations.deep_linear import half_max
from derivations.notation import P
from tests.checker.claim import Claim
from tests.checker.compare import slope
from tests.claims.half_max import GIVEN, half_times, stiffness_of
from tests.claims.maps import balanced_start, order_rule
from tests.claims.settings import Setting

RUNS = ((2, 2.0, 1e-8), (3, inf, 1e-5), (4, inf, 2e-5))
COMMON_GOALS = (0.8, 1.0, 1.25, 1.6)

common = Claim(
    "map.half-max-common-start",
    source="A figure 2",
    says=(
        "From one small start for all modes, half-maximum times fall with the goal to the power p below 1, and 1 above."
    ),
    formula=half_max.common_start_exponent,
    lhs=r"\frac{d \ln t_{1/2}}{d \ln \sigma^*}",
    relation=r"\to",
    given=GIVEN,
    uses=("map.half-max-time",),
    near_misses={"the printed law": lambda: -P, "the other branch": lambda: Max(P - 2, Integer(-1))},
    falsifiers={"inverse goal throughout": lambda: Integer(-1)},
    remark=(
        "Above $`p = 1`$ the escape from the saddle takes nearly all the time, and its rate is linear in the goal "
        "whatever the "
        "depth. Deep gradient descent separates modes by their goals, not by powers of them, unless the start "
        "knows the goals."
    ),
)


@common.proof(generic_in="stiffness p other than 1")
def limit_of_the_local_exponent(formula):
    """The local exponent of the half-maximum time, with the power of the start as a variable that tends to zero."""
    return half_max.is_common_start_exponent(formula)


@lru_cache(maxsize=8)
def _common_times(depth: int, q: float, start: float) -> tuple[Setting, np.ndarray, float]:
    setting = balanced_start(depth, (4,) * (depth + 1), 0, starts=(start,) * 4, goals=COMMON_GOALS)
    return setting, *half_times(setting, order_rule(q, depth ** -(1 - 1 / q)), 1e-9)


@common.check(tuple({"depth": d, "q": q, "start": s} for d, q, s in RUNS), slow=True)
def slope_over_four_goals(formula, depth, q, start):
    """Log-log slope of the half-maximum times of four modes of a full network that start at one small value."""
    p = stiffness_of(depth, q)
    setting, times, error = _common_times(depth, q, start)
    # the next term of the exponent is of first order in the power of the start that the limit drops
    dropped = 2 * (start / min(COMMON_GOALS)) ** abs(1 - p)
    wanted = float(evaluate(formula, {P: p}))
    return slope(COMMON_GOALS, times, predicted=wanted, systematic=dropped + error / float(times.min())).on(setting)
