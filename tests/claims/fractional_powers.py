"""Fractional powers of the curvature on arbitrary weights: dual form, ends of the order, speed of the weights."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import exp, inf

import numpy as np
import torch
from sympy import Expr, log, sqrt

from derivations import words
from derivations.compiled import evaluate
from derivations.decide import all_of, equal, nonnegative, step
from derivations.deep_linear import natural_gradient as natural
from derivations.deep_linear.natural_gradient import (
    DELTA,
    DELTA_K,
    DELTA_L,
    KAPPA,
    KAPPA_K,
    KAPPA_L,
    LOSS,
    SIGMA_X,
)
from derivations.notation import ETA, Q
from derivations.words import Letter
from numerics import autograd, curvature
from numerics.networks import Direction, flatten, norm, scaled, vec
from numerics.rules import Fractional, NaturalGradient
from tests.checker.bounds import remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, vanishes
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import FULL_ROW_RANK
from tests.claims.natural_gradient import SHAPES, chain, entries
from tests.claims.settings import Setting, array, generic, near_solution

RATE = 0.7
ORDERS = [1, 1.5, 2, 7, inf]
POWERS = grid(depth=[2, 3], q=ORDERS, widths=SHAPES, correlated=[False, True], seed=[0]) + grid(
    depth=[1, 4], q=[1, 2.5], widths=["widening"], correlated=[True], seed=[0]
)


@lru_cache(maxsize=512)
def directions(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Non-zero eigenvalues of the weighted kernel and the components of the displacement on its eigenvectors."""
    net, problem = setting.net, setting.problem
    basis = curvature.eigenbasis(net, problem.root, method="svd")
    error = problem.error(net) if problem.root is None else problem.error(net) @ problem.root
    components = basis.vectors.mT @ vec(error)
    return array(basis.values[basis.kept]), array(components[basis.kept])


@lru_cache(maxsize=1024)
def velocity(setting: Setting, q: float) -> Direction:
    """The velocity of the full weight matrices under the fractional rule."""
    return Fractional(q, RATE).velocity(setting.net, setting.problem)


@lru_cache(maxsize=1024)
def primal_velocity(setting: Setting, q: float) -> np.ndarray:
    """The same velocity from the eigenvectors of the whole curvature matrix by automatic differentiation."""
    return entries(scaled(autograd.power(setting.net, setting.problem, -1 / q), -RATE))


def dual_velocity(setting: Setting, spectral_filter: Expr, q: float) -> np.ndarray:
    """-eta M^T f(M M^T) vec(Delta Sigma_x^{1/2}) with the filter f in kappa."""
    net, problem = setting.net, setting.problem
    basis = curvature.eigenbasis(net, problem.root, method="svd")
    error = problem.error(net) if problem.root is None else problem.error(net) @ problem.root

    def filtered(values: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(evaluate(spectral_filter, {KAPPA: array(values), Q: q}))

    found = basis.apply(filtered, error)
    found = found if problem.root is None else found @ problem.root
    return entries(scaled(curvature.back(net, found), -RATE))


def power_rounding(setting: Setting, power: float) -> Bound:
    """Rounding of (H_+)^power g: its condition is the spread of the spectrum, its scale the largest component."""
    kappa, delta = directions(setting)
    scale = RATE * float(np.linalg.norm(delta) * (kappa ** (0.5 + power)).max())
    return rounding(scale, chain(setting), float(kappa.max() / kappa.min()))


dual = Claim(
    "natural-gradient.dual-form",
    source="A section 3.1",
    says="A fractional power of the curvature acts on the gradient as a filter on the eigenvalues of the small kernel.",
    formula=natural.fractional_filter,
    lhs="f(\\kappa)",
    near_misses={"half of the root": lambda: KAPPA ** (-1 / (2 * Q))},
    falsifiers={
        "power instead of inverse": lambda: KAPPA ** (1 / Q),
        "power q instead of root": lambda: KAPPA ** (-Q),
    },
    remark=(
        "The update is $`\\dot w = -\\eta M^{\\mathsf{T}} f(MM^{\\mathsf{T}})\\,\\mathrm{vec}(\\Delta\\Sigma_x^{1/2})`$ "
        "with $`M = (\\Sigma_x^{1/2} \\otimes I) J`$. The kernel has the size of the map, not of the weights, and the update lies "
        "in the range of $`J^{\\mathsf{T}}`$ by construction, so no choice is left on the null space."
    ),
)


@dual.proof(generic_in="order q, depth, widths, input covariance")
def root_equation(formula):
    """Filters pass through the Jacobian, and on each singular direction the root equation holds."""
    return all_of(natural.intertwining(), natural.solves_root_equation(formula))


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
    says="The order one is natural gradient descent, the order infinity gradient descent, approached like one over q.",
    formula=natural.order_ends,
    uses=("natural-gradient.dual-form",),
    near_misses={
        "approached half as fast": lambda: {**natural.order_ends(), "coefficient of 1/q": -log(KAPPA) / 2},
        "square root at one": lambda: {**natural.order_ends(), "at q = 1": 1 / sqrt(KAPPA)},
    },
    falsifiers={
        "infinity is natural": lambda: {**natural.order_ends(), "as q grows": 1 / KAPPA},
        "approached from the other side": lambda: {**natural.order_ends(), "coefficient of 1/q": log(KAPPA)},
    },
    remark=(
        "The zeroth power of the curvature is the projection onto its range, and the gradient lies there: the limit is "
        "gradient descent even where the curvature is singular. What separates a large order from gradient descent is "
        "the logarithm of the curvature."
    ),
)


