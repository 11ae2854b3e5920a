r"""Closed forms of the map dynamics of two unbalanced layers: gradient descent, natural gradient and the square root.

Two layers keep c = \sigma_1^2 - \sigma_2^2, so that ||j||^2 = \sigma_1^2 + \sigma_2^2 = \sqrt{c^2 + 4 \sigma^2} and one
equation for the map is left at every order: \dot\sigma = -eta (sigma - sigma^*)(c^2 + 4 sigma^2)^{(1 - 1/q)/2}.
R = \sqrt{c^2 + 4 \sigma^{*2}} is the squared norm of the couplings at the goal. c > 0 here, or exchange the layers.
Source: A section 3.2, beyond eq. 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import sympy
from sympy import Expr, FiniteSet, Integer, Rational, Symbol, acos, atan, atanh, elliptic_pi, exp, sqrt

from derivations.decide import Decision, all_of, equal, step, zero
from derivations.deep_linear import map_dynamics
from derivations.deep_linear.closed_forms import counterexample, linear
from derivations.notation import ETA, ETA_TILDE, NORM_J, SIGMA, SIGMA_0, SIGMA_1, SIGMA_2, SIGMA_STAR, TIME, Q

IMBALANCE = Symbol("c", positive=True)
GOAL_NORM = Symbol("R", positive=True)
NORM = Symbol("V", positive=True)
U = Symbol("u", positive=True)
SHARE_0, SHARE_STAR = Symbol("v", positive=True), Symbol("w", positive=True)


def squared_norm(value: Expr = SIGMA) -> Expr:
    r"""||j||^2 = \sqrt{c^2 + 4 \sigma^2} of two layers with \sigma_1^2 - \sigma_2^2 = c.

    >>> is_squared_norm(squared_norm()).outcome
    'proved'
    """
    return sqrt(IMBALANCE**2 + 4 * value**2)


def is_squared_norm(formula: Expr) -> Decision:
    r"""Whether the formula is \sigma_1^2 + \sigma_2^2, for c = \sigma_1^2 - \sigma_2^2, sigma = \sigma_1 \sigma_2."""
    at = {IMBALANCE: SIGMA_1**2 - SIGMA_2**2, SIGMA: SIGMA_1 * SIGMA_2}
    norm = SIGMA_1**2 + SIGMA_2**2
    return zero(formula.subs(at, simultaneous=True) ** 2 - norm**2).explain(
        step("The couplings of two layers are each other:", norm),
        step("Difference and product of the layers give their sum of squares:", squared_norm()),
    )


def rate() -> Expr:
    r"""\dot\sigma = -eta (sigma - sigma^*)(c^2 + 4 sigma^2)^{(1 - 1/q)/2}: two unbalanced layers, any q.

    >>> rate().subs(Q, 1)
    -eta*(sigma - sigma^*)
    """
    return map_dynamics.rate().subs(NORM_J, sqrt(squared_norm()))


def gradient() -> dict[str, Expr]:
    r"""sigma(t) under gradient descent in three pieces: the share u of a map value, its course in time, and back.

    u runs from v, the share of sigma_0, to w, the share of sigma^*, by a logistic law of rate eta R.

    >>> gradient()["map"]
    c*u/(1 - u**2)
    """
    v, w, decay = SHARE_0, SHARE_STAR, exp(-ETA * GOAL_NORM * TIME)
    course = (w * (1 + v * w) - (w - v) * decay) / (1 + v * w + w * (w - v) * decay)
    return {"share": 2 * SIGMA / (IMBALANCE + squared_norm()), "course": course, "map": _of_share(U)}


def solves_gradient(formula: Mapping[str, Expr]) -> Decision:
    """Whether the pieces solve the equation at q -> oo, in a field of rational functions of v, w and E = exp(-eta R t).

    sigma_0 = c v / (1 - v^2) and sigma^* = c w / (1 - w^2) with 0 < v, w < 1 cover all positive starts and goals.
    """
    u = 1 / (1 + U)
    norm = {squared_norm(): _norm_of_share(u), SIGMA: _of_share(u)}
    is_share = zero(formula["share"].subs(norm) - u)
    start, goal = _of_share(SHARE_0), _of_share(SHARE_STAR)
    value = formula["map"].subs(U, formula["course"]).subs(GOAL_NORM, _norm_of_share(SHARE_STAR))
    change = value.diff(TIME)
    slope = -ETA * (start - goal) * _norm_of_share(SHARE_0)
    square = ETA**2 * (value - goal) ** 2 * (IMBALANCE**2 + 4 * value**2)
    residuals = value.subs(TIME, 0) - start, change.subs(TIME, 0) - slope, change**2 - square
    found = counterexample(*residuals) or all_of(*map(_vanishes_rationally, residuals))
    return all_of(is_squared_norm(squared_norm()), _are_shares(), is_share, found).explain(
        step("For gradient descent the equation is", -ETA * (SIGMA - SIGMA_STAR) * squared_norm()),
        step(
            "Written with a share u of the imbalance, map value and norm are rational:",
            (_of_share(U), _norm_of_share(U)),
        ),
        step("The share runs to its goal by a logistic law with the rate", ETA * GOAL_NORM),
        step("Put in, the squares of both sides agree, and so do value and slope at time 0."),
    )


def _vanishes_rationally(residual: Expr) -> Decision:
    """Whether a residual is zero as a rational function of v, w, c, eta and the decay exp(-eta R t)."""
    decay, pace = Symbol("E", positive=True), ETA * _norm_of_share(SHARE_STAR)
    decays = {node: decay for node in residual.atoms(exp) if equal(node.args[0], -pace * TIME).proved}
    rational = sympy.field((decay, SHARE_0, SHARE_STAR, IMBALANCE, ETA), sympy.QQ)[0]
    try:
        vanishes = rational.from_expr(residual.xreplace(decays)) == 0
    except ValueError:
        return Decision("undecided", "not a rational function of the decay")
    return Decision("proved", "identity of rational functions") if vanishes else Decision("undecided", "no identity")


@cache
def _are_shares() -> Decision:
    """The norm of c u / (1 - u^2), and the share of that value: 0 < u < 1."""
    u = 1 / (1 + U)
    return all_of(
        zero((squared_norm() ** 2).subs(SIGMA, _of_share(u)) - _norm_of_share(u) ** 2),
        equal(2 * _of_share(u) / (IMBALANCE + _norm_of_share(u)), u),
    )


def _of_share(u: Expr) -> Expr:
    return IMBALANCE * u / (1 - u**2)


def _norm_of_share(u: Expr) -> Expr:
    return IMBALANCE * (1 + u**2) / (1 - u**2)


def natural() -> dict[str, Expr]:
    r"""The map and the square of the first layer under NGD: the map is linear, the layer follows its hyperbola.

    >>> natural()["first layer squared"]
    c/2 + sqrt(c**2 + 4*sigma**2)/2
    """
    return {"map": linear(SIGMA_0).subs(ETA_TILDE, ETA), "first layer squared": (IMBALANCE + squared_norm()) / 2}


def solves_natural(formula: Mapping[str, Expr]) -> Decision:
    """Whether the map solves the equation at q = 1, and the layers have that product and the conserved difference."""
    value, first = formula["map"], formula["first layer squared"]
    equation = rate().subs(Q, 1)
    return all_of(
        zero(value.diff(TIME) - equation.subs(SIGMA, value)),
        zero(value.subs(TIME, 0) - SIGMA_0),
        zero(first * (first - IMBALANCE) - SIGMA**2),
    ).explain(
        step("At q = 1 the norm cancels:", equation),
        step("The first layer squared, x, and the second, x - c, multiply to the square of the map:", SIGMA**2),
        step("The positive solution is", natural()["first layer squared"]),
    )


def square_root() -> Expr:
    r"""eta t + const under the square root rule, in the norm of the couplings V = ||j|| = (c^2 + 4 sigma^2)^{1/4}.

    Incomplete elliptic integrals of the third kind of modulus m = 1/2, with cos(phi) = \sqrt{c} / V; sigma >= 0, c > 0.
    """
    phi, r, c = acos(sqrt(IMBALANCE) / NORM), GOAL_NORM, IMBALANCE
    lower = elliptic_pi(r / (r - c), phi, Rational(1, 2)) / (r - c)
    upper = elliptic_pi(r / (r + c), phi, Rational(1, 2)) / (r + c)
    return (atanh(NORM / sqrt(r)) - atan(NORM / sqrt(r))) / sqrt(r) + SIGMA_STAR * sqrt(2 * c) / r * (lower + upper)


def solves_square_root(formula: Expr) -> Decision:
    r"""Whether d(eta t)/dV is (d sigma/dV) / (\dot\sigma / eta) at q = 2, with sigma = \sqrt{V^4 - c^2} / 2.

    1 / (sigma^* - sigma) = 4 (sigma^* + sigma) / (R^2 - V^4) splits the integral: one part elementary, one elliptic.
    """
    sigma = sqrt(NORM**4 - IMBALANCE**2) / 2
    split = 4 * (SIGMA_STAR + sigma) / (GOAL_NORM**2 - NORM**4)
    goal = sqrt(GOAL_NORM**2 - IMBALANCE**2) / 2
    at_goal = all_of(zero((split * (SIGMA_STAR - sigma) - 1).subs(SIGMA_STAR, goal)), zero(_at_norm() - NORM))
    # V = k x and c = k^2 with x > 1 make the amplitude a function of x alone
    k, x = Symbol("k", positive=True), Symbol("x", positive=True)
    inside = {NORM: k * (1 + x), IMBALANCE: k**2}
    residual = formula.diff(NORM) - sigma.diff(NORM) * split / NORM
    rescaled = residual.subs(inside, simultaneous=True)
    return all_of(at_goal, counterexample(rescaled) or zero(rescaled)).explain(
        step("At q = 2 the equation is", rate().subs(Q, 2)),
        step("In the norm V of the couplings the map value is", sigma),
        step("The inverse gap splits, because R belongs to the goal as V to the map:", split),
        step("which leaves a rational and an elliptic integrand:", (sigma.diff(NORM) * split / NORM).expand()),
    )


@cache
def _at_norm() -> Expr:
    return sqrt(squared_norm(sqrt(NORM**4 - IMBALANCE**2) / 2))


def solved_orders() -> FiniteSet:
    """Values of 1/q at which the map of two unbalanced layers has a closed form here: gradient, square root, natural.

    >>> solved_orders()
    {0, 1/2, 1}
    """
    return FiniteSet(0, Rational(1, 2), 1)


@cache
def _solutions() -> Mapping[Rational, Decision]:
    """What was decided about the closed form at each inverse order."""
    return {
        Integer(0): solves_gradient(gradient()),
        Rational(1, 2): solves_square_root(square_root()),
        Integer(1): solves_natural(natural()),
    }


def admits_solved(formula: FiniteSet) -> Decision:
    """Whether a set of values of 1/q contains every order whose closed form is proved here; an omission is a witness.

    That a set contains more than these is left undecided: no order is proved to have no closed form.
    """
    solutions = _solutions()
    for order, found in solutions.items():
        if found.proved and order not in formula:
            witness = {"1/q": str(order), "d": "2", "solution": "proved by substitution"}
            return Decision("refuted", "a closed form that was proved", witness)
    only = set(formula) == set(solutions) and all(found.proved for found in solutions.values())
    outcome = (
        Decision("proved", "every listed order is solved") if only else Decision("undecided", "orders without solution")
    )
    return outcome.explain(
        step("Gradient descent, 1/q = 0, is solved by elementary functions:", gradient()["map"]),
        step("The square root, 1/q = 1/2, is solved by elliptic integrals:", square_root()),
        step("The natural gradient, 1/q = 1, is linear:", natural()["map"]),
    )
