r"""Means of operators: why one block per layer is never faster on the loss, and when it moves the weights faster.

The kernel K = J J^T of a network is the sum of the kernels K_i = J_i J_i^T of its layers. A power of K / d is the power
of a mean, the block rule has the mean of the powers. All inequalities between them come from one square, the gap
between the mean of inverses and the inverse of the mean, integrated over shifts. Beyond A section 3.3.
"""

from __future__ import annotations

from sympy import Expr, Symbol, cancel, expand, sympify

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, positive, step, zero
from derivations.notation import DEPTH, J_I, J_K, Q
from derivations.words import Expression, Letter

SIZE = Symbol("m", integer=True, positive=True)
X = Letter("X", SIZE, SIZE, symmetric=True, latex="X_i")
X_INV = Letter("Xinv", SIZE, SIZE, symmetric=True, latex="X_i^{-1}")
MEAN_INV = Letter("Minv", SIZE, SIZE, symmetric=True, latex=r"\bar X^{-1}")
MEAN = Letter("Mean", SIZE, SIZE, symmetric=True, latex=r"\bar X")
KAPPA = Symbol("kappa", positive=True)
SHIFT = Symbol("lambda", positive=True)
RATIO = Symbol("mu", positive=True)


def inverse_gap() -> Expression:
    r"""(X_i^{-1} - M^{-1}) X_i (X_i^{-1} - M^{-1}), averaged over i: mean of inverses less inverse of the mean M.

    >>> is_inverse_gap(inverse_gap()).outcome
    'proved'
    """
    return (X_INV - MEAN_INV) * X * (X_INV - MEAN_INV)


def is_inverse_gap(summand: Expression) -> Decision:
    r"""Whether the mean of the summand is mean(X_i^{-1}) - M^{-1}, in all sizes and numbers of operators.

    Expanded, X_i enters linearly between two factors M^{-1}; there its mean is M and the products collapse.
    """
    inverses = (
        words.rule(X * X_INV, words.identity(SIZE)),
        words.rule(X_INV * X, words.identity(SIZE)),
        words.rule(MEAN_INV * X * MEAN_INV, MEAN_INV * MEAN * MEAN_INV),
        words.rule(MEAN * MEAN_INV, words.identity(SIZE)),
        words.rule(MEAN_INV * MEAN, words.identity(SIZE)),
    )
    return words.vanishes(summand - (X_INV - MEAN_INV), inverses).explain(
        step("Complete the square around the inverse of the mean:", summand),
        step("Averaged, what is linear in an operator becomes its mean; there remains", X_INV - MEAN_INV),
        step("It is positive, and zero on a vector only if both inverses agree there."),
    )


def loewner_kernel(exponent: Expr) -> Expr:
    r"""lambda^{s-1} kappa / (lambda + kappa) for 0 < s < 1, lambda^s / (lambda + kappa) for -1 < s < 0.

    Integrated over all shifts lambda > 0 both are positive multiples of kappa^s: see ``is_homogeneous``.

    >>> loewner_kernel(sympify(1) / 2)
    kappa/(sqrt(lambda)*(kappa + lambda))
    """
    s = sympify(exponent)
    return SHIFT**s / (SHIFT + KAPPA) if s.is_negative else SHIFT ** (s - 1) * KAPPA / (SHIFT + KAPPA)


def is_homogeneous(exponent: Expr) -> Decision:
    r"""Whether the kernel at shift kappa mu, times the measure kappa d mu, is kappa^s times a positive function.

    Then its integral is a positive multiple of kappa^s. It converges for 0 < |s| < 1, where the
    integrand is like a power above -1 at small shifts and below -1 at large ones.
    """
    kernel = loewner_kernel(exponent)
    scaled = kernel.subs(SHIFT, KAPPA * RATIO) * KAPPA
    rest = kernel.subs({KAPPA: 1, SHIFT: RATIO})
    return all_of(equal(scaled, KAPPA**exponent * rest), positive(rest * (1 + RATIO))).explain(
        step("The power is an integral over shifts of the functions", kernel),
        step("since with shifts in units of the operator each of them becomes", KAPPA**exponent * rest),
    )


def loss_power(q: Expr = Q) -> Expr:
    r"""1 - 1/q: -\dot L = eta delta^T K^{1-1/q} delta under the full rule of order q.

    >>> loss_power(sympify(1))
    0
    """
    return 1 - 1 / sympify(q)


def speed_power(q: Expr = Q) -> Expr:
    r"""1 - 2/q: |\dot w|^2 = eta^2 delta^T K^{1-2/q} delta under the full rule of order q.

    >>> speed_power(sympify(2))
    0
    """
    return 1 - 2 / sympify(q)


def block_power(power: Expr) -> Expr:
    r"""d^{s-1} kappa^s, what each block contributes where the full kernel has kappa^s: d times the mean of its blocks.

    >>> block_power(sympify(1))
    kappa
    """
    return DEPTH ** (power - 1) * KAPPA**power


def follows_from_update(formula: Expr, times: int) -> Decision:
    r"""Whether a block's share is kappa times (d kappa)^{-1/q} taken ``times`` times, as the update says.

    The loss takes the update once, -\dot L = g^T H_i^{-1/q} g d^{-1/q} eta; the squared speed takes it twice.
    """
    found = KAPPA * (DEPTH * KAPPA) ** (-times / Q)
    return equal(formula, found).explain(
        step("On an eigenvector of its own kernel a block contributes, in units of the rate and of the error,", found)
    )


def is_power_of_a_mean(formula: Expr, power: Expr) -> Decision:
    """Whether blocks contribute the mean of the powers where the full kernel has the power of the mean."""
    return equal(formula * DEPTH, (DEPTH * KAPPA) ** power).explain(
        step("The full kernel is d times the mean of the blocks; with equal blocks both agree:", formula * DEPTH)
    )


def between(power: Expr, low: int, high: int, substitution: dict[Symbol, Expr]) -> Decision:
    """Whether an exponent lies strictly between two numbers for the orders that a positive parameter runs over."""
    found = cancel(power.subs(substitution))
    return all_of(positive(cancel(found - low)), positive(cancel(high - found))).explain(
        step("For these orders the exponent is", found)
    )


def pair_surplus() -> Expr:
    r"""(j_i / j_k - j_k / j_i)^2 / d^2, summed over pairs of layers: squared speed of a mode, block over full, less 1.

    >>> is_pair_surplus(pair_surplus()).outcome
    'proved'
    """
    return (J_I / J_K - J_K / J_I) ** 2 / DEPTH**2


def is_pair_surplus(formula: Expr) -> Decision:
    r"""Whether sum_i j_i^2 sum_k j_k^{-2} / d^2 - 1 is the sum of the formula over pairs, none negative.

    The double sum has d diagonal terms 1 and two terms for each of d (d - 1) / 2 pairs.
    """
    double = J_I**2 / J_K**2 + J_K**2 / J_I**2
    pairs = DEPTH * (DEPTH - 1) / 2
    counted = expand(DEPTH + 2 * pairs - DEPTH**2)
    return all_of(
        zero(formula * DEPTH**2 - (double - 2)),
        zero(counted),
        nonnegative(formula * DEPTH**2 * J_I**2 * J_K**2),
    ).explain(
        step("A pair of layers contributes to the product of the two sums", double),
        step("which is 2 and a square. Diagonal terms and twos add up to the squared depth:", DEPTH + 2 * pairs),
        step("What remains of each pair, over the squared depth, is", formula),
    )
