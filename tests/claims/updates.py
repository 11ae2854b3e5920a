"""Measured updates of full networks: multipliers, null vectors, powers of the curvature, and their rounding."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from sympy import Expr

from derivations.code import value
from derivations.compiled import evaluate
from derivations.deep_linear.fractional_powers import KAPPA
from derivations.notation import ETA, Q
from numerics import autograd, curvature
from numerics.device import generator
from numerics.networks import Direction, flatten, norm, scaled, unflatten, unvec, vec
from numerics.rules import Fractional, NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import grid
from tests.checker.evidence import Bound
from tests.claims.settings import Setting, array, layer_values

RATE = 0.7
SHAPES = ("square", "widening", "narrowing", "wide", "waist")
NETS = grid(depth=[2, 3, 4], widths=SHAPES, correlated=[False, True], seed=[0]) + grid(
    depth=[1], widths=["wide"], correlated=[True], seed=[0]
)

ORDERS = [1, 1.5, 2, 7, inf]
POWERS = grid(depth=[2, 3], q=ORDERS, widths=SHAPES, correlated=[False, True], seed=[0]) + grid(
    depth=[1, 4], q=[1, 2.5], widths=["widening"], correlated=[True], seed=[0]
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


def null_vectors(setting: Setting) -> np.ndarray:
    """An orthonormal basis (P, k) of the null space of the Jacobian, by automatic differentiation."""
    _, values, right = np.linalg.svd(array(autograd.jacobian(setting.net)))
    rank = int((values > 1e-12 * values[0]).sum())
    return right[rank:].T


@lru_cache(maxsize=512)
def directions(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Non-zero eigenvalues of the weighted kernel and the components of the displacement on its eigenvectors."""
    net, problem = setting.net, setting.problem
    basis = curvature.eigenbasis(net, problem.root, method="svd")
    error = problem.error(net) if problem.root is None else problem.error(net) @ problem.root
    components = basis.vectors.mT @ vec(error)
    return array(basis.values[basis.kept]), array(components[basis.kept])


@lru_cache(maxsize=1024)
def velocity(setting: Setting, q: float) -> Direction:
    """The velocity of the full weight matrices under the fractional rule."""
    return Fractional(q, RATE).velocity(setting.net, setting.problem)


@lru_cache(maxsize=1024)
def primal_velocity(setting: Setting, q: float) -> np.ndarray:
    """The same velocity from the eigenvectors of the whole curvature matrix by automatic differentiation."""
    return entries(scaled(autograd.power(setting.net, setting.problem, -1 / q), -RATE))


def dual_velocity(setting: Setting, spectral_filter: Expr, q: float) -> np.ndarray:
    """-eta M^T f(M M^T) vec(Delta Sigma_x^{1/2}) with the filter f in kappa."""
    net, problem = setting.net, setting.problem
    basis = curvature.eigenbasis(net, problem.root, method="svd")
    error = problem.error(net) if problem.root is None else problem.error(net) @ problem.root

    def filtered(values: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(evaluate(spectral_filter, {KAPPA: array(values), Q: q}))

    found = basis.apply(filtered, error)
    found = found if problem.root is None else found @ problem.root
    return entries(scaled(curvature.back(net, found), -RATE))


def power_rounding(setting: Setting, power: float) -> Bound:
    """Rounding of (H_+)^power g: its condition is the spread of the spectrum, its scale the largest component."""
    kappa, delta = directions(setting)
    scale = RATE * float(np.linalg.norm(delta) * (kappa ** (0.5 + power)).max())
    return rounding(scale, chain(setting), float(kappa.max() / kappa.min()))
