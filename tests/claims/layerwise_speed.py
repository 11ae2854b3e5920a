"""Speeds of block-diagonal rules as the paper states them: the natural one in footnote 7, and the square root."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
from sympy import Abs, Rational, Symbol, sqrt

from derivations import words
from derivations.compiled import evaluate
from derivations.decide import all_of, equal, nonnegative, step
from derivations.deep_linear import layerwise
from derivations.deep_linear import natural_gradient as natural
from derivations.deep_linear import operator_inequalities as means
from derivations.deep_linear.layerwise import DELTA
from derivations.notation import DEPTH, ETA, J_I, J_K, SIGMA_DELTA
from numerics.networks import flatten
from numerics.rules import BlockFractional, BlockNatural, Fractional, NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, both
from tests.checker.evidence import Bound
from tests.claims.assumptions import ACTIVE, ALIGNED, COUPLED, WHITENED
from tests.claims.blocks import RATE, SHAPES, UNOBSTRUCTED, block_rounding, network
from tests.claims.layerwise_means import update_rounding
from tests.claims.modes import mode_values, mode_velocity
from tests.claims.settings import Setting

SPEED, IDLE = (Symbol(name, nonnegative=True) for name in ("speed", "idle"))
COUPLINGS = Symbol("d'", integer=True, nonnegative=True)
LOSS = Symbol("L", positive=True)


@lru_cache(maxsize=256)
def _mode_speeds(setting: Setting, rule: object) -> np.ndarray:
    return np.sqrt(np.square(mode_velocity(setting, rule)).sum(0))


surplus = Claim(
    "layerwise.mode-speed-surplus",
    source="A footnote 7",
    says="The block-diagonal natural gradient moves a mode at least as fast as the full one, by unequal couplings.",
    formula=means.pair_surplus,
    lhs=r"\lVert \dot\sigma \rVert_{\text{block}}^2 / \lVert \dot\sigma \rVert^2 - 1 = \sum_{i<k} s_{ik},\; s_{ik}",
    given=(ALIGNED, ACTIVE, WHITENED),
    conditions=(COUPLED,),
    uses=("layerwise.natural-rate", "modes.natural-rate"),
    near_misses={"divided by the depth": lambda: (J_I / J_K - J_K / J_I) ** 2 / DEPTH},
    falsifiers={
        "not squared": lambda: Abs(J_I / J_K - J_K / J_I) / DEPTH**2,
        "differences of couplings": lambda: (J_I - J_K) ** 2 / DEPTH**2,
    },
    remark=(
        "Jensen's inequality with its exact gap, a sum of squares over the pairs of layers: equality holds "
        "only where all layers of the mode are equal in size. Where one coupling is left, the block rule uses "
        "one share of the rate and is slower by the depth."
    ),
)


@surplus.proof(generic_in="depth, widths")
def pairs_of_layers(formula):
    """The product of two sums over layers, sorted by pairs."""
    return means.is_pair_surplus(formula)


def _surplus(formula, depth, widths, start, seed):
    setting = network(depth, widths, start, seed)
    block, full = _mode_speeds(setting, BlockNatural(RATE)), _mode_speeds(setting, NaturalGradient(RATE))
    found = (block / full) ** 2 - 1
    couplings = mode_values(setting)[J_I]
    pairs = combinations(range(depth), 2)
    parts = [evaluate(formula, {J_I: couplings[i], J_K: couplings[k], DEPTH: depth}) for i, k in pairs]
    predicted = sum(parts, np.zeros_like(found))
    relative = block_rounding(setting).total / float(np.minimum(block, full).min())
    scale = float((found + 1).max())
    bound = rounding(scale, 4) + Bound((("rounding of the velocities", 4 * relative * scale),))
    exact = agree(found, predicted, bound=bound, scale=scale)
    return both(exact, at_least(found, 0.0, bound=bound)).on(setting)


@surplus.check(
    grid(depth=[2, 3, 5], widths=SHAPES, start=["aligned"], seed=[0])
    + grid(depth=[1, 2, 3], widths=["square"], start=["equal modes"], seed=[0])
)
def speeds_of_modes(formula, depth, widths, start, seed):
    """Speeds of all modes of a full network under both rules."""
    return _surplus(formula, depth, widths, start, seed)


@surplus.without(COUPLED, grid(depth=[2, 3], widths=["square", "wide"], start=["zero mode"], seed=[0]))
def one_coupling_left(formula, depth, widths, start, seed):
    """The same where one layer of a mode is zero."""
    return _surplus(formula, depth, widths, start, seed)


root_modes = Claim(
    "layerwise.sqrt-mode-speed",
    source="A section 3.3, after eq. 26 (with zero couplings)",
    says="The block-diagonal square root moves a mode at its gap times the root of the share of layers that it moves.",
    formula=lambda: ETA * Abs(SIGMA_DELTA) * sqrt(COUPLINGS / DEPTH),
    lhs=r"\lVert \dot\sigma \rVert",
    given=(ALIGNED, WHITENED),
    near_misses={"all layers feel it": lambda: ETA * Abs(SIGMA_DELTA)},
    falsifiers={
        "share without the root": lambda: ETA * Abs(SIGMA_DELTA) * COUPLINGS / DEPTH,
        "speed of one layer": lambda: ETA * Abs(SIGMA_DELTA) / sqrt(DEPTH),
    },
    remark=(
        "$`d'`$ counts the non-zero couplings. The full square root has the speed "
        "$`\\eta\\lvert\\sigma_\\Delta\\rvert`$ wherever a mode is active; the block rule is equal to it only "
        "if no coupling vanishes, and by $`d^{-1/2}`$ slower if one is left."
    ),
)


@root_modes.proof(generic_in="depth, widths, number of non-zero couplings")
def equal_components(formula):
    """Every layer that feels the error moves at one speed."""
    one = layerwise.fractional_velocity(2)
    half = Rational(-1, 2)
    lemma = layerwise.follows_from_block(one, half, DEPTH**half)
    return all_of(lemma, equal(formula**2, COUPLINGS * one**2), nonnegative(formula)).explain(
        step("As many equal squares as there are non-zero couplings:", COUPLINGS * one**2)
    )


@root_modes.check(
    grid(depth=[2, 3, 5], widths=SHAPES, start=["aligned", "zero factor", "two zero factors"], seed=[0])
    + grid(depth=[1], widths=["narrowing"], start=["aligned"], seed=[0])
)
def root_speeds(formula, depth, widths, start, seed):
    """Speeds of all modes of a full network under the block-diagonal square root."""
    setting = network(depth, widths, start, seed)
    observed = _mode_speeds(setting, BlockFractional(2, RATE))
    values = mode_values(setting)
    felt = (np.abs(values[J_I]) > 1e-10).sum(0)
    predicted = evaluate(formula, {SIGMA_DELTA: values[SIGMA_DELTA][0], COUPLINGS: felt, DEPTH: depth, ETA: RATE})
    return agree(observed, predicted, bound=block_rounding(setting, -1 / 2)).on(setting)


root_any = Claim(
    "layerwise.sqrt-speed",
    source="A section 3.3, after eq. 26 (for any weights)",
    says="The block-diagonal square root moves the weights at the speed of the full one, which is that of the error.",
    formula=lambda: ETA * sqrt(2 * LOSS),
    lhs=r"\lVert \dot w \rVert",
    conditions=(UNOBSTRUCTED,),
    near_misses={"share of one layer": lambda: ETA * sqrt(2 * LOSS / DEPTH)},
    falsifiers={"norm of the loss": lambda: ETA * sqrt(LOSS), "no root": lambda: 2 * ETA * LOSS},
    remark=(
        "The root of a block turns the error by two partial isometries, so a layer that sees the whole error "
        "moves by its length over the root of the depth. The paper states it for aligned modes; no alignment "
        "is needed, but every layer must see all."
    ),
)


@root_any.proof(generic_in="depth, widths, weights")
def isometries(formula):
    """With exponent zero on the singular values a layer's update is the error between two isometries."""
    move = -ETA / sqrt(DEPTH) * (layerwise.V_A * layerwise.U_A.T * DELTA * layerwise.V_B * layerwise.U_B.T)
    whole = tuple(words.rule(frame * frame.T, words.identity(frame.rows)) for frame in (layerwise.U_A, layerwise.V_B))
    length = words.trace(move * move.T)
    share = ETA**2 / DEPTH * words.trace(DELTA * DELTA.T)
    return all_of(
        words.vanishes(length - share, (*layerwise.singular_rules(), *whole)),
        equal(formula**2, DEPTH * ETA**2 / DEPTH * 2 * LOSS),
        nonnegative(formula),
    ).explain(
        step("At the square root a layer moves by", move),
        step("If it sees all outputs and inputs, the squared length of that is", share),
        step("and all layers together move by", formula),
    )


