r"""Gaussian means of free activations: integrals done term by term, and polynomials by counting pairings.

An activation phi and its derivatives stay free functions in a formula. Polynomials with free coefficients stand for
them in proofs; there the integrals are exact.
"""

from __future__ import annotations

from sympy import (
    Add,
    Expr,
    Function,
    Integer,
    Integral,
    Lambda,
    Poly,
    PolynomialError,
    Rational,
    Symbol,
    diff,
    exp,
    expand,
    factorial2,
    gamma,
    oo,
    pi,
    sqrt,
    symbols,
)

H = Symbol("h", real=True)
U = Symbol("u", real=True)
PHI, SLOPE, BEND = Function("phi"), Function(r"\phi'"), Function(r"\phi''")
COEFFICIENTS = symbols("a_1:4", real=True)
HERMITE = symbols("c_0:6", real=True)


def measure() -> Expr:
    r"""The density of the standard Gaussian measure, exp(-h^2 / 2) / sqrt(2 pi) (B eq. 3)."""
    return exp(-(H**2) / 2) / sqrt(2 * pi)


def mean(integrand: Expr) -> Integral:
    r"""E f(h) = int f(h) dmu(h) for h standard normal, left undone."""
    return Integral(integrand * measure(), (H, -oo, oo))


def with_activation(formula: Expr, phi: Expr) -> Expr:
    r"""A formula in phi, phi', phi'' for the activation phi(u), an expression in u.

    >>> with_activation(PHI(2 * H) + SLOPE(H), U**2)
    4*h**2 + 2*h
    """
    parts = zip((PHI, SLOPE, BEND), (phi, diff(phi, U), diff(phi, U, 2)), strict=True)
    for function, expression in parts:
        formula = formula.replace(function, Lambda(U, expression))
    return formula


def integrated(formula: Expr) -> Expr:
    r"""Every integral over the line of a polynomial times exp(-c h^2) done; ValueError for other integrals.

    >>> integrated(mean(H**4))
    3
    """
    return formula.xreplace({node: _over_line(node) for node in formula.atoms(Integral)})


def _over_line(node: Integral) -> Expr:
    variable, *limits = node.limits[0]
    if limits != [-oo, oo]:
        raise ValueError(f"formula: {node} given, allowed: integrals over the line")
    return Add(*(_term(term, variable) for term in Add.make_args(expand(node.function))))


def _term(term: Expr, variable: Symbol) -> Expr:
    exponent = Add(*(factor.args[0] for factor in term.as_ordered_factors() if factor.func is exp))
    rate = -expand(exponent).coeff(variable, 2)
    try:
        polynomial = Poly(expand(term / exp(exponent)), variable)
    except PolynomialError:
        polynomial = None
    if polynomial is None or expand(exponent + rate * variable**2) != 0 or not rate.is_positive:
        raise ValueError(f"formula: integrand {term} given, allowed: polynomials times exp(-c h^2)")
    powers = ((Rational(k + 1, 2), c) for (k,), c in polynomial.terms() if k % 2 == 0)
    return Add(*(c * gamma(half) / rate**half for half, c in powers))


def moment(k: int, variance: Expr) -> Expr:
    r"""E h^k of a centred normal number by counting pairings: (k-1)!! variance^{k/2}, and 0 for odd k.

    >>> moment(6, U)
    15*u**3
    """
    return Integer(0) if k % 2 else factorial2(k - 1) * variance ** (k // 2)


def polynomial_mean(polynomial: Expr, variance: Expr) -> Expr:
    """E p(u) of a polynomial in u, normal of this variance, moment by moment."""
    return Add(*(c * moment(k, variance) for (k,), c in Poly(expand(polynomial), U).terms()))


def cubic() -> Expr:
    """The representative activation a_1 u + a_2 u^2 + a_3 u^3: a cubic with free coefficients."""
    return Add(*(a * U ** (k + 1) for k, a in enumerate(COEFFICIENTS)))


def hermite_polynomial(k: int) -> Expr:
    """He_k(u), by the three-term recursion of the probabilists' Hermite polynomials.

    >>> hermite_polynomial(3)
    u**3 - 3*u
    """
    below, here = Integer(0), Integer(1)
    for n in range(k):
        below, here = here, expand(U * here - n * below)
    return here


def hermite_activation() -> Expr:
    r"""sum_k c_k He_k(u) up to k = 5: a polynomial activation of a standard normal number."""
    return Add(*(c * hermite_polynomial(k) for k, c in enumerate(HERMITE)))
