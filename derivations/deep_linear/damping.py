r"""Damped natural gradient descent: the rule between natural and plain gradient descent that adds a constant.

The damped update solves (H_+ v + eta g) + epsilon (v + eta g) = 0; with R = (epsilon + H_+)^{-1} it is
v = -eta (1 + epsilon) R g. On an eigenvector of H_+ with eigenvalue lambda every rule of this family is a filter
f(lambda) of the gradient, v = -eta f(lambda) g, so all statements reduce to one variable. Source: A eq. 17, 18, note 6.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from typing import Any

from sympy import Expr, Integer, Limit, Symbol, factor, oo, solve

from derivations import words
from derivations.decide import Decision, all_of, equal, positive, step, zero
from derivations.deep_linear import modes
from derivations.notation import A_RATIO, B_I, EPSILON, ETA, J_MAX, J_MIN, N_0, N_D, NORM_J, W_I, W_NEXT, Q

EIGENVALUE = Symbol("lambda", positive=True)
"""An eigenvalue of H_+, or of J J^T."""

HESSIAN_PLUS = words.Letter("H", "P", "P", symmetric=True, latex="H_+")
RESOLVENT = words.Letter("R", "P", "P", symmetric=True, latex=r"\left(\epsilon + H_+\right)^{-1}")
GRADIENT = words.Letter("g", "P", 1)
NATURAL = words.Letter("v_1", "P", 1, latex=r"\dot{w}_{\mathrm{NGD}}")
STEEPEST = words.Letter("v_oo", "P", 1, latex=r"\dot{w}_{\mathrm{SGD}}")

KERNEL_ROOT = words.Letter("E", "N", "N", symmetric=True, latex="K^{1/2}")
SHIFTED_INVERSE = words.Letter("S", "N", "N", symmetric=True, latex=r"\left(K^{1/2} + K\right)^{-1}")


def update() -> words.Expression:
    """v = -eta (1 + epsilon) (epsilon + H_+)^{-1} g, shape P x 1 (A eq. 17).

    >>> residual(update()).outcome
    'proved'
    """
    return -ETA * (1 + EPSILON) * (RESOLVENT * GRADIENT)


def resolvent_rules() -> tuple[words.Rule, ...]:
    """R (epsilon + H_+) = 1 as a rewriting rule."""
    inverse = words.identity(HESSIAN_PLUS.rows) - EPSILON * RESOLVENT
    return (words.rule(RESOLVENT * HESSIAN_PLUS, inverse), words.rule(HESSIAN_PLUS * RESOLVENT, inverse))


def residual(velocity: words.Expression) -> Decision:
    """Whether a velocity solves (H_+ v + eta g) + epsilon (v + eta g) = 0, for every size (A, before eq. 17)."""
    left = HESSIAN_PLUS * velocity + ETA * GRADIENT + EPSILON * (velocity + ETA * GRADIENT)
    return words.vanishes(left, resolvent_rules(), _resolvent_model)


def _resolvent_model(draw: random.Random) -> Mapping[Any, Any]:
    """H = diag(a, b) with rational resolvent, at epsilon = 2 and eta = 1."""
    first, second = draw.randint(1, 5), draw.randint(6, 9)
    scale = Integer(1)
    return {
        EPSILON: Integer(2),
        ETA: scale,
        HESSIAN_PLUS: [[first, 0], [0, second]],
        RESOLVENT: [[scale / (2 + first), 0], [0, scale / (2 + second)]],
        GRADIENT: [[draw.randint(1, 3)], [draw.randint(1, 3)]],
        NATURAL: [[-1], [2]],
        STEEPEST: [[3], [-1]],
    }


def distances() -> dict[str, words.Expression]:
    r"""How far the damped velocity is from either end: epsilon R (v_SGD - v_NGD) and R H_+ (v_NGD - v_SGD).

    The damped velocity is a weighted mean of the two ends, with the weights lambda : epsilon on each eigenvector.
    """
    gap = STEEPEST - NATURAL
    return {
        "from natural gradient descent": EPSILON * (RESOLVENT * gap),
        "from gradient descent": -(RESOLVENT * HESSIAN_PLUS * gap),
    }


def is_distance(formula: Mapping[str, words.Expression]) -> Decision:
    """Whether both distances follow from (epsilon + H_+) v = H_+ v_NGD + epsilon v_SGD.

    That equation is the damped one with eta g = -v_SGD and H_+ v_NGD = -eta g.
    """
    velocity = RESOLVENT * (HESSIAN_PLUS * NATURAL + EPSILON * STEEPEST)
    ends = {"from natural gradient descent": NATURAL, "from gradient descent": STEEPEST}
    return all_of(
        *(
            words.vanishes(velocity - ends[name] - part, resolvent_rules(), _resolvent_model)
            for name, part in formula.items()
        )
    ).explain(
        step("Both ends solve their half of the damped equation, so the damped velocity is", velocity),
        *(step(f"Subtract the velocity of the end; what is left {name} is", part) for name, part in formula.items()),
    )


def damped_filter(eigenvalue: Expr, epsilon: Expr = EPSILON) -> Expr:
    """The filter f with v = -eta f(lambda) g on an eigenvector: (1 + epsilon) / (epsilon + lambda), solved from eq. 17.

    >>> damped_filter(EIGENVALUE)
    (epsilon + 1)/(epsilon + lambda)
    """
    f = Symbol("f")
    (found,) = solve((eigenvalue * -f + 1) + epsilon * (-f + 1), f)
    return factor(found)


def mode_velocity() -> Expr:
    r"""\dot\sigma_i = -eta sigma_Delta (j_i/||j||) (a ||j|| + 1)/(a + ||j||) with a = epsilon/||j|| (A eq. 18).

    >>> mode_velocity().subs(A_RATIO, 1).simplify()
    -eta*j_i*sigma_Delta/jnorm
    """
    velocity = modes.filtered_velocity(damped_filter)
    return factor(velocity.subs(EPSILON, A_RATIO * NORM_J))


def adaptive_epsilon(q: Expr = Q) -> Expr:
    r"""The damping that reproduces the order q on a mode: (||j||^{2-2/q} - 1)/(1 - ||j||^{-2/q}), for ||j|| != 1.

    Solved from (1 + epsilon)/(epsilon + ||j||^2) = ||j||^{-2/q}.

    >>> from derivations.decide import equal
    >>> equal(adaptive_epsilon(Integer(2)), NORM_J).outcome
    'proved'
    """
    target = NORM_J ** (-2 / q)
    (found,) = solve(1 + EPSILON - target * (EPSILON + NORM_J**2), EPSILON)
    return found


def reproduces_order(formula: Expr) -> Decision:
    """Whether damping by the formula has the filter lambda^{-1/q} at lambda = ||j||^2."""
    numerator = (1 + formula) - NORM_J ** (-2 / Q) * (formula + NORM_J**2)
    return zero(numerator).explain(
        step("On a mode the kernel is the number", NORM_J**2),
        step("Fractional and damped rule agree there when", (1 + EPSILON) / (EPSILON + NORM_J**2) - NORM_J ** (-2 / Q)),
        step("vanishes; solved for the damping this is", formula),
    )


def root_as_damping() -> Decision:
    """K^{-1/2} = (1 + E)(E + K)^{-1} with E = K^{1/2}: the square root rule is damping by an operator, in all sizes.

    >>> root_as_damping().outcome
    'proved'
    """
    one = words.identity(KERNEL_ROOT.rows)
    inverse_root = words.Letter("F", "N", "N", symmetric=True, latex="K^{-1/2}")
    rules = (words.rule(inverse_root * KERNEL_ROOT, one), words.rule(KERNEL_ROOT * inverse_root, one))
    shifted = KERNEL_ROOT + KERNEL_ROOT * KERNEL_ROOT
    return words.vanishes(inverse_root * shifted - (one + KERNEL_ROOT), rules).explain(
        step("Multiplied by the shifted kernel, the inverse root leaves", one + KERNEL_ROOT)
    )


def usual_leading_rate() -> Expr:
    """The rate eta/epsilon to which the usual damped update -eta (epsilon + H_+)^{-1} g falls (A note 6)."""
    return ETA / EPSILON


def is_leading(formula: Expr, spectral_filter: Expr) -> Decision:
    """Whether formula / filter tends to 1 as epsilon grows, on every eigenvalue.

    >>> is_leading(ETA / EPSILON, ETA / (EPSILON + EIGENVALUE)).outcome
    'proved'
    """
    return equal(Limit(formula / spectral_filter, EPSILON, oo).doit(), Integer(1))


def limit_orders() -> tuple[Expr, Expr]:
    """The powers of epsilon with which damping approaches NGD (epsilon -> 0) and SGD (epsilon -> infinity).

    They are limits of the logarithmic slope of the distance between the filters, the same on every eigenvalue.

    >>> limit_orders()
    (1, -1)
    """
    near = damped_filter(EIGENVALUE) - 1 / EIGENVALUE
    far = damped_filter(EIGENVALUE) - 1
    slopes = [factor(EPSILON * distance.diff(EPSILON) / distance) for distance in (near, far)]
    return Limit(slopes[0], EPSILON, 0, "+").doit(), Limit(slopes[1], EPSILON, oo).doit()


def conserved_by_damping(formula: words.Expression) -> Decision:
    """Whether a symmetric function of neighbouring layers w_i, w_{i+1} is constant under the damped update.

    J^T X with (epsilon + J J^T) X = (1 + epsilon) vec Delta solves the damped equation, so the update of every layer
    is A_i^T X B_i^T with one X; A_i = A_{i+1} w_{i+1} and B_{i+1} = w_i B_i link two layers.
    """
    above = words.Letter("A_next", N_D, W_NEXT.rows, latex="A_{i+1}")
    drive = words.Letter("X", N_D, N_0)
    lower = -((above * W_NEXT).T * drive * B_I.T)
    upper = -(above.T * drive * (W_I * B_I).T)
    rate = words.differential(formula, {W_I: lower, W_NEXT: upper})
    return all_of(_solves_through_the_dual(), words.vanishes(rate)).explain(
        step("The damped update of the lower layer is", lower),
        step("and of the upper one", upper),
        step("The rate of change of the asserted quantity has the normal form", rate),
    )


def _solves_through_the_dual() -> Decision:
    jacobian = words.Letter("J", "N", "P")
    dual = words.Letter("T", "N", "N", symmetric=True, latex=r"\left(\epsilon + J J^{\mathsf{T}}\right)^{-1}")
    error = words.Letter("delta", "N", 1, latex=r"\delta")
    rules = (words.rule(jacobian * jacobian.T * dual, words.identity(dual.rows) - EPSILON * dual),)
    velocity = -ETA * (1 + EPSILON) * (jacobian.T * dual * error)
    gradient = jacobian.T * error
    left = jacobian.T * jacobian * velocity + ETA * gradient + EPSILON * (velocity + ETA * gradient)
    return words.vanishes(left, rules).explain(step("Solved in the space of maps, the damped update is", velocity))


def normalised_speed(coupling: Expr, epsilon: Expr = EPSILON) -> Expr:
    """Speed of a mode under damping per unit of eta |sigma_Delta|: ||j|| (1 + epsilon)/(epsilon + ||j||^2)."""
    return coupling * damped_filter(coupling**2, epsilon)


def best_slowest_speed() -> Expr:
    """The speed of the slower of two modes with couplings j_min < 1 < j_max at the best damping, j_min j_max.

    >>> best_slowest_speed()
    (j_max*j_min + 1)/(j_max + j_min)
    """
    (best,) = solve(normalised_speed(J_MIN) - normalised_speed(J_MAX), EPSILON)
    return factor(normalised_speed(J_MIN).subs(EPSILON, best))


def caps_the_slowest(formula: Expr) -> Decision:
    """Whether, for j_min < 1 < j_max, no damping lifts both modes above the formula and one damping reaches it."""
    best = best_slowest_speed()
    low, high = (factor(normalised_speed(coupling) - best) for coupling in (J_MIN, J_MAX))
    return all_of(equal(formula, best), _opposite_signs()).explain(
        step("Both modes move at the same speed when the damping is", J_MIN * J_MAX),
        step("Their distances from that speed at another damping are", (low, high)),
        step("of opposite sign: raising one mode above the mark pushes the other below it."),
    )


@cache
def _opposite_signs() -> Decision:
    """For j_min = 1/(1 + x), j_max = 1 + y: minus the product of both distances is a square times a positive factor."""
    x, y = Symbol("x", positive=True), Symbol("y", positive=True)
    at, best = {J_MIN: 1 / (1 + x), J_MAX: 1 + y}, best_slowest_speed()
    product = (normalised_speed(J_MIN) - best) * (normalised_speed(J_MAX) - best)
    return positive(factor((-product / (EPSILON - J_MIN * J_MAX) ** 2).subs(at)))
