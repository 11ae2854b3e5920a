"""Block-diagonal against full rules on arbitrary networks: loss rates and speeds of the weights."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Expr, Symbol

from derivations.compiled import evaluate
from derivations.decide import Decision, all_of, equal, step
from derivations.deep_linear import operator_inequalities as means
from derivations.deep_linear.operator_inequalities import KAPPA
from derivations.notation import DEPTH, Q
from numerics import autograd
from numerics.networks import flatten, vec
from numerics.rules import BlockFractional, BlockNatural, Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most, both
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.blocks import RATE, UNOBSTRUCTED, block_rounding, network
from tests.claims.settings import Setting, array

Shares = dict[str, Expr]
SHARE = Symbol("u", positive=True)
SHAPES = ["square", "widening", "narrowing", "waist", "wide"]


def shares_of(power: Expr) -> Shares:
    """What a block and the whole kernel contribute, as functions of an eigenvalue kappa of each."""
    return {"one block": means.block_power(power), "whole kernel": KAPPA**power}


@lru_cache(maxsize=256)
def _kernels(setting: Setting) -> list[tuple[np.ndarray, np.ndarray]]:
    """Eigenvalues above the cut-off and squared components of the error: of every block, then of the whole kernel."""
    jacobian, error = array(autograd.jacobian(setting.net)), array(vec(setting.problem.error(setting.net)))
    stops = np.cumsum([weight.numel() for weight in setting.net.weights])
    found = []
    for part in (*np.split(jacobian, stops[:-1], axis=1), jacobian):
        vectors, values, _ = np.linalg.svd(part, full_matrices=False)
        kept = values > 1e-11 * values[0]
        found.append((values[kept] ** 2, (vectors[:, kept].T @ error) ** 2))
    return found


@lru_cache(maxsize=1024)
def _moved(setting: Setting, q: float, block: bool) -> tuple[float, float]:
    """Loss rate and squared speed of a full network under a rule, from its update and the differentiated loss."""
    if block:
        rule = BlockNatural(RATE) if q == 1 else BlockFractional(q, RATE)
    else:
        rule = Fractional(q, RATE)
    update = flatten(rule.velocity(setting.net, setting.problem))
    slope = flatten(autograd.gradient(setting.net, setting.problem))
    return -float(slope @ update), float(update @ update)


def _total(share: Expr, parts: list[tuple[np.ndarray, np.ndarray]], q: float, depth: int) -> float:
    return sum(float((evaluate(share, {KAPPA: k, Q: q, DEPTH: depth}) * c).sum()) for k, c in parts)


def compare(formula: Shares, setting: Setting, q: float, which: int, *, slower: bool) -> Evidence:
    """Both measured numbers against the formula, and their order; ``which`` 0 is the loss rate, 1 the squared speed."""
    parts, depth = _kernels(setting), setting.net.depth
    block, full = _moved(setting, q, True)[which], _moved(setting, q, False)[which]
    rate = RATE ** (which + 1)
    predicted = [rate * _total(formula["one block"], parts[:-1], q, depth)]
    predicted.append(rate * _total(formula["whole kernel"], parts[-1:], q, depth))
    bound = update_rounding(setting, q, which, max(block, full))
    low, high = (block, full) if slower else (full, block)
    return both(agree([block, full], predicted, bound=bound), at_most(low, high, bound=bound)).on(setting)


def update_rounding(setting: Setting, q: float, which: int, size: float) -> Bound:
    """Rounding of an update, times the gradient or twice itself, on the sizes of both rules."""
    (plain,) = block_rounding(setting, -1 / q).parts
    slope = float(flatten(autograd.gradient(setting.net, setting.problem)).norm())
    values = np.concatenate([k for k, _ in _kernels(setting)])
    condition = float(values.max() / values.min())
    partner = 2 * size**0.5 if which else slope
    spectral = rounding(size, setting.net.parameters, condition**0.5)
    return spectral + Bound((("rounding of the updates", plain[1] * partner * setting.net.depth**0.5),))


def order_of_means(formula: Shares, power: Expr, times: int, orders: dict[Symbol, Expr], sign: int) -> Decision:
    """Shares from the update, blocks as mean of powers, and the power operator concave (sign 1) or convex (sign -1)."""
    s = Symbol("s", positive=True) if sign > 0 else Symbol("s", negative=True)
    low, high = (0, 1) if sign > 0 else (-1, 0)
    return all_of(
        means.follows_from_update(formula["one block"], times),
        equal(formula["whole kernel"], KAPPA**power),
        means.is_power_of_a_mean(formula["one block"], power),
        means.between(power, low, high, orders),
        means.is_homogeneous(s),
        means.is_inverse_gap(means.inverse_gap()),
    )


def _near_misses(power: Expr) -> dict[str, object]:
    return {
        "share 1/d at every order": lambda: {"one block": KAPPA**power / DEPTH, "whole kernel": KAPPA**power},
    }


NETS = grid(depth=[2, 3], q=[1, 1.5, 2, 4, inf], widths=SHAPES, start=["generic"], seed=[0]) + grid(
    depth=[2, 3], q=[1.5, 3], widths=["square", "waist"], start=["zero factor", "near"], seed=[1]
)

loss = Claim(
    "layerwise.loss-rate",
    source="beyond A section 3.3",
    says="On every network, at every order, the block-diagonal rule lowers the loss no faster than the full rule.",
    formula=lambda: shares_of(means.loss_power()),
    lhs=r"-\dot L / \eta = \sum \delta^{\mathsf{T}} f(K)\, \delta",
    near_misses=_near_misses(means.loss_power()),
    falsifiers={"shares of the speed": lambda: shares_of(means.speed_power())},
    remark=(
        "$`\\kappa^{1 - 1/q}`$ is operator concave, so the mean of its values at the blocks lies below its "
        "value at their mean, for any depth, widths, ranks and alignment. Equality holds where all blocks act "
        "on the error alike: $`f(K_i)\\delta`$ the same for all layers, as with orthogonal layers; at gradient "
        "descent always; at the natural gradient if every layer sees the error."
    ),
)


@loss.proof(generic_in="depth, widths, ranks, order q > 1; q = 1 by the limit")
def power_of_a_mean_is_concave(formula):
    """A square in the gap of inverses, integrated over shifts with positive weights."""
    return order_of_means(formula, means.loss_power(), 1, {Q: 1 + SHARE}, 1).explain(
        step("Each function of the integral is a constant less an inverse, so the block rule has the smaller value."),
    )


@loss.check(NETS)
def loss_rates(formula, depth, q, widths, start, seed):
    """Loss rates of full networks under both rules, against the kernels of the layers by automatic differentiation."""
    return compare(formula, network(depth, widths, start, seed), q, 0, slower=True)


above = Claim(
    "layerwise.speed-above-root",
    source="beyond A section 3.3",
    says="Above the square root the block-diagonal rule moves the weights no faster than the full rule does.",
    formula=lambda: shares_of(means.speed_power()),
    lhs=r"\lVert \dot w \rVert^2 / \eta^2 = \sum \delta^{\mathsf{T}} f(K)\, \delta",
    near_misses=_near_misses(means.speed_power()),
    falsifiers={"shares of the loss rate": lambda: shares_of(means.loss_power())},
    remark=(
        "Jensen's inequality turns round at the square root, where the exponent $`1 - 2/q`$ changes its sign: "
        "the paper's footnote for the natural gradient is one side of it."
    ),
)


@above.proof(generic_in="depth, widths, ranks, order q > 2; q = 2 by the limit")
def positive_power_is_concave(formula):
    """The exponent of the speed lies between 0 and 1."""
    return order_of_means(formula, means.speed_power(), 2, {Q: 2 + SHARE}, 1).explain(
        step("Each function of the integral is a constant less an inverse, so the block rule has the smaller value."),
    )


@above.check(
    grid(depth=[2, 3], q=[2, 2.5, 4, inf], widths=SHAPES, start=["generic"], seed=[0])
    + grid(depth=[2, 3], q=[2, 3], widths=["square", "waist"], start=["zero factor", "near"], seed=[1])
)
def slower_weights(formula, depth, q, widths, start, seed):
    """Squared speeds of full networks under both rules."""
    return compare(formula, network(depth, widths, start, seed), q, 1, slower=True)


below = Claim(
    "layerwise.speed-below-root",
    source="A footnote 7 (for every order below 2 and any weights)",
    says="Below the square root the block-diagonal rule moves the weights at least as fast as the full rule.",
    formula=lambda: shares_of(means.speed_power()),
    lhs=r"\lVert \dot w \rVert^2 / \eta^2 = \sum \delta^{\mathsf{T}} f(K)\, \delta",
    conditions=(UNOBSTRUCTED,),
    near_misses=_near_misses(means.speed_power()),
    falsifiers={"shares of the loss rate": lambda: shares_of(means.loss_power())},
    remark=(
        "Equality needs blocks that act on the error alike. Where a block does not see all of the error the "
        "inequality can turn: one zero factor in a mode makes the block rule slower, by the depth at the "
        "natural gradient."
    ),
)


@below.proof(generic_in="depth, widths, order 1 < q < 2; q = 1 by the limit")
def negative_power_is_convex(formula):
    """The exponent of the speed lies between -1 and 0; all blocks are invertible."""
    return order_of_means(formula, means.speed_power(), 2, {Q: 1 + SHARE / (1 + SHARE)}, -1).explain(
        step("Each function of the integral is an inverse, so the block rule has the larger value."),
    )


@below.check(
    grid(depth=[2, 3], q=[1, 1.2, 1.7, 2], widths=["square", "wide"], start=["generic", "near"], seed=[0, 1])
    + grid(depth=[1], q=[1, 1.5], widths=["narrowing"], start=["generic"], seed=[0])
)
def faster_weights(formula, depth, q, widths, start, seed):
    """Squared speeds of full networks under both rules, every layer seeing all of the error."""
    return compare(formula, network(depth, widths, start, seed), q, 1, slower=False)


@below.without(
    UNOBSTRUCTED,
    grid(depth=[2, 3], q=[1, 1.5], widths=["square"], start=["zero mode"], seed=[0])
    + grid(depth=[2], q=[1.7], widths=["waist", "widening", "narrowing"], start=["generic"], seed=[0, 1]),
)
def obstructed_weights(formula, depth, q, widths, start, seed):
    """The same with a zero factor in the only mode that has an error, or with a bottleneck."""
    return compare(formula, network(depth, widths, start, seed), q, 1, slower=False)


@loss.figure
def rates_over_order(formula):
    """Loss rate and squared speed of the block rule over those of the full rule, for random networks and all orders."""
    inverse = np.linspace(0, 1, 21)
    orders = [inf if u == 0 else 1 / u for u in inverse]
    panels = []
    for which, title in ((0, "loss rate"), (1, "squared speed")):
        power = (means.loss_power(), means.speed_power())[which]
        series = []
        for seed in range(3):
            setting = network(3, "square", "generic", seed)
            parts, shares = _kernels(setting), shares_of(power) if which else formula
            blocks = np.array([_total(shares["one block"], parts[:-1], q, 3) for q in orders])
            theory = blocks / [_total(shares["whole kernel"], parts[-1:], q, 3) for q in orders]
            some = orders[::4]
            dots = [_moved(setting, q, True)[which] / _moved(setting, q, False)[which] for q in some]
            series.append(Series("means of blocks" if seed == 0 else "", inverse, theory))
            series.append(Series("networks" if seed == 0 else "", inverse[::4], dots, "simulation"))
        series.append(Series("", [0, 1], [1, 1], "reference"))
        panels.append(Panel(title, r"$1/q$", "block rule over full rule", tuple(series), log_y=bool(which)))
    return Figure(
        "Block-diagonal over full rule for three random networks of depth 3, gradient descent left, natural gradient "
        "right. The loss never falls faster under the block rule; its weights move slower left of the square root, "
        "faster right of it.",
        tuple(panels),
    )
