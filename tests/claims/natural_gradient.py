"""Natural gradient descent as a constrained problem: constraint, Lagrangian, multiplier, least length."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations import words
from derivations.code import value
from derivations.decide import all_of, step
from derivations.deep_linear import natural_gradient as natural
from derivations.deep_linear.natural_gradient import DELTA, DELTA_DOT, LAMBDA, NULL, SIGMA_X, UPDATE, WEIGHT, A, B
from derivations.notation import ETA
from numerics import autograd
from numerics.device import generator
from numerics.networks import Direction, flatten, inner, norm, unflatten, unvec
from numerics.rules import BlockNatural, NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, vanishes
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.settings import Setting, array, layer_values, near_solution

RATE = 0.7
SHAPES = ("square", "widening", "narrowing", "wide", "waist")
NETS = grid(depth=[2, 3, 4], widths=SHAPES, correlated=[False, True], seed=[0]) + grid(
    depth=[1], widths=["wide"], correlated=[True], seed=[0]
)


def spread(setting: Setting) -> float:
    """The ratio of the extreme non-zero eigenvalues of the curvature, the condition of its pseudo-inverse."""
    values = torch.linalg.eigvalsh(autograd.gauss_newton(setting.net, setting.problem))
    kept = values[values > 1e-11 * values[-1]]
    return float(kept[-1] / kept[0])


def chain(setting: Setting) -> int:
    """Roundings on the longest chain of operations with the whole curvature matrix."""
    return setting.net.parameters + sum(setting.net.widths)


def map_change(setting: Setting, direction: Direction) -> np.ndarray:
    """The change of the map along a direction of the weights, by automatic differentiation."""
    moved = autograd.jacobian(setting.net) @ flatten(direction)
    return array(unvec(moved, setting.net.widths[-1], setting.net.widths[0]))


def random_direction(setting: Setting, seed: int) -> Direction:
    """A Gaussian direction of the weights."""
    draw = generator(seed + 1, "cpu")
    flat = torch.randn(setting.net.parameters, generator=draw, dtype=torch.float64)
    return unflatten(flat, setting.net.widths)


def by_layers(formula: object, setting: Setting, **matrices: np.ndarray) -> np.ndarray:
    """The entries of a matrix formula in all layers, one after the other."""
    layers = range(1, setting.net.depth + 1)
    return np.concatenate(
        [np.ravel(value(formula, {**layer_values(setting, i, **matrices), ETA: RATE})) for i in layers]
    )


def entries(direction: Direction) -> np.ndarray:
    """The entries of a direction, ordered like ``by_layers``."""
    return np.concatenate([array(part).ravel() for part in direction])


def pseudo_inverse_rounding(setting: Setting, power: int = 1) -> Bound:
    """Rounding of an update that applies the pseudo-inverse ``power`` times, on the scale of the update."""
    update = norm(NaturalGradient(RATE).velocity(setting.net, setting.problem))
    return rounding(float(update), chain(setting), spread(setting) ** power)


@lru_cache(maxsize=256)
def multiplier(setting: Setting) -> np.ndarray:
    """The multiplier as a map: the first-order conditions of the constrained problem solved as one linear system."""
    curvature = autograd.gauss_newton(setting.net, setting.problem)
    slope = flatten(autograd.gradient(setting.net, setting.problem))
    size = len(slope)
    one, nothing = torch.eye(size, dtype=slope.dtype), torch.zeros_like(curvature)
    system = torch.cat([torch.cat([one, curvature], 1), torch.cat([curvature, nothing], 1)], 0)
    target = torch.cat([torch.zeros_like(slope), -RATE * slope])
    solution = np.linalg.lstsq(array(system), array(target), rcond=1e-11)[0][size:]
    found = map_change(setting, unflatten(torch.from_numpy(solution), setting.net.widths))
    inputs = setting.problem.covariance
    return (found if inputs is None else found @ array(inputs)) / RATE


constraint = Claim(
    "natural-gradient.constraint",
    source="A eq. 9",
    says="Natural gradient descent makes the displacement decay at the common rate, seen through every layer.",
    formula=natural.constraint,
    lhs=r"(H_+ \dot w + \eta g)_i",
    near_misses={
        "input covariance forgotten": lambda: A.T * (DELTA_DOT + ETA * DELTA) * B.T,
        "learning rate forgotten": lambda: A.T * (DELTA_DOT + DELTA) * SIGMA_X * B.T,
    },
    falsifiers={"displacement grows": lambda: A.T * (DELTA_DOT - ETA * DELTA) * SIGMA_X * B.T},
    remark=(
        "The equation has a solution for every network, bottlenecks included, since the gradient lies in the range of the "
        "curvature. Where the Jacobian has full row rank it says $`\\dot\\Delta = -\\eta\\Delta`$."
    ),
)


@constraint.proof(generic_in="depth, widths, input covariance")
def curvature_and_gradient_pull_back(formula):
    """Both terms are gradients in one layer of a quadratic form in the map."""
    curvature, slope = natural.pulled_back(DELTA_DOT), natural.pulled_back(DELTA)
    return words.vanishes(formula - curvature - ETA * slope).explain(
        step("The derivative of the quadratic form of the map's velocity gives the action of the curvature:", curvature),
        step("the same derivative of the loss gives the gradient:", slope),
        step("so their combination is", formula),
    )


@constraint.check(NETS)
def any_direction(formula, depth, widths, correlated, seed):
    """For a random direction, curvature and gradient by automatic differentiation add up to the formula."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    direction = random_direction(setting, seed)
    curvature = autograd.gauss_newton(setting.net, setting.problem)
    slope = flatten(autograd.gradient(setting.net, setting.problem))
    observed = entries(unflatten(curvature @ flatten(direction) + RATE * slope, setting.net.widths))
    predicted = by_layers(formula, setting, dDelta=map_change(setting, direction))
    scale = float(torch.linalg.matrix_norm(curvature, 2) * norm(direction))
    return agree(observed, predicted, bound=rounding(scale, chain(setting))).on(setting)


