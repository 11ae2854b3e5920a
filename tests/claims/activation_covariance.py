"""Second moments of activations within a layer and between layers, over networks and over the data of one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from derivations import words
from derivations.information import finite_width
from derivations.information.critical_forms import SECOND_MOMENT
from derivations.information.finite_width import MEAN, MEAN_A, MEAN_B, ONES, ONES_A, ONES_B
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from tests.checker.bounds import remainder, rounding, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.claims.critical import Sample
from tests.claims.finite_width import FALSE_ALARM, ensemble
from tests.claims.quadrature import SLOPES, mean_of


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Activations of two layers, one row a network or a data point, with what the averages run over."""

    sample: Sample
    below: np.ndarray
    above: np.ndarray
    over_networks: bool


AVERAGED = Assumption(
    "average over networks",
    "the mean runs over random weights, not over the data of one network",
    lambda means: means.over_networks,
)


@lru_cache(maxsize=32)
def activities(activation: str, width: int, alpha: int, beta: int, nets: int, data: int, seed: int) -> Means:
    """Activations of layers alpha and beta (rows, N) over many networks, or over many inputs of one network."""
    if data:
        draw = generator(seed)
        net = perceptron(
            [width] * (beta + 1), 1, draw, ensemble="gaussian", sigma_w=1.4, sigma_b=0.3, activation=activation
        )
        sample = Sample(net, gaussian_inputs(width, data, 1.0, draw, exact=True))
        rows = [sample.found.x[place].mT.numpy() for place in (alpha, beta)]
    else:
        sample = ensemble("gaussian", activation, 1.4, 0.3, (width,) * (beta + 1), nets, seed)
        rows = [sample.found.x[place][..., 0].numpy() for place in (alpha, beta)]
    return Means(sample, *rows, not data)


def _moments(activation: str, layer: int) -> tuple[float, float]:
    """E phi and E phi^2 of a layer at infinite width, by quadrature, at sigma_w = 1.4 and sigma_b = 0.3."""
    phi, q = SLOPES[activation][0], 1.4**2 + 0.3**2
    for _ in range(layer - 1):
        q = 1.4**2 * mean_of(lambda h: phi(h) ** 2, q) + 0.3**2
    return mean_of(phi, q), mean_of(lambda h: phi(h) ** 2, q)


same = Claim(
    "mean-field.same-layer-covariance",
    source="B after Lemma 2",
    says="The activations of one layer have a second moment of identity plus a rank-one matrix.",
    formula=finite_width.same_layer,
    lhs=r"\mathbb{E}\,x^l x^{l\mathsf{T}}",
    conditions=(AVERAGED,),
    near_misses={"mean square for squared mean": finite_width.same_layer_printed},
    falsifiers={
        "no rank-one part": lambda: SECOND_MOMENT * words.identity("N"),
        "mean square on the diagonal besides": lambda: SECOND_MOMENT * words.identity("N") + MEAN**2 * (ONES * ONES.T),
    },
    remark=(
        "The rank-one part needs a non-zero mean activation: it is there for ReLU and absent for tanh. All of this is "
        "about the mean over networks; the activations of one network over its data have a full covariance."
    ),
)
printed_same = Claim(
    "mean-field.rank-one-part-as-printed",
    source="B after Lemma 2",
    says="The rank-one part comes from the mean squared activation.",
    formula=finite_width.same_layer_printed,
    control=finite_width.same_layer,
    corrected_by=("mean-field.same-layer-covariance",),
    lhs=r"\mathbb{E}\,x^l x^{l\mathsf{T}}",
    near_misses={"corrected but without its identity part": lambda: words.expression(MEAN**2 * (ONES * ONES.T))},
    falsifiers={"corrected but without its rank-one part": lambda: (SECOND_MOMENT - MEAN**2) * words.identity("N")},
    remark=(
        "A mean square is never zero, so the sentence can only mean the square of the mean: a bracket in the wrong "
        "place, perhaps the printer's. With the mean square even tanh networks would have a rank-one part."
    ),
)
for one in (same, printed_same):

    @one.proof(generic_in="activation, length, where the length of the layer is sharp")
    def independent_neurons(formula):
        """Entries on and off the diagonal, by independence of the neurons of a layer."""
        return finite_width.is_same_layer(formula)


