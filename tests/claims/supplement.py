"""The supplement's constrained problem: multipliers of the layers, mode forms, and the kernel of two layers."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch

from derivations import words
from derivations.code import value
from derivations.compiled import evaluate
from derivations.deep_linear import supplement
from derivations.deep_linear.natural_gradient import SIGMA_X, A, B
from derivations.deep_linear.supplement import A_K, ALPHA, B_K, BETA, MU_K
from derivations.notation import Q
from numerics import autograd
from numerics.networks import Direction, flatten, unflatten
from numerics.rules import NaturalGradient
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.claims.assumptions import WHITENED
from tests.claims.settings import Setting, array, layer_values, near_solution
from tests.claims.updates import (
    NETS,
    RATE,
    entries,
    power_rounding,
    primal_velocity,
    pseudo_inverse_rounding,
)

forces = Claim(
    "supplement.layer-multipliers",
    source="A S.I.1-3",
    says="Each layer's natural gradient balances what the multipliers of all layers' constraints pull it to.",
    formula=supplement.multiplier_force,
    lhs=r"-\dot w_i",
    relation=r"= \sum_{k=1}^{d}",
    uses=("natural-gradient.constraint",),
    near_misses={
        "input covariance forgotten": lambda: words.layer_sum(A.T * A_K * MU_K * B_K * B.T),
        "half of it": lambda: words.layer_sum((A.T * A_K * MU_K * B_K * SIGMA_X * B.T) / 2),
    },
    falsifiers={
        "multipliers pull the other way": lambda: words.layer_sum((A.T * A_K * MU_K * B_K * SIGMA_X * B.T) * -1),
    },
    remark=(
        "For two layers these are $`\\dot w_1 + w_2^{\\mathsf{T}} w_2 \\mu_1 + w_2^{\\mathsf{T}} \\mu_2 w_1 = 0`$ "
        "and its mirror image. The sum is the Hessian+ applied to the multipliers: an update of least length lies in "
        "the range of the curvature, which is what the Moore-Penrose inverse means."
    ),
)


@forces.proof(generic_in="depth, widths, input covariance")
def stationary_lagrangian(formula):
    """Differentiate length and constraints with respect to the velocity of one layer."""
    return supplement.is_multiplier_force(formula)


@lru_cache(maxsize=128)
def layer_multipliers(setting: Setting) -> Direction:
    """Multipliers of the layers' constraints from the first-order conditions, solved as one linear system."""
    hessian = autograd.gauss_newton(setting.net, setting.problem)
    slope = flatten(autograd.gradient(setting.net, setting.problem))
    size = len(slope)
    one, nothing = torch.eye(size, dtype=slope.dtype), torch.zeros_like(hessian)
    system = torch.cat([torch.cat([one, hessian], 1), torch.cat([hessian, nothing], 1)], 0)
    target = torch.cat([torch.zeros_like(slope), -RATE * slope])
    solution = np.linalg.lstsq(array(system), array(target), rcond=1e-11)[0][size:]
    return unflatten(torch.from_numpy(solution), setting.net.widths)


@forces.check(NETS)
def solved_conditions(formula, depth, widths, correlated, seed):
    """The natural gradient of a full network against the formula at the multipliers that solve the conditions."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    found, layers = layer_multipliers(setting), range(1, depth + 1)
    parts = [layer_values(setting, k) for k in layers]
    others = [{"A_k": one["A"], "B_k": one["B"], "mu_k": array(mu)} for one, mu in zip(parts, found, strict=True)]
    predicted = [value(formula, [{**one, **other} for other in others]).ravel() for one in parts]
    observed = -entries(NaturalGradient(RATE).velocity(setting.net, setting.problem))
    return agree(observed, np.concatenate(predicted), bound=pseudo_inverse_rounding(setting, 2)).on(setting)


kronecker = Claim(
    "supplement.two-layer-filter",
    source="A eq. 14, S.I.9",
    says="For two layers the Hessian+ has pairs of eigenvectors of two small matrices, and their eigenvalues add up.",
    formula=supplement.two_layer_filter,
    lhs=r"\Lambda_{uv} / \Delta_{uv}",
    given=(WHITENED,),
    uses=("natural-gradient.dual-form",),
    near_misses={"eigenvalues multiplied": lambda: (ALPHA * BETA) ** (-1 / Q)},
    falsifiers={
        "powers added instead of eigenvalues": lambda: ALPHA ** (-1 / Q) + BETA ** (-1 / Q),
        "square root of it": lambda: (ALPHA + BETA) ** (-1 / (2 * Q)),
    },
    remark=(
        "Two eigendecompositions of the size of the layers replace one of the size of all parameters, for every order "
        "and without alignment."
    ),
)


@kronecker.proof(generic_in="order q, widths")
def sum_of_two_actions(formula):
    """Apply the kernel of two layers to a product of eigenvectors."""
    return supplement.is_two_layer_filter(formula)


@kronecker.check(
    grid(widths=["square", "widening", "narrowing", "wide", "waist"], q=[1, 1.5, 2, 7, inf], seed=[0])
    + grid(widths=[(1, 2, 3), (5, 5, 5)], q=[1, 3], seed=[1])
)
def whole_curvature(formula, widths, q, seed):
    """The velocity from the eigenvectors of all of the Hessian+ against two small eigendecompositions."""
    setting = near_solution(2, widths, seed)
    w1, w2 = (array(w) for w in setting.net.weights)
    alpha, u = np.linalg.eigh(w2 @ w2.T)
    beta, v = np.linalg.eigh(w1.T @ w1)
    total = alpha[:, None] + beta[None, :]
    kept = total > 1e-11 * total.max()
    safe = {ALPHA: np.where(kept, np.abs(alpha[:, None]), 1.0), BETA: np.where(kept, np.abs(beta[None, :]), 1.0), Q: q}
    factors = np.where(kept, evaluate(formula, safe), 0.0)
    dual = u @ (factors * (u.T @ array(setting.problem.error(setting.net)) @ v)) @ v.T
    predicted = np.concatenate([(-RATE * part).ravel() for part in (w2.T @ dual, dual @ w1.T)])
    return agree(primal_velocity(setting, q), predicted, bound=power_rounding(setting, -1 / q)).on(setting)
