"""Random signs of the weights: what they leave of the Fisher matrix of a network with an odd activation."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from sympy import Integer, KroneckerDelta, Piecewise, Rational
from torch import Tensor

from derivations.compiled import evaluate
from derivations.information import fisher_signs
from derivations.information.fisher_signs import FLIPPED, LAYER_A, LAYER_B, OF_THE_MEAN
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.perceptrons import Perceptron, blocks
from numerics.tangent_kernels import fisher_matrix
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, both
from tests.checker.evidence import Evidence
from tests.claims.critical import Sample
from tests.claims.critical_assumptions import ODD
from tests.claims.fisher_definition import KINDS
from tests.claims.fisher_networks import Labelled, labelled
from tests.claims.loss import Widths
from tests.claims.settings import array

flips = Claim(
    "fisher.sign-flips",
    source="B eqs. 11, 12",
    says="With an odd activation, flipping the weights of one layer, its bias, all later biases and the readout leaves "
    "the model as it is and flips rows and columns of the Fisher matrix.",
    formula=fisher_signs.flip_signs,
    given=(ODD,),
    near_misses={
        "the bias of this layer only": lambda: {
            **fisher_signs.flip_signs(),
            "biases": fisher_signs.flip_signs()["weights"],
        }
    },
    falsifiers={
        "weights from this layer on": lambda: {
            **fisher_signs.flip_signs(),
            "weights": fisher_signs.flip_signs()["biases"],
        },
        "biases before this layer": lambda: {
            **fisher_signs.flip_signs(),
            "biases": Piecewise((-1, LAYER_A <= FLIPPED), (1, True)),
        },
    },
    remark=(
        "Random weights and biases with a symmetric distribution are as likely flipped as not, so what changes sign "
        "averages to zero, at every width and for every likelihood: the decoupling of layers that mean field theory "
        "finds in the limit is exact in the average."
    ),
    mutate=False,
)


@flips.proof(generic_in="depth, flipped layer, widths, likelihood")
def a_sign_passes_through(formula):
    """Follow the sign of one layer's pre-activations upwards."""
    return fisher_signs.are_flip_signs(formula)


def flipped(net: Perceptron, layer: int) -> Perceptron:
    """The network with W^layer, the biases from that layer on, and W^g turned around."""
    w = tuple(-one if k == layer else one for k, one in enumerate(net.weights, start=1))
    b = tuple(-one if k >= layer else one for k, one in enumerate(net.biases, start=1))
    return Perceptron(w, b, -net.readout, net.readout_bias, net.activation)


def signs(formula: dict, net: Perceptron, layer: int) -> np.ndarray:
    """The sign that the formula gives to every hidden parameter for a flip of one layer, (P,)."""
    kinds = {"W": "weights", "b": "biases"}
    found = np.empty(sum(place.stop - place.start for place in blocks(net).values()))
    for name, place in blocks(net).items():
        values = {LAYER_A: Integer(int(name[1:])), FLIPPED: Integer(layer)}
        found[place] = float(formula[kinds[name[0]]].subs(values))
    return found


def flip_evidence(formula: dict, depth: int, widths: Widths, likelihood: str, activation: str, seed: int) -> Evidence:
    """The Fisher matrix of each flipped network, against the signed matrix of the network itself."""
    found = labelled(depth, widths, likelihood, seed, activation)
    net, x = found.sample.net, found.sample.x
    own = array(fisher_matrix(net, x, likelihood=likelihood))
    bound = found.rounding(float(abs(own).max()) * net.outputs)
    pieces = []
    for layer in range(1, depth + 1):
        observed = array(fisher_matrix(flipped(net, layer), x, likelihood=likelihood))
        sign = signs(formula, net, layer)
        pieces.append(agree(observed, sign[:, None] * own * sign, bound=bound))
    return both(*pieces).on(found.sample)


