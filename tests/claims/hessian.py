"""The Hessian of the loss of a deep linear network: its action, its symmetry, its signs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp

from derivations import words
from derivations.code import value
from derivations.deep_linear import hessian
from derivations.deep_linear.loss import W_DOT
from derivations.notation import A_I, B_I, DELTA, SIGMA_X
from derivations.word_algebra import Letter
from numerics import autograd
from numerics.device import generator
from numerics.initialisations import normal
from numerics.networks import DeepLinear, Direction, inner, norm
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, spectra_match
from tests.checker.evidence import Bound
from tests.claims.loss import SHAPES, Widths, layer_letters
from tests.claims.settings import Setting, array, generic, sizes

Part = Callable[[DeepLinear], Tensor]


def direction(setting: Setting, seed: int) -> Direction:
    """Random changes of all layers, of the weights' shapes."""
    draw = generator(seed)
    return tuple(normal(tuple(w.shape), draw) for w in setting.net.weights)


def moved(net: DeepLinear, part: Part, along: Direction) -> Tensor:
    """The derivative of a part of the network, such as its map or what lies above a layer, along a direction."""
    return jvp(lambda *weights: part(DeepLinear(weights)), net.weights, along)[1]


def curved(net: DeepLinear, first: Direction, second: Direction) -> Tensor:
    """The derivative of the map along one direction and then along another."""
    return jvp(lambda *weights: moved(DeepLinear(weights), DeepLinear.product, first), net.weights, second)[1]


def form_rounding(setting: Setting, *directions: Direction) -> Bound:
    """Rounding of derivatives of the loss along directions: lengths of the chains, and norms all along them."""
    net, widths = setting.net, setting.net.widths
    longest = max(1.0, *(float(norm((w,))) for w in net.weights)) ** max(2 * net.depth - 2, 1)
    inputs = float(np.linalg.norm(layer_letters(setting, 1)[SIGMA_X], 2))
    gap = max(1.0, float(np.linalg.norm(array(setting.problem.error(net)))))
    lengths = float(np.prod([float(norm(v)) for v in directions]))
    return rounding(longest * gap * inputs * lengths, 4 * sum(widths) + widths[0] * widths[-1])


def direction_letters(setting: Setting, along: Direction, i: int) -> dict[Letter, np.ndarray]:
    """Values of the letters of one layer, with the changes of the map and of what lies above and below it."""
    net = setting.net
    return {
        **layer_letters(setting, i),
        W_DOT: array(moved(net, DeepLinear.product, along)),
        hessian.A_DOT: array(moved(net, lambda n: n.left(i), along)),
        hessian.B_DOT: array(moved(net, lambda n: n.right(i), along)),
    }


@lru_cache(maxsize=128)
def hessian_case(depth: int, widths: Widths, seed: int) -> tuple[Setting, Direction, Direction, tuple]:
    """A network on correlated inputs, a direction, the Hessian along it, and the letters of every layer."""
    setting = generic(depth, widths, seed, correlated=True)
    along = direction(setting, seed + 1)
    observed = autograd.hessian_vector(setting.net, setting.problem, along)
    return setting, along, observed, tuple(direction_letters(setting, along, i) for i in range(1, depth + 1))


action = Claim(
    "hessian.action",
    source="A eq. 2",
    says="The Hessian turns a move of the weights into the change of the gradient, in three terms a layer.",
    formula=hessian.action,
    lhs=r"(H\, v)_i",
    uses=("loss.gradient",),
    near_misses={
        "terms in the gap left out": lambda: A_I.T * W_DOT * SIGMA_X * B_I.T,
        "layers below do not move": lambda: hessian.action() - A_I.T * DELTA * SIGMA_X * hessian.B_DOT.T,
    },
    falsifiers={
        "change of the map with the wrong sign": lambda: hessian.action() - 2 * (A_I.T * W_DOT * SIGMA_X * B_I.T)
    },
    remark=(
        "For two layers and white inputs the three terms are $`w_2^T \\dot W + \\dot w_2^T \\Delta`$ for the first "
        "and $`\\dot W w_1^T + \\Delta \\dot w_1^T`$ for the second layer, as printed."
    ),
)


@action.proof(generic_in="depth, layer, widths, covariance")
def leibniz_rule(formula):
    """The gradient of one representative layer, differentiated once more while all layers move."""
    return hessian.is_hessian(formula)


@action.check(grid(depth=[1, 2, 3, 4], widths=SHAPES, seed=range(2)))
def automatic_differentiation(formula, depth, widths, seed):
    """The Hessian times a random direction by automatic differentiation, layer by layer."""
    setting, along, observed, letters = hessian_case(depth, widths, seed)
    bound = form_rounding(setting, along)
    found = [agree(h, words.evaluate(formula, v), bound=bound) for h, v in zip(observed, letters, strict=True)]
    return both(*found).on(setting)


