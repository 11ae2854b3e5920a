"""The term by which the Hessian of the loss differs from the Fisher form: second derivatives of the outputs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer

from derivations.information import fisher
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import equal
from tests.claims.fisher_definition import KINDS
from tests.claims.fisher_networks import Labelled, labelled
from tests.claims.loss import Widths

DEEP = Assumption("two hidden layers", "there are at least two hidden layers", lambda sample: sample.net.depth > 1)
STRAIGHT = Assumption(
    "straight units or one input",
    "between kinks the activation is a straight line, or there is a single input",
    lambda sample: sample.net.activation in ("linear", "relu", "hard-tanh") or sample.x.shape[-1] == 1,
)

remainder = Claim(
    "fisher.hessian-remainder",
    source="B eq. 7",
    says="At a single input, or with linear or rectified units, what the Hessian of the loss has beyond the Fisher "
    "form has eigenvalues of both signs, unless no path carries a slope of the loss.",
    formula=fisher.remainder_signs,
    lhs=r"\mathrm{sign}\, \lambda_{\min},\ \lambda_{\max} \text{ of } H - J^{\mathsf T} H_g J",
    given=(DEEP, STRAIGHT),
    uses=("fisher.gauss-newton",),
    near_misses={"never negative": lambda: (Integer(0), Integer(1))},
    falsifiers={
        "never positive": lambda: (Integer(-1), Integer(0)),
        "nothing beyond": lambda: (Integer(0), Integer(0)),
    },
    remark=(
        "Two weights on one path enter the outputs as a product, and a product bends both ways. It is this term that "
        "can give the Hessian negative eigenvalues, and that the Fisher matrix leaves out. Bent units add a diagonal, "
        "which the biases of the layer undo at one input."
    ),
    mutate=False,
)


@remainder.proof(generic_in="depth from two layers on, widths, loss, activation")
def two_weights_of_one_path(formula):
    """Two weights of one path make an indefinite principal part, which the whole matrix cannot undo."""
    return fisher.are_remainder_signs(formula)


@lru_cache(maxsize=32)
def ends(
    depth: int, widths: Widths, likelihood: str, activation: str, seed: int, samples: int = 3
) -> tuple[Labelled, list[int]]:
    """Signs of the outermost eigenvalues beyond rounding, for a label of the data, the inputs averaged."""
    found = labelled(depth, widths, likelihood, seed, activation, samples)
    fisher_form = found.jacobian.mT @ found.hessians @ found.jacobian
    values = torch.linalg.eigvalsh((-found.seconds[-1] - fisher_form).mean(0))[[0, -1]]
    error = found.rounding(float(found.seconds[-1].abs().max())).total * len(found.flat)
    return found, [int(np.sign(value)) if abs(value) > error else 0 for value in values.tolist()]


@remainder.check(
    grid(depth=[2, 3], widths=["wide"], likelihood=KINDS, activation=["linear", "relu"], seed=[0])
    + grid(
        depth=[2], widths=["narrowing", "widening"], likelihood=["softmax"], activation=["relu", "hard-tanh"], seed=[1]
    )
    + grid(depth=[2, 3], widths=["wide"], likelihood=KINDS, activation=["tanh"], seed=[0], samples=[1])
)
def outermost_eigenvalues(formula, depth, widths, likelihood, activation, seed, samples=3):
    """Hessians of full networks for labels of the data, less the Fisher form."""
    found, signs = ends(depth, widths, likelihood, activation, seed, samples)
    return equal(signs, [int(sign) for sign in formula]).on(found.sample)


@remainder.without(
    DEEP, grid(depth=[1], widths=["wide"], likelihood=["softmax"], activation=["linear", "relu"], seed=[0])
)
def one_layer(formula, depth, widths, likelihood, activation, seed):
    """One hidden layer of linear or rectified units, in whose weights the outputs are linear: nothing is beyond."""
    found, signs = ends(depth, widths, likelihood, activation, seed)
    return equal(signs, [int(sign) for sign in formula]).on(found.sample)
