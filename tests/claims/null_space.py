"""The null space of the Hessian+ of deep linear networks: symmetries, gradients and natural gradients."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from torch import Tensor

from derivations.code import value
from derivations.deep_linear import null_space
from derivations.notation import W_I, W_NEXT
from derivations.words import layer_sum, trace
from numerics import autograd, gauge
from numerics.device import generator
from numerics.frames import normal
from numerics.networks import DeepLinear, flatten, unflatten
from numerics.rules import Damped, Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, vanishes
from tests.checker.evidence import Bound
from tests.claims.hidden_layers import multiple, null_basis
from tests.claims.settings import Setting, array, generic, layer_values, near_solution

SHAPES = grid(depth=[2, 3, 5], widths=["square", "widening", "narrowing", "wide", "waist"], seed=[0])


def products_rounding(net: DeepLinear, factor: float = 1.0, condition: float = 1.0) -> Bound:
    """Rounding of sums over layers of products through the network; ``factor`` is the size of what is inserted."""
    absolute = DeepLinear(tuple(w.abs() for w in net.weights))
    pairs = zip(absolute.lefts(), absolute.rights(), strict=True)
    scale = factor * max(float(a.sum(-1).max() * b.sum(-2).max()) for a, b in pairs)
    return rounding(scale, sum(net.widths) + net.depth, condition)


@lru_cache(maxsize=256)
def changes(depth: int, widths: str | tuple[int, ...], seed: int) -> tuple[Setting, tuple[Tensor, ...]]:
    """A generic network and one Gaussian n_i x n_i matrix, of spectral norm about one, for every hidden layer."""
    setting, draw = generic(depth, widths, seed), generator(seed + 1000)
    return setting, tuple(normal((n, n), draw) / (2 * n**0.5) for n in setting.net.widths[1:-1])


symmetry = Claim(
    "null-space.symmetry",
    source="A section 2",
    says="An invertible change of a hidden basis, undone by the next layer, leaves the end-to-end map as it is.",
    formula=null_space.symmetry,
    relation=r"\text{is replaced by}",
    near_misses={
        "the next layer changed by the same matrix": lambda: {
            "w_i": null_space.CHANGE * W_I,
            "w_{i+1}": W_NEXT * null_space.CHANGE,
        },
        "transpose for the inverse": lambda: {"w_i": null_space.CHANGE * W_I, "w_{i+1}": W_NEXT * null_space.CHANGE.T},
    },
    falsifiers={"only one layer changed": lambda: {"w_i": null_space.CHANGE * W_I, "w_{i+1}": 1 * W_NEXT}},
    remark=(
        "The change may be any invertible matrix, not only a rotation: this large symmetry is special to linear "
        "networks. A network with rectified units keeps only permutations and positive diagonal matrices of it."
    ),
)


@symmetry.proof(generic_in="depth, widths, change of basis")
def change_and_inverse_meet(formula):
    """The change and its inverse stand side by side in the product of the layers."""
    return null_space.keeps_the_map(formula)


@symmetry.check(SHAPES)
def same_map(formula, depth, widths, seed):
    """The map of a network before and after a change of all its hidden bases."""
    setting, generators = changes(depth, widths, seed)
    net, condition = setting.net, 1.0
    for i, m in enumerate(generators, start=1):
        change = np.eye(len(m)) + array(m)
        letters = {"w_i": array(net.weights[i - 1]), "w_next": array(net.weights[i]), "m_i": change}
        new = value(formula, {**letters, "m_i_inverse": np.linalg.inv(change)})
        pair = (torch.from_numpy(new["w_i"]), torch.from_numpy(new["w_{i+1}"]))
        net = net.replace((*net.weights[: i - 1], *pair, *net.weights[i + 1 :]))
        condition *= float(np.linalg.cond(change))
    return agree(net.product(), setting.net.product(), bound=products_rounding(net, condition=condition)).on(setting)


moves = Claim(
    "null-space.generator",
    source="A section 2",
    says="To first order the symmetries move each layer from both sides, and all these moves lie in the null space.",
    formula=null_space.generator,
    lhs=null_space.DIRECTION,
    uses=("null-space.symmetry",),
    near_misses={
        "plus between the two sides": lambda: null_space.CHANGE * W_I + W_I * null_space.CHANGE_BELOW,
        "transposed below": lambda: null_space.CHANGE * W_I - W_I * null_space.CHANGE_BELOW.T,
    },
    falsifiers={"own change only": lambda: null_space.CHANGE * W_I},
    equivalent=multiple,
    remark=(
        "One generator belongs to every hidden layer and touches the two layers next to it. The outermost "
        "generators are zero, since inputs and outputs are given. Whether these moves fill the null space is "
        "another question: not always."
    ),
)


@moves.proof(generic_in="depth, widths, generators")
def sum_telescopes(formula):
    """What a generator does to the map through one layer it undoes through the next."""
    return null_space.telescopes(formula)


def _moved(formula, net: DeepLinear, generators: tuple[Tensor, ...]) -> Tensor:
    """The direction that a formula gives to all layers, m_0 = m_d = 0, in the order of ``flatten``."""
    ends = [np.zeros((net.widths[k],) * 2) for k in (0, -1)]
    chain = [ends[0], *map(array, generators), ends[1]]
    letters = zip(net.weights, chain[1:], chain, strict=False)
    parts = [value(formula, {"w_i": array(w), "m_i": m, "m_below": below}) for w, m, below in letters]
    return flatten(tuple(map(torch.from_numpy, parts)))


@moves.check(SHAPES)
def map_stands_still(formula, depth, widths, seed):
    """The derivative of the map along the moves, by automatic differentiation."""
    setting, generators = changes(depth, widths, seed)
    jacobian, moved = autograd.jacobian(setting.net), _moved(formula, setting.net, generators)
    size = float((jacobian.abs() @ moved.abs()).max())
    return vanishes(jacobian @ moved, bound=products_rounding(setting.net), scale=size).on(setting)


@moves.check(SHAPES)
def derivative_of_the_symmetry(formula, depth, widths, seed):
    """The moves against the derivative of the finite changes of basis at the identity."""
    setting, generators = changes(depth, widths, seed)
    expected = flatten(gauge.move(setting.net, generators))
    bound = rounding(float(expected.abs().max()), 4 * max(setting.net.widths))
    return agree(expected, _moved(formula, setting.net, generators), bound=bound).on(setting)


slope = Claim(
    "null-space.gradient-orthogonal",
    source="A section 2",
    says="The slope of the loss along a direction depends on the change of the map alone: gradients are orthogonal to "
    "the null space.",
    formula=lambda: layer_sum(null_space.slope_along()),
    lhs=r"\dot{w} \cdot g",
    near_misses={
        "without the input covariance": lambda: layer_sum(
            trace(null_space.A_I * null_space.DIRECTION * null_space.B_I * null_space.DELTA.T)
        ),
        "map for error": lambda: layer_sum(
            trace(
                null_space.A_I
                * null_space.DIRECTION
                * null_space.B_I
                * null_space.SIGMA_X
                * (null_space.DELTA + null_space.TEACHER).T
            )
        ),
    },
    falsifiers={
        "weights for the change": lambda: layer_sum(
            trace(null_space.A_I * W_I * null_space.B_I * null_space.SIGMA_X * null_space.DELTA.T)
        )
    },
    remark="The whole null space is meant here, also the part that no symmetry reaches.",
)


@slope.proof(generic_in="depth, widths, input covariance")
def differential_of_the_loss(formula):
    """Differentiate the loss along one layer and see what the result depends on."""
    return null_space.is_slope_of_loss(formula.summand)


def spread(net: DeepLinear) -> float:
    """The largest over the smallest non-zero singular value of the Jacobian."""
    values = torch.linalg.svdvals(autograd.jacobian(net))
    return float(values[0] / values[values > 1e-10 * values[0]][-1])


def _slopes(formula, setting: Setting, directions: Tensor) -> np.ndarray:
    """A layer sum at each column of ``directions``, all at once."""
    parts = unflatten(directions.mT, setting.net.widths)
    layers = [layer_values(setting, i, v_i=part) for i, part in enumerate(parts, start=1)]
    return value(formula, [{**one, "A_i": one["A"], "B_i": one["B"], "w_i": one["w"]} for one in layers])


def _slope_rounding(setting: Setting, condition: float = 1.0) -> Bound:
    """Rounding of a slope along unit directions: a gradient's rounding, the spread where null vectors are computed."""
    error = setting.problem.error(setting.net)
    inputs = setting.problem.covariance
    size = float(error.abs().sum()) * (1.0 if inputs is None else float(inputs.abs().max()))
    return products_rounding(setting.net, size, condition)


