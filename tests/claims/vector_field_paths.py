"""Paths in the plane of a mode: what they conserve, when they cross contours, and the tangent that costs nothing."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Integer, Rational, log

from derivations.compiled import evaluate
from derivations.deep_linear import vector_field
from derivations.notation import DEPTH, ETA, J_I, NORM_J, SIGMA, SIGMA_0, SIGMA_1, SIGMA_2, SIGMA_DELTA, SIGMA_STAR
from numerics import autograd
from numerics.curvature import forward
from numerics.flows import flow
from numerics.rules import Rule
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, vanishes
from tests.checker.evidence import Bound
from tests.claims.assumptions import ACTIVE, ALIGNED, COUPLED, WHITENED
from tests.claims.modes import mode_values
from tests.claims.plane import FIELDS, field, scattered
from tests.claims.settings import Setting, aligned, array


@lru_cache(maxsize=64)
def history(setting: Setting, rule: Rule, times: tuple[float, ...]) -> tuple[np.ndarray, float]:
    """Mode values along a flow, shape (T, d, r), and the error of its weights."""
    found = flow(setting.net, setting.problem, rule, list(times))
    return array(setting.frame.modes(found.nets())), found.error


def rule_of(name: str) -> Rule:
    """A rule of the five fields; raises ``ValueError`` naming the allowed ones."""
    if name not in FIELDS:
        raise ValueError(f"rule: {name} given, allowed: {', '.join(FIELDS)}")
    return FIELDS[name]


KINDS = {
    "SGD": "full curvature",
    "NGD": "full curvature",
    "square root NGD": "full curvature",
    "NGD-d": "layer by layer",
    "square root NGD-d": "layer by layer, square root",
}

conserved = Claim(
    "vector-field.invariants",
    source="A figure 1",
    says="In the first quadrant paths are hyperbolas with full curvature, rays layer by layer, diagonals for the "
    "layers' square roots.",
    formula=vector_field.invariants,
    lhs="",
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("vector-field.shared-direction", "vector-field.radial", "vector-field.signed"),
    near_misses={
        "hyperbolas for all": lambda: dict.fromkeys(vector_field.invariants(), SIGMA_1**2 - SIGMA_2**2),
        "diagonals for rays": lambda: {**vector_field.invariants(), "layer by layer": SIGMA_1 - SIGMA_2},
    },
    falsifiers={"sum of squares": lambda: {**vector_field.invariants(), "full curvature": SIGMA_1**2 + SIGMA_2**2}},
    equivalent=lambda formula, mutant: vector_field.are_invariant(mutant).proved,
    remark=(
        "Rays lead far out when the layers start at different small values; hyperbolas and diagonals bring the layers "
        "together as they grow. In other quadrants absolute values take the place of the layer values."
    ),
)


@conserved.proof(generic_in="order q, point of the quadrant")
def constant_along_the_field(formula):
    """The derivative of each function along its field vanishes, and the function is not a constant."""
    return vector_field.are_invariant(formula)


@conserved.check(grid(rule=list(FIELDS), seed=[0]))
def drift_along_paths(formula, rule, seed):
    """Change of the function along flows of a network with eight modes in the first quadrant."""
    setting = scattered(seed, quadrants=(0,), count=8)
    values, error = history(setting, rule_of(rule), (0.0, 0.4, 1.2))
    found = evaluate(formula[KINDS[rule]], {SIGMA_1: values[:, 0], SIGMA_2: values[:, 1]})
    size, least = float(values.max()), float(values.min())
    # a quotient of layer values is the most sensitive of the three functions
    amplified = 4 * setting.net.widths[0] * error * max(2 * size, size / least**2, 1.0)
    moved = float(np.ptp(values, axis=0).max())
    return vanishes(found[1:] - found[:1], bound=integration(amplified), scale=moved).on(setting)


crossing = Claim(
    "vector-field.synchronised",
    source="A figure 1 B, D",
    says="Natural gradient descent and its layer-restricted version cross every contour at the same time.",
    formula=vector_field.crossing_time,
    lhs="t",
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("modes.fractional-rate", "vector-field.radial"),
    near_misses={
        "divided by the depth": lambda: vector_field.crossing_time() / DEPTH,
        "as if from the origin": lambda: log(SIGMA_STAR / (SIGMA_STAR - SIGMA)) / ETA,
    },
    falsifiers={"clock of gradient descent": lambda: vector_field.crossing_time() / SIGMA_STAR},
    remark=(
        "The paths are different and the clock is the same, because both rules remove the couplings from the map's "
        "rate altogether. The square root rules do not share a clock off the diagonal."
    ),
)


@crossing.proof(generic_in="depth, widths")
def couplings_drop_out_of_the_map(formula):
    """The rates of the layers, weighted by the couplings and summed, give the same map rate for both rules."""
    return vector_field.is_crossing_time(formula)


@crossing.check(grid(rule=["NGD", "NGD-d"], depth=[2, 3], widths=["square", "waist"], seed=[0]))
def times_along_flows(formula, rule, depth, widths, seed):
    """Times at which flows were read, against the times that the formula gives to the map values found there."""
    setting, times = aligned(depth, widths, seed, signed=False, low=0.4, high=0.9), (0.0, 0.3, 1.0, 2.0)
    values, error = history(setting, rule_of(rule), times)
    product, goals = values.prod(1), array(setting.goals)
    start = np.broadcast_to(product[:1], product.shape)
    found = {SIGMA: product, SIGMA_0: start, SIGMA_STAR: goals, DEPTH: depth, ETA: 1.0}
    predicted = evaluate(formula, found)[1:]
    # a map value is a product of d layer values, and its error counts over the rate, the remaining gap
    amplified = 4 * depth * max(setting.net.widths) * float(values.max()) ** (depth - 1) * error
    gap = float((goals - product).min())
    observed = np.broadcast_to(np.array(times[1:])[:, None], predicted.shape)
    bound = integration(amplified / gap) + rounding(times[-1], 16, max(1 / gap, 1.0))
    return agree(observed, predicted, bound=bound).on(setting)


delayed = Claim(
    "vector-field.square-root-lags",
    source="A figure 1 C, E",
    says="The layer-restricted square root rule moves the map more slowly than the full one, off the diagonal.",
    formula=vector_field.lag,
    lhs=r"\dot\sigma_{\sqrt{\mathrm{NGD}}\mathrm{-d}} / \dot\sigma_{\sqrt{\mathrm{NGD}}}",
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("modes.fractional-rate", "vector-field.signed"),
    near_misses={
        "synchronised like NGD and NGD-d": lambda: Integer(1),
        "depth for its root": lambda: vector_field.ABSOLUTE_SUM / (DEPTH * NORM_J),
    },
    falsifiers={"reciprocal": lambda: 1 / vector_field.lag()},
    remark=(
        "The ratio lies between $`1 / \\sqrt{d}`$ and 1 and equals 1 on the diagonal, where all layers have one "
        "size. So the synchronised timing of the natural rules does not carry over to their square roots."
    ),
)


@delayed.proof(generic_in="depth, widths")
def sums_over_the_layers(formula):
    """The rates of the layers of both rules, weighted by the couplings and summed."""
    return vector_field.is_lag(formula)


@lru_cache(maxsize=64)
def map_rates(setting: Setting, rule: Rule) -> np.ndarray:
    """Rates of the modes of W along a rule, shape (r,), from the derivative of the full product."""
    first, last = setting.frame.bases[0], setting.frame.bases[-1]
    change = forward(setting.net, rule.velocity(setting.net, setting.problem))
    return array((last.mT @ change @ first).diagonal()[: setting.frame.rank])


@delayed.check(grid(depth=[2, 3, 4], widths=["square", "widening", "waist"], seed=range(2)))
def ratio_of_map_rates(formula, depth, widths, seed):
    """Quotient of the rates of the map's modes under both rules, from the full weight matrices."""
    setting = aligned(depth, widths, seed)
    values = mode_values(setting)
    coupling = np.abs(values[J_I])
    rates = [map_rates(setting, FIELDS[name]) for name in ("square root NGD-d", "square root NGD")]
    predicted = evaluate(formula, {vector_field.ABSOLUTE_SUM: coupling.sum(0), NORM_J: values[NORM_J][0], DEPTH: depth})
    # a rate of the map sums the velocities of the layers, each with its error, times the couplings
    errors = [field(setting, FIELDS[name])[1].total for name in ("square root NGD-d", "square root NGD")]
    gaps = float(np.abs(values[SIGMA_DELTA]).max())
    worst = 2 * float(coupling.sum(0).max()) * gaps * sum(errors) / float(np.abs(rates[1]).min())
    return agree(rates[0] / rates[1], predicted, bound=Bound((("rounding", worst),))).on(setting)


