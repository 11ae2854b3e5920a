"""Means over networks in Lemma 3: how far a mean of products is from a product of means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Symbol, sqrt

from derivations.compiled import evaluate
from derivations.information import lemma3, mean_lengths
from derivations.information.lemma3 import FIRST, LAYER, LINK
from derivations.information.mean_lengths import ABOVE, WIDTH
from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import normal
from numerics.perceptrons import output_jacobians
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_most
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.anatomy import Anatomy, opposite
from tests.claims.critical import critical_sample
from tests.claims.settings import array

FALSE_ALARM = 1e-6
LARGEST_WIDTH = 150


@lru_cache(maxsize=32)
def row_lengths(width: int, depth: int, beta: int, networks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """|J_1| and |J_beta| of a declared number of Gaussian linear networks with one output."""
    if not 1 <= beta <= depth:
        raise ValueError(f"beta: {beta} given, allowed: from 1 to the depth {depth}")
    if not 2 <= width <= LARGEST_WIDTH:
        raise ValueError(f"width: {width} given, allowed: from 2 to {LARGEST_WIDTH}")
    if networks < 2:
        raise ValueError(f"networks: {networks} given, allowed: at least 2")
    draw = generator(seed)
    net = perceptron((width,) * (depth + 1), 1, draw, ensemble="gaussian", activation="linear", seeds=networks)
    found = output_jacobians(net.forward(normal((width, 1), draw)))
    return array(found[0].norm(dim=(-2, -1))[:, 0]), array(found[beta - 1].norm(dim=(-2, -1))[:, 0])


def gap(first: np.ndarray, layer: np.ndarray) -> tuple[float, float]:
    """E[s_1 s_beta] / (E s_1 E s_beta) over networks, and the standard deviation of one network's share in it."""
    u, v = first / first.mean(), layer / layer.mean()
    found = float((u * v).mean())
    # to first order in the fluctuations of all three means
    return found, float((u * v - found * (u + v - 1)).std())


jensen = Claim(
    "curvature-bound.jensen-gap",
    source="B eqs. 33-34 (when they hold)",
    says="In Gaussian linear networks with one output the mean of the product of two Jacobian norms exceeds the "
    "product of their means by a factor for each matrix above the upper one.",
    formula=mean_lengths.jensen_gap,
    lhs=r"\frac{\mathbb{E}\, s_1 s_\beta}{\mathbb{E} s_1\, \mathbb{E} s_\beta}",
    near_misses={
        "one matrix less": lambda: mean_lengths.jensen_gap() ** ((ABOVE - 1) / ABOVE),
        "factors of both Jacobians": lambda: mean_lengths.jensen_gap() ** 2,
    },
    falsifiers={"no gap": lambda: WIDTH**0 * ABOVE**0},
    remark=(
        "Each factor is $`1 + 1/(2N)`$ up to terms of order $`N^{-2}`$: the mean of products is a product of means "
        "when the width is large against the number of layers, not at fixed width for large depth."
    ),
)


@jensen.proof(generic_in="width, depth, layer")
def lengths_of_gaussian_rows(formula):
    """Gaussian matrices multiply lengths of rows by independent factors, whose moments are radial integrals."""
    return mean_lengths.is_jensen_gap(formula)


GAPS = grid(width=[6], depth=[6], beta=[1, 3, 6], networks=[8000]) + grid(
    width=[20], depth=[4], beta=[1, 4], networks=[4000]
)


@jensen.check(GAPS)
def gaussian_linear_networks(formula, width, depth, beta, networks, seed):
    """Norms of the Jacobians of many full networks; the number of networks is fixed in advance."""
    first, layer = row_lengths(width, depth, beta, networks, seed)
    found, deviation = gap(first, layer)
    predicted = evaluate(formula, {WIDTH: width, ABOVE: depth - beta + 1})
    return agree(found, predicted, bound=sampling(deviation, networks, FALSE_ALARM, len(GAPS)))


