r"""The critical line in formulas: closed for the error function, a series for tanh, a table with certified digits.

With h normal of variance q: sigma_w^2 = 1 / mu_1 and sigma_b^2 = q - E phi(h)^2 / mu_1, mu_k = E phi'(h)^{2k}
(B eqs. 4, 5). The error function is erf(sqrt(pi) u / 2), of slope 1 at the origin.
"""

from __future__ import annotations

from functools import lru_cache

from flint import arb
from sympy import QQ, Add, Expr, Float, Integer, Rational, Symbol, diff, exp, expand, pi, ring, solve
from sympy.polys.ring_series import rs_pow, rs_series_inversion, rs_tanh, rs_trunc
from sympy.polys.rings import PolyElement

from derivations.decide import Decision, all_of, enclosed, equal, step, zero
from derivations.information.critical_line import bias_variance, critical_balls, precision, slope_moment
from derivations.information.gaussian_means import (
    H,
    U,
    integrated,
    mean,
    polynomial_mean,
)
from derivations.information.mean_field import is_spare_variance, spare_variance
from derivations.notation import DEPTH, MU_1, MU_2, N_0, N_D, QSTAR, SIGMA_B, SIGMA_W, WIDTH

ORDER = Symbol("k", positive=True)
SECOND_MOMENT = Symbol(r"{\mathbb{E}\,\phi^{2}}", positive=True)
MU_K = Symbol("mu_k", positive=True)
SPREAD = Symbol(r"{\mu_{2} / \mu_{1}^{2} - 1}", positive=True)
INPUT_LENGTH = Symbol(r"{\Vert x^{0} \Vert^{2} / N^{0}}", positive=True)
DEVIATION = Symbol("t", positive=True)
HIDDEN, ALL = Symbol(r"P_{\mathrm{hidden}}", positive=True), Symbol(r"P_{\mathrm{all}}", positive=True)
LIST = (Rational(9, 10**4), Rational(1, 64), Rational(1, 2), Rational(8))
CERTIFIED = 15


def erf_line() -> dict[Symbol, Expr]:
    r"""sigma_w^2, sigma_b^2, mu_k and mu_2 / mu_1^2 - 1 for erf(sqrt(pi) u / 2), for every length q^* and order k.

    >>> erf_line()[SIGMA_W**2]
    sqrt(pi*q^* + 1)
    """
    return {
        SIGMA_W**2: 1 / slope_moment("erf"),
        SIGMA_B**2: bias_variance("erf"),
        MU_K: slope_moment("erf", ORDER),
        SPREAD: slope_moment("erf", 2) / slope_moment("erf") ** 2 - 1,
    }


@lru_cache(maxsize=128)
def _equal(one: Expr, other: Expr) -> Decision:
    return equal(one, other)


def is_erf_line(formula: dict[Symbol, Expr]) -> Decision:
    r"""Whether a mapping is the critical line of erf: Gaussian integrals for the slopes, Stein's identity for E phi^2.

    With phi'' = -(pi / 2) u phi' and E u g(u) = q E g'(u), E phi phi'' = -(pi q / 2) E (phi'^2 + phi phi''), so that
    d E phi^2 / dq = E (phi'^2 + phi phi'') = mu_1 / (1 + pi q / 2), and E phi^2 = 0 at q = 0.
    """
    slopes = integrated(mean(exp(-pi / 2 * ORDER * QSTAR * H**2)))
    first, second = slopes.subs(ORDER, 1), slopes.subs(ORDER, 2)
    moment = (QSTAR - formula[SIGMA_B**2]) * first
    rate, truth = diff(moment, QSTAR), first / (1 + pi * QSTAR / 2)
    sign = enclosed(rate.subs(QSTAR, 1), {}, ">")
    return all_of(
        _equal(formula[MU_K], slopes),
        _equal(formula[SIGMA_W**2] * first, Integer(1)),
        _equal(formula[SPREAD], second / first**2 - 1),
        _equal(rate**2, truth**2),
        sign,
        _equal(moment.subs(QSTAR, 0), Integer(0)),
    ).explain(
        step("The slope is a Gaussian function, so its powers integrate to", slopes),
        step("Stein's identity gives the derivative of $`E \\phi^2`$ by the length, with no special function:", truth),
        step("The formula's $`\\mu_1 (q^* - \\sigma_b^2)`$ has this derivative and vanishes at 0:", moment),
    )


