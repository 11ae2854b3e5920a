r"""Effective depth: the depth at which gradient descent has the stiffness that depth d and order q have together.

p = 2 (1 - 1/d)(1 - 1/q) treats depth and order alike, and gradient descent at depth D has p = 2 (1 - 1/D): effective
depths multiply in 1 - 1/D. D is the harmonic mean of 1 and d with the weights 1/q and 1 - 1/q; the rate constant
d^{1 - 1/q} is their geometric mean with the same weights, and so is at least D. Source: A section 3.2, eq. 22.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, FiniteSet, Integer, Set, Symbol, limit, oo

from derivations.decide import Decision, all_of, equal, nonnegative, step
from derivations.deep_linear.map_dynamics import clock, stiffness
from derivations.notation import D_EFF, DEPTH, ETA, Q

EXTRA, MORE = Symbol("r", nonnegative=True), Symbol("h", integer=True, nonnegative=True)


def effective_depth() -> Expr:
    """d_eff = d q / (d + q - 1) (A eq. 22).

    >>> effective_depth().subs({DEPTH: 3, Q: 4})
    2
    """
    return DEPTH * Q / (DEPTH + Q - 1)


def has_stiffness(formula: Expr) -> Decision:
    """Whether gradient descent at the asserted depth has the stiffness of (d, q), and d and q can be exchanged.

    >>> has_stiffness(effective_depth()).outcome, has_stiffness(DEPTH * Q / (DEPTH + Q)).outcome
    ('proved', 'refuted')
    """
    gradient = limit(stiffness(depth=D_EFF), Q, oo)
    swapped = formula.subs({DEPTH: Q, Q: DEPTH}, simultaneous=True)
    return all_of(equal(gradient.subs(D_EFF, formula), stiffness()), equal(formula, swapped)).explain(
        step("Gradient descent has at depth D the stiffness", gradient),
        step("Depth d and order q together have", stiffness()),
        step("in which they can be exchanged. The depth that gives the same stiffness is", effective_depth()),
    )


def distances() -> dict[str, Expr]:
    """How far the effective depth lies from the order, from the depth, and above 1.

    >>> distances()["below the order"].subs(Q, 2)
    2/(d + 1)
    """
    whole = DEPTH + Q - 1
    return {
        "below the order": Q * (Q - 1) / whole,
        "below the depth": DEPTH * (DEPTH - 1) / whole,
        "above one": (DEPTH - 1) * (Q - 1) / whole,
    }


def are_distances(formula: Mapping[str, Expr]) -> Decision:
    """Whether these are the distances; for d >= 1 and q >= 1 none is negative, and two vanish in the limits."""
    inside = {DEPTH: 1 + MORE, Q: 1 + EXTRA}
    below_order, below_depth, above_one = formula.values()
    return all_of(
        equal(below_order, Q - effective_depth()),
        equal(below_depth, DEPTH - effective_depth()),
        equal(above_one, effective_depth() - 1),
        *(nonnegative(part.subs(inside).factor()) for part in formula.values()),
        equal(limit(below_order, DEPTH, oo), Integer(0)),
        equal(limit(below_depth, Q, oo), Integer(0)),
    ).explain(
        step("The distances from the order, from the depth and from 1 are", tuple(formula.values())),
        step("None is negative. In infinite depth the first one vanishes, and the effective depth is", Q),
        step("for gradient descent the second one does, and it is", DEPTH),
    )


def orders_attained() -> FiniteSet:
    """The orders q >= 1 that the effective depth attains at some depth instead of staying below.

    >>> attains(orders_attained()).outcome
    'proved'
    """
    return FiniteSet(1)


def attains(formula: Set) -> Decision:
    """Whether q - d_eff = q (q - 1) / (d + q - 1) vanishes on the set and nowhere else in q >= 1."""
    distance = distances()["below the order"]
    for order in (Integer(1), *formula):
        left = distance.subs(Q, order)
        if (left == 0) != (order in formula):
            witness = {"q": str(order), "d": "any", "d_eff": str((order - left).simplify()), "q - d_eff": str(left)}
            return Decision("refuted", "the distance at an explicit order", witness)
    factors = equal(distance, Q * (Q - 1) / (DEPTH + Q - 1))
    return factors.explain(
        step("The effective depth stays below the order by", distance),
        step("which vanishes for no order above 1, and at every depth for", orders_attained()),
    )


def clock_ratio() -> Expr:
    r"""How much faster depth d at order q runs than gradient descent at the effective depth: d^{1 - 1/q} / d_eff.

    >>> clock_ratio().subs(Q, 1)
    1
    """
    return DEPTH ** (1 - 1 / Q) * (DEPTH + Q - 1) / (DEPTH * Q)


def is_clock_ratio(formula: Expr) -> Decision:
    r"""Whether the formula is the quotient of the rate constants \tilde\eta = eta d^{1-1/q} and, for SGD, eta d_eff.

    1/d_eff = (1/q) 1 + (1 - 1/q)(1/d): d_eff is a harmonic mean, d^{1-1/q} the geometric mean of the same numbers.
    """
    gradient = limit(clock(), Q, oo).subs(DEPTH, D_EFF)
    mean = 1 / Q + (1 - 1 / Q) / DEPTH
    return all_of(
        equal(gradient, ETA * D_EFF),
        equal(formula, clock() / gradient.subs(D_EFF, effective_depth())),
        equal(1 / effective_depth(), mean),
    ).explain(
        step("Depth d at order q has the rate constant", clock()),
        step("gradient descent at the effective depth has", gradient),
        step("The inverse of the effective depth is a weighted mean of 1 and 1/d:", mean),
        step(
            "The rate constant is the geometric mean with these weights, so the quotient is at least 1:",
            clock_ratio(),
        ),
    )