ANY_INPUTS = grid(
    depth=[1, 2, 3], widths=["square", "widening", "narrowing", "waist"], correlated=[False, True], seed=[0]
)


@slope.check(ANY_INPUTS)
def any_direction(formula, depth, widths, correlated, seed):
    """Slopes along random directions, from the gradient of the loss by automatic differentiation."""
    setting = generic(depth, widths, seed, correlated=correlated)
    directions = normal((setting.net.parameters, 3), generator(seed))
    directions = directions / directions.norm(dim=0)
    observed = flatten(autograd.gradient(setting.net, setting.problem)) @ directions
    return agree(observed, _slopes(formula, setting, directions), bound=_slope_rounding(setting)).on(setting)


@slope.check(
    grid(depth=[2, 3], widths=["square", "widening", "narrowing", "waist"], correlated=[False, True], seed=[0])
)
def null_directions(formula, depth, widths, correlated, seed):
    """Slopes along a basis of the whole null space, the formula's and those of the differentiated loss."""
    setting = generic(depth, widths, seed, correlated=correlated)
    directions, g = null_basis(setting.net), flatten(autograd.gradient(setting.net, setting.problem))
    bound = _slope_rounding(setting, spread(setting.net))
    stated = vanishes(_slopes(formula, setting, directions), bound=bound, scale=float(g.norm()))
    return both(stated, vanishes(g @ directions, bound=bound, scale=float(g.norm()))).on(setting)