@constraint.check(NETS)
def natural_gradient_solves_it(formula, depth, widths, correlated, seed):
    """Along the natural gradient of a full network the formula vanishes in every layer."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    velocity = NaturalGradient(RATE).velocity(setting.net, setting.problem)
    residual = by_layers(formula, setting, dDelta=map_change(setting, velocity))
    scale = RATE * float(norm(autograd.gradient(setting.net, setting.problem)))
    return vanishes(residual, bound=rounding(scale, chain(setting), spread(setting)), scale=scale).on(setting)


form = Claim(
    "natural-gradient.lagrangian-form",
    source="A eq. 10",
    says="Natural gradient descent is gradient descent with a multiplier map in place of the displacement.",
    formula=natural.natural_update,
    lhs=UPDATE,
    uses=("natural-gradient.constraint",),
    near_misses={
        "displacement not replaced": lambda: -ETA * (A.T * DELTA * B.T),
        "multiplier weighted with the inputs": lambda: -ETA * (A.T * LAMBDA * SIGMA_X * B.T),
    },
    falsifiers={"multiplier climbs": lambda: ETA * (A.T * LAMBDA * B.T)},
    remark=(
        "Every update of the form $`A_i^{\\mathsf{T}} X B_i^{\\mathsf{T}}`$ is orthogonal to the null vectors of the Jacobian, whatever "
        "the map $`X`$. That is all a conservation law needs: replacing $`\\Delta`$ by $`\\Lambda`$ changes how fast the "
        "weights move, never which quantities they conserve."
    ),
)


@form.proof(generic_in="depth, widths, input covariance")
def stationary_point_of_the_lagrangian(formula):
    """The derivative of the Lagrangian in one layer vanishes at the update."""
    residual = words.substitute(natural.stationarity(), {UPDATE: formula})
    return all_of(natural.multiplier_is_a_map(), words.vanishes(residual)).explain(
        step("The derivative of length plus constraint in one layer is", natural.stationarity()),
        step("It vanishes at the update", formula),
    )


@form.check(NETS)
def multiplier_of_the_constrained_problem(formula, depth, widths, correlated, seed):
    """Velocity of a full network against the formula at the multiplier of the constrained problem."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    observed = entries(NaturalGradient(RATE).velocity(setting.net, setting.problem))
    predicted = by_layers(formula, setting, Lambda=multiplier(setting))
    return agree(observed, predicted, bound=pseudo_inverse_rounding(setting, 2)).on(setting)


