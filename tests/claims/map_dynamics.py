"""Dynamics of the map under fractional natural gradients: chain rule, rate, balance, stiffness, one quadrature."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Abs, Integer, Rational

from derivations.compiled import evaluate
from derivations.deep_linear import map_dynamics
from derivations.notation import (
    DEPTH,
    ETA,
    J_I,
    NORM_J,
    SIGMA,
    SIGMA_DELTA,
    SIGMA_DOT,
    SIGMA_I,
    SIGMA_I_DOT,
    SIGMA_STAR,
    Q,
)
from numerics.curvature import forward
from numerics.flows import flow
from numerics.rules import Fractional, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, slope
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, BALANCED, WHITENED
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.modes_natural import NETS, RATE, started
from tests.claims.settings import Setting, aligned, array

GIVEN = (ALIGNED, ACTIVE, WHITENED)
NONNEGATIVE = Assumption(
    "non-negative map",
    "no singular mode of the map starts with a negative value",
    lambda s: bool((s.frame.modes(s.net).prod(-2) > -1e-10).all()),
)


@lru_cache(maxsize=512)
def balanced_start(
    depth: int,
    widths: str | tuple[int, ...],
    seed: int,
    starts: tuple[float, ...] = (0.15, 0.4),
    goals: tuple[float, ...] = (1.0, 1.7),
) -> Setting:
    """Balanced aligned layers whose map has the given mode values; the first layer carries a negative sign."""
    if depth < 1:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 1")
    layers = [[abs(s) ** (1 / depth) for s in starts] for _ in range(depth)]
    layers[0] = [size * np.sign(s) for size, s in zip(layers[0], starts, strict=True)]
    table = tuple(tuple(float(x) for x in row) for row in layers)
    return aligned(depth, widths, seed, modes=table, goals=goals)


def order_rule(q: float, eta: float = RATE) -> Rule:
    """The rule of an order; its two ends have faster forms of their own."""
    return GradientDescent(eta) if q == inf else NaturalGradient(eta) if q == 1 else Fractional(q, eta)


def map_velocity(setting: Setting, rule: Rule) -> np.ndarray:
    """The velocity (r,) of the modes of the map, from the differential of the product of all weight matrices."""
    bases, rank = setting.frame.bases, setting.frame.rank
    moved = forward(setting.net, rule.velocity(setting.net, setting.problem))
    return array((bases[-1].mT @ moved @ bases[0]).diagonal(dim1=-2, dim2=-1)[..., :rank])


@lru_cache(maxsize=2048)
def measured(setting: Setting, q: float) -> np.ndarray:
    """The velocity (r,) of the map under the fractional rule."""
    return map_velocity(setting, Fractional(q, RATE))


def map_rounding(setting: Setting, q: float) -> Bound:
    """Rounding of the velocities of the layers, summed with the couplings as weights."""
    weight = float(np.abs(mode_values(setting)[J_I]).sum(0).max())
    return Bound((("rounding", max(weight, 1.0) * velocity_rounding(setting, -1 / q).total),))


def map_values(setting: Setting, q: float) -> dict:
    """Map value, goal and norm of the couplings of all modes (r,), with order, depth and learning rate."""
    found, sigma = mode_values(setting), setting.modes().prod(0)
    goals = sigma - found[SIGMA_DELTA][0]
    return {SIGMA: sigma, SIGMA_STAR: goals, NORM_J: found[NORM_J][0], Q: q, DEPTH: setting.net.depth, ETA: RATE}


@lru_cache(maxsize=256)
def map_history(setting: Setting, rule: Rule, times: tuple[float, ...]) -> tuple[np.ndarray, Bound]:
    """Modes of the map (T, r) along the flow of a rule, with the error of the weights and of the start carried along."""
    path = flow(setting.net, setting.problem, rule, times)
    values = array(setting.frame.modes(path.nets()))
    depth, widest = setting.net.depth, max(setting.net.widths)
    coupling = max(float(np.abs(np.delete(values, i, axis=1).prod(1)).max()) for i in range(depth))
    speed = np.abs([map_velocity(setting.moved(net), rule) for net in path])
    carried = max(1.0, float((speed / speed[0]).max()))
    bound = integration(depth * coupling * widest * path.error)
    sizes = sum(setting.net.widths)
    return values.prod(1), bound + rounding(float(np.abs(values.prod(1)).max()), depth * sizes, carried)


chain = Claim(
    "map.chain-rule",
    source="A eq. 19",
    says="The map follows its layers: each contributes its own velocity times its coupling.",
    formula=map_dynamics.contribution,
    lhs=SIGMA_DOT,
    relation=r"= \sum_{i=1}^d",
    given=(ALIGNED,),
    near_misses={
        "layers for couplings": lambda: SIGMA_I * SIGMA_I_DOT,
        "couplings without sign": lambda: Abs(J_I) * SIGMA_I_DOT,
    },
    falsifiers={"speeds without couplings": lambda: SIGMA_I_DOT},
    remark=(
        "The couplings enter twice: a layer is moved in proportion to its coupling, and its move is seen by the map in "
        "proportion to its coupling. Hence the squared norm in the rate of the map."
    ),
)


@chain.proof(generic_in="depth, any velocities")
def product_rule(formula):
    """Induction over the depth."""
    return map_dynamics.is_contribution(formula)


@chain.check(NETS)
def differential_of_the_product(formula, depth, widths, start, seed):
    """The differential of the full map along a natural gradient step, against the layers' mode velocities."""
    setting = started(depth, widths, start, seed)
    values = {**mode_values(setting), SIGMA_I_DOT: mode_velocity(setting, Fractional(1.5, RATE))}
    predicted = np.broadcast_to(evaluate(formula, values), values[J_I].shape).sum(0)
    return agree(measured(setting, 1.5), predicted, bound=map_rounding(setting, 1.5)).on(setting)


