"""Balanced starts, and velocity, rounding and history of the map of a full network; no claim of its own."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np

from derivations.notation import (
    DEPTH,
    ETA,
    J_I,
    NORM_J,
    SIGMA,
    SIGMA_DELTA,
    SIGMA_STAR,
    Q,
)
from numerics.curvature import forward
from numerics.flows import flow
from numerics.rules import Fractional, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Assumption
from tests.checker.evidence import Bound
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.modes import mode_values, velocity_rounding
from tests.claims.modes_natural import RATE
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
    """Modes of the map (T, r) along the flow of a rule, with the errors of weights and start carried along."""
    path = flow(setting.net, setting.problem, rule, times)
    values = array(setting.frame.modes(path.nets()))
    depth, widest = setting.net.depth, max(setting.net.widths)
    coupling = max(float(np.abs(np.delete(values, i, axis=1).prod(1)).max()) for i in range(depth))
    speed = np.abs([map_velocity(setting.moved(net), rule) for net in path])
    carried = max(1.0, float((speed / speed[0]).max()))
    bound = integration(depth * coupling * widest * path.error)
    sizes = sum(setting.net.widths)
    return values.prod(1), bound + rounding(float(np.abs(values.prod(1)).max()), depth * sizes, carried)