def _root_speed(formula, depth, widths, start, rule, seed):
    setting = network(depth, widths, start, seed)
    rules = {"block": BlockFractional(2, RATE), "full": Fractional(2, RATE)}
    update = flatten(rules[rule].velocity(setting.net, setting.problem))
    loss = float(setting.problem.loss(setting.net))
    predicted = evaluate(formula, {ETA: RATE, LOSS: loss, DEPTH: depth})
    bound = block_rounding(setting, -1 / 2, factor=float(depth) ** 0.5)
    return agree(float(update.norm()), predicted, bound=bound).on(setting)


STARTS = ["near", "generic"]


@root_any.check(grid(depth=[1, 2, 3, 4], widths=["square", "wide"], start=STARTS, rule=["block", "full"], seed=[0]))
def speed_of_the_weights(formula, depth, widths, start, rule, seed):
    """Speed of all weights of a full network under the block-diagonal and the full square root."""
    return _root_speed(formula, depth, widths, start, rule, seed)


@root_any.without(
    UNOBSTRUCTED,
    grid(depth=[2, 3], widths=["widening", "narrowing", "waist"], start=["generic"], rule=["block"], seed=[0])
    + grid(depth=[2, 3], widths=["square"], start=["zero factor"], rule=["block"], seed=[0]),
)
def speed_behind_obstacles(formula, depth, widths, start, rule, seed):
    """The same where some layer does not see all of the error."""
    return _root_speed(formula, depth, widths, start, rule, seed)


