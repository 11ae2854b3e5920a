r"""Where block-diagonal rules arrive: end values of the layers of a mode, their norm, and their sensitivity.

One aligned mode that keeps its sign; x_i is a squared layer value at the start, c = (sigma^* / sigma_0)^{2/d} the
common growth of the squares under the block-diagonal natural gradient, u the common addition to them under full
rules, r_i = c x_i / (x_i + u) the ratio of both ends. Source: A section 3.3.
"""

from __future__ import annotations

from sympy import Expr, Symbol, cancel, log

from derivations.decide import Decision, all_of, equal, positive, step, zero
from derivations.deep_linear.layerwise_invariants import VALUE, schatten_summand
from derivations.notation import DEPTH, SIGMA_0, SIGMA_I0, SIGMA_STAR, Q

GROWTH = Symbol("c", positive=True)
END_RATIO = Symbol("r", positive=True)
ADDED = Symbol("u", real=True)
SQUARE = Symbol("x", positive=True)
START, END = Symbol("s_0", positive=True), Symbol("s_oo", positive=True)


def end_value() -> Expr:
    r"""sigma_i(oo) = sigma_i(0) (sigma^* / sigma_0)^{1/d} under the block-diagonal natural gradient (A section 3.3).

    >>> is_end_value(end_value()).outcome
    'proved'
    """
    return SIGMA_I0 * (SIGMA_STAR / SIGMA_0) ** (1 / DEPTH)


def is_end_value(formula: Expr) -> Decision:
    """Whether all layers of a mode grow by one factor whose product over the layers is the growth of the map."""
    factor = formula / SIGMA_I0
    return all_of(zero(factor.diff(SIGMA_I0)), equal(factor**DEPTH, SIGMA_STAR / SIGMA_0)).explain(
        step("Conserved ratios mean one factor for all layers of a mode,", factor),
        step("whose power to the depth is the growth of the map value:", factor**DEPTH),
    )


def norm_share() -> Expr:
    r"""g(r) = (r - 1) / (c - r) - ln r / (c - 1): squared norm of block less full rule is c u sum_i g(r_i).

    >>> norm_share().subs(END_RATIO, 1)
    0
    """
    r, c = END_RATIO, GROWTH
    return ((r - 1) * (c - 1) - (c - r) * log(r)) / ((c - r) * (c - 1))


def is_norm_share(formula: Expr) -> Decision:
    r"""Whether c u sum g(r_i) is the difference of squared norms, and g is never negative.

    Both ends have the same product, so sum ln r_i = 0 and any multiple of ln r may be added to one layer's share. The
    multiple chosen puts the minimum of g at r = 1, where g = 0. Growing modes have c > 1 and r < c, shrinking ones
    c < 1 and r > c.
    """
    a, b = Symbol("a", positive=True), Symbol("b", positive=True)
    ratio = GROWTH * SQUARE / (SQUARE + ADDED)
    plain = (END_RATIO - 1) / (GROWTH - END_RATIO)
    share = GROWTH * SQUARE - (SQUARE + ADDED)
    logarithmic = (formula - plain) / log(END_RATIO)
    steepness = cancel(formula.diff(END_RATIO) / (END_RATIO - 1))
    growing = {GROWTH: 1 + a, END_RATIO: (1 + a) * b / (1 + b)}
    shrinking = {GROWTH: 1 / (1 + a), END_RATIO: (1 + b) / (1 + a)}
    identity = all_of(
        equal(GROWTH * ADDED * plain.subs(END_RATIO, ratio), share),
        zero(logarithmic.diff(END_RATIO)),
        zero(formula.subs(END_RATIO, 1)),
    )
    if not identity.proved:
        return identity
    slopes = (positive(cancel(steepness.subs(case, simultaneous=True))) for case in (growing, shrinking))
    return all_of(identity, *slopes).explain(
        step("One layer's squared value ends, under the block rule less under the full rule, at", share),
        step("In the ratio of both ends this is c u times", plain),
        step("The logarithms of the ratios add up to zero, so a multiple of them may be subtracted:", formula),
        step("It vanishes at r = 1, and its slope over r - 1 is positive, so it is never negative:", steepness),
    )


def sensitivity() -> Expr:
    r"""(s_0 / s_oo)^{1-2/q}: growth of a small difference of two equal layers under the block rule of order q.

    Full rules conserve differences of squares and have the value at q -> oo whatever their order.

    >>> sensitivity().subs(Q, 2)
    1
    """
    return (START / END) ** (1 - 2 / Q)


def is_sensitivity(formula: Expr) -> Decision:
    """Whether a formula is the ratio of the slopes of the conserved power at both ends."""
    slope = schatten_summand().diff(VALUE)
    found = slope.subs(VALUE, START) / slope.subs(VALUE, END)
    return equal(formula, found).explain(
        step("A small difference of two layers is inverse to the slope of the conserved power, which is", slope),
        step("so the difference grows by", found),
    )
