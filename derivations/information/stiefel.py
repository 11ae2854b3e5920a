r"""Orthonormal columns (the Stiefel manifold): projection, geodesics of two metrics, the exponential.

W is n x p with W^T W = 1, for all n >= p. Tangent vectors are W (X - X^T) + K with any X and W^T K = 0, which makes
every identity an identity of words. Source: B appendix B.3, eqs. 39, 40, 44, 46; Edelman, Arias and Smith 1998.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sympy import Rational, Symbol

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.notation import N
from derivations.words import Expression, Letter, Trace, rule

P_SIZE = Symbol("p", integer=True, positive=True)
POINT = Letter("W", N, P_SIZE)
OTHER = Letter("V", N, P_SIZE)
GRADIENT = Letter("Z", N, P_SIZE, latex=r"\nabla f")
TANGENT = Letter("xi", N, P_SIZE, latex=r"\xi")
END = Letter("Y", N, P_SIZE)
FREE = Letter("X", P_SIZE, P_SIZE)
OUTSIDE = Letter("K", N, P_SIZE)
UPPER = Letter("U", P_SIZE, P_SIZE)

ONE = words.identity(P_SIZE)
ORTHONORMAL = rule(POINT.T * POINT, 1)
RULES = (ORTHONORMAL, rule(POINT.T * OUTSIDE, 0))


def symmetric(square: Expression) -> Expression:
    """sym(A) = (A + A^T) / 2."""
    return (square + square.T) / 2


def projected(z: Letter | Expression, at: Letter = POINT) -> Expression:
    r"""(1 - W W^T) Z + W (W^T Z - Z^T W) / 2 = Z - W sym(W^T Z): the tangent part of Z (B eqs. 44, 46).

    >>> words.normal(POINT.T * projected(GRADIENT) + projected(GRADIENT).T * POINT, [ORTHONORMAL]).terms
    ()
    """
    return z - at * (at.T * z) + at * (at.T * z - z.T * at) / 2


def tangent_vector() -> Expression:
    """W (X - X^T) + K: every tangent vector at W, in letters that are free up to W^T K = 0."""
    return POINT * (FREE - FREE.T) + OUTSIDE


def decided(formula: Expression | Trace) -> Decision:
    """Whether a formula in W and tangent vectors xi vanishes for all orthonormal W and all tangent xi.

    >>> decided(POINT.T * TANGENT + TANGENT.T * POINT).outcome, decided(POINT.T * TANGENT - TANGENT.T * POINT).outcome
    ('proved', 'refuted')
    """
    return decided_under(formula, RULES)


def decided_under(formula: Expression | Trace, rules: Sequence[words.Rule]) -> Decision:
    """The same under more rules; reduced before a witness is looked for, which keeps the witness cheap."""
    in_free_letters = words.substitute(formula, {TANGENT: tangent_vector()})
    return words.vanishes(words.normal(in_free_letters, rules), rules, model)


def is_projection(formula: Expression) -> Decision:
    """Whether the formula is tangent at W and differs from the gradient by W times a symmetric matrix."""
    rest = GRADIENT - formula
    return all_of(decided(POINT.T * formula + formula.T * POINT), decided(projected(rest))).explain(
        step(
            "Tangent means that this vanishes, and it does under $`W^T W = 1`$:", POINT.T * TANGENT + TANGENT.T * POINT
        ),
        step("what is taken away has no tangent part, so the rest is the nearest tangent matrix:", rest),
    )


def inner(first: Letter | Expression, second: Letter | Expression) -> Trace:
    """<W, V> = tr(V^T W), the metric of the space of matrices (B appendix B.3)."""
    return words.trace(words.expression(second).T * first)


def is_polar_form(formula: Trace) -> Decision:
    """Whether the formula is the bilinear form whose square is the sum of squared entries: polarisation."""
    both = POINT + OTHER
    square = words.trace(both.T * both) - words.trace(POINT.T * POINT) - words.trace(OTHER.T * OTHER)
    return words.vanishes(square / 2 - formula).explain(
        step("Half of what the squared length of a sum exceeds the squared lengths by is", square / 2),
    )


def directional() -> Trace:
    """<grad f, xi>, the rate of f along any curve on the manifold with velocity xi (B eq. 39)."""
    return inner(projected(GRADIENT), TANGENT)


def is_rate_along_curves(formula: Trace) -> Decision:
    """Whether the formula is tr(Z^T xi), the chain rule, on every tangent vector."""
    chain = words.trace(GRADIENT.T * TANGENT)
    return decided(chain - formula).explain(
        step("By the chain rule f changes at the rate", chain),
        step("and the normal part of the gradient has no share in it:", formula),
    )


def descent() -> Trace:
    """-<grad f, grad f>, the rate of f along any retraction of -grad f (B eq. 40)."""
    step_back = projected(GRADIENT)
    return -inner(step_back, step_back)


def is_descent(formula: Trace) -> Decision:
    """Whether the formula is the rate of f in the direction -grad f."""
    rate = -words.trace(GRADIENT.T * projected(GRADIENT))
    return decided(rate - formula).explain(step("The chain rule in the direction $`-\\mathrm{grad} f`$:", rate))


def transported_square() -> Trace:
    """|V|^2 - |sym(Y^T V)|^2, the squared length of V projected on the tangent space at Y (beyond B, on eq. 46).

    >>> is_transported_square(transported_square()).outcome
    'proved'
    """
    lost = symmetric(END.T * OTHER)
    return inner(OTHER, OTHER) - inner(lost, lost)


def is_transported_square(formula: Trace) -> Decision:
    """Whether the formula is the squared length of the projection at orthonormal Y."""
    renamed = words.substitute(formula, {END: words.expression(POINT)})
    part = projected(OTHER)
    return decided(inner(part, part) - renamed).explain(
        step("What the projection takes away is Y times", symmetric(END.T * OTHER)),
        step("at a right angle to what it keeps; the squared length of that is", formula),
    )


def accelerations() -> dict[str, Expression]:
    r"""\gamma'' at W with velocity xi: -W xi^T xi, and with lengths measured canonically xi A - W A^2 - W xi^T xi.

    A = W^T xi is skew. Canonical lengths are tr(xi^T xi) - tr(A^T A) / 2.

    >>> solves_geodesic_equation(accelerations()).outcome
    'proved'
    """
    turn, pull = POINT.T * TANGENT, POINT * (TANGENT.T * TANGENT)
    return {"embedded": -pull, "canonical": TANGENT * turn - POINT * turn * turn - pull}


def energies() -> dict[str, Trace]:
    """Half the squared length of a velocity in the two metrics."""
    flat = words.trace(TANGENT.T * TANGENT) / 2
    return {"embedded": flat, "canonical": flat - words.trace(TANGENT.T * POINT * (POINT.T * TANGENT)) / 4}


def solves_geodesic_equation(formulas: Mapping[str, Expression]) -> Decision:
    """Whether accelerations obey the Euler-Lagrange equation up to normal forces, and keep W^T W = 1."""
    found = [_one_geodesic(formulas[name], energy) for name, energy in energies().items()]
    return all_of(*found)


def _one_geodesic(formula: Expression, energy: Trace) -> Decision:
    momentum = words.gradient(energy, TANGENT)
    change = words.differential(momentum, {POINT: words.expression(TANGENT), TANGENT: formula})
    force = words.gradient(energy, POINT)
    stay = POINT.T * formula + formula.T * POINT + 2 * TANGENT.T * TANGENT
    return all_of(decided(projected(change - force)), decided(stay)).explain(
        step("From the energy", energy),
        step("the Euler-Lagrange equation asks that this has no tangent part:", words.normal(change - force, RULES)),
        step("and $`W^T W = 1`$, differentiated twice, that this vanishes:", stay),
    )


def block_exponential() -> dict[str, Expression]:
    r"""A, -xi^T xi and -A in \gamma(t) = [W xi] exp t((A, -xi^T xi), (1, A)) (1, 0)^T exp(-t A), A = W^T xi.

    >>> solves_by_blocks(block_exponential()).outcome
    'proved'
    """
    turn = POINT.T * TANGENT
    return {"turn": turn, "pull": -TANGENT.T * TANGENT, "unwind": -turn}


def solves_by_blocks(formula: Mapping[str, Expression]) -> Decision:
    r"""Whether the product of exponentials with these blocks is the geodesic of the embedded metric.

    With [Y V] = [W xi] exp(tM): the Gram matrix of [Y V] is constant because M^T G + G M = 0, and then
    \gamma = Y e^{-At}, \gamma' = V e^{-At}, \gamma'' = -Y (V^T V) e^{-At} = -\gamma \gamma'^T \gamma'.
    """
    turn, pull, unwind = (formula[name] for name in ("turn", "pull", "unwind"))
    cross, square = POINT.T * TANGENT, TANGENT.T * TANGENT
    # M = ((turn, pull), (1, turn)), G = ((1, cross), (cross^T, square)): the three blocks of M^T G + G M
    corner = turn.T + cross.T + turn + cross
    side = turn.T * cross + square + pull + cross * turn
    last = pull.T * cross + turn.T * square + cross.T * pull + square * turn
    return all_of(*(decided(one) for one in (corner, side, last, turn + unwind, pull + square))).explain(
        step(
            "The Gram matrix of the moving frame stays if these blocks vanish for skew $`W^T \\xi`$:",
            (corner, side, last),
        ),
        step("The velocity is the second half of the frame if the turns cancel:", turn + unwind),
        step("and the acceleration is that of a geodesic, point times pull, with the pull", pull),
    )


def model(draw: Any) -> Mapping[Any, Any]:
    """Exact matrices for n = 4, p = 3: unit columns in coordinates, random integers, and U + U^T = xi^T xi."""
    row, free = [draw.randint(1, 3) for _ in range(3)], _integers(draw, 3)
    turn = [[free[i][j] - free[j][i] for j in range(3)] for i in range(3)]
    square = [[sum(t[i] * t[j] for t in turn) + row[i] * row[j] for j in range(3)] for i in range(3)]
    half = [[Rational(square[i][j], 2 if i == j else 1) if i <= j else 0 for j in range(3)] for i in range(3)]
    return {
        POINT: [[int(i == j) for j in range(3)] for i in range(4)],
        OUTSIDE: [[0] * 3] * 3 + [row],
        FREE: free,
        GRADIENT: _integers(draw, 4),
        OTHER: _integers(draw, 4),
        UPPER: half,
    }


def _integers(draw: Any, rows: int) -> Sequence[Sequence[int]]:
    return [[draw.randint(-3, 3) for _ in range(3)] for _ in range(rows)]
