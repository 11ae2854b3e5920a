"""The diagonal blocks of the first layer as printed, and the criterion that chooses between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sympy import Symbol

from derivations.compiled import evaluate
from derivations.information import lemma3
from derivations.information.lemma3 import COVARIANCE, FIRST, LINK, MEAN_INPUT, SECOND, SQUARED, STEEPEST
from tests.checker.claim import Claim, grid
from tests.checker.compare import at_most, equal
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.anatomy import Anatomy, network


def statistics(one: Anatomy) -> Mapping[Symbol, Any]:
    """Means over the inputs of one network, and the moments of its inputs."""
    return {
        FIRST: one.steepness[0].mean(),
        LINK: one.links.mean(),
        SQUARED: (one.links * one.steepness[0] ** 2).mean(),
        STEEPEST: one.rooted[0].max(),
        SECOND: one.second_moment,
        COVARIANCE: one.covariance,
        MEAN_INPUT: one.mean_input,
    }


def corrected() -> dict[str, Any]:
    """The bounds that hold for every network."""
    return lemma3.corrected_diagonal()


diagonal = Claim(
    "curvature-bound.first-diagonal-blocks-as-printed",
    source="B eqs. 35-38 and the remark after the theorem",
    says="The blocks of the first bias and the first weights are at most the mean output curvature times the square "
    "of the mean Jacobian norm, for the weights times the largest eigenvalue of the covariance of the inputs.",
    formula=lemma3.printed_diagonal,
    control=corrected,
    corrected_by=("curvature-bound.block-norms", "curvature-bound.first-weight-block", "curvature-bound.jensen-gap"),
    near_misses={
        "covariance instead of second moment": lambda: {**corrected(), "weights": COVARIANCE * STEEPEST},
        "no moment of the inputs": lambda: {**corrected(), "weights": STEEPEST},
    },
    falsifiers={"half the mean square": lambda: {**corrected(), "bias": SQUARED / 2}},
    mutate=False,
    remark=(
        "Two things are amiss. The square of a mean stands for the mean of a square. And the covariance stands for the "
        "second moment: with one input it is zero, and with images, whose mean is large, it is much too small. The "
        "remark that both blocks obey the bound of the bias forgets the inputs altogether."
    ),
)


@diagonal.proof(instances="ReLU networks of one unit on the input 1")
def single_units(formula):
    """One input has no covariance; two networks of different gain have a mean square above the squared mean."""
    return lemma3.diagonal_witness(formula)


def _blocks(formula: Mapping[str, Any], one: Anatomy) -> Evidence:
    values = statistics(one)
    observed = np.array([one.norm("b1", "b1"), one.norm("W1", "W1")])
    predicted = np.array([float(evaluate(formula[name], values)) for name in ("bias", "weights")])
    return at_most(observed, predicted, bound=one.rounding)


@diagonal.check(
    grid(depth=[1, 3], widths=["wide", "narrowing"], activation=["linear"], shift=[1.0], samples=[1, 5], seed=[0])
    + grid(depth=[3], widths=["wide"], activation=["tanh", "relu"], shift=[1.0], samples=[1], seed=[1])
)
def inputs_with_a_mean(formula, depth, widths, activation, shift, samples, seed):
    """Full networks on inputs with a mean: linear ones on several inputs, others on one."""
    return _blocks(formula, network(depth, widths, activation, "identity", seed, shift=shift, samples=samples))


@diagonal.figure
def blocks_against_mean(formula):
    """The norm of the first weight block of a linear network as the mean of its inputs grows."""
    shifts = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0]
    found = [network(3, "wide", "linear", "identity", 3, shift=shift, samples=20) for shift in shifts]
    printed = lemma3.printed_diagonal()["weights"]
    series = (
        Series("second moment", shifts, [float(evaluate(formula["weights"], statistics(one))) for one in found]),
        Series("covariance, as printed", shifts, [float(evaluate(printed, statistics(one))) for one in found], "bound"),
        Series("network", shifts, [one.norm("W1", "W1") for one in found], "simulation"),
    )
    panel = Panel("linear network, 20 inputs", "mean of the inputs", "norm of the first weight block", series)
    return Figure("The block grows with the mean of the inputs, which the covariance does not see.", (panel,))


criterion = Claim(
    "curvature-bound.case-split-as-printed",
    source="B theorem, condition of the two cases",
    says="The first weights dominate the first bias exactly if the length of the mean input is above 1.",
    formula=lambda: MEAN_INPUT,
    control=lambda: SECOND,
    corrected_by=("curvature-bound.first-block-ratio",),
    lhs=r"s_{\max}(G_{W^1 W^1}) > s_{\max}(G_{b^1 b^1}) \iff 1",
    relation="<",
    near_misses={"covariance": lambda: COVARIANCE},
    falsifiers={"half the second moment": lambda: SECOND / 2},
    remark=(
        "It is the largest eigenvalue of the second moment that decides. For centred data the mean is zero, however "
        "large the inputs are, and the weights dominate as soon as the inputs are longer than about 1 along some "
        "direction."
    ),
)


@criterion.proof(instances="the inputs 2 and -2")
def inputs_of_mean_zero(formula):
    """Two inputs of length 2 and opposite sign."""
    return lemma3.criterion_witness(formula)


def _decision(formula: Any, one: Anatomy) -> Evidence:
    dominates = one.norm("W1", "W1") > one.norm("b1", "b1")
    return equal([dominates], [bool(evaluate(formula, statistics(one)) > 1)])


@criterion.check(
    grid(depth=[1, 3], widths=["wide"], activation=["linear"], margin=[-1e-6, 1e-6, 1.0], centred=[True], seed=[0])
    + grid(depth=[2], widths=["narrowing"], activation=["linear"], margin=[-1e-6, 1e-6], centred=[False], seed=[1])
)
def linear_networks_near_the_threshold(formula, depth, widths, activation, margin, centred, seed):
    """Linear networks on inputs scaled so that the largest eigenvalue of the second moment is 1 + margin."""
    if not margin > -1:
        raise ValueError(f"margin: {margin} given, allowed: above -1")
    one = network(depth, widths, activation, "identity", seed, centred=centred)
    return _decision(formula, Anatomy(one.net, one.x * ((1 + margin) / one.second_moment) ** 0.5))


@criterion.check(grid(depth=[3], widths=["wide"], activation=["tanh"], scale=[0.2, 3.0], centred=[True], seed=[2, 3]))
def tanh_networks(formula, depth, widths, activation, scale, centred, seed):
    """Networks whose Jacobian depends on the input, on short and on long inputs of mean zero."""
    return _decision(formula, network(depth, widths, activation, "identity", seed, scale=scale, centred=centred))
