"""Full networks of every kind with the spectrum of their Fisher matrix and what bounds on it are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

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
from tests.checker.claim import grid
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
    dense = sum(n * (m + 1) for n, m in zip(net.widths[1:], net.widths, strict=False)) <= DENSE
    if dense:
        matrix = fisher_matrix(net, sample.x, likelihood=likelihood)
        top, trace = torch.linalg.eigvalsh(matrix)[-1], matrix.trace()
    else:
        top, trace = fisher_largest(net, sample.x, likelihood=likelihood), torch.tensor(torch.nan)
    ones = [torch.cat([x, torch.ones_like(x[:1])]) for x in inputs]
    norms = np.array([array(torch.linalg.matrix_norm(j, 2)) for j in sides])
    moments = np.array([_moment(x) for x in inputs])
    # two ways to the Jacobians differ by the product of the weights' norms, which may be far above the product's norm;
    # kernel and bounds made of the same Jacobians do not, since the bound needs no relation between layers
    factors = [float(torch.linalg.matrix_norm(w, 2)) for w in (*net.weights, net.readout)]
    chains = np.cumprod(factors[::-1])[::-1][1:]
    scale = float(((1 + moments) * norms.max(1) * (chains if dense else norms.max(1))).sum())
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


ANY = {"depth": [3], "widths": ["square"], "likelihood": ["identity"], "inputs": ["gaussian"], "qstar": [0.5]}
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
    + grid(activation=["tanh"], ensemble=["orthogonal", "gaussian"], **ANY, samples=[1, 8], seed=range(3))
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
