"""The stiffness of the map, one quadrature for every depth and order, and how balance comes about."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Integer, Rational

from derivations.compiled import evaluate
from derivations.deep_linear import map_dynamics
from derivations.notation import DEPTH, ETA, NORM_J, SIGMA, SIGMA_DELTA, Q
from numerics.flows import flow
from numerics.rules import Fractional, Rule
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, slope
from tests.checker.evidence import Bound, Evidence, Outcome
from tests.claims.assumptions import BALANCED
from tests.claims.emergence import CONVERGED, trained
from tests.claims.maps import GIVEN, balanced_start, map_rounding, measured, order_rule
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.modes_natural import RATE, started
from tests.claims.settings import Setting, aligned, array

ranges = Claim(
    "map.stiffness-range",
    source="A figure 2",
    says=(
        "The square root keeps the stiffness of the map below 1; gradient descent starts there and tends to 2 "
        "with depth."
    ),
    formula=map_dynamics.stiffness_ranges,
    given=(*GIVEN, BALANCED),
    uses=("map.balanced-rate-signed",),
    near_misses={
        "square root up to 2": lambda: {
            **map_dynamics.stiffness_ranges(),
            "square root": (1 - 1 / DEPTH, Rational(1, 2), Integer(2)),
        },
        "gradient as the square root": lambda: {
            **map_dynamics.stiffness_ranges(),
            "gradient": (1 - 1 / DEPTH, Rational(1, 2), Integer(1)),
        },
    },
    falsifiers={
        "depth counted from 0": lambda: {
            **map_dynamics.stiffness_ranges(),
            "square root": (1 - 1 / (DEPTH + 1), Rational(1, 2), Integer(1)),
        }
    },
    remark=(
        "Each row: the stiffness, its value at depth 2 and its limit, which no depth reaches. The best case of "
        "gradient "
        "descent, one hidden layer, is worse than the worst case of the square root."
    ),
)


@ranges.proof(generic_in="depth")
def limits_of_the_stiffness(formula):
    """Values at depth 2, limits, and growth from layer to layer."""
    return map_dynamics.are_stiffness_ranges(formula)


SIZES = (0.02, 0.05, 0.2, 0.6)


@lru_cache(maxsize=128)
def _pull(depth: int, q: float) -> tuple[np.ndarray, float]:
    """Velocity of the map over its gap for balanced networks of four sizes, and its largest relative rounding."""
    settings = [balanced_start(depth, (2,) * (depth + 1), 0, starts=(s, s)) for s in SIZES]
    speeds = np.array([measured(one, q)[0] for one in settings])
    noise = max(map_rounding(one, q).total / abs(v) for one, v in zip(settings, speeds, strict=True))
    return speeds / (1.0 - np.array(SIZES)), float(noise)


@ranges.check(grid(depth=[2, 3, 5, 8], rule=list(map_dynamics.ORDERS)))
def exponent_of_the_rate(formula, depth, rule):
    """Log-log slope of the rate per gap over the map value, for full balanced networks of four sizes."""
    if rule not in map_dynamics.ORDERS:
        raise ValueError(f"rule: {rule} given, allowed: {', '.join(map_dynamics.ORDERS)}")
    pull, noise = _pull(depth, float(map_dynamics.ORDERS[rule]))
    wanted = float(evaluate(formula[rule][0], {DEPTH: depth}))
    bias = 2 * noise / np.log(SIZES[-1] / SIZES[0])
    return slope(SIZES, pull, predicted=wanted, systematic=bias).on(balanced_start(depth, (2,) * (depth + 1), 0))


quadrature = Claim(
    "map.one-quadrature",
    source="A eq. 20",
    says=(
        "All squared layers of a mode grow by one common amount, so that one integral solves every depth, order "
        "and start."
    ),
    formula=map_dynamics.growth_of_square,
    lhs=r"\dot u,\; \sigma_i^2 = \sigma_i(0)^2 + u",
    given=GIVEN,
    uses=("modes.fractional-rate",),
    near_misses={
        "exponent 1/q": lambda: -2 * ETA * SIGMA_DELTA * SIGMA * NORM_J ** (-1 / Q),
        "no factor 2": lambda: -ETA * SIGMA_DELTA * SIGMA * NORM_J ** (-2 / Q),
    },
    falsifiers={"coupling for the map value": lambda: -2 * ETA * SIGMA_DELTA * NORM_J ** (1 - 2 / Q)},
    remark=(
        "Balanced or not, the map has one degree of freedom, u, and time is an integral over it. What is rare is not a "
        "solution but an elementary one."
    ),
)


@quadrature.proof(generic_in="depth, order q, widths")
def same_growth_of_all_layers(formula):
    """A layer times its coupling is the map value, the same for all layers."""
    return map_dynamics.is_growth_of_square(formula)


@quadrature.check(
    grid(depth=[1, 2, 3, 5], q=[1, 1.5, 2, inf], widths=["widening", "waist"], start=["random"], seed=[0])
    + grid(depth=[3], q=[1.5], widths=["narrowing", "wide"], start=["zero factor", "equal modes"], seed=[0])
)
def growth_of_every_layer(formula, depth, q, widths, start, seed):
    """Twice mode value times mode velocity of every layer of a full network."""
    setting = started(depth, widths, start, seed)
    sigma, values = setting.modes(), mode_values(setting)
    predicted = evaluate(formula, {**values, SIGMA: np.broadcast_to(sigma.prod(0), sigma.shape), Q: q, ETA: RATE})
    bound = Bound((("rounding", 2 * float(np.abs(sigma).max()) * velocity_rounding(setting, -1 / q).total),))
    return agree(2 * sigma * mode_velocity(setting, Fractional(q, RATE)), predicted, bound=bound, scale=1.0).on(setting)


TIMES = (0.0, 0.4, 1.0)


@lru_cache(maxsize=32)
def _squares_grown(setting: Setting, rule: Rule) -> tuple[np.ndarray, float]:
    """Growth u (T, r) of the squared first layer along the flow of a rule, and its error."""
    path = flow(setting.net, setting.problem, rule, TIMES)
    first = array(setting.frame.modes(path.nets()))[:, 0]
    return first**2 - first[0] ** 2, 2 * float(np.abs(first).max()) * max(setting.net.widths) * path.error


@quadrature.check(grid(depth=[2, 4], q=[1, 2, inf], widths=["wide"], seed=[0]))
def time_from_the_integral(formula, depth, q, widths, seed):
    """The time of the flow of a full unbalanced network, recovered as the integral of du over the growth of u."""
    shape = 0.5 + 0.35 * np.cos(np.arange(2 * depth)).reshape(depth, 2)
    setting = aligned(depth, widths, seed, modes=tuple(map(tuple, shape.tolist())), goals=(1.5, 2.0))
    rule = order_rule(q, RATE)
    u, error = _squares_grown(setting, rule)
    nodes, weights = np.polynomial.legendre.leggauss(90)
    points = u[1:, :, None] * (nodes + 1) / 2
    layers = np.sqrt(shape[:, None, :, None] ** 2 + points)
    value = layers.prod(0)
    norm = np.sqrt((value**2 / layers**2).sum(0))
    goals = np.array([1.5, 2.0])[:, None]
    growth = evaluate(formula, {SIGMA: value, SIGMA_DELTA: value - goals, NORM_J: norm, Q: q, ETA: RATE})
    found = (weights / growth).sum(-1) * u[1:] / 2
    slowest = float(np.abs(growth).min())
    budget = Bound((("error of u over its growth", error / slowest),)) + rounding(1.0, 90)
    return agree(found, np.broadcast_to(np.array(TIMES)[1:, None], found.shape), bound=budget).on(setting)


emerges = Claim(
    "map.balance-emerges",
    source="A section 3.2",
    says="Rules that conserve the balances end, from small random weights, at an imbalance of the squared scale.",
    formula=lambda: Integer(2),
    lhs=r"\text{exponent of } \alpha \text{ in the final } \max_i \lVert C_i \rVert / \lVert w \rVert^2",
    uses=("conservation.weight-balance",),
    near_misses={"of the order of the scale": lambda: Integer(1), "of its third power": lambda: Integer(3)},
    falsifiers={"no scale": lambda: Integer(0)},
    mutate=False,
    remark=(
        "The balance matrices keep their small initial values while the weights grow to the size of the task. "
        "Before training "
        "the relative imbalance does not depend on the scale at all: small weights are not balanced, they become so."
    ),
)


@emerges.check(
    grid(depth=[2], widths=["wide", "widening"], rule=["gradient"], seed=[0], smallest=[0.001])
    + grid(depth=[2, 3], widths=["wide"], rule=["square-root"], seed=[0], smallest=[0.01])
)
def relative_imbalance_at_the_end(formula, depth, widths, rule, seed, smallest):
    """Log-log slope of the relative imbalance of one random network trained from four scales."""
    scales = tuple(smallest * 2.0**k for k in range(4))
    run, problem = trained(depth, widths, rule, seed, scales)
    end, loss = run.net(-1), float(problem.loss(run.net(-1)).max())
    if loss > CONVERGED:
        return Evidence(Outcome.UNDECIDED, 0.0, 0.0, (), f"loss {loss:.1e}: the solution is not reached")
    left = array(end.imbalance() / end.norm() ** 2)
    local = np.diff(np.log(left)) / np.diff(np.log(scales))
    # the local slopes approach their limit with the squared scale, so their spread bounds what is missing
    drift = 2 * abs(local[-1] - local[0]) + (run.error * float(end.norm().max()) + loss**0.5) / float(left.min())
    return slope(scales, left, predicted=float(formula), systematic=float(drift)).on(problem)
