"""Speeds of the weights of arbitrary networks under fractional powers of the curvature."""

from __future__ import annotations

from itertools import combinations
from math import inf

import numpy as np
from sympy import Expr, sqrt

from derivations import words
from derivations.compiled import evaluate
from derivations.decide import all_of, equal, nonnegative, step
from derivations.deep_linear import fractional_powers as fractional
from derivations.deep_linear.fractional_powers import DELTA_K, DELTA_L, KAPPA, KAPPA_K, KAPPA_L, LOSS
from derivations.deep_linear.natural_gradient import DELTA, SIGMA_X
from derivations.notation import ETA, Q
from derivations.words import Letter
from numerics.networks import norm
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import FULL_ROW_RANK
from tests.claims.settings import Setting, generic, near_solution
from tests.claims.updates import POWERS, RATE, SHAPES, chain, directions, power_rounding, primal_velocity, velocity

speed = Claim(
    "natural-gradient.speed",
    source="A eq. 15",
    says="On any weights the squared speed sums over the kernel's eigenvectors, weighted by powers of its eigenvalues.",
    formula=fractional.squared_speed,
    lhs=r"\lVert \dot w \rVert^2_{\kappa}",
    uses=("natural-gradient.dual-form",),
    near_misses={"exponent 1 - 1/q": lambda: ETA**2 * KAPPA ** (1 - 1 / Q) * DELTA_K**2},
    falsifiers={
        "exponent 2 - 2/q": lambda: ETA**2 * KAPPA ** (2 - 2 / Q) * DELTA_K**2,
        "no curvature correction": lambda: ETA**2 * KAPPA * DELTA_K**2,
    },
    remark=(
        "No alignment is needed: the eigenvectors of the kernel $`MM^{\\mathsf{T}}`$ do for arbitrary weights "
        "what singular modes do for aligned ones. As a function of $`1/q`$ the squared speed is log-convex, "
        "and at $`q = 2`$ the kernel drops out."
    ),
)


@speed.proof(generic_in="order q, depth, widths, input covariance")
def square_of_the_filtered_update(formula):
    """Right singular vectors are orthonormal, so squares of components add up."""
    found = fractional.squared_speed_of(fractional.fractional_filter())
    return all_of(fractional.intertwining(), equal(formula, found)).explain(
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
    inverse, dots = np.linspace(0, 1, 41), np.linspace(0, 1, 11)
    series: list[Series] = []
    places: list[float] = []
    off: list[float] = []
    budget = 0.0
    for scale in (0.4, 0.7, 1.0, 1.5):
        setting = generic(3, (4, 5, 5, 3), 1, scale=scale)
        base = RATE * (2 * float(setting.problem.loss(setting.net))) ** 0.5
        theory = {u: np.sqrt(total(formula, setting, 1 / u if u else inf)) / base for u in (*inverse, *dots)}
        found = [float(norm(velocity(setting, 1 / u if u else inf))) / base for u in dots]
        series.append(Series(f"weights scaled by {scale:g}", inverse, [theory[u] for u in inverse]))
        series.append(Series("network", dots, found, "simulation"))
        places.extend(dots)
        off.extend(value / theory[u] - 1 for u, value in zip(dots, found, strict=True))
        noise = [power_rounding(setting, -u).total / base / value for u, value in zip(dots, found, strict=True)]
        budget = max(budget, *noise)
    series.append(Series("square root", [0.5], [1.0], "marker"))
    panel = Panel(
        "One order does not feel the weights",
        r"$1/q$: 0 gradient descent, 1 natural gradient",
        r"$\Vert\dot w\Vert \,/\, \eta\sqrt{2L}$",
        tuple(series),
        residual=Series("relative difference", places, off, style="simulation"),
        residual_bound=budget,
        log_y=True,
    )
    return Figure(
        "Speed of unaligned Gaussian networks over the inverse order. Small weights make gradient descent "
        "slow and the natural gradient fast, large weights the other way round; at the square root all curves "
        "pass through one point.",
        (panel,),
    )


root = Claim(
    "natural-gradient.sqrt-speed",
    source="A eq. 16",
    says="The square-root rule moves any weights at the speed of the root of twice the loss, whatever the curvature.",
    formula=fractional.root_speed,
    lhs=r"\lVert \dot w \rVert",
    given=(FULL_ROW_RANK,),
    uses=("natural-gradient.speed",),
    near_misses={"root of the loss": lambda: ETA * sqrt(LOSS)},
    falsifiers={"proportional to the loss": lambda: 2 * ETA * LOSS},
    remark=(
        "At $`q = 2`$ the update is the polar factor of the weighted Jacobian applied to the displacement: an "
        "isometry from map space into weight space. That is why the speed holds for every weight scale, not "
        "for aligned modes alone. A bottleneck only slows it down, by the part of the displacement that no "
        "layer sees."
    ),
)


@root.proof(generic_in="depth, widths, input covariance")
def isometry(formula):
    """At q = 2 the eigenvalues cancel, and squared components of the displacement add up to twice the loss."""
    share = fractional.squared_speed_of(fractional.fractional_filter(2))
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


OPEN = ["square", "widening", "narrowing", "wide"]
GENERIC = grid(scale=[0.3, 1], depth=[2, 3], widths=OPEN, correlated=[False, True])


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


def _root_speed(formula: Expr, setting: Setting) -> Evidence:
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
    formula=fractional.speed_surplus,
    lhs=r"\left(\lVert u_q \rVert^2 \lVert u_{q'} \rVert^2 - \lVert u_2 \rVert^4\right)_{k < l}",
    uses=("natural-gradient.speed",),
    near_misses={"half the exponent": lambda: fractional.speed_surplus(4 * Q / (2 + Q))},
    falsifiers={
        "exactly reciprocal": lambda: 0 * fractional.speed_surplus(),
        "natural gradient and gradient descent only": lambda: fractional.speed_surplus(1),
    },
    remark=(
        "With $`1/q + 1/q' = 1`$ every pair of eigenvectors adds a square, zero only where their eigenvalues "
        "agree or one of them carries no displacement. So natural gradient and gradient descent are exactly "
        "reciprocal on one mode, and the natural gradient is faster than the reciprocal on a whole network."
    ),
)


@surplus.proof(generic_in="order q, depth, widths, input covariance")
def lagrange_identity(formula):
    """A product of two sums minus the square of a third, pair by pair; each pair is a square."""
    pair = (KAPPA_K, DELTA_K), (KAPPA_L, DELTA_L)

    def share(q: Expr, kappa: Expr, delta: Expr) -> Expr:
        return fractional.squared_speed(q).subs({KAPPA: kappa, DELTA_K: delta, ETA: 1}, simultaneous=True)

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
