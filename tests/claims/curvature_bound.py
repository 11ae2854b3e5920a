"""Bounds on the largest eigenvalue of the Fisher matrix, on every kind of network and data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Max, sqrt
from torch import Tensor

from derivations import words
from derivations.compiled import evaluate
from derivations.decide import all_of
from derivations.information import curvature_bound as theory
from derivations.information.curvature_bound import (
    AUGMENTED,
    COVARIANCE,
    FIRST_NORM,
    JACOBIAN,
    LENGTH,
    MEAN_NORM,
    MOMENT,
    NORM,
)
from derivations.notation import SAMPLES
from numerics import data
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron, with_mean_square
from numerics.likelihoods import roots
from numerics.perceptrons import output_jacobians
from numerics.tangent_kernels import fisher_largest, fisher_matrix
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, at_most
from tests.checker.evidence import Bound
from tests.claims.critical import Sample, point
from tests.claims.settings import array, sizes

DENSE = 600


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """lambda_max and trace of the Fisher matrix of one network, and what the bounds are made of, layer by layer.

    lengths |x_i^{l-1}|^2 and norms s_max(H_i^{1/2} J_{l,i}) are (L, T), moments, augmented and covariances (L,);
    jacobians R_i^T J_{l,i} are (T, r, N_l), one for each layer; budget is the rounding of the eigenvalue.
    """

    sample: Sample
    top: float
    trace: float
    lengths: np.ndarray
    norms: np.ndarray
    moments: np.ndarray
    augmented: np.ndarray
    covariances: np.ndarray
    jacobians: tuple[np.ndarray, ...]
    budget: Bound

    def values(self) -> dict:
        """The letters of the bounds, one entry for each layer."""
        return {
            MOMENT: self.moments,
            AUGMENTED: self.augmented,
            COVARIANCE: self.covariances,
            NORM: self.norms.max(1),
            MEAN_NORM: self.norms.mean(1),
            FIRST_NORM: np.full(len(self.norms), self.norms[0].max()),
        }

    def layers(self) -> list[dict]:
        """The letters of every layer for all samples at once."""
        count = self.lengths.shape[1]
        return [
            {JACOBIAN: j, LENGTH: length, SAMPLES: count}
            for j, length in zip(self.jacobians, self.lengths, strict=True)
        ]


def curvature(sample: Sample, likelihood: str = "identity") -> Curvature:
    """Measure one network: the dense Fisher matrix of automatic differentiation where it is small, else its kernel."""
    net, found, t = sample.net, sample.found, sample.x.shape[-1]
    sides = tuple(output_jacobians(found, roots(likelihood, found.outputs)))
    inputs = found.x[:-1]
    if sum(n * (m + 1) for n, m in zip(net.widths[1:], net.widths, strict=False)) <= DENSE:
        matrix = fisher_matrix(net, sample.x, likelihood=likelihood)
        top, trace = torch.linalg.eigvalsh(matrix)[-1], matrix.trace()
    else:
        top, trace = fisher_largest(net, sample.x, likelihood=likelihood), torch.tensor(torch.nan)
    ones = [torch.cat([x, torch.ones_like(x[:1])]) for x in inputs]
    norms = np.array([array(torch.linalg.matrix_norm(j, 2)) for j in sides])
    moments = np.array([_moment(x) for x in inputs])
    # Jacobians err in proportion to the product of the weights' norms, which may be far above the product's norm
    factors = [float(torch.linalg.matrix_norm(w, 2)) for w in (*net.weights, net.readout)]
    chains = np.cumprod(factors[::-1])[::-1][1:]
    scale = float(((1 + moments) * norms.max(1) * chains).sum())
    return Curvature(
        sample,
        float(top),
        float(trace),
        np.array([array(x.square().sum(0)) for x in inputs]),
        norms,
        moments,
        np.array([_moment(x) for x in ones]),
        np.array([_moment(x - x.mean(1, keepdim=True)) for x in inputs]),
        tuple(array(j) for j in sides),
        rounding(scale, sum(net.widths) + t * net.outputs),
    )


def _moment(x: Tensor) -> float:
    """The largest eigenvalue of the mean of x x^T."""
    return float(torch.linalg.matrix_norm(x, 2)) ** 2 / x.shape[1]


@lru_cache(maxsize=512)
def anywhere(
    activation: str,
    ensemble: str,
    depth: int,
    widths: str | tuple[int, ...],
    likelihood: str,
    inputs: str,
    qstar: float,
    samples: int,
    seed: int,
) -> Curvature:
    """A network with critical variances, a readout of scale 3/2 to three outputs, and its curvature.

    inputs: gaussian, shifted (by one in every entry), or the name of a data set.
    """
    at, draw, shape = point(activation, qstar), generator(seed), sizes(depth, widths, 6)
    net = perceptron(
        shape,
        3,
        draw,
        ensemble=ensemble,
        sigma_w=at.sigma_w,
        sigma_b=at.sigma_b,
        readout=1.5,
        readout_bias=1.0,
        activation=activation,
    )
    if inputs in ("gaussian", "shifted"):
        x = gaussian_inputs(shape[0], samples, at.second_moment, draw) + float(inputs == "shifted")
    else:
        images = data.load(inputs).images
        chosen = torch.randperm(images.shape[1], generator=draw)[:samples]
        x = with_mean_square(data.padded(images[:, chosen], shape[0]), at.second_moment)
    return curvature(Sample(net, x, qstar, ensemble, inputs), likelihood)


_ANY = {"depth": [3], "widths": ["square"], "likelihood": ["identity"], "inputs": ["gaussian"], "qstar": [0.5]}
NETWORKS = (
    grid(
        activation=["linear", "tanh", "erf", "relu", "hard-tanh"],
        ensemble=["orthogonal", "gaussian"],
        depth=[3],
        widths=["widening", "narrowing", "waist"],
        likelihood=["identity", "softmax"],
        inputs=["shifted"],
        qstar=[0.5],
        samples=[5],
        seed=[0],
    )
    + grid(activation=["tanh"], ensemble=["orthogonal", "gaussian"], **_ANY, samples=[1, 8], seed=range(3))
    + grid(
        activation=["tanh"],
        ensemble=["orthogonal"],
        depth=[1, 6],
        widths=["square"],
        likelihood=["softmax"],
        inputs=["gaussian"],
        qstar=[9e-4, 1 / 64, 8.0],
        samples=[4],
        seed=[0],
    )
    + grid(
        activation=["tanh", "relu"],
        ensemble=["orthogonal", "gaussian"],
        depth=[4],
        widths=[(64, 40, 40, 40, 40)],
        likelihood=["identity", "softmax"],
        inputs=["digits"],
        qstar=[0.5],
        samples=[30],
        seed=[0],
    )
)
ISOMETRIC = {
    "activation": ["linear"],
    "ensemble": ["orthogonal"],
    "likelihood": ["identity"],
    "qstar": [0.5, 8.0],
    "seed": [0],
}

bound = Claim(
    "curvature-bound.second-moments",
    source="B section 3",
    says="For every network and data set the largest eigenvalue of the Fisher matrix is at most the sum over layers of "
    "one plus the largest eigenvalue of the inputs' second moments, times the largest squared spectral norm of a "
    "sample's back-propagated Jacobian.",
    formula=theory.second_moments,
    lhs=r"\lambda_{\max}(G)",
    relation=r"\le \sum_{\ell=1}^{L}",
    near_misses={
        "covariance instead of second moments": lambda: (1 + COVARIANCE) * NORM**2,
        "mean over samples instead of the maximum": lambda: (1 + MOMENT) * MEAN_NORM**2,
    },
    falsifiers={
        "Jacobian of the first layer for all": lambda: (1 + MOMENT) * FIRST_NORM**2,
        "without the biases": lambda: MOMENT * NORM**2,
        "spectral norm not squared": lambda: (1 + MOMENT) * NORM,
    },
    remark=(
        "This is what remains of the paper's theorem when every step is exact: no expectation, no independence of "
        "layers, no critical initialisation. Orthogonal layers without nonlinearity attain it on one input. It is "
        "nearly attained as long as pre-activations are small, and loose by the number of samples that decorrelate "
        "when they are not."
    ),
)


@bound.proof(generic_in="depth, widths, samples, outputs, activation, likelihood")
def square_of_every_layer(formula):
    """Complete the square of each layer's kernel; then the case of equality."""
    return all_of(theory.is_second_moments(formula), theory.is_attained(formula))


