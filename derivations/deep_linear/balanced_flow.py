r"""Balanced networks that are not aligned with their teacher: the map obeys an equation of its own.

With the singular vectors u_a, v_b of W and x = s_a^{2/d}, y = s_b^{2/d}, balance gives A_i A_i^T u_a = x^{d-i} u_a and
B_i^T B_i v_b = y^{i-1} v_b: the kernel J J^T has the eigenvector u_a v_b^T with the eigenvalue
lambda_ab = sum_i x^{d-i} y^{i-1}. No layer is left in it. Source: A section 3.2, beyond eq. 21.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from sympy import Expr, Integer, Symbol

from derivations import words
from derivations.decide import Decision, all_of, equal, step
from derivations.deep_linear.emergence import balanced_root
from derivations.deep_linear.map_dynamics import balanced_rate, clock, stiffness
from derivations.notation import DEPTH, ETA, ETA_TILDE, N_0, N_D, SIGMA, SIGMA_STAR, M, N, P, Q

S_A, S_B = Symbol("s_a", positive=True), Symbol("s_b", positive=True)
TARGET = Symbol("T_aa", real=True)
GAP_AB = Symbol("Delta_ab", real=True)
EIGENVALUE = Symbol("lambda_ab", positive=True)
INDEX = Symbol("i", integer=True, positive=True)
ABOVE, BELOW = Symbol("x", positive=True), Symbol("y", positive=True)


def eigenvalues() -> dict[str, Expr]:
    r"""lambda_ab = (s_a^2 - s_b^2) / (s_a^{2/d} - s_b^{2/d}) for different values, d s_a^{2-2/d} for equal ones.

    >>> eigenvalues()["different"].subs(DEPTH, 2).cancel()
    s_a + s_b
    """
    different = (S_A**2 - S_B**2) / (S_A ** (2 / DEPTH) - S_B ** (2 / DEPTH))
    return {"different": different, "equal": DEPTH * S_A ** (2 - 2 / DEPTH)}


def are_eigenvalues(formula: Mapping[str, Expr]) -> Decision:
    """Whether both are sum_i x^{d-i} y^{i-1}, by induction: one layer gives 1, a further one x S + y^d."""
    found = []
    for name, other in (("different", BELOW), ("equal", ABOVE)):
        sums = [
            formula[name].subs(DEPTH, depth).subs({S_A: ABOVE ** (depth / 2), S_B: other ** (depth / 2)})
            for depth in (Integer(1), DEPTH, DEPTH + 1)
        ]
        found += [equal(sums[0], 1), equal(sums[2], ABOVE * sums[1] + other**DEPTH)]
    return all_of(balanced_root(DEPTH), kernel_is_diagonal(), *found).explain(
        step(
            "One layer's term of the kernel multiplies the pair of singular vectors by",
            ABOVE ** (DEPTH - INDEX) * BELOW ** (INDEX - 1),
        ),
        step(
            "with powers of the 2/d-th powers x, y of the singular values. Summed over the layers this is",
            eigenvalues()["different"],
        ),
        step("for different singular values, and for equal ones", eigenvalues()["equal"]),
    )


@cache
def kernel_is_diagonal() -> Decision:
    r"""A_i A_i^T u v^T B_i^T B_i = x^{d-i} y^{i-1} u v^T, once u and v are eigenvectors of the two Gram matrices."""
    left, right = words.Letter("A_i", N_D, N), words.Letter("B_i", M, N_0)
    u, v = words.Letter("u_a", N_D, 1), words.Letter("v_b", N_0, 1)
    x, y = Symbol("X", positive=True), Symbol("Y", positive=True)
    rules = (words.rule(left * left.T * u, x * u), words.rule(right.T * right * v, y * v))
    acted = left * left.T * u * v.T * right.T * right
    return words.vanishes(acted - x * y * (u * v.T), rules).explain(
        step("The singular vectors of the map are eigenvectors of the Gram matrices above and below a layer:", acted),
    )


def map_velocity() -> dict[str, Expr]:
    r"""u_a^T \dot W v_b = -eta lambda_ab^{1-1/q} u_a^T Delta v_b: the map under qNGD, balanced, any teacher.

    >>> map_velocity()["different"].subs(Q, 1)
    -Delta_ab*eta
    """
    values = eigenvalues()
    return {
        "different": -ETA * values["different"] ** (1 - 1 / Q) * GAP_AB,
        "equal": -ETA * values["equal"] ** (1 - 1 / Q) * GAP_AB,
    }


def is_map_velocity(formula: Mapping[str, Expr]) -> Decision:
    r"""Whether \dot W = -eta K K^{-1/q} Delta on the eigenvectors of the kernel K."""
    values, update = eigenvalues(), EIGENVALUE ** (-1 / Q)
    found = [
        equal(formula[name], -ETA * (EIGENVALUE * update).subs(EIGENVALUE, values[name]) * GAP_AB) for name in values
    ]
    return all_of(are_eigenvalues(values), *found).explain(
        step("The weights move by the gap times a power of the kernel,", update),
        step("and the map sees them through the kernel once more:", -ETA * EIGENVALUE * update * GAP_AB),
    )


def singular_value_rate() -> Expr:
    r"""\dot s_a = -\tilde\eta s_a^p (s_a - u_a^T W^* v_a): eq. 21 in the map's own singular vectors.

    >>> singular_value_rate().subs(Q, 1)
    -eta*(-T_aa + s_a)
    """
    return -ETA * DEPTH ** (1 - 1 / Q) * S_A ** stiffness() * (S_A - TARGET)


def is_singular_value_rate(formula: Expr) -> Decision:
    r"""Whether the formula is the diagonal entry of the map's velocity; \dot s_a = u_a^T \dot W v_a by d(u^T u) = 0."""
    diagonal = map_velocity()["equal"].subs(GAP_AB, S_A - TARGET)
    aligned = balanced_rate().subs(
        {SIGMA: S_A, SIGMA_STAR: TARGET, P: stiffness(), ETA_TILDE: clock()}, simultaneous=True
    )
    return all_of(_moves_with_the_diagonal(), equal(formula, diagonal), equal(formula, aligned)).explain(
        step("The diagonal entry of the map's velocity is", diagonal),
        step("the equation of an aligned network, with an entry of the teacher for its singular value:", aligned),
    )


@cache
def _moves_with_the_diagonal() -> Decision:
    r"""d(u^T W v) = u^T \dot W v, because \dot u^T W v = s \dot u^T u = 0 and u^T W \dot v = s v^T \dot v = 0."""
    w, dw = words.Letter("W", N_D, N_0), words.Letter("dW", N_D, N_0, latex=r"\dot W")
    u, v = words.Letter("u", N_D, 1), words.Letter("v", N_0, 1)
    du, dv = words.Letter("du", N_D, 1, latex=r"\dot u"), words.Letter("dv", N_0, 1, latex=r"\dot v")
    s = Symbol("s", positive=True)
    rules = (
        words.rule(w * v, s * u),
        words.rule(u.T * w, s * v.T),
        words.rule(du.T * u, words.zeros(1, 1)),
        words.rule(v.T * dv, words.zeros(1, 1)),
    )
    change = du.T * w * v + u.T * dw * v + u.T * w * dv
    return words.vanishes(change - u.T * dw * v, rules).explain(
        step("A singular value changes by", change),
        step("in which the singular vectors, being of unit length, move at right angles to themselves:", u.T * dw * v),
    )
