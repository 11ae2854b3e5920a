"""Means over networks in Lemma 3: how far a mean of products is from a product of means, and a norm from a mean."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import sqrt

from derivations.compiled import evaluate
from derivations.information import lemma3, norm_bounds
from derivations.information.lemma3 import BELOW, FIRST, JOINT, LAYER, LENGTHS, LINK, MEAN_INPUT, PHI
from derivations.information.norm_bounds import ABOVE, PHI_SIZE, WIDTH
from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import normal
from numerics.perceptrons import output_jacobians
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most
from tests.checker.figure import Figure, Panel, Series
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
    formula=norm_bounds.jensen_gap,
    lhs=r"\frac{\mathbb{E}\, s_1 s_\beta}{\mathbb{E} s_1\, \mathbb{E} s_\beta}",
    near_misses={
        "one matrix less": lambda: norm_bounds.jensen_gap() ** ((ABOVE - 1) / ABOVE),
        "factors of both Jacobians": lambda: norm_bounds.jensen_gap() ** 2,
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
    return norm_bounds.is_jensen_gap(formula)


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


bias_blocks = Claim(
    "curvature-bound.bias-blocks-as-printed",
    source="B eqs. 17 and 33-36",
    says="The mean norm of the block of the first and any bias is at most the product of the mean norms of both "
    "Jacobians and of the output curvature.",
    formula=lambda: lemma3.printed("bb"),
    control=lambda: lemma3.corrected("bb"),
    corrected_by=("curvature-bound.block-norms", "curvature-bound.jensen-gap"),
    lhs=r"\mathbb{E}\, s_{\max}(G_{b^1 b^\beta})",
    relation=r"\le",
    near_misses={"half the mean": lambda: JOINT["bb"] / 2},
    falsifiers={"half the product of means": lambda: FIRST * LINK * LAYER / 2},
    mutate=False,
    remark=(
        "The mean of a product of correlated factors takes the place of the product of means. For the diagonal block "
        "it is the mean of a square, which is never below the square of the mean. The statement holds in the limit of "
        "large width at fixed depth, where the norms do not fluctuate."
    ),
)


@bias_blocks.proof(instances="two ReLU networks of one unit with gains 1 and 3")
def two_gains(formula):
    """Networks of different gain make the mean of the square larger than the square of the mean."""
    return lemma3.against_witness(formula, "bb")


@bias_blocks.check(grid(width=[6], depth=[6], beta=[1, 3], networks=[8000]))
def narrow_gaussian_networks(formula, width, depth, beta, networks, seed):
    """Gaussian linear networks on one input with one output, where the block has the norm s_1 s_beta."""
    first, layer = row_lengths(width, depth, beta, networks, seed)
    block = first * layer
    values = {FIRST: first.mean(), LAYER: layer.mean(), LINK: 1.0, JOINT["bb"]: block.mean()}
    bound = sampling(gap(first, layer)[1] * first.mean() * layer.mean(), networks, FALSE_ALARM)
    return at_most(block.mean(), evaluate(formula, values), bound=bound)


UNITS = grid(width=[5, 12], activation=["relu", "tanh"], networks=[20000])


@lru_cache(maxsize=16)
def first_activations(width: int, activation: str, networks: int, seed: int) -> np.ndarray:
    """x^1 of many Gaussian networks on one input of three numbers with |x^0|^2 / 3 = 1, shape (networks, width)."""
    draw = generator(seed)
    x = normal((3, 1), draw)
    net = perceptron((3, width), 1, draw, ensemble="gaussian", activation=activation, seeds=networks)
    return array(net.forward(x * 3**0.5 / x.norm()).x[1][..., 0])


def mean_activation(activation: str) -> float:
    """E phi(h) for a standard normal h: zero for odd activations, by a half-line integral for ReLU."""
    if activation in ("tanh", "erf", "linear"):
        return 0.0
    if activation != "relu":
        raise ValueError(f"activation: {activation} given, allowed: relu, tanh, erf, linear")
    return float((2 * torch.pi) ** -0.5)


averaged = Claim(
    "curvature-bound.averaged-activation",
    source="B eqs. 14, 25 and 31 (corrected)",
    says="Averaged over networks, the activations of a layer form a vector whose length is the root of the number of "
    "units in that layer times the mean activation.",
    formula=norm_bounds.averaged_activation,
    lhs=r"\lVert \mathbb{E}_W\, x \rVert",
    near_misses={"root of the width lost": lambda: PHI_SIZE},
    falsifiers={"width instead of its root": lambda: WIDTH * PHI_SIZE},
    remark=(
        "For one and the same network the length of the activations is not this but the root of the sum of squares, "
        "which does not vanish for odd activations."
    ),
)


@averaged.proof(generic_in="width, activation")
def exchangeable_units(formula):
    """All units of a layer have one mean."""
    return norm_bounds.is_averaged_activation(formula)


@averaged.check(UNITS)
def mean_of_many_networks(formula, width, activation, networks, seed):
    """The mean vector of the first layer of many networks; its length errs by at most that of its fluctuations."""
    found = first_activations(width, activation, networks, seed)
    predicted = evaluate(formula, {WIDTH: width, PHI_SIZE: mean_activation(activation)})
    fluctuation = float(np.sqrt(found.var(0).sum()))
    bound = sampling(fluctuation, networks, FALSE_ALARM, len(UNITS))
    typical = float(np.sqrt((found**2).sum(-1)).mean())
    return agree(np.linalg.norm(found.mean(0)), predicted, bound=bound, scale=typical)


outer = Claim(
    "curvature-bound.mean-outer-product-as-printed",
    source="B eqs. 24-25, 27-28 and 30-31",
    says="The mean norm of the outer product of activations and inputs is the root of the width times the mean "
    "activation times the length of the mean input.",
    formula=lambda: norm_bounds.averaged_activation().xreplace({WIDTH: BELOW, PHI_SIZE: PHI}) * MEAN_INPUT,
    control=lambda: LENGTHS,
    corrected_by=("curvature-bound.block-norms", "curvature-bound.averaged-activation"),
    lhs=r"\mathbb{E}\, s_{\max}(\phi(h)\, x^{0 \mathsf{T}})",
    near_misses={"a root of the width more": lambda: sqrt(BELOW) * LENGTHS},
    falsifiers={"half of it": lambda: LENGTHS / 2},
    remark=(
        "An outer product has the product of the lengths as its norm, so its mean is the mean product. The printed "
        "right side belongs to the norm of the mean outer product, and even there to inputs of one length only."
    ),
)


@outer.proof(instances="a ReLU network of one unit on the inputs 1 and -1")
def inputs_of_opposite_sign(formula):
    """The mean input vanishes, the lengths do not."""
    return lemma3.step_witness(formula)


@outer.check(grid(width=[5, 12], activation=["relu", "tanh"], samples=[4], networks=[200]))
def outer_products(formula, width, activation, samples, networks, seed):
    """Outer products of first activations and inputs in many networks on a few inputs."""
    draw = generator(seed)
    x = normal((3, samples), draw)
    net = perceptron((3, width), 1, draw, ensemble="gaussian", activation=activation, seeds=networks)
    found = net.forward(x).x[1]
    products = found.mT[..., :, None] * x.mT[:, None, :]
    observed = array(torch.linalg.matrix_norm(products, 2)).mean()
    phi = abs(float(found.mean())) if activation == "relu" else mean_activation(activation)
    values = {
        BELOW: width,
        PHI: phi,
        MEAN_INPUT: float(x.mean(-1).norm()),
        LENGTHS: float((found.norm(dim=-2) * x.norm(dim=-2)).mean()),
    }
    return agree(observed, evaluate(formula, values), bound=rounding(observed, 8 * width))
