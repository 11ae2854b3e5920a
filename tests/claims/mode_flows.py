"""Flows of aligned networks read in their modes, and the time at which a mode is halfway."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.optimize import brentq

from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear
from numerics.rules import Rule
from tests.claims.settings import Setting, aligned, array


@lru_cache(maxsize=256)
def run(setting: Setting, rule: Rule, stop: float, count: int) -> Trajectory:
    """The flow of a rule, reported at equal times."""
    return flow(setting.net, setting.problem, rule, list(np.linspace(0.0, stop, count)))


@lru_cache(maxsize=256)
def mode_history(setting: Setting, rule: Rule, stop: float, count: int) -> tuple[np.ndarray, float]:
    """Mode values along the flow of a rule, shape (T, d, r), and the error of its weights."""
    found = run(setting, rule, stop, count)
    return array(setting.frame.modes(found.nets())), found.error


@lru_cache(maxsize=64)
def until_half(setting: Setting, rule: Rule, mode: int = 0) -> tuple[float, DeepLinear, float]:
    """Time at which the map value of a mode is half of its goal, the network there, and the error of its weights."""
    goal, net, time, error = float(setting.goals[mode]) / 2, setting.net, 0.0, 0.0
    if _map_value(setting, net, mode) >= goal:
        raise ValueError("setting: the mode starts beyond half of its goal, allowed: a start below")
    length = 0.5
    while True:
        ahead = flow(net, setting.problem, rule, list(np.linspace(0.0, length, 9)))
        beyond = [k for k in range(1, 9) if _map_value(setting, ahead.net(k), mode) >= goal]
        last = beyond[0] - 1 if beyond else 8
        net, time, error = ahead.net(last), time + float(ahead.times[last]), error + ahead.error
        if beyond:
            break
        length *= 2
    length /= 8

    def excess(span: float) -> float:
        here = flow(net, setting.problem, rule, [0.0, span]).net(1) if span else net
        return _map_value(setting, here, mode) - goal

    length = brentq(excess, 0.0, length, xtol=1e-14)
    ahead = flow(net, setting.problem, rule, [0.0, length])
    return time + length, ahead.net(1), error + ahead.error


def _map_value(setting: Setting, net: DeepLinear, mode: int) -> float:
    return float(setting.frame.modes(net).prod(-2)[mode])


@lru_cache(maxsize=32)
def balanced_modes(
    depth: int, widths: str | tuple[int, ...], goals: tuple[float, ...], start: float, seed: int
) -> Setting:
    """An aligned network whose layers share the mode values, each map value starting at ``start`` times its goal."""
    if min(goals) <= 0:
        raise ValueError(f"goal: {min(goals)} given, allowed: goal > 0")
    if not 0 < start < 0.5:
        raise ValueError(f"start: {start} given, allowed: 0 < start < 0.5, a fraction of the goal")
    row = tuple((start * goal) ** (1 / depth) for goal in goals)
    return aligned(depth, widths, seed, modes=(row,) * depth, goals=goals)
