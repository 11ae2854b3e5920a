"""The Fisher information matrix of a network: score products, second derivatives, and the Gauss-Newton form."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.func import jacrev

from derivations import words
from derivations.compiled import evaluate
from derivations.information import fisher
from derivations.information.fisher import (
    BEND,
    HESSIAN,
    JACOBIAN,
    OUTPUT_HESSIAN,
    OUTPUT_SCORE,
    SCORE_A,
    SCORE_B,
    SECOND,
    SLOPE,
    U,
    V,
)
from numerics.device import generator
from numerics.frames import normal
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.claims.fisher_networks import Labelled, labelled
from tests.claims.loss import Widths
from tests.claims.settings import array

KINDS = ("softmax", "identity")
CASES = grid(depth=[1, 3], widths=["wide"], likelihood=KINDS, seed=[0]) + grid(
    depth=[2], widths=["narrowing", "widening", "waist"], likelihood=KINDS, seed=[1]
)

curvature = Claim(
    "fisher.gauss-newton",
    source="B eq. 7",
    says="The curvature of the loss along the outputs, pulled back by the Jacobian, is the Hessian less the slope of "
    "the loss times the second derivatives of the outputs.",
    formula=fisher.gauss_newton,
    lhs=r"u^{\mathsf T} J^{\mathsf T}\, \nabla_h^2 \mathcal{L}\, J v",
    near_misses={"the second derivatives added": lambda: U.T * HESSIAN * V + SLOPE.T * BEND},
    falsifiers={
        "the Hessian itself": lambda: U.T * HESSIAN * V,
        "half the second derivatives": lambda: U.T * HESSIAN * V - SLOPE.T * BEND / 2,
    },
    remark=(
        "This is the chain rule and holds for any loss and any label, also one of the data. The term that is taken "
        "away is linear in the slope of the loss: it vanishes at a perfect fit and has no sign of its own."
    ),
)


@curvature.proof(generic_in="loss, likelihood, sizes, the network's function")
def free_two_jets(formula):
    """Expand outputs and loss to second order with free coefficients and compare the mixed term."""
    return fisher.is_gauss_newton(formula)


@lru_cache(maxsize=64)
def two_jets(depth: int, widths: Widths, likelihood: str, seed: int) -> tuple[Labelled, dict, torch.Tensor]:
    """Letters of the Gauss-Newton form for a label of the data, all derivatives taken independently of one another."""
    found = labelled(depth, widths, likelihood, seed)
    sample, flat = found.sample, found.flat
    u, v = (normal((len(flat), 1), generator(seed + k)) for k in (2, 3))

    def outputs(theta):
        return sample.net.replace(theta, "hidden").forward(sample.x).outputs.mT

    bend = jacrev(lambda theta: jacrev(outputs)(theta) @ v[:, 0])(flat) @ u
    at_outputs = jacrev(jacrev(lambda h: -found.logs_at(h)[-1].sum()))(sample.found.outputs)
    index = torch.arange(sample.x.shape[-1])
    curved = at_outputs[:, index, :, index]
    observed = u.mT @ found.jacobian.mT @ curved @ found.jacobian @ v
    letters = {
        U: array(u),
        V: array(v),
        HESSIAN: array(-found.seconds[-1]),
        SLOPE: array(-found.output_scores[-1][..., None]),
        BEND: array(bend),
    }
    return found, letters, observed


@curvature.check(CASES)
def hessians_of_networks(formula, depth, widths, likelihood, seed):
    """Full networks: Hessian of the loss, of each output and of the likelihood by automatic differentiation."""
    found, letters, observed = two_jets(depth, widths, likelihood, seed)
    sizes = [abs(letters[HESSIAN]).sum((-2, -1)).max() * abs(letters[U]).max() * abs(letters[V]).max()]
    bound = found.rounding(float(max(sizes[0], abs(letters[SLOPE] * letters[BEND]).sum(-2).max())))
    return agree(observed, words.evaluate(formula, letters), bound=bound).on(found.sample)


definition = Claim(
    "fisher.score-products",
    source="B eqs. 6, 8",
    says="Averaged over labels that the model draws, score times score is the curvature of the likelihood, pulled back "
    "by the Jacobian of the outputs; the Fisher matrix is its mean over the inputs.",
    formula=fisher.score_products,
    lhs=r"\mathrm{E}_y[\nabla \log p\, \nabla \log p^{\mathsf T}]",
    near_misses={
        "labels of the data instead of the model's": lambda: JACOBIAN.T * OUTPUT_SCORE * OUTPUT_SCORE.T * JACOBIAN
    },
    falsifiers={
        "printed sign of the Hessian of the log-likelihood": lambda: -fisher.score_products(),
        "no curvature of the likelihood": lambda: JACOBIAN.T * JACOBIAN,
    },
    remark=(
        "A block of the matrix takes the columns of the Jacobian that belong to two groups of parameters (B eq. 8, for "
        "each input; the mean over the inputs is still to be taken, outside the product)."
    ),
)


@definition.proof(generic_in="likelihood, sizes, the network's function")
def second_moment_pulled_back(formula):
    """The score is the output score pulled back, and its second moment goes with it."""
    return fisher.is_score_product(formula)


def letters_of(found: Labelled) -> dict:
    """Jacobian, output Hessian, and output score of the label of the data, for every input."""
    return {
        JACOBIAN: array(found.jacobian),
        OUTPUT_HESSIAN: array(found.hessians),
        OUTPUT_SCORE: array(found.output_scores[-1][..., None]),
    }


@definition.check(CASES + grid(depth=[2], widths=["wide"], likelihood=["softmax"], activation=["relu"], seed=[2]))
def every_label_of_the_model(formula, depth, widths, likelihood, seed, activation="tanh"):
    """Exact sums over all labels of the score products of full networks, scores by automatic differentiation."""
    found = labelled(depth, widths, likelihood, seed, activation)
    bound = found.rounding(float(found.fisher.abs().max()) * found.sample.net.outputs)
    return agree(found.fisher, words.evaluate(formula, letters_of(found)), bound=bound).on(found.sample)


empirical = Claim(
    "fisher.data-labels",
    source="B sec. 3.1",
    says="With the labels of the data, the outer products of the scores differ from the Fisher matrix by the deviation "
    "of the output score's square from its mean.",
    formula=fisher.data_label_excess,
    lhs=r"\nabla \log p\, \nabla \log p^{\mathsf T} - G",
    uses=("fisher.score-products",),
    near_misses={"without the Fisher matrix": lambda: JACOBIAN.T * OUTPUT_SCORE * OUTPUT_SCORE.T * JACOBIAN},
    falsifiers={"no difference": lambda: 0 * fisher.data_label_excess() + words.zeros(*2 * [fisher.PARAMETERS])},
    remark=(
        "What is often called the empirical Fisher matrix is therefore another matrix: no curvature, and at a perfect "
        "fit it vanishes where the Fisher matrix does not. The two agree in the mean over labels of the model only."
    ),
)


@empirical.proof(generic_in="likelihood, sizes, the network's function")
def difference_of_squares(formula):
    """Subtract the two outer products; average over labels of the model."""
    return fisher.is_data_label_excess(formula)


@empirical.check(CASES)
def one_label_of_the_data(formula, depth, widths, likelihood, seed):
    """Scores of full networks for labels of the data, less the exact mean over labels of the model."""
    found = labelled(depth, widths, likelihood, seed)
    score = found.scores[-1]
    observed = score[..., :, None] * score[..., None, :] - found.fisher
    bound = found.rounding(float(score.abs().max() ** 2 + found.fisher.abs().max()) * found.sample.net.outputs)
    return agree(observed, words.evaluate(formula, letters_of(found)), bound=bound).on(found.sample)


second = Claim(
    "fisher.expected-hessian",
    source="B eq. 7",
    says="In the mean over labels of the model, products of scores are minus the second derivatives of the "
    "log-likelihood: the Fisher matrix is the mean Hessian of the loss.",
    formula=fisher.negative_second,
    lhs=r"\ell_a \ell_b",
    relation=r"\overset{\mathrm{E}_y}{=}",
    near_misses={"sign of the second derivative": lambda: SECOND},
    falsifiers={
        "products added": lambda: SCORE_A * SCORE_B - SECOND,
        "half the second derivative": lambda: -SECOND / 2,
    },
    remark=(
        "Label by label the two sides differ; only the mean over the model's labels makes them equal. So the term of "
        "second derivatives in equation 7 drops out there, and not for labels of the data."
    ),
)

printed = Claim(
    "fisher.output-hessian-sign-as-printed",
    source="B eq. 8",
    says="The curvature of the last layer is the Hessian of the log-likelihood itself.",
    formula=lambda: SECOND,
    control=fisher.negative_second,
    corrected_by=("fisher.expected-hessian",),
    lhs=r"\ell_a \ell_b",
    relation=r"\overset{\mathrm{E}_y}{=}",
    near_misses={"half the second derivative": lambda: -SECOND / 2},
    falsifiers={"products added": lambda: SCORE_A * SCORE_B - SECOND},
    remark=(
        "With the sign as it is readable, the Fisher matrix would have no positive eigenvalue. A minus sign in front "
        "of the logarithm is missing, or was lost in print."
    ),
)


@second.proof(generic_in="labels, likelihood, the network's function")
@printed.proof(generic_in="labels, likelihood, the network's function")
def probabilities_sum_to_one(formula):
    """Differentiate the sum of the probabilities twice."""
    return fisher.is_score_moment(formula)


@second.check(CASES)
@printed.check(grid(depth=[2], widths=["wide"], likelihood=KINDS, seed=[0]))
def mean_hessian_of_networks(formula, depth, widths, likelihood, seed):
    """Exact sums over the labels of full networks: score products against second derivatives of the log-likelihood."""
    found = labelled(depth, widths, likelihood, seed)
    scores, seconds, weights = (array(part) for part in (found.scores, found.seconds, found.weights))
    values = {SCORE_A: scores[..., :, None], SCORE_B: scores[..., None, :], SECOND: seconds}
    inside = evaluate(formula, values)
    scale = float((weights[..., None, None] * (abs(seconds) + scores[..., None] ** 2)).sum(0).max())
    bound = found.rounding(scale * found.sample.net.outputs)
    return agree(found.fisher, (weights[..., None, None] * inside).sum(0), bound=bound).on(found.sample)
