"""The limits of mean-field theory at finite width: laws of pre-activations, signals, correlations between layers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer, KroneckerDelta

from derivations.compiled import evaluate
from derivations.information import finite_width
from derivations.information.finite_width import (
    FLIPPED,
    I_LAYER,
    J_LAYER,
    RELATIVE_VARIANCE,
)
from derivations.notation import LAYER, WIDTH
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.perceptrons import Perceptron, output_jacobians
from tests.checker.bounds import remainder, rounding, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample
from tests.claims.critical_assumptions import ODD
from tests.claims.quadrature import SLOPES, mean_of

FALSE_ALARM = 1e-6


@lru_cache(maxsize=64)
def ensemble(
    kind: str, activation: str, sigma_w: float, sigma_b: float, widths: tuple[int, ...], nets: int, seed: int
) -> Sample:
    """Many networks with one common input of mean square 1."""
    draw = generator(seed)
    net = perceptron(
        widths, 1, draw, ensemble=kind, sigma_w=sigma_w, sigma_b=sigma_b, activation=activation, seeds=nets
    )
    return Sample(net, gaussian_inputs(widths[0], 1, 1.0, draw, exact=True), ensemble=kind)


spherical = Claim(
    "mean-field.orthogonal-limit",
    source="B section 2.2",
    says="Behind a uniform orthogonal matrix a pre-activation is nearly normal, with a kurtosis known at every width.",
    formula=finite_width.sphere_kurtosis,
    lhs=r"\mathbb{E}\,h^4 / (\mathbb{E}\,h^2)^2",
    near_misses={
        "three already at finite width": lambda: Integer(3) * WIDTH**0,
        "one more": lambda: 3 * WIDTH / (WIDTH + 3),
    },
    falsifiers={"tails too heavy": lambda: 3 * (WIDTH + 2) / WIDTH},
    remark=(
        "What is postulated for orthogonal weights can be proved neuron by neuron: the moments of a coordinate of the "
        "sphere tend to those of a normal number. $`N`$ is the larger of the two widths of the layer."
    ),
)
gaussian = Claim(
    "mean-field.gaussian-limit",
    source="B section 2.2",
    says="With Gaussian weights pre-activations become normal when the network is much wider than deep.",
    formula=finite_width.gaussian_kurtosis,
    lhs=r"\mathbb{E}\,h^4 / (\mathbb{E}\,h^2)^2",
    near_misses={"one layer more": lambda: 3 * (1 + RELATIVE_VARIANCE / WIDTH) ** LAYER},
    falsifiers={
        "normal in every layer": lambda: Integer(3) * WIDTH**0,
        "the same in every layer": lambda: 3 * (1 + RELATIVE_VARIANCE / WIDTH),
    },
    remark=(
        "Given the layer below, a pre-activation is exactly normal; what is not sharp is its variance. The formula is "
        "exact in linear networks without biases, and for any activation in the second layer, with $`v`$ the relative "
        "variance of $`\\sigma_w^2 \\phi^2 + \\sigma_b^2`$ in the first. The kurtosis tends to 3 as width grows at "
        "fixed depth, and not when depth grows in proportion."
    ),
)


@spherical.proof(generic_in="width")
def beta_moments(formula):
    """Moments of one coordinate of a uniform unit vector, and their limits."""
    return finite_width.is_sphere_kurtosis(formula)


@gaussian.proof(generic_in="width; layer of linear networks; relative variance in layer 2")
def normal_with_random_variance(formula):
    """Three times the mean square of a variance that is a mean over neurons, layer by layer."""
    return finite_width.is_gaussian_kurtosis(formula)


@lru_cache(maxsize=128)
def _kurtosis(found: Sample, layer: int, variance: float) -> np.ndarray:
    return found.found.h[layer - 1].pow(4).mean((-2, -1)).numpy() / variance**2


@spherical.check(grid(widths=[(2, 2), (3, 3), (6, 6), (3, 5), (5, 3), (12, 12)], nets=[12000]))
def first_layers(formula, widths, nets, seed):
    """Fourth moments of the first pre-activations of orthogonal networks, square, widening and narrowing."""
    found = ensemble("orthogonal", "tanh", 1.3, 0.0, widths, nets, seed)
    observed = _kurtosis(found, 1, 1.69)
    predicted = float(evaluate(formula, {WIDTH: max(widths)}))
    bound = sampling(float(observed.std()), nets, FALSE_ALARM) + rounding(10.0, 100)
    return agree(observed.mean(), predicted, bound=bound).on(found)


@gaussian.check(
    grid(width=[6, 10], layer=[1, 2], activation=["linear"], nets=[16000])
    + grid(width=[10], layer=[3], activation=["linear"], nets=[16000])
)
def linear_networks(formula, width, layer, activation, nets, seed):
    """Fourth moments over linear networks without biases, where every layer is exact."""
    found = ensemble("gaussian", activation, 1.0, 0.0, (width,) * (layer + 1), nets, seed)
    observed = _kurtosis(found, layer, 1.0)
    predicted = float(evaluate(formula, {WIDTH: width, LAYER: layer, RELATIVE_VARIANCE: 2.0}))
    return agree(observed.mean(), predicted, bound=sampling(float(observed.std()), nets, FALSE_ALARM)).on(found)


@gaussian.check(
    grid(width=[4, 8], activation=["tanh", "erf"], sigma_w=[2.0], sigma_b=[0.3], nets=[20000])
    + grid(width=[8], activation=["relu"], sigma_w=[2.0], sigma_b=[0.3], nets=[30000])
)
def second_layers(formula, width, activation, sigma_w, sigma_b, nets, seed):
    """Fourth moments of the second layer with biases, with the relative variance of the first by quadrature."""
    found = ensemble("gaussian", activation, sigma_w, sigma_b, (width,) * 3, nets, seed)
    phi = SLOPES[activation][0]
    q = sigma_w**2 + sigma_b**2
    second, fourth = (mean_of(lambda h, p=p: phi(h) ** p, q) for p in (2, 4))
    variance = sigma_w**2 * second + sigma_b**2
    relative = sigma_w**4 * (fourth - second**2) / variance**2
    observed = _kurtosis(found, 2, variance)
    predicted = float(evaluate(formula, {WIDTH: width, LAYER: 2, RELATIVE_VARIANCE: relative}))
    return agree(observed.mean(), predicted, bound=sampling(float(observed.std()), nets, FALSE_ALARM)).on(found)


@gaussian.figure
def kurtosis_against_width(formula):
    """Kurtosis of the first three layers of linear networks, and of one orthogonal layer."""
    widths = [3, 4, 6, 8, 12, 16]
    series = []
    drawn = [ensemble("gaussian", "linear", 1.0, 0.0, (n,) * 4, 4000, 1) for n in widths]
    for layer in (1, 2, 3):
        predicted = [float(evaluate(formula, {WIDTH: n, LAYER: layer, RELATIVE_VARIANCE: 2.0})) for n in widths]
        series.append(Series(f"theory, Gaussian, layer {layer}", widths, predicted))
        dots = [_kurtosis(found, layer, 1.0).mean() for found in drawn]
        series.append(Series(f"networks, layer {layer}", widths, dots, "simulation"))
    drawn = [ensemble("orthogonal", "linear", 1.0, 0.0, (n, n), 4000, 1) for n in widths]
    series.append(Series("theory, orthogonal", widths, [3 * n / (n + 2) for n in widths], "reference"))
    series.append(Series("orthogonal", widths, [_kurtosis(f, 1, 1.0).mean() for f in drawn], "marker"))
    panel = Panel("linear networks", "width", "kurtosis", tuple(series), log_x=True)
    return Figure("Deeper Gaussian layers have heavier tails, orthogonal ones lighter; both tend to 3.", (panel,))


flip = Claim(
    "mean-field.independent-signals",
    source="B assumption 1 (ii)",
    says="Signals that enter at different layers are uncorrelated at the output, at every width.",
    formula=finite_width.flip_sign,
    lhs=r"\text{sign of } (J_{i+1} h^i)(J_{j+1} h^j)^{\mathsf{T}} \text{ when } W^k \text{ changes sign}",
    conditions=(ODD,),
    near_misses={
        "layer i itself instead of the next": lambda: (
            (1 - 2 * KroneckerDelta(FLIPPED, I_LAYER)) * (1 - 2 * KroneckerDelta(FLIPPED, J_LAYER))
        ),
        "one factor only": lambda: 1 - 2 * KroneckerDelta(FLIPPED, I_LAYER + 1),
    },
    falsifiers={"no change ever": lambda: Integer(1) * WIDTH**0},
    remark=(
        "Weights and biases are symmetric about zero. Changing the sign of one well-chosen layer turns the product of "
        "the two signals into its negative, so its mean over networks vanishes exactly, for different layers. "
        "For ReLU this argument fails, and it says nothing about a mean over the data of one network."
    ),
)


@flip.proof(instances="all pairs of layers and all flipped layers up to depth 6")
def counting_signs(formula):
    """Which of the two factors contains the flipped layer, or lies above it."""
    return finite_width.is_flip_sign(formula)


def _flipped(net: Perceptron, k: int) -> Perceptron:
    weights = tuple(-w if place == k else w for place, w in enumerate(net.weights, start=1))
    biases = tuple(-b if place >= k else b for place, b in enumerate(net.biases, start=1))
    readout = -net.readout if k == net.depth + 1 else net.readout
    return Perceptron(weights, biases, readout, -net.readout_bias, net.activation)


def _signals(net: Perceptron, x: torch.Tensor) -> list[np.ndarray]:
    """J_{i+1} h^i for i = 1 .. L - 1, on one input."""
    found = net.forward(x)
    jacobians = output_jacobians(found)
    return [(jacobians[i][0] @ found.h[i - 1][:, 0]).numpy() for i in range(1, net.depth)]


def _flip_case(formula, activation, width, depth, k, seed):
    draw = generator(seed)
    net = perceptron(
        [width] * (depth + 1), 3, draw, ensemble="gaussian", sigma_w=1.2, sigma_b=0.4, activation=activation
    )
    sample = Sample(net, gaussian_inputs(width, 1, 1.0, draw))
    before, after = _signals(net, sample.x), _signals(_flipped(net, k), sample.x)
    pieces = []
    for i in range(1, depth):
        for j in range(1, depth):
            sign = float(formula.subs({I_LAYER: i, J_LAYER: j, FLIPPED: k}))
            product = np.outer(before[i - 1], before[j - 1])
            size = float(np.abs(product).max())
            bound = rounding(10 * max(size, 1.0), 20 * width * depth)
            pieces.append(agree(np.outer(after[i - 1], after[j - 1]), sign * product, bound=bound, scale=size))
    return both(*pieces).on(sample)


@flip.check(
    grid(activation=["tanh", "erf"], width=[2, 7], depth=[4], k=[1, 2, 3, 4, 5])
    + grid(activation=["linear"], width=[3], depth=[2], k=[1, 2, 3])
)
def one_layer_flipped(formula, activation, width, depth, k, seed):
    """Both signals in a network and in the one with layer k flipped."""
    return _flip_case(formula, activation, width, depth, k, seed)


@flip.without(ODD, grid(activation=["relu"], width=[7], depth=[4], k=[2, 3, 4]))
def with_relu(formula, activation, width, depth, k, seed):
    """The same for ReLU, whose activations do not change sign."""
    return _flip_case(formula, activation, width, depth, k, seed)


decorrelate = Claim(
    "mean-field.layers-decorrelate",
    source="B after assumption 1",
    says="Squares in different layers are correlated by depth over width: slopes become independent in wide networks.",
    formula=finite_width.layer_covariance,
    lhs=r"\mathrm{Cov}\big((h_i^l)^2, (h_j^m)^2\big) / (\mathbb{E}\,h^2)^2",
    near_misses={"upper layer counted": lambda: (1 + RELATIVE_VARIANCE / WIDTH) ** (LAYER + 1) - 1},
    falsifiers={
        "independent at every width": lambda: Integer(0) * WIDTH,
        "no growth with depth": lambda: RELATIVE_VARIANCE / WIDTH,
    },
    remark=(
        "All neurons of a layer share one random length, and later layers inherit it. In the limit of infinite width "
        "at fixed depth this is forgotten; where depth is comparable to width, slopes of different layers are not "
        "independent however large both are. For short lengths a squared slope of tanh is $`1 - 2 h^2`$."
    ),
)


@decorrelate.proof(generic_in="width; layer of linear networks; relative variance in layer 1")
def shared_length(formula):
    """The covariance of two squares through the mean square of the lower layer."""
    return finite_width.is_layer_covariance(formula)


@lru_cache(maxsize=64)
def _squares(found: Sample, layers: tuple[int, int]) -> np.ndarray:
    """Products over networks of the mean squares of two layers, each less its exact mean of 1."""
    one, other = (found.found.h[place - 1][..., 0].square().mean(1) - 1 for place in layers)
    return (one * other).numpy()


@lru_cache(maxsize=64)
def _slope_products(found: Sample, layers: tuple[int, int]) -> np.ndarray:
    """Products over networks of the mean squared slopes of two layers, centred, in units of 4 q^2."""
    means = [found.found.slopes[place - 1].square().mean((-2, -1)) / (2 * found.qstar) for place in layers]
    return ((means[0] - means[0].mean()) * (means[1] - means[1].mean())).numpy()


@decorrelate.check(grid(width=[8, 16], layers=[(1, 2), (2, 3)], nets=[16000]))
def linear_squares(formula, width, layers, nets, seed):
    """Covariances of squared pre-activations between two layers of linear networks."""
    found = ensemble("gaussian", "linear", 1.0, 0.0, (width,) * (max(layers) + 1), nets, seed)
    products = _squares(found, layers)
    predicted = float(evaluate(formula, {WIDTH: width, LAYER: min(layers), RELATIVE_VARIANCE: 2.0}))
    bound = sampling(float(products.std()), nets, FALSE_ALARM)
    return agree(products.mean(), predicted, bound=bound, scale=1.0).on(found)


@decorrelate.check(grid(qstar=[1e-4], width=[8], layers=[(2, 3), (1, 3)], nets=[20000]))
def squared_slopes(formula, qstar, width, layers, nets, seed):
    """Covariances of squared slopes in critical tanh networks of short length, in units of 4 q^2."""
    common = {"outputs": 1, "samples": 1, "ensemble": "gaussian"}
    found = critical_sample(qstar, width, max(layers), seeds=nets, seed=seed, **common)
    products = _slope_products(found, layers)
    predicted = float(evaluate(formula, {WIDTH: width, LAYER: min(layers), RELATIVE_VARIANCE: 2.0}))
    # phi'^2 = 1 - 2 h^2 + 17/3 h^4 - ...: the next term changes the covariance by less than 100 q of itself
    bound = sampling(float(products.std()), nets, FALSE_ALARM) + remainder(100 * qstar * predicted)
    return agree(products.mean(), predicted, bound=bound, scale=1.0).on(found)
