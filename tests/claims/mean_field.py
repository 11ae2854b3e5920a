"""How lengths and slopes pass through a wide layer: the maps of mean-field theory against networks of finite width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Integral, exp, oo, sqrt

from derivations import words
from derivations.information import mean_field
from derivations.information.gaussian_means import PHI, SLOPE, H, mean
from derivations.information.mean_field import ACTIVATED_SQUARE, INPUT_SQUARE, INPUTS
from derivations.notation import CHI, Q_BELOW, Q_LAYER, QSTAR, SIGMA_B, SIGMA_W
from derivations.word_algebra import Letter
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from tests.checker.bounds import remainder, rounding, student
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample
from tests.claims.quadrature import BOUNDED, NODES, along, value

FALSE_ALARM = 1e-6
INPUT_LENGTH = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Many networks: conditional variances v (S, L), mean squares q (S, L), mean squared singular values chi (S, L)."""

    sample: Sample
    v: np.ndarray
    q: np.ndarray
    chi: np.ndarray


@lru_cache(maxsize=64)
def layers(
    ensemble: str, activation: str, sigma_w: float, sigma_b: float, width: int, depth: int, nets: int, seed: int
) -> Layers:
    """Networks with one Gaussian input, and what their layers do; v is sigma_w^2 |x|^2 / N + sigma_b^2."""
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
    sample = Sample(net, gaussian_inputs(width, 1, INPUT_LENGTH, draw, exact=True), ensemble=ensemble)
    found = sample.found
    below = torch.stack([x.square().mean((-2, -1)) for x in found.x[:-1]], -1)
    q = torch.stack([h.square().mean((-2, -1)) for h in found.h], -1)
    rows = (w.square().sum(-1) for w in net.weights)
    chi = torch.stack([(s[..., 0].square() * row).mean(-1) for s, row in zip(found.slopes, rows, strict=True)], -1)
    return Layers(sample, (sigma_w**2 * below + sigma_b**2).numpy(), q.numpy(), chi.numpy())


def allowance(ensemble: str, activation: str, width: int, differences: np.ndarray, scale: float) -> Bound:
    """Sampling over networks, rounding, and for orthogonal weights the distance of a sphere from a Gaussian.

    One coordinate of the sphere in N dimensions is within 4 / (N - 4) of a normal number in every mean of a function
    with values in [0, 1] (Diaconis and Freedman).
    """
    nets, comparisons = differences.shape
    bound = student(float(differences.std(0).max()), nets, FALSE_ALARM, comparisons)
    bound = bound + rounding(10 * scale, 20 * width + len(NODES))
    if ensemble == "orthogonal" and activation in BOUNDED:
        bound = bound + remainder(scale * 4 / (width - 4))
    return bound


W, X, B, ONES, PRE = (
    Letter("W^l", "n", "m"),
    Letter("x^{l-1}", "m", "t"),
    Letter("b^l", "n", 1),
    Letter("1", "t", 1, latex=r"\mathbf{1}"),
    Letter("h^{l-1}", "m", "t"),
)

forward = Claim(
    "mean-field.forward",
    source="B eq. 1",
    says="Each layer weights the activations of the layer below and adds its biases.",
    formula=lambda: W * X + B * ONES.T,
    lhs="h^l",
    near_misses={"pre-activations instead of activations": lambda: W * PRE + B * ONES.T},
    falsifiers={"no biases": lambda: words.expression(W * X), "biases subtracted": lambda: W * X - B * ONES.T},
    remark="The definition that all else rests on, with samples as columns. The output layer has the same form.",
)


@forward.check(
    grid(widths=[(5, 4, 6, 3), (3, 7, 2, 5), (4, 4, 4, 4)], activation=["tanh", "erf", "relu", "linear"], samples=[3])
)
def a_second_implementation(formula, widths, activation, samples, seed):
    """Layers of an independent implementation with the same parameters, hidden ones and the output."""
    draw = generator(seed)
    net = perceptron(widths[:-1], widths[-1], draw, sigma_w=1.3, sigma_b=0.4, readout_bias=0.3, activation=activation)
    sample = Sample(net, gaussian_inputs(widths[0], samples, 1.0, draw))
    acts = {"tanh": torch.tanh, "relu": torch.nn.functional.relu, "linear": lambda h: h}
    acts["erf"] = lambda h: 2 * torch.special.ndtr(h * (torch.pi / 2) ** 0.5) - 1
    x, before, pieces = sample.x, sample.x, []
    parameters = zip((*net.weights, net.readout), (*net.biases, net.readout_bias), strict=True)
    for (w, b), observed in zip(parameters, (*sample.found.h, sample.found.outputs), strict=True):
        letters = {W: w.numpy(), X: x.numpy(), B: b[:, None].numpy(), ONES: np.ones((samples, 1)), PRE: before.numpy()}
        before = torch.nn.functional.linear(x.mT, w, b).mT
        bound = rounding(10.0, 8 * sum(widths))
        predicted = words.evaluate(formula, letters)
        pieces += [agree(before, predicted, bound=bound), agree(observed, predicted, bound=bound)]
        x = acts[activation](before)
    return both(*pieces).on(sample)