rate = Claim(
    "map.rate",
    source="A eq. 20",
    says="Under a rule of order q the map closes its gap at a rate set by its couplings; natural gradients at none.",
    formula=map_dynamics.rate,
    lhs=SIGMA_DOT,
    given=GIVEN,
    uses=("map.chain-rule", "modes.fractional-rate"),
    near_misses={
        "norm for squared norm": lambda: -ETA * (SIGMA - SIGMA_STAR) * NORM_J ** (1 - 1 / Q),
        "exponent of the parameter speed": lambda: -ETA * (SIGMA - SIGMA_STAR) * NORM_J ** (1 - 2 / Q),
    },
    falsifiers={"linear at every order": lambda: -ETA * (SIGMA - SIGMA_STAR)},
    remark=(
        "The parameters feel the exponent $`1 - 2/q`$, the map $`2 - 2/q`$. No order makes both vanish: natural gradients "
        "linearise the map, the square root the parameters."
    ),
)


@rate.proof(generic_in="depth, order q, widths")
def sum_over_the_layers(formula):
    """The contributions of all layers are summed with a symbolic number of layers."""
    return map_dynamics.follows_from_layers(formula)


@rate.check(
    grid(depth=[2, 3, 5], q=[1, 1.5, 2, 7, inf], widths=["square", "widening", "waist"], start=["random"], seed=[0])
    + grid(depth=[2, 3], q=[1.5, inf], widths=["narrowing", "wide"], start=["zero factor", "equal modes"], seed=[0])
    + grid(depth=[1], q=[1, 3], widths=["narrowing"], start=["random"], seed=[0])
)
def unbalanced_networks(formula, depth, q, widths, start, seed):
    """Velocity of the map of a full unbalanced network with signed layers."""
    setting = started(depth, widths, start, seed)
    predicted = evaluate(formula, map_values(setting, q))
    return agree(measured(setting, q), predicted, bound=map_rounding(setting, q)).on(setting)


def _balanced_rate_agrees(formula, depth, q, widths, starts, seed) -> Evidence:
    setting = balanced_start(depth, widths, seed, starts=tuple(starts))
    values = map_values(setting, q)
    predicted = evaluate(map_dynamics.joined(formula), values)
    return agree(measured(setting, q), predicted, bound=map_rounding(setting, q)).on(setting)


