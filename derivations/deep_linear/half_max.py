r"""How long the balanced map takes: the clock F_p of every stiffness, half-maximum times and their scaling.

\tilde\eta sigma^{*p} t = F_p(sigma / sigma^*) - F_p(sigma_0 / sigma^*) with F_p'(x) = 1 / ((1 - x) x^p).
Source: A section 3.2 and figure 2.
"""

from __future__ import annotations

from functools import cache

from sympy import Derivative, Expr, Function, Integer, Max, Rational, Symbol, gamma, hyper

from derivations.decide import Decision, all_of, equal, step, zero
from derivations.deep_linear.map_dynamics import balanced_rate
from derivations.notation import ETA_TILDE, SIGMA, SIGMA_0, SIGMA_STAR, P

X = Symbol("x", positive=True)
BELOW = Symbol("a", positive=True)
TERM = Symbol("n", integer=True, nonnegative=True)


def clock_of(x: Expr = X, p: Expr = P) -> Expr:
    """F_p(x) = x^{1-p} / (1 - p) 2F1(1, 1 - p; 2 - p; x), p not 1 or 2.

    >>> clock_of(p=Integer(0)).simplify()
    -log(1 - x)
    """
    return x ** (1 - p) / (1 - p) * hyper((1, 1 - p), (2 - p,), x)


def is_clock(formula: Expr) -> Decision:
    """Whether F' = 1 / ((1 - x) x^p), for every p but 1 and 2.

    H = 2F1(1, a; a + 1; x) has the coefficients a / (a + n), so that x H' = a (1 / (1 - x) - H).
    """
    derivative = 1 / ((1 - X) * X**P)
    plain = formula.diff(X) - derivative
    unknown = Function("H")(X)
    known = [h for h in formula.atoms(hyper) if _is_quotient(h)]
    residual = plain
    if known and len(set(known)) == 1:
        a = known[0].args[0][1]
        replaced = formula.subs(known[0], unknown).diff(X)
        residual = replaced.subs(Derivative(unknown, X), a * (1 / (1 - X) - unknown) / X) - derivative
    found = zero(residual)
    if not found.proved:
        found = zero(plain)
    return all_of(_series_lemma(), found).explain(
        step("Measured in units of its goal, the balanced map has the clock with derivative", derivative),
        step("The asserted clock is a power times a hypergeometric function, and satisfies", formula.diff(X)),
    )


def _is_quotient(node: Expr) -> bool:
    upper, lower = node.args[0], node.args[1]
    return len(upper) == 2 and len(lower) == 1 and upper[0] == 1 and lower[0] == upper[1] + 1 and node.args[2] == X


@cache
def _series_lemma() -> Decision:
    """(1)_n (a)_n / ((a + 1)_n n!) = a / (a + n), and n c_n = a (1 - c_n) for these coefficients."""
    c = BELOW / (BELOW + TERM)
    symbols = (gamma(BELOW + TERM) / gamma(BELOW)) / (gamma(BELOW + 1 + TERM) / gamma(BELOW + 1))
    return all_of(equal(symbols, c), equal(TERM * c, BELOW * (1 - c))).explain(
        step(
            "The coefficients of the hypergeometric series are quotients of factorials, of which one fraction is left:",
            c,
        ),
        step("Times n they are a (1 - c): the series is a geometric one and itself.", BELOW * (1 - c)),
    )


def half_time(p: Expr = P) -> Expr:
    r"""t_{1/2} = sigma^{*-p} \tilde\eta^{-1} (F_p(1/2) - F_p(sigma_0 / sigma^*)).

    >>> half_time(Integer(0)).subs(SIGMA_0, 0).simplify()
    log(2)/etatilde
    """
    return (clock_of(Rational(1, 2), p) - clock_of(SIGMA_0 / SIGMA_STAR, p)) / (ETA_TILDE * SIGMA_STAR**p)


