"""The printed bounds on the largest Fisher eigenvalue, on networks that decide them and on critical networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.information import curvature_bound_printed as theory
from derivations.information.curvature_bound_printed import (
    CURVED,
    MEAN,
    MOMENT_0,
    MOMENT_B,
    S_1,
    S_B,
    TILT,
)
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.likelihoods import hessians
from numerics.perceptrons import output_jacobians
from numerics.tangent_kernels import fisher_spectrum
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import at_most
from tests.claims.critical import Sample, critical_sample
from tests.claims.settings import array

NETS = 16
FALSE_ALARM = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A batch of networks: largest eigenvalues (S,), and the letters of the bounds, later layers in a last axis."""

    sample: Sample
    tops: np.ndarray
    letters: dict
    operations: int

    def bounds(self, formula: Mapping) -> np.ndarray:
        """The bound of every network, (S,)."""
        first, later = (evaluate(formula[name], self.letters) for name in ("first", "later"))
        return np.broadcast_to(first, (*self.tops.shape, 1))[..., 0] + later.sum(-1)


def measure(sample: Sample, likelihood: str = "identity") -> Measured:
    """Spectral norms of d h^g / d h^l are the largest over samples, which favours the printed bounds."""
    net, found = sample.net, sample.found
    norms = np.stack([array(torch.linalg.matrix_norm(j, 2)) for j in output_jacobians(found)], -2)
    moments = np.stack([array(torch.linalg.matrix_norm(x, 2)) ** 2 / x.shape[-1] for x in found.x[:-1]], -1)
    means = [np.sqrt(x.shape[-2]) * array(x.mean((-2, -1)).abs()) for x in found.x[1:-1]]
    curved = array(torch.linalg.eigvalsh(hessians(likelihood, found.outputs))[..., -1].amax(-1))
    odd = net.activation != "relu"
    largest = norms.max(-1)
    letters = {
        S_1: largest[..., :1],
        S_B: largest[..., 1:],
        CURVED: curved[..., None],
        MEAN: array(sample.x.mean(-1).norm(dim=-1))[..., None],
        MOMENT_0: moments[..., :1],
        MOMENT_B: moments[..., 1:],
        # the mean of an odd activation vanishes by symmetry, that of a rectifier is measured
        TILT: np.zeros(1) if odd else np.stack(means, -1),
    }
    tops = array(fisher_spectrum(net, sample.x, likelihood=likelihood)[..., -1])
    return Measured(sample, tops, letters, sum(net.widths) + sample.x.shape[-1] * net.outputs)


@lru_cache(maxsize=64)
def critical_networks(activation: str, ensemble: str, qstar: float, inputs: str, seed: int) -> Measured:
    """Sixteen critical networks, 12 layers of 48 neurons, on inputs in opposite pairs or on one input."""
    one = critical_sample(
        qstar,
        48,
        12,
        outputs=4,
        samples=8 if inputs == "pairs" else 1,
        seed=seed,
        ensemble=ensemble,
        activation=activation,
        seeds=NETS,
    )
    x = torch.cat([one.x, -one.x], -1) if inputs == "pairs" else one.x
    return measure(Sample(one.net, x, qstar, ensemble, inputs))


@lru_cache(maxsize=64)
def isometric_networks(depth: int, length: float, inputs: str, seed: int) -> Measured:
    """Orthogonal layers without nonlinearity, a readout of spectral norm 1, and inputs of a given length."""
    draw = generator(seed)
    net = perceptron((6,) * (depth + 1), 3, draw, activation="linear", seeds=2)
    x = gaussian_inputs(6, 1, length**2 / 6, draw, exact=True)
    return measure(Sample(net, torch.cat([x, -x], -1) if inputs == "pairs" else x, source=inputs))


SMALL_MEAN = Assumption(
    "small mean input",
    "the mean input has at most length 1",
    lambda sample: bool((sample.x.mean(-1).norm(dim=-1) <= 1).all()),
)
LARGE_MEAN = Assumption(
    "large mean input",
    "the mean input is longer than 1",
    lambda sample: bool((sample.x.mean(-1).norm(dim=-1) > 1).all()),
)

_WRONG = {
    "lengths of the first layer alone": lambda: {**theory.corrected(), "later": CURVED * S_B**2},
    "no lengths at all": lambda: {"first": CURVED * S_1**2, "later": CURVED * S_B**2},
}
_HOW = (
    "The step that fails is the first: off-diagonal blocks are small only after averaging over weights, but the "
    "eigenvalue of one network, or its mean over networks, is not the eigenvalue of the mean. "
)