_WRONG = {
    "stiffness without 1/q": lambda: {"stiffness": 2 * (DEPTH - 1) * (Q - 1) / DEPTH},
    "half of the stiffness": lambda: {"stiffness": map_dynamics.stiffness() / 2},
    "rate constant of the layers": lambda: {"rate constant": ETA},
    "rate constant times depth": lambda: {"rate constant": ETA * DEPTH},
}
_BALANCED_GRID = grid(depth=[1, 2, 3, 4], q=[1, 1.5, 2, 7, inf], widths=["widening", "wide"], starts=[(0.15, 0.4)], seed=[0])

signed = Claim(
    "map.balanced-rate-signed",
    source="A eq. 21",
    says="Balanced layers leave one equation for the map, with one exponent for depth and order; either sign of the map.",
    formula=map_dynamics.balanced_signed,
    given=(*GIVEN, BALANCED),
    uses=("map.rate",),
    near_misses={
        name: (lambda change=change: {**map_dynamics.balanced_signed(), **change()}) for name, change in _WRONG.items()
    },
    falsifiers={
        "sign kept outside": lambda: {
            **map_dynamics.balanced_signed(),
            "rate": map_dynamics.balanced_rate(Abs(SIGMA)) * SIGMA / Abs(SIGMA),
        }
    },
    remark=(
        "Depth and order enter symmetrically, as $`p = 2 (1 - 1/d)(1 - 1/q)`$: one layer, or the natural gradient, is linear; "
        "$`p < 2`$ always. A map of the wrong sign must pass zero, where for $`p \\ge 1`$ it gets stuck."
    ),
)


@signed.proof(generic_in="depth, order q, widths")
def balanced_couplings(formula):
    """All couplings are equal, so their squares are summed with a symbolic number of layers; both signs of the map."""
    return map_dynamics.follows_from_balance(formula)


@signed.check(
    _BALANCED_GRID + grid(depth=[2, 3], q=[1, 2, inf], widths=["narrowing", "waist"], starts=[(-0.3, 0.5)], seed=[1])
)
def balanced_networks(formula, depth, q, widths, starts, seed):
    """Velocity of the map of a full balanced network."""
    return _balanced_rate_agrees(formula, depth, q, widths, starts, seed)


printed = Claim(
    "map.balanced-rate",
    source="A eq. 21",
    says="With layers that are d-th roots of the map value, the map follows one equation with a power of the map value.",
    formula=map_dynamics.balanced,
    given=(*GIVEN, BALANCED),
    conditions=(NONNEGATIVE,),
    uses=("map.balanced-rate-signed",),
    near_misses={name: (lambda change=change: {**map_dynamics.balanced(), **change()}) for name, change in _WRONG.items()},
    remark=(
        "Balance fixes the sizes of the layers, not their signs. The printed root, and the power of the map value, need a "
        "map that is not negative; otherwise its absolute value belongs under the power."
    ),
)


@printed.proof(generic_in="depth, order q, widths, positive map")
def positive_map(formula):
    """The rate with positive map values."""
    return map_dynamics.follows_from_balance(formula, signs=(1,))


@printed.check(_BALANCED_GRID)
def positive_balanced_networks(formula, depth, q, widths, starts, seed):
    """Velocity of the map of full balanced networks with a positive map."""
    return _balanced_rate_agrees(formula, depth, q, widths, starts, seed)


@printed.without(NONNEGATIVE, grid(depth=[2, 3], q=[2, inf], widths=["wide"], starts=[(-0.3, 0.5)], seed=[0]))
def negative_map(formula, depth, q, widths, starts, seed):
    """One mode of the map starts negative."""
    return _balanced_rate_agrees(formula, depth, q, widths, starts, seed)


PROFILES = (("p = 0", 2, 1.0), ("p = 1/2", 2, 2.0), ("p = 3/4", 4, 2.0), ("p = 1", 2, inf), ("p = 3/2", 4, inf))
GOALS = (0.5, 1.0, 2.0)