@form.check(grid(depth=[2, 3, 4], widths=["waist"], correlated=[False, True], seed=[0, 1]))
def other_multipliers_give_the_same_update(formula, depth, widths, correlated, seed):
    """Behind a bottleneck the multiplier is not unique: adding what no layer sees leaves the update as it is."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    jacobian = array(autograd.jacobian(setting.net))
    left, values, _ = np.linalg.svd(jacobian)
    unseen = left[:, values < 1e-12 * values[0]]
    shift = unseen @ np.random.default_rng(seed).standard_normal(unseen.shape[1])
    shape = (setting.net.widths[-1], setting.net.widths[0])
    moved = multiplier(setting) + shift.reshape(shape, order="F")
    observed = entries(NaturalGradient(RATE).velocity(setting.net, setting.problem))
    predicted = by_layers(formula, setting, Lambda=moved)
    bound = pseudo_inverse_rounding(setting, 2) + rounding(float(np.linalg.norm(shift)), chain(setting))
    return agree(observed, predicted, bound=bound).noting(f"{unseen.shape[1]} free multipliers").on(setting)


equation = Claim(
    "natural-gradient.multiplier-equation",
    source="A eq. 11",
    says="The multiplier map is found from a linear equation that every layer sees: its image equals the displacement.",
    formula=lambda: {"image of the multiplier": natural.multiplier_image(), "displacement": words.expression(DELTA)},
    uses=("natural-gradient.lagrangian-form",),
    near_misses={
        "displacement weighted with the inputs": lambda: {
            "image of the multiplier": natural.multiplier_image(),
            "displacement": DELTA * SIGMA_X,
        },
        "only the layers above": lambda: {
            "image of the multiplier": words.layer_sum(A * A.T * LAMBDA),
            "displacement": words.expression(DELTA),
        },
    },
    falsifiers={
        "multiplier weighted with the inputs": lambda: {
            "image of the multiplier": words.layer_sum(A * A.T * LAMBDA * SIGMA_X * B.T * B),
            "displacement": words.expression(DELTA),
        },
    },
    remark=(
        "The image is the kernel $`JJ^{\\mathsf{T}}`$ applied to the multiplier. Where the Jacobian has full row rank the multiplier is "
        "unique and its image is the displacement itself; behind a bottleneck it is free in what no layer sees."
    ),
)


@equation.proof(generic_in="depth, widths, input covariance")
def velocity_of_the_map(formula):
    """The map's velocity under the update is the image of the multiplier, layer by layer."""
    moved = words.substitute(A * UPDATE * B, {UPDATE: natural.natural_update()})
    image, gap = formula["image of the multiplier"].summand, formula["displacement"]
    through = A.T * (-ETA * image + ETA * gap) * SIGMA_X * B.T
    expected = A.T * (moved + ETA * DELTA) * SIGMA_X * B.T
    return all_of(words.vanishes(moved + ETA * image), words.vanishes(through - expected)).explain(
        step("One layer moves the map by", moved),
        step("Summed over the layers this is the image of the multiplier, and the constraint reads", through),
    )


