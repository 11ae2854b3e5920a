"""The plane of the two layer values of one mode: networks whose modes are its points, and the five fields over it."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np

from derivations.notation import SIGMA_DELTA
from numerics.rules import BlockFractional, BlockNatural, Fractional, Rule
from tests.checker.bounds import rounding
from tests.checker.evidence import Bound
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned

FIELDS: dict[str, Rule] = {
    "SGD": Fractional(inf),
    "NGD": Fractional(1),
    "square root NGD": Fractional(2),
    "NGD-d": BlockNatural(),
    "square root NGD-d": BlockFractional(2),
}


@lru_cache(maxsize=64)
def plane(points: tuple[tuple[float, float], ...], goal: float, seed: int = 0, *, wider: int = 0) -> Setting:
    """A two-layer network each of whose modes is one point of the plane, with ``wider`` more hidden units."""
    first, second = zip(*points, strict=True)
    size = len(points)
    widths = (size, size + wider, size)
    return aligned(2, widths, seed, modes=(first, second), goals=(goal,) * size)


@lru_cache(maxsize=64)
def scattered(seed: int, *, quadrants: tuple[int, ...] = (0, 1, 2, 3), count: int = 12, wider: int = 0) -> Setting:
    """Points of the plane in the given quadrants, away from the axes, for the goal 1."""
    draw = np.random.default_rng(seed)
    angle = draw.uniform(0.2, np.pi / 2 - 0.2, count) + np.pi / 2 * np.resize(quadrants, count)
    radius = draw.uniform(0.3, 1.2, count)
    points = tuple((float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radius, angle, strict=True))
    return plane(points, 1.0, seed, wider=wider)


@lru_cache(maxsize=256)
def field(setting: Setting, rule: Rule) -> tuple[np.ndarray, Bound]:
    """Velocity of all modes per unit of |sigma_Delta|, shape (d, r), from the full weight matrices, and its budget."""
    gap = np.abs(mode_values(setting)[SIGMA_DELTA])
    velocity, values = mode_velocity(setting, rule), np.abs(setting.modes())
    if isinstance(rule, Fractional):
        budget = velocity_rounding(setting, -1 / rule.q)
    else:
        # a layer-restricted rule decomposes single layers: their spread takes the place of the kernel's
        spread = float(values.max() / values.min()) ** (2 * max(setting.net.depth - 1, 1))
        budget = rounding(float(np.abs(velocity).max()), sum(setting.net.widths) * setting.net.depth, spread)
    return velocity / gap, Bound((("rounding", budget.total / float(gap.min())),))
