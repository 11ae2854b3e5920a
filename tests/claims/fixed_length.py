"""Where lengths rest: local and global attraction of the fixed length, and how linear the resting layers are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import sqrt

from derivations.compiled import evaluate
from derivations.information import critical_forms, mean_field
from derivations.information.critical_forms import DEVIATION
from derivations.information.gaussian_means import BEND, PHI, SLOPE, H, mean
from derivations.notation import MU_1, MU_2, Q_BELOW, QSTAR, SIGMA_B, SIGMA_W
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from tests.checker.bounds import remainder, rounding, student
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample
from tests.claims.quadrature import BOUNDED, along, slope_moments, value

FALSE_ALARM = 1e-6
APART = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """One set of networks on a critical line, run from several input lengths: variances (S, L, starts)."""

    sample: Sample
    lengths: np.ndarray
    sigma_w: float
    sigma_b: float


@lru_cache(maxsize=32)
def flows(
    activation: str, q: float, ensemble: str, width: int, depth: int, nets: int, starts: tuple[float, ...], seed: int
) -> Starts:
    """Critical networks whose first layer has length q times each of ``starts``; same weights for all starts."""
    square, slope, *_ = slope_moments(activation, q)
    sigma_w, sigma_b = slope**-0.5, max(q - square / slope, 0.0) ** 0.5
    if min(starts) * q <= sigma_b**2:
        raise ValueError(f"starts: {starts} given, allowed: lengths above the bias variance {sigma_b**2:.3g}")
    draw = generator(seed)
    net = perceptron(
        [width] * (depth + 1),
        1,
        draw,
        ensemble=ensemble,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        activation=activation,
        seeds=nets,
    )
    direction = gaussian_inputs(width, 1, 1.0, draw, exact=True)
    scales = torch.tensor([(q * start - sigma_b**2) ** 0.5 / sigma_w for start in starts], dtype=torch.float64)
    sample = Sample(net, direction * scales, q, ensemble)
    squares = torch.stack([x.square().mean(-2) for x in sample.found.x[:-1]], 1)
    return Starts(sample, (sigma_w**2 * squares + sigma_b**2).numpy(), sigma_w, sigma_b)


def _budget(found: Starts, samples: np.ndarray, span: float) -> Bound:
    """Sampling over networks; a coordinate of the sphere in N dimensions is within 4 / (N - 4) of normal.

    This distance holds for functions with values in an interval of length 1; ``span`` is the length at hand.
    """
    (count, comparisons), width = samples.shape, found.sample.net.widths[0]
    bound = student(float(samples.std(0).max()), count, FALSE_ALARM, comparisons) + rounding(1.0, 100 * width)
    spherical = found.sample.ensemble == "orthogonal" and found.sample.net.activation in BOUNDED
    return bound + remainder(span * 4 / (width - 4)) if spherical else bound


slope = Claim(
    "mean-field.map-slope",
    source="B eq. 4",
    says="A small change of length is multiplied by the gain of gradients plus a term of curvature.",
    formula=mean_field.map_slope,
    lhs=r"\partial q^l / \partial q^{l-1}",
    uses=("mean-field.length-map",),
    near_misses={
        "gain of gradients alone": mean_field.slope_gain,
        "curvature counted twice": lambda: (
            SIGMA_W**2 * mean(SLOPE(sqrt(QSTAR) * H) ** 2 + 2 * PHI(sqrt(QSTAR) * H) * BEND(sqrt(QSTAR) * H))
        ),
    },
    falsifiers={"bias variance in the slope": lambda: mean_field.map_slope() + SIGMA_B**2 / QSTAR},
    remark=(
        "For tanh the curvature term is negative, so on the critical line the length is attracted although gradients "
        "keep their size. Close to zero length the slope tends to 1 and deviations of the length persist through "
        "many layers."
    ),
)
fixed = Claim(
    "mean-field.fixed-length",
    source="B eq. 4",
    says="In tanh networks every starting length is drawn to one fixed length, from above and from below.",
    formula=mean_field.gain_slope,
    lhs=r"\partial (q^l / q^{l-1}) / \partial q^{l-1}",
    uses=("mean-field.length-map",),
    near_misses={
        "without the biases": lambda: mean_field.gain_slope() + SIGMA_B**2 / Q_BELOW**2,
        "sign of the second part": lambda: (
            (SIGMA_W**2 * mean(PHI(sqrt(Q_BELOW) * H) * (sqrt(Q_BELOW) * H * SLOPE(sqrt(Q_BELOW) * H))) - SIGMA_B**2)
            / Q_BELOW**2
        ),
    },
    falsifiers={"constant gain": lambda: 0 * Q_BELOW},
    remark=(
        "The gain of a layer, length out over length in, falls strictly with the length for tanh and tends to 0. With "
        "biases, or with $`\\sigma_w > 1`$, it starts above 1, so it is 1 exactly once. Since the map also rises, "
        "lengths move towards that point without jumping over it. ReLU and linear networks without biases have a "
        "constant gain: on their critical lines every length is fixed."
    ),
)


@slope.proof(generic_in="q, sigma_w, cubic activations")
def derivative_of_the_map(formula):
    """The derivative of the length map of a cubic."""
    return mean_field.is_map_slope(formula)


@fixed.proof(generic_in="q, sigma_w, sigma_b, cubic activations; sign for tanh")
def derivative_of_the_gain(formula):
    """The derivative of length out over length in, and its sign for tanh."""
    return mean_field.is_gain_slope(formula)


@slope.check(
    grid(q=[0.5], activation=["tanh", "erf"], ensemble=["gaussian"], width=[100], nets=[200])
    + grid(q=[0.5], activation=["tanh"], ensemble=["orthogonal"], width=[300], nets=[20])
    + grid(q=[1 / 64], activation=["tanh", "linear"], ensemble=["orthogonal"], width=[150], nets=[20])
)
def difference_quotients(formula, q, activation, ensemble, width, nets, seed, depth=3):
    """Change of the length behind a layer over the change before it, for two nearby inputs of one network."""
    found = flows(activation, q, ensemble, width, depth, nets, (1 - APART, 1 + APART), seed)
    gaps = found.lengths[..., 1] - found.lengths[..., 0]
    observed = gaps[:, 1:] / gaps[:, :-1]
    # the mean slope between two lengths by Simpson's rule, at each network's own lengths
    low, high = found.lengths[:, :-1, 0], found.lengths[:, :-1, 1]
    lengths = np.stack([low, (low + high) / 2, high])
    predicted = np.tensordot([1 / 6, 4 / 6, 1 / 6], along(formula, activation, QSTAR, lengths, _variances(found)), 1)
    # phi'^2 + phi phi'' lies between -1/3 and 1; the gain of gradients, 1, is what the slope is told apart from
    bound = _budget(found, observed - predicted, 4 / 3 * found.sigma_w**2)
    return agree(observed.mean(0), predicted.mean(0), bound=bound, scale=1.0).on(found.sample)


def _variances(found: Starts):
    return {SIGMA_W: found.sigma_w, SIGMA_B: found.sigma_b}


@fixed.check(
    grid(q=[0.5, 8.0], activation=["tanh"], ensemble=["gaussian"], width=[100], nets=[100])
    + grid(q=[0.5], activation=["erf"], ensemble=["gaussian"], width=[100], nets=[200])
    + grid(q=[0.5], activation=["tanh"], ensemble=["orthogonal"], width=[400], nets=[24], depth=[2])
    + grid(q=[1 / 64], activation=["linear"], ensemble=["orthogonal"], width=[20], nets=[4])
)
def from_both_sides(formula, q, activation, ensemble, width, nets, seed, depth=3):
    """Length out over length in at networks started below and above, from 1 at the fixed length by integration."""
    found = flows(activation, q, ensemble, width, depth, nets, (0.6, 3.0), seed)
    below = found.lengths[:, :-1]
    observed = found.lengths[:, 1:] / below
    points, weights = np.polynomial.legendre.leggauss(8)
    halves = (below - q)[..., None] / 2
    slopes = along(formula, activation, Q_BELOW, q + halves * (1 + points), _variances(found))
    predicted = 1 + (slopes * weights * halves).sum(-1)
    flat = (observed - predicted).reshape(nets, -1)
    bound = _budget(found, flat, found.sigma_w**2 / float(below.min()))
    return agree(observed.mean(0), predicted.mean(0), bound=bound).on(found.sample)


@fixed.figure
def lengths_through_layers(formula):
    """Lengths of networks started below and above, at three points of the critical line."""
    panels = []
    for q in (1 / 64, 0.5, 8.0):
        found = flows("tanh", q, "orthogonal", 200, 16, 3, (0.6, 3.0), 1)
        layers = np.arange(1, 17)
        series = [Series("fixed length", layers, np.ones(16), "reference")]
        for k, side in enumerate(("from below", "from above")):
            path = [found.lengths[:, 0, k].mean()]
            for _ in layers[1:]:
                values = {**_variances(found), Q_BELOW: np.array(path[-1])}
                path.append(float(value(mean_field.length_map(), "tanh", values)))
            series.append(Series(f"theory, {side}", layers, np.array(path) / q))
            dots = found.lengths[..., k] / q
            series.append(Series(f"networks, {side}", np.tile(layers, 3), dots.ravel(), "simulation"))
        panels.append(Panel(f"fixed length {q:.3g}", "layer", "length / fixed length", tuple(series)))
    return Figure("Long fixed lengths are reached in a few layers; short ones are approached slowly.", tuple(panels))


regime = Claim(
    "mean-field.linear-regime",
    source="B app. B.3.3",
    says="Where the singular spectrum concentrates, few neurons can have slopes away from the common one.",
    formula=critical_forms.spread_bound,
    lhs=r"P\left(\left\lvert \phi'^2 / \mu_1 - 1 \right\rvert > t\right)",
    relation=r"\le",
    near_misses={"deviation not squared": lambda: (MU_2 / MU_1**2 - 1) / DEVIATION},
    falsifiers={
        "second moment instead of variance": lambda: MU_2 / MU_1**2 / DEVIATION**2,
        "squared variance": lambda: (MU_2 / MU_1**2 - 1) ** 2 / DEVIATION**2,
    },
    remark=(
        "The numerator is the relative variance that one layer adds to the squared singular values. At "
        "$`q^* = 1/64`$ nearly all neurons are in the linear part of tanh, at $`q^* = 8`$ hardly any, though both "
        "are critical."
    ),
)


@regime.proof(generic_in="activation, q, t")
def chebyshev(formula):
    """The mean square deviation of the squared slopes from their mean, over the square of the deviation."""
    return critical_forms.is_chebyshev(formula)


@lru_cache(maxsize=16)
def _slopes(q: float, width: int, depth: int, nets: int, seed: int):
    sample = critical_sample(q, width, depth, outputs=1, samples=1, seeds=nets, seed=seed)
    return sample, torch.stack([s.square().flatten(1) for s in sample.found.slopes], 1).flatten(1).numpy()


@regime.check(grid(q=[9e-4, 1 / 64, 0.5, 8.0], size=[1.5, 3.0], width=[100], depth=[4], nets=[20]))
def slopes_far_from_the_mean(formula, q, size, width, depth, nets, seed):
    """The share of neurons whose squared slope is off by more than ``size`` standard deviations."""
    sample, squares = _slopes(q, width, depth, nets, seed)
    _, first, second, _ = slope_moments("tanh", q)
    t = size * (second / first**2 - 1) ** 0.5
    share = (np.abs(squares / first - 1) > t).mean(1)
    bound = student(float(share.std()), nets, FALSE_ALARM) + rounding(1.0, 10)
    predicted = float(evaluate(formula, {MU_1: first, MU_2: second, DEVIATION: t}))
    return at_most(share.mean(), predicted, bound=bound).on(sample)
