"""Dynamics of the map under fractional natural gradients: chain rule, rate, balance, stiffness, one quadrature."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Abs

from derivations.compiled import evaluate
from derivations.deep_linear import map_dynamics
from derivations.notation import (
    DEPTH,
    ETA,
    J_I,
    NORM_J,
    SIGMA,
    SIGMA_DOT,
    SIGMA_I,
    SIGMA_I_DOT,
    SIGMA_STAR,
    Q,
)
from numerics.flows import flow
from numerics.rules import Fractional
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED, BALANCED
from tests.claims.maps import (
    GIVEN,
    NONNEGATIVE,
    balanced_start,
    map_rounding,
    map_values,
    measured,
    order_rule,
)
from tests.claims.modes import mode_values, mode_velocity
from tests.claims.modes_natural import NETS, RATE, started
from tests.claims.settings import array

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
        "The parameters feel the exponent $`1 - 2/q`$, the map $`2 - 2/q`$. No order makes both vanish: natural "
        "gradients "
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
_BALANCED_GRID = grid(
    depth=[1, 2, 3, 4], q=[1, 1.5, 2, 7, inf], widths=["widening", "wide"], starts=[(0.15, 0.4)], seed=[0]
)

signed = Claim(
    "map.balanced-rate-signed",
    source="A eq. 21",
    says=(
        "Balanced layers leave one equation for the map, with one exponent for depth and order; either sign of the map."
    ),
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
        "Depth and order enter symmetrically, as $`p = 2 (1 - 1/d)(1 - 1/q)`$: one layer, or the natural "
        "gradient, is linear; "
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
    says=(
        "With layers that are d-th roots of the map value, the map follows one equation with a power of the map value."
    ),
    formula=map_dynamics.balanced,
    given=(*GIVEN, BALANCED),
    conditions=(NONNEGATIVE,),
    uses=("map.balanced-rate-signed",),
    near_misses={
        name: (lambda change=change: {**map_dynamics.balanced(), **change()}) for name, change in _WRONG.items()
    },
    remark=(
        "Balance fixes the sizes of the layers, not their signs. The printed root, and the power of the map "
        "value, need a "
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
    return times, array(
        setting.frame.modes(flow(setting.net, setting.problem, rule, times, tolerance=1e-6).nets())
    ).prod(1)


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
        "Learning curves of three modes of one network, at five stiffnesses: natural gradient, square root at "
        "depth 2 and 4, "
        "gradient descent at depth 2 and 4. Lines: the balanced equation. The stiffer the map, the further apart "
        "the modes.",
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
        "Loss of the same networks. Gradient descent learns in stages, one mode after the other; the natural "
        "gradient has "
        "none, and the square root almost none.",
        tuple(panels),
    )
