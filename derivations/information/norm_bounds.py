r"""Norms of the blocks of a Fisher matrix: what is true of every network.

A block is a mean over inputs of (x^{a-1} x^{b-1 T}) kron (J_a^T H J_b), with 1 in place of x for a bias; J_a is the
Jacobian of the outputs with respect to the pre-activations of layer a. Source: B lemma 3 and appendix A.3, B.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr, S, Symbol, sqrt, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step
from derivations.notation import M, N
from derivations.words import Letter, Rule, Trace

# of one input: lengths of what enters the layers (1 for a bias), and largest singular values
INPUT_A, INPUT_B = Symbol("p_a", nonnegative=True), Symbol("p_b", nonnegative=True)
S_A, S_B, S_H = Symbol("s_a", nonnegative=True), Symbol("s_b", nonnegative=True), Symbol("s_H", nonnegative=True)
# of a data set: largest eigenvalues of second moment and covariance of the inputs, largest s_max(H^{1/2} J_1)^2
SECOND_MOMENT = Symbol("lambda_xx", positive=True)
COVARIANCE = Symbol("lambda_cov", nonnegative=True)
STEEPEST = Symbol("s_J", positive=True)

X, Y = Letter("x", N, 1), Letter("y", M, 1)
K = Letter("K", "n_a", "n_b")
J_A, J_B = Letter("j_a", "n_a", 1), Letter("j_b", "n_b", 1)
V = Letter("V", "n_b", M)
LENGTH, GAP, REST = (Symbol(name, nonnegative=True) for name in ("m", "g", "h"))
COMPONENT = Symbol("c", real=True)
LEFT, RIGHT, DEFECT = Symbol("m_1", positive=True), Symbol("m_2", positive=True), Symbol("t", nonnegative=True)


def block_norm() -> Expr:
    r"""|x^{a-1}| |x^{b-1}| s_max(J_a) s_max(H) s_max(J_b), whose mean over inputs bounds s_max(G_ab).

    >>> is_block_norm(block_norm()).outcome, is_block_norm(block_norm() / INPUT_A).outcome
    ('proved', 'refuted')
    """
    return INPUT_A * INPUT_B * S_A * S_H * S_B


def kronecker_norm() -> Expr:
    r"""s_max(A kron B) = s_max(A) s_max(B) (B eq. 24).

    >>> is_kronecker_norm(kronecker_norm()).outcome, is_kronecker_norm(S_A + S_B).outcome
    ('proved', 'refuted')
    """
    return S_A * S_B


def is_kronecker_norm(formula: Expr) -> Decision:
    """Whether a formula is the norm of V -> B V A^T: its square has the eigenvectors u v^T, values (s_a s_b)^2."""
    a, b = Letter("A", "n_a", M), Letter("B", "n_b", N)
    u, v = Letter("u", N, 1), Letter("v", M, 1)
    rules = (words.rule(a.T * a * v, S_A**2 * v), words.rule(b.T * b * u, S_B**2 * u))
    image = b.T * (b * u * v.T * a.T) * a
    return all_of(words.vanishes(image - S_A**2 * S_B**2 * u * v.T, rules), equal(sympify(formula), S_A * S_B)).explain(
        step("On stacked columns the product acts as", b * Letter("V", N, M) * a.T),
        step("Its square takes right singular vectors of both factors to multiples of themselves:", image),
        step("These outer products span everything, so the largest singular value is", formula),
    )


def rank_one_factor() -> Decision:
    r"""|(x y^T kron K) vec V|^2 = |K V y x^T|^2 = |x|^2 |K V y|^2, for all sizes."""
    image = K * V * Y * X.T
    rules = (words.rule(X.T * X, INPUT_A**2 * words.identity(1)),)
    return words.vanishes(words.trace(image.T * image) - INPUT_A**2 * words.trace((K * V * Y).T * (K * V * Y)), rules)


def singular_bound() -> Decision:
    """s_max^2 |c|^2 - sum s_k^2 c_k^2 >= 0, term by term, with s_max = s_k + g: |M v| <= s_max(M) |v|."""
    return nonnegative(((LENGTH + GAP) ** 2 - LENGTH**2) * COMPONENT**2)


def triangle() -> Decision:
    """(m_1 + m_2)^2 - |u_1 + u_2|^2 >= 0, the cosine being 1 - t: norms of means are at most means of norms."""
    together = LEFT**2 + 2 * LEFT * RIGHT * (1 - DEFECT) + RIGHT**2
    return nonnegative((LEFT + RIGHT) ** 2 - together)


def norm_of_vectors() -> Expr:
    """The block's norm with one input and one output, J_a = j_a^T, H = s_H: its value on V = j_b y^T, over |V|.

    >>> norm_of_vectors()
    p_a*p_b*s_H*s_a*s_b
    """
    lengths = ((X, INPUT_A), (Y, INPUT_B), (J_A, S_A), (J_B, S_B))
    rules = [words.rule(v.T * v, length**2 * words.identity(1)) for v, length in lengths]
    direction = J_B * Y.T
    image = S_H * J_A * J_B.T * direction * Y * X.T
    return sqrt(_number(words.trace(image.T * image), rules) / _number(words.trace(direction.T * direction), rules))


def _number(form: Trace, rules: Sequence[Rule]) -> Expr:
    """The value of a trace that the rules reduce to a number."""
    reduced = words.normal(form, rules)
    if any(word for _, word in reduced.terms):
        raise ValueError(f"form: {form} given, allowed: traces that the rules reduce to a number")
    return sum((c for c, _ in reduced.terms), S.Zero)


def is_block_norm(formula: Expr) -> Decision:
    """Whether a formula is the bound of one input: enough for all matrices, and reached by vectors."""
    reached = norm_of_vectors()
    return all_of(rank_one_factor(), singular_bound(), triangle(), equal(sympify(formula), reached)).explain(
        step("On stacked columns of V the block of one input acts as", K * V * Y * X.T),
        step("whose squared norm separates: the length of x factors out, and what is left is at most", K * V * Y),
        step("bounded by the largest singular values of the factors one after the other:", reached),
        step("A mean over inputs is no longer than the mean of the lengths."),
        step("With one input and one output the factors are vectors. On the direction", J_B * Y.T),
        step("the block then stretches by the formula itself:", formula),
    )


def first_weight_block() -> Expr:
    r"""lambda_max(E[x x^T]) max_i s_max(H_i^{1/2} J_i)^2 bounds the weight block of one layer.

    >>> is_weight_block(first_weight_block()).outcome, is_weight_block(COVARIANCE * STEEPEST).outcome
    ('proved', 'refuted')
    """
    return SECOND_MOMENT * STEEPEST


def is_weight_block(formula: Expr) -> Decision:
    """Whether a formula bounds v^T G v = E|H^{1/2} J V x|^2 for v = vec V, and is reached when J is the same for all.

    One input x = e has second moment 1 and covariance 0.
    """
    root = Letter("F", "r", "n_b", latex="H^{1/2}J")
    second = Letter("C", M, M, symmetric=True, latex=r"\mathbb{E}[x x^{\mathsf{T}}]")
    form = words.trace((root * V * Y).T * (root * V * Y))
    averaged = (words.rule(Y * Y.T, second),)
    same = words.vanishes(form - words.trace(root * V * second * V.T * root.T), averaged)
    e, u = Letter("e", M, 1), Letter("u", "n_b", 1)
    top = (
        words.rule(second * e, SECOND_MOMENT * e),
        words.rule(root.T * root * u, STEEPEST * u),
        words.rule(e.T * e, words.identity(1)),
        words.rule(u.T * u, words.identity(1)),
    )
    reached = _number(words.trace(root * u * e.T * second * e * u.T * root.T), top)
    one_input = {SECOND_MOMENT: S.One, COVARIANCE: S.Zero}
    alone = sympify(formula).xreplace(one_input)
    return all_of(
        same, singular_bound(), equal(alone, reached.xreplace(one_input)), equal(sympify(formula), reached)
    ).explain(
        step("One input contributes to the quadratic form", form),
        step("at most the largest of all squared norms times what the mean over inputs leaves:", V * second * V.T),
        step("which is at most the largest eigenvalue of the second moment times the squared length:", formula),
        step("The outer product of top eigenvectors reaches it if the Jacobian is the same for all:", u * e.T),
        step("For one input of length one the covariance is zero, but the block has the norm", STEEPEST),
    )


def block_ratio() -> Expr:
    r"""lambda_max(E[x x^T]) = s_max(G_{W^1 W^1}) / s_max(G_{b^1 b^1}) where J^T H J does not depend on the input.

    >>> is_block_ratio(block_ratio()).outcome, is_block_ratio(COVARIANCE).outcome
    ('proved', 'refuted')
    """
    return SECOND_MOMENT


def is_block_ratio(formula: Expr) -> Decision:
    """Whether a formula is the eigenvalue of V -> K V E[x x^T] over that of K, on V = u e^T."""
    second, kernel = Letter("C", M, M, symmetric=True), Letter("K_J", N, N, symmetric=True, latex="K")
    e, u = Letter("e", M, 1), Letter("u", N, 1)
    rules = (words.rule(second * e, SECOND_MOMENT * e), words.rule(kernel * u, STEEPEST * u))
    image = kernel * u * e.T * second
    return all_of(
        words.vanishes(image - SECOND_MOMENT * STEEPEST * u * e.T, rules), equal(sympify(formula), SECOND_MOMENT)
    ).explain(
        step(
            "With one matrix K for all inputs the two blocks are its Kronecker product with the second moment", second
        ),
        step("and K itself. On top eigenvectors the first multiplies by", SECOND_MOMENT * STEEPEST),
        step("and the second by", STEEPEST),
    )
