r"""Where Hessian-based and curvature-corrected rules end: any critical point, or downhill but not always to a minimum.

A balanced mode has equal mode values a, so sigma = a^d. Time is in units of 1 / eta unless eta is written.
Source: A section 2, on true Hessians and positive semi-definite approximations.
"""

from __future__ import annotations

from functools import cache

from sympy import Expr, Rational, Symbol, diff, exp, powsimp

from derivations import words
from derivations.decide import Decision, all_of, equal, positive, step
from derivations.notation import DEPTH, ETA, TIME
from derivations.word_algebra import Letter, Trace

PARAMETERS = Symbol("P", integer=True, positive=True)
SLOPE = Letter("g", PARAMETERS, 1)
FILTERED = Letter("r", PARAMETERS, 1)
MOVE = Letter("v", PARAMETERS, 1)
SLOPE_0 = Symbol("g_0", real=True)
GOAL = Symbol("sigma^*", positive=True)
START = Symbol("sigma_0", negative=True)


def newton_gradient() -> Expr:
    """g(t) = g(0) exp(-eta t), entry by entry, along Newton's flow dw/dt = -eta H^{-1} g of any loss (A section 2).

    >>> newton_gradient().subs(TIME, 0)
    g_0
    """
    return SLOPE_0 * exp(-ETA * TIME)


def is_newton_gradient(formula: Expr) -> Decision:
    """Whether a time course is that of the gradient along Newton's flow, wherever the Hessian can be inverted."""
    hessian = Letter("H", PARAMETERS, PARAMETERS, symmetric=True)
    inverse = Letter("H^-1", PARAMETERS, PARAMETERS, symmetric=True, latex="H^{-1}")
    inverted = (words.rule(hessian * inverse, 1), words.rule(inverse * hessian, 1))
    moved = hessian * (-ETA * (inverse * SLOPE))
    decays = words.vanishes(moved + ETA * words.expression(SLOPE), inverted)
    return all_of(decays, equal(diff(formula, TIME), -ETA * formula), equal(formula.subs(TIME, 0), SLOPE_0)).explain(
        step("The gradient moves by the Hessian times the velocity:", moved),
        step("which is minus its own multiple, whatever the signs of the curvature:", words.normal(moved, inverted)),
        step("Every entry therefore decays as", formula),
    )


def newton_threshold() -> Expr:
    """The map value, in units of its goal, below which Newton's flow goes to the saddle at zero: (d - 1) / (2 d - 1).

    >>> newton_threshold().subs(DEPTH, 2)
    1/3
    """
    return (DEPTH - 1) / (2 * DEPTH - 1)


def balanced_slope(a: Expr, goal: Expr = GOAL) -> Expr:
    """The derivative of 1/2 (sigma - goal)^2 with respect to one of d equal mode values, a^{d-1} (a^d - goal)."""
    layer, others = Symbol("w", positive=True), a ** (DEPTH - 1)
    return powsimp(diff((layer * others - goal) ** 2 / 2, layer).subs(layer, a))


@cache
def growth_of_slope() -> tuple[Expr, Decision]:
    """The derivative of the balanced slope, a^{d-2} ((2 d - 1) a^d - (d - 1) goal), with the proof of this form.

    >>> growth_of_slope()[1].outcome
    'proved'
    """
    a = Symbol("a", positive=True)
    form = a ** (DEPTH - 2) * ((2 * DEPTH - 1) * a**DEPTH - (DEPTH - 1) * GOAL)
    rises = all_of(positive(a ** (DEPTH - 2)), positive(2 * DEPTH - 1))
    return form, all_of(equal(diff(balanced_slope(a), a), form), rises)


def is_newton_threshold(formula: Expr) -> Decision:
    """Whether the slope of the loss over balanced weights falls before and rises after sigma = formula * goal."""
    growth, linear = growth_of_slope()
    return all_of(linear, equal((2 * DEPTH - 1) * formula, DEPTH - 1)).explain(
        step("With equal mode values a, the gradient of every layer is", balanced_slope(Symbol("a", positive=True))),
        step("Its derivative along equal mode values changes sign once:", growth),
        step("namely where the map value, in units of the goal, is", formula),
        step("Newton's flow lets the slope decay: from below this point to a = 0, from above to the goal."),
    )


def descent() -> Trace:
    r"""dL/dt = -eta |r|^2 with r = (H_+)^{-1/(2q)} g: every curvature-corrected rule goes downhill (A section 2).

    >>> print(descent())
    (-eta)*tr(r*r.T)
    """
    return -ETA * words.trace(FILTERED.T * FILTERED)


def is_descent(formula: Trace) -> Decision:
    """Whether a formula in r is g . dw/dt for dw/dt = -eta F g, with F = R^2 and r = R g, R symmetric."""
    root = Letter("R", PARAMETERS, PARAMETERS, symmetric=True)
    velocity = -ETA * (root * root * SLOPE)
    spelled = words.substitute(formula, {FILTERED: root * SLOPE})
    return words.vanishes(words.trace(SLOPE.T * velocity) - spelled).explain(
        step("A positive semi-definite matrix is the square of a symmetric one; the velocity is then", velocity),
        step("The loss changes by gradient times velocity,", words.trace(SLOPE.T * velocity)),
        step("minus a square. The gradient has no part in the null space: only g = 0 stops it.", formula),
    )


def trapped_mode() -> Expr:
    """sigma(t) of a balanced two-layer mode with sigma_0 < 0 < goal, under gradient descent: it ends at the saddle 0.

    >>> trapped_mode().subs(exp(-2 * ETA * GOAL * TIME), 0)
    0
    """
    decay = exp(-2 * ETA * GOAL * TIME)
    return GOAL * decay / (decay - 1 + GOAL / START)


def is_trapped_mode(formula: Expr) -> Decision:
    """Whether a time course solves sigma_1' = -eta sigma_2 (sigma - goal), sigma_2' alike, from sigma_2 = -sigma_1."""
    first = Symbol("sigma_1", positive=True)
    second = -first
    moves = [-ETA * other * (first * second - GOAL) for other in (second, first)]
    opposite = equal(moves[0] + moves[1], 0)
    speed = moves[0] * second + first * moves[1]
    flow = equal(diff(formula, TIME), speed.subs(first**2, -formula))
    start = equal(formula.subs(TIME, 0), START)
    return all_of(opposite, flow, start).explain(
        step("Two mode values of equal size and opposite sign have opposite velocities, and stay so:", tuple(moves)),
        step("With $`\\sigma = -\\sigma_1^2`$ the map value moves by", speed),
        step("which vanishes at zero, on the way to the goal. The solution is", formula),
    )


def trapped_loss() -> Expr:
    """The loss that is left at the saddle by one trapped mode, goal^2 / 2.

    >>> trapped_loss().subs(GOAL, 3)
    9/2
    """
    return GOAL**2 / 2


def is_limit_of_loss(formula: Expr) -> Decision:
    """Whether a formula is the loss that the trapped mode leaves as t grows; exp(-2 eta goal t) tends to zero."""
    limit = trapped_mode().subs(exp(-2 * ETA * GOAL * TIME), 0)
    left = Rational(1, 2) * (limit - GOAL) ** 2
    return all_of(is_trapped_mode(trapped_mode()), equal(formula, left)).explain(
        step("In the long run its map value is", limit),
        step("and the loss that remains is", left),
    )