@jensen.figure
def gap_against_width(formula):
    """The gap of the first bias block against the width, for three depths."""
    widths, panels = [4, 6, 10, 20, 40, 80, 150], []
    for depth in (2, 6):
        theory = evaluate(formula, {WIDTH: np.array(widths, float), ABOVE: depth}) - 1
        counts = [max(300, 40000 // width**2) for width in widths[:5]]  # wide networks need fewer, and more memory
        measured = [
            gap(*row_lengths(n, depth, 1, count, 7))[0] - 1 for n, count in zip(widths[:5], counts, strict=True)
        ]
        series = (Series("theory", widths, theory), Series("networks", widths[:5], measured, "simulation"))
        panels.append(Panel(f"{depth} hidden layers", "width", "gap", series, log_x=True, log_y=True))
    caption = "How far the mean of the squared Jacobian norm exceeds the square of its mean, relative to the latter."
    return Figure(caption, tuple(panels))


@dataclass(frozen=True, eq=False)
class Spread:
    """Norms of the Jacobians of the first and a later layer over networks, and of the block of their biases."""

    first: np.ndarray
    layer: np.ndarray
    block: np.ndarray
    link: float = 1.0

    def values(self) -> dict[Symbol, float]:
        """The means that the printed bound is made of."""
        return {FIRST: self.first.mean(), LAYER: self.layer.mean(), LINK: self.link}


STEADY = Assumption(
    "norms that do not fluctuate",
    "the norms of the Jacobians are the same for all networks and inputs, as they are in the limit of large width at "
    "fixed depth",
    lambda one: max(one.first.std() / one.first.mean(), one.layer.std() / one.layer.mean()) < 1e-10,
)

bias_blocks = Claim(
    "curvature-bound.bias-blocks",
    source="B eqs. 17 and 33-36",
    says="The mean norm of the block of the first and any bias is at most the product of the mean norms of both "
    "Jacobians and of the output curvature.",
    formula=lambda: lemma3.printed("bb"),
    lhs=r"\mathbb{E}\, s_{\max}(G_{b^1 b^\beta})",
    relation=r"\le",
    conditions=(STEADY,),
    uses=("curvature-bound.block-norms",),
    near_misses={"one Jacobian alone": lambda: LINK * LAYER},
    falsifiers={"root of the output curvature": lambda: FIRST * sqrt(LINK) * LAYER},
    remark=(
        "The mean of a product stands under the bound, and the product of means is not above it in general: for the "
        "diagonal block the mean of a square is never below the square of the mean. Orthogonal tanh networks exceed "
        "the bound visibly where the fixed length is not small; narrow Gaussian networks with one output do so by a "
        "factor that grows with the depth."
    ),
)


@bias_blocks.proof(generic_in="depth, widths, number of outputs")
def constant_norms(formula):
    """The bound of a single network, with norms that are the same for all."""
    return lemma3.is_product_of_norms(formula)


@lru_cache(maxsize=32)
def rigid(width: int, depth: int, beta: int, likelihood: str, readout: float, seed: int) -> Spread:
    """Orthogonal linear networks with one output, or two opposite ones and the softmax at input zero."""
    if not 1 <= beta <= depth:
        raise ValueError(f"beta: {beta} given, allowed: from 1 to the depth {depth}")
    draw, first, layer, block = generator(seed), [], [], []
    for _ in range(4):
        net = perceptron((width,) * (depth + 1), 1, draw, readout=readout, activation="linear")
        x = normal((width, 1), draw)
        if likelihood == "softmax":
            net, x = opposite(net), 0 * x
        one = Anatomy(net, x, likelihood)
        first.append(one.steepness[0, 0])
        layer.append(one.steepness[beta - 1, 0])
        block.append(one.norm("b1", f"b{beta}"))
    return Spread(np.array(first), np.array(layer), np.array(block), float(one.links[0]))


@bias_blocks.check(
    grid(width=[3], depth=[1], beta=[1], readout=[0.6, 1.7], likelihood=["identity", "softmax"], seed=[0])
    + grid(width=[5], depth=[4], beta=[1, 3], readout=[1.7], likelihood=["identity", "softmax"], seed=[1])
)
def orthogonal_linear_networks(formula, width, depth, beta, readout, likelihood, seed):
    """Networks whose Jacobians all have one norm, and vectors as Jacobians: there the bound is reached."""
    one = rigid(width, depth, beta, likelihood, readout, seed)
    bound = rounding(float(one.block.max()), 8 * width * (depth + 1))
    return agree(one.block.mean(), evaluate(formula, one.values()), bound=bound).on(one)


@bias_blocks.without(STEADY, grid(gains=[(1.0, 3.0), (0.5, 1.0, 2.0)], depth=[3], beta=[1, 2], seed=[0]))
def networks_of_different_gain(formula, gains, depth, beta, seed):
    """One orthogonal linear network with its readout multiplied by different gains, all equally likely: exact means."""
    one = rigid(4, depth, beta, "identity", 1.0, seed)
    factors = np.array(gains)
    spread = Spread(factors * one.first[0], factors * one.layer[0], factors**2 * one.block[0])
    bound = rounding(float(spread.block.max()), 8 * 4 * (depth + 1))
    return at_most(spread.block.mean(), evaluate(formula, spread.values()), bound=bound).on(spread)


@bias_blocks.without(STEADY, grid(width=[6], depth=[6], beta=[1, 3], networks=[8000]))
def narrow_gaussian_networks(formula, width, depth, beta, networks, seed):
    """Gaussian linear networks on one input with one output, where the block has the norm s_1 s_beta."""
    first, layer = row_lengths(width, depth, beta, networks, seed)
    return _sampled(formula, Spread(first, layer, first * layer))


def _sampled(formula, spread: Spread) -> Evidence:
    deviation = gap(spread.first, spread.layer)[1] * spread.first.mean() * spread.layer.mean()
    bound = sampling(float(deviation), len(spread.block), FALSE_ALARM)
    return at_most(spread.block.mean(), evaluate(formula, spread.values()), bound=bound).on(spread)


@lru_cache(maxsize=8)
def critical_norms(qstar: float, width: int, depth: int, beta: int, networks: int, seed: int) -> Spread:
    """Norms of the block of biases and of both Jacobians: critical orthogonal tanh networks, one input, one output."""
    if not 1 <= beta <= depth:
        raise ValueError(f"beta: {beta} given, allowed: from 1 to the depth {depth}")
    drawn = critical_sample(qstar, width, depth, outputs=1, samples=1, seeds=networks, seed=seed)
    jacobians = output_jacobians(drawn.found)
    first, layer = jacobians[0][:, 0], jacobians[beta - 1][:, 0]
    norms = [array(torch.linalg.matrix_norm(matrix, 2)) for matrix in (first, layer, first.mT @ layer)]
    return Spread(norms[0], norms[1], norms[2])


@bias_blocks.without(STEADY, grid(qstar=[8.0], width=[20], depth=[6], beta=[1, 3], networks=[2000]))
def orthogonal_tanh_networks(formula, qstar, width, depth, beta, networks, seed):
    """Critical orthogonal tanh networks, the paper's own kind, at the largest of its fixed lengths."""
    return _sampled(formula, critical_norms(qstar, width, depth, beta, networks, seed))
