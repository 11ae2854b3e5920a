r"""Mean-field theory of wide perceptrons: how length and slope pass through a layer, and where they rest.

h^l = W^l x^{l-1} + b^l and x^l = phi(h^l), with independent weights of variance sigma_w^2 / N and biases of variance
sigma_b^2; q^l is the variance of h^l. Source: B section 2.2, eqs. 3-5.
"""

from __future__ import annotations

from functools import cache

from sympy import Add, Expr, Integer, Poly, Symbol, cosh, diff, expand, factorial, sinh, sqrt, symbols, tanh

from derivations.decide import Decision, all_of, equal, positive, step
from derivations.information.gaussian_means import (
    BEND,
    HERMITE,
    PHI,
    SLOPE,
    H,
    U,
    cubic,
    hermite_activation,
    integrated,
    mean,
    measure,
    polynomial_mean,
    with_activation,
)
from derivations.notation import Q_BELOW, QSTAR, SIGMA_B, SIGMA_W

INPUTS = Symbol("N^{0}", integer=True, positive=True)
INPUT_SQUARE = Symbol(r"{\Vert x^{0} \Vert^{2}}", positive=True)
ACTIVATED_SQUARE = Symbol(r"{\Vert \phi(x^{0}) \Vert^{2}}", positive=True)
_DROP = (U - sinh(U) * cosh(U)) / cosh(U) ** 2


def length_map(q: Expr = Q_BELOW) -> Expr:
    r"""q^l = sigma_w^2 int phi(sqrt(q^{l-1}) h)^2 dmu(h) + sigma_b^2 (B eq. 3), phi a free function.

    >>> integrated(with_activation(length_map(), U))
    q^{l-1}*sigma_w**2 + sigma_b**2
    """
    return SIGMA_W**2 * mean(PHI(sqrt(q) * H) ** 2) + SIGMA_B**2


def slope_gain(q: Expr = QSTAR) -> Expr:
    r"""chi = N^{-1} E Tr (DW)^T DW = sigma_w^2 int phi'(sqrt(q^*) h)^2 dmu(h) (B eq. 5), phi' a free function."""
    return SIGMA_W**2 * mean(SLOPE(sqrt(q) * H) ** 2)


def map_slope(q: Expr = QSTAR) -> Expr:
    r"""d q^l / d q^{l-1} = sigma_w^2 E[phi'^2 + phi phi''] at length q: chi plus a term of curvature (from B eq. 3)."""
    at = sqrt(q) * H
    return SIGMA_W**2 * mean(SLOPE(at) ** 2 + PHI(at) * BEND(at))


def gain_slope(q: Expr = Q_BELOW) -> Expr:
    r"""d (q^l / q^{l-1}) / d q^{l-1} = (sigma_w^2 E[phi (u phi' - phi)] - sigma_b^2) / q^2, u = sqrt(q) h."""
    at = sqrt(q) * H
    return (SIGMA_W**2 * mean(PHI(at) * (at * SLOPE(at) - PHI(at))) - SIGMA_B**2) / q**2


def first_length() -> Expr:
    r"""q^1 = sigma_w^2 ||x^0||^2 / N^0 + sigma_b^2: no activation has acted yet (corrects the line below B eq. 3)."""
    return SIGMA_W**2 / INPUTS * INPUT_SQUARE + SIGMA_B**2


def first_length_printed() -> Expr:
    r"""q^1 = sigma_w^2 ||phi(x^0)||^2 / N^0 + sigma_b^2, as printed below B eq. 3."""
    return SIGMA_W**2 / INPUTS * ACTIVATED_SQUARE + SIGMA_B**2


def variance_of_sum(inputs: tuple[Symbol, ...]) -> Expr:
    r"""E (sum_j W_j x_j + b)^2 from E W_j W_k = delta_jk sigma_w^2 / N^0 and E W_j b = 0, by expanding the square.

    >>> variance_of_sum((U,))
    sigma_b**2 + sigma_w**2*u**2/N^{0}
    """
    weights, bias = symbols(f"W_1:{len(inputs) + 1}"), Symbol("b")
    whole = Add(*(w * x for w, x in zip(weights, inputs, strict=True))) + bias
    second = [SIGMA_W**2 / INPUTS] * len(weights) + [SIGMA_B**2]
    terms = Poly(expand(whole**2), *weights, bias).terms()
    return Add(*(c * second[powers.index(2)] for powers, c in terms if max(powers) == 2))


def is_first_length(formula: Expr) -> Decision:
    """Whether a formula is the variance of a weighted sum of the inputs plus a bias, at three generic inputs."""
    inputs = symbols("x_1:4", real=True)
    activated = Add(*(tanh(x) ** 2 for x in inputs))
    squares = {INPUT_SQUARE: Add(*(x**2 for x in inputs)), ACTIVATED_SQUARE: activated}
    truth = variance_of_sum(inputs)
    return equal(formula.xreplace(squares), truth).explain(
        step("Products of different weights average to 0, squares to $`\\sigma_w^2 / N^0`$. Three inputs leave", truth),
        step("More inputs bring no new kind of term. The same second moments hold for a row of an orthogonal matrix."),
    )


