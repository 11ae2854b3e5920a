r"""Edges of orthogonal layers whose units pass (slope 1, share p) or block (slope 0): rectified units, hard tanh.

With p sigma_w^2 = 1 the curve of `free_products` has a least value if (1 - p) L > 1 and falls throughout otherwise.
Source: beyond B.
"""

from __future__ import annotations

from sympy import Expr, Rational, Symbol, cancel, expand_log, factor, log

from derivations.decide import Decision, all_of, equal, positive, step, zero
from derivations.information.free_products import G, M, U, edge_curve
from derivations.notation import LAYERS, SIGMA_W

SHARE = Symbol("p", positive=True)


def bernoulli_edge() -> Expr:
    r"""Edge for slopes 1 with probability p, else 0, orthogonal weights, p sigma_w^2 = 1, (1 - p) L >= 1.

    >>> bernoulli_edge().subs({SHARE: Rational(1, 2), LAYERS: 2})
    4
    """
    return (1 - SHARE) / SHARE * LAYERS**LAYERS / (LAYERS - 1) ** (LAYERS - 1)


def is_bernoulli_edge(formula: Expr) -> Decision:
    """Whether the formula is the minimum of the curve of slopes 0 and 1; the stationary point needs (1 - p) L > 1.

    At (1 - p) L = 1 the formula continues into p^{-L}, which holds below.
    """
    spare, odds = Symbol("a", positive=True), Symbol("o", positive=True)
    logarithm = LAYERS * log((M + SHARE) / SHARE) - log(M) - (LAYERS - 1) * log(1 + M)
    point = edge_curve().subs({G: 0, SIGMA_W: SHARE ** -Rational(1, 2), U: (M + SHARE) / M})
    surplus = LAYERS - 1 - SHARE * LAYERS
    # shares below 1 and depths with (1 - p) L = 1 + a, so that all logarithms are of positive numbers
    inside = {SHARE: 1 / (1 + odds), LAYERS: (1 + spare) * (1 + odds) / odds}
    value = logarithm.subs(M, SHARE / surplus).subs(inside, simultaneous=True)
    asserted = log(formula).subs(inside, simultaneous=True)
    return all_of(
        zero(expand_log(log(point) - logarithm, force=True)),
        equal(logarithm.diff(M) * M * (1 + M) * (M + SHARE), surplus * M - SHARE),
        zero(_split(value) - _split(asserted)),
    ).explain(
        step(
            "The moment function of slopes 0 and 1 is p/(u - 1), so that u = (m + p)/m; the curve falls until",
            SHARE / surplus,
        ),
        step("and rises from there; the value is", bernoulli_edge()),
    )


def few_blocked_edge() -> Expr:
    r"""Edge of the same layers while (1 - p) L < 1: the gain p^{-L} of the directions that no layer blocks.

    >>> few_blocked_edge().subs({SHARE: Rational(1, 2), LAYERS: 1})
    2
    """
    return SHARE**-LAYERS


def is_few_blocked_edge(formula: Expr) -> Decision:
    r"""Whether the formula is where the curve of slopes 0 and 1 ends if it falls for all m.

    The slope of its logarithm has the sign of ((1 - p) L - 1) m - p, negative for (1 - p) L <= 1.
    """
    gap, small = Symbol("delta", nonnegative=True), Symbol("epsilon", positive=True)
    logarithm = LAYERS * log((M + SHARE) / SHARE) - log(M) - (LAYERS - 1) * log(1 + M)
    falling = cancel(logarithm.diff(M) * M * (1 + M) * (M + SHARE))
    # at m = 1/epsilon, with the logarithms of epsilon cancelled: -L log epsilon + log epsilon + (L - 1) log epsilon = 0
    far = LAYERS * log((1 + SHARE * small) / SHARE) - (LAYERS - 1) * log(1 + small)
    return all_of(
        equal(falling.subs(LAYERS, (1 - gap) / (1 - SHARE)), -(gap * M + SHARE)),
        positive(gap * M + SHARE),
        zero(expand_log(log(formula), force=True) - expand_log(far.subs(small, 0), force=True)),
    ).explain(
        step(
            "With (1 - p) L = 1 - delta the logarithm of the curve has a negative slope everywhere, with the sign of",
            -(gap * M + SHARE),
        ),
        step("and for large m it tends to the logarithm of", few_blocked_edge()),
        step("A share of at least delta of the directions is blocked by no layer and gains exactly this."),
    )


def _split(expr: Expr) -> Expr:
    """Logarithms of rational functions as sums of logarithms of their factors."""
    return expand_log(
        expr.replace(lambda e: e.func is log, lambda e: expand_log(log(factor(e.args[0])), force=True)),
        force=True,
    )
