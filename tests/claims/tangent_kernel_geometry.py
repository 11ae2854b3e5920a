"""Shapes and transformation laws of Fisher matrix and tangent kernel: appendix B.4 of paper B."""

from __future__ import annotations

import numpy as np
import torch
from torch.func import jacrev

from derivations import words
from derivations.information import tangent_kernel as kernels
from derivations.information.tangent_kernel import COORDINATES, UNFOLDED, J
from numerics.tangent_kernels import tangent_kernel
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, both
from tests.checker.evidence import Evidence
from tests.claims.kernel_settings import EQUALLY_MANY, Linearised, fisher, linearised, matrix_rounding
from tests.claims.settings import array

SHAPES = grid(depth=[1, 2], widths=["wide", "waist"], outputs=[1, 3], samples=[2, 13], seed=[0])


def interchanged() -> dict:
    """Equations 49 and 50 as they stand."""
    return {"Fisher matrix": UNFOLDED.T * UNFOLDED, "kernel": UNFOLDED * UNFOLDED.T}


def products(formula, setting: Linearised) -> Evidence:
    """The two products of the transposed Jacobian against Fisher matrix (summed) and kernel of the network."""
    unfolded = setting.jacobian.T
    found = {name: words.evaluate(formula[name], {UNFOLDED: unfolded}) for name in interchanged()}
    truth = {
        "Fisher matrix": setting.samples * fisher(setting),
        "kernel": array(tangent_kernel(setting.net, setting.x)),
    }
    bound = matrix_rounding(setting)
    return both(*(agree(truth[name], found[name], bound=bound) for name in truth)).on(setting)


unfolding = Claim(
    "tangent-kernel.unfolding",
    source="B eqs. 49, 50",
    says="Unfolded as parameters by points, the derivatives give the Fisher matrix as A A^T and the kernel as A^T A.",
    formula=kernels.unfolding,
    near_misses={"interchanged": interchanged},
    falsifiers={"kernel for both": lambda: dict.fromkeys(interchanged(), UNFOLDED.T * UNFOLDED)},
    remark="Rows are parameters and columns points: what is summed over is what the matrix does not show.",
)


@unfolding.proof(generic_in="network, parameters, outputs, samples")
def shapes_and_products(formula):
    """Put the transposed Jacobian for A."""
    return kernels.unfolds(formula)


@unfolding.check(SHAPES)
def both_products(formula, depth, widths, outputs, samples, seed):
    """Fisher matrix and kernel of full networks from the unfolded derivatives."""
    return products(formula, linearised(depth, widths, outputs, samples, seed))


printed = Claim(
    "tangent-kernel.unfolding-as-printed",
    source="B eqs. 49, 50",
    says="Unfolded as parameters by points, the derivatives give the Fisher matrix as A^T A and the kernel as A A^T.",
    formula=interchanged,
    control=kernels.unfolding,
    corrected_by=("tangent-kernel.unfolding",),
    near_misses={"kernel for both": lambda: dict.fromkeys(interchanged(), UNFOLDED.T * UNFOLDED)},
    falsifiers={"Fisher matrix for both": lambda: dict.fromkeys(interchanged(), UNFOLDED * UNFOLDED.T)},
    remark="A slip of the pen: with the transposed unfolding, points by parameters, the equations would be right.",
)


@printed.proof(generic_in="network, parameters, outputs, samples")
def shapes_as_printed(formula):
    """Put the transposed Jacobian for A."""
    return kernels.unfolds(formula)


@printed.check(SHAPES)
def both_products_as_printed(formula, depth, widths, outputs, samples, seed):
    """Fisher matrix and kernel of full networks from the unfolded derivatives."""
    return products(formula, linearised(depth, widths, outputs, samples, seed))


reparametrisation = Claim(
    "tangent-kernel.reparametrisation",
    source="B app. B.4, remark",
    says="In new coordinates for the parameters the Fisher matrix is pulled back; the kernel becomes another one.",
    formula=kernels.reparametrised,
    near_misses={
        "kernel unchanged": lambda: {**kernels.reparametrised(), "kernel": J * J.T},
        "coordinates on the wrong side": lambda: {
            **kernels.reparametrised(),
            "Fisher matrix": COORDINATES * J.T * J * COORDINATES.T,
        },
    },
    falsifiers={"Fisher matrix unchanged": lambda: {**kernels.reparametrised(), "Fisher matrix": J.T * J}},
    remark=(
        "The kernel silently uses the identity as metric of the parameters: $`\\mathcal{J} g^{-1} "
        "\\mathcal{J}^{\\mathsf{T}}`$ with $`g = I`$. Gradient descent depends on the coordinates in the same way, the "
        "natural gradient does not."
    ),
)