@equation.check(NETS)
def solution_of_the_constrained_problem(formula, depth, widths, correlated, seed):
    """The multiplier of the constrained problem of a full network satisfies the equation in every layer."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    found = multiplier(setting)
    layers = [layer_values(setting, i, Lambda=found) for i in range(1, depth + 1)]
    image = value(formula["image of the multiplier"], layers)
    gap = value(formula["displacement"], layers[0])
    residual = by_layers(A.T * DELTA_DOT * SIGMA_X * B.T, setting, dDelta=image - gap)
    scale = float(norm(autograd.gradient(setting.net, setting.problem)))
    return vanishes(residual, bound=rounding(scale, chain(setting), spread(setting) ** 2), scale=scale).on(setting)


shortest = Claim(
    "natural-gradient.minimum-norm",
    source="A footnote 4",
    says="A null vector added to the natural gradient keeps the change of the map and adds its own squared length.",
    formula=lambda: words.layer_sum(natural.added_length()),
    lhs=r"\lVert \dot w + o \rVert^2 - \lVert \dot w \rVert^2",
    uses=("natural-gradient.lagrangian-form",),
    near_misses={
        "measured behind the layers above": lambda: words.layer_sum(words.trace(A * NULL * NULL.T * A.T)),
        "overlap with the weights": lambda: words.layer_sum(
            words.trace(NULL * NULL.T) + 2 * words.trace(WEIGHT * NULL.T)
        ),
    },
    falsifiers={"half the length": lambda: words.layer_sum(words.trace(NULL * NULL.T) / 2)},
    remark=(
        "Pythagoras in weight space: among all updates that move the map alike the natural gradient is the shortest one. "
        "The block-diagonal rule moves a wide network's map in the same way and pays for a null vector on top."
    ),
)



def null_vectors(setting: Setting) -> np.ndarray:
    """An orthonormal basis (P, k) of the null space of the Jacobian, by automatic differentiation."""
    _, values, right = np.linalg.svd(array(autograd.jacobian(setting.net)))
    rank = int((values > 1e-12 * values[0]).sum())
    return right[rank:].T


def extra_length(setting: Setting, added: Direction) -> float:
    """|v + o|^2 - |v|^2 for the natural gradient v of a full network."""
    velocity = NaturalGradient(RATE).velocity(setting.net, setting.problem)
    together = tuple(v + o for v, o in zip(velocity, added, strict=True))
    return float(inner(together, together) - inner(velocity, velocity))


def layer_sum_value(formula: object, setting: Setting, added: Direction) -> float:
    """The value of a sum over layers at a direction."""
    return float(value(formula, [layer_values(setting, i + 1, null=part) for i, part in enumerate(added)]))


def length_rounding(setting: Setting, added: Direction) -> Bound:
    """Rounding of an inner product with the natural gradient, which is as accurate as its pseudo-inverse."""
    update = norm(NaturalGradient(RATE).velocity(setting.net, setting.problem))
    scale = float(norm(added) * (update + norm(added)))
    return rounding(scale, chain(setting), spread(setting))


@shortest.proof(generic_in="depth, widths, input covariance")
def pythagoras(formula):
    """The cross terms of all layers cancel, since a null vector leaves the map alone."""
    update = natural.natural_update()
    square = words.trace((update + NULL) * (update + NULL).T) - words.trace(update * update.T)
    cross = 2 * words.trace(update * NULL.T)
    return all_of(natural.null_vector_is_orthogonal(), words.vanishes(square - cross - formula.summand)).explain(
        step("What remains of the square of the sum in one layer is", square - cross),
    )


@shortest.check(NETS)
def random_null_vector(formula, depth, widths, correlated, seed):
    """A random null vector of a full network's Jacobian, added to its natural gradient."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    basis = null_vectors(setting)
    drawn = basis @ np.random.default_rng(seed).standard_normal(basis.shape[1])
    added = unflatten(torch.from_numpy(drawn), setting.net.widths)
    found, wanted = extra_length(setting, added), layer_sum_value(formula, setting, added)
    return agree(found, wanted, bound=length_rounding(setting, added), scale=float(norm(added)) ** 2 + 1).on(setting)


@shortest.check(grid(depth=[2, 3, 4], widths=["square", "wide"], correlated=[False, True], seed=[0, 1]))
def block_diagonal_update(formula, depth, widths, correlated, seed):
    """In a wide network the block-diagonal update is the natural gradient plus a null vector, hence longer."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    added = _detour(setting)
    found, wanted = extra_length(setting, added), layer_sum_value(formula, setting, added)
    return agree(found, wanted, bound=length_rounding(setting, added)).on(setting)


def _detour(setting: Setting) -> Direction:
    natural_velocity = NaturalGradient(RATE).velocity(setting.net, setting.problem)
    block_velocity = BlockNatural(RATE).velocity(setting.net, setting.problem)
    return tuple(b - v for b, v in zip(block_velocity, natural_velocity, strict=True))


@shortest.figure
def detours(formula):
    """Squared length of the update along the detour from the natural gradient to the block-diagonal update."""
    series, shares = [], np.linspace(-0.6, 1.6, 45)
    for depth in (2, 3, 4):
        setting = near_solution(depth, "wide", 0)
        velocity, added = NaturalGradient(RATE).velocity(setting.net, setting.problem), _detour(setting)
        base = float(inner(velocity, velocity))
        grown = layer_sum_value(formula, setting, added)
        series.append(Series(f"depth {depth}", shares, 1 + shares**2 * grown / base))
        dots = shares[::4]
        lengths = [base + extra_length(setting, tuple(s * o for o in added)) for s in dots]
        series.append(Series(f"network of depth {depth}", dots, np.array(lengths) / base, "simulation"))
        series.append(Series("block-diagonal update", [1.0], [1 + grown / base], "marker"))
    panel = Panel(
        "All these updates move the map alike",
        "share of the detour: 0 natural gradient, 1 block-diagonal",
        r"$\Vert \dot w\Vert^2$ over its least value",
        tuple(series),
    )
    return Figure(
        "Squared length of updates that move the map of a wide network in the same way: the natural gradient is the "
        "bottom of the parabola, the block-diagonal update sits higher on the same one.",
        (panel,),
    )
