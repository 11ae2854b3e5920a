"""What block-diagonal rules conserve on unaligned weights: Schatten norms of two layers, determinants."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from sympy import Integer

from derivations import words
from derivations.code import value
from derivations.compiled import evaluate
from derivations.deep_linear import layerwise_invariants as invariants
from derivations.deep_linear.layerwise_invariants import VALUE
from derivations.notation import ETA_I, Q
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, vanishes
from tests.claims.assumptions import FULL_RANK, WHITENED
from tests.claims.blocks import RATE, block_rounding, block_velocity, rates_of
from tests.claims.layerwise_invariants import trained
from tests.claims.settings import Setting, array, near_solution

TWO_LAYERS = Assumption("two layers", "the network has two layers", lambda s: s.net.depth == 2)
SQUARE = Assumption("square layers", "all layers have the same width", lambda s: len(set(s.net.widths)) == 1)

schatten = Claim(
    "layerwise.schatten-norm",
    source="beyond A section 3.3",
    says="With two layers a block-diagonal rule conserves the difference of their sums of singular values to a power.",
    formula=invariants.schatten_summand,
    lhs=r"\sum f(s(w_1)) - \sum f(s(w_2)) = \text{const},\quad f(s)",
    given=(FULL_RANK, WHITENED, TWO_LAYERS),
    near_misses={"exponent 1 - 1/q": lambda: VALUE ** (1 - 1 / Q)},
    falsifiers={
        "squares as in the full rule": lambda: VALUE**2,
        "singular values themselves": lambda: VALUE + 0 * Integer(1),
    },
    equivalent=lambda formula, mutant: invariants.is_schatten(mutant).proved,
    remark=(
        "No alignment is needed and the layers may be rectangular: nuclear norms at the square root, Frobenius "
        "norms at gradient descent, log determinants in the limit of the natural gradient. The argument "
        "needs two layers."
    ),
)


@schatten.proof(generic_in="order q, widths, alignment")
def derivative_of_the_sums(formula):
    """Both rates are one cyclic word."""
    return invariants.is_schatten(formula)


@lru_cache(maxsize=64)
def _singular_course(setting: Setting, q: float) -> tuple[np.ndarray, np.ndarray]:
    return tuple(array(torch.linalg.svdvals(w)) for w in trained(setting, q).weights)


@schatten.check(
    grid(depth=[2], q=[1.3, 4], widths=["square", "widening", "narrowing"], seed=[0])
    + grid(depth=[2], q=[2, inf], widths=["wide", "waist"], seed=[0])
)
def singular_values_along_a_training(formula, depth, q, widths, seed):
    """Singular values of both layers of an unaligned full network at all times of a training."""
    setting = near_solution(depth, widths, seed)
    sums, steep = [], 0.0
    for course in _singular_course(setting, q):
        sums.append(evaluate(formula, {VALUE: course, Q: q}).sum(-1))
        steep += float(np.abs(evaluate(formula.diff(VALUE), {VALUE: course, Q: q})).sum(-1).max())
    found = sums[0] - sums[1]
    error = trained(setting, q).error * max(setting.net.widths)
    scale = float(np.abs(sums).max())
    bound = integration(steep * error) + rounding(scale, 8 * sum(setting.net.widths))
    return vanishes(found - found[0], bound=bound, scale=scale).on(setting)


determinant = Claim(
    "layerwise.log-determinant",
    source="beyond A section 3.3",
    says="Under the block-diagonal natural gradient the log determinants of square layers change alike, but for rates.",
    formula=invariants.determinant_rate,
    lhs=r"\frac{d}{dt} \ln \lvert \det w_i \rvert",
    given=(SQUARE, FULL_RANK, WHITENED),
    uses=("layerwise.natural-update",),
    near_misses={
        "inverse of the displacement's transpose": lambda: (
            -ETA_I * words.trace(invariants.inverse("W^{-1}", "Winv").T * invariants.SQUARE_DELTA)
        ),
    },
    falsifiers={
        "displacement alone": lambda: -ETA_I * words.trace(invariants.SQUARE_DELTA),
        "inverse alone": lambda: -ETA_I * words.trace(invariants.inverse("W^{-1}", "Winv")),
    },
    remark=(
        "Differences of $`\\ln\\lvert\\det w_i\\rvert / \\eta_i`$ are conserved without any alignment. Where a "
        "determinant of the map must change its sign, every layer becomes singular at the same time."
    ),
)


@determinant.proof(generic_in="depth, width, rates")
def jacobi_formula(formula):
    """The rate of a log determinant is a trace that rotates into one of the whole map."""
    return invariants.is_determinant_rate(formula)


@determinant.check(grid(depth=[1, 2, 3, 5], widths=["square"], shares=["equal", "rising"], seed=[0, 1]))
def every_layer(formula, depth, widths, shares, seed):
    """Rates of the log determinants of all layers of an unaligned full network, from its update."""
    setting = near_solution(depth, widths, seed)
    update = block_velocity(setting, 1, shares)
    pairs = list(zip(setting.net.weights, update, strict=True))
    observed = [float(torch.linalg.solve(w, v).trace()) for w, v in pairs]
    inverse = np.linalg.inv(array(setting.net.product()))
    error = array(setting.problem.error(setting.net))
    rates = rates_of(depth, shares)
    predicted = [value(formula, {"Winv": inverse, "Delta": error, ETA_I: RATE * rate}) for rate in rates]
    worst = max(float(1 / torch.linalg.svdvals(w)[-1]) for w in setting.net.weights)
    condition = float(np.linalg.cond(array(setting.net.product())))
    bound = block_rounding(setting, factor=worst * len(error) * condition)
    return agree(observed, predicted, bound=bound).on(setting)
