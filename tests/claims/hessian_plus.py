"""The Hessian+ of a deep linear network: action, blocks, sign, and distance to the Hessian."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations import words
from derivations.code import value
from derivations.deep_linear import hessian_plus
from derivations.deep_linear.loss import W_DOT
from derivations.notation import A_I, B_I, DELTA, SIGMA_X
from derivations.word_algebra import Letter
from numerics import autograd
from numerics.networks import DeepLinear, Direction, flatten, inner, unflatten
from numerics.problems import Problem
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.hessian import curved, direction, direction_letters, form_rounding, moved
from tests.claims.loss import SHAPES, Widths, layer_letters
from tests.claims.settings import Setting, array, generic


@lru_cache(maxsize=128)
def plus_case(depth: int, widths: Widths, seed: int) -> tuple[Setting, Direction, torch.Tensor, tuple]:
    """A network on correlated inputs, a direction, the matrix J^T (Sigma kron 1) J, the letters of every layer."""
    setting = generic(depth, widths, seed, correlated=True)
    along = direction(setting, seed + 1)
    matrix = autograd.gauss_newton(setting.net, setting.problem)
    return setting, along, matrix, tuple(direction_letters(setting, along, i) for i in range(1, depth + 1))


action = Claim(
    "hessian-plus.action",
    source="A eq. 3",
    says="The Hessian+ turns a move of the weights into the change of the map, weighted and carried back to the layer.",
    formula=hessian_plus.plus_action,
    lhs=r"(H_+ v)_i",
    near_misses={
        "covariance dropped": lambda: A_I.T * W_DOT * B_I.T,
        "gap instead of the change of the map": lambda: A_I.T * DELTA * SIGMA_X * B_I.T,
    },
    falsifiers={
        "twice as large": lambda: 2 * hessian_plus.plus_action(),
        "covariance twice": lambda: A_I.T * W_DOT * SIGMA_X * SIGMA_X * B_I.T,
    },
    remark=(
        "It is the gradient of a loss whose gap is $`\\dot W`$: the Hessian+ costs no more than a gradient. "
        "Its null space is that of $`v \\mapsto \\dot W`$ wherever the covariance is definite."
    ),
)


@action.proof(generic_in="depth, pair of layers, widths, covariance")
def derivative_of_the_energy(formula):
    """The cost of a move if the map were linear in the weights, differentiated layer by layer."""
    return hessian_plus.is_hessian_plus(formula)


@action.check(grid(depth=[1, 2, 3, 4], widths=SHAPES, seed=range(2)))
def jacobian_matrix(formula, depth, widths, seed):
    """The matrix from the Jacobian of the map by automatic differentiation, times a random direction."""
    setting, along, matrix, letters = plus_case(depth, widths, seed)
    observed = unflatten(matrix @ flatten(along), setting.net.widths)
    bound = form_rounding(setting, along)
    found = [agree(h, words.evaluate(formula, v), bound=bound) for h, v in zip(observed, letters, strict=True)]
    return both(*found).on(setting)


blocks = Claim(
    "hessian-plus.blocks",
    source="A eq. 3",
    says="Every block of the Hessian+ is the Kronecker product of a matrix of inputs and a matrix of outputs.",
    formula=hessian_plus.blocks,
    lhs=r"H_{+,ik} = \mathrm{inputs} \otimes \mathrm{outputs},\quad (\mathrm{inputs},\ \mathrm{outputs})",
    uses=("hessian-plus.action",),
    near_misses={
        "outputs of the wrong pair": lambda: {**hessian_plus.blocks(), "outputs": hessian_plus.A_K.T * A_I},
        "covariance dropped": lambda: {**hessian_plus.blocks(), "inputs": B_I * hessian_plus.B_K.T},
    },
    falsifiers={
        "Kronecker factors exchanged": lambda: {
            "inputs": hessian_plus.blocks()["outputs"],
            "outputs": hessian_plus.blocks()["inputs"],
        },
        "no layers above": lambda: {**hessian_plus.blocks(), "outputs": 0 * hessian_plus.blocks()["outputs"]},
    },
    remark=(
        "The blocks with $`i = k`$ are what block-diagonal methods keep. Two matrices of layer size suffice for their "
        "roots, which is why these methods are cheap."
    ),
)


@blocks.proof(generic_in="depth, pair of layers, widths, covariance")
def one_layer_moves(formula):
    """What layer i feels when layer k alone moves, in matrix words."""
    return hessian_plus.are_blocks(formula)


@blocks.check(grid(depth=[1, 2, 3, 4], widths=SHAPES, seed=[0]))
def blocks_of_the_matrix(formula, depth, widths, seed):
    """Every block of the matrix that automatic differentiation gives, against the Kronecker product."""
    setting, _, matrix, letters = plus_case(depth, widths, seed)
    counts = [w.numel() for w in setting.net.weights]
    edges = np.cumsum([0, *counts])
    bound = form_rounding(setting)
    found = []
    for i in range(depth):
        for k in range(depth):
            values = {**letters[i], hessian_plus.A_K: letters[k][A_I], hessian_plus.B_K: letters[k][B_I]}
            parts = value(formula, values)
            block = matrix[edges[i] : edges[i + 1], edges[k] : edges[k + 1]]
            found.append(agree(block, np.kron(parts["inputs"], parts["outputs"]), bound=bound))
    return both(*found).on(setting)


psd = Claim(
    "hessian-plus.psd",
    source="A section 2",
    says="The Hessian+ of a move is the weighted square of the change of the map, so it is never negative.",
    formula=hessian_plus.plus_form,
    lhs=r"v \cdot H_+ v",
    uses=("hessian-plus.action",),
    near_misses={
        "covariance dropped": lambda: words.trace(W_DOT * W_DOT.T),
        "one half as in the loss": lambda: hessian_plus.plus_form() / 2,
    },
    falsifiers={
        "negative": lambda: -hessian_plus.plus_form(),
        "covariance squared": lambda: words.trace(W_DOT * SIGMA_X * SIGMA_X * W_DOT.T),
    },
    remark=(
        "The right-hand side is the squared norm of $`\\dot W \\Sigma_x^{1/2}`$. It is zero exactly for the moves that "
        "leave the outputs of all inputs unchanged."
    ),
)


@psd.proof(generic_in="depth, widths, covariance")
def sum_over_layers(formula):
    """Each layer contributes its share of the change of the map; the sum is a square."""
    return hessian_plus.is_plus_form(formula)


@psd.check(grid(depth=[1, 2, 3, 4], widths=SHAPES, seed=range(2)))
def quadratic_form(formula, depth, widths, seed):
    """The quadratic form of the matrix from automatic differentiation, along a random direction."""
    setting, along, matrix, letters = plus_case(depth, widths, seed)
    flat, bound = flatten(along), form_rounding(setting, along, along)
    return agree(flat @ matrix @ flat, words.evaluate(formula, letters[0]), bound=bound).on(setting)


gap = Claim(
    "hessian-plus.gap",
    source="A section 2",
    says="Hessian and Hessian+ differ by the curvature of the map times its gap: they agree at the teacher.",
    formula=hessian_plus.gap_form,
    lhs=r"v \cdot (H - H_+) v",
    uses=("hessian.symmetric", "hessian-plus.psd"),
    near_misses={
        "half of the second derivative": lambda: hessian_plus.gap_form() / 2,
        "change of the map instead of its curvature": lambda: words.trace(W_DOT * SIGMA_X * DELTA.T),
    },
    falsifiers={
        "no difference": lambda: 0 * hessian_plus.gap_form(),
        "covariance dropped": lambda: words.trace(hessian_plus.W_DDOT * DELTA.T),
    },
    remark=(
        "The difference is linear in the gap. It has no sign, so it is the only source of negative curvature; "
        "it is nothing for one layer, whose map is linear in the weights."
    ),
)


@gap.proof(generic_in="depth, widths, covariance")
def bilinear_form_less_square(formula):
    """The bilinear form of the Hessian along one direction twice, less the square."""
    return hessian_plus.is_gap_form(formula)


@lru_cache(maxsize=256)
def gap_case(
    depth: int, widths: Widths, seed: int, scale: float
) -> tuple[Setting, float, dict[Letter, np.ndarray], Bound]:
    """v . (H - H_+) v by automatic differentiation, at a teacher whose gap is ``scale`` times the drawn one."""
    drawn = generic(depth, widths, seed, correlated=True)
    net = drawn.net
    setting = Setting(net, Problem(net.product() - scale * drawn.problem.error(net), drawn.problem.covariance))
    along = direction(setting, seed + 1)
    flat = flatten(along)
    whole = inner(along, autograd.hessian_vector(net, setting.problem, along))
    letters = {
        **layer_letters(setting, 1),
        W_DOT: array(moved(net, DeepLinear.product, along)),
        hessian_plus.W_DDOT: array(curved(net, along, along)),
    }
    square = flat @ autograd.gauss_newton(net, setting.problem) @ flat
    return setting, float(whole - square), letters, form_rounding(setting, along, along)


@gap.check(grid(depth=[1, 2, 3, 4], widths=SHAPES, seed=[0], scale=[1.0, 1e-3, 0.0]))
def difference_of_forms(formula, depth, widths, seed, scale):
    """Both quadratic forms along a random direction, with the gap of the map scaled down to zero."""
    setting, observed, letters, bound = gap_case(depth, widths, seed, scale)
    return agree(observed, words.evaluate(formula, letters), bound=bound, scale=1.0).on(setting)


@gap.figure
def gap_scaled_down(formula):
    """Both quadratic forms and their difference while the teacher moves through the map of the network."""
    scales = np.linspace(-1, 1, 9)
    runs = [gap_case(3, "wide", 0, float(scale)) for scale in scales]
    line = np.array([float(words.evaluate(formula, letters)) for _, _, letters, _ in runs])
    square = np.array([float(words.evaluate(hessian_plus.plus_form(), letters)) for _, _, letters, _ in runs])
    dots = np.array([observed for _, observed, _, _ in runs])
    panel = Panel(
        "one random move of a three-layer network",
        "gap, relative to the drawn one",
        "curvature along the move",
        (
            Series("$H_+$", scales, square, "reference"),
            Series("$H$, theory", scales, square + line, "theory"),
            Series("$H$, automatic differentiation", scales, square + dots, "simulation"),
        ),
        residual=Series("error", scales, dots - line, "simulation"),
        residual_bound=max(bound.total for _, _, _, bound in runs),
    )
    return Figure(
        "The curvature of the loss along a fixed random move, as the teacher passes through the map of the network. "
        "The Hessian departs from the Hessian+ linearly and has no lower limit.",
        (panel,),
    )
