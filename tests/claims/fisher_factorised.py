"""Mean of a product against product of means: what Lemma 1 gains over random weights and loses over data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.special import erf
from sympy import Integer
from torch import Tensor

from derivations.compiled import evaluate
from derivations.information import fisher_blocks
from derivations.information.fisher_blocks import INPUT_COSINE, OUTPUT_COSINE
from derivations.notation import SAMPLES
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.frames import normal
from numerics.perceptrons import Perceptron, output_jacobians
from tests.checker.bounds import remainder, rounding, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample
from tests.claims.settings import array

WIDTHS = (16, 32, 64)
NETWORKS = 12000
FALSE_ALARM = 1e-3
GAIN = 1.5


@dataclass(frozen=True, eq=False)
class Averaged:
    """Squared lengths of inputs and of back-propagated outputs of one layer, and what they are averaged over."""

    over: str
    cosines: tuple[float, ...] = ()


ACUTE = Assumption(
    "acute angles",
    "no two inputs of the layer, and no two back-propagated outputs, are at an obtuse angle",
    lambda averaged: min(averaged.cosines, default=0.0) >= 0,
)
OVER_WEIGHTS = Assumption(
    "average over random weights",
    "the expectations of the lemma are over random networks, not over the data of one network",
    lambda averaged: averaged.over == "weights",
)

factorised = Claim(
    "fisher.factorised-blocks",
    source="B eq. 11",
    says="The mean of the Kronecker product is the product of the means, with a relative error that falls with the "
    "width.",
    formula=fisher_blocks.width_power,
    lhs=r"\text{power of } N \text{ in the relative error}",
    conditions=(OVER_WEIGHTS,),
    uses=("fisher.weight-blocks",),
    near_misses={"as slow as sampling noise": lambda: Integer(-1) / 2},
    falsifiers={"not at all": lambda: Integer(0), "twice as fast": lambda: Integer(-2)},
    remark=(
        "Over random weights, long inputs of a layer go with small slopes above it, the less so the wider the layer. "
        "Over the data of one network, which is what a measured Fisher matrix averages over, both factors keep their "
        "correlations between inputs in the limit, and the factorised block has too small an eigenvalue."
    ),
    mutate=False,
)


@lru_cache(maxsize=16)
def correlation(width: int, depth: int, seed: int) -> tuple[float, float]:
    """Relative covariance of |x^{L-1}|^2 and |J_L|^2 over networks with one input, and its deviation in one network.

    The last hidden layer is twice as wide and read out evenly, which takes noise from the second factor and leaves its
    dependence on the first.
    """
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 2")
    draw, lengths, slopes = generator(seed), [], []
    x = gaussian_inputs(width, 1, 1.0, draw, exact=True)
    for _ in range(NETWORKS // 1000):
        net = perceptron((*[width] * depth, 2 * width), 1, draw, ensemble="gaussian", seeds=1000)
        even = torch.full_like(net.readout, (2 * width) ** -0.5)
        found = Perceptron(net.weights, net.biases, even, net.readout_bias, net.activation).forward(x)
        lengths.append(found.x[-2].square().sum((-2, -1)))
        slopes.append(output_jacobians(found)[-1].square().sum((-3, -2, -1)))
    a, b = torch.cat(lengths), torch.cat(slopes)
    a, b = a / a.mean() - 1, b / b.mean() - 1
    return float((a * b).mean()), float((a * b).std())


def slope_of(widths: tuple[int, ...], means: np.ndarray, deviations: np.ndarray) -> tuple[float, float, float]:
    """Slope of log |mean| against log width, its deviation for one draw, and the weight of an error of 1 / width."""
    x = np.log(widths) - np.mean(np.log(widths))
    share = x / (x**2).sum()
    deviation = float(np.sqrt(((share * deviations / means) ** 2).sum()))
    return float(share @ np.log(np.abs(means))), deviation, abs(float(share @ (1 / np.array(widths))))


@lru_cache(maxsize=64)
def exact_correlation(width: int, gain: float, nodes: int) -> float:
    """Relative covariance of |x^1|^2 and |J_2|^2 over all Gaussian weights of scale ``gain``, by quadrature.

    Units are phi(h) = erf(sqrt(pi) h / 2), with phi'(h)^2 = exp(-pi h^2 / 2). Given x^1 a pre-activation of layer two
    is |x^1| gain z / sqrt(N), z standard normal. At fixed z the mean over W^1 of exp(-t |x^1|^2) has one equal factor
    for each neuron, so it is a power of the width.
    """
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    squares = erf(np.pi**0.5 / 2 * gain * z) ** 2
    factors = np.exp(-np.pi / 2 * gain**2 / width * np.outer(z**2, squares))
    one, moved = factors @ weights, factors @ (weights * squares)
    together = weights @ (moved * one ** (width - 1))
    return float(together / (weights @ squares) / (weights @ one**width) - 1)


@factorised.check(grid(gain=[0.7, 1.0, 1.5]), network=False)
def all_networks_by_quadrature(formula, gain):
    """Trace of a diagonal weight block over all Gaussian weights of two layers of erf units, against its factors."""

    def slope(least: int, nodes: int) -> float:
        widths = tuple(least * 4**k for k in range(3))
        return slope_of(widths, np.array([exact_correlation(n, gain, nodes) for n in widths]), np.zeros(3))[0]

    observed, narrower, coarser = slope(1024, 200), slope(512, 200), slope(1024, 100)
    # the next order in the width is half as large at twice the width
    bound = remainder(2 * abs(observed - narrower)) + remainder(2 * abs(observed - coarser))
    # covariances are differences of numbers of order one, and as small as one over the width
    bound = bound + rounding(1.0, 400, 1024 * 4**2)
    return agree(observed, float(formula), bound=bound).on(Averaged("weights"))


@factorised.check(grid(depth=[2], seed=[0]), slow=True)
def traces_over_networks(formula, depth, seed):
    """Trace of a diagonal weight block over batches of random networks of three widths, against its two factors."""
    means, deviations = np.array([correlation(width, depth, seed + width) for width in WIDTHS]).T
    slope, deviation, next_order = slope_of(WIDTHS, means, deviations)
    bound = sampling(deviation, NETWORKS, FALSE_ALARM) + remainder(next_order)
    return agree(slope, float(formula), bound=bound).on(Averaged("weights"))


@lru_cache(maxsize=4096)
def excess(width: int, inputs: int, seed: int) -> float:
    """lambda_max of a diagonal weight block of one network over that of its two factors, less one; one output."""
    draw = generator(seed)
    net = perceptron((width,) * 3, 1, draw, ensemble="gaussian", sigma_w=GAIN, sigma_b=0.2)
    return cosines_and_ratio(Sample(net, gaussian_inputs(width, inputs, 1.0, draw)), 2)[2] - 1


@factorised.without(OVER_WEIGHTS, grid(inputs=[4], seed=[0]))
def eigenvalues_over_data(formula, inputs, seed, accuracy=1.0):
    """Largest eigenvalue of a diagonal weight block over the data of single networks, 32 to 128 wide."""
    widths, count = (32, 64, 128), round(40 / accuracy**0.5)
    errors = np.array([[excess(width, inputs, seed + 1000 * k) for width in widths] for k in range(count)])
    slope, deviation, next_order = slope_of(widths, errors.mean(0), errors.std(0, ddof=1))
    bound = sampling(deviation, count, FALSE_ALARM) + remainder(next_order)
    return agree(slope, float(formula), bound=bound).on(Averaged("data"))


ratio = Claim(
    "fisher.factorised-over-data",
    source="B eq. 11",
    says="Over data that a network with one output treats all alike, one length and one angle for all, a diagonal "
    "weight block has a larger eigenvalue than its two factors, by an amount that the cosines decide.",
    formula=fisher_blocks.data_ratio,
    lhs=r"\frac{\lambda_{\max}(\mathrm{E}[x x^{\mathsf T} \otimes \delta \delta^{\mathsf T}])}"
    r"{\lambda_{\max}(\mathrm{E}[x x^{\mathsf T}])\, \lambda_{\max}(\mathrm{E}[\delta \delta^{\mathsf T}])}",
    given=(ACUTE,),
    uses=("fisher.weight-blocks",),
    near_misses={
        "one input too many": lambda: fisher_blocks.data_ratio().subs(SAMPLES, SAMPLES + 1),
    },
    falsifiers={
        "exact factorisation": lambda: Integer(1) + 0 * SAMPLES,
        "cosines of the inputs only": lambda: fisher_blocks.data_ratio().subs(OUTPUT_COSINE, 0),
    },
    remark=(
        "With $`c_x`$ and $`c_\\delta`$, the cosines between inputs and between back-propagated outputs, below one in "
        "the limit of wide layers, the gap stays: width does not help. "
        "It closes for parallel inputs, for linear networks, whose back-propagated outputs are all the same, and for a "
        "single input."
    ),
)


@ratio.proof(generic_in="number of inputs, cosines")
def products_of_cosines(formula):
    """Row sums of Gram matrices with equal cosines and of their entrywise product."""
    return fisher_blocks.is_data_ratio(formula)


def symmetric(width: int, inputs: int, depth: int, seed: int) -> Sample:
    """A network and inputs that no permutation of the inputs changes: all pairs of inputs have the same cosines.

    Neurons come in one group for each input; every layer treats its own group differently from all others.
    """
    for name, value, least in (("inputs", inputs, 2), ("width", width, 1)):
        if value != int(value) or value < least:
            raise ValueError(f"{name}: {value} given, allowed: an integer >= {least}")
    draw, eye, ones = generator(seed), torch.eye(inputs, dtype=torch.float64), torch.ones(inputs, inputs).double()

    def layer(rows: int) -> Tensor:
        own, others = normal((rows, width), draw), normal((rows, width), draw)
        return GAIN * (torch.kron(eye, own) + torch.kron(ones, others) / inputs) / (1.5 * width) ** 0.5

    weights = tuple(layer(width) for _ in range(depth))
    biases = tuple(0.2 * normal((width,), draw).repeat(inputs) for _ in range(depth))
    readout = normal((1, width), draw).repeat(1, inputs) / (inputs * width) ** 0.5
    net = Perceptron(weights, biases, readout, torch.zeros(1, dtype=torch.float64), "tanh")
    x = torch.kron(eye, normal((width, 1), draw)) + normal((width, 1), draw).repeat(inputs, 1)
    return Sample(net, x)


def cosines_and_ratio(sample: Sample, layer: int) -> tuple[float, float, float]:
    """Mean cosines of layer inputs and of back-propagated outputs, and block over factors, from D x D Gram matrices."""
    x = sample.found.x[layer - 1]
    delta = output_jacobians(sample.found)[layer - 1][:, 0].mT
    grams = [part.mT @ part for part in (x, delta)]
    count = x.shape[-1]
    values = [torch.linalg.eigvalsh(gram)[-1] / count for gram in (*grams, grams[0] * grams[1])]
    off = ~torch.eye(count, dtype=torch.bool)
    lengths = [gram.diagonal().sqrt() for gram in grams]
    cosines = [(gram / (n[:, None] * n))[off].mean() for gram, n in zip(grams, lengths, strict=True)]
    return float(cosines[0]), float(cosines[1]), float(values[2] / (values[0] * values[1]))


def dense_ratio(sample: Sample, layer: int) -> float:
    """Block over factors from the matrices themselves: inputs kron back-propagated outputs, averaged over the data."""
    x, delta = sample.found.x[layer - 1], output_jacobians(sample.found)[layer - 1][:, 0].mT
    rows = torch.einsum("it,jt->tij", x, delta).flatten(1)
    exact = torch.linalg.svdvals(rows)[0] ** 2 / len(rows)
    parts = [torch.linalg.svdvals(part)[0] ** 2 / len(rows) for part in (x, delta)]
    return float(exact / (parts[0] * parts[1]))


@ratio.check(grid(depth=[2, 3], width=[3, 6], inputs=[2, 5, 9], seed=[0]))
def networks_without_preference(formula, depth, width, inputs, seed) -> Evidence:
    """Networks that treat all inputs alike, so that all pairs have the same cosines; every layer above the first."""
    sample = symmetric(width, inputs, depth, seed)
    observed, predicted, cosines = [], [], []
    for layer in range(1, depth + 1):
        c_x, c_delta, _ = cosines_and_ratio(sample, layer)
        cosines += [c_x, c_delta]
        observed.append(dense_ratio(sample, layer))
        predicted.append(float(evaluate(formula, {SAMPLES: inputs, INPUT_COSINE: c_x, OUTPUT_COSINE: c_delta})))
    operations = 4 * sum(sample.net.widths) + 4 * inputs
    bound = rounding(max(observed), operations, 1 / min(1.0, *map(abs, observed)))
    return agree(array(observed), array(predicted), bound=bound).on(Averaged("data", tuple(cosines)))


def wide_network(width: int, inputs: int, seed: int) -> Sample:
    """A Gaussian network with one output and inputs that share a mean."""
    draw = generator(seed)
    net = perceptron((width,) * 3, 1, draw, ensemble="gaussian", sigma_w=GAIN, sigma_b=0.2)
    return Sample(net, 0.4 + gaussian_inputs(width, inputs, 1.0, draw))


@ratio.figure
def block_over_factors_against_width(formula):
    """Block over factors for wide networks with independent weights, and the formula at their mean cosines."""
    widths, inputs, count = (16, 32, 64, 128, 256, 512), 8, 12
    rows = np.array([[cosines_and_ratio(wide_network(n, inputs, 97 * k + n), 2) for k in range(count)] for n in widths])
    c_x, c_delta, ratios = rows.mean(1).T
    theory = evaluate(formula, {SAMPLES: inputs, INPUT_COSINE: c_x, OUTPUT_COSINE: c_delta})
    series = (
        Series("formula at the mean cosines", widths, np.broadcast_to(theory, c_x.shape)),
        Series("mean over networks", widths, ratios, "simulation"),
        Series("single networks", np.repeat(widths, count), rows[..., 2].ravel(), "marker"),
        Series("exact factorisation", widths, np.ones(len(widths)), "reference"),
    )
    panel = Panel(
        "second layer, eight inputs",
        "width",
        r"$\lambda_{\max}$ of the block over that of its factors",
        series,
        log_x=True,
    )
    return Figure(
        "Over the data of one network the factors of Lemma 1 miss the block by an amount that no width removes.",
        (panel,),
    )
