"""The Fisher matrix averaged over weights: the one object for which the printed bounds can hold."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from derivations.compiled import evaluate
from derivations.information import curvature_bound_printed as theory
from derivations.information.curvature_bound_printed import BIASED_MOMENT, FROBENIUS, MOMENT_0
from derivations.notation import WIDTH
from numerics.perceptrons import output_jacobians
from tests.checker.bounds import sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most, both
from tests.claims.critical import Sample, critical_sample
from tests.claims.critical_assumptions import CRITICAL, ODD
from tests.claims.curvature_bound_printed import Measured, measure
from tests.claims.settings import array

NETS = 20000
FALSE_ALARM = 1e-4

average = Claim(
    "curvature-bound.averaged-fisher",
    source="B section 3, theorem",
    says="Averaged over weights, the Fisher matrix of critical networks with odd activation has as its largest "
    "eigenvalue that of the second moments of inputs and bias, times the mean squared length of a column of the first "
    "layer's Jacobian.",
    formula=theory.averaged_largest,
    lhs=r"\lambda_{\max}(\mathbb{E}_W G)",
    given=(CRITICAL, ODD),
    near_misses={"one plus the second moments": lambda: (1 + MOMENT_0) * FROBENIUS**2 / WIDTH},
    falsifiers={
        "second moments without the bias": lambda: MOMENT_0 * FROBENIUS**2 / WIDTH,
        "not divided by the width": lambda: BIASED_MOMENT * FROBENIUS**2,
    },
    remark="For this matrix the printed bounds hold, the one for small means as long as the second moments do not "
    "exceed the width over the number of outputs. But no network has it: isometric ones with a unit readout have a "
    "largest eigenvalue that is larger by the product of width and depth over the number of outputs. Taking the "
    "average inside is what the printed derivation does.",
)


def parameter_rows(sample: Sample) -> Tensor:
    """Rows of d h^g / d theta of all networks and samples, (S, T, K, P), from inputs and Jacobians of the layers."""
    found = sample.found
    parts = []
    for x, j in zip(found.x[:-1], output_jacobians(found), strict=True):
        ones = torch.cat([x, torch.ones_like(x[..., :1, :])], -2).mT
        parts.append((ones[..., None, :, None] * j[..., :, None, :]).flatten(-2))
    return torch.cat(parts, -1)


@average.proof(instances="the block of the first layer, in any size; that later layers are below it is measured")
def one_neuron_and_one_direction(formula):
    """The first layer's block along one neuron and the top direction of the inputs, averaged over weights."""
    return theory.is_averaged_largest(formula)


@lru_cache(maxsize=16)
def averaged(
    activation: str, ensemble: str, depth: int, width: int, qstar: float, samples: int, seed: int
) -> tuple[Measured, np.ndarray, dict]:
    """The quotient of every second network along the top eigenvector of the mean over the others, and the letters."""
    sample = critical_sample(
        qstar,
        width,
        depth,
        outputs=2,
        samples=samples,
        seed=seed,
        ensemble=ensemble,
        activation=activation,
        seeds=NETS,
    )
    rows = parameter_rows(sample).flatten(1, 2)
    half = rows[: NETS // 2].flatten(0, 1)
    top = torch.linalg.eigh(half.mT @ half)[1][:, -1]
    quotients = (rows[NETS // 2 :] @ top).square().sum(-1) / samples
    found = measure(sample)
    ones = torch.cat([sample.x, torch.ones_like(sample.x[:1])])
    jacobians = output_jacobians(sample.found)[0].square().sum((-2, -1)).mean()
    letters = {
        MOMENT_0: float(found.letters[MOMENT_0].max()),
        BIASED_MOMENT: float(torch.linalg.matrix_norm(ones, 2)) ** 2 / samples,
        FROBENIUS: float(jacobians) ** 0.5,
        WIDTH: width,
    }
    return found, array(quotients), letters


@average.check(
    grid(
        activation=["tanh"],
        ensemble=["orthogonal", "gaussian"],
        depth=[2],
        width=[5],
        qstar=[0.5],
        samples=[3],
        seed=[0],
    )
)
def mean_over_small_networks(formula, **case):
    """Top eigenvector from one half of many small networks, its quotient from the other; then the printed bound."""
    found, quotients, letters = averaged(**case)
    predicted = float(evaluate(formula, letters))
    budget = sampling(float(quotients.std(ddof=1)), len(quotients), FALSE_ALARM)
    means = {symbol: value.mean(0, keepdims=True) for symbol, value in found.letters.items()}
    printed = Measured(found.sample, found.tops[:1], means, found.operations)
    large = float(means[theory.MEAN].max()) > 1
    bound = printed.bounds(theory.case_two() if large else theory.case_one())
    return both(agree(quotients.mean(), predicted, bound=budget), at_most(predicted, bound, bound=budget)).on(
        found.sample
    )
