"""Norms of the blocks of a Fisher matrix that hold for every network: the steps that Lemma 3 was meant to take."""

from __future__ import annotations

import numpy as np
import torch
from sympy import sqrt

from derivations.compiled import evaluate
from derivations.information import norm_bounds
from derivations.information.norm_bounds import COVARIANCE, INPUT_A, INPUT_B, S_A, S_B, S_H, SECOND_MOMENT, STEEPEST
from numerics.perceptrons import output_jacobians
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_most
from tests.checker.figure import Figure, Panel, Series
from tests.claims.anatomy import Anatomy, network, vectors

SHAPES = ["widening", "narrowing", "wide", "waist"]


def bounds_of_pairs(formula, one: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Norms of all blocks on and above the diagonal, and the means over inputs of the formula."""
    pairs = [(a, b) for i, a in enumerate(one.names) for b in one.names[i:]]
    observed = np.array([one.norm(a, b) for a, b in pairs])
    values = {
        INPUT_A: np.array([one.lengths[a] for a, _ in pairs]),
        INPUT_B: np.array([one.lengths[b] for _, b in pairs]),
        S_A: np.array([one.steepness[int(a[1:]) - 1] for a, _ in pairs]),
        S_B: np.array([one.steepness[int(b[1:]) - 1] for _, b in pairs]),
        S_H: np.broadcast_to(one.links, (len(pairs), one.x.shape[-1])),
    }
    return observed, evaluate(formula, values).mean(-1)


norms = Claim(
    "curvature-bound.block-norms",
    source="B lemma 3 (corrected)",
    says="Every block of a Fisher matrix is at most the mean over inputs of the product of the lengths of what enters "
    "the two layers, the largest singular values of the two Jacobians, and the curvature of the outputs.",
    formula=norm_bounds.block_norm,
    lhs=r"s_{\max}(G_{ab})",
    relation=r"\le \mathbb{E}_x",
    near_misses={
        "the lengths of one side alone": lambda: INPUT_A * S_A * S_H * S_B,
        "root of the curvature": lambda: INPUT_A * INPUT_B * S_A * sqrt(S_H) * S_B,
    },
    falsifiers={"no lengths": lambda: S_A * S_H * S_B},
    remark=(
        "Length is 1 where the parameter is a bias. The mean stands outside of the product: neither may the mean go "
        "inside the norm of the inputs, nor may the mean of a product become a product of means."
    ),
)


@norms.proof(generic_in="depth, widths, number of inputs and outputs")
def kronecker_products_and_the_triangle_inequality(formula):
    """One input gives a Kronecker product with a rank-one factor; norms multiply, means are no longer."""
    return norm_bounds.is_block_norm(formula)


@norms.check(
    grid(depth=[1, 3], widths=SHAPES[:2], activation=["tanh"], likelihood=["identity", "softmax"], seed=[0])
    + grid(depth=[2], widths=["wide"], activation=["relu", "linear"], likelihood=["softmax"], seed=[1])
)
def blocks_of_rank_one(formula, depth, widths, activation, likelihood, seed):
    """One input, and one output or two opposite ones: the norm of every block is the formula itself."""
    one = vectors(depth, widths, activation, likelihood, seed)
    observed, predicted = bounds_of_pairs(formula, one)
    return agree(observed, predicted, bound=one.rounding)


@norms.check(
    grid(depth=[1, 3], widths=SHAPES[1:], activation=["tanh"], likelihood=["identity", "softmax"], seed=[1])
    + grid(depth=[3], widths=["square"], activation=["relu", "linear"], likelihood=["softmax"], seed=[2])
)
def all_blocks(formula, depth, widths, activation, likelihood, seed):
    """Several inputs and outputs: the formula bounds every block."""
    one = network(depth, widths, activation, likelihood, seed)
    observed, predicted = bounds_of_pairs(formula, one)
    return at_most(observed, predicted, bound=one.rounding)


@norms.figure
def measured_against_bound(formula):
    """Every block of a few networks: its norm against the bound."""
    panels = []
    for title, found in (
        ("one input, one output", [vectors(3, "wide", "tanh", "identity", s) for s in range(2)]),
        ("five inputs, three outputs", [network(3, "wide", "tanh", "softmax", s) for s in range(2)]),
    ):
        pairs = [bounds_of_pairs(formula, one) for one in found]
        observed, predicted = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
        ends = [float(predicted.min()), float(predicted.max())]
        series = (Series("equality", ends, ends), Series("blocks", predicted, observed, "simulation"))
        panels.append(Panel(title, "bound", "norm of the block", series, log_x=True, log_y=True))
    return Figure("Vectors reach the bound; with more inputs and outputs the blocks stay below it.", tuple(panels))


def require_linear(activation: str) -> None:
    """Refuse other activations where the same Jacobian for all inputs is needed."""
    if activation != "linear":
        raise ValueError(f"activation: {activation} given, allowed: linear")


kronecker = Claim(
    "curvature-bound.kronecker-norm",
    source="B eq. 24",
    says="The largest singular value of a Kronecker product is the product of the largest singular values.",
    formula=norm_bounds.kronecker_norm,
    lhs=r"s_{\max}(A \otimes B)",
    near_misses={"sum instead of product": lambda: S_A + S_B},
    falsifiers={"one factor alone": lambda: S_B},
    remark=(
        "A block of two weight matrices is such a product if the Jacobians are the same for all inputs, as in a linear "
        "network, or after averages that are taken to be independent."
    ),
)


@kronecker.proof(generic_in="sizes of both factors")
def outer_products_of_singular_vectors(formula):
    """The square of the product on outer products of singular vectors."""
    return norm_bounds.is_kronecker_norm(formula)


@kronecker.check(grid(depth=[2, 4], widths=["wide", "narrowing"], activation=["linear"], shift=[0.0, 1.0], seed=[5]))
def weight_blocks_of_linear_networks(formula, depth, widths, activation, shift, seed):
    """Blocks of all pairs of weight matrices of linear networks: moments of activations and products of Jacobians."""
    require_linear(activation)
    one = network(depth, widths, activation, "identity", seed, shift=shift)
    found = one.net.forward(one.x)
    back = [jacobian[0] for jacobian in output_jacobians(found)]
    pairs = [(a, b) for a in range(depth) for b in range(a, depth)]
    observed = np.array([one.norm(f"W{a + 1}", f"W{b + 1}") for a, b in pairs])
    moments = [torch.linalg.matrix_norm(found.x[a] @ found.x[b].mT, 2) / one.x.shape[-1] for a, b in pairs]
    products = [torch.linalg.matrix_norm(back[a].mT @ back[b], 2) for a, b in pairs]
    values = {S_A: np.array([float(m) for m in moments]), S_B: np.array([float(p) for p in products])}
    return agree(observed, evaluate(formula, values), bound=one.rounding)


LINEAR = grid(depth=[1, 3], widths=["wide", "narrowing"], activation=["linear"], shift=[0.0, 1.0], seed=[0])
CURVED = grid(depth=[1, 3], widths=["wide", "widening"], activation=["tanh", "relu"], shift=[0.0, 1.0], seed=[1])


def weight_block(formula, one: Anatomy) -> tuple[float, np.ndarray]:
    """The norm of the first weight block and the formula's bound."""
    values = {SECOND_MOMENT: one.second_moment, COVARIANCE: one.covariance, STEEPEST: one.rooted[0].max()}
    return one.norm("W1", "W1"), evaluate(formula, values)


weights = Claim(
    "curvature-bound.first-weight-block",
    source="B eqs. 37-38 (corrected)",
    says="The block of the first weights is at most the largest eigenvalue of the second moment of the inputs times "
    "the largest squared norm of the Jacobian, with the root of the output curvature, of all inputs.",
    formula=norm_bounds.first_weight_block,
    lhs=r"s_{\max}(G_{W^1 W^1})",
    relation=r"\le",
    near_misses={"covariance instead of second moment": lambda: COVARIANCE * STEEPEST},
    falsifiers={"second moment left out": lambda: STEEPEST},
    remark=(
        "The covariance has no place here: gradients with respect to weights contain the inputs with their mean. For a "
        "linear network with Gaussian outputs the bound is the norm itself."
    ),
)


@weights.proof(generic_in="widths, number of inputs and outputs")
def quadratic_form_of_the_block(formula):
    """The form on a direction V splits into what the Jacobian does and what the inputs do."""
    return norm_bounds.is_weight_block(formula)


@weights.check(LINEAR)
def linear_networks(formula, depth, widths, activation, shift, seed):
    """With the same Jacobian for all inputs the bound is reached; inputs with and without a mean."""
    require_linear(activation)
    one = network(depth, widths, activation, "identity", seed, shift=shift)
    return agree(*weight_block(formula, one), bound=one.rounding)


@weights.check(CURVED)
def curved_networks(formula, depth, widths, activation, shift, seed):
    """Networks whose Jacobian depends on the input."""
    one = network(depth, widths, activation, "softmax", seed, shift=shift)
    return at_most(*weight_block(formula, one), bound=one.rounding)


def _same_for_all(one: Anatomy) -> bool:
    return one.net.activation == "linear" and one.likelihood == "identity" or one.x.shape[-1] == 1


FACTORISED = Assumption(
    "one Jacobian for all inputs",
    "the derivative of the outputs with respect to the first layer, and the output curvature, do not depend on the "
    "input",
    _same_for_all,
)

ratio = Claim(
    "curvature-bound.first-block-ratio",
    source="B sec. 3, case split of the theorem (corrected)",
    says="The block of the first weights is larger than that of the first bias by the largest eigenvalue of the "
    "second moment of the inputs.",
    formula=norm_bounds.block_ratio,
    lhs=r"s_{\max}(G_{W^1 W^1}) / s_{\max}(G_{b^1 b^1})",
    given=(FACTORISED,),
    near_misses={"covariance instead of second moment": lambda: COVARIANCE},
    falsifiers={"root of the second moment": lambda: sqrt(SECOND_MOMENT)},
    remark="So the weights dominate exactly if that eigenvalue is above 1, whatever the mean of the inputs is.",
)


@ratio.proof(generic_in="widths, number of inputs and outputs")
def kronecker_product_with_the_second_moment(formula):
    """Both blocks on their top eigenvectors."""
    return norm_bounds.is_block_ratio(formula)


@ratio.check(
    grid(depth=[1, 3], widths=["wide", "narrowing"], activation=["linear"], samples=[1, 5], shift=[0.0, 1.0], seed=[3])
    + grid(depth=[3], widths=["wide"], activation=["tanh", "relu"], samples=[1], shift=[0.0], seed=[4])
)
def first_layers(formula, depth, widths, activation, samples, shift, seed):
    """The two blocks of the first layer of full networks: linear ones, or others on a single input."""
    one = network(depth, widths, activation, "identity", seed, samples=samples, shift=shift)
    values = {SECOND_MOMENT: one.second_moment, COVARIANCE: one.covariance}
    bias = one.norm("b1", "b1")
    return agree(one.norm("W1", "W1"), bias * evaluate(formula, values), bound=one.rounding).on(one)
