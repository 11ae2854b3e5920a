r"""The vector fields of one singular mode of two layers, over the plane of its layer values (A figure 1).

In the plane sigma = \sigma_1 \sigma_2, so the couplings are j_1 = \sigma_2 and j_2 = \sigma_1. Fields are per unit
of the gap |\sigma_\Delta|; its sign stays. Layer-restricted rules read the filter at each layer's own j_i^2.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Abs, Expr, Integer, Rational, Symbol, diff, log, sign, sqrt

from derivations import words
from derivations.decide import Decision, all_of, equal, nonnegative, step, zero
from derivations.deep_linear import modes
from derivations.notation import (
    B_I,
    DEPTH,
    ETA,
    J_I,
    N_D,
    NORM_J,
    SIGMA,
    SIGMA_0,
    SIGMA_1,
    SIGMA_2,
    SIGMA_DELTA,
    SIGMA_I,
    SIGMA_STAR,
    W_I,
    W_NEXT,
    Q,
)

Plane = tuple[Expr, Expr]
ABSOLUTE_SUM = Symbol("jnorm_1", positive=True)
"""The sum of |j_i| over the layers of a mode."""


def layerwise_velocity(q: Expr = Q) -> Expr:
    r"""\dot\sigma_i = -(eta/d^{1/q}) (j_i^2)^{-1/q} j_i sigma_Delta: layer-restricted qNGD (A eq. 25).

    >>> layerwise_velocity(Integer(1))
    -eta*sigma_Delta/(d*j_i)
    """
    return -ETA / DEPTH ** (1 / q) * (J_I**2) ** (-1 / q) * J_I * SIGMA_DELTA


def in_plane(velocity: Expr) -> Plane:
    """A mode velocity as a field over the plane of two layers, per unit of |sigma_Delta|."""
    per_gap = velocity.subs(SIGMA_DELTA, sign(SIGMA_DELTA)).subs(DEPTH, 2)
    norm = sqrt(SIGMA_1**2 + SIGMA_2**2)
    lower, upper = (per_gap.subs(J_I, other).subs(NORM_J, norm) for other in (SIGMA_2, SIGMA_1))
    return lower, upper


def shared_field() -> Plane:
    r"""-sign(\sigma_\Delta) eta ||\sigma||^{-2/q} (\sigma_2, \sigma_1): qNGD over the plane, SGD for q -> oo.

    >>> across, along = shared_field()
    >>> zero(across * SIGMA_1 - along * SIGMA_2).outcome
    'proved'
    """
    return in_plane(modes.fractional_velocity())


def _both_signs(formula: Expr, velocity: Expr) -> Decision:
    """Whether |sigma_Delta| times the formula is the velocity, above and below the optimum."""
    s = Symbol("s", positive=True)
    return all_of(
        *(zero(s * formula.subs(SIGMA_DELTA, side * s) - velocity.subs(SIGMA_DELTA, side * s)) for side in (1, -1))
    )


def is_field(formula: Plane, velocity: Expr) -> Decision:
    """Whether the formula, times |sigma_Delta|, is the velocity of both layers in the plane."""
    norm = sqrt(SIGMA_1**2 + SIGMA_2**2)
    pairs = zip(formula, (SIGMA_2, SIGMA_1), strict=True)
    found = [_both_signs(f, velocity.subs({J_I: other, NORM_J: norm, DEPTH: 2})) for f, other in pairs]
    return all_of(modes.kernel_acts_on_modes(), *found).explain(
        step("In the plane each layer is coupled by the value of the other, so with", velocity),
        step("the two layers move per unit of the gap by", formula),
    )


def radial_velocity() -> Expr:
    r"""\dot\sigma_i = -(eta/d) (\sigma_\Delta / \sigma) \sigma_i: layer-restricted NGD moves along rays, at any depth.

    >>> is_radial(radial_velocity()).outcome
    'proved'
    """
    return -ETA * SIGMA_DELTA * SIGMA_I / (DEPTH * SIGMA)


def is_radial(formula: Expr) -> Decision:
    """Whether the formula is the layer-restricted natural velocity, with j_i = sigma / sigma_i."""
    derived = layerwise_velocity(Integer(1)).subs(J_I, SIGMA / SIGMA_I)
    return all_of(modes.kernel_acts_on_modes(), equal(formula, derived)).explain(
        step("A single layer's curvature on the mode is the square of its coupling, so the layer moves at", derived)
    )


def signed_velocity() -> Expr:
    r"""\dot\sigma_i = -(eta/\sqrt d) \sigma_\Delta sign(j_i): layer-restricted square root rule (A eq. 26).

    >>> signed_velocity()
    -eta*sigma_Delta*sign(j_i)/sqrt(d)
    """
    return -ETA * SIGMA_DELTA * sign(J_I) / sqrt(DEPTH)


def is_signed(formula: Expr) -> Decision:
    """Whether the formula is the layer-restricted square root velocity, for couplings of either sign."""
    c = Symbol("c", positive=True)
    derived = layerwise_velocity(Integer(2))
    sides = [equal(formula.subs(J_I, side * c), derived.subs(J_I, side * c)) for side in (1, -1)]
    return all_of(modes.kernel_acts_on_modes(), *sides).explain(
        step("A single layer's curvature on the mode is the square of its coupling, so the layer moves at", derived),
        step("which keeps of the coupling no more than its sign:", formula),
    )


def invariants() -> dict[str, Expr]:
    """The functions over the plane that are constant on the paths of the three kinds of rules (first quadrant)."""
    return {
        "full curvature": SIGMA_1**2 - SIGMA_2**2,
        "layer by layer": SIGMA_1 / SIGMA_2,
        "layer by layer, square root": SIGMA_1 - SIGMA_2,
    }


def velocities() -> Mapping[str, Expr]:
    """The mode velocities behind the three invariants."""
    return {
        "full curvature": modes.fractional_velocity(),
        "layer by layer": layerwise_velocity(Integer(1)),
        "layer by layer, square root": layerwise_velocity(Integer(2)),
    }


def are_invariant(formula: Mapping[str, Expr]) -> Decision:
    """Whether each function is constant along its field in the first quadrant, and depends on the point."""
    x, y = Symbol("x", positive=True), Symbol("y", positive=True)
    parts, steps = [], []
    for name, function in formula.items():
        field = [part.subs({SIGMA_1: x, SIGMA_2: y}) for part in in_plane(velocities()[name])]
        slope = [diff(function, one).subs({SIGMA_1: x, SIGMA_2: y}) for one in (SIGMA_1, SIGMA_2)]
        change = slope[0] * field[0] + slope[1] * field[1]
        parts += [zero(change), not_zero(slope[0])]
        steps.append(step(f"Field of the rules of the kind '{name}', at a point (x, y):", tuple(field)))
        steps.append(step("It leaves unchanged", function))
    return all_of(*parts).explain(*steps)


def crossing_time() -> Expr:
    r"""eta t = ln((\sigma^* - \sigma_0)/(\sigma^* - \sigma)), when NGD and NGD-d pass the map value sigma.

    >>> crossing_time().subs(SIGMA, SIGMA_0)
    0
    """
    return log((SIGMA_STAR - SIGMA_0) / (SIGMA_STAR - SIGMA)) / ETA


def is_crossing_time(formula: Expr) -> Decision:
    """Whether dt = d sigma / rate for both rules, whose map rates sum j_i times the velocity over the layers."""
    gap = SIGMA - SIGMA_STAR
    # NGD: sum of j_i^2 / ||j||^2 = 1; NGD-d: d layers, each with j_i / (d j_i)
    coupled = {J_I**2: NORM_J**2}
    full = (J_I * modes.fractional_velocity(Integer(1))).subs(coupled)
    single = DEPTH * (J_I * layerwise_velocity(Integer(1)))
    rates = [rate.subs(SIGMA_DELTA, gap) for rate in (full, single)]
    lower, upper = Symbol("x", positive=True), Symbol("y", positive=True)
    at = {SIGMA_STAR: SIGMA + lower, SIGMA_0: SIGMA - upper}
    return all_of(
        *(equal(formula.diff(SIGMA).subs(at) * rate.subs(at), Integer(1)) for rate in rates),
        zero(formula.subs(SIGMA, SIGMA_0)),
    ).explain(
        step("Weighted by the couplings and summed over the layers, both rules give the map the rate", rates[0]),
        step("so both reach a contour at the time", formula),
    )


def same_everywhere(formula: Expr) -> Decision:
    """Whether two fields of the signed rule, at points of one region of the plane, have this product."""
    c = Symbol("c", positive=True)
    component = signed_velocity().subs(J_I, c) / (ETA * SIGMA_DELTA)
    return equal(formula, DEPTH * component**2).explain(
        step("In one region, per unit of eta and the gap, every layer moves by", component),
        step("so the product of the fields at two points, summed over the layers, is", DEPTH * component**2),
    )


def lag() -> Expr:
    r"""Map rate of the layer-restricted square root rule over that of the full one: \sum|j_i| / (\sqrt d ||j||).

    >>> is_lag(lag()).outcome
    'proved'
    """
    return ABSOLUTE_SUM / (sqrt(DEPTH) * NORM_J)


def is_lag(formula: Expr) -> Decision:
    """Whether the formula is the ratio of the map rates, and at most 1 (two layers: a square decides)."""
    full = modes.fractional_velocity(Integer(2)) * J_I
    single = signed_velocity() * J_I
    # summed over the layers j_i^2 becomes ||j||^2, and j_i sign(j_i) the sum of |j_i|
    summed = full.subs(J_I**2, NORM_J**2), single.subs(J_I * sign(J_I), ABSOLUTE_SUM).subs(Abs(J_I), ABSOLUTE_SUM)
    a, b = Symbol("a", nonnegative=True), Symbol("b", nonnegative=True)
    pairs = nonnegative(a**2 + b**2 - (a + b) ** 2 * Rational(1, 2))
    return all_of(equal(formula * summed[0], summed[1]), pairs).explain(
        step("Weighted by the couplings and summed over the layers the two rules move the map value at", summed),
        step("so their ratio is", formula),
    )


def null_tangent() -> Plane:
    r"""(\sigma_1, -\sigma_2): the tangent of the contour of constant map value, and the null direction.

    >>> is_null_tangent(null_tangent()).outcome
    'proved'
    """
    return SIGMA_1, -SIGMA_2


def not_zero(expr: Expr) -> Decision:
    """Whether an expression is not identically zero; refuted where it is."""
    if zero(expr).proved:
        return Decision("refuted", "identically zero", {"value": "0"})
    return Decision("proved", "not identically zero") if zero(expr).refuted else Decision("undecided", "may be zero")


def is_null_tangent(formula: Plane) -> Decision:
    """Whether the direction leaves the map, and so A_i^T (change of W) B_i^T, unchanged in a network of any size.

    In two neighbouring layers it reads (c_1/\\sigma_1) m w_i and (c_2/\\sigma_2) w_{i+1} m, where m selects the mode.
    """
    above = words.Letter("A_next", N_D, W_NEXT.rows, latex="A_{i+1}")
    select = words.Letter("m", W_I.rows, W_I.rows, symmetric=True)
    first, second = formula
    lower, upper = first / SIGMA_1 * (select * W_I), second / SIGMA_2 * (W_NEXT * select)
    change = above * W_NEXT * lower * B_I + above * upper * W_I * B_I
    return all_of(zero(SIGMA_2 * first + SIGMA_1 * second), words.vanishes(change), not_zero(first)).explain(
        step("Along the direction the map value changes at the rate", SIGMA_2 * first + SIGMA_1 * second),
        step("In the network it is a symmetry: one layer gains in the mode what the next one loses,", (lower, upper)),
    )