@ends.proof(generic_in="depth, widths, input covariance")
def ends_of_the_filter(formula):
    """The filter as a function of u = 1/q: its value at u = 1, its value and slope at u = 0."""
    found = natural.ends_of(natural.fractional_filter)
    return all_of(*(equal(found[name], formula[name]) for name in found)).explain(
        *(step(f"The filter {name}:".replace("filter coefficient", "coefficient"), found[name]) for name in found)
    )


@ends.check(grid(depth=[2, 3], widths=SHAPES, correlated=[False, True], seed=[0]))
def both_ends(formula, depth, widths, correlated, seed):
    """Velocities of full networks at q = 1 and extrapolated from three large orders to infinity."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    first = NaturalGradient(RATE, "naive").velocity(setting.net, setting.problem)
    start, value, slope = (dual_velocity(setting, formula[name], inf) for name in natural.order_ends())
    found_value, found_slope, bounds = _extrapolated(setting)
    return both(
        agree(entries(first), start, bound=power_rounding(setting, -1)),
        agree(found_value, value, bound=bounds[0]),
        agree(found_slope, slope, bound=bounds[1]),
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
    amplified = Bound(tuple((name, 16 * order * part) for name, part in noise.parts))
    return limit, slope, (
        remainder(tail * (spread / order) ** 3 / 6) + Bound(tuple((n, 5 * part) for n, part in noise.parts)),
        remainder(tail * spread**4 / order**3 / 24) + amplified,
    )


speed = Claim(
    "natural-gradient.speed",
    source="A eq. 15",
    says="On any weights the squared speed is a sum over the kernel's eigenvectors, each weighted by a power of its eigenvalue.",
    formula=natural.squared_speed,
    lhs=r"\lVert \dot w \rVert^2_{\kappa}",
    uses=("natural-gradient.dual-form",),
    near_misses={"exponent 1 - 1/q": lambda: ETA**2 * KAPPA ** (1 - 1 / Q) * DELTA_K**2},
    falsifiers={
        "exponent 2 - 2/q": lambda: ETA**2 * KAPPA ** (2 - 2 / Q) * DELTA_K**2,
        "no curvature correction": lambda: ETA**2 * KAPPA * DELTA_K**2,
    },
    remark=(
        "No alignment is needed: the eigenvectors of the kernel $`MM^{\\mathsf{T}}`$ do for arbitrary weights what singular modes do for "
        "aligned ones. As a function of $`1/q`$ the squared speed is log-convex, and at $`q = 2`$ the kernel drops out."
    ),
)


@speed.proof(generic_in="order q, depth, widths, input covariance")
def square_of_the_filtered_update(formula):
    """Right singular vectors are orthonormal, so squares of components add up."""
    found = natural.squared_speed_of(natural.fractional_filter())
    return all_of(natural.intertwining(), equal(formula, found)).explain(
        step("The component of the update on one right singular vector squares to", found)
    )


def total(formula: Expr, setting: Setting, q: float) -> float:
    """The sum of a summand over the non-zero eigenvalues of the kernel."""
    kappa, delta = directions(setting)
    return float(evaluate(formula, {KAPPA: kappa, DELTA_K: delta, Q: q, ETA: RATE}).sum())


@speed.check(POWERS)
def velocity_of_all_weights(formula, depth, q, widths, correlated, seed):
    """Squared length of a full network's velocity from the whole curvature matrix."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    kappa, delta = directions(setting)
    observed = float(np.square(primal_velocity(setting, q)).sum())
    scale = RATE**2 * float((delta**2).sum() * (kappa ** (1 - 2 / q)).max())
    bound = rounding(scale, 2 * chain(setting), float(kappa.max() / kappa.min()))
    return agree(observed, total(formula, setting, q), bound=bound).on(setting)


