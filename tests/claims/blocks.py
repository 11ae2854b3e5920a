"""Networks under block-diagonal rules: letters of one layer, condition of the blocks, starts that stay smooth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from derivations.deep_linear.layerwise import A_PLUS, B_PLUS, ROOT, SEEN_PLUS
from derivations.notation import ETA, ETA_I
from numerics.rules import BlockFractional, BlockNatural
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption
from tests.checker.evidence import Bound
from tests.claims.settings import Setting, aligned, array, generic, layer_values, near_solution

RATE = 0.7
SHAPES = ("square", "widening", "narrowing", "wide", "waist")
_CUT = 1e-11


def rank(matrix: torch.Tensor) -> int:
    """The number of singular values above the cut-off."""
    values = torch.linalg.svdvals(matrix)
    return int((values > _CUT * values[0]).sum()) if float(values[0]) > 0 else 0


def _unobstructed(setting: Setting) -> bool:
    net = setting.net
    return rank(net.left(1)) == net.widths[-1] and rank(net.right(net.depth)) == net.widths[0]


UNOBSTRUCTED = Assumption(
    "unobstructed layers",
    "the layers above the first reach every output, and the layers below the last keep every input apart",
    _unobstructed,
)


def rates_of(depth: int, shares: str) -> tuple[float, ...]:
    """Learning rates of the layers as shares that add up to 1; raises ``ValueError`` for an unknown name."""
    table = {"equal": np.ones(depth), "rising": np.arange(1.0, depth + 1)}
    if shares not in table:
        raise ValueError(f"shares: {shares} given, allowed: {', '.join(table)}")
    return tuple((table[shares] / table[shares].sum()).tolist())


def layers(setting: Setting, rates: Sequence[float], **more: Any) -> list[dict[Any, Any]]:
    """Values of the letters of all layers: factors, their pseudo-inverses, learning rates."""
    root = setting.problem.root
    found = []
    for i, rate in enumerate(rates, start=1):
        one = layer_values(setting, i, **more)
        inputs = np.eye(one["B"].shape[-1]) if root is None else array(root)
        found.append(
            {
                **one,
                A_PLUS: np.linalg.pinv(one["A"], rcond=_CUT),
                B_PLUS: np.linalg.pinv(one["B"], rcond=_CUT),
                ROOT: inputs,
                SEEN_PLUS: np.linalg.pinv(one["B"] @ inputs, rcond=_CUT),
                ETA_I: RATE * rate,
                ETA: RATE,
            }
        )
    return found


def _kept(matrix: torch.Tensor) -> np.ndarray:
    values = array(torch.linalg.svdvals(matrix))
    return values[values > _CUT * values[0]]


@lru_cache(maxsize=1024)
def block_scale(setting: Setting, power: float) -> tuple[float, float]:
    """Largest weight |H_i|^{1/2 + power} over the blocks, times |Delta|, and the worst condition of H_i^{1/2}."""
    net, problem = setting.net, setting.problem
    weight, condition = 0.0, 1.0
    for a, b in zip(net.lefts(), net.rights(), strict=True):
        upper, lower = _kept(a), _kept(b if problem.root is None else b @ problem.root)
        products = np.outer(upper, lower)
        weight = max(weight, float((products ** (1 + 2 * power)).max()))
        condition = max(condition, float(products.max() / products.min()))
    error = problem.error(net)
    whitened = error if problem.root is None else error @ problem.root
    return weight * float(torch.linalg.matrix_norm(whitened)), condition


def block_rounding(setting: Setting, power: float = -1.0, factor: float = 1.0, *, formed: bool = False) -> Bound:
    """Rounding of H_i^power g_i: two decompositions of products of layers, on the scale of the update.

    A block that is formed as a matrix (``formed``) has the squared condition of its factors.
    """
    scale, condition = block_scale(setting, power)
    condition = condition**2 if formed else condition
    widths = setting.net.widths
    return rounding(RATE * scale * factor, sum(widths) + widths[0] + widths[-1], condition)


@lru_cache(maxsize=512)
def heading(
    depth: int, widths: str | tuple[int, ...], seed: int, factor: float = 1.6, low: float = 0.6, high: float = 1.4
) -> Setting:
    """An aligned network with signed unequal modes whose teacher asks for ``factor`` times each map value."""
    if not factor > 0:
        raise ValueError(f"factor: {factor} given, allowed: factor > 0")
    start = aligned(depth, widths, seed, low=low, high=high)
    table = start.modes()
    goals = tuple(float(value) for value in factor * table.prod(0))
    return aligned(depth, widths, seed, modes=tuple(map(tuple, table.tolist())), goals=goals)


@lru_cache(maxsize=512)
def network(depth: int, widths: str | tuple[int, ...], start: str, seed: int) -> Setting:
    """A network by the name of its start, as listed below; "near" has a teacher close to its map."""
    makers = {
        "aligned": lambda: aligned(depth, widths, seed),
        "near": lambda: near_solution(depth, widths, seed),
        "generic": lambda: generic(depth, widths, seed),
        "correlated": lambda: near_solution(depth, widths, seed, correlated=True),
        "equal modes": lambda: _special(depth, widths, seed, equal=True),
        "zero factor": lambda: _special(depth, widths, seed, zeros=1),
        "two zero factors": lambda: _special(depth, widths, seed, zeros=2),
        "zero mode": lambda: _special(depth, widths, seed, zeros=1, single=True),
    }
    if start not in makers:
        raise ValueError(f"start: {start} given, allowed: {', '.join(makers)}")
    return makers[start]()


def _special(
    depth: int, widths: str | tuple[int, ...], seed: int, *, zeros: int = 0, equal: bool = False, single: bool = False
) -> Setting:
    """Zero layers in the first mode, or layers of one size; ``single`` leaves no error in all other modes."""
    start = aligned(depth, widths, seed)
    table = start.modes().copy()
    if equal:
        table = np.sign(table) * np.abs(table[:1])
    table[:zeros, 0] = 0.0
    goals = table.prod(0) + (np.arange(table.shape[1]) == 0) if single else array(start.goals)
    return aligned(depth, widths, seed, modes=tuple(map(tuple, table.tolist())), goals=tuple(map(float, goals)))


@lru_cache(maxsize=1024)
def block_velocity(setting: Setting, q: float, shares: str = "equal") -> tuple[torch.Tensor, ...]:
    """The update of all layers under a block-diagonal rule; unequal shares of the rate for q = 1 only."""
    if q == 1:
        rule = BlockNatural(RATE, rates_of(setting.net.depth, shares))
        return rule.velocity(setting.net, setting.problem)
    return BlockFractional(q, RATE).velocity(setting.net, setting.problem)