def is_half_time(formula: Expr) -> Decision:
    """Whether a half-maximum time vanishes for a start at half of the goal and falls with the start like -1 / rate."""
    x = X
    at = {SIGMA_0: x * SIGMA_STAR}
    star = Symbol("s", positive=True)
    value = formula.subs(at).subs(SIGMA_STAR, star)
    rate = balanced_rate().subs({SIGMA: x * star, SIGMA_STAR: star}, simultaneous=True)
    product = _along_clock(value.diff(x), x) * rate + star
    found, start = zero(product), zero(value.subs(x, Rational(1, 2)))
    if not found.proved:
        found = zero(value.diff(x) * rate + star)
    return all_of(_series_lemma(), start, found).explain(
        step(
            "A start at half of the goal needs no time; a later start saves the time that the rate gives:",
            1 / balanced_rate(),
        ),
        step("In units of the goal this is the derivative of the clock", clock_of()),
    )


def _along_clock(expr: Expr, x: Expr) -> Expr:
    """Contiguous functions in a derivative reduced by x H' = a (1 / (1 - x) - H)."""
    shifted = [h for h in expr.atoms(hyper) if _is_shifted(h, x)]
    rules = {}
    for node in shifted:
        a = node.args[0][1] - 1
        own = hyper((1, a), (a + 1,), x)
        rules[node] = (a * (1 / (1 - x) - own) / x) * (a + 1) / a
    return expr.subs(rules)


def _is_shifted(node: Expr, x: Expr) -> bool:
    upper, lower = node.args[0], node.args[1]
    return len(upper) == 2 and len(lower) == 1 and upper[0] == 2 and lower[0] == upper[1] + 1 and node.args[2] == x


def half_time_law() -> Expr:
    r"""t_{1/2} is proportional to sigma^{*-p} (A figure 2), for starts at one fraction of the goal.

    >>> scales(half_time_law()).outcome
    'proved'
    """
    return SIGMA_STAR ** (-P)


def scales(formula: Expr) -> Decision:
    """Whether all modes obey one equation in sigma / sigma^* when time is measured in units of the formula."""
    star = Symbol("s", positive=True)
    rate = balanced_rate().subs({SIGMA: X * star, SIGMA_STAR: star}, simultaneous=True) / star
    unit = balanced_rate().subs({SIGMA: X, SIGMA_STAR: Integer(1)}, simultaneous=True)
    return equal(rate * formula.subs(SIGMA_STAR, star), unit).explain(
        step("The share of the goal that is learned, x, grows at the rate", rate),
        step("In units of time proportional to", half_time_law()),
        step("this is the same equation for all modes:", unit),
        step("Modes that start from the same share reach every share, the half included, at the same rescaled time."),
    )


def common_start_exponent() -> Expr:
    r"""d ln t_{1/2} / d ln sigma^* -> -min(p, 1) for small sigma_0 common to all modes, p not 1.

    >>> common_start_exponent().subs(P, Rational(3, 2))
    -1
    """
    return Max(-P, -1)


def is_common_start_exponent(formula: Expr) -> Decision:
    """Whether the local exponent -p + x^{1-p} / ((1 - x)(F_p(1/2) - F_p(x))) tends to the formula at x -> 0.

    x^{1-p}, or its inverse for p > 1, is a variable of its own that tends to 0; F_p(x) = x^{1-p} H / (1 - p), H -> 1.
    """
    half, small = Symbol("F", positive=True), Symbol("y", positive=True)
    weak = -(1 - BELOW) + small / ((1 - X) * (half - small / BELOW))
    strong = -(1 + BELOW) + 1 / ((1 - X) * (small * half + 1 / BELOW))
    origin = {small: 0, X: 0}
    return all_of(
        equal(formula.subs(P, 1 - BELOW).subs(BELOW, 1 / (1 + BELOW)), weak.subs(origin).subs(BELOW, 1 / (1 + BELOW))),
        equal(formula.subs(P, 1 + BELOW), strong.subs(origin)),
    ).explain(
        step(
            "At a start common to all modes the share of the goal depends on the goal, which adds to -p the term",
            weak + 1 - BELOW,
        ),
        step("With p = 1 - a the power of the start, y, vanishes and leaves", weak.subs(origin)),
        step("With p = 1 + a its inverse vanishes and leaves", strong.subs(origin)),
    )
