r"""How far apart two inputs stay on their way through a wide critical network (B abstract, section 2).

Two inputs at the fixed length, h and h' normal of variance q^* and correlation c in every layer; delta = 1 - c is
their squared distance over 2 q^*. On the critical line sigma_w^2 mu_1 = 1, so one layer takes delta to
(E phi(h)^2 - E phi(h) phi(h')) / (q^* mu_1), whatever sigma_b.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from sympy import Expr, Poly, Rational, Symbol, asin, binomial, diff, expand, factorial2, pi, series, sqrt

from derivations.decide import Decision, all_of, equal, step
from derivations.notation import QSTAR

DELTA = Symbol("delta", positive=True)
SPREAD = Symbol("v_phi", positive=True)
_CUBIC, _FIFTH = Symbol("a", real=True), Symbol("b", real=True)


def erf_map() -> Expr:
    r"""delta after one layer of erf(sqrt(pi) x / 2) on the critical line, at infinite width (B eqs. 3-5).

    >>> erf_map().subs(DELTA, 0)
    0
    """
    scale = pi * QSTAR / (2 + pi * QSTAR)
    return 2 * sqrt(1 + pi * QSTAR) / (pi * QSTAR) * (asin(scale) - asin(scale * (1 - DELTA)))


def is_erf_map(formula: Expr) -> Decision:
    """Whether a formula vanishes at delta = 0 and grows like the mean product of two slopes (Price's theorem)."""
    steep = pi * QSTAR / 2
    product = 1 / ((1 + steep) ** 2 - (steep * (1 - DELTA)) ** 2)
    rate = (1 + 2 * steep) * product
    grown = diff(formula, DELTA)
    return all_of(
        equal(formula.subs(DELTA, 0), 0), equal(grown**2, rate), equal(grown.subs(DELTA, 1), sqrt(rate.subs(DELTA, 1)))
    ).explain(
        step(
            "The slope is Gaussian, so the mean product of two slopes is a Gaussian integral, with the square", product
        ),
        step("Its value without distance gives the weight variance of the critical line:", sqrt(1 + 2 * steep)),
        step(
            "The mean product of activations grows with the correlation like that of slopes, at the squared rate",
            rate,
        ),
        step("and two equal inputs stay equal:", formula),
    )


def weak_change() -> Expr:
    r"""delta' - delta = -v (delta^2 - delta^3 / 3) / 4, v = mu_2 / mu_1^2 - 1, to the leading order in q^* of odd phi.

    >>> weak_change().subs({DELTA: 1, SPREAD: 6})
    -1
    """
    return -SPREAD * (DELTA**2 - DELTA**3 / 3) / 4


def _mean(polynomial: Callable[[Expr], Expr]) -> Expr:
    """E f(h) for h normal of variance q^* and a polynomial f."""
    h = Symbol("h", real=True)
    terms = Poly(expand(polynomial(h)), h).terms()
    return sum(c * QSTAR ** (k // 2) * factorial2(k - 1) for (k,), c in terms if k % 2 == 0)


def _mean_product(coefficients: dict[int, Expr], c: Expr) -> Expr:
    """E phi(h) phi(h') for an odd polynomial and correlation c, with h' = c h + sqrt(1 - c^2) h''."""
    total = Rational(0)
    for i, a in coefficients.items():
        for j, b in coefficients.items():
            mixed = sum(
                binomial(j, k) * c**k * (1 - c**2) ** ((j - k) // 2) * factorial2(i + k - 1) * factorial2(j - k - 1)
                for k in range(1, j + 1, 2)
            )
            total += a * b * QSTAR ** ((i + j) // 2) * mixed
    return expand(total)


@cache
def expansions() -> tuple[Expr, Expr]:
    r"""delta' - delta and v = mu_2 / mu_1^2 - 1 to order q^{*2} for phi = x + a x^3 + b x^5 + ...

    >>> expansions()[1]
    72*a**2*q^***2
    """
    coefficients = {1: Rational(1), 3: _CUBIC, 5: _FIFTH}
    slope = _mean(lambda h: (1 + 3 * _CUBIC * h**2 + 5 * _FIFTH * h**4) ** 2)
    fourth = _mean(lambda h: (1 + 3 * _CUBIC * h**2 + 5 * _FIFTH * h**4) ** 4)
    apart = _mean_product(coefficients, Rational(1)) - _mean_product(coefficients, 1 - DELTA)
    change = series(apart / (QSTAR * slope), QSTAR, 0, 3).removeO() - DELTA
    spread = series(fourth / slope**2, QSTAR, 0, 3).removeO() - 1
    return expand(change), expand(spread)


def is_weak_change(formula: Expr) -> Decision:
    """Whether a change of delta, with v in place, is the leading order of that of every smooth odd activation."""
    change, spread = expansions()
    return equal(formula.subs(SPREAD, spread), change).explain(
        step("Gaussian moments of an odd activation $`x + a x^3 + \\dots`$ give the change in one layer:", change),
        step("and the relative variance of the squared slopes:", spread),
        step("The coefficient of the activation drops out of their ratio:", formula),
    )
