"""The Frobenius norm of the Fisher matrix, and what the Jacobian's spectral norm says about the curvature."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import sqrt

from derivations.compiled import evaluate
from derivations.information import curvature_bound_printed as theory
from derivations.information.curvature_bound_printed import (
    FROBENIUS,
    FROBENIUS_LATER,
    KAPPA_1,
    KAPPA_2,
    MEAN,
    MOMENT_0,
    S_1,
    S_INPUT,
    TILT,
)
from derivations.notation import DEPTH, SAMPLES
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.jacobians import largest_singular_value
from numerics.perceptrons import output_jacobians
from numerics.tangent_kernels import fisher_largest, fisher_matrix, tangent_kernel
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.claims.critical import Sample, critical_sample
from tests.claims.curvature_bound_printed import LARGE_MEAN
from tests.claims.settings import sizes

_OFF_DIAGONAL = (SAMPLES - 1) * KAPPA_2**2

norm = Claim(
    "curvature-bound.frobenius-norm",
    source="B section 1",
    says="With one output, the Frobenius norm of the Fisher matrix is given by the mean squares of the kernel's "
    "entries on and off the diagonal; it is the bound of Karakida et al. on the largest eigenvalue.",
    formula=theory.frobenius_of_kernel,
    lhs=r"\lVert G \rVert_F",
    near_misses={"one more pair of samples": lambda: sqrt((KAPPA_1**2 + SAMPLES * KAPPA_2**2) / SAMPLES)},
    falsifiers={
        "the diagonal alone": lambda: sqrt(KAPPA_1**2 / SAMPLES),
        "not averaged over samples": lambda: sqrt(KAPPA_1**2 + _OFF_DIAGONAL),
    },
    remark="It needs two numbers of the kernel and no singular value of any weight. Taken from the limit of wide "
    "layers, as there, they do not know the ensemble; but neither does the largest eigenvalue in that limit.",
)

printed = Claim(
    "curvature-bound.frobenius-variant-as-printed",
    source="B section 3",
    says="With Frobenius norms in place of spectral norms the theorem becomes the bound of Karakida et al.",
    formula=theory.frobenius_variant,
    control=theory.frobenius_of_kernel,
    corrected_by=("curvature-bound.frobenius-norm",),
    lhs=r"\lVert G \rVert_F",
    given=(LARGE_MEAN,),
    near_misses=dict(norm.near_misses),
    falsifiers=dict(norm.falsifiers),
    remark="The one depends on the number of samples and on their overlaps in every layer, the other knows samples by "
    "two moments of the inputs alone. With one output, where both kinds of norm agree, the printed variant need not "
    "even be an upper bound. It is the second case of the theorem, for a mean input longer than 1.",
)


@norm.proof(generic_in="samples, depth, widths, activation")
def squares_of_the_kernel(formula):
    """Count the entries of the kernel."""
    return theory.is_frobenius_of_kernel(formula)


@printed.proof(generic_in="depth")
def one_input_to_isometric_networks(formula):
    """Isometric networks with one output and one input."""
    return theory.refuted_by_one_input(formula)


@lru_cache(maxsize=64)
def single_output(
    activation: str, ensemble: str, depth: int, width: int, qstar: float, samples: int, seed: int
) -> tuple[Sample, float, dict, Bound]:
    """A critical network with one output: |G|_F of the dense matrix, and the letters of both formulas."""
    sample = critical_sample(
        qstar,
        width,
        depth,
        outputs=1,
        samples=samples,
        seed=seed,
        ensemble=ensemble,
        activation=activation,
    )
    matrix, kernel = fisher_matrix(sample.net, sample.x), tangent_kernel(sample.net, sample.x)
    off = kernel[~torch.eye(samples, dtype=torch.bool)]
    norms = [float(j.norm(dim=(-2, -1)).mean()) for j in output_jacobians(sample.found)]
    x = sample.x
    letters = {
        SAMPLES: samples,
        KAPPA_1: float(kernel.diagonal().square().mean().sqrt()),
        KAPPA_2: float(off.square().mean().sqrt()) if samples > 1 else 0.0,
        MEAN: float(x.mean(1).norm()),
        MOMENT_0: float(torch.linalg.matrix_norm(x, 2)) ** 2 / samples,
        TILT: 0.0,
        FROBENIUS: norms[0],
        FROBENIUS_LATER: sum(norms[1:]),
    }
    found = float(matrix.norm())
    return sample, found, letters, rounding(float(kernel.norm()), depth * width + len(matrix))


@norm.check(
    grid(
        activation=["tanh", "relu"],
        ensemble=["orthogonal", "gaussian"],
        depth=[1, 3],
        width=[8],
        qstar=[0.5],
        samples=[1, 2, 7],
        seed=[0],
    )
)
@printed.check(
    grid(activation=["tanh"], ensemble=["orthogonal"], depth=[3], width=[8], qstar=[2.0], samples=[1, 2], seed=[0])
    + grid(activation=["linear"], ensemble=["orthogonal"], depth=[3], width=[8], qstar=[2.0], samples=[1, 4], seed=[0])
)
def dense_matrix(formula, **case):
    """The Frobenius norm of the dense Fisher matrix of full networks from automatic differentiation."""
    sample, found, letters, bound = single_output(**case)
    return agree(found, evaluate(formula, letters), bound=bound).on(sample)


proportional = Claim(
    "curvature-bound.proportional-as-printed",
    source="B section 1",
    says="The largest eigenvalue of the Fisher matrix is proportional to the largest singular value of the Jacobian.",
    formula=theory.proportional,
    control=theory.depth_law,
    corrected_by=("curvature-bound.second-moments",),
    lhs=r"\lambda_{\max}(G)",
    near_misses={"one layer more": lambda: (DEPTH + 1) * MOMENT_0 * S_1**2},
    falsifiers={
        "squared depth": lambda: DEPTH**2 * MOMENT_0 * S_1**2,
        "proportional to its square": lambda: MOMENT_0 * S_1**2 * S_INPUT**2,
    },
    remark="What is derived is an upper bound. Isometric networks of different depth have the same singular values, "
    "all equal to one, and curvatures in proportion to their depth: the Jacobian alone cannot determine the curvature.",
)


@proportional.proof(generic_in="depth, widths, samples, outputs")
def isometric_networks_of_two_depths(formula):
    """Compare isometric networks of different depth."""
    return theory.refuted_by_depth(formula)


@lru_cache(maxsize=64)
def isometric(depth: int, widths: str | tuple[int, ...], samples: int, seed: int) -> tuple[Sample, float, dict]:
    """An orthogonal network without nonlinearity: largest eigenvalue and letters; the moments include the bias."""
    draw, shape = generator(seed), sizes(depth, widths, 8)
    net = perceptron(shape, 3, draw, activation="linear", readout=1.5)
    sample = Sample(net, gaussian_inputs(shape[0], samples, 1.0, draw))
    ones = torch.cat([sample.x, torch.ones_like(sample.x[:1])])
    letters = {
        DEPTH: depth,
        MOMENT_0: float(torch.linalg.matrix_norm(ones, 2)) ** 2 / samples,
        S_1: float(torch.linalg.matrix_norm(net.readout, 2)),
        S_INPUT: float(largest_singular_value(sample.found).max()),
    }
    return sample, float(fisher_largest(net, sample.x)), letters


@proportional.check(grid(depth=[1, 2, 6], widths=["square"], samples=[1, 5], seed=[0]))
def isometric_networks_of_many_depths(formula, depth, widths, samples, seed):
    """Full networks with orthogonal layers and no nonlinearity."""
    sample, top, letters = isometric(depth, widths, samples, seed)
    bound = rounding(depth * letters[MOMENT_0] * letters[S_1] ** 2, sum(sample.net.widths) + 3 * samples)
    return agree(np.float64(top), evaluate(formula, letters), bound=bound).on(sample)