def total(formula, found: Curvature) -> float:
    """The bound: a formula summed over layers."""
    return float(np.sum(evaluate(formula, found.values())))


@bound.check(NETWORKS)
def every_network(formula, **case):
    """lambda_max of full networks: five activations, two ensembles, two likelihoods, shifted inputs, digits."""
    found = anywhere(**case)
    return at_most(found.top, total(formula, found), bound=found.budget).on(found.sample)


@bound.check(
    grid(**ISOMETRIC, depth=[1, 2, 5], widths=["square"], inputs=["gaussian", "shifted"], samples=[1])
    + grid(**ISOMETRIC, depth=[3], widths=[(64,) * 4], inputs=["digits"], samples=[1])
)
def isometric_networks(formula, **case):
    """Orthogonal layers without nonlinearity and one input: bound and eigenvalue agree."""
    found = anywhere(**case)
    return agree(found.top, total(formula, found), bound=found.budget).on(found.sample)


sharper = Claim(
    "curvature-bound.bias-as-input",
    source="beyond B",
    says="The bias counted as an input that is always one gives a bound that orthogonal layers without nonlinearity "
    "attain on every data set.",
    formula=theory.bias_as_input,
    lhs=r"\lambda_{\max}(G)",
    relation=r"\le \sum_{\ell=1}^{L}",
    near_misses={
        "larger of one and second moments": lambda: Max(1, MOMENT) * NORM**2,
        "mean over samples instead of the maximum": lambda: AUGMENTED * MEAN_NORM**2,
    },
    falsifiers={
        "Jacobian of the first layer for all": lambda: AUGMENTED * FIRST_NORM**2,
        "second moments without biases": lambda: MOMENT * NORM**2,
        "one plus second moments": theory.second_moments,
    },
    remark=(
        "For centred inputs the eigenvalue is the larger of the one of the inputs and 1, not their sum. Since all "
        "isometric linear networks attain the bound, neither factor can be improved without knowing more than "
        "second moments and spectral norms."
    ),
)