@speed.figure
def crossing(formula):
    """Speed over the order for networks of different weight scale: all curves cross at q = 2."""
    inverse = np.linspace(0, 1, 41)
    series = []
    for scale in (0.4, 0.7, 1.0, 1.5):
        setting = generic(3, (4, 5, 5, 3), 1, scale=scale)
        base = RATE * float(np.sqrt(2 * setting.problem.loss(setting.net)))
        theory = [np.sqrt(total(formula, setting, 1 / u if u else inf)) / base for u in inverse]
        dots = [float(norm(velocity(setting, 1 / u if u else inf))) / base for u in inverse[::4]]
        series.append(Series(f"weights scaled by {scale:g}", inverse, theory))
        series.append(Series("network", inverse[::4], dots, "simulation"))
    series.append(Series("square root", [0.5], [1.0], "marker"))
    panel = Panel(
        "One order does not feel the weights",
        r"$1/q$: 0 gradient descent, 1 natural gradient",
        r"$\Vert\dot w\Vert \,/\, \eta\sqrt{2L}$",
        tuple(series),
        log_y=True,
    )
    return Figure(
        "Speed of unaligned Gaussian networks over the inverse order. Small weights make gradient descent slow and the "
        "natural gradient fast, large weights the other way round; at the square root all curves pass through one point.",
        (panel,),
    )


root = Claim(
    "natural-gradient.sqrt-speed",
    source="A eq. 16",
    says="The square-root rule moves any weights at the speed of the root of twice the loss, whatever the curvature.",
    formula=natural.root_speed,
    lhs=r"\lVert \dot w \rVert",
    given=(FULL_ROW_RANK,),
    uses=("natural-gradient.speed",),
    near_misses={"root of the loss": lambda: ETA * sqrt(LOSS)},
    falsifiers={"proportional to the loss": lambda: 2 * ETA * LOSS},
    remark=(
        "At $`q = 2`$ the update is the polar factor of the weighted Jacobian applied to the displacement: an isometry from "
        "map space into weight space. That is why the speed holds for every weight scale, not for aligned modes alone. A "
        "bottleneck only slows it down, by the part of the displacement that no layer sees."
    ),
)


@root.proof(generic_in="depth, widths, input covariance")
def isometry(formula):
    """At q = 2 the eigenvalues cancel, and squared components of the displacement add up to twice the loss."""
    share = natural.squared_speed_of(natural.fractional_filter(2))
    square_root = Letter("R", SIGMA_X.rows, SIGMA_X.rows, symmetric=True, latex=r"\Sigma_x^{1/2}")
    whole = words.trace(DELTA * square_root * square_root * DELTA.T)
    loss = words.trace(DELTA * SIGMA_X * DELTA.T) / 2
    definition_of_root = (words.rule(square_root * square_root, SIGMA_X),)
    return all_of(
        equal(share, ETA**2 * DELTA_K**2),
        words.vanishes(whole - 2 * loss, definition_of_root),
        equal(formula**2, 2 * ETA**2 * LOSS),
        nonnegative(formula),
    ).explain(
        step("The share of one eigenvector in the squared speed is", share),
        step("All eigenvectors together carry the weighted displacement, which is twice the loss:", loss),
    )


GENERIC = grid(scale=[0.3, 1], depth=[2, 3], widths=["square", "widening", "narrowing", "wide"], correlated=[False, True])


@root.check(GENERIC + grid(scale=[1], depth=[1, 4], widths=["wide"], correlated=[True]))
def gaussian_weights(formula, scale, depth, widths, correlated, seed):
    """Speed of the full weight matrices of Gaussian networks of several scales."""
    setting = generic(depth, widths, seed, scale=scale, correlated=correlated)
    return _root_speed(formula, setting)


