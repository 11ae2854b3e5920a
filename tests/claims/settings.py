"""Networks with their task, as the claims set them up; the only place where shapes and seeds are turned into nets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from numerics import initialisations as init
from numerics.device import generator
from numerics.initialisations import Frame
from numerics.networks import DeepLinear
from numerics.problems import Problem, covariance

SHAPES = ("square", "widening", "narrowing", "wide", "waist")


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A network, its task, and, where it was built from singular modes, the frame and the teacher's mode values."""

    net: DeepLinear
    problem: Problem
    frame: Frame | None = None
    goals: Tensor | None = None

    def moved(self, net: DeepLinear) -> Setting:
        """The same task and frame with another network."""
        return replace(self, net=net)

    def modes(self) -> np.ndarray:
        """Signed mode values sigma_i of the layers, shape (*S, d, r)."""
        if self.frame is None:
            raise ValueError("frame: none given, allowed: a setting built by `aligned`")
        return array(self.frame.modes(self.net))


def array(values: Any) -> np.ndarray:
    """A tensor as float64 numpy on the CPU."""
    return np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def sizes(depth: int, widths: str | tuple[int, ...], base: int = 4) -> tuple[int, ...]:
    """Widths (n_0, ..., n_d) from the name of a shape or from a tuple; raises ``ValueError`` if they do not fit.

    square: all equal; widening, narrowing: strictly monotone; wide: hidden layers wider than both ends;
    waist: the middle hidden layer narrower than both ends (for depth 1 the ends only).
    """
    if isinstance(widths, tuple):
        if len(widths) != depth + 1:
            raise ValueError(f"widths: {len(widths)} sizes given, allowed: depth + 1 = {depth + 1} sizes")
        return widths
    if depth < 1:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 1")
    ends = (base, base - 1)
    hidden = [base + 1] * (depth - 1)
    if depth > 1:
        hidden_waist = [*hidden]
        hidden_waist[(depth - 1) // 2] = 2
    table = {
        "square": (base,) * (depth + 1),
        "widening": tuple(2 + k for k in range(depth + 1)),
        "narrowing": tuple(2 + depth - k for k in range(depth + 1)),
        "wide": (ends[0], *hidden, ends[1]),
        "waist": (ends[0], *hidden_waist, ends[1]) if depth > 1 else ends,
    }
    if widths not in table:
        raise ValueError(f"widths: {widths} given, allowed: depth + 1 sizes, or one of {', '.join(table)}")
    return table[widths]


def _spread(count: int, low: float, high: float, draw: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    uniform = torch.rand((*shape, count), generator=draw, dtype=torch.float64)
    return low + (high - low) * uniform


@lru_cache(maxsize=512)
def aligned(
    depth: int,
    widths: str | tuple[int, ...],
    seed: int,
    *,
    signed: bool = True,
    device: str = "cpu",
    low: float = 0.5,
    high: float = 1.5,
    modes: tuple[tuple[float, ...], ...] | None = None,
    goals: tuple[float, ...] | None = None,
    seeds: int | None = None,
) -> Setting:
    """An aligned network (unbalanced signed modes between ``low`` and ``high``) with an aligned teacher.

    ``modes`` (d rows of r mode values) and ``goals`` (r teacher values) may be prescribed. Every second layer of the
    first mode is negative if ``signed``, so that negative couplings occur.
    """
    n, draw = sizes(depth, widths), generator(seed, "cpu")
    rank = len(modes[0]) if modes else min(n)
    values = torch.tensor(modes, dtype=torch.float64) if modes else _spread(rank, low, high, draw, (depth,))
    if signed and modes is None:
        values[::2, 0] *= -1
    net, frame = init.aligned(values, n, draw, seeds=seeds, device=device)
    aims = torch.tensor(goals, dtype=torch.float64) if goals else _spread(rank, 1.0, 2.5, draw, ())
    teacher = init.aligned_teacher(frame, aims)
    return Setting(net, Problem(teacher), frame, aims)


@lru_cache(maxsize=512)
def generic(
    depth: int,
    widths: str | tuple[int, ...],
    seed: int,
    *,
    scale: float = 1.0,
    correlated: bool = False,
    device: str = "cpu",
    seeds: int | None = None,
) -> Setting:
    """A Gaussian network with a Gaussian teacher, nothing aligned; ``correlated`` inputs have a random covariance."""
    n, draw = sizes(depth, widths), generator(seed, "cpu")
    net = init.gaussian(n, draw, scale=scale, seeds=seeds, device=device)
    teacher = init.normal((n[-1], n[0]), draw, seeds).to(net.device)
    inputs = covariance(n[0], draw, condition=6.0).to(net.device) if correlated else None
    return Setting(net, Problem(teacher, inputs))


@lru_cache(maxsize=512)
def near_solution(
    depth: int, widths: str | tuple[int, ...], seed: int, *, spread: float = 0.3, correlated: bool = False
) -> Setting:
    """A well-conditioned unaligned network whose teacher lies close to its map, so that every flow is smooth."""
    n, draw = sizes(depth, widths), generator(seed, "cpu")
    start = init.orthogonal(n, draw)
    noise = [init.normal(tuple(w.shape), draw) for w in start.weights]
    net = start.replace([w + spread * e / w.shape[-1] ** 0.5 for w, e in zip(start.weights, noise, strict=True)])
    shift = init.normal((n[-1], n[0]), draw) / (n[0] * n[-1]) ** 0.5
    inputs = covariance(n[0], draw, condition=6.0) if correlated else None
    return Setting(net, Problem(net.product() + spread * shift, inputs))


def layer_values(setting: Setting, i: int, **more: Any) -> dict[str, np.ndarray]:
    """Values of the letters of one representative layer: A_i, w_i, B_i, W, Wstar, Delta, Sigma_x, and ``more``."""
    net, problem = setting.net, setting.problem
    inputs = problem.covariance
    return {
        "A": array(net.left(i)),
        "w": array(net.weights[i - 1]),
        "B": array(net.right(i)),
        "W": array(net.product()),
        "Wstar": array(problem.teacher),
        "Delta": array(problem.error(net)),
        "Sigma_x": np.eye(net.widths[0]) if inputs is None else array(inputs),
        **{name: array(value) for name, value in more.items()},
    }