@flips.check(
    grid(depth=[1, 2, 3], widths=["wide"], likelihood=KINDS, activation=["tanh"], seed=[0])
    + grid(depth=[2], widths=["narrowing"], likelihood=["softmax"], activation=["erf", "hard-tanh"], seed=[1])
)
def flipped_networks(formula, depth, widths, likelihood, activation, seed):
    """Fisher matrices of full networks by automatic differentiation, before and after flips of every layer."""
    return flip_evidence(formula, depth, widths, likelihood, activation, seed)


@flips.without(ODD, grid(depth=[2, 3], widths=["wide"], likelihood=["identity"], activation=["relu"], seed=[0]))
def flipped_rectifiers(formula, depth, widths, likelihood, activation, seed):
    """The same with rectified units, which do not pass a sign on."""
    return flip_evidence(formula, depth, widths, likelihood, activation, seed)


average = Claim(
    "fisher.average-over-weights",
    source="B eqs. 11, 12, lemma 3",
    says="Averaged over the signs of random weights and biases the Fisher matrix is block diagonal: layers decouple, "
    "and so do weights and bias of one layer, except in the first.",
    formula=fisher_signs.survivors,
    conditions=(ODD,),
    uses=("fisher.sign-flips",),
    near_misses={
        "weights and bias coupled in every layer": lambda: {
            **fisher_signs.survivors(),
            "weights and biases": KroneckerDelta(LAYER_A, LAYER_B),
        }
    },
    falsifiers={
        "neighbouring layers coupled": lambda: {
            **fisher_signs.survivors(),
            "weights": KroneckerDelta(LAYER_A, LAYER_B) + KroneckerDelta(LAYER_A, LAYER_B + 1),
        },
        "nothing coupled in the first layer": lambda: {**fisher_signs.survivors(), "weights and biases": Integer(0)},
    },
    remark=(
        "So the largest eigenvalue of the averaged matrix is that of a single block. All flipped networks share the "
        "eigenvalues of the first one, however, and their off-diagonal blocks are there in each: averaging the matrix "
        "before taking the eigenvalue removes them, taking the eigenvalue first does not."
    ),
    mutate=False,
)


@average.proof(generic_in="depth, layers, widths, likelihood")
def a_flip_that_tells_them_apart(formula):
    """Find a flip under which a block changes sign, or show that there is none."""
    return fisher_signs.are_survivors(formula)


@lru_cache(maxsize=64)
def orbit(depth: int, widths: Widths, likelihood: str, activation: str, seed: int) -> tuple[Labelled, Tensor, Tensor]:
    """The Fisher matrix of a network, and its mean over all 2^L flips."""
    found = labelled(depth, widths, likelihood, seed, activation)
    total = torch.zeros(2 * (len(found.flat),), dtype=found.flat.dtype)
    for choice in product((False, True), repeat=depth):
        net = found.sample.net
        for layer in (k for k, turned in enumerate(choice, start=1) if turned):
            net = flipped(net, layer)
        total += fisher_matrix(net, found.sample.x, likelihood=likelihood)
    return found, fisher_matrix(found.sample.net, found.sample.x, likelihood=likelihood), total / 2**depth


def average_evidence(
    formula: dict, depth: int, widths: Widths, likelihood: str, activation: str, seed: int
) -> Evidence:
    """The mean over flips, against the blocks of one matrix that the formula keeps."""
    found, own, mean = orbit(depth, widths, likelihood, activation, seed)
    kinds, places = {"W": "weights", "b": "biases"}, blocks(found.sample.net)
    kept = np.zeros(own.shape)
    for (one, rows), (two, columns) in product(places.items(), repeat=2):
        mixed = one[0] != two[0]
        values = {LAYER_A: Integer(int(one[1:])), LAYER_B: Integer(int(two[1:]))}
        kept[rows, columns] = float(formula["weights and biases" if mixed else kinds[one[0]]].subs(values))
    bound = found.rounding(float(own.abs().max()) * found.sample.net.outputs)
    return agree(mean, kept * array(own), bound=bound).on(found.sample)


@average.check(
    grid(depth=[1, 2, 3], widths=["wide"], likelihood=KINDS, activation=["tanh"], seed=[0])
    + grid(depth=[2], widths=["narrowing"], likelihood=["softmax"], activation=["erf"], seed=[1])
)
def mean_over_all_flips(formula, depth, widths, likelihood, activation, seed):
    """The exact mean of the Fisher matrices of a network with all signs flipped, block by block."""
    return average_evidence(formula, depth, widths, likelihood, activation, seed)


