"""Fractional powers of the curvature on arbitrary weights: dual form and the ends of the order."""

from __future__ import annotations

from math import exp, inf

import numpy as np
import torch
from sympy import Expr, log, sqrt

from derivations.decide import all_of, equal, step
from derivations.deep_linear import fractional_powers as fractional
from derivations.deep_linear.fractional_powers import KAPPA
from derivations.notation import Q
from numerics import autograd
from numerics.networks import flatten
from numerics.rules import NaturalGradient
from tests.checker.bounds import remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, vanishes
from tests.checker.evidence import Bound
from tests.claims.settings import Setting, array, near_solution
from tests.claims.updates import (
    POWERS,
    RATE,
    SHAPES,
    chain,
    directions,
    dual_velocity,
    entries,
    power_rounding,
    primal_velocity,
    velocity,
)

dual = Claim(
    "natural-gradient.dual-form",
    source="A section 3.1",
    says="A fractional power of the curvature acts on the gradient as a filter on the eigenvalues of the small kernel.",
    formula=fractional.fractional_filter,
    lhs="f(\\kappa)",
    near_misses={"half of the root": lambda: KAPPA ** (-1 / (2 * Q))},
    falsifiers={
        "power instead of inverse": lambda: KAPPA ** (1 / Q),
        "power q instead of root": lambda: KAPPA ** (-Q),
    },
    remark=(
        "The update is $`\\dot w = -\\eta M^{\\mathsf{T}} "
        "f(MM^{\\mathsf{T}})\\,\\mathrm{vec}(\\Delta\\Sigma_x^{1/2})`$ with $`M = (\\Sigma_x^{1/2} \\otimes "
        "I) J`$. The kernel has the size of the map, not of the weights, and the update lies in the range of "
        "$`J^{\\mathsf{T}}`$ by construction, so no choice is left on the null space."
    ),
)


@dual.proof(generic_in="order q, depth, widths, input covariance")
def root_equation(formula):
    """Filters pass through the Jacobian, and on each singular direction the root equation holds."""
    return all_of(fractional.intertwining(), fractional.solves_root_equation(formula))


@dual.check(POWERS)
def whole_curvature_matrix(formula, depth, q, widths, correlated, seed):
    """The power of the whole curvature matrix of a full network against the filter on the kernel."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    predicted = dual_velocity(setting, formula, q)
    return agree(primal_velocity(setting, q), predicted, bound=power_rounding(setting, -1 / q)).on(setting)


@dual.check(POWERS)
def definition(formula, depth, q, widths, correlated, seed):
    """The root of the whole curvature matrix, applied to the filtered update, cancels the gradient."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    net, problem = setting.net, setting.problem
    values, vectors = np.linalg.eigh(array(autograd.gauss_newton(net, problem)))
    roots = np.where(values > 1e-12 * values[-1], np.abs(values) ** (1 / q), 0.0)
    filtered = [part.reshape(w.shape) for part, w in zip(_split(setting, formula, q), net.weights, strict=True)]
    update = array(flatten(tuple(torch.from_numpy(part) for part in filtered)))
    slope = RATE * array(flatten(autograd.gradient(net, problem)))
    kappa, _ = directions(setting)
    scale = float(np.linalg.norm(slope))
    bound = rounding(scale, chain(setting), float(kappa.max() / kappa.min()))
    return vanishes(vectors @ (roots * (vectors.T @ update)) + slope, bound=bound, scale=scale).on(setting)


def _split(setting: Setting, formula: Expr, q: float) -> list[np.ndarray]:
    sizes = [w.numel() for w in setting.net.weights]
    return np.split(dual_velocity(setting, formula, q), np.cumsum(sizes)[:-1])


ends = Claim(
    "natural-gradient.order-limits",
    source="A section 3.1",
    says="Order one is natural gradient descent, order infinity gradient descent, approached like one over q.",
    formula=fractional.order_ends,
    uses=("natural-gradient.dual-form",),
    near_misses={
        "approached half as fast": lambda: {**fractional.order_ends(), "coefficient of 1/q": -log(KAPPA) / 2},
        "square root at one": lambda: {**fractional.order_ends(), "filter at q = 1": 1 / sqrt(KAPPA)},
    },
    falsifiers={
        "infinity is natural": lambda: {**fractional.order_ends(), "filter as q grows": 1 / KAPPA},
        "approached from the other side": lambda: {**fractional.order_ends(), "coefficient of 1/q": log(KAPPA)},
    },
    remark=(
        "The zeroth power of the curvature is the projection onto its range, and the gradient lies there: the "
        "limit is gradient descent even where the curvature is singular. What separates a large order from "
        "gradient descent is the logarithm of the curvature."
    ),
)


@ends.proof(generic_in="depth, widths, input covariance")
def ends_of_the_filter(formula):
    """The filter as a function of u = 1/q: its value at u = 1, its value and slope at u = 0."""
    found = fractional.ends_of(fractional.fractional_filter)
    return all_of(*(equal(found[name], formula[name]) for name in found)).explain(
        *(step(f"The {name}", found[name]) for name in found)
    )


@ends.check(grid(depth=[2, 3], widths=SHAPES, correlated=[False, True], seed=[0]))
def both_ends(formula, depth, widths, correlated, seed):
    """Velocities of full networks at q = 1 and extrapolated from three large orders to infinity."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    first = NaturalGradient(RATE, "naive").velocity(setting.net, setting.problem)
    start, value, slope = (dual_velocity(setting, formula[name], inf) for name in fractional.order_ends())
    found_value, found_slope, bounds = _extrapolated(setting)
    size = float(np.abs(found_value).max())
    return both(
        agree(entries(first), start, bound=power_rounding(setting, -1)),
        agree(found_value, value, bound=bounds[0]),
        agree(found_slope, slope, bound=bounds[1], scale=size),
    ).on(setting)


def _extrapolated(setting: Setting, order: int = 4096) -> tuple[np.ndarray, np.ndarray, tuple[Bound, Bound]]:
    """Value and slope of the velocity at 1/q = 0, exact to third order in 1/q, with their remainders."""
    samples = [entries(velocity(setting, order * k)) for k in (1, 2, 4)]
    weights = (1 / 3, -2, 8 / 3)
    limit = sum(c * v for c, v in zip(weights, samples, strict=True))
    at_infinity = entries(velocity(setting, inf))
    slopes = [(v - at_infinity) * order * k for v, k in zip(samples, (1, 2, 4), strict=True)]
    slope = sum(c * v for c, v in zip(weights, slopes, strict=True))
    kappa, delta = directions(setting)
    size = RATE * float(np.linalg.norm(delta * np.sqrt(kappa)))
    spread = float(np.abs(np.log(kappa)).max())
    tail = exp(spread / order) * size
    noise = power_rounding(setting, 0)
    amplified = Bound(tuple((name, 32 * order * part) for name, part in noise.parts))
    return (
        limit,
        slope,
        (
            remainder(tail * (spread / order) ** 3 / 6) + Bound(tuple((n, 5 * part) for n, part in noise.parts)),
            remainder(tail * spread**4 / order**3 / 24) + amplified,
        ),
    )
