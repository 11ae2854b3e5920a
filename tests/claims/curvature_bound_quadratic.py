"""What the printed bounds say about the first layer's Jacobian: a common factor, and a quadratic bound."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.information import curvature_bound_printed as theory
from derivations.information.curvature_bound_printed import CURVED, S_1, S_B, TILT
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.perceptrons import output_jacobians
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_most, vanishes
from tests.claims.critical import Sample
from tests.claims.curvature_bound_printed import Measured, measure

factor = Claim(
    "curvature-bound.common-factor",
    source="B section 3",
    says="All summands of the printed bounds contain the spectral norm of the first layer's Jacobian.",
    formula=theory.printed,
    lhs=r"\lambda_{\max}(G)",
    relation=r"\le",
    falsifiers={"the corrected bound": theory.corrected},
    near_misses={"squared norms of later layers": lambda: {**theory.printed(), "small mean, later": CURVED * S_B**2}},
    mutate=False,
    remark="True by inspection, for both cases, and a warning: later layers move the outputs whatever the first one "
    "does, so a bound with this factor cannot hold without the assumption that no later norm is larger.",
)


@factor.proof(generic_in="depth, widths, inputs, likelihood")
def without_the_first_jacobian(formula):
    """Set the norm to zero in the shares of both cases."""
    return theory.common_factor(formula)


@lru_cache(maxsize=16)
def cut_networks(activation: str, depth: int, likelihood: str, seed: int) -> Measured:
    """Orthogonal networks whose second layer has no weights: the outputs do not see the first pre-activations."""
    draw = generator(seed)
    net = perceptron((12,) * (depth + 1), 3, draw, activation=activation, sigma_b=0.3)
    first, second, *others = net.weights
    cut = replace(net, weights=(first, torch.zeros_like(second), *others))
    return measure(Sample(cut, gaussian_inputs(12, 4, 1.0, draw) + 1.0), likelihood)


@factor.check(grid(activation=["linear", "tanh"], depth=[3], likelihood=["identity", "softmax"], seed=[0]))
def networks_cut_behind_the_first_layer(formula, **case):
    """The bounds of full networks whose first Jacobian is zero, while later layers move the outputs."""
    found = cut_networks(**case)
    shares = np.concatenate([np.ravel(evaluate(share, found.letters)) for share in formula.values()])
    top = float(found.tops.max())
    return vanishes(shares, bound=rounding(top, found.operations), scale=top).on(found.sample)


def _first_is_largest(sample: Sample) -> bool:
    norms = [float(torch.linalg.matrix_norm(j, 2).max()) for j in output_jacobians(sample.found)]
    return max(norms) <= norms[0] * (1 + 1e-12)


LARGEST_FIRST = Assumption(
    "first Jacobian largest",
    "no later layer's Jacobian has a larger spectral norm than the first one's (it follows from Assumption 2)",
    _first_is_largest,
)

square = Claim(
    "curvature-bound.quadratic",
    source="B section 3",
    says="The share of a later layer in the printed bounds is at most quadratic in the spectral norm of the first "
    "layer's Jacobian.",
    formula=theory.quadratic,
    lhs=r"h\, s_1 s_\beta (1 + f)",
    relation=r"\le",
    conditions=(LARGEST_FIRST,),
    near_misses={"square of the later norm": lambda: CURVED * S_B**2 * (1 + TILT)},
    falsifiers={"linear": lambda: CURVED * S_1 * (1 + TILT), "without the mean activation": lambda: CURVED * S_1**2},
    remark="Taken by itself the bound is bilinear. Summed over layers the quadratic bound has the number of layers in "
    "front, and its norm is that of the outputs with respect to the first pre-activations, not of the Jacobian "
    "between the inputs and the last hidden layer.",
)


@square.proof(generic_in="depth, widths, inputs, likelihood")
def replace_the_smaller_norm(formula):
    """Replace the later norm by the first."""
    return theory.is_quadratic(formula)


@lru_cache(maxsize=64)
def scaled_networks(activation: str, sigma_w: float, depth: int, likelihood: str, seed: int) -> Measured:
    """Orthogonal networks whose weights all have one scale, with the measured mean activation on shifted inputs."""
    draw = generator(seed)
    net = perceptron((24,) * (depth + 1), 3, draw, sigma_w=sigma_w, readout=0.7, activation=activation)
    found = measure(Sample(net, gaussian_inputs(24, 4, 1.0, draw) + 1.0), likelihood)
    means = [24**0.5 * float(x.mean().abs()) for x in found.sample.found.x[1:-1]]
    return Measured(found.sample, found.tops, {**found.letters, TILT: np.array(means)}, found.operations)


def _later(formula, found: Measured) -> tuple[np.ndarray, np.ndarray]:
    printed = evaluate(theory.case_one()["later"], found.letters)
    return printed, np.broadcast_to(evaluate(formula, found.letters), printed.shape)


_LIKE = {"depth": [4], "likelihood": ["identity", "softmax"], "seed": [0]}


@square.check(grid(activation=["linear"], sigma_w=[1.1], **_LIKE) + grid(activation=["tanh"], sigma_w=[3.0], **_LIKE))
def growing_jacobians(formula, **case):
    """Networks whose Jacobians grow towards the first layer."""
    found = scaled_networks(**case)
    printed, bounds = _later(formula, found)
    return at_most(printed, bounds, bound=rounding(float(printed.max()), found.operations)).on(found.sample)


@square.check(grid(activation=["linear"], sigma_w=[1.0], **_LIKE))
def isometric_layers(formula, **case):
    """Isometric networks: all norms agree, and so do both shares."""
    found = scaled_networks(**case)
    printed, bounds = _later(formula, found)
    return agree(printed, bounds, bound=rounding(float(printed.max()), found.operations)).on(found.sample)


@square.without(LARGEST_FIRST, grid(activation=["linear", "tanh"], sigma_w=[0.5], **_LIKE))
def shrinking_jacobians(formula, **case):
    """Networks whose Jacobians shrink towards the first layer."""
    found = scaled_networks(**case)
    printed, bounds = _later(formula, found)
    return at_most(printed, bounds, bound=rounding(float(printed.max()), found.operations)).on(found.sample)
