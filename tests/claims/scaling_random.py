"""Random weights against the scaling laws of balanced ones: the mean of the kernel, and which way the laws shift."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from sympy import S, limit
from torch import Tensor

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from derivations.deep_linear import scaling
from derivations.deep_linear.scaling import SCALE
from derivations.notation import DEPTH, ETA, N_0, M, Q
from numerics import curvature
from numerics import initialisations as init
from numerics.device import generator
from numerics.networks import inner, norm, vec
from numerics.problems import Problem
from numerics.rules import Fractional
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.compare import equal as same
from tests.checker.figure import Figure, Panel, Series
from tests.claims.settings import Setting, array, sizes

SAMPLES, FALSE_ALARM = 16000, 1e-6
Widths = str | tuple[int, ...]

mean = Claim(
    "scaling.random-kernel-mean",
    source="A figure S1",
    says="For independent random weights the mean of the kernel is a multiple of the identity, as for balanced ones.",
    formula=scaling.mean_kernel_share,
    lhs=r"\mathrm{E}\, J J^{\mathsf{T}}",
    relation=r"= \sum_{i=1}^{d} \; (n_0 \to \text{inputs},\ m \to n_{i-1})",
    near_misses={
        "one for each layer, whatever the widths": lambda: SCALE ** (2 * (DEPTH - 1)),
        "widths the other way": lambda: SCALE ** (2 * (DEPTH - 1)) * N_0 / M,
    },
    falsifiers={"one layer more": lambda: SCALE ** (2 * DEPTH) * M / N_0},
    remark=(
        "Weights of variance $`\\alpha^2 / n_{i-1}`$ multiply the mean square of a signal by $`\\alpha^2`$ a layer. In "
        "square networks the mean kernel is that of orthogonal layers, so in the mean square random weights obey the "
        "laws of gradient descent, which are linear in the kernel, constants included."
    ),
)


@mean.proof(generic_in="depth, widths, distribution of the weights")
def layer_by_layer(formula):
    """Take the mean over one layer after the other: each leaves a multiple of the identity."""
    return scaling.is_mean_kernel_share(formula)


@lru_cache(maxsize=16)
def kernels(widths: tuple[int, ...], scale: float, seed: int, count: int = SAMPLES) -> tuple[Setting, Tensor]:
    """Kernels of independent Gaussian networks, (count, n_d n_0, n_d n_0)."""
    net = init.gaussian(widths, generator(seed), scale=scale, seeds=count)
    nothing = torch.zeros((count, widths[-1], widths[0]), dtype=torch.float64)
    return Setting(net, Problem(nothing)), curvature.kernel(net)


@mean.check(
    grid(depth=[2], widths=[(2, 4, 3), (2, 2, 2), (3, 1, 2)], scale=[1.0], seed=[0])
    + grid(depth=[3], widths=[(2, 4, 3, 2)], scale=[0.5], seed=[0])
    + grid(depth=[1], widths=[(3, 2)], scale=[2.0], seed=[0])
)
def sample_means(formula, depth, widths, scale, seed):
    """The mean over random full networks, entry by entry."""
    n = sizes(depth, widths)
    setting, found = kernels(n, scale, seed)
    share = sum(float(evaluate(formula, {SCALE: scale, DEPTH: depth, M: below, N_0: n[0]})) for below in n[:-1])
    entries = array(found.flatten(-2))
    deviation = float(entries.std(0).max())
    bound = sampling(deviation, SAMPLES, FALSE_ALARM, entries.shape[1])
    predicted = (share * np.eye(n[0] * n[-1])).ravel()
    return agree(entries.mean(0), predicted, bound=bound).on(setting)


GIVEN_SHAPES = grid(depth=[2], q=[1, 1.5, 2, 4, inf], widths=[(2, 3, 2)], seed=[0]) + grid(
    depth=[3], q=[1, 2, inf], widths=[(2, 5, 5, 2)], seed=[0]
)

shift = Claim(
    "scaling.random-shift",
    source="A figure S1 (corrected)",
    says="In the mean random weights fall short of balanced ones where the exponent is positive and exceed them where "
    "it is negative, but gradient descent treats both alike.",
    formula=scaling.shift_signs,
    lhs=r"1 - \mathrm{E}\, \kappa^{r} / (\mathrm{E}\, \kappa)^{r}",
    relation=r"\text{has the sign of}",
    uses=("scaling.random-kernel-mean", "scaling.power-law"),
    near_misses={
        "shifted in gradient descent too": lambda: {"squared speed": 1 - 2 / Q, "descent of the loss": 1 - 1 / Q},
        "no shift at the natural gradient": lambda: {
            "squared speed": (1 - 2 / Q) * (1 - 1 / Q) / Q,
            "descent of the loss": (1 - 1 / Q) / Q,
        },
    },
    falsifiers={"no shift at all": lambda: {"squared speed": 0 * Q, "descent of the loss": 0 * Q}},
    mutate=False,
    remark=(
        "Jensen's inequality: powers between 0 and 1 bend one way, negative ones the other. Both mean a shift to "
        "larger weights. Two powers do not bend: zero, which is why one law of the square root and one of the natural "
        "gradient are exact for any weights, and one, which is gradient descent's."
    ),
)

printed = Claim(
    "scaling.random-shift-as-printed",
    source="A figure S1",
    says="As printed, random weights shift all laws with non-zero exponent towards larger weights.",
    formula=lambda: {"squared speed": 1 - 2 / Q, "descent of the loss": 1 - 1 / Q},
    control=scaling.shift_signs,
    corrected_by=("scaling.random-shift",),
    lhs=r"1 - \mathrm{E}\, \kappa^{r} / (\mathrm{E}\, \kappa)^{r}",
    relation=r"\text{has the sign of}",
    near_misses={"no shift at all": lambda: {"squared speed": 0 * Q - 1, "descent of the loss": 0 * Q - 1}},
    falsifiers={
        "loss only": lambda: {"squared speed": (1 - 2 / Q) / Q, "descent of the loss": 1 - 1 / Q},
    },
    mutate=False,
    remark=(
        "Right for every finite order. Gradient descent is the exception: the mean square of its speed, and the mean "
        "of its loss rate, are those of balanced weights exactly."
    ),
)


@shift.proof(generic_in="order q, depth, widths, distribution of the weights")
def tangent_at_the_mean(formula):
    """Compare a power with its tangent at the mean."""
    return scaling.are_shift_signs(formula)


@printed.proof(instances="gradient descent, q without bound")
def gradient_descent(formula):
    """The sign at the order of gradient descent, where the power is the identity."""
    ends = {name: limit(part, Q, S.Infinity) for name, part in formula.items()}
    truth = {name: limit(part, Q, S.Infinity) for name, part in scaling.shift_signs().items()}
    return all_of(*(equal(ends[name], truth[name]) for name in truth)).explain(
        step("For gradient descent both powers are one, and the gap of the means is", tuple(truth.values())),
        step("The printed shift asks for", tuple(ends.values())),
    )


@lru_cache(maxsize=64)
def gaps(widths: tuple[int, ...], q: float, seed: int) -> tuple[Setting, tuple[int, int]]:
    """Signs of 1 less the mean-square ratios to the balanced laws, zero where sampling cannot tell."""
    setting, found = kernels(widths, 1.0, seed)
    error = vec(init.normal((widths[-1], widths[0]), generator(seed + 1)))
    values, vectors = torch.linalg.eigh(found)
    weight = (vectors.mT @ error).square() / error.square().sum()
    typical = sum(widths[:-1]) / widths[0]
    signs = []
    for power in (1 - 2 / q, 1 - 1 / q):
        ratio = (weight * (values / typical) ** power).sum(-1)
        noise = sampling(float(ratio.std()), SAMPLES, FALSE_ALARM, 32) + rounding(1.0, found.shape[-1] ** 3)
        gap = 1 - float(ratio.mean())
        signs.append(0 if abs(gap) <= noise.total else int(np.sign(gap)))
    return setting, (signs[0], signs[1])


def _signs(formula, depth, q, widths, seed):
    setting, observed = gaps(sizes(depth, widths), q, seed)
    predicted = [int(np.sign(float(evaluate(formula[name], {Q: q})))) for name in scaling.shift_signs()]
    return same(list(observed), predicted).on(setting)


@shift.check(GIVEN_SHAPES)
def mean_ratios(formula, depth, q, widths, seed):
    """Means over random full networks at a given displacement, against the laws of balanced ones."""
    return _signs(formula, depth, q, widths, seed)


@printed.check(GIVEN_SHAPES)
def ratios_against_print(formula, depth, q, widths, seed):
    """The same means against the printed shift."""
    return _signs(formula, depth, q, widths, seed)


@lru_cache(maxsize=16)
def plotted(depth: int, size: int, q: float, alphas: tuple[float, ...], count: int = 10) -> np.ndarray:
    """Logarithms of both ratios of random networks, shape (alphas, 2, count), for a fixed teacher."""
    draw = generator(depth)
    net = init.gaussian((size,) * (depth + 1), draw, seeds=count)
    problem = Problem(init.normal((size, size), draw).expand(count, size, size))
    found = []
    for alpha in alphas:
        scaled = net.replace([alpha * w for w in net.weights])
        velocity = Fractional(q).velocity(scaled, problem)
        loss = problem.loss(scaled)
        falls = -inner(curvature.gradient(scaled, problem), velocity) / loss
        found.append(np.log10(np.stack([array(norm(velocity) / loss.sqrt()), array(falls)])))
    return np.stack(found)


@shift.figure
def random_and_balanced(formula):
    """Both ratios over the weight scale: lines of balanced weights, dots and deviations of ten random networks."""
    depth, size, law = 3, 5, scaling.equal_couplings()
    alphas = tuple(float(a) for a in np.geomspace(0.03, 1.0, 6))
    labels = {"speed": r"$\Vert\dot w\Vert/\sqrt{L}$", "descent of the loss": r"$-\dot L/L$"}
    panels = []
    for k, (name, label) in enumerate(labels.items()):
        lines, dots, bars = [], [], []
        for q, rule in ((inf, "gradient descent"), (4, "order 4"), (2, "square root"), (1, "natural gradient")):
            found = plotted(depth, size, q, alphas)[:, k]
            middle, deviation = found.mean(-1), found.std(-1)
            theory = [float(evaluate(law[name], {Q: q, ETA: 1.0, SCALE: a, DEPTH: depth})) for a in alphas]
            lines.append(Series(rule, alphas, theory))
            dots.append(Series("", alphas, 10**middle, "simulation"))
            ends = [10 ** (middle + s * deviation) for s in (-1, 1)]
            heights = [v for pair in zip(*ends, strict=True) for v in (*pair, float("nan"))]
            bars.append(Series("", [a for a in alphas for _ in (0, 1, 2)], heights, "reference"))
        panels.append(Panel("three layers of width five", r"weight scale $\alpha$", label, (*lines, *dots, *bars),
                            log_x=True, log_y=True))  # fmt: skip
    caption = (
        "Random weights (dots with the standard deviation of ten networks) keep the slopes of balanced ones (lines). "
        "The laws of exponent zero are exact, those of gradient descent are met in the mean, all others shift."
    )
    return Figure(caption, tuple(panels))
