r"""Means over networks of lengths: rows of products of Gaussian matrices, and vectors of activations.

Source: B lemma 3 and appendix A.3, where means of norms, products of means and norms of means are exchanged.
"""

from __future__ import annotations

from functools import lru_cache

from sympy import Expr, Rational, S, Symbol, expand_func, gamma, integrate, oo, powsimp, sqrt, sympify
from sympy import exp as exponential

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step
from derivations.words import Letter

WIDTH = Symbol("N", integer=True, positive=True)
ABOVE = Symbol("k", integer=True, positive=True)  # weight matrices above layer b, the readout included
PHI_SIZE = Symbol("phi_mean", nonnegative=True)  # |E phi(h)|


def jensen_gap() -> Expr:
    r"""E[|J_1| |J_b|] / (E|J_1| E|J_b|) = (N Gamma(N/2)^2 / (2 Gamma((N+1)/2)^2))^k in Gaussian linear networks.

    One output, width N, k weight matrices above layer b, the readout included. It is 1 + k / (2 N) + O(N^{-2}).

    >>> is_jensen_gap(jensen_gap()).outcome
    'proved'
    """
    return (WIDTH * gamma(WIDTH / 2) ** 2 / (2 * gamma((WIDTH + 1) / 2) ** 2)) ** ABOVE


@lru_cache(maxsize=8)
def length_moment(power: int) -> Expr:
    r"""E|w|^p of a row of N independent normal numbers of variance 1/N, from the radial integral.

    >>> length_moment(2)
    1
    """
    order = Symbol("a", positive=True)
    found = _radial(order)
    ratio = found.subs(order, WIDTH + power) / found.subs(order, WIDTH)
    return powsimp(expand_func(ratio / WIDTH ** Rational(power, 2)))


@lru_cache(maxsize=1)
def _radial(order: Symbol) -> Expr:
    """The integral of r^{a-1} exp(-r^2 / 2) over r > 0."""
    r = Symbol("r", positive=True)
    return integrate(r ** (order - 1) * exponential(-(r**2) / 2), (r, 0, oo))


def is_jensen_gap(formula: Expr) -> Decision:
    """Whether a formula is the ratio made of k factors common to both Jacobians; all others cancel."""
    first, second = length_moment(1), length_moment(2)
    return all_of(equal(second, S.One), equal(sympify(formula), first ** (-2 * ABOVE))).explain(
        step("A Gaussian matrix turns a row of any length into one of independent entries: lengths multiply."),
        step("Each factor has the mean", first),
        step("and mean square", second),
        step(
            "The matrices above layer b occur in both Jacobians, so with each of them the ratio grows by", 1 / first**2
        ),
    )


def averaged_activation() -> Expr:
    r"""|E_W x| = sqrt(N) |E phi| for the N units of one layer, averaged over networks.

    >>> is_averaged_activation(averaged_activation()).outcome
    'proved'
    """
    return sqrt(WIDTH) * PHI_SIZE


def is_averaged_activation(formula: Expr) -> Decision:
    """Whether a formula is the length of a vector whose N entries have one common mean."""
    ones = Letter("one", WIDTH, 1, latex=r"\mathbf{1}")
    mean = PHI_SIZE * ones
    rules = (words.rule(ones.T * ones, WIDTH * words.identity(1)),)
    square = words.vanishes(mean.T * mean - WIDTH * PHI_SIZE**2 * words.identity(1), rules)
    return all_of(square, equal(sympify(formula) ** 2, WIDTH * PHI_SIZE**2), nonnegative(sympify(formula))).explain(
        step("Units of one layer are exchangeable: averaged over networks all have one mean.", mean),
        step("Its length is", formula),
    )
