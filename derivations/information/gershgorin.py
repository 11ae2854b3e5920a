r"""Gershgorin's theorem for matrices in blocks: where eigenvalues can be, seen from the diagonal blocks.

A is partitioned into blocks A_ij, i, j = 1..L. R_i is the sum over j != i of the largest singular value of A_ij, and
c_i the largest eigenvalue of A_ii. Two families decide how good a bound is: equal blocks A_ij = s (one number, or a
positive semi-definite matrix with norm s), and the blocks of a projection. Source: B section 3 and appendix A.2.
"""

from __future__ import annotations

from sympy import Expr, Symbol, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step
from derivations.notation import M, N
from derivations.words import Letter

BLOCKS = Symbol("L", integer=True, positive=True)
CENTRE = Symbol("c_i", real=True)
RADIUS = Symbol("R_i", nonnegative=True)
LARGEST = Symbol("s_i", nonnegative=True)  # the largest of the terms of R_i
SMALLEST = Symbol("r_i", nonnegative=True)  # the sum of the smallest singular values
ROW = Symbol("n_i", nonnegative=True)  # the largest singular value of the whole off-diagonal row
NUCLEAR = Symbol("t_i", nonnegative=True)  # the sum of all singular values

LAMBDA = Symbol("lambda", complex=True)  # only a symmetric A has real eigenvalues
A_II = Letter("A_ii", N, N, symmetric=True, latex="A_{ii}")
REST = Letter("A_rest", N, M, latex=r"A_{i,\mathrm{rest}}")
V_I = Letter("v_i", N, 1)
V_REST = Letter("v_rest", M, 1, latex=r"v_{\mathrm{rest}}")
VALUE = Symbol("s", positive=True)
SMALL = Symbol("z", nonnegative=True)
SHARE, GAP, NORM, LENGTH = (Symbol(name, nonnegative=True) for name in ("s_ij", "g", "m", "delta"))
COMPONENT = Symbol("y", real=True)  # of a complex vector: the modulus


def radius() -> Expr:
    r"""R_i = sum_{j != i} s_max(A_ij): each eigenvalue of A lies as close to one of some A_ii (B eq. 22).

    >>> is_radius(radius()).outcome, is_radius(LARGEST).outcome
    ('proved', 'refuted')
    """
    return RADIUS


def upper_end() -> Expr:
    r"""c_i + R_i, of which the largest over i bounds the largest eigenvalue of a symmetric matrix (B eq. 23).

    >>> is_upper_end(upper_end()).outcome, is_upper_end(CENTRE + LARGEST).outcome
    ('proved', 'refuted')
    """
    return CENTRE + RADIUS


def equal_blocks() -> dict[Symbol, Expr]:
    """The row statistics of L x L equal blocks C >= 0 with norm s and smallest singular value z < s.

    On the vector (v, ..., v) with C v = s v this matrix has the eigenvalue L s, and no larger one.
    """
    others = BLOCKS - 1
    return {
        CENTRE: VALUE,
        RADIUS: others * VALUE,
        LARGEST: VALUE,
        SMALLEST: others * SMALL,
        ROW: sqrt(others) * VALUE,
        NUCLEAR: others * (VALUE + SMALL),
    }


def row_identity() -> Decision:
    """(lambda - A_ii) v_i = A_rest v_rest for block row i of an eigenvector, in all sizes, also for complex lambda."""
    row = words.rule(A_II * V_I, LAMBDA * V_I - REST * V_REST)
    return words.vanishes(LAMBDA * V_I - A_II * V_I - REST * V_REST, (row,))


def distance_bound() -> Decision:
    r"""dist(lambda, spectrum of A_ii) |v_i| <= R_i |v_i| for the longest part v_i of an eigenvector.

    Term by term: a component y of v_i in an eigenbasis of A_ii carries |lambda - lambda_k|^2 |y|^2 with
    |lambda - lambda_k| = delta + g, and block j carries s_max(A_ij) |v_j| with |v_j| = m - g.
    """
    spread = ((LENGTH + GAP) ** 2 - LENGTH**2) * COMPONENT**2
    missing = SHARE * NORM - SHARE * (NORM - GAP)
    left, right = LAMBDA * V_I - A_II * V_I, REST * V_REST
    return all_of(row_identity(), nonnegative(spread), nonnegative(missing)).explain(
        step("Row i of the eigenvalue equation, for the longest part of the eigenvector:", left),
        step("equals the rest of the row times the other parts:", right),
        step("Squared, the left side exceeds the distance to the nearest eigenvalue, for each component, by", spread),
        step(
            "The right side is at most a sum of norms; no part is longer than this one, so each term falls short by",
            missing,
        ),
    )


def is_radius(formula: Expr) -> Decision:
    """Whether a radius is no smaller than the distance that the row allows, and is reached by equal blocks."""
    family = equal_blocks()
    reached = sympify(formula).xreplace(family)
    return all_of(
        distance_bound(),
        equal(reached, (BLOCKS - 1) * VALUE),
        nonnegative(sympify(formula) - RADIUS),
    ).explain(
        step("Hence the distance is at most", formula),
        step("With L by L equal blocks of norm s the largest eigenvalue is Ls, this far from s:", reached),
    )


def interlacing() -> Decision:
    r"""v^T A_ii v = w^T A w for w = v put into place i: so lambda_max(A) >= lambda_max(A_ii).

    The largest eigenvalue exceeds the form on any unit vector by a sum of (lambda_max - lambda_k) y_k^2.
    """
    place, whole = Letter("E_i", M, N), Letter("A", M, M, symmetric=True)
    put = place * V_I
    rules = (words.rule(place.T * whole * place, A_II),)
    same = words.vanishes(put.T * whole * put - V_I.T * A_II * V_I, rules)
    return all_of(same, nonnegative(GAP * COMPONENT**2)).explain(
        step("Put into place i, a top eigenvector of a diagonal block gives the form of the whole matrix", put),
        step("so no diagonal block has an eigenvalue above the largest one of the whole."),
    )


def is_upper_end(formula: Expr) -> Decision:
    """Whether c_i plus the radius bounds the largest eigenvalue, is reached, and blocks stay below it."""
    family = equal_blocks()
    reached = sympify(formula).xreplace(family)
    return all_of(
        distance_bound(),
        interlacing(),
        equal(reached, BLOCKS * VALUE),
        nonnegative(sympify(formula) - CENTRE - RADIUS),
    ).explain(
        step("Every eigenvalue of a block is at most the block's largest, so the eigenvalue is at most", formula),
        step("Equal blocks reach it:", reached),
    )
