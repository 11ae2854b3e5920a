"""The quadratic loss of a deep linear network, and its gradient."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations import words
from derivations.deep_linear import loss
from derivations.notation import A_I, B_I, DELTA, SIGMA_X
from derivations.word_algebra import Letter
from numerics import autograd
from numerics.device import generator
from numerics.initialisations import normal
from numerics.networks import norm
from numerics.problems import data_loss, from_data
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound
from tests.claims.settings import Setting, array, generic, layer_values

Widths = str | tuple[int, ...]
SHAPES = ["square", "widening", "narrowing", "wide", "waist"]


def layer_letters(setting: Setting, i: int) -> dict[Letter, np.ndarray]:
    """Values of A_i, B_i, Delta and Sigma_x of one layer, from the weights and the task."""
    found = layer_values(setting, i)
    return {A_I: found["A"], B_I: found["B"], DELTA: found["Delta"], SIGMA_X: found["Sigma_x"]}


def chain_rounding(setting: Setting, *factors: object) -> Bound:
    """Rounding of a product through all layers: one rounding an inner sum, the factors and other layers as scale."""
    widths = setting.net.widths
    weights = [float(norm((w,))) for w in setting.net.weights]
    others = max([1.0, *(np.prod(np.delete(weights, i)) for i in range(len(weights)))])
    scale = others * float(np.prod([np.linalg.norm(array(one)) for one in factors]))
    return rounding(scale, 2 * sum(widths) + widths[0] * widths[-1])


@lru_cache(maxsize=64)
def sampled(depth: int, widths: Widths, samples: int, seed: int) -> tuple[Setting, np.ndarray, np.ndarray]:
    """A Gaussian network and data x (n_0, samples), y = teacher x + noise, with the task that the data define."""
    if samples < 1:
        raise ValueError(f"samples: {samples} given, allowed: an integer >= 1")
    setting, draw = generic(depth, widths, seed), generator(seed + 1)
    n_0, n_d = setting.net.widths[0], setting.net.widths[-1]
    x = normal((n_0, int(samples)), draw)
    y = setting.problem.teacher @ x + normal((n_d, int(samples)), draw)
    return Setting(setting.net, from_data(x, y)), x.numpy(), y.numpy()


quadratic_form = Claim(
    "loss.quadratic-form",
    source="A eq. 1",
    says="The mean squared error of any data is a quadratic form in the gap of the map, plus a constant.",
    formula=loss.quadratic_form,
    lhs=r"\tfrac12\,\mathrm{E}\left\lVert W x - y \right\rVert^2",
    near_misses={
        "one half missing": lambda: 2 * loss.excess() + loss.unexplained(),
        "constant dropped": loss.excess,
        "teacher E[y x^T] without the inverse covariance": lambda: words.substitute(
            loss.quadratic_form(), {DELTA: loss.W - loss.SIGMA_YX, loss.W_STAR: words.expression(loss.SIGMA_YX)}
        ),
    },
    falsifiers={
        "explained variance added": lambda: (
            loss.excess() + words.trace(loss.SIGMA_YY + loss.W_STAR * SIGMA_X * loss.W_STAR.T) / 2
        ),
        "inputs taken as white": lambda: words.trace(DELTA * DELTA.T) / 2 + loss.unexplained(),
    },
    remark=(
        "Only $`W^* \\Sigma_x = \\mathrm{E}[y x^T]`$ enters. With fewer samples than inputs the covariance has no "
        "inverse, yet the identity stays true for every teacher that solves this equation."
    ),
)


@quadratic_form.proof(generic_in="samples, widths, depth")
def from_second_moments(formula):
    """The sum over samples is rewritten by the second moments of the data."""
    return loss.follows_from_samples(formula)


@quadratic_form.check(
    grid(depth=[1, 2, 3], widths=SHAPES, samples=[50], seed=range(2))
    + grid(depth=[2], widths=["square"], samples=[1, 3], seed=[0])
)
def against_raw_data(formula, depth, widths, samples, seed):
    """The loss summed over samples against the formula, with the teacher fitted to the same samples."""
    setting, x, y = sampled(depth, widths, samples, seed)
    problem, count = setting.problem, x.shape[-1]
    observed = data_loss(setting.net, torch.from_numpy(x), torch.from_numpy(y))
    values = {
        DELTA: array(problem.error(setting.net)),
        SIGMA_X: array(problem.covariance),
        loss.W: array(setting.net.product()),
        loss.W_STAR: array(problem.teacher),
        loss.SIGMA_YY: y @ y.T / count,
        loss.SIGMA_YX: y @ x.T / count,
    }
    singular = np.linalg.svd(x, compute_uv=False)
    spread = float(singular[0] / singular[singular > 1e-13 * singular[0]][-1])
    largest = max(float(np.trace(values[loss.SIGMA_YY])), float(observed))
    bound = rounding(largest, count + 2 * sum(setting.net.widths), spread)
    return agree(observed, words.evaluate(formula, values), bound=bound).on(setting)


gradient = Claim(
    "loss.gradient",
    source="A eq. 5",
    says="The gradient of a layer is the weighted gap of the map, carried back through the layers above and below it.",
    formula=loss.gradient,
    lhs="g_i",
    near_misses={
        "covariance dropped": lambda: A_I.T * DELTA * B_I.T,
        "covariance twice": lambda: A_I.T * DELTA * SIGMA_X * SIGMA_X * B_I.T,
    },
    falsifiers={
        "twice as large, from a loss without its one half": lambda: 2 * loss.gradient(),
        "uphill": lambda: -loss.gradient(),
    },
    remark=(
        "Here $`A_i`$ and $`B_i`$ are the products of all layers above and below. For two layers the gradient reads "
        "$`(w_2^T \\Delta \\Sigma_x,\\; \\Delta \\Sigma_x w_1^T)`$."
    ),
)


@gradient.proof(generic_in="depth, layer, widths, covariance")
def differential_of_the_loss(formula):
    """The differential of the loss in one representative layer, read off as a gradient."""
    return loss.is_gradient(formula)


@gradient.check(grid(depth=[1, 2, 3, 5], widths=SHAPES, seed=range(2)))
def automatic_differentiation(formula, depth, widths, seed):
    """The gradient of every layer by automatic differentiation, correlated inputs, nothing aligned."""
    setting = generic(depth, widths, seed, correlated=True)
    observed = autograd.gradient(setting.net, setting.problem)
    found = []
    for i, slope in enumerate(observed, start=1):
        values = layer_letters(setting, i)
        bound = chain_rounding(setting, values[DELTA], values[SIGMA_X])
        found.append(agree(slope, words.evaluate(formula, values), bound=bound))
    return both(*found).on(setting)
