r"""What the diagonal blocks alone say about a matrix in blocks: errors, the dominant block, sums.

Symbols as in `gershgorin`: c_i is the largest eigenvalue of A_ii, R_i the sum of the largest singular values of the
other blocks in its row. Source: B section 3, around Proposition 1, and beyond the paper.
"""

from __future__ import annotations

from sympy import Expr, Symbol, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step
from derivations.information.gershgorin import (
    BLOCKS,
    CENTRE,
    COMPONENT,
    GAP,
    RADIUS,
    VALUE,
    distance_bound,
    equal_blocks,
)
from derivations.notation import M, N
from derivations.words import Letter

LOWER = Symbol("c_k", real=True)
FIRST, SECOND = Symbol("c_a", nonnegative=True), Symbol("c_b", nonnegative=True)
PART_A, PART_B = Symbol("m_a", nonnegative=True), Symbol("m_b", nonnegative=True)


def eigenvalue_error() -> Expr:
    r"""max_i R_i bounds the error |lambda_k(A) - lambda_k(D)| of all sorted eigenvalues, D the diagonal blocks.

    >>> is_eigenvalue_error(eigenvalue_error()).outcome, is_eigenvalue_error(RADIUS / 2).outcome
    ('proved', 'refuted')
    """
    return RADIUS


def is_eigenvalue_error(formula: Expr) -> Decision:
    """Whether a formula bounds the norm of the off-diagonal part, and with it every sorted eigenvalue's error."""
    diagonal, rest = Letter("D", N, N, symmetric=True), Letter("E", N, N, symmetric=True)
    v = Letter("v", N, 1)
    split = words.vanishes(v.T * (diagonal + rest) * v - v.T * diagonal * v - v.T * rest * v)
    reached = sympify(formula).xreplace(equal_blocks())
    return all_of(
        distance_bound(),
        split,
        nonnegative(GAP * COMPONENT**2),
        nonnegative(sympify(formula) - RADIUS),
        equal(reached, (BLOCKS - 1) * VALUE),
    ).explain(
        step("What is left out has zero diagonal blocks, so its own eigenvalues are within the radii of zero:", rest),
        step("On every unit vector the form of the whole differs from that of the diagonal blocks by at most", formula),
        step("and by the min-max principle so does every sorted eigenvalue. Equal blocks reach it:", reached),
    )


def dominant_end() -> Expr:
    r"""c_i + R_i of the block with the largest c_i: a bound on lambda_max for two blocks (B section 3).

    >>> is_dominant_end(dominant_end()).outcome, is_dominant_end(CENTRE).outcome
    ('proved', 'refuted')
    """
    return CENTRE + RADIUS


def is_dominant_end(formula: Expr) -> Decision:
    r"""Whether a formula bounds lambda_max for two blocks: A_21 = A_12^T, so both rows have one radius."""
    pair = {symbol: value.subs(BLOCKS, 2) for symbol, value in equal_blocks().items()}
    reached = sympify(formula).xreplace(pair)
    other = (LOWER + GAP + RADIUS) - (LOWER + RADIUS)
    block, v = Letter("A_12", N, M, latex="A_{12}"), Letter("v", M, 1)
    same = words.vanishes((block * v).T * (block * v) - v.T * block.T * block * v)
    return all_of(
        distance_bound(),
        same,
        nonnegative(other),
        nonnegative(sympify(formula) - CENTRE - RADIUS),
        equal(reached, 2 * VALUE),
    ).explain(
        step("A block and its transpose have the same singular values: the two radii are equal.", block),
        step("So the disk around the larger centre ends further out than the other one, by", other),
        step("and the bound is", formula),
    )


def share() -> Expr:
    r"""c_i, summed over the blocks: lambda_max(A) <= sum_i lambda_max(A_ii) for A >= 0 (beyond B).

    >>> is_share(share()).outcome, is_share(CENTRE / 2).outcome
    ('proved', 'refuted')
    """
    return CENTRE


def is_share(formula: Expr) -> Decision:
    r"""Whether the summand is enough, and is needed: A = F^T F, |F v|^2 <= (sum sqrt(c_i) |v_i|)^2, Cauchy-Schwarz.

    Each pair of blocks leaves the square (sqrt(c_a) m_b - sqrt(c_b) m_a)^2 over; rank one leaves nothing.
    """
    factor, v, u = Letter("F_a", M, N), Letter("v_a", N, 1), Letter("v_b", N, 1)
    other = Letter("F_b", M, N)
    moved = factor * v + other * u
    crossed = v.T * factor.T * other * u
    opened = words.vanishes(
        moved.T * moved - v.T * factor.T * factor * v - u.T * other.T * other * u - crossed - crossed.T
    )
    left_over = (FIRST + SECOND) * (PART_A**2 + PART_B**2) - (sqrt(FIRST) * PART_A + sqrt(SECOND) * PART_B) ** 2
    square = sqrt(FIRST) * PART_B - sqrt(SECOND) * PART_A
    return all_of(
        opened, nonnegative(left_over, squares=((sympify(1), square),)), equal(sympify(formula), CENTRE)
    ).explain(
        step("A positive matrix is a Gram matrix; two of its parts give", moved.T * moved),
        step("at most the square of the sum of their norms. Against the sum of the bounds there is left over", square),
        step("squared, which vanishes when every block has rank one and the parts are in proportion:", formula),
    )