@reparametrisation.proof(generic_in="network, parameters, outputs, samples, coordinates, metric")
def chain_rule(formula):
    """The Jacobian in new coordinates is the Jacobian times the change of coordinates."""
    return kernels.transforms(formula)


@reparametrisation.check(SHAPES)
def differentiated_in_new_coordinates(formula, depth, widths, outputs, samples, seed):
    """A full network differentiated in linearly changed parameters."""
    setting = linearised(depth, widths, outputs, samples, seed)
    size = setting.jacobian.shape[1]
    change = np.eye(size) + 0.3 * np.random.default_rng(seed).standard_normal((size, size)) / size**0.5
    psi, net = torch.from_numpy(change), setting.net
    start = torch.linalg.solve(psi, net.flat("hidden"))
    found = jacrev(lambda y: net.replace(psi @ y, "hidden").forward(setting.x).outputs.mT.flatten())(start)
    jacobian = array(found)
    known = {J: setting.jacobian, COORDINATES: change}
    spread = float(np.linalg.cond(change))
    bound = matrix_rounding(setting, float(np.linalg.norm(jacobian, 2) ** 2), spread)
    return both(
        agree(jacobian.T @ jacobian, words.evaluate(formula["Fisher matrix"], known), bound=bound),
        agree(jacobian @ jacobian.T, words.evaluate(formula["kernel"], known), bound=bound),
    ).on(setting)


metrics = Claim(
    "tangent-kernel.metrics",
    source="B app. B.4, remark",
    says="Fisher matrix and kernel are both metrics: symmetric and positive definite.",
    formula=lambda: {"Fisher matrix": J.T * J, "kernel": J * J.T},
    conditions=(EQUALLY_MANY,),
    uses=("tangent-kernel.zero-eigenvalues",),
    near_misses={"sign of the log likelihood kept": lambda: {"Fisher matrix": -(J.T * J), "kernel": J * J.T}},
    falsifiers={
        "kernel of a frozen network": lambda: {"Fisher matrix": J.T * J, "kernel": words.zeros(*(J * J.T).shape)}
    },
    mutate=False,
    remark=(
        "On parameters the Fisher matrix is a pulled-back metric, degenerate where parameters outnumber points; the "
        "kernel is an inverse metric on the outputs, degenerate where points outnumber parameters. They live on "
        "different spaces, so they are not metrics on tangent and cotangent bundle of one manifold."
    ),
)


def definite(formula, depth: int, widths, outputs: int, samples: int, seed: int) -> Evidence:
    """The smallest eigenvalues of both matrices against 1e-12 of the largest one of the network's kernel."""
    setting = linearised(depth, widths, outputs, samples, seed)
    known = {J: setting.jacobian, kernels.POINTS: setting.jacobian.shape[0]}
    least = [np.linalg.eigvalsh(words.evaluate(formula[name], known))[0] for name in ("Fisher matrix", "kernel")]
    top = float(np.linalg.norm(setting.jacobian, 2) ** 2)
    return at_least(least, 1e-12 * top, bound=rounding(top, sum(setting.jacobian.shape))).on(setting)


@metrics.check(grid(depth=[2], widths=[(2, 2, 2)], outputs=[2], samples=[6], seed=[0, 1, 2]))
def square_jacobian(formula, depth, widths, outputs, samples, seed):
    """Smallest eigenvalues of both matrices where the Jacobian of a full network is square."""
    return definite(formula, depth, widths, outputs, samples, seed)


@metrics.without(EQUALLY_MANY, grid(depth=[2], widths=[(2, 2, 2)], outputs=[2], samples=[4, 9], seed=[0]))
def other_sizes(formula, depth, widths, outputs, samples, seed):
    """The same with more parameters than points, and with fewer."""
    return definite(formula, depth, widths, outputs, samples, seed)