@sharper.proof(generic_in="depth, widths, samples, outputs, activation, likelihood")
def square_of_every_layer_with_its_bias(formula):
    """Complete the square with the bias as an input."""
    return theory.is_bias_as_input(formula)


@sharper.check(NETWORKS)
def every_network_with_biases(formula, **case):
    """lambda_max of the same networks against the sharper bound."""
    found = anywhere(**case)
    return at_most(found.top, total(formula, found), bound=found.budget).on(found.sample)


@sharper.check(
    grid(**ISOMETRIC, depth=[1, 2, 5], widths=["square"], inputs=["gaussian", "shifted"], samples=[1, 3, 9])
    + grid(**ISOMETRIC, depth=[3], widths=[(64,) * 4], inputs=["digits"], samples=[20])
)
def isometric_networks_on_data(formula, **case):
    """Orthogonal layers without nonlinearity on data sets: bound and eigenvalue agree."""
    found = anywhere(**case)
    return agree(found.top, total(formula, found), bound=found.budget).on(found.sample)


lower = Claim(
    "curvature-bound.single-samples",
    source="beyond B",
    says="The largest eigenvalue is at least what any single sample contributes with all layers together.",
    formula=theory.sample_block,
    lhs=r"\lambda_{\max}(G)",
    relation=r"\ge \lambda_{\max} \sum_{\ell=1}^{L}",
    near_misses={
        "lengths without biases": lambda: words.layer_sum(JACOBIAN * JACOBIAN.T * (LENGTH / SAMPLES)),
    },
    falsifiers={
        "not divided by the number of samples": lambda: words.layer_sum(JACOBIAN * JACOBIAN.T * (1 + LENGTH)),
        "biases alone": lambda: words.layer_sum(JACOBIAN * JACOBIAN.T * (1 / SAMPLES)),
    },
    remark="Layers add up before the eigenvalue is taken, so there is no loss over depth: with one sample this is the "
    "eigenvalue itself. Together with the upper bound it encloses the curvature of any network.",
)


@lower.proof(generic_in="depth, widths, samples, outputs, activation, likelihood")
def directions_on_one_sample(formula):
    """Restrict the quadratic form to one sample."""
    return theory.is_sample_block(formula)


def best_sample(formula, found: Curvature) -> float:
    """The largest eigenvalue of any sample's block."""
    return float(np.linalg.eigvalsh(words.evaluate(formula, found.layers()))[..., -1].max())


@lower.check(NETWORKS)
def every_network_from_below(formula, **case):
    """lambda_max of full networks against the best of their samples."""
    found = anywhere(**case)
    return at_least(found.top, best_sample(formula, found), bound=found.budget).on(found.sample)


@lower.check(grid(activation=["tanh", "relu"], ensemble=["orthogonal", "gaussian"], **_ANY, samples=[1], seed=[0]))
def one_sample(formula, **case):
    """With one input the block is the whole kernel."""
    found = anywhere(**case)
    return agree(found.top, best_sample(formula, found), bound=found.budget).on(found.sample)


trace = Claim(
    "curvature-bound.trace",
    source="beyond B",
    says="The trace of the Fisher matrix is the mean over samples of the squared Frobenius norms of the layers' "
    "Jacobians, each weighted by one plus the squared length of the layer's input.",
    formula=theory.sample_trace,
    lhs=r"\mathrm{Tr}\, G",
    relation=r"= \hat{\mathbb{E}}",
    near_misses={"lengths without biases": lambda: words.layer_sum(words.trace(JACOBIAN * JACOBIAN.T) * LENGTH)},
    falsifiers={
        "biases alone": lambda: words.layer_sum(words.trace(JACOBIAN * JACOBIAN.T)),
        "lengths not squared": lambda: words.layer_sum(words.trace(JACOBIAN * JACOBIAN.T) * (1 + sqrt(LENGTH))),
    },
    remark="The channel through which the length of activations enters the curvature: for a wide network the weight "
    "is one plus the width times the mean square of the activation, whether or not its mean vanishes.",
)


@trace.proof(generic_in="depth, widths, samples, outputs, activation, likelihood")
def diagonal_of_the_kernel(formula):
    """Sum the kernel's diagonal over a basis of output space."""
    return theory.is_sample_trace(formula)


@trace.check(tuple(case for case in NETWORKS if case["inputs"] != "digits"))
def trace_of_the_matrix(formula, **case):
    """The trace of the dense Fisher matrix from automatic differentiation."""
    found = anywhere(**case)
    predicted = float(np.mean(words.evaluate(formula, found.layers())))
    return agree(found.trace, predicted, bound=found.budget).on(found.sample)
