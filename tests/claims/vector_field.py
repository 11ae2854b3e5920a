"""The vector fields of one mode of two layers over the plane of its layer values (figure 1 of the paper)."""

from __future__ import annotations

from math import inf

import numpy as np
from sympy import Abs, Integer, Rational, sqrt

from derivations.compiled import evaluate
from derivations.deep_linear import modes, vector_field
from derivations.notation import (
    DEPTH,
    ETA,
    SIGMA,
    SIGMA_1,
    SIGMA_2,
    SIGMA_DELTA,
    SIGMA_I,
    SIGMA_I_DOT,
    Q,
)
from numerics.rules import Fractional, Rule
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.claims.assumptions import ACTIVE, ALIGNED, COUPLED, WHITENED
from tests.claims.modes import mode_values
from tests.claims.plane import FIELDS, field, scattered
from tests.claims.plane_figure import five_fields
from tests.claims.settings import Setting, aligned


def plane_values(setting: Setting) -> dict[object, np.ndarray]:
    """Both layer values and the gap of every mode, shape (r,)."""
    lower, upper = setting.modes()
    return {SIGMA_1: lower, SIGMA_2: upper, SIGMA_DELTA: mode_values(setting)[SIGMA_DELTA][0], ETA: 1.0}


shared = Claim(
    "vector-field.shared-direction",
    source="A figure 1 A-C",
    says="Over the plane of a mode all rules with full curvature share their direction and differ in speed alone.",
    formula=vector_field.shared_field,
    lhs=r"\frac{(\dot\sigma_1, \dot\sigma_2)}{\lvert\sigma_\Delta\rvert}",
    given=(ALIGNED, ACTIVE, WHITENED),
    uses=("modes.fractional-rate",),
    near_misses={
        "speed without the order": lambda: vector_field.in_plane(modes.fractional_velocity(Integer(2))),
        "radial instead of hyperbolic": lambda: vector_field.shared_field()[::-1],
    },
    falsifiers={
        "twice the exponent": lambda: vector_field.in_plane(modes.fractional_velocity(Q / 2)),
        "always outward": lambda: tuple(
            part.subs(SIGMA_DELTA, -Abs(SIGMA_DELTA)) for part in vector_field.shared_field()
        ),
    },
    remark=(
        "The direction $`(\\sigma_2, \\sigma_1)`$ is the steepest one for the map value, at right angles to its "
        "contours. The speed per gap is $`\\lVert j \\rVert^{1 - 2/q}`$: it vanishes at the origin under SGD, "
        "explodes under NGD, and is 1 under the square root rule."
    ),
)


@shared.proof(generic_in="order q, point of the plane")
def rates_over_the_plane(formula):
    """The rate of a mode, with the value of one layer as the coupling of the other."""
    return vector_field.is_field(formula, modes.fractional_velocity())


shared.figure(five_fields)


@shared.check(grid(q=[1, 1.5, 2, 7, inf], wider=[0, 3], seed=range(2)))
def modes_of_a_wide_network(formula, q, wider, seed):
    """Velocities of twelve modes in four quadrants, from the weight matrices of one network, against the field."""
    setting = scattered(seed, wider=wider)
    observed, bound = field(setting, Fractional(q))
    predicted = np.stack([evaluate(part, {**plane_values(setting), Q: q}) for part in formula])
    return agree(observed, predicted, bound=bound).on(setting)


radial = Claim(
    "vector-field.radial",
    source="A figure 1 D",
    says="Layer-restricted natural gradient descent moves each mode along a ray through the origin.",
    formula=vector_field.radial_velocity,
    lhs=SIGMA_I_DOT,
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("alignment.decoupling",),
    near_misses={
        "not divided by the depth": lambda: DEPTH * vector_field.radial_velocity(),
        "other layer's value": lambda: vector_field.radial_velocity() / SIGMA_I**2,
    },
    falsifiers={"the full rule": lambda: modes.fractional_velocity(Integer(1))},
    remark=(
        "Ratios of layers are conserved, at any depth. The motion is outward while $`\\sigma`$ lies between 0 and "
        "$`\\sigma^*`$; it is inward beyond the optimum, and also where $`\\sigma`$ and $`\\sigma^*`$ have "
        "different signs."
    ),
)


@radial.proof(generic_in="depth, widths")
def curvature_of_a_single_layer(formula):
    """One layer's curvature on the mode is the square of its coupling; the quotient leaves the layer's own value."""
    return vector_field.is_radial(formula)


