"""Blocks of the Fisher matrix: their exact form for every network and every input."""

from __future__ import annotations

from itertools import product

import numpy as np

from derivations import words
from derivations.information import fisher_blocks
from derivations.information.fisher import OUTPUT_HESSIAN
from derivations.information.fisher_blocks import J_A, J_B, X_A, X_B
from numerics.perceptrons import blocks, output_jacobians
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, equal
from tests.checker.evidence import Evidence
from tests.claims.fisher_definition import KINDS
from tests.claims.fisher_networks import Labelled, labelled
from tests.claims.loss import Widths
from tests.claims.settings import array

weights = Claim(
    "fisher.weight-blocks",
    source="B eq. 8 with eq. 9",
    says="For every input the Fisher block of two weight matrices is the Kronecker product of layer inputs and "
    "back-propagated likelihood curvature; the block of a data set is the mean of these products.",
    formula=fisher_blocks.weight_block,
    uses=("fisher.score-products",),
    near_misses={
        "inputs transposed": lambda: {**fisher_blocks.weight_block(), "inputs": X_B * X_A.T},
    },
    falsifiers={
        "no curvature of the likelihood": lambda: {**fisher_blocks.weight_block(), "outputs": J_A.T * J_B},
        "both from one layer": lambda: {**fisher_blocks.weight_block(), "inputs": X_A * X_A.T},
    },
    remark=(
        "This needs no assumption at all. Lemma 1 puts the product of the two means in the place of the mean of the "
        "product; that step is the subject of claims of its own."
    ),
)

biases = Claim(
    "fisher.bias-blocks",
    source="B eq. 12",
    says="The block of a weight matrix and a bias has the inputs of the layer as a column in the Kronecker product.",
    formula=fisher_blocks.bias_block,
    uses=("fisher.weight-blocks",),
    near_misses={"inputs as a row": fisher_blocks.bias_block_as_printed},
    falsifiers={
        "no curvature of the likelihood": lambda: {**fisher_blocks.bias_block(), "outputs": J_A.T * J_B},
    },
    remark="A bias is a weight whose input is always one.",
)

printed = Claim(
    "fisher.bias-blocks-as-printed",
    source="B eq. 12",
    says="The block of a weight matrix and a bias has the inputs of the layer as a row in the Kronecker product.",
    formula=fisher_blocks.bias_block_as_printed,
    control=fisher_blocks.bias_block,
    corrected_by=("fisher.bias-blocks",),
    near_misses={"no curvature of the likelihood": biases.falsifiers["no curvature of the likelihood"]},
    falsifiers={"twice the block": lambda: {**fisher_blocks.bias_block(), "outputs": 2 * J_A.T * OUTPUT_HESSIAN * J_B}},
    remark="The shapes do not fit: a transpose is too many, perhaps taken over from equation 9.",
)


@weights.proof(generic_in="depth, layers, widths, likelihood")
def what_one_layer_feels_of_another(formula):
    """Move the weights of one layer and read off what the other layer feels."""
    return fisher_blocks.is_weight_block(formula)


@biases.proof(generic_in="depth, layers, widths, likelihood")
@printed.proof(generic_in="depth, layers, widths, likelihood")
def what_weights_feel_of_a_bias(formula):
    """Move the bias of one layer and read off what the weights of the other feel; compare shapes first."""
    return fisher_blocks.is_bias_block(formula)


CASES = grid(depth=[2, 3], widths=["wide", "waist"], likelihood=KINDS, seed=[0]) + grid(
    depth=[1, 2], widths=["narrowing", "widening"], likelihood=["softmax"], seed=[1]
)


def kronecker(formula: dict, found: Labelled, a: int, b: int) -> np.ndarray:
    """The mean over inputs of inputs kron outputs for layers a, b; (rows, columns) of weights by columns."""
    passed = found.sample.found
    jacobians = output_jacobians(passed)
    letters = {
        X_A: array(passed.x[a - 1].mT[..., None]),
        X_B: array(passed.x[b - 1].mT[..., None]),
        J_A: array(jacobians[a - 1]),
        J_B: array(jacobians[b - 1]),
        OUTPUT_HESSIAN: array(found.hessians),
    }
    inputs, outputs = (words.evaluate(formula[name], letters) for name in ("inputs", "outputs"))
    return np.mean([np.kron(one, two) for one, two in zip(inputs, outputs, strict=True)], axis=0)


def all_blocks(formula: dict, depth: int, widths: Widths, likelihood: str, seed: int, second: str) -> Evidence:
    """Every block of weights with weights (second "W") or biases ("b") of a network, against the Fisher matrix."""
    found = labelled(depth, widths, likelihood, seed)
    matrix, places = found.fisher.mean(0), blocks(found.sample.net)
    bound = found.rounding(float(matrix.abs().max()) * found.sample.net.outputs)
    pieces = []
    for a, b in product(range(1, depth + 1), repeat=2):
        observed = array(matrix[places[f"W{a}"], places[f"{second}{b}"]])
        predicted = kronecker(formula, found, a, b)
        fits = observed.shape == predicted.shape
        pieces.append(agree(observed, predicted, bound=bound) if fits else equal(observed.shape, predicted.shape))
    return both(*pieces).on(found.sample)


@weights.check(CASES)
def weights_with_weights(formula, depth, widths, likelihood, seed):
    """All blocks of full networks: score products, against Kronecker products from one forward and backward sweep."""
    return all_blocks(formula, depth, widths, likelihood, seed, "W")


@biases.check(CASES)
@printed.check(CASES[:2])
def weights_with_biases(formula, depth, widths, likelihood, seed):
    """All blocks of weights with biases of full networks, against Kronecker products."""
    return all_blocks(formula, depth, widths, likelihood, seed, "b")