def _same_case(formula, activation, width, layer, nets, data, seed):
    means = activities(activation, width, layer, layer, nets, data, seed)
    products = means.below[:, :, None] * means.below[:, None, :]
    mean, second = _moments(activation, layer)
    values = {ONES: np.ones((width, 1)), MEAN: mean, SECOND_MOMENT: second}
    predicted = words.evaluate(formula, values)
    # the mean over a data set is itself what is asked for, without sampling error
    exact = rounding(10.0, 50 * width + len(products))
    bound = exact if data else sampling(float(products.std(0).max()), nets, FALSE_ALARM, width**2)
    return agree(products.mean(0), predicted, bound=bound).on(means)


SAME = grid(activation=["tanh", "erf"], width=[5], layer=[1], nets=[16000]) + grid(
    activation=["relu"], width=[5], layer=[1, 2], nets=[60000]
)
for one in (same, printed_same):

    @one.check(SAME)
    def over_networks(formula, activation, width, layer, nets, seed):
        """Second moments over networks: first layers of any activation and all layers of ReLU are exact."""
        return _same_case(formula, activation, width, layer, nets, 0, seed)


@same.without(AVERAGED, grid(activation=["tanh", "relu"], width=[8], layer=[2], data=[2000]))
def over_data(formula, activation, width, layer, data, seed):
    """The same over the data of one network."""
    return _same_case(formula, activation, width, layer, 0, data, seed)


cross = Claim(
    "mean-field.cross-layer-covariance",
    source="B after Lemma 2",
    says="Activations of different layers have a cross-moment of rank one, zero for odd activations.",
    formula=finite_width.cross_layer,
    lhs=r"\mathbb{E}\,x^{\alpha} x^{\beta\mathsf{T}}",
    conditions=(AVERAGED,),
    near_misses={"mean of one layer only": lambda: words.expression(MEAN_A**2 * (ONES_A * ONES_B.T))},
    falsifiers={"always zero": lambda: 0 * (ONES_A * ONES_B.T), "twice": lambda: 2 * finite_width.cross_layer()},
    remark=(
        "Rank one follows at every width from exchanging neurons within a layer, a mean of zero from flipping the "
        "signs of the upper layer. Over the data of one network the cross-moment has full rank, however wide it is: "
        "each network carries its own map from layer to layer."
    ),
)


@cross.proof(generic_in="activation, layers, in the limit of infinite width")
def sharp_length(formula):
    """The mean of the upper layer given the lower one."""
    return finite_width.is_cross_layer(formula)


def _projected(matrix: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Mean entry of (..., N, N), and the mean with alternating signs on both sides."""
    size = matrix.shape[-1]
    return np.stack([matrix.sum((-2, -1)), np.einsum("i,...ij,j->...", sign, matrix, sign)], -1) / size**2


def _cross_case(formula, activation, width, alpha, beta, nets, data, seed):
    means = activities(activation, width, alpha, beta, nets, data, seed)
    (first, _), (last, _) = _moments(activation, alpha), _moments(activation, beta)
    ones = np.ones((width, 1))
    predicted = words.evaluate(formula, {ONES_A: ones, ONES_B: ones, MEAN_A: first, MEAN_B: last})
    sign = (-1.0) ** np.arange(width)
    rows = np.stack([means.below.mean(1) * means.above.mean(1), (means.below @ sign) * (means.above @ sign)], 1)
    rows[:, 1] /= width**2
    exact = rounding(10.0, 50 * width + len(rows))
    bound = exact if data else sampling(float(rows.std(0).max()), nets, FALSE_ALARM, 2)
    if activation == "relu":
        # with v the conditional variance of the upper layer: its covariance with one neuron below changes the mean of
        # sqrt(v) by at most 3 / (2 N), and its own spread lowers it by at most 5 / (8 N) for each layer in between
        bound = bound + remainder(3 / width * first * last)
    scale = (_moments(activation, alpha)[1] * _moments(activation, beta)[1]) ** 0.5
    return agree(rows.mean(0), _projected(predicted, sign), bound=bound, scale=scale).on(means)


@cross.check(
    grid(activation=["tanh"], width=[8], alpha=[1], beta=[2, 3], nets=[8000])
    + grid(activation=["relu"], width=[60], alpha=[1], beta=[2, 3], nets=[800])
)
def layers_over_networks(formula, activation, width, alpha, beta, nets, seed):
    """Cross-moments over networks, along the vector of ones and along a vector of alternating signs."""
    return _cross_case(formula, activation, width, alpha, beta, nets, 0, seed)


@cross.without(AVERAGED, grid(activation=["tanh"], width=[8], alpha=[1], beta=[2], data=[2000]))
def layers_over_data(formula, activation, width, alpha, beta, data, seed):
    """The same over the data of one network."""
    return _cross_case(formula, activation, width, alpha, beta, 0, data, seed)