def _layerwise(formula, rule: Rule, depth: int, widths: str | tuple[int, ...], seed: int):
    setting = aligned(depth, widths, seed)
    observed, bound = field(setting, rule)
    values = mode_values(setting)
    product = np.broadcast_to(setting.modes().prod(0), observed.shape)
    predicted = evaluate(formula, {**values, SIGMA: product, DEPTH: depth, ETA: 1.0}) / np.abs(values[SIGMA_DELTA])
    return agree(observed, predicted, bound=bound).on(setting)


_SHAPES = grid(depth=[2, 3, 4], widths=["square", "widening", "waist"], seed=range(2)) + grid(
    depth=[1], widths=["narrowing"], seed=[0]
)


@radial.check(_SHAPES)
def layer_restricted_network(formula, depth, widths, seed):
    """Velocity of the full weight matrices, projected on the modes, against rays."""
    return _layerwise(formula, FIELDS["NGD-d"], depth, widths, seed)


signed = Claim(
    "vector-field.signed",
    source="A figure 1 E",
    says="The layer-restricted square root rule moves all layers of a mode at one speed, each towards its own side.",
    formula=vector_field.signed_velocity,
    lhs=SIGMA_I_DOT,
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("alignment.decoupling",),
    near_misses={
        "sign of the coupling forgotten": lambda: -ETA * SIGMA_DELTA / sqrt(DEPTH),
        "not divided by the root of the depth": lambda: sqrt(DEPTH) * vector_field.signed_velocity(),
    },
    falsifiers={"the full rule": lambda: modes.fractional_velocity(Integer(2))},
    remark=(
        "The sign is that of the product of all other layers. Leave it out and the rule is wrong wherever a coupling "
        "is negative."
    ),
)


@signed.proof(generic_in="depth, widths")
def sign_is_all_that_is_left(formula):
    """The root of a single layer's curvature is the size of its coupling; the quotient leaves the sign."""
    return vector_field.is_signed(formula)


@signed.check(_SHAPES)
def layer_restricted_square_root(formula, depth, widths, seed):
    """Velocity of the full weight matrices, projected on the modes, against the signs of the couplings."""
    return _layerwise(formula, FIELDS["square root NGD-d"], depth, widths, seed)


def _one_region(setting: Setting) -> bool:
    values, gap = np.sign(setting.modes()), np.sign(mode_values(setting)[SIGMA_DELTA][0])
    return bool(np.all(values == values[:, :1]) and np.all(gap == gap[0]))


ONE_REGION = Assumption(
    "one region", "all points lie in one quadrant and on one side of the optimal curve", _one_region
)

constant = Claim(
    "vector-field.constant",
    source="A figure 1 E",
    says="The field of the layer-restricted square root rule has one direction and one amplitude.",
    formula=lambda: Integer(1),
    lhs=r"v(P) \cdot v(P^\prime)",
    given=(ALIGNED, COUPLED, WHITENED),
    conditions=(ONE_REGION,),
    uses=("vector-field.signed",),
    near_misses={"one part in a million less": lambda: 1 - Rational(1, 10**6)},
    falsifiers={"points at right angles": lambda: Integer(0), "opposite points": lambda: Integer(-1)},
    remark=(
        "The amplitude is the same everywhere; the direction turns by a right angle or more from quadrant to "
        "quadrant and reverses across the optimal curve. The figure of the paper shows one quadrant."
    ),
)


@constant.proof(generic_in="depth, widths, points of one region")
def signs_are_the_same(formula):
    """The product of the fields at two points of one region, summed over the layers."""
    return vector_field.same_everywhere(formula)


def _products(formula, setting: Setting):
    observed, bound = field(setting, FIELDS["square root NGD-d"])
    products = observed.T @ observed
    return agree(products, evaluate(formula, {}), bound=Bound((("rounding", 4 * bound.total),))).on(setting)


@constant.check(grid(quadrant=range(4), seed=range(2)))
def products_within_a_quadrant(formula, quadrant, seed):
    """Products of the fields, per gap, at all pairs of twelve points of one quadrant."""
    return _products(formula, scattered(seed, quadrants=(quadrant,), count=12))


@constant.without(ONE_REGION, grid(seed=range(2)))
def products_across_quadrants(formula, seed):
    """The same for points of all four quadrants."""
    return _products(formula, scattered(seed))
