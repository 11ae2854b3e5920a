r"""Unit columns (the oblique manifold): gradient, great circles, parallel transport, and Adam's directions.

The manifold is a product of spheres, so everything is written for one column w in any dimension n. Tangent vectors at w
are orthogonal to w; r is the length of the velocity of a step. Source: B appendix B.3.1, eqs. 41-43.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sympy import Expr, Symbol, cos, diff, expand_trig, sin

from derivations import words
from derivations.decide import Decision, all_of, step, zero
from derivations.notation import TIME, N
from derivations.word_algebra import collect
from derivations.words import Expression, Letter, Trace, rule

POINT = Letter("w", N, 1)
GRADIENT = Letter("Z", N, 1, latex=r"\nabla f")
VELOCITY = Letter("zeta", N, 1, latex=r"\zeta")
CARRIED = Letter("xi", N, 1, latex=r"\xi")
DIRECTION = Letter("u", N, 1)
LENGTH = Symbol("r", positive=True)
COSINE = Symbol("c", real=True)

UNIT = rule(POINT.T * POINT, 1)
STEP = (UNIT, rule(POINT.T * VELOCITY, 0), rule(VELOCITY.T * VELOCITY, LENGTH**2))
TRANSPORT = (*STEP, rule(POINT.T * CARRIED, 0))


def gradient() -> Expression:
    r"""grad f = Z - w (w^T Z): the part of the Euclidean gradient Z that is tangent (B eq. 41).

    >>> words.normal(POINT.T * gradient(), [UNIT]).terms
    ()
    """
    return GRADIENT - POINT * (POINT.T * GRADIENT)


def exponential() -> Expression:
    r"""Exp_w(zeta) = w cos r + zeta sin(r) / r with r = |zeta|: the end of a great circle (B eq. 42, corrected).

    >>> great_circle(exponential()).outcome
    'proved'
    """
    return POINT * cos(LENGTH) + VELOCITY * (sin(LENGTH) / LENGTH)


def exponential_as_printed() -> Expression:
    r"""zeta cos|w| + w sin|w| / |w| at |w| = 1: the roles of point and velocity exchanged (B eq. 42 as printed).

    >>> great_circle(exponential_as_printed()).outcome
    'refuted'
    """
    return VELOCITY * cos(1) + POINT * sin(1)


def transport() -> Expression:
    r"""T(xi) = xi - [zeta (1 - cos r) / r + w sin r] zeta^T xi / r: parallel along the great circle (B eq. 43).

    >>> parallel(transport()).outcome
    'proved'
    """
    along = VELOCITY.T * CARRIED / LENGTH
    return CARRIED - (VELOCITY * ((1 - cos(LENGTH)) / LENGTH) + POINT * sin(LENGTH)) * along


def in_time(end: Expression) -> Expression:
    """The curve whose value at time 1 is ``end``: the velocity times t, its length times t."""
    scaled = words.substitute(end, {VELOCITY: VELOCITY * TIME})
    return _each(scaled, lambda c: c.subs(LENGTH, TIME * LENGTH) if c.has(LENGTH) else c)


def rate(curve: Expression) -> Expression:
    """The time derivative of a curve, coefficient by coefficient."""
    return _each(curve, lambda c: diff(c, TIME))


def start(curve: Expression) -> Expression:
    """The value of a curve at time 0."""
    return _each(curve, lambda c: c.subs(TIME, 0))


def great_circle(end: Expression) -> Decision:
    r"""Whether t -> end is the geodesic from w with velocity zeta: starts, \gamma'' = -r^2 \gamma, unit length."""
    curve = in_time(end)
    second, square = rate(rate(curve)), words.normal(curve.T * curve, STEP)
    return all_of(
        words.vanishes(start(curve) - POINT, STEP, model),
        words.vanishes(start(rate(curve)) - VELOCITY, STEP, model),
        words.vanishes(second + LENGTH**2 * curve, STEP, model),
        words.vanishes(curve.T * curve - words.identity(1), STEP, model),
    ).explain(
        step(r"The curve of the step $`t \zeta`$ is", curve),
        step(r"No tangent part is left if its acceleration is $`-r^2`$ times that:", second),
        step(r"With $`w^T \zeta = 0`$ and $`\zeta^T \zeta = r^2`$ its squared length, which must be 1, is", square),
    )


@lru_cache(maxsize=32)
def parallel(end: Expression) -> Decision:
    r"""Whether t -> T is parallel along the great circle: T(0) = xi and dT/dt = -\gamma (\gamma'^T T)."""
    curve, carried = in_time(exponential()), in_time(end)
    normal = -(curve * (rate(curve).T * carried))
    return all_of(
        words.vanishes(start(carried) - CARRIED, TRANSPORT, model),
        words.vanishes(rate(carried) - normal, TRANSPORT, model),
        words.vanishes(curve.T * carried, TRANSPORT, model),
        words.vanishes(carried.T * carried - CARRIED.T * CARRIED, TRANSPORT, model),
    ).explain(
        step("Along the great circle of the step the carried vector is", words.normal(carried, TRANSPORT)),
        step("It is parallel if its change,", words.normal(rate(carried), TRANSPORT)),
        step("is normal to the sphere, which is", words.normal(normal, TRANSPORT)),
    )


def is_tangent_part(formula: Expression) -> Decision:
    """Whether the formula is tangent at w and differs from the gradient by a multiple of w alone."""
    rest = GRADIENT - formula
    return all_of(
        words.vanishes(POINT.T * formula, [UNIT], model),
        words.vanishes(rest - POINT * (POINT.T * rest), [UNIT], model),
    ).explain(
        step("What is taken away is normal to the sphere:", rest),
        step(r"and what remains is tangent, since $`w^T w = 1`$:", formula),
    )


def descent() -> Trace:
    """-<grad f, grad f>, the rate of f along any curve with velocity -grad f (B eq. 40).

    >>> is_descent(descent()).outcome
    'proved'
    """
    return -words.trace(gradient().T * gradient())


def is_descent(formula: Trace) -> Decision:
    """Whether the formula is -tr(Z^T grad f), the chain rule in the direction -grad f."""
    rate = -words.trace(GRADIENT.T * gradient())
    return words.vanishes(rate - formula, [UNIT], model).explain(
        step("The chain rule in the direction $`-\\mathrm{grad} f`$:", rate),
    )


def length_after_step() -> Expr:
    r"""|y|^2 = 1 + c sin 2r for y = w cos r + u sin(r) / r with |u| = r and w^T u = c r: not 1 unless c = 0.

    >>> length_after_step().subs(COSINE, 0)
    1
    """
    return 1 + COSINE * sin(2 * LENGTH)


def is_length_after_step(formula: Expr, cosine: Expr = COSINE) -> Decision:
    """Whether the formula is the squared length of the exponential of a direction with that cosine to the point."""
    rules = (UNIT, rule(POINT.T * DIRECTION, cosine * LENGTH), rule(DIRECTION.T * DIRECTION, LENGTH**2))
    end = words.substitute(exponential(), {VELOCITY: words.expression(DIRECTION)})
    square = words.normal(end.T * end, rules)
    found = square.terms[0][0]
    return zero(expand_trig(found - formula)).explain(
        step("The point that the step reaches is", end),
        step("and its squared length is", found),
    )


def model(_: Any) -> Mapping[Any, Any]:
    """Exact unit point, step of length 5 and vectors in four dimensions that satisfy all rules."""
    entries = {
        POINT: (1, 0, 0, 0),
        VELOCITY: (0, 3, 4, 0),
        CARRIED: (0, 2, -1, 1),
        GRADIENT: (2, -1, 1, 3),
    }
    return {**{letter: [[x] for x in column] for letter, column in entries.items()}, LENGTH: 5}


def _each(formula: Expression, change: Any) -> Expression:
    return collect([(change(c), word) for c, word in formula.terms], formula.rows, formula.cols)
