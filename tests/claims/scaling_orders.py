"""The exponents of the scaling laws at the three orders, and the order that the supplement gives to the square root."""

from __future__ import annotations

from math import inf, log

import numpy as np
from sympy import S

from derivations.compiled import evaluate
from derivations.deep_linear import scaling
from derivations.deep_linear.scaling import SCALE
from derivations.notation import DEPTH, ETA, Q
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.scaling import Widths, balanced, held, ratios, update_rounding
from tests.claims.settings import sizes
from tests.claims.updates import RATE

RULES = {"gradient descent": inf, "square root": 2, "natural gradient": 1}
NETS = grid(depth=[2, 4], widths=["square", "widening"], scale=[0.1], seed=[0]) + grid(
    depth=[3], widths=["waist", "wide"], scale=[10.0], seed=[1]
)

listed = Claim(
    "scaling.listed-exponents",
    source="A S.I.3, after S.I.17 (corrected)",
    says="The square root of the curvature, q = 2, keeps the speed at every weight scale, natural gradient that of "
    "the loss; the other exponents are 1 or 2 for each layer but one.",
    formula=scaling.listed_exponents,
    lhs=r"\text{exponents of } \alpha",
    uses=("scaling.power-law",),
    near_misses={
        "the printed order 1/2": scaling.exponents_at_one_half,
        "one power for each layer": lambda: {
            name: part.subs(DEPTH, DEPTH + 1) for name, part in scaling.listed_exponents().items()
        },
    },
    falsifiers={
        "natural gradient grows": lambda: {**scaling.listed_exponents(), "natural gradient, weights": DEPTH - 1},
    },
    remark=(
        "Vanishing updates of gradient descent and exploding ones of natural gradient are mirror images: exponents "
        "$`d - 1`$ and $`1 - d`$ of the speed, with zero in the middle."
    ),
)

half = Claim(
    "scaling.square-root-order-as-printed",
    source="A S.I.3, after S.I.17",
    says="As printed, the square root of the curvature is the order one half.",
    formula=scaling.exponents_at_one_half,
    control=scaling.listed_exponents,
    corrected_by=("scaling.listed-exponents",),
    lhs=r"\text{exponents of } \alpha",
    near_misses={
        "speed kept, loss too": lambda: {**scaling.listed_exponents(), "square root, loss": S.Zero},
    },
    falsifiers={"order four": lambda: {**scaling.listed_exponents(), "square root, weights": (DEPTH - 1) / 2}},
    remark=(
        "With $`q = 1/2`$ the two laws give the exponents $`-3(d - 1)`$ and $`-2(d - 1)`$ instead of 0 and $`d - 1`$, "
        "and an update more explosive than the natural gradient's. The square root is $`H_+^{1/q}`$ with $`q = 2`$."
    ),
)


@listed.proof(generic_in="depth, widths")
def logarithmic_slopes(formula):
    """Differentiate the power laws in the logarithm of the scale, at the three orders."""
    return scaling.are_listed(formula)


@half.proof(generic_in="depth, widths")
def slopes_as_printed(formula):
    """The same slopes, held against what the printed order makes of them."""
    return scaling.are_listed(formula)


def _slopes(formula, depth: int, widths: Widths, scale: float, seed: int) -> Evidence:
    """The change of both ratios between two scales, over the change of the scale, for each rule."""
    plain, other = held(depth, widths, scale, seed)
    if scale == 1:
        raise ValueError("scale: 1 given, allowed: a number > 0 other than 1")
    parts = []
    for rule, q in RULES.items():
        for k, name in enumerate(("weights", "loss")):
            before, after = ratios(plain, q)[k], ratios(other, q)[k]
            observed = log(after / before) / log(scale)
            relative = (update_rounding(plain, 1.0) + update_rounding(other, 1.0)).total
            budget = Bound((("rounding", relative / abs(log(scale))),)) + rounding(depth, 4)
            predicted = float(evaluate(formula[f"{rule}, {name}"], {DEPTH: depth}))
            parts.append(agree(observed, predicted, bound=budget, scale=1.0))
    return both(*parts).on(other)


@listed.check(NETS)
def slopes_of_networks(formula, depth, widths, scale, seed):
    """Logarithmic slopes of both ratios for unaligned, unbalanced full networks at a given displacement."""
    return _slopes(formula, depth, widths, scale, seed)


@half.check(NETS)
def slopes_against_print(formula, depth, widths, scale, seed):
    """The same slopes against the printed order."""
    return _slopes(formula, depth, widths, scale, seed)


@listed.figure
def laws_of_balanced_networks(formula):
    """Both laws for balanced networks with orthogonal layers: lines with their constants, dots from networks."""
    law, depth, size = scaling.equal_couplings(), 3, sizes(3, "square")[0]
    alphas, dots, panels = np.geomspace(0.05, 2.0, 33), np.geomspace(0.05, 2.0, 9), []
    labels = {"speed": r"$\Vert\dot w\Vert/\sqrt{L}$", "descent of the loss": r"$-\dot L/L$"}
    for k, (name, label) in enumerate(labels.items()):
        series, places, off = [], [], []
        for rule, q in RULES.items():
            theory = [evaluate(law[name], {Q: q, ETA: RATE, SCALE: a, DEPTH: depth}) for a in (alphas, dots)]
            found = [ratios(balanced(depth, size, float(a), 0, 1.0), q)[k] for a in dots]
            series += [Series(rule, alphas, theory[0]), Series(f"{rule}, network", dots, found, "simulation")]
            places.extend(dots)
            off.extend(np.array(found) / theory[1] - 1)
        panels.append(
            Panel("three orthogonal layers", r"weight scale $\alpha$", label, tuple(series),
                  residual=Series("relative difference", places, off, "simulation"), log_x=True, log_y=True)
        )  # fmt: skip
    caption = "Balanced networks with equal couplings obey both laws at every scale, constants included."
    return Figure(caption, tuple(panels))