natural = Claim(
    "null-space.natural-gradient-orthogonal",
    source="A section 2",
    says="Every function of the Hessian+ applied to the gradient is orthogonal to the null space: natural gradients, "
    "fractional and damped ones.",
    formula=null_space.spectral_update,
    lhs=r"f(H_+)\, g",
    uses=("null-space.gradient-orthogonal",),
    near_misses={"natural gradient within each layer": null_space.block_update},
    falsifiers={"one factor for each weight": null_space.coordinate_update},
    remark=(
        "Only the gradient's position matters: it has no null component, and a function of the Hessian+ cannot "
        "create one, whatever its value at zero. A curvature cut into layers or into single weights does create "
        "one."
    ),
)


@natural.proof(generic_in="depth, widths, input covariance, spectral function")
def filter_stays_in_the_range(formula):
    """In the right singular vectors of the Jacobian the filter is diagonal, and null directions have no entries."""
    return null_space.no_null_component(formula)


@lru_cache(maxsize=64)
def curvature_letters(depth: int, widths: str | tuple[int, ...], seed: int, correlated: bool) -> dict[str, np.ndarray]:
    """H_+ from automatic differentiation: its eigenvectors V off the null space, eigenvalues, g, and its parts."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    net = setting.net
    curvature = autograd.gauss_newton(net, setting.problem)
    values, vectors = torch.linalg.eigh(curvature)
    kept = values > 1e-10 * values[-1]
    blocks, start = torch.zeros_like(curvature), 0
    for w in net.weights:
        part = slice(start, start + w.numel())
        blocks[part, part] = torch.linalg.pinv(curvature[part, part], rtol=1e-10, hermitian=True)
        start += w.numel()
    diagonal = torch.diag(1 / (curvature.diagonal() + 0.01).sqrt())
    g = flatten(autograd.gradient(net, setting.problem))[:, None]
    found = {"V": vectors[:, kept], "values": values[kept], "g": g, "D": blocks, "E": diagonal, "N": null_basis(net)}
    return {name: array(part) for name, part in found.items()}


@natural.check(
    grid(depth=[2, 3], q=[1, 1.5, 2, inf], widths=["square", "widening", "waist"], correlated=[False, True], seed=[0])
)
def fractional_updates(formula, depth, q, widths, correlated, seed):
    """The velocity of a fractional rule, the formula's, and the null components of both."""
    return _examined(formula, Fractional(q), lambda x: x ** (-1 / q), depth, widths, correlated, seed)


@natural.check(
    grid(depth=[2, 3], epsilon=[0.1, 1.0], widths=["square", "narrowing"], correlated=[False, True], seed=[0])
)
def damped_updates(formula, depth, epsilon, widths, correlated, seed):
    """The velocity of the damped rule, the formula's, and the null components of both."""
    rule = Damped(epsilon)
    return _examined(formula, rule, lambda x: (1 + epsilon) / (epsilon + x), depth, widths, correlated, seed)


def _examined(formula, rule, spectral, depth, widths, correlated, seed):
    setting = near_solution(depth, widths, seed, correlated=correlated)
    letters = curvature_letters(depth, widths, seed, correlated)
    velocity = array(flatten(rule.velocity(setting.net, setting.problem)))
    stated = -value(formula, {**letters, "Phi": np.diag(spectral(letters["values"]))})[:, 0]
    condition = float(letters["values"].max() / letters["values"].min())
    size = float(np.linalg.norm(velocity))
    bound = rounding(size, setting.net.parameters, condition)
    parts = [vanishes(letters["N"].T @ v, bound=bound, scale=size) for v in (velocity, stated)]
    return both(agree(velocity, stated, bound=bound), *parts).on(setting)
