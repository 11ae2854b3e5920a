r"""What a natural gradient can do to the map of a network whose hidden layers are too narrow, or lack rank.

The map of a network with one narrowest layer of width r is W = U S V^T with orthonormal U (n_d x r) and V (n_0 x r).
The Jacobian reaches the matrices U Y + Z V^T, the tangent space of the maps of rank r. Source: A S.I.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from sympy import Expr, Matrix, Rational, Sum, Symbol, randMatrix

from derivations import words
from derivations.decide import Decision, all_of, step
from derivations.deep_linear.null_dimension import INDEX, RANK, Chain, at_depths, counts_pairs
from derivations.notation import DELTA, DEPTH, ETA, N_0, N_D
from derivations.words import Expression, Letter

WAIST = Symbol("r", integer=True, positive=True)
U, V = Letter("U", N_D, WAIST), Letter("V", N_0, WAIST)
S = Letter("S", WAIST, WAIST, symmetric=True)
S_INVERSE = Letter("S_inverse", WAIST, WAIST, symmetric=True, latex="S^{-1}")
TEACHER = Letter("Wstar", N_D, N_0, latex="W^*")
Y, Z = Letter("Y", WAIST, N_0), Letter("Z", N_D, WAIST)
X = Letter("X", N_D, N_0)
RULES = (
    words.rule(U.T * U, words.identity(WAIST)),
    words.rule(V.T * V, words.identity(WAIST)),
    words.rule(S * S_INVERSE, words.identity(WAIST)),
    words.rule(S_INVERSE * S, words.identity(WAIST)),
)


def invisible_dimension() -> Expr:
    r"""sum_{i=2}^d (r_{id} - r_{i-1,d}) (n_0 - r_{0,i-1}): maps X with A_i^T X B_i^T = 0 in every layer.

    Output directions that only the layers above i reach come with the inputs that the layers below i keep apart. For
    two layers this is (n_2 - r_2)(n_0 - r_1).
    """
    reached = RANK[INDEX, DEPTH] - RANK[INDEX - 1, DEPTH]
    return Sum(reached * (RANK[0, 0] - RANK[0, INDEX - 1]), (INDEX, 2, DEPTH))


def invisible_of_pair(source: Chain, target: Chain, depth: int) -> int:
    """1 where an entry of the map from one chain to another is reached through no layer, else 0."""
    from_input, to_output = source[0] == 0, target[1] == depth
    reached = any(i - 1 <= source[1] and target[0] <= i for i in range(1, depth + 1))
    return int(from_input and to_output and not reached)


def counts_invisible(formula: Expr, largest: int = 4) -> Decision:
    """Whether a formula counts the maps that no layer sees, for every network of depth 1..largest.

    >>> counts_invisible(invisible_dimension(), 3).outcome
    'proved'
    """
    return at_depths(lambda depth: counts_pairs(formula, invisible_of_pair, depth), largest)


def free_decay() -> Expression:
    r"""\dot\Delta = -eta \Delta, where the Jacobian has full row rank (A S.I.1, after S.I.9)."""
    return -ETA * DELTA


KERNEL = Letter("K", "m", "m", symmetric=True)
INVERSE = Letter("K_inverse", "m", "m", symmetric=True, latex="K^{-1}")
ERROR = Letter("delta", "m", 1, latex=r"\delta")


def is_free_decay(formula: Expression) -> Decision:
    r"""Whether \dot\Delta = -eta J J^T K^{-1} Delta is the formula when K = J J^T has an inverse."""
    jacobian = Letter("J", "m", "P")
    rules = (words.rule(jacobian * jacobian.T, KERNEL), words.rule(KERNEL * INVERSE, words.identity("m")))
    moved = jacobian * jacobian.T * INVERSE * ERROR * (-ETA)
    share = [c for c, word in formula.terms if word == ((DELTA, False),)]
    stated = ERROR * (share[0] if share else 0)
    alone = words.vanishes(formula - DELTA * (share[0] if share else 0))
    return all_of(alone, words.vanishes(moved - stated, rules, _one_weight)).explain(
        step("The natural gradient moves the map by", moved),
        step("and with full row rank the kernel has an inverse:", words.normal(moved, rules)),
    )


def _one_weight(draw: Random) -> Mapping[Letter, Any]:
    return {
        Letter("J", "m", "P"): Matrix([[2]]),
        KERNEL: Matrix([[4]]),
        INVERSE: Matrix([[Rational(1, 4)]]),
        ERROR: Matrix([[draw.randrange(1, 5)]]),
    }


def projected_velocity() -> Expression:
    r"""\dot\Delta = -eta (U U^T Delta + Delta V V^T - U U^T Delta V V^T): natural gradient behind a bottleneck.

    >>> is_projected_velocity(projected_velocity()).outcome
    'proved'
    """
    left, right = U * U.T * DELTA, DELTA * V * V.T
    return (left + right - U * U.T * DELTA * V * V.T) * (-ETA)


def is_projected_velocity(formula: Expression) -> Decision:
    """Whether a formula is -eta times the orthogonal projection of Delta on the matrices U Y + Z V^T.

    A linear map is that projection iff it fixes the space, ends in it, and is symmetric.
    """
    projection = formula / (-ETA)

    def applied(matrix: Expression | Letter) -> Expression:
        return words.substitute(projection, {DELTA: matrix * 1})

    inside = U * Y + Z * V.T
    beside = projection - U * U.T * projection
    outside = beside - beside * V * V.T
    symmetric = words.trace(applied(X) * DELTA.T) - words.trace(X * applied(DELTA).T)
    parts = (applied(inside) - inside, outside, symmetric)
    return all_of(*(words.vanishes(part, RULES, _plane) for part in parts)).explain(
        step("Layers below the narrowest one move the map by matrices with its column space, those above by matrices "
             "with its row space, and all of these occur:", inside),
        step("The natural gradient removes the part of the error in this space. The projection on it is", projection),
        step("It fixes the space, and leaves nothing beside it:", outside),
    )  # fmt: skip


def turning_rate() -> Expression:
    r"""d/dt U U^T = eta (1 - U U^T) W^* W^+ + transposed, with W^+ = V S^{-1} U^T.

    >>> is_turning_rate(turning_rate()).outcome
    'proved'
    """
    inverse = V * S_INVERSE * U.T
    turned = (TEACHER * inverse - U * U.T * TEACHER * inverse) * ETA
    return turned + turned.T


def is_turning_rate(formula: Expression) -> Decision:
    r"""Whether a formula is the rate of the projector on the column space of W along the projected flow.

    P W = W gives \dot P W = (1 - P) \dot W; since P = W W^+, \dot P P = (1 - P) \dot W W^+, and \dot P is the sum of
    this and its transpose.
    """
    inverse = V * S_INVERSE * U.T
    velocity = words.substitute(projected_velocity(), {DELTA: U * S * V.T - TEACHER})
    turned = velocity * inverse - U * U.T * velocity * inverse
    found = turned + turned.T
    return words.vanishes(found - formula, RULES, _plane).explain(
        step("Only the part of the velocity beside the column space turns it:", turned),
        step("which the map itself does not enter, the teacher does:", words.normal(turned, RULES)),
        step("With its transpose this is", formula),
    )


def frozen() -> Expression:
    """The column space at rest, as printed after S.I.9."""
    return words.zeros(N_D, N_D)


def lost_loss(value: Expr) -> Expr:
    """s^2 / 2: the loss that a singular value of the teacher leaves where the bottleneck has no room for it."""
    return value**2 / 2


def _plane(draw: Random) -> dict[Letter, Any]:
    """Rank one in three by two dimensions."""
    values: dict[Letter, Any] = {U: Matrix([3, 4, 0]) / 5, V: Matrix([5, 12]) / 13}
    values |= {S: Matrix([[2]]), S_INVERSE: Matrix([[Rational(1, 2)]])}
    shapes = {DELTA: (3, 2), TEACHER: (3, 2), X: (3, 2), Y: (1, 2), Z: (3, 1)}
    return values | {x: randMatrix(*shape, min=-3, max=3, prng=draw) for x, shape in shapes.items()}