@root.without(FULL_ROW_RANK, grid(scale=[1], depth=[2, 3], widths=["waist"], correlated=[False, True]))
def bottleneck(formula, scale, depth, widths, correlated, seed):
    """Behind a bottleneck part of the displacement moves no weight."""
    setting = generic(depth, widths, seed, scale=scale, correlated=correlated)
    return _root_speed(formula, setting)


def _root_speed(formula: Expr, setting: Setting) -> object:
    loss = float(setting.problem.loss(setting.net))
    observed = float(norm(velocity(setting, 2.0)))
    predicted = float(evaluate(formula, {LOSS: loss, ETA: RATE}))
    kappa, _ = directions(setting)
    bound = rounding(RATE * (2 * loss) ** 0.5, chain(setting), float(np.sqrt(kappa.max() / kappa.min())))
    return agree(observed, predicted, bound=bound).on(setting)


surplus = Claim(
    "natural-gradient.conjugate-speeds",
    source="A section 3.1, after eq. 13",
    says="On any weights the speeds of two conjugate orders multiply to at least the squared speed of the square root.",
    formula=natural.speed_surplus,
    lhs=r"\left(\lVert u_q \rVert^2 \lVert u_{q'} \rVert^2 - \lVert u_2 \rVert^4\right)_{k < l}",
    uses=("natural-gradient.speed",),
    near_misses={"half the exponent": lambda: natural.speed_surplus(4 * Q / (2 + Q))},
    falsifiers={
        "exactly reciprocal": lambda: 0 * natural.speed_surplus(),
        "natural gradient and gradient descent only": lambda: natural.speed_surplus(1),
    },
    remark=(
        "With $`1/q + 1/q' = 1`$ every pair of eigenvectors adds a square, zero only where their eigenvalues agree or one of "
        "them carries no displacement. So natural gradient and gradient descent are exactly reciprocal on one mode, and "
        "the natural gradient is faster than the reciprocal on a whole network."
    ),
)


@surplus.proof(generic_in="order q, depth, widths, input covariance")
def lagrange_identity(formula):
    """A product of two sums minus the square of a third, pair by pair; each pair is a square."""
    pair = (KAPPA_K, DELTA_K), (KAPPA_L, DELTA_L)

    def share(q: Expr, kappa: Expr, delta: Expr) -> Expr:
        return natural.squared_speed(q).subs({KAPPA: kappa, DELTA_K: delta, ETA: 1}, simultaneous=True)

    def product(one: tuple[Expr, Expr], two: tuple[Expr, Expr]) -> Expr:
        return share(Q, *one) * share(Q / (Q - 1), *two) - share(2, *one) * share(2, *two)

    mixed = product(*pair) + product(*reversed(pair))
    pairwise = equal(formula, mixed)
    if not pairwise.proved:
        return pairwise
    return all_of(equal(product(pair[0], pair[0]), 0), pairwise, nonnegative(formula)).explain(
        step("Equal indices cancel, since the exponents of conjugate orders add up to zero; unequal ones leave", mixed),
        step("which is a square:", formula),
    )


@surplus.check(grid(depth=[2, 3], q=[1, 1.25, 3, inf], widths=SHAPES, correlated=[True], seed=[0]))
def three_velocities(formula, depth, q, widths, correlated, seed):
    """Velocities of a full network at an order, its conjugate and the square root."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    conjugate = inf if q == 1 else 1.0 if q == inf else q / (q - 1)
    first, second, middle = (
        float(np.square(primal_velocity(setting, order) / RATE).sum()) for order in (q, conjugate, 2.0)
    )
    kappa, delta = directions(setting)
    pairs = np.array(list(combinations(range(len(kappa)), 2))).T
    k, el = pairs if pairs.size else (np.zeros(0, int), np.zeros(0, int))
    values = {KAPPA_K: kappa[k], KAPPA_L: kappa[el], DELTA_K: delta[k], DELTA_L: delta[el], Q: q}
    predicted = float(evaluate(formula, values).sum())
    bound = rounding(first * second, 4 * chain(setting), float(kappa.max() / kappa.min()))
    return agree(first * second - middle**2, predicted, bound=bound, scale=middle**2).on(setting)
