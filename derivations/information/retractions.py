r"""Retractions to orthonormal columns as power series in the step h: QR, polar, Cayley, and the geodesics they follow.

A step h xi leaves W^T W = 1 by h^2 S alone, S = xi^T xi, because W^T xi is skew; all sizes n >= p. U is the upper
triangular matrix with U + U^T = S (half of the diagonal of S). Source: B appendix B.3.2, eq. 45.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, reduce
from operator import add

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.information.stiefel import (
    FREE,
    ONE,
    OUTSIDE,
    POINT,
    RULES,
    TANGENT,
    UPPER,
    accelerations,
    decided,
    decided_under,
)
from derivations.words import Expression, rule

Series = tuple[Expression, ...]
SQUARE = TANGENT.T * TANGENT
TURN = POINT.T * TANGENT


def geodesic_terms() -> dict[str, Series]:
    r"""Coefficients of h, h^2, h^3 of both geodesics: xi, \gamma''/2, \gamma'''/6, by differentiating \gamma''."""
    found: dict[str, Series] = {}
    for name, second in accelerations().items():
        third = words.differential(second, {POINT: words.expression(TANGENT), TANGENT: second})
        found[name] = (words.expression(TANGENT), second / 2, third / 6)
    return found


def qr_terms() -> Series:
    """Coefficients of h and h^2 of the QR step, with R = 1 + h^2 U: Q R = W + h xi gives xi and -W U."""
    return words.expression(TANGENT), -(POINT * UPPER)


@cache
def is_qr() -> Decision:
    """Whether the terms are those of Q R = W + h xi with Q^T Q = 1 and R = Q^T (W + h xi) = 1 + h^2 U.

    >>> is_qr().outcome
    'proved'
    """
    orthonormal, (first, second) = _factors(qr_terms())
    return all_of(orthonormal, _decided(first), _decided(second - UPPER)).explain(
        step("The terms of Q keep its columns orthonormal, and at second order $`Q^T (W + h \\xi)`$ is", second),
        step("which is upper triangular, as it must be:", words.expression(UPPER)),
    )


@cache
def is_polar() -> Decision:
    """Whether the terms are those of Q P = W + h xi with Q^T Q = 1 and a symmetric P = Q^T (W + h xi).

    >>> is_polar().outcome
    'proved'
    """
    orthonormal, factors = _factors(polar_terms())
    return all_of(orthonormal, *(_decided(one - one.T) for one in factors)).explain(
        step("The terms of Q keep its columns orthonormal, and at second order $`Q^T (W + h \\xi)`$ is", factors[1]),
        step("which is symmetric, as for the nearest point it must be."),
    )


def _factors(terms: Series) -> tuple[Decision, Series]:
    """Whether Q = W + terms keeps Q^T Q = 1, and what Q^T (W + h xi) gains at every order of h."""
    q, orders = (words.expression(POINT), *terms), range(1, len(terms) + 1)
    gram = [reduce(add, (q[i].T * q[k - i] for i in range(k + 1))) for k in orders]
    return all_of(*map(_decided, gram)), tuple(q[k].T * POINT + q[k - 1].T * TANGENT for k in orders)


def is_qr_second(formula: Expression) -> Decision:
    """Whether the formula is the coefficient of h^2 of Q in W + h xi = Q (1 + h^2 U)."""
    left_over = POINT * UPPER + formula
    return _decided(left_over).explain(
        step("At second order $`Q R = W + h \\xi`$ asks that this vanishes:", left_over),
    )


def polar_terms() -> Series:
    """Coefficients of h, h^2, h^3 of the nearest point (W + h xi) (1 + h^2 S)^(-1/2): xi, -W S / 2, -xi S / 2."""
    return words.expression(TANGENT), -(POINT * SQUARE) / 2, -(TANGENT * SQUARE) / 2


def skew() -> Expression:
    """B = P xi W^T - W xi^T P with P = 1 - W W^T / 2: the skew matrix with B W = xi of the Cayley step."""
    outside = TANGENT - POINT * TURN / 2
    return outside * POINT.T - POINT * outside.T


@cache
def cayley_terms() -> Series:
    """Coefficients of h, h^2, h^3 of the C with (1 - h B/2) C = (1 + h B/2) W, order by order from C_0 = W."""
    half = skew() / 2
    found = [words.normal(half * POINT + half * POINT, RULES)]
    for _ in range(2):
        found.append(words.normal(half * found[-1], RULES))
    return tuple(found)


def qr_lead() -> dict[str, Expression]:
    r"""Leading difference of the QR step from the geodesics, both at h^2: W (U^T - U) / 2, canonical further off.

    >>> is_lead(qr_lead(), qr_terms(), {"embedded": 2, "canonical": 2}).outcome
    'proved'
    """
    twist = POINT * (UPPER.T - UPPER) / 2
    return {"embedded": twist, "canonical": twist - (TANGENT * TURN - POINT * TURN * TURN) / 2}


def polar_lead() -> dict[str, Expression]:
    r"""Leading difference of the polar step: at h^3 from the embedded geodesic, at h^2 from the canonical one.

    >>> is_lead(polar_lead(), polar_terms(), {"embedded": 3, "canonical": 2}).outcome
    'proved'
    """
    commutator = TURN * SQUARE - SQUARE * TURN
    return {
        "embedded": POINT * commutator / 6 - TANGENT * SQUARE / 3,
        "canonical": -(TANGENT * TURN - POINT * TURN * TURN) / 2,
    }


def cayley_lead() -> dict[str, Expression]:
    r"""Leading difference of the Cayley step: at h^2 from the embedded geodesic, at h^3 from the canonical one.

    >>> is_lead(cayley_lead(), cayley_terms(), {"embedded": 2, "canonical": 3}).outcome
    'proved'
    """
    return {
        "embedded": (TANGENT * TURN - POINT * TURN * TURN) / 2,
        "canonical": -(TANGENT * SQUARE + POINT * (TURN * TURN * TURN + SQUARE * TURN)) / 12,
    }


def is_lead(formula: Mapping[str, Expression], terms: Series, orders: Mapping[str, int]) -> Decision:
    """Whether a step follows each geodesic below the given order and leaves it by the formula at that order."""
    found = []
    for name, order in orders.items():
        gaps = [a - b for a, b in zip(terms, geodesic_terms()[name], strict=False)]
        same = [_decided(gap) for gap in gaps[: order - 1]]
        lead = _decided(gaps[order - 1] - formula[name])
        text = f"From the {name} geodesic the step parts at order $`h^{order}`$, by"
        found.append(all_of(*same, lead).explain(step(text, formula[name])))
    return all_of(*found)


def triangular_square() -> Expression:
    r"""R^T R = 1 + xi^T xi for the triangular factor of W + xi = Q R.

    >>> is_triangular_square(triangular_square()).outcome
    'proved'
    """
    return ONE + SQUARE


def is_triangular_square(formula: Expression) -> Decision:
    """Whether the formula is (W + xi)^T (W + xi) on tangent vectors; its Cholesky factor is R, so it fixes Q."""
    moved = POINT + TANGENT
    gram = moved.T * moved
    return decided(gram - formula).explain(
        step("Since $`Q^T Q = 1`$, the triangular factor obeys $`R^T R = M^T M`$ for $`M = W + \\xi`$, that is", gram),
        step("The terms of first order cancel, as $`W^T \\xi`$ is skew:", formula),
        step("so a step $`h \\xi`$ has $`R = 1 + O(h^2)`$, and QR starts with velocity $`\\xi`$."),
    )


def turned_by_normal_part() -> Expression:
    r"""xi + W (U^T - U): velocity of the QR step of xi + W S with symmetric S = U + U^T, not xi.

    >>> is_turned(turned_by_normal_part()).outcome
    'proved'
    """
    return TANGENT + POINT * (UPPER.T - UPPER)


def is_turned(formula: Expression) -> Decision:
    """Whether the formula is the first order of Q in W + h (xi + W S) = Q R, with R = 1 + 2 h U."""
    normal = UPPER + UPPER.T
    drift = TURN.T + TURN + normal.T + normal
    triangular = 2 * UPPER
    velocity = TANGENT + POINT * normal - POINT * triangular
    return all_of(decided(drift - triangular - triangular.T), decided(velocity - formula)).explain(
        step("To first order $`R^T R`$ grows by", normal + normal.T),
        step("and the upper triangular matrix that makes it so is", triangular),
        step("What remains for Q is", velocity),
    )


def _decided(formula: Expression) -> Decision:
    """Like ``decided``, with U + U^T = xi^T xi, used to eliminate K^T K."""
    turn = FREE - FREE.T
    split = rule(OUTSIDE.T * OUTSIDE, UPPER + UPPER.T - turn.T * turn)
    return decided_under(formula, (*RULES, split))