first = Claim(
    "mean-field.first-layer",
    source="B below eq. 3",
    says="The length of the first layer depends on the inputs themselves, not on their activations.",
    formula=mean_field.first_length,
    lhs="q^1",
    near_misses={"inputs pass the activation first": mean_field.first_length_printed},
    falsifiers={
        "not divided by the number of inputs": lambda: SIGMA_W**2 * INPUT_SQUARE + SIGMA_B**2,
        "no biases": lambda: SIGMA_W**2 * INPUT_SQUARE / INPUTS,
    },
    remark=(
        "Both ensembles agree here because only second moments enter. To start at $`q^*`$ the input must have the "
        "length of an activation, $`\\Vert x^0 \\Vert^2 / N^0 = E \\phi^2`$; scaling it to $`q^*`$ starts too long."
    ),
)
printed_first = Claim(
    "mean-field.first-layer-as-printed",
    source="B below eq. 3",
    says="The length of the first layer depends on the norm of the activated inputs.",
    formula=mean_field.first_length_printed,
    control=mean_field.first_length,
    corrected_by=("mean-field.first-layer",),
    lhs="q^1",
    near_misses={"corrected but without biases": lambda: SIGMA_W**2 * INPUT_SQUARE / INPUTS},
    falsifiers={"corrected but not divided": lambda: SIGMA_W**2 * INPUT_SQUARE + SIGMA_B**2},
    remark=(
        "The printed line is the general recursion taken one step too far down: equation 1 feeds $`x^0`$, not "
        "$`\\phi(x^0)`$, to the first layer. For small inputs the two agree to leading order."
    ),
)


def _second_moments_of_a_row(formula):
    """Expand the square of a weighted sum and average over weights and bias."""
    return mean_field.is_first_length(formula)


for one in (first, printed_first):
    one.proof(generic_in="inputs, sigma_w, sigma_b, activation")(_second_moments_of_a_row)


def _first_case(formula, ensemble, widths, variance, sigma_w, sigma_b, nets, seed):
    """Lengths of the first layer averaged over its neurons and over networks, on one input."""
    found = _first_layers(ensemble, widths, variance, sigma_w, sigma_b, nets, seed)
    x = found.x[0, :, 0].numpy() if found.x.ndim == 3 else found.x[:, 0].numpy()
    observed = found.found.h[0].square().mean((-2, -1)).numpy()
    squares = {INPUT_SQUARE: (x**2).sum(), ACTIVATED_SQUARE: (np.tanh(x) ** 2).sum(), INPUTS: len(x)}
    predicted = float(value(formula, "tanh", {**squares, SIGMA_W: sigma_w, SIGMA_B: sigma_b}))
    bound = allowance("gaussian", "tanh", widths[0], observed[:, None] - observed.mean(), 1.0)
    return agree(observed.mean(), predicted, bound=bound).on(found)


@lru_cache(maxsize=32)
def _first_layers(ensemble, widths, variance, sigma_w, sigma_b, nets, seed):
    draw = generator(seed)
    net = perceptron(widths, 1, draw, ensemble=ensemble, sigma_w=sigma_w, sigma_b=sigma_b, seeds=nets)
    return Sample(net, gaussian_inputs(widths[0], 1, variance, draw))


FIRST = grid(
    ensemble=["gaussian", "orthogonal"],
    widths=[(40, 40), (24, 60), (60, 24)],
    variance=[4.0],
    sigma_w=[1.6],
    sigma_b=[0.0, 0.5],
    nets=[400],
)
for one in (first, printed_first):

    @one.check(FIRST)
    def drawn_first_layers(formula, ensemble, widths, variance, sigma_w, sigma_b, nets, seed):
        """The mean square of the first pre-activations over many networks, with inputs of unequal size."""
        return _first_case(formula, ensemble, widths, variance, sigma_w, sigma_b, nets, seed)


