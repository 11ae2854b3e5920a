"""Neighbouring layers of a network: values of their letters, rules with and without null component, flows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from numerics import autograd, curvature
from numerics.device import generator
from numerics.flows import Trajectory, flow
from numerics.frames import normal
from numerics.networks import DeepLinear, Direction, flatten, norm, scaled
from numerics.problems import Problem
from numerics.rules import BlockFractional, BlockNatural, Rule
from tests.checker.claim import Assumption
from tests.claims.settings import Setting, array, near_solution

SHAPES = ("square", "widening", "narrowing", "wide", "waist")
TIMES = tuple(0.25 * k for k in range(7))


def null_basis(net: DeepLinear) -> Tensor:
    """Orthonormal directions (P, dim) along which the map stands still, from the singular vectors of its Jacobian."""
    _, values, vectors = torch.linalg.svd(autograd.jacobian(net), full_matrices=True)
    return vectors[int((values > 1e-10 * values[0]).sum()) :].mT


@dataclass(frozen=True, slots=True)
class Clipped:
    """Gradient descent whose velocity has at most the given norm."""

    limit: float = 0.1

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        g = curvature.gradient(net, problem)
        return scaled(g, -min(1.0, self.limit / float(norm(g))))


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Gradient descent on a batch of one sample with its own noisy label."""

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        draw = generator(7)
        x, noise = normal((net.widths[0], 1), draw), normal((net.widths[-1], 1), draw)
        return scaled(curvature.back(net, (problem.error(net) @ x - noise) @ x.mT), -1.0)


@dataclass(frozen=True, slots=True)
class PerCoordinate:
    """Gradient descent with one positive factor for each weight, the root of its own curvature."""

    def velocity(self, net: DeepLinear, problem: Problem) -> Direction:
        """Return dw/dt."""
        diagonals = [
            (a.square().sum(0)[:, None], b.square().sum(1)[None, :])
            for a, b in zip(net.lefts(), net.rights(), strict=True)
        ]
        g = curvature.gradient(net, problem)
        return tuple(-one / (0.1 + up * low).sqrt() for one, (up, low) in zip(g, diagonals, strict=True))


RULES: dict[str, Rule] = {
    "clipped": Clipped(),
    "minibatch": Minibatch(),
    "block-natural": BlockNatural(),
    "block-square-root": BlockFractional(2),
    "per-coordinate": PerCoordinate(),
}


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A rule on a network with its task."""

    setting: Setting
    rule: Rule


def _no_null_component(run: Run) -> bool:
    velocity = flatten(run.rule.velocity(run.setting.net, run.setting.problem))
    return bool((null_basis(run.setting.net).mT @ velocity).norm() < 1e-8 * velocity.norm())


ORTHOGONAL = Assumption(
    "orthogonal to the null space",
    "the update has no component that leaves the end-to-end map unchanged",
    _no_null_component,
)


@lru_cache(maxsize=256)
def course(
    depth: int,
    widths: str | tuple[int, ...],
    seed: int,
    rule: Rule,
    correlated: bool = False,
    times: tuple[float, ...] = TIMES,
    spread: float = 0.6,
) -> tuple[Run, Trajectory]:
    """The flow of a rule from an unaligned, unbalanced network."""
    setting = near_solution(depth, widths, seed, spread=spread, correlated=correlated)
    return Run(setting, rule), flow(setting.net, setting.problem, rule, times, tolerance=1e-10)


def layer_pairs(weights: tuple[Tensor, ...], velocity: tuple[Tensor, ...] | None = None) -> list[dict[str, np.ndarray]]:
    """Values of the letters at every hidden layer: its two neighbours and, if given, their velocities."""
    found = []
    for i in range(len(weights) - 1):
        letters = {"w_i": array(weights[i]), "w_next": array(weights[i + 1])}
        if velocity is not None:
            letters |= {"v_i": array(velocity[i]), "v_next": array(velocity[i + 1])}
        found.append(letters)
    return found


def stacked(parts: list[np.ndarray]) -> np.ndarray:
    """Matrices of all hidden layers as one flat array; ``ValueError`` for a network without hidden layers."""
    if not parts:
        raise ValueError("depth: 1 given, allowed: >= 2, a balance needs a hidden layer")
    return np.concatenate([np.ravel(part) for part in parts])


def balance_rates(net: DeepLinear, velocity: Direction) -> list[np.ndarray]:
    """The derivative of every balance matrix along a velocity; exact by central differences."""
    return [array(net.add(velocity).balance(i) - net.add(velocity, -1.0).balance(i)) / 2 for i in range(1, net.depth)]


def multiple(formula: Any, mutant: Any) -> bool:
    """Whether a mutant is a non-zero multiple of the formula: conserved with it."""
    if not formula.terms or len(formula.terms) != len(mutant.terms):
        return False
    ratio = mutant.terms[0][0] / formula.terms[0][0]
    return ratio != 0 and mutant == formula * ratio
