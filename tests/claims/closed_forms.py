"""Closed forms of the balanced map dynamics: exponential, tanh squared, logistic, Lambert; what starts at zero."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import flint
import numpy as np
from sympy import Expr, Integer, LambertW, Rational, atanh, exp, sqrt, tanh

from derivations.balls import ball
from derivations.compiled import evaluate
from derivations.deep_linear import closed_forms
from derivations.deep_linear.map_dynamics import balanced_rate
from derivations.notation import DEPTH, ETA, ETA_TILDE, SIGMA, SIGMA_0, SIGMA_STAR, TIME, P, Q
from derivations.witness import points
from numerics.flows import flow
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, vanishes
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, BALANCED, WHITENED
from tests.claims.maps import NONNEGATIVE, balanced_start, map_history, order_rule
from tests.claims.settings import Setting, aligned, array

GIVEN = (ALIGNED, ACTIVE, WHITENED, BALANCED, NONNEGATIVE)
SAMPLE = 6
ZERO_MAP = Assumption(
    "zero map",
    "every singular mode of the map starts at zero",
    lambda s: bool((s.frame.modes(s.net).prod(-2).abs() < 1e-14).all()),
)


def order_of(depth: int, stiffness: float) -> float:
    """The order q >= 1 with stiffness (2 - 2/d)(1 - 1/q) = p; raises ``ValueError`` beyond the range of the depth."""
    most = 2 - 2 / depth
    if not 0 <= stiffness <= most:
        raise ValueError(f"depth: {depth} given, allowed: one with 2 - 2/d >= {stiffness:g}")
    return inf if stiffness == most else 1 / (1 - stiffness / most)


def on_flow(formula: Expr, setting: Setting, q: float, times: tuple[float, ...]) -> Evidence:
    """The map along the flow of a full network against a closed form in time, start, goal, rate constant."""
    depth, goals = setting.net.depth, array(setting.goals)
    rate = 1.0 / depth ** (1 - 1 / q)
    found, bound = map_history(setting, order_rule(q, rate), times)
    # the first rates are chosen such that the rate constant eta d^{1-1/q} is 1
    values = {SIGMA_0: found[0], SIGMA_STAR: goals, ETA_TILDE: 1.0, ETA: rate, DEPTH: depth, Q: q}
    predicted = evaluate(formula, {**values, TIME: np.array(times)[:, None]})
    return agree(found, np.broadcast_to(predicted, found.shape), bound=bound).on(setting)


def in_balls(residuals: tuple[Expr, ...], symbols: set) -> Evidence:
    """Residuals at rational points below the goal in ball arithmetic: every ball must contain zero."""
    outside = []
    for point in points(symbols | {SIGMA_0, SIGMA_STAR}, SAMPLE):
        low, high = sorted((abs(point[SIGMA_0]), abs(point[SIGMA_STAR]) + 1))
        at = {**point, SIGMA_0: low, SIGMA_STAR: high + Rational(1, 7)}
        found = [ball(residual, at, digits=40) for residual in residuals]
        outside += [max(0.0, float(abs(flint.acb(x.mid()))) - float(x.rad())) for x in found]
    return vanishes(outside, bound=Bound((("distance of a ball from zero", 0.0),)), scale=1.0)


def solution_in_balls(formula: Expr, stiffness: Expr) -> Evidence:
    """Equation and start of a closed form, evaluated in ball arithmetic."""
    rate = balanced_rate().subs(P, stiffness)
    residuals = formula.diff(TIME) - rate.subs(SIGMA, formula), formula.subs(TIME, 0) - SIGMA_0
    return in_balls(residuals, {TIME, ETA_TILDE})


def returned_times(
    found: np.ndarray, clock: np.ndarray, unit: np.ndarray, bound: Bound, times: tuple, speed: float
) -> Evidence:
    """Times read off a clock (T, r) in the given units against those of the flow, with error over speed as budget."""
    elapsed = (clock - clock[0]) / unit
    budget = Bound((("error of the map over its speed", bound.total / speed),)) + rounding(
        float(np.abs(clock).max()), 30
    )
    return agree(elapsed[1:], np.broadcast_to(np.array(times)[1:, None], elapsed[1:].shape), bound=budget)


linear = Claim(
    "closed-form.linear",
    source="A section 3.2, after eq. 21, p = 0",
    says="Natural gradients take a map from zero to its goal exponentially, at one rate for all depths and modes.",
    formula=closed_forms.linear,
    lhs=r"\sigma(t)",
    given=(ALIGNED, ACTIVE, WHITENED, ZERO_MAP),
    uses=("map.rate",),
    near_misses={
        "rate grows with the goal": lambda: SIGMA_STAR * (1 - exp(-ETA_TILDE * SIGMA_STAR * TIME)),
        "rate grows with depth": lambda: SIGMA_STAR * (1 - exp(-ETA_TILDE * DEPTH * TIME)),
    },
    falsifiers={"square root curve": lambda: closed_forms.tanh_squared(Integer(0))},
    remark=(
        "The map starts at zero because one layer does; the others must not vanish, or the mode is frozen. "
        "Balance plays no "
        "role. From other starts the gap to the goal decays with the same exponential."
    ),
)


@linear.proof(generic_in="depth, goal, rate")
def exponential_substituted(formula):
    """Substitution into the linear equation, and a start at zero."""
    return closed_forms.solves_from_zero(formula)


@lru_cache(maxsize=32)
def one_layer_zero(depth: int, widths: str | tuple[int, ...], seed: int) -> Setting:
    """The first layer zero in every mode, all others near 0.8: a zero map that can move."""
    table = [[0.8 + 0.1 * np.cos(3 * i + k) for k in range(2)] for i in range(depth)]
    table[0] = [0.0, 0.0]
    return aligned(depth, widths, seed, modes=tuple(map(tuple, table)), goals=(1.0, 1.7))


@linear.check(grid(depth=[2, 3], widths=["widening", "waist"], seed=[0]))
def natural_gradient_from_a_zero_layer(formula, depth, widths, seed):
    """Full networks with one zero layer under natural gradient descent."""
    return on_flow(formula, one_layer_zero(depth, widths, seed), 1.0, (0.0, 0.3, 1.0, 3.0))


half = Claim(
    "closed-form.tanh-squared",
    source="A section 3.2, after eq. 21, p = 1/2",
    says="At stiffness one half the map follows a squared hyperbolic tangent, shifted by where it starts.",
    formula=closed_forms.tanh_squared,
    lhs=r"\sigma(t)",
    given=GIVEN,
    uses=("map.balanced-rate",),
    near_misses={
        "twice as fast": lambda: (
            SIGMA_STAR * tanh(ETA_TILDE * sqrt(SIGMA_STAR) * TIME + atanh(sqrt(SIGMA_0 / SIGMA_STAR))) ** 2
        ),
        "goal without root": lambda: (
            SIGMA_STAR * tanh(ETA_TILDE * SIGMA_STAR * TIME / 2 + atanh(sqrt(SIGMA_0 / SIGMA_STAR))) ** 2
        ),
        "no shift": lambda: closed_forms.tanh_squared(Integer(0)),
    },
    remark=(
        "The square root rule with one hidden layer. In the root of the map, which is the size of a layer, the "
        "curve is a "
        "plain hyperbolic tangent: the layer grows linearly and saturates. The printed curve is the limit of "
        "small starts."
    ),
)


@half.proof(generic_in="start, goal, rate")
def tangent_substituted(formula):
    """Substitution into the squared equation, with value and slope of the start."""
    return closed_forms.solves_half(formula)


@half.check(
    grid(depth=[2], widths=["widening", "waist"], stiffness=[0.5], seed=[0])
    + grid(depth=[3, 4], widths=["widening"], stiffness=[0.5], seed=[0])
)
def networks_of_stiffness_half(formula, depth, widths, stiffness, seed):
    """Full balanced networks of several depths, at the order that gives the stiffness."""
    return on_flow(formula, balanced_start(depth, widths, seed), order_of(depth, stiffness), (0.0, 0.5, 2.0, 5.0))


@half.check(grid(digits=[40]), network=False)
def tangent_in_balls(formula, digits):
    """Equation and start at rational points."""
    return solution_in_balls(formula, Rational(1, 2))


logistic = Claim(
    "closed-form.logistic",
    source="A section 3.2, after eq. 21, p = 1",
    says="At stiffness one the map follows a logistic curve, at a rate in proportion to its goal.",
    formula=closed_forms.logistic,
    lhs=r"\sigma(t)",
    given=GIVEN,
    uses=("map.balanced-rate",),
    near_misses={
        "twice as fast": lambda: (
            SIGMA_STAR / (1 + (SIGMA_STAR / SIGMA_0 - 1) * exp(-2 * ETA_TILDE * SIGMA_STAR * TIME))
        ),
        "rate without goal": lambda: SIGMA_STAR / (1 + (SIGMA_STAR / SIGMA_0 - 1) * exp(-ETA_TILDE * TIME)),
    },
    falsifiers={"start misread": lambda: SIGMA_STAR / (1 + SIGMA_STAR / SIGMA_0 * exp(-ETA_TILDE * SIGMA_STAR * TIME))},
    remark=(
        "Gradient descent with one hidden layer; but also three layers at order 4, or four at order 3: only the "
        "stiffness "
        "counts. Half of the goal is reached after $`\\ln(\\sigma^*/\\sigma_0 - 1)`$ in units of "
        "$`1/\\tilde\\eta\\sigma^*`$."
    ),
)


@logistic.proof(generic_in="start, goal, rate")
def logistic_substituted(formula):
    """Substitution into the equation and the initial condition."""
    return closed_forms.solves(formula, Integer(1))


@logistic.check(
    grid(depth=[2], widths=["widening", "waist"], stiffness=[1.0], seed=[0])
    + grid(depth=[3, 4], widths=["widening"], stiffness=[1.0], seed=[0])
)
def networks_of_stiffness_one(formula, depth, widths, stiffness, seed):
    """Full balanced networks: gradient descent at depth 2, order 4 at depth 3, order 3 at depth 4."""
    return on_flow(formula, balanced_start(depth, widths, seed), order_of(depth, stiffness), (0.0, 0.5, 2.0, 5.0))


@logistic.check(grid(digits=[40]), network=False)
def logistic_in_balls(formula, digits):
    """Equation and start at rational points."""
    return solution_in_balls(formula, Integer(1))


def _lambert(u: Expr) -> Expr:
    return SIGMA_STAR / (1 + LambertW(u))


_GAP = SIGMA_STAR / SIGMA_0 - 1
lambert = Claim(
    "closed-form.lambert",
    source="A section 3.2, figure 2, p = 2",
    says="At stiffness two, the limit of infinite depth, the map follows a Lambert function.",
    formula=closed_forms.lambert,
    lhs=r"\sigma(t)",
    given=(ALIGNED, ACTIVE, WHITENED, BALANCED, NONNEGATIVE),
    uses=("map.balanced-rate",),
    near_misses={
        "goal not squared": lambda: _lambert(_GAP * exp(_GAP - ETA_TILDE * SIGMA_STAR * TIME)),
        "start not in the exponent": lambda: _lambert(_GAP * exp(-ETA_TILDE * SIGMA_STAR**2 * TIME)),
    },
    falsifiers={"logistic": closed_forms.logistic},
    remark=(
        "No finite network has stiffness 2. Networks under gradient descent come close with depth, and their distance "
        "from this curve falls like one over the depth."
    ),
)


@lambert.proof(generic_in="start, goal, rate")
def lambert_substituted(formula):
    """Substitution into the equation; at the start the Lambert function is inverted."""
    return closed_forms.solves(formula, Integer(2))


@lambert.check(grid(digits=[40]), network=False)
def lambert_in_balls(formula, digits):
    """Equation and start at rational points."""
    return solution_in_balls(formula, Integer(2))


DEPTHS = (16, 32, 64, 128)
MARKS = (0.0, 1.5, 3.0, 4.5, 6.0)


@lru_cache(maxsize=16)
def deep_descent(depth: int) -> np.ndarray:
    """The map (T, 2) of a deep balanced network of width 2 under gradient descent, rate constant 1."""
    setting = balanced_start(depth, (2,) * (depth + 1), 0, starts=(0.2, 0.4), goals=(1.0, 1.2))
    path = flow(setting.net, setting.problem, order_rule(inf, 1 / depth), MARKS, tolerance=1e-9)
    return array(setting.frame.modes(path.nets())).prod(1)


@lambert.check(grid(scheme=["depth doubled"]))
def deep_networks_approach(formula, scheme):
    """Networks of four depths, extrapolated to infinite depth, meet the curve within the last correction."""
    runs = [deep_descent(depth) for depth in DEPTHS]
    values = {SIGMA_0: runs[0][0], SIGMA_STAR: np.array([1.0, 1.2]), ETA_TILDE: 1.0, TIME: np.array(MARKS)[:, None]}
    predicted = evaluate(formula, values)
    table, finest = runs, []
    for k in range(1, len(runs)):
        table = [(2**k * fine - coarse) / (2**k - 1) for coarse, fine in zip(table, table[1:], strict=False)]
        finest.append(table[-1])
    # the last correction of the extrapolation bounds what the next one would change
    budget = Bound((("extrapolation", float(np.abs(finest[-1] - finest[-2]).max())),)) + rounding(1.2, 10**6)
    setting = balanced_start(16, (2,) * 17, 0, starts=(0.2, 0.4), goals=(1.0, 1.2))
    return agree(finest[-1], predicted, bound=budget).on(setting)


@lambert.figure
def approach(formula):
    """Deep networks under gradient descent against the curve of infinite depth."""
    fine = np.linspace(0, MARKS[-1], 100)
    curve = evaluate(formula, {SIGMA_0: 0.2, SIGMA_STAR: 1.0, ETA_TILDE: 1.0, TIME: fine})
    series = [Series("infinite depth", fine, curve)]
    for depth in (4, *DEPTHS[:3]):
        series.append(Series(f"depth {depth}", MARKS, deep_descent(depth)[:, 0], "simulation"))
    panel = Panel("Stiffness two", r"time $\tilde\eta t$", r"map value $\sigma$", tuple(series))
    return Figure("Gradient descent of deep balanced networks approaches the Lambert curve with depth.", (panel,))