@lru_cache(maxsize=8)
def moment_series(kind: str, k: int, terms: int = 5) -> tuple[Rational, ...]:
    r"""Coefficients of q^0, q^1, ... in E tanh(h)^{2k} ("value") or mu_k ("slope"): Taylor polynomial, then pairings.

    >>> moment_series("value", 1)
    (0, 1, -2, 17/3, -62/3)
    """
    _, u = ring("u", QQ)
    tangent = rs_tanh(u, u, 2 * terms)
    functions = {"value": (tangent, 2 * k), "slope": (1 - rs_pow(tangent, 2, u, 2 * terms), 2 * k)}
    if kind not in functions:
        raise ValueError(f"kind: {kind!r} given, allowed: value, slope")
    base, power = functions[kind]
    found = expand(polynomial_mean(rs_pow(base, power, u, 2 * terms).as_expr(U), QSTAR))
    return tuple(Rational(found.coeff(QSTAR, n)) for n in range(terms))


def _as_series(kind: str, k: int, variable: PolyElement, terms: int) -> PolyElement:
    return sum(QQ(c.p, c.q) * variable**n for n, c in enumerate(moment_series(kind, k, terms)))


def tanh_line(order: int = 3) -> dict[Symbol, Expr]:
    r"""sigma_w^2, sigma_b^2, E phi^2 and mu_2 / mu_1^2 - 1 for tanh as polynomials in a short length q^*.

    >>> tanh_line()[SIGMA_W**2]
    34*q^***3/3 - 3*q^***2 + 2*q^* + 1
    """
    return dict(_tanh_line(order))


@lru_cache(maxsize=8)
def _tanh_line(order: int) -> tuple[tuple[Symbol, Expr], ...]:
    terms = order + 2
    _, q = ring("q", QQ)
    slope, fourth, square = (_as_series(*what, q, terms) for what in (("slope", 1), ("slope", 2), ("value", 1)))
    weight = rs_series_inversion(slope, q, terms)

    def cut(found: PolyElement, last: int) -> Expr:
        return rs_trunc(found, q, last + 1).as_expr(QSTAR)

    return (
        (SIGMA_W**2, cut(weight, order)),
        (SIGMA_B**2, cut(q - square * weight, order + 1)),
        (SECOND_MOMENT, cut(square, order + 1)),
        (SPREAD, cut(fourth * weight**2 - 1, order)),
    )


def is_tanh_line(formula: dict[Symbol, Expr], order: int = 3) -> Decision:
    r"""Whether a mapping is the short-length expansion: tanh from y' = 1 - y^2, moments by pairings, two conditions."""
    found = Add(*(c * U ** (2 * n + 1) for n, c in enumerate(tangent_coefficients(order + 2))))
    slope = diff(found, U)
    first, second = (polynomial_mean(expand(slope ** (2 * k)), QSTAR) for k in (1, 2))
    square = polynomial_mean(found**2, QSTAR)
    residuals = (
        (formula[SIGMA_W**2] * first - 1, order),
        ((QSTAR - formula[SIGMA_B**2]) * first - square, order + 1),
        (formula[SECOND_MOMENT] - square, order + 1),
        ((formula[SPREAD] + 1) * first**2 - second, order),
    )
    low = [expand(residual).coeff(QSTAR, n) for residual, last in residuals for n in range(last + 1)]
    return all_of(*(equal(c, 0) for c in low)).explain(
        step("The Taylor polynomial of tanh, from $`y' = 1 - y^2`$:", found),
        step(
            "Even moments of $`h`$ are double factorials, so to this order $`\\mathbb{E}\\,\\phi^2`$ is",
            formula[SECOND_MOMENT],
        ),
        step("$`\\sigma_w^2 \\mu_1 = 1`$ and $`q^* = \\sigma_w^2\\, E \\phi^2 + \\sigma_b^2`$ hold to the same order."),
    )


def tangent_coefficients(count: int) -> tuple[Rational, ...]:
    """The coefficients of u, u^3, u^5, ... in tanh u, from y' = 1 - y^2.

    >>> tangent_coefficients(4)
    (1, -1/3, 2/15, -17/315)
    """
    found = [Rational(1)]
    for n in range(1, count):
        product = sum((found[i] * found[n - 1 - i] for i in range(n)), Rational(0))
        found.append(-product / (2 * n + 1))
    return tuple(found)


def variances() -> dict[Symbol, Expr]:
    r"""sigma_w^2 = 1 / mu_1, sigma_b^2 = q^* - E phi^2 / mu_1, ||x^0||^2 / N^0 = E phi^2 (B eqs. 4, 5)."""
    return {SIGMA_W**2: 1 / MU_1, SIGMA_B**2: QSTAR - SECOND_MOMENT / MU_1, INPUT_LENGTH: SECOND_MOMENT}


def are_variances(formula: dict[Symbol, Expr]) -> Decision:
    r"""Whether chi = 1 and every layer, the first included, has length q^*; with the sign of sigma_b^2."""
    weight, bias, start = (formula[name] for name in (SIGMA_W**2, SIGMA_B**2, INPUT_LENGTH))
    conditions = (weight * MU_1 - 1, weight * SECOND_MOMENT + bias - QSTAR, weight * start + bias - QSTAR)
    return all_of(*(zero(one) for one in conditions), is_spare_variance(spare_variance())).explain(
        step("With these variances $`\\chi = 1`$ and every layer, the first included, has length", QSTAR)
    )