pythagoras = Claim(
    "layerwise.speed-surplus",
    source="A footnote 7 (for any weights)",
    says="The block-diagonal natural gradient is the natural gradient plus an idle move at right angles to it.",
    formula=lambda: SPEED**2 + IDLE**2,
    lhs=r"\lVert \dot w \rVert^2_{\text{block}}",
    conditions=(UNOBSTRUCTED,),
    uses=("layerwise.constraint", "natural-gradient.minimum-norm"),
    near_misses={"lengths add": lambda: (SPEED + IDLE) ** 2},
    falsifiers={
        "no idle move": lambda: SPEED**2,
        "half the idle move": lambda: SPEED**2 + IDLE**2 * Rational(1, 2),
    },
    remark=(
        "The full rule takes the shortest of all moves that change the map alike, the block rule another of "
        "them. Their difference changes nothing, so the footnote's inequality is the theorem of Pythagoras, "
        "with equality only if both updates agree."
    ),
)


@pythagoras.proof(generic_in="depth, widths, weights")
def difference_is_idle(formula):
    """Both updates change the map alike, so their difference is a null vector, orthogonal to the full update."""
    inner = Symbol("inner", real=True)
    square = SPEED**2 + 2 * inner + IDLE**2
    return all_of(natural.null_vector_is_orthogonal(), equal(formula, square.subs(inner, 0))).explain(
        step("The squared length of a sum has a mixed term,", square),
        step("which vanishes here. What is left:", formula),
    )


@lru_cache(maxsize=128)
def _split(setting: Setting) -> tuple[float, float, float]:
    block = flatten(BlockNatural(RATE).velocity(setting.net, setting.problem))
    full = flatten(Fractional(1, RATE).velocity(setting.net, setting.problem))
    return float(block.norm()), float(full.norm()), float((block - full).norm())


def _right_angle(formula, depth, widths, start, seed):
    setting = network(depth, widths, start, seed)
    block, full, idle = _split(setting)
    predicted = evaluate(formula, {SPEED: full, IDLE: idle})
    return agree(block**2, predicted, bound=update_rounding(setting, 1, 1, max(block, full) ** 2)).on(setting)


@pythagoras.check(grid(depth=[2, 3, 4], widths=["square", "wide"], start=["near", "generic"], seed=[0, 1]))
def three_lengths(formula, depth, widths, start, seed):
    """Lengths of both updates of a full network and of their difference."""
    return _right_angle(formula, depth, widths, start, seed)


@pythagoras.without(
    UNOBSTRUCTED,
    grid(depth=[2, 3], widths=["widening", "narrowing", "waist"], start=["generic"], seed=[0])
    + grid(depth=[2, 3], widths=["square"], start=["zero factor"], seed=[0]),
)
def three_lengths_obstructed(formula, depth, widths, start, seed):
    """The same where some layer does not see all of the error: the difference changes the map."""
    return _right_angle(formula, depth, widths, start, seed)
