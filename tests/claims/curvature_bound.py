"""Bounds on the largest eigenvalue of the Fisher matrix, on every kind of network and data."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Max, sqrt

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
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, at_most
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import QSTARS, critical_sample
from tests.claims.curvature_networks import ANY, ISOMETRIC, NETWORKS, Curvature, anywhere, curvature

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
        "nearly attained as long as pre-activations are small; where they are large, samples decorrelate and the gap "
        "widens with their number."
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


@lru_cache(maxsize=64)
def of_paper_size(
    ensemble: str, likelihood: str, qstar: float, inputs: str, width: int, depth: int, seed: int
) -> tuple[float, dict, Bound]:
    """lambda_max of one critical tanh network on 30 inputs, the letters of the bound, and the budget; no matrices."""
    images = {} if inputs == "gaussian" else {"inputs_width": 3072}
    sample = critical_sample(qstar, width, depth, samples=30, seed=seed, ensemble=ensemble, inputs=inputs, **images)
    found = curvature(sample, likelihood)
    return found.top, found.values(), found.budget


def _paper_size(formula, case):
    top, letters, budget = of_paper_size(**case)
    return at_most(top, float(np.sum(evaluate(formula, letters))), bound=budget)


_PAPER = {
    "ensemble": ["orthogonal"],
    "likelihood": ["identity", "softmax"],
    "qstar": QSTARS,
    "width": [400],
    "depth": [200],
    "seed": [0],
}


@bound.check(grid(**_PAPER, inputs=["gaussian"]), slow=True)
def networks_of_paper_size(formula, **case):
    """Critical tanh networks of 200 layers with 400 neurons, ten outputs and 30 inputs, through the kernel."""
    return _paper_size(formula, case)


@bound.check(grid(**_PAPER, inputs=["cifar10"]), slow=True, data="cifar10")
def networks_of_paper_size_on_images(formula, **case):
    """The same on 30 photographs of CIFAR-10."""
    return _paper_size(formula, case)


@bound.figure
def looseness(formula):
    """Bound over eigenvalue against q*, for one and for many inputs, two ensembles."""
    places = np.geomspace(1e-3, 8, 9)
    panels = []
    for ensemble in ("orthogonal", "gaussian"):
        series = []
        for samples, name in ((1, "one input"), (8, "8 inputs"), (32, "32 inputs")):
            upper, below = [], []
            for q in places:
                found = curvature(critical_sample(q, 64, 16, samples=samples, seed=1, ensemble=ensemble))
                upper.append(total(formula, found) / found.top)
                below.append(best_sample(theory.sample_block(), found) / found.top)
            series.append(Series(f"{name}: bound", places, upper))
            if samples == 8:
                series.append(Series(f"{name}: best single one", places, below, "marker"))
        series.append(Series("the eigenvalue itself", places, [1.0] * len(places), "simulation"))
        panels.append(
            Panel(
                f"tanh networks, {ensemble} weights",
                "variance of pre-activations $q^*$",
                r"bound $/\,\lambda_{\max}(G)$",
                tuple(series),
                log_x=True,
                log_y=True,
            )
        )
    return Figure(
        "How far the bounds are from the largest eigenvalue of critical networks, 16 layers of 64 neurons with ten "
        "outputs. Near isometry they meet; at large pre-activations samples decorrelate and the largest norm "
        "among them is charged to all.",
        tuple(panels),
    )


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
    """Complete the square with the bias as an input; then the case of equality."""
    return all_of(theory.is_bias_as_input(formula), theory.is_attained_on_data(formula))


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


@lower.check(grid(activation=["tanh", "relu"], ensemble=["orthogonal", "gaussian"], **ANY, samples=[1], seed=[0]))
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
