"""What block-diagonal rules conserve on aligned modes: ratios of layers, differences of powers."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import inf

import numpy as np
from sympy import Abs, Expr, log

from derivations.compiled import evaluate
from derivations.decide import step
from derivations.deep_linear import layerwise_invariants as invariants
from derivations.deep_linear.layerwise_invariants import ETA_K
from derivations.notation import ETA_I, SIGMA_I, SIGMA_K, Q
from numerics.flows import Trajectory, flow
from numerics.rules import BlockFractional, BlockNatural
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import vanishes
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED, COUPLED, WHITENED
from tests.claims.blocks import RATE, heading, rates_of
from tests.claims.settings import Setting, array

GIVEN = (ALIGNED, COUPLED, WHITENED)
TIMES = (0.0, 0.4, 0.8, 1.5)


@lru_cache(maxsize=128)
def trained(setting: Setting, q: float, shares: str = "equal") -> Trajectory:
    """A full network followed along a block-diagonal rule."""
    rates = rates_of(setting.net.depth, shares)
    rule = BlockNatural(RATE, rates) if q == 1 else BlockFractional(q, RATE)
    return flow(setting.net, setting.problem, rule, TIMES)


@lru_cache(maxsize=128)
def _mode_course(setting: Setting, q: float, shares: str) -> np.ndarray:
    """Mode values (T, d, r) along the training of a full network."""
    return array(setting.frame.modes(trained(setting, q, shares).nets()))


def _largest(values: np.ndarray) -> float:
    """The largest finite magnitude: where a formula is no number the comparison says so, not the budget."""
    return float(np.abs(np.nan_to_num(values, posinf=0.0, neginf=0.0)).max())


def drift(quantity: Expr, setting: Setting, q: float, shares: str = "equal") -> Evidence:
    """The change of a function of two layers along a training, over all pairs of layers and all modes."""
    course, rates = _mode_course(setting, q, shares), rates_of(setting.net.depth, shares)
    changes, slopes, sizes = [], [], []
    for i, k in combinations(range(setting.net.depth), 2):
        at = {SIGMA_I: course[:, i], SIGMA_K: course[:, k], ETA_I: RATE * rates[i], ETA_K: RATE * rates[k], Q: q}
        found = evaluate(quantity, at)
        changes.append(found - found[:1])
        sizes.append(max(_largest(evaluate(term, at)) for term in quantity.as_ordered_terms()))
        slopes.append(sum(_largest(evaluate(quantity.diff(s), at)) for s in (SIGMA_I, SIGMA_K)))
    scale, steep = max(sizes), max(slopes)
    error = trained(setting, q, shares).error * max(setting.net.widths)
    bound = integration(steep * error) + rounding(scale, 4 * sum(setting.net.widths))
    return vanishes(np.stack(changes), bound=bound, scale=scale).on(setting)


ratio = Claim(
    "layerwise.ratio",
    source="A section 3.3, after eq. 24 (for any rates)",
    says="Block-diagonal natural gradient descent conserves differences of log layer values over learning rates.",
    formula=invariants.natural_invariant,
    given=GIVEN,
    uses=("layerwise.natural-rate",),
    near_misses={"plain ratio at unequal rates": lambda: log(Abs(SIGMA_I)) - log(Abs(SIGMA_K))},
    falsifiers={
        "hyperbola of the full rule": lambda: SIGMA_I**2 - SIGMA_K**2,
        "product": lambda: log(Abs(SIGMA_I)) + log(Abs(SIGMA_K)),
    },
    equivalent=lambda formula, mutant: invariants.is_conserved_by_natural(mutant).proved,
    remark=(
        "At equal rates the ratio itself is conserved: paths are rays through the origin, and an imbalance of "
        "the start grows with the weights. At unequal rates the rays bend into power laws."
    ),
)


@ratio.proof(generic_in="depth, widths, rates")
def two_layers_of_one_mode(formula):
    """Both layers move by the same relative amount, but for the rates."""
    return invariants.is_conserved_by_natural(formula).explain(
        step("At equal rates this is the limit of the fractional invariant for small e:", invariants.near_first_order())
    )


@ratio.check(
    grid(depth=[2, 3], widths=["square", "waist"], shares=["equal", "rising"], seed=[0])
    + grid(depth=[3], widths=["widening"], shares=["rising"], seed=[0])
)
def along_a_training(formula, depth, widths, shares, seed):
    """Mode values of a full network at all times of a training."""
    return drift(formula, heading(depth, widths, seed), 1, shares)


differences = Claim(
    "layerwise.invariant",
    source="A section 3.3, after eq. 25 (corrected)",
    says="A block-diagonal fractional rule conserves the difference of a power of the sizes of two layers of a mode.",
    formula=invariants.fractional_invariant,
    given=GIVEN,
    uses=("layerwise.fractional-rate",),
    near_misses={"exponent 1 - 1/q": lambda: Abs(SIGMA_I) ** (1 - 1 / Q) - Abs(SIGMA_K) ** (1 - 1 / Q)},
    falsifiers={
        "hyperbola of the full rule": lambda: SIGMA_I**2 - SIGMA_K**2,
        "signed values": lambda: SIGMA_I - SIGMA_K,
    },
    equivalent=lambda formula, mutant: invariants.is_conserved_by_fractional(mutant).proved,
    remark=(
        "The exponent runs from 2 at gradient descent, the hyperbola of the full rule, through 1 at the square "
        "root, parallel lines, to 0 at the natural gradient. There the difference is empty, and its limit on "
        "the scale of the exponent is the log ratio."
    ),
)


@differences.proof(generic_in="depth, order q, widths")
def powers_of_two_layers(formula):
    """The rates of both powers are the same product of all layers."""
    return invariants.is_conserved_by_fractional(formula)


TRAININGS = grid(depth=[2, 3], q=[1.5, 4], widths=["square", "waist"], seed=[0]) + grid(
    depth=[2, 3], q=[2, inf], widths=["widening"], seed=[0]
)


@differences.check(TRAININGS)
def along_fractional_trainings(formula, depth, q, widths, seed):
    """Mode values of a full network at all times of a training."""
    return drift(formula, heading(depth, widths, seed), q)


@differences.figure
def straightened_paths(formula):
    """Paths of one mode of two layers in the plane of the conserved power."""
    panels = []
    for q, name in ((1.5, "q = 1.5"), (2.0, "square root, q = 2"), (inf, "gradient, q = ∞")):
        series, worst, budget = [], ([], []), 0.0
        for seed in range(3):
            setting = heading(2, (2, 2, 2), seed, factor=1.9)
            course = np.abs(_mode_course(setting, q, "equal"))
            start, stop = course[0], course[-1]
            line = np.linspace(0, 1, 20)[:, None, None] * (stop - start) + start
            level = evaluate(formula, {SIGMA_I: start[0], SIGMA_K: start[1], Q: q})
            for mode in range(2):
                x = line[:, 0, mode]
                power = 2 - 2 / q
                y = (x**power - level[mode]) ** (1 / power)
                series.append(Series("conserved difference" if not series else "", x, y))
                name_dots = "network" if len(series) < 2 else ""
                series.append(Series(name_dots, course[:, 0, mode], course[:, 1, mode], "simulation"))
                now = evaluate(formula, {SIGMA_I: course[:, 0, mode], SIGMA_K: course[:, 1, mode], Q: q})
                worst[0].extend(course[:, 0, mode])
                worst[1].extend(now - level[mode])
            budget = max(budget, drift(formula, setting, q).bound)
        panels.append(
            Panel(
                name,
                r"$|\sigma_1|$",
                r"$|\sigma_2|$",
                tuple(series),
                residual=Series("change of the difference", *worst, style="simulation"),
                residual_bound=budget,
            )
        )
    caption = "Paths of the layers of single modes under three block-diagonal rules, from three random starts."
    return Figure(caption, tuple(panels))


printed = Claim(
    "layerwise.invariant-as-printed",
    source="A section 3.3, after eq. 25",
    says="As printed, a block-diagonal fractional rule conserves the difference of a power of two layers of a mode.",
    formula=invariants.fractional_invariant_as_printed,
    control=invariants.fractional_invariant,
    corrected_by=("layerwise.invariant", "layerwise.ratio"),
    given=GIVEN,
    near_misses={"exponent 1 - 1/q": lambda: Abs(SIGMA_I) ** (1 - 1 / Q) - Abs(SIGMA_K) ** (1 - 1 / Q)},
    falsifiers={"sum": lambda: Abs(SIGMA_I) ** (2 - 2 / Q) + Abs(SIGMA_K) ** (2 - 2 / Q)},
    equivalent=lambda formula, mutant: invariants.is_conserved_by_fractional(mutant).proved,
    remark=(
        "Layer values are signed: without absolute values the power is not real, and at the square root, where "
        "it is, the difference of two layers of unlike sign moves. At the first order the printed quantity is "
        "zero and says nothing."
    ),
)


@printed.proof(generic_in="depth, order q, widths")
def signed_values_of_two_layers(formula):
    """The same derivation, at values of either sign."""
    return invariants.is_conserved_by_fractional(formula)


@printed.check(grid(depth=[2, 3], q=[1.5, 2, 4], widths=["square"], seed=[0]))
def signed_trainings(formula, depth, q, widths, seed):
    """Mode values of full networks with negative layers."""
    return drift(formula, heading(depth, widths, seed), q)