symmetric = Claim(
    "hessian.symmetric",
    source="A eq. 2",
    says="The Hessian pairs two moves symmetrically: product of map changes, plus curvature of the map times gap.",
    formula=hessian.bilinear,
    lhs=r"u \cdot H v",
    near_misses={
        "curvature of the map counted twice": lambda: (
            hessian.bilinear() + words.trace(hessian.W_DDOT_UV * SIGMA_X * DELTA.T)
        ),
        "covariance missing at the gap": lambda: (
            words.trace(hessian.W_DOT_U * SIGMA_X * hessian.W_DOT_V.T) + words.trace(hessian.W_DDOT_UV * DELTA.T)
        ),
    },
    falsifiers={"curvature of the map left out": lambda: words.trace(hessian.W_DOT_U * SIGMA_X * hessian.W_DOT_V.T)},
    remark=(
        "Along one move the first term is a square; only the second can be negative. It needs a gap and a map that is "
        "curved in the weights: one layer has no curvature, and at the teacher there is no gap."
    ),
)


@symmetric.proof(generic_in="depth, pair of layers, widths, covariance")
def mixed_second_derivative(formula):
    """The loss differentiated along two directions, for every pair of layers, in both orders."""
    return hessian.is_second_derivative(formula)


@lru_cache(maxsize=128)
def bilinear_case(depth: int, widths: Widths, seed: int) -> tuple[Setting, np.ndarray, dict[Letter, np.ndarray], Bound]:
    """u . H v and v . H u by automatic differentiation, and the letters of the bilinear form."""
    setting = generic(depth, widths, seed, correlated=True)
    net, problem = setting.net, setting.problem
    u, v = direction(setting, seed + 1), direction(setting, seed + 2)
    ways = [inner(u, autograd.hessian_vector(net, problem, v)), inner(v, autograd.hessian_vector(net, problem, u))]
    base = layer_letters(setting, 1)
    letters = {
        DELTA: base[DELTA],
        SIGMA_X: base[SIGMA_X],
        hessian.W_DOT_U: array(moved(net, DeepLinear.product, u)),
        hessian.W_DOT_V: array(moved(net, DeepLinear.product, v)),
        hessian.W_DDOT_UV: array(curved(net, u, v)),
    }
    return setting, np.array([float(way) for way in ways]), letters, form_rounding(setting, u, v)


@symmetric.check(grid(depth=[1, 2, 3, 4], widths=SHAPES, seed=range(2)))
def both_orders(formula, depth, widths, seed):
    """Two random directions paired through the Hessian, either one first."""
    setting, observed, letters, bound = bilinear_case(depth, widths, seed)
    return agree(observed, words.evaluate(formula, letters), bound=bound).on(setting)


saddle = Claim(
    "hessian.saddle",
    source="A section 2",
    says="At zero weights the Hessian of two layers has as many negative as positive curvatures: a saddle, no minimum.",
    formula=hessian.saddle_curvatures,
    lhs=r"\lambda(H)",
    near_misses={
        "the true Hessian is positive semi-definite": lambda: (hessian.SINGULAR, hessian.SINGULAR),
        "squares of the singular values": lambda: (hessian.SINGULAR**2, -(hessian.SINGULAR**2)),
    },
    falsifiers={
        "negative semi-definite": lambda: (-hessian.SINGULAR, -hessian.SINGULAR),
        "half the curvature": lambda: (hessian.SINGULAR / 2, -hessian.SINGULAR / 2),
    },
    remark=(
        "Here $`s_k`$ runs through the singular values of $`W^* \\Sigma_x`$, each sign once a hidden unit. A "
        "method that divides by the true Hessian is drawn to this point; gradient descent leaves it."
    ),
)


@saddle.proof(generic_in="widths, teacher, covariance")
def explicit_eigenvectors(formula):
    """Directions built from one pair of singular vectors and one hidden vector are eigenvectors."""
    return hessian.are_saddle_curvatures(formula)


@saddle.check(grid(widths=["square", "widening", "narrowing", "wide", "waist", (1, 1, 1), (3, 1, 3)], seed=range(2)))
def spectrum_at_zero(formula, widths, seed):
    """All eigenvalues of the Hessian of a network with zero weights, by automatic differentiation."""
    n_0, n_1, n_d = sizes(2, widths)
    setting = generic(2, widths, seed, correlated=True)
    nothing = DeepLinear(tuple(torch.zeros_like(w) for w in setting.net.weights))
    observed = torch.linalg.eigvalsh(autograd.hessian(nothing, setting.problem))
    singular = np.linalg.svd(array(setting.problem.teacher @ setting.problem.covariance), compute_uv=False)
    predicted = np.tile(np.concatenate(value(formula, {hessian.SINGULAR: singular})), n_1)
    bound = rounding(float(singular[0]), n_1 * (n_0 + n_d) + n_0 * n_d)
    return spectra_match(observed, predicted, bound=bound).on(setting.moved(nothing))
