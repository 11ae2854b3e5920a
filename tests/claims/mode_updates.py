"""Measured velocities and speeds of aligned singular modes, from the full weight matrices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Expr

from derivations.compiled import evaluate
from derivations.notation import DEPTH, ETA, J_I, NORM_J, Q
from numerics.rules import Fractional
from tests.checker.claim import grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned, array

RATE = 0.7
STARTS = ("random", "zero factor", "equal modes")
SHAPES = ("square", "widening", "narrowing", "wide", "waist")
NETS = grid(depth=[2, 3, 5], widths=SHAPES, start=STARTS, seed=[0]) + grid(
    depth=[1], widths=["narrowing"], start=["random"], seed=[0]
)
GIVEN = (ALIGNED, ACTIVE, WHITENED)


@lru_cache(maxsize=512)
def started(depth: int, widths: str | tuple[int, ...], start: str, seed: int, device: str = "cpu") -> Setting:
    """An aligned network: random signed modes, one zero factor in the first mode, or all modes equal."""
    if start not in STARTS:
        raise ValueError(f"start: {start} given, allowed: {', '.join(STARTS)}")
    setting = aligned(depth, widths, seed, device=device)
    if start == "random":
        return setting
    table = setting.modes().copy()
    if start == "zero factor":
        table[0, 0] = 0.0
    else:
        table[:] = table[:, :1]
    goals = tuple(map(float, array(setting.goals)))
    return aligned(depth, widths, seed, device=device, modes=tuple(map(tuple, table.tolist())), goals=goals)


@lru_cache(maxsize=2048)
def measured_velocity(setting: Setting, q: float) -> np.ndarray:
    """Velocities of the mode values (d, r) from the full weight matrices under the fractional rule."""
    return mode_velocity(setting, Fractional(q, RATE))


def measured_speed(setting: Setting, q: float) -> np.ndarray:
    """The speed of each mode, shape (r,)."""
    return np.sqrt(np.square(measured_velocity(setting, q)).sum(0))


def predicted(formula: Expr, setting: Setting, q: float = 1) -> np.ndarray:
    """A formula in j_i, ||j||, sigma_Delta, q, d and eta on all modes, shape (d, r)."""
    values = {**mode_values(setting), Q: q, ETA: RATE, DEPTH: setting.net.depth}
    return np.broadcast_to(evaluate(formula, values), values[J_I].shape)


def speed_agrees(formula: Expr, setting: Setting, q: float) -> Evidence:
    """Measured speeds of all modes against a formula."""
    found, wanted = measured_speed(setting, q), predicted(formula, setting, q)[0]
    bound = velocity_rounding(setting, -1 / q)
    return agree(found, wanted, bound=bound, axis=mode_values(setting)[NORM_J][0]).on(setting)


SCALES = (0.2, 0.5, 1.0, 2.0)


def one_mode(depth: int, scale: float, seed: int) -> Setting:
    """A square network with one mode whose layers all carry about ``scale``, all other modes idle."""
    shares = 1 + 0.3 * np.cos(np.arange(depth))
    return aligned(depth, (3,) * (depth + 1), seed, modes=tuple((float(scale * s),) for s in shares), goals=(1.0,))