tangent = Claim(
    "vector-field.null-tangent",
    source="A figure 1",
    says="In the plane of a mode the tangent of the contour of constant error is the null direction of the curvature.",
    formula=vector_field.null_tangent,
    lhs=r"\dot{w}_{\mathrm{null}}",
    given=(ALIGNED, ACTIVE, WHITENED),
    equivalent=lambda formula, mutant: vector_field.is_null_tangent(mutant).proved,
    near_misses={
        "along the gradient": lambda: (SIGMA_2, SIGMA_1),
        "layers exchanged": lambda: (SIGMA_2, -SIGMA_1),
    },
    falsifiers={
        "radial": lambda: (SIGMA_1, SIGMA_2),
        "one part in a million off": lambda: (SIGMA_1 * (1 + Rational(1, 10**6)), -SIGMA_2),
    },
    remark=(
        "The rules with full curvature never move along this tangent; the layer-restricted ones do, which costs "
        "length and gains nothing. The network has further null directions that leave the plane."
    ),
)


@tangent.proof(generic_in="depth, widths, point of the plane")
def a_symmetry_of_two_layers(formula):
    """What one layer gains in the mode the next one loses, so the map stays and the curvature sees nothing."""
    return vector_field.is_null_tangent(formula)


@lru_cache(maxsize=32)
def curvature_matrix(setting: Setting) -> np.ndarray:
    """H_+ by automatic differentiation, (P, P)."""
    return array(autograd.gauss_newton(setting.net, setting.problem))