def critical_table() -> dict[Rational, tuple[Expr, ...]]:
    r"""q^* -> (sigma_w, sigma_b, mu_1, mu_2, mu_3, E phi^2) for tanh at the paper's lengths, 15 certified digits."""
    return {q: tuple(certified(one) for one in _row(q)) for q in LIST}


def _row(q: Rational) -> tuple[arb, ...]:
    found = critical_balls("tanh", q)
    return found.sigma_w, found.sigma_b, *found.mu, found.second_moment


def certified(ball: arb, digits: int = CERTIFIED) -> Float:
    """The number of a ball to so many digits; ValueError where the ball is too wide to certify them."""
    with precision(2 * digits):
        text = ball.str(digits + 2, radius=False)
        if not ball.rel_accuracy_bits() > 3.33 * (digits + 2):
            raise ValueError(f"ball: {ball} given, allowed: enclosures with {digits + 2} digits")
    return Float(text, digits)


def is_critical_table(formula: dict[Rational, tuple[Expr, ...]], digits: int = 45) -> Decision:
    """Whether every entry is its enclosure rounded to 15 digits; the enclosures are made anew, with more digits."""
    for q, row in formula.items():
        found = critical_balls("tanh", q, digits)
        balls = (found.sigma_w, found.sigma_b, *found.mu, found.second_moment)
        with precision(digits):
            for place, (entry, ball) in enumerate(zip(row, balls, strict=True)):
                off = abs(arb(str(entry)) / ball - 1) * 10**CERTIFIED
                if not off < 10:
                    witness = {"q": str(q), "column": str(place + 1), "given": str(entry), "value": ball.str(CERTIFIED)}
                    return Decision("refuted" if off > 10 else "undecided", "ball arithmetic", witness)
    return Decision("proved", "ball arithmetic: each entry is within a unit of its fifteenth digit").explain(
        step("Balls that contain the integrals, by quadrature with proved error bounds, and the two conditions.")
    )


def edge_length_slope() -> Expr:
    r"""mu_1 at which a Bernoulli edge is 1 after L layers: c / (1 + c), c = L^L / (L-1)^{L-1} (B section 3.1, a list).

    The largest squared singular value of L orthogonal layers whose slopes are 1 with probability p and else 0, at
    chi = 1, is (1-p) / p times c.
    """
    constant = DEPTH**DEPTH / (DEPTH - 1) ** (DEPTH - 1)
    return constant / (1 + constant)


def bernoulli_edge(p: Expr) -> Expr:
    r"""(1-p) / p L^L / (L-1)^{L-1}: the edge of the squared singular values with Bernoulli slopes of mean p."""
    return (1 - p) / p * DEPTH**DEPTH / (DEPTH - 1) ** (DEPTH - 1)


def solves_unit_edge(formula: Expr) -> Decision:
    """Whether a slope puts the Bernoulli edge at 1, for every depth."""
    p = Symbol("p", positive=True)
    (solution,) = solve(bernoulli_edge(p) - 1, p)
    return equal(formula, solution).explain(
        step("The edge with slopes that are 1 with probability $`p`$ and 0 otherwise:", bernoulli_edge(p)),
        step("It is 1 at", solution),
    )


def spread_bound() -> Expr:
    r"""(mu_2 / mu_1^2 - 1) / t^2, at least P(|phi'^2 / mu_1 - 1| > t): Chebyshev on the squared slopes (B app. B.3)."""
    return (MU_2 / MU_1**2 - 1) / DEVIATION**2


def is_chebyshev(formula: Expr) -> Decision:
    """Whether a formula is the second moment about 1 of X = phi'^2 / mu_1, E X = 1, over t^2."""
    x, t = Symbol("X", real=True), DEVIATION
    moments = {x**2: MU_2 / MU_1**2, x: Integer(1)}
    square = expand((x - 1) ** 2)
    second = square.coeff(x, 2) * moments[x**2] + square.coeff(x, 1) * moments[x] + square.coeff(x, 0)
    return equal(formula, second / t**2).explain(
        step(
            "Where $`\\lvert X - 1 \\rvert > t`$, $`(X - 1)^2 / t^2`$ exceeds 1; its mean bounds the probability:",
            second / t**2,
        ),
    )


def hidden_parameters() -> dict[Symbol, Expr]:
    """Parameters of the hidden layers and of the network: N (N_0 + 1) + (L - 1) N (N + 1), and N_g (N + 1) more."""
    hidden = WIDTH * (N_0 + 1) + (DEPTH - 1) * WIDTH * (WIDTH + 1)
    return {HIDDEN: hidden, ALL: hidden + N_D * (WIDTH + 1)}