@average.without(ODD, grid(depth=[2, 3], widths=["wide"], likelihood=["identity"], activation=["relu"], seed=[0]))
def mean_over_flipped_rectifiers(formula, depth, widths, likelihood, activation, seed):
    """The same with rectified units."""
    return average_evidence(formula, depth, widths, likelihood, activation, seed)


convex = Claim(
    "fisher.eigenvalue-before-average",
    source="B lemma 3",
    says="The mean over networks of the largest Fisher eigenvalue is at least that of the mean matrix, "
    "with equality over flips of networks of one hidden layer.",
    formula=fisher_signs.mean_eigenvalue,
    lhs=r"\mathrm{E} \lambda_{\max}(G)",
    relation=r"\geq",
    given=(ODD,),
    uses=("fisher.sign-flips",),
    near_misses={"a thousandth more": lambda: OF_THE_MEAN * Rational(1001, 1000)},
    falsifiers={
        "twice as much": lambda: 2 * OF_THE_MEAN,
        "a hundred times as much": lambda: 100 * OF_THE_MEAN,
    },
    remark=(
        "The paper bounds blocks of the averaged matrix and reads the result as a bound on the eigenvalue of networks. "
        "The inequality goes the other way: for a few layers the two differ several times over, since the blocks "
        "between layers, which the average removes, are as large as those on the diagonal."
    ),
)


@convex.proof(generic_in="matrices, their number of parameters")
def mean_of_squares(formula):
    """Put each matrix below its largest eigenvalue by a square and average."""
    return fisher_signs.is_mean_eigenvalue(formula)


@convex.check(
    grid(depth=[1], widths=["wide", "narrowing"], likelihood=KINDS, seed=[0])
    + grid(depth=[2, 3], widths=["wide"], likelihood=KINDS, seed=[0])
)
def flips_of_networks(formula, depth, widths, likelihood, seed):
    """All flips of full networks: mean of the largest eigenvalues, and that of the mean matrix; equal for one layer."""
    found, own, mean = orbit(depth, widths, likelihood, "tanh", seed)
    whole, averaged = (float(torch.linalg.eigvalsh(matrix)[-1]) for matrix in (own, mean))
    lower = float(evaluate(formula, {OF_THE_MEAN: averaged}))
    bound = found.rounding(whole)
    pieces = [at_least(whole, lower, bound=bound)]
    if depth == 1:
        pieces.append(agree(whole, lower, bound=bound))
    return both(*pieces).on(found.sample)


@lru_cache(maxsize=8)
def over_networks(width: int, depth: int, count: int, seed: int) -> tuple[Sample, float, float]:
    """Mean of the largest Fisher eigenvalues of random networks, and largest eigenvalue of their mean matrix."""
    draw = generator(seed)
    x = gaussian_inputs(width, 4, 1.0, draw)
    nets = [perceptron((width,) * (depth + 1), 3, draw, ensemble="gaussian", sigma_b=0.3) for _ in range(count)]
    matrices = torch.stack([fisher_matrix(net, x) for net in nets])
    values = torch.linalg.eigvalsh(matrices)[:, -1]
    return Sample(nets[0], x), float(values.mean()), float(torch.linalg.eigvalsh(matrices.mean(0))[-1])


@convex.check(grid(width=[5], depth=[1, 3], count=[40], seed=[0]))
def random_networks(formula, width, depth, count, seed):
    """Batches of random networks: mean of the largest eigenvalues against that of the mean matrix."""
    sample, whole, averaged = over_networks(width, depth, count, seed)
    lower = float(evaluate(formula, {OF_THE_MEAN: averaged}))
    note = f"mean of the eigenvalues over eigenvalue of the mean: {whole / averaged:.2g}"
    found = at_least(whole, lower, bound=rounding(whole, 8 * count + 8 * width * depth))
    return found.noting(note).on(sample)