def _theory(formula, depth: int, q: float, goal: float, start: float) -> tuple[np.ndarray, np.ndarray]:
    """Times and map values from start to 0.995 goal, by quadrature of the inverse rate (Gauss-Legendre per piece)."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = goal / (1 + (goal / start - 1) * np.exp(-np.linspace(0, np.log((goal / start - 1) * 199), 60)))
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    points = middle[:, None] + half[:, None] * nodes
    values = {SIGMA: points, SIGMA_STAR: goal, Q: q, DEPTH: depth, ETA: depth ** -(1 - 1 / q)}
    pieces = (weights / evaluate(map_dynamics.joined(formula), values)).sum(1) * half
    return np.concatenate([[0.0], np.cumsum(pieces)]), edges


@lru_cache(maxsize=16)
def _profile(depth: int, q: float) -> tuple[np.ndarray, np.ndarray]:
    """Times in units of the rate constant and the three modes of the map of a full balanced network."""
    p = 2 * (1 - 1 / depth) * (1 - 1 / q)
    starts = tuple(1e-4 * g if p < 1 else g / 100 for g in GOALS)
    setting = balanced_start(depth, (3,) * (depth + 1), 0, starts=starts, goals=GOALS)
    last = {0.0: 5.0, 0.5: 6.5, 0.75: 8.5, 1.0: 14.0, 1.5: 60.0}[round(p, 2)]
    times = np.linspace(0, last, 26)
    rule = order_rule(q, depth ** -(1 - 1 / q))
    return times, array(setting.frame.modes(flow(setting.net, setting.problem, rule, times, tolerance=1e-8).nets())).prod(1)


@signed.figure
def learning_curves(formula):
    """Learning curves of three modes at five stiffnesses, with their half-maximum points."""
    panels = []
    for title, depth, q in PROFILES:
        times, dots = _profile(depth, q)
        series = []
        for k, goal in enumerate(GOALS):
            x, y = _theory(formula, depth, q, goal, float(dots[0, k]))
            inside = x <= times[-1]
            series.append(Series(f"goal {goal:g}", x[inside], y[inside]))
            half = float(np.interp(goal / 2, y, x))
            series.append(Series("half" if k == 0 else "", [half], [goal / 2], "marker"))
        for k in range(len(GOALS)):
            series.append(Series("network" if k == 0 else "", times, dots[:, k], "simulation"))
        panels.append(Panel(title, r"time $\tilde\eta t$", r"map value $\sigma$", tuple(series)))
    return Figure(
        "Learning curves of three modes of one network, at five stiffnesses: natural gradient, square root at depth 2 and 4, "
        "gradient descent at depth 2 and 4. Lines: the balanced equation. The stiffer the map, the further apart the modes.",
        tuple(panels),
    )


@signed.figure
def loss_profiles(formula):
    """Loss of the same networks: exponential at p = 0, with plateaus and drops at large p."""
    panels = []
    for title, depth, q in PROFILES:
        times, dots = _profile(depth, q)
        fine = np.linspace(0, times[-1], 120)
        theory = np.zeros_like(fine)
        for k, goal in enumerate(GOALS):
            x, y = _theory(formula, depth, q, goal, float(dots[0, k]))
            theory += (np.interp(fine, x, y) - goal) ** 2 / 2
        series = (
            Series("theory", fine, theory),
            Series("network", times, ((dots - GOALS) ** 2).sum(1) / 2, "simulation"),
        )
        panels.append(Panel(title, r"time $\tilde\eta t$", "loss", series))
    return Figure(
        "Loss of the same networks. Gradient descent learns in stages, one mode after the other; the natural gradient has "
        "none, and the square root almost none.",
        tuple(panels),
    )


ranges = Claim(
    "map.stiffness-range",
    source="A figure 2",
    says="The square root keeps the stiffness of the map below 1; gradient descent starts there and tends to 2 with depth.",
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
        "Each row: the stiffness, its value at depth 2 and its limit, which no depth reaches. The best case of gradient "
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
    says="All squared layers of a mode grow by one common amount, so that one integral solves every depth, order and start.",
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
