"""The Fisher matrix of a deep linear network with Gaussian outputs."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.func import grad, vmap

from derivations import words
from derivations.deep_linear import hessian_plus
from derivations.deep_linear.loss import W_DOT
from derivations.notation import A_I, B_I, DELTA, SIGMA_X
from derivations.word_algebra import Letter
from numerics.device import generator
from numerics.initialisations import normal
from numerics.networks import DeepLinear, Direction, flatten, unflatten
from numerics.problems import Problem
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.claims.hessian import direction, direction_letters, form_rounding, moved
from tests.claims.loss import SHAPES, Widths
from tests.claims.settings import Setting, array, generic

# the fourth moment of residuals and inputs that takes the place of Wdot Sigma_x in the empirical Fisher matrix
DATA = Letter("M", *DELTA.shape)


@lru_cache(maxsize=64)
def fisher_case(depth: int, widths: Widths, seed: int, noise: float) -> tuple[Setting, Direction, tuple]:
    """A direction, the Fisher matrix times it, and the letters of every layer with both kinds of labels.

    The model's labels are W x plus noise at points of a cubature that is exact for second moments of Gaussian noise, so
    the mean over score times score is the Fisher matrix itself, not an estimate.
    """
    drawn, draw = generic(depth, widths, seed), generator(seed + 3)
    net, samples = drawn.net, 2 * drawn.net.widths[0] + 1
    n_d = net.widths[-1]
    x = normal((net.widths[0], samples), draw)
    inputs = x @ x.mT / samples
    setting = Setting(net, Problem(drawn.problem.teacher, (inputs + inputs.mT) / 2))
    along = direction(setting, seed + 1)
    corners = noise * n_d**0.5 * torch.cat([torch.eye(n_d, dtype=torch.float64), -torch.eye(n_d, dtype=torch.float64)])
    inputs_of = x.mT.repeat_interleave(2 * n_d, 0)
    labels = inputs_of @ net.product().mT + corners.repeat(samples, 1)
    scores = score(net, inputs_of, labels, noise)
    observed = unflatten(scores.mT @ (scores @ flatten(along)) / len(scores), net.widths)
    residual = net.product() @ x - drawn.problem.teacher @ x - noise * normal((n_d, samples), draw)
    change = moved(net, DeepLinear.product, along)
    data = (residual * (residual * (change @ x)).sum(0)) @ x.mT / samples / noise**2
    letters = ({**direction_letters(setting, along, i), DATA: array(data)} for i in range(1, depth + 1))
    return setting, along, observed, tuple(letters)


def score(net: DeepLinear, x: torch.Tensor, y: torch.Tensor, noise: float) -> torch.Tensor:
    """The derivative of log p(y | x) with respect to the weights, one row a sample: x (S, n_0), y (S, n_d), (S, P)."""

    def log_likelihood(flat: torch.Tensor, one: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        output = DeepLinear(unflatten(flat, net.widths)).product() @ one
        return -(output - label).square().sum() / (2 * noise**2)

    return vmap(grad(log_likelihood), in_dims=(None, 0, 0))(flatten(net.weights), x, y)


fisher = Claim(
    "hessian-plus.fisher",
    source="A footnote 1",
    says="For labels drawn by the model, the Fisher matrix is the Hessian+ over the variance of the noise.",
    formula=hessian_plus.fisher_action,
    lhs=r"(F v)_i",
    uses=("hessian-plus.action",),
    near_misses={
        "labels of the data instead of the model's": lambda: A_I.T * DATA * B_I.T / hessian_plus.NOISE**2,
        "noise level instead of its variance": lambda: hessian_plus.plus_action() / hessian_plus.NOISE,
    },
    falsifiers={
        "inputs taken as white": lambda: A_I.T * W_DOT * B_I.T / hessian_plus.NOISE**2,
        "gap instead of the change of the map": lambda: A_I.T * DELTA * SIGMA_X * B_I.T / hessian_plus.NOISE**2,
    },
    remark=(
        "At unit noise Fisher matrix, generalised Gauss-Newton matrix and Hessian+ are one. The empirical Fisher "
        "matrix, with the labels of the data, is another one: it is among the wrong formulas that were tried."
    ),
)


@fisher.proof(generic_in="depth, layer, widths, covariance, noise")
def mean_over_noise_and_inputs(formula):
    """The score of one sample times its overlap with a direction, averaged by second moments."""
    return hessian_plus.is_fisher(formula)


@fisher.check(
    grid(depth=[1, 2, 3], widths=SHAPES, noise=[1.0], seed=[0])
    + grid(depth=[2], widths=["wide"], noise=[0.3, 4.0], seed=[1])
)
def scores_of_drawn_labels(formula, depth, widths, noise, seed):
    """The mean of score times score over inputs and model labels, each score by automatic differentiation."""
    if not noise > 0:
        raise ValueError(f"noise: {noise} given, allowed: noise > 0")
    setting, along, observed, letters = fisher_case(depth, widths, seed, noise)
    bound = form_rounding(setting, along)
    found = []
    for i, part in enumerate(observed):
        predicted = words.evaluate(formula, {**letters[i], hessian_plus.NOISE: noise})
        found.append(agree(noise**2 * part, noise**2 * predicted, bound=bound))
    return both(*found).on(setting)