case_one = Claim(
    "curvature-bound.small-mean-as-printed",
    source="B section 3, theorem",
    says="For inputs whose mean has at most length 1 the block of the first biases dominates, and with the norms of "
    "its off-diagonal blocks it bounds the largest eigenvalue.",
    formula=theory.case_one,
    control=theory.corrected,
    corrected_by=("curvature-bound.second-moments",),
    lhs=r"\lambda_{\max}(G)",
    relation=r"\le",
    given=(SMALL_MEAN,),
    near_misses={"lengths of the first layer alone": _WRONG["lengths of the first layer alone"]},
    falsifiers={"no lengths at all": _WRONG["no lengths at all"]},
    mutate=False,
    remark=_HOW + "Isometric networks show it without any statistics: for centred data the bound knows nothing of "
    "the length of the inputs, the curvature is proportional to its square.",
)

case_two = Claim(
    "curvature-bound.large-mean-as-printed",
    source="B section 3, theorem",
    says="For inputs whose mean is longer than 1 the block of the first weights dominates, and with the norms of its "
    "off-diagonal blocks it bounds the largest eigenvalue.",
    formula=theory.case_two,
    control=theory.corrected,
    corrected_by=("curvature-bound.second-moments",),
    lhs=r"\lambda_{\max}(G)",
    relation=r"\le",
    given=(LARGE_MEAN,),
    near_misses={"lengths of the first layer alone": _WRONG["lengths of the first layer alone"]},
    falsifiers={"no lengths at all": _WRONG["no lengths at all"]},
    mutate=False,
    remark=_HOW + "Each later layer is charged with the length of the mean input, but contributes its square.",
)


@case_one.proof(generic_in="depth, length of the inputs")
def opposite_inputs(formula):
    """Two opposite inputs to isometric networks."""
    return theory.violated_by_pair(formula)


@case_two.proof(generic_in="depth, length of the input")
def single_input(formula):
    """One input to isometric networks."""
    return theory.violated_by_one(formula)


def _isometric(formula, case):
    found = isometric_networks(**case)
    bounds = found.bounds(formula)
    return at_most(found.tops, bounds, bound=rounding(float(found.tops.max()), found.operations)).on(found.sample)


@case_one.check(grid(depth=[2, 5], length=[2.0, 5.0], inputs=["pairs"], seed=[0]))
def isometric_networks_with_pairs(formula, **case):
    """Full linear networks with orthogonal layers on two opposite inputs."""
    return _isometric(formula, case)


@case_two.check(grid(depth=[2, 5], length=[2.0, 5.0], inputs=["one"], seed=[0]))
def isometric_networks_with_one_input(formula, **case):
    """Full linear networks with orthogonal layers on one input."""
    return _isometric(formula, case)


def _mean_violation(formula, case):
    found = critical_networks(**case)
    excess = found.tops - found.bounds(formula)
    budget = sampling(float(excess.std(ddof=1)), NETS, FALSE_ALARM)
    ratio = float((found.tops / found.bounds(formula)).mean())
    return at_most(excess.mean(), 0.0, bound=budget).on(found.sample).noting(f"eigenvalue over bound {ratio:.3g}")


_CRITICAL = {"activation": ["tanh"], "ensemble": ["orthogonal"], "qstar": [9e-4, 1 / 64, 0.5, 8.0], "seed": [0]}


@case_one.check(
    grid(**_CRITICAL, inputs=["pairs"])
    + grid(activation=["tanh", "relu"], ensemble=["gaussian"], qstar=[0.5], inputs=["pairs"], seed=[0])
)
def critical_networks_with_pairs(formula, **case):
    """The mean over critical networks, orthogonal and Gaussian, on opposite inputs."""
    return _mean_violation(formula, case)


@case_two.check(
    grid(**{**_CRITICAL, "qstar": [0.5, 8.0]}, inputs=["one"])
    + grid(activation=["tanh", "relu"], ensemble=["gaussian"], qstar=[0.5], inputs=["one"], seed=[0])
)
def critical_networks_with_one_input(formula, **case):
    """The mean over critical networks, orthogonal and Gaussian, on one input."""
    return _mean_violation(formula, case)
