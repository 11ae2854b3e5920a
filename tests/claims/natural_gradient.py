"""Natural gradient descent as a constrained problem: constraint, Lagrangian, multiplier."""

from __future__ import annotations

import numpy as np
import torch

from derivations import words
from derivations.code import value
from derivations.decide import all_of, step
from derivations.deep_linear import natural_gradient as natural
from derivations.deep_linear.natural_gradient import DELTA, DELTA_DOT, LAMBDA, SIGMA_X, UPDATE, A, B
from derivations.notation import ETA
from numerics import autograd
from numerics.networks import flatten, norm, unflatten
from numerics.rules import NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, vanishes
from tests.claims.settings import array, layer_values, near_solution
from tests.claims.updates import (
    NETS,
    RATE,
    by_layers,
    chain,
    entries,
    map_change,
    multiplier,
    pseudo_inverse_rounding,
    random_direction,
    spread,
)

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
        "The equation has a solution for every network, bottlenecks included, since the gradient lies in the "
        "range of the curvature. Where the Jacobian has full row rank it says $`\\dot\\Delta = "
        "-\\eta\\Delta`$."
    ),
)


@constraint.proof(generic_in="depth, widths, input covariance")
def curvature_and_gradient_pull_back(formula):
    """Both terms are gradients in one layer of a quadratic form in the map."""
    curvature, slope = natural.pulled_back(DELTA_DOT), natural.pulled_back(DELTA)
    return words.vanishes(formula - curvature - ETA * slope).explain(
        step("The derivative of the quadratic form of the map's velocity is the action of the curvature:", curvature),
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
        "Every update of the form $`A_i^{\\mathsf{T}} X B_i^{\\mathsf{T}}`$ is orthogonal to the null vectors "
        "of the Jacobian, whatever the map $`X`$. That is all a conservation law needs: replacing $`\\Delta`$ "
        "by $`\\Lambda`$ changes how fast the weights move, never which quantities they conserve."
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
        "In every layer $`A_i^{\\mathsf{T}} S\\, \\Sigma_x B_i^{\\mathsf{T}} = 0`$, where $`S`$ is the image "
        "less the displacement; at depth two $`S = w_2w_2^{\\mathsf{T}}\\Lambda + \\Lambda "
        "w_1^{\\mathsf{T}}w_1 - \\Delta`$. The image is the kernel $`JJ^{\\mathsf{T}}`$ applied to the "
        "multiplier. Where the Jacobian has full row rank the multiplier is unique and its image is the "
        "displacement itself; behind a bottleneck it is free in what no layer sees."
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