def _at_cubic(formula: Expr, truth: Expr) -> Decision:
    """Compare a formula in phi with the truth for cubics; what cannot be integrated exactly is undecided."""
    try:
        return equal(integrated(with_activation(formula, cubic())), truth)
    except ValueError as error:
        return Decision("undecided", str(error))


@cache
def _length(q: Expr) -> Expr:
    return SIGMA_W**2 * polynomial_mean(cubic() ** 2, q) + SIGMA_B**2


@cache
def _normalised() -> Decision:
    return equal(integrated(mean(Integer(1))), 1)


def is_length_map(formula: Expr) -> Decision:
    """Whether a formula is sigma_w^2 E phi^2 + sigma_b^2 for every cubic phi, the mean taken by counting pairings."""
    return all_of(_normalised(), _at_cubic(formula, _length(Q_BELOW))).explain(
        step("Given the layer below, $`h^l`$ has the variance of a weighted sum: the mean square of", PHI(U)),
        step("over the neurons below, for a cubic by counting pairings:", polynomial_mean(cubic() ** 2, Q_BELOW)),
        step("times $`\\sigma_w^2`$, plus the biases. The measure has total mass 1:", measure()),
    )


def is_slope_gain(formula: Expr) -> Decision:
    """Whether a formula is sigma_w^2 E phi'^2 for every cubic phi, the mean taken by counting pairings."""
    slope = polynomial_mean(diff(cubic(), U) ** 2, QSTAR)
    return _at_cubic(formula, SIGMA_W**2 * slope).explain(
        step("The trace is a sum of $`D_{ii}^2 W_{ij}^2`$ and the mean square length of a row is", SIGMA_W**2),
        step("The mean squared slope of a cubic, by counting pairings:", slope),
    )


def is_map_slope(formula: Expr) -> Decision:
    """Whether a formula is the derivative of the length map for every cubic phi."""
    truth = diff(_length(QSTAR), QSTAR)
    return _at_cubic(formula, truth).explain(
        step("The length map of a cubic, by counting pairings:", _length(QSTAR)),
        step("and its derivative:", truth),
    )


def is_gain_slope(formula: Expr) -> Decision:
    r"""Whether a formula is d(V(q)/q)/dq of the length map V, for every cubic phi; with its sign for tanh.

    phi (u phi' - phi) < 0 for tanh because u < sinh u cosh u for u > 0: they agree at 0,
    and the derivative of the difference is 2 sinh^2 u.
    """
    truth = diff(_length(Q_BELOW) / Q_BELOW, Q_BELOW)
    return all_of(_at_cubic(formula, truth), _gain_falls()).explain(
        step("The gain of a layer is length out over length in. Its derivative, for a cubic:", truth),
        step("For tanh the integrand is $`\\phi`$ times", _DROP),
        step("which has the opposite sign, because $`u < \\sinh u \\cosh u`$ for $`u > 0`$: the gain falls strictly."),
        step("The map rises with the length, as $`\\phi^2`$ does; it is bounded, so its gain falls to 0."),
        step("Where the gain starts above 1, it is 1 once, and lengths are drawn there from both sides."),
    )


@cache
def _gain_falls() -> Decision:
    r"""u phi' - phi < 0 for tanh and u > 0: sinh u cosh u - u vanishes at 0 and its derivative is 2 sinh^2 u."""
    gap = sinh(U) * cosh(U) - U
    inner = U * diff(tanh(U), U) - tanh(U)
    return all_of(equal(inner, _DROP), equal(gap.subs(U, 0), 0), equal(diff(gap, U), 2 * sinh(U) ** 2))


def spare_variance() -> Expr:
    r"""q mu_1 - E phi^2 = sum_k (k - 1) k! c_k^2 in Hermite coefficients of phi(sqrt(q) h) (B eqs. 4, 5 together).

    Only the constant c_0 counts against it: for an odd activation it is never negative (Poincare's inequality).
    """
    return Add(*((k - 1) * factorial(k) * c**2 for k, c in enumerate(HERMITE)))


def is_spare_variance(formula: Expr) -> Decision:
    """Whether a formula is sigma_b^2 mu_1 on the critical line, for activations with six Hermite coefficients."""
    phi = hermite_activation()
    # phi is a function of the standardised h, so q phi'(sqrt(q) h)^2 is the squared derivative in h
    slope, square = polynomial_mean(diff(phi, U) ** 2, Integer(1)), polynomial_mean(phi**2, Integer(1))
    odd = {c: 0 for c in HERMITE[::2]}
    return all_of(equal(formula, slope - square), positive(spare_variance().subs(odd).subs(HERMITE[3], 1))).explain(
        step("$`\\chi = 1`$ gives $`\\sigma_w^2 = 1 / \\mu_1`$; then $`\\sigma_b^2 \\mu_1 = q^* \\mu_1 - E \\phi^2`$."),
        step("With $`\\phi = \\sum_k c_k He_k`$ the mean squared slope is", slope),
        step("and the mean square", square),
        step("An odd activation leaves a sum of squares, zero for linear networks alone:", spare_variance().subs(odd)),
    )