def direction_of(setting: Setting, parts: np.ndarray) -> np.ndarray:
    """The direction in weight space, (P,), that moves the mode values of two layers by ``parts``, shape (2, r)."""
    bases = [array(basis) for basis in setting.frame.bases]
    rank = setting.frame.rank
    layers = [(bases[i + 1][:, :rank] * parts[i]) @ bases[i][:, :rank].T for i in range(2)]
    return np.concatenate([layer.T.ravel() for layer in layers])


@tangent.check(grid(wider=[0, 2], seed=range(3)))
def curvature_along_the_tangent(formula, wider, seed):
    """H_+ of a network with four modes, from automatic differentiation, applied to each mode's tangent."""
    setting = scattered(seed, count=4, wider=wider)
    values = dict(zip((SIGMA_1, SIGMA_2), setting.modes(), strict=True))
    hessian, found = curvature_matrix(setting), []
    parts = np.stack([evaluate(part, values) for part in formula])
    for mode in range(setting.frame.rank):
        only = np.zeros_like(parts)
        only[:, mode] = parts[:, mode]
        found.append(hessian @ direction_of(setting, only))
    largest = float(np.linalg.eigvalsh(hessian)[-1])
    bound = rounding(largest * float(np.abs(parts).max()), sum(setting.net.widths))
    return vanishes(found, bound=bound, scale=largest).on(setting)
