"""Training courses of networks and of their linearisations, with the integrals that bound their distance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Add, Expr, Function, Integral, Symbol, expand_mul

from derivations.compiled import evaluate
from derivations.information.linearisation import (
    CHANGE,
    FISHER_CHANGE,
    LAMBDA,
    LAMBDA_G,
    LARGEST,
    PAST,
    RESIDUAL,
    WEIGHTED,
)
from derivations.notation import ETA, TIME
from numerics.flows import integrate
from numerics.perceptrons import parameter_jacobian
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.evidence import Bound
from tests.claims.kernel_settings import chebyshev, draw_network
from tests.claims.settings import array

RATE = 0.7
INTERVALS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Residuals of network and linear model on a grid of times, kernels and Fisher matrices at these times."""

    times: np.ndarray
    moving: np.ndarray
    frozen: np.ndarray
    kernels: np.ndarray
    fishers: np.ndarray
    error: float

    @property
    def distance(self) -> np.ndarray:
        """|g^lin - g| at every time."""
        return np.linalg.norm(self.frozen - self.moving, axis=-1)


def linear_course(kernel: np.ndarray, start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """exp(-eta Theta_0 t) g(0) at all times, from the eigenvectors of the frozen kernel."""
    values, vectors = np.linalg.eigh(kernel)
    return (np.exp(-RATE * np.outer(times, values)) * (vectors.T @ start)) @ vectors.T


@lru_cache(maxsize=64)
def network_course(
    depth: int,
    widths: str,
    outputs: int,
    samples: int,
    activation: str,
    shift: float,
    horizon: float,
    seed: int,
    offset: float = 0.0,
) -> Course:
    """A full network on the gradient flow of half the squared residual, its targets ``shift`` from its outputs.

    Trainable offsets of the outputs, of squared strength ``offset``, add that much to every eigenvalue of the kernel.
    """
    net, x = draw_network(depth, widths, outputs, samples, activation, seed)
    start = net.forward(x).outputs
    draw = torch.Generator().manual_seed(seed + 5)
    targets = start - shift * torch.randn(start.shape, generator=draw, dtype=torch.float64)

    count, points = net.flat("hidden").numel(), start.numel()

    def residual(flat: torch.Tensor) -> torch.Tensor:
        outputs = net.replace(flat[:count], "hidden").forward(x).outputs
        return (outputs - targets).mT.flatten() + offset**0.5 * flat[count:]

    def rhs(_: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        leaf = flat.clone().requires_grad_()
        return -RATE * torch.autograd.grad(residual(leaf).square().sum() / 2, leaf)[0]

    times, _ = chebyshev(INTERVALS, horizon)
    beginning = torch.cat([net.flat("hidden"), torch.zeros(points, dtype=torch.float64)])
    path, error = integrate(rhs, beginning, times, 1e-8)
    nets = [net.replace(y[:count], "hidden") for y in path]
    jacobians = np.stack([array(parameter_jacobian(one, x).flatten(0, 1)) for one in nets])
    moving = np.stack([array(residual(y)) for y in path])
    kernels = jacobians @ jacobians.swapaxes(-1, -2) + offset * np.eye(points)
    size = float(np.linalg.norm(jacobians, 2, axis=(-2, -1)).max()) + offset**0.5
    fishers = jacobians.swapaxes(-1, -2) @ jacobians
    frozen = linear_course(kernels[0], moving[0], times)
    return Course(times, moving, frozen, kernels, fishers, size * error * path.shape[-1] ** 0.5)


@lru_cache(maxsize=8)
def circle_course(horizon: float) -> Course:
    """Outputs (cos theta, sin theta) from theta = 0 towards (0, 1)."""
    times, _ = chebyshev(INTERVALS, horizon)

    def rhs(_: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return RATE * torch.cos(theta)

    path, error = integrate(rhs, torch.zeros(1, dtype=torch.float64), times, 1e-12)
    theta = array(path)[:, 0]
    jacobians = np.stack([-np.sin(theta), np.cos(theta)], -1)[..., None]
    moving = np.stack([np.cos(theta), np.sin(theta) - 1], -1)
    kernels, fishers = jacobians @ jacobians.swapaxes(-1, -2), jacobians.swapaxes(-1, -2) @ jacobians
    return Course(times, moving, linear_course(kernels[0], moving[0], times), kernels, fishers, error)


def norms(matrices: np.ndarray) -> np.ndarray:
    """Operator norms."""
    return np.linalg.norm(matrices, 2, axis=(-2, -1))


@lru_cache(maxsize=64)
def ingredients(course: Course) -> dict[Function | Symbol, np.ndarray | float]:
    """What the bounds are made of, on the grid of times."""
    first = course.kernels[0]
    values, vectors = np.linalg.eigh(first)
    growing = np.exp(RATE * np.multiply.outer(course.times, values))
    grown = np.einsum("ij,tj,kj->tik", vectors, growing, vectors) @ (course.kernels - first)
    fisher = np.linalg.eigvalsh(course.fishers[0])[0]
    return {
        CHANGE: norms(course.kernels - first),
        RESIDUAL: np.linalg.norm(course.frozen, axis=-1),
        WEIGHTED: norms(grown),
        FISHER_CHANGE: norms(course.fishers - course.fishers[0]),
        LAMBDA: max(float(values[0]), 0.0),
        LARGEST: float(values[-1]),
        LAMBDA_G: max(float(fisher), 0.0),
        ETA: RATE,
    }


def on_grid(formula: Expr, course: Course) -> tuple[np.ndarray, np.ndarray]:
    """A bound with integrals over the past at all times; at every other one the quadrature error of half the grid."""
    fine, coarse = (_quadrature(formula, course, step) for step in (1, 2))
    return fine, np.abs(fine[::2] - coarse)


def _quadrature(formula: Expr, course: Course, step: int) -> np.ndarray:
    known = {name: one[::step] if isinstance(one, np.ndarray) else one for name, one in ingredients(course).items()}
    times = course.times[::step]
    plain = {one(PAST): Symbol(str(one)) for one in (CHANGE, RESIDUAL, WEIGHTED, FISHER_CHANGE)}
    values = {plain.get(name(PAST), name) if callable(name) else name: one for name, one in known.items()}
    integrals, formula = {}, expanded(formula)
    for number, integral in enumerate(sorted(formula.atoms(Integral), key=str)):
        inside = integral.function.xreplace(plain)
        integrals[integral] = Symbol(f"I{number}")
        values[integrals[integral]] = accumulated(evaluate(inside, {**values, PAST: times, TIME: times}), times)
    whole = formula.xreplace(integrals)
    return np.broadcast_to(evaluate(whole, {**values, TIME: times}), times.shape)


@lru_cache(maxsize=8)
def _antiderivative(intervals: int) -> np.ndarray:
    """The matrix that integrates values at Chebyshev nodes of [-1, 1] from the first node to every node."""
    nodes = -np.cos(np.pi * np.arange(intervals + 1) / intervals)
    integrals = np.polynomial.chebyshev.chebint(np.eye(intervals + 1), lbnd=-1)
    values = np.polynomial.chebyshev.chebvander(nodes, intervals + 1) @ integrals
    return values @ np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, intervals))


def accumulated(integrand: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Integrals from the first to every time of a Chebyshev grid, along the first axis."""
    matrix = _antiderivative(len(times) - 1) * (times[-1] - times[0]) / 2
    return np.tensordot(matrix, np.broadcast_to(integrand, (len(times), *np.shape(integrand)[1:])), 1)


def expanded(formula: Expr) -> Expr:
    """Factors without the past taken out of the integrals, so that each can be summed up once along the grid."""

    def split(integral: Integral) -> Expr:
        parts = (term.as_independent(PAST, as_Add=False) for term in Add.make_args(expand_mul(integral.function)))
        return Add(*(outer * Integral(inner, *integral.limits) for outer, inner in parts))

    return formula.xreplace({one: split(one) for one in formula.atoms(Integral)})


def over_distance(formula: Expr, course: Course, late: slice) -> tuple[np.ndarray, Bound]:
    """The bound over the distance at every other time, with errors of quadrature, flow and rounding over it too."""
    predicted, quadrature = on_grid(formula, course)
    distance = course.distance[::2][late]
    smallest, scale = float(distance.min()), float(np.abs(course.frozen).max())
    errors = (
        remainder(float((quadrature[late] / distance).max()))
        + integration(2 * course.error / smallest)
        + rounding(scale / smallest, INTERVALS + 10 * course.kernels.shape[-1])
    )
    return predicted[::2][late] / distance, errors