lengths = Claim(
    "mean-field.length-map",
    source="B eq. 3",
    says="In a wide layer the length of the pre-activations is a Gaussian mean of the squared activation.",
    formula=mean_field.length_map,
    lhs=Q_LAYER,
    uses=("mean-field.first-layer",),
    near_misses={
        "length instead of its root": lambda: SIGMA_W**2 * mean(PHI(Q_BELOW * H) ** 2) + SIGMA_B**2,
        "measure without the half": lambda: (
            SIGMA_W**2 * Integral(PHI(sqrt(Q_BELOW) * H) ** 2 * exp(-(H**2)), (H, -oo, oo)) + SIGMA_B**2
        ),
    },
    falsifiers={
        "square of the mean": lambda: SIGMA_W**2 * mean(PHI(sqrt(Q_BELOW) * H)) ** 2 + SIGMA_B**2,
        "no biases": lambda: SIGMA_W**2 * mean(PHI(sqrt(Q_BELOW) * H) ** 2),
    },
    remark=(
        "One number per layer is enough because the sum over many neurons forgets everything else. The measure is the "
        "standard normal one; without the half in its exponent neither its mass nor the lengths come out."
    ),
)
gain = Claim(
    "mean-field.slope-gain",
    source="B eq. 5",
    says="The mean squared singular value of one layer is the weight variance times the mean squared slope.",
    formula=mean_field.slope_gain,
    lhs=CHI,
    uses=("mean-field.length-map",),
    near_misses={
        "square of the mean slope": lambda: SIGMA_W**2 * mean(SLOPE(sqrt(QSTAR) * H)) ** 2,
        "length instead of its root": lambda: SIGMA_W**2 * mean(SLOPE(QSTAR * H) ** 2),
    },
    falsifiers={
        "deviation of the weights": lambda: SIGMA_W * mean(SLOPE(sqrt(QSTAR) * H) ** 2),
        "activation instead of slope": lambda: SIGMA_W**2 * mean(PHI(sqrt(QSTAR) * H) ** 2),
    },
    remark="A mean over all directions: a layer with $`\\chi = 1`$ stretches some and shrinks others.",
)


@lengths.proof(generic_in="q, sigma_w, sigma_b, cubic activations")
def pairings(formula):
    """The conditional variance of a weighted sum, and the mean square of a cubic."""
    return mean_field.is_length_map(formula)


@gain.proof(generic_in="q, sigma_w, cubic activations")
def trace_of_one_layer(formula):
    """The trace of a diagonal matrix times a random one, and the mean squared slope of a cubic."""
    return mean_field.is_slope_gain(formula)


WIDE = (
    grid(ensemble=["gaussian"], activation=["tanh"], sigma_w=[1.8], sigma_b=[0.3], width=[100], nets=[160])
    + grid(ensemble=["gaussian"], activation=["erf", "relu"], sigma_w=[1.3], sigma_b=[0.5], width=[100], nets=[240])
    + grid(
        ensemble=["orthogonal"], activation=["tanh"], sigma_w=[1.4], sigma_b=[0.3], width=[400], nets=[24], depth=[2]
    )
    + grid(ensemble=["orthogonal"], activation=["linear"], sigma_w=[1.1], sigma_b=[0.0], width=[24], nets=[8])
)


def _mean_of_networks(formula, observed, length, at, values, found, activation):
    """Observed (S, layers) against the formula at each network's own lengths, averaged over networks."""
    predicted = along(formula, activation, length, at, values)
    width = found.sample.net.widths[0]
    bound = allowance(found.sample.ensemble, activation, width, observed - predicted, values[SIGMA_W] ** 2)
    return agree(observed.mean(0), predicted.mean(0), bound=bound, axis=range(observed.shape[1])).on(found.sample)


@lengths.check(WIDE)
def off_critical_layers(formula, ensemble, activation, sigma_w, sigma_b, width, nets, seed, depth=3):
    """Mean squares of every layer over many networks, from the lengths of the layer below."""
    found = layers(ensemble, activation, sigma_w, sigma_b, width, depth, nets, seed)
    values = {SIGMA_W: sigma_w, SIGMA_B: sigma_b}
    return _mean_of_networks(formula, found.q[:, 1:], Q_BELOW, found.v[:, :-1], values, found, activation)


@gain.check(WIDE)
def singular_values_of_layers(formula, ensemble, activation, sigma_w, sigma_b, width, nets, seed, depth=3):
    """Mean squared singular values of every layer's Jacobian over many networks, from the lengths."""
    found = layers(ensemble, activation, sigma_w, sigma_b, width, depth, nets, seed)
    values = {SIGMA_W: sigma_w, SIGMA_B: sigma_b}
    return _mean_of_networks(formula, found.chi, QSTAR, found.v, values, found, activation)


@lengths.figure
def maps_of_three_activations(formula):
    """Length out against length in, with networks of both ensembles."""
    panels = []
    for activation, sigma_w, sigma_b in (("tanh", 1.8, 0.3), ("erf", 1.3, 0.5), ("relu", 1.3, 0.5)):
        starts = np.linspace(0.05, 3.0, 60)
        predicted = value(formula, activation, {Q_BELOW: starts, SIGMA_W: sigma_w, SIGMA_B: sigma_b})
        series = [Series("theory", starts, predicted), Series("diagonal", starts, starts, "reference")]
        for ensemble, style in (("gaussian", "simulation"), ("orthogonal", "marker")):
            found = layers(ensemble, activation, sigma_w, sigma_b, 120, 4, 5, 1)
            x, y = found.v[:, :-1].ravel(), found.q[:, 1:].ravel()
            series.append(Series(ensemble, x, y, style))
        panels.append(Panel(activation, "length of the layer below", "length of the layer", tuple(series)))
    return Figure("Every layer of every network lands near one curve; orthogonal weights scatter less.", tuple(panels))
