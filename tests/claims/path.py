"""The path of the weights: one curve for each aligned mode, but different curves of the network."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from scipy.integrate import solve_ivp

from derivations.compiled import evaluate, function
from derivations.deep_linear import path
from derivations.notation import (
    J_A,
    J_B,
    J_I,
    NORM_J,
    NORM_J_A,
    NORM_J_B,
    SIGMA_DELTA,
    SIGMA_DELTA_A,
    SIGMA_DELTA_B,
    SIGMA_I,
    SIGMA_I0,
    SIGMA_K0,
    Q,
)
from numerics.rules import Damped, Fractional, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.mode_flows import balanced_modes, mode_history, until_half
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned, array

RULES: dict[str, Rule] = {
    "gradient descent": GradientDescent(),
    "natural gradient": NaturalGradient(),
    "square root": Fractional(2),
    "order 1.5": Fractional(1.5),
    "damped": Damped(0.3),
}


def rule_named(name: str) -> Rule:
    """A rule of the table above; raises ``ValueError`` naming the allowed ones."""
    if name not in RULES:
        raise ValueError(f"rule: {name} given, allowed: {', '.join(RULES)}")
    return RULES[name]


curve = Claim(
    "path.same-per-mode",
    source="A section 3.1",
    says="Every rule of the family moves an aligned mode along the same curve, whatever its curvature correction.",
    formula=path.curve_of_one_mode,
    lhs=r"\sigma_k^2",
    given=(ALIGNED, WHITENED),
    uses=("modes.fractional-rate", "damping.mode-rate"),
    near_misses={
        "sum instead of difference": lambda: SIGMA_K0**2 - SIGMA_I**2 + SIGMA_I0**2,
        "straight line through the start": lambda: (SIGMA_K0 + SIGMA_I - SIGMA_I0) ** 2,
    },
    falsifiers={"constant ratio": lambda: (SIGMA_K0 * SIGMA_I / SIGMA_I0) ** 2},
    remark=(
        "The correction multiplies the velocities of all layers of the mode by one number. It changes the clock and "
        "leaves the curve alone. This is the sense in which curvature correction keeps the path of gradient descent."
    ),
)


@curve.proof(generic_in="depth, widths, spectral filter")
def one_factor_for_all_layers(formula):
    """The rate of change of the difference along the velocities of two layers, with an arbitrary filter."""
    return path.stays_on_curve(formula)


@curve.check(
    grid(depth=[2], rule=list(RULES), widths=["square", "waist"], seed=[0])
    + grid(depth=[3], rule=["natural gradient", "order 1.5"], widths=["narrowing"], seed=[1])
)
def along_flows(formula, depth, rule, widths, seed):
    """Squared mode values of all layers along flows of the full network, against the curve over the first layer."""
    setting = aligned(depth, widths, seed)
    history, error = mode_history(setting, rule_named(rule), 1.0, 4)
    first, others = history[:, :1], history[:, 1:]
    start = {SIGMA_I0: np.broadcast_to(first[:1], others.shape), SIGMA_K0: np.broadcast_to(others[:1], others.shape)}
    predicted = evaluate(formula, {SIGMA_I: np.broadcast_to(first, others.shape), **start})
    size, widest = float(np.abs(history).max()), max(setting.net.widths)
    # a mode value is a quadratic form of the weights in unit vectors, and enters squared on both sides
    bound = integration(4 * size * widest * error) + rounding(size**2, 8 * widest)
    return agree(others**2, predicted, bound=bound, scale=float(np.ptp(others**2, axis=0).max())).on(setting)


def slope_values(setting: Setting) -> dict[object, np.ndarray]:
    """Couplings, norms and gaps of the first mode (a) beside those of all others (b), shape (d, r - 1)."""
    values = mode_values(setting)
    pairs = ((J_A, J_B, J_I), (NORM_J_A, NORM_J_B, NORM_J), (SIGMA_DELTA_A, SIGMA_DELTA_B, SIGMA_DELTA))
    found = {}
    for first, second, own in pairs:
        found[second] = values[own][:, 1:]
        found[first] = np.broadcast_to(values[own][:, :1], found[second].shape)
    return found


@lru_cache(maxsize=128)
def observed_slopes(setting: Setting, q: float) -> tuple[np.ndarray, Bound]:
    """Velocity of all other modes over that of the first, layer by layer, with the error budget of a quotient."""
    velocity, error = mode_velocity(setting, Fractional(q)), velocity_rounding(setting, -1 / q).total
    ratio = velocity[:, 1:] / velocity[:, :1]
    return ratio, Bound((("rounding", float(error * ((1 + np.abs(ratio)) / np.abs(velocity[:, :1])).max())),))


def _slopes_agree(formula, depth: int, q: float, widths: str | tuple[int, ...], seed: int):
    setting = aligned(depth, widths, seed)
    if min(setting.net.widths) < 2:
        raise ValueError(f"widths: {widths} given, allowed: sizes of at least 2, for two modes")
    observed, bound = observed_slopes(setting, q)
    return agree(observed, evaluate(formula, {**slope_values(setting), Q: q}), bound=bound).on(setting)


_SLOPES = grid(depth=[2, 3], q=[1, 1.5, 2, 7], widths=["square", "widening"], seed=range(2)) + grid(
    depth=[4], q=[2, inf], widths=["waist"], seed=[0]
)

_WRONG_SLOPES = {
    "norms exchanged": lambda: path.gradient_slope() * (NORM_J_B / NORM_J_A) ** (2 / Q),
    "exponent 1/q instead of 2/q": lambda: path.gradient_slope() * (NORM_J_A / NORM_J_B) ** (1 / Q),
}

tangent = Claim(
    "path.slope-between-modes",
    source="A eq. 14",
    says="The slope of the path between two modes depends on the rule, through the ratio of their couplings.",
    formula=path.slope_between_modes,
    lhs=r"\frac{d \sigma_i^b}{d \sigma_i^a}",
    given=(ALIGNED, ACTIVE, WHITENED),
    uses=("modes.fractional-rate",),
    near_misses=_WRONG_SLOPES,
    falsifiers={"no gaps": lambda: path.slope_between_modes() * SIGMA_DELTA_A / SIGMA_DELTA_B},
    remark=(
        "Only modes of equal coupling keep the slope of gradient descent. Natural gradient descent turns the path away "
        "from the strongly coupled mode, towards learning all modes at once."
    ),
)


@tangent.proof(generic_in="depth, order q, widths")
def rates_divided(formula):
    """The rates of two modes are divided by each other."""
    return path.has_slope(formula)


@tangent.check(_SLOPES)
def slopes_of_velocities(formula, depth, q, widths, seed):
    """Quotients of the velocities of two modes, from the full weight matrices, against the formula."""
    return _slopes_agree(formula, depth, q, widths, seed)


def _asserted_path(formula, setting: Setting, q: float, stop: float, points: int = 1, tolerance: float = 1e-12):
    """The second mode's layer value where the first one's is at ``stop``, from the asserted slope; (points,) each."""
    depth, goals = setting.net.depth, array(setting.goals)
    slope = function(formula, (J_A, J_B, NORM_J_A, NORM_J_B, SIGMA_DELTA_A, SIGMA_DELTA_B, Q))

    def rhs(x, y):
        layer = np.array([x, y[0]])
        coupling, gap = layer ** (depth - 1), layer**depth - goals
        return np.atleast_1d(slope(*coupling, *(np.sqrt(depth) * np.abs(coupling)), *gap, q))

    start = setting.modes()[0]
    # points crowd towards the end, where the weaker mode catches up
    grid_of = stop - (stop - start[0]) * np.append(np.geomspace(1.0, 1e-4, points)[1:], 0.0)
    found = solve_ivp(rhs, (start[0], stop), start[1:2], method="DOP853", rtol=tolerance, atol=1e-13, t_eval=grid_of)
    return grid_of, found.y[0]


printed = Claim(
    "path.same-path-as-printed",
    source="A abstract",
    says="Curvature-corrected learning follows precisely the same path of the weights as gradient descent.",
    formula=path.gradient_slope,
    control=path.slope_between_modes,
    corrected_by=("path.slope-between-modes", "path.same-per-mode", "path.rotated-endpoints"),
    lhs=r"\frac{d \sigma_i^b}{d \sigma_i^a}",
    given=(ALIGNED, ACTIVE, WHITENED),
    near_misses=_WRONG_SLOPES,
    falsifiers={"modes exchanged": lambda: 1 / path.slope_between_modes()},
    remark=(
        "If the path were the same, its slope between two modes would not depend on the rule. It does as soon as "
        "two modes differ in their couplings. The sentence is true of each aligned mode by itself, and of a "
        "network of one mode."
    ),
)


@printed.proof(generic_in="depth, order q, widths")
def slope_depends_on_the_rule(formula):
    """The asserted slope is compared with the quotient of the rates, for every order q."""
    return path.has_slope(formula)


@printed.check(_SLOPES)
def slopes_of_the_printed_path(formula, depth, q, widths, seed):
    """Quotients of the velocities of two modes, from the full weight matrices, against the asserted slope."""
    return _slopes_agree(formula, depth, q, widths, seed)


@printed.check(grid(depth=[2], q=[1], widths=["square"], seed=[0]) + grid(depth=[3], q=[2], widths=["wide"], seed=[0]))
def second_mode_when_the_first_is_halfway(formula, depth, q, widths, seed, accuracy=1.0):
    """Layer value of the weaker mode when the stronger one is halfway, along a flow and along the asserted slope."""
    setting = balanced_modes(depth, widths, (2.0, 1.0), 0.01, seed)
    _, net, error = until_half(setting, Fractional(q))
    found = setting.moved(net).modes()[0]
    _, predicted = _asserted_path(formula, setting, q, float(found[0]))
    _, rough = _asserted_path(formula, setting, q, float(found[0]), tolerance=1e-10)
    bound = integration(error * 4 * max(setting.net.widths)) + integration(float(np.abs(predicted - rough).max()))
    return agree(found[1:2], predicted, bound=bound).on(setting)


@printed.figure
def paths_of_two_modes(formula):
    """Map values of a strong and a weak mode: gradient descent learns them one after the other, the others together."""
    setting, series, dots = balanced_modes(2, "square", (2.0, 1.0), 0.01, 0), [], []
    goals = array(setting.goals)
    rules = (("gradient descent", inf), ("square root rule", 2), ("natural gradient descent", 1))
    for name, q in rules:
        history = mode_history(setting, Fractional(q), 5.0, 16)[0].prod(1)
        # not quite to the end, where the slope is 0 / 0
        x, y = _asserted_path(formula, setting, q, float(np.sqrt(0.9999 * goals[0])), 60)
        series.append(Series(name, [0.01 * goals[0], *(x**2)], [0.01 * goals[1], *(y**2)]))
        dots.append(Series("", history[:, 0], history[:, 1], "simulation"))
    panel = Panel(
        "Two modes, three rules", r"map value of the strong mode", r"map value of the weak mode", (*series, *dots)
    )
    return Figure(
        "The path of a network in the plane of two of its modes: lines from the slope between modes, dots at equal "
        "times along flows of the weight matrices. All start and end at the same points and follow different curves.",
        (panel,),
    )
