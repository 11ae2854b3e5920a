"""Training a network and training its linearisation: the bound on their distance, in both readings and as printed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Add, Expr, Function, Integer, Integral, Symbol, exp, expand_mul

from derivations import words
from derivations.compiled import evaluate
from derivations.information import linearisation as lin
from derivations.information.linearisation import (
    CHANGE,
    FISHER_CHANGE,
    FLOW,
    G_LIN,
    KERNEL,
    KERNEL_0,
    LAMBDA,
    LAMBDA_G,
    LARGEST,
    PAST,
    RESIDUAL,
    WEIGHTED,
    G,
)
from derivations.notation import ETA, TIME
from numerics.flows import integrate
from numerics.perceptrons import parameter_jacobian
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, both
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
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


NETWORKS = grid(
    depth=[1, 2],
    widths=["wide"],
    outputs=[2],
    samples=[3],
    activation=["tanh"],
    shift=[0.1],
    horizon=[1.0],
    seed=[0],
) + grid(
    depth=[2], widths=["waist"], outputs=[1], samples=[2], activation=["erf"], shift=[0.1], horizon=[1.0], seed=[1]
)


growth = Claim(
    "linearisation.growth",
    source="B lemma 4",
    says="Freed from the frozen kernel's decay, the distance grows by the change of the kernel times the residual.",
    formula=lin.growth,
    lhs=r"\frac{d}{dt} e^{\eta \Theta_0 t} (g^{\mathrm{lin}} - g)",
    near_misses={"residual of the linear model": lambda: ETA * (FLOW * (KERNEL - KERNEL_0) * G_LIN)},
    falsifiers={
        "kernel instead of its change": lambda: ETA * (FLOW * KERNEL * G),
        "decay not removed": lambda: ETA * ((KERNEL - KERNEL_0) * G),
    },
    remark="An identity: only the norms taken after it turn it into a bound.",
)


@growth.proof(generic_in="network, outputs, samples, kernels")
def product_rule(formula):
    """Differentiate, with both residuals under their own kernels."""
    return lin.is_growth(formula)


@growth.check(NETWORKS)
def summed_along_the_flow(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """The distance of a full network from its linearisation, with the decay removed, against the summed formula."""
    course = network_course(depth, widths, outputs, samples, activation, shift, horizon, seed)
    values, vectors = np.linalg.eigh(course.kernels[0])
    growing = np.exp(RATE * np.multiply.outer(course.times, values))
    flow = np.einsum("ij,tj,kj->tik", vectors, growing, vectors)
    letters = {FLOW: flow, KERNEL: course.kernels, KERNEL_0: course.kernels[:1], ETA: RATE}
    rates = words.evaluate(formula, {**letters, G: course.moving[..., None], G_LIN: course.frozen[..., None]})[..., 0]
    observed = np.einsum("tij,tj->ti", flow, course.frozen - course.moving)
    fine, coarse = accumulated(rates, course.times), accumulated(rates[::2], course.times[::2])
    true = np.einsum("tij,tj->ti", flow @ (course.kernels - course.kernels[0]), course.moving)
    missed = accumulated(true, course.times)[::2] - accumulated(true[::2], course.times[::2])
    size = float(growing.max())
    bound = remainder(RATE * float(np.abs(missed).max())) + integration(2 * size * course.error)
    bound = bound + rounding(size * float(np.abs(course.frozen).max()), INTERVALS + 10 * len(values))
    return both(agree(observed, fine, bound=bound), agree(observed[::2], coarse, bound=bound + bound))


gronwall = Claim(
    "linearisation.discrepancy-bound",
    source="B eq. 19, lemma 4",
    says="Network and linear model part by at most the summed change of the kernel, decaying and amplified.",
    formula=lin.bound,
    lhs=r"\lVert g^{\mathrm{lin}}(t) - g(t) \rVert",
    relation=r"\le",
    uses=("linearisation.growth",),
    near_misses={
        "no amplification": lambda: lin.bound().xreplace(
            {exp(Integral(ETA * CHANGE(PAST), (PAST, 0, TIME))): Integer(1)}
        ),
        "largest eigenvalue on the left": lambda: lin.bound().xreplace(
            {exp(-ETA * LAMBDA * TIME): exp(-ETA * LARGEST * TIME)}
        ),
    },
    falsifiers={
        "half of it": lambda: lin.bound() / 2,
        "square of the change": lambda: lin.bound(change=lambda s: CHANGE(s) ** 2),
    },
    mutate=False,
    remark=(
        "$`k(s) = \\lVert\\Theta_s - \\Theta_0\\rVert`$ and $`\\gamma(s) = \\lVert g^{\\mathrm{lin}}(s)\\rVert`$. The "
        "bound is sharp: for one output and a short way to go its ratio to the distance tends to one. For a long way "
        "it is pessimistic, as Gronwall's inequality is."
    ),
)


@gronwall.proof(generic_in="network, outputs, samples, kernels")
def worst_case_rate(formula):
    """The bound starts at zero and its rate exceeds the largest rate that the growth law allows."""
    return lin.is_bound(formula)


def inside(formula: Expr, course: Course) -> Evidence:
    """The bound over the distance, at least one at all times but the very first."""
    ratio, errors = over_distance(formula, course, slice(1, None))
    return at_least(ratio, 1.0, bound=errors).noting(f"bound over distance at least {ratio.min():.3g}")


@gronwall.check(NETWORKS)
def along_the_flow(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """Full networks and their linearisations, trained by accurate gradient flows."""
    return inside(formula, network_course(depth, widths, outputs, samples, activation, shift, horizon, seed))


@gronwall.check(
    grid(depth=[1], widths=["wide"], activation=["tanh"], shift=[1e-3], horizon=[1.0], seed=[0])
    + grid(depth=[2], widths=["wide"], activation=["erf"], shift=[1e-3], horizon=[1.0], seed=[0])
)
def sharp_for_a_short_way(formula, depth, widths, activation, shift, horizon, seed):
    """One output on one sample whose target lies close: the distance attains the bound to first order."""
    course = network_course(depth, widths, 1, 1, activation, shift, horizon, seed)
    ratio, errors = over_distance(formula, course, slice(INTERVALS // 4, None))
    change = RATE * float(accumulated(norms(course.kernels - course.kernels[0]), course.times)[-1])
    return agree(ratio, np.ones_like(ratio), bound=remainder(2 * change) + errors)


@gronwall.figure(slow=True)
def distance_over_time(formula):
    """Distance and bound over time, for a short and for a long way to the targets."""
    panels = []
    for shift, title in ((0.02, "targets close to the outputs"), (1.5, "targets far away")):
        course = network_course(2, "wide", 1, 3, "tanh", shift, 4.0, 11)
        predicted, _ = on_grid(formula, course)
        late = slice(2, None, 2)
        series = (
            Series("bound", course.times[late], predicted[late], "bound"),
            Series("network against its linearisation", course.times[late], course.distance[late], "simulation"),
            Series(
                "residual of the linear model", course.times[late], ingredients(course)[RESIDUAL][late], "reference"
            ),
        )
        panels.append(Panel(title, r"time $t$ in $1/\eta$", "Euclidean norm", series, log_y=True))
    caption = (
        "Distance between a trained tanh network and its linearisation. Near the targets the bound follows the "
        "distance; far from them the kernel moves and the bound grows out of proportion."
    )
    return Figure(caption, tuple(panels))


weaker = Claim(
    "linearisation.weaker-bound",
    source="B eq. 19, lemma 4",
    says="With the norm of the weighted change of the kernel under the integral the bound holds too, and is weaker.",
    formula=lin.weaker_bound,
    lhs=r"\lVert g^{\mathrm{lin}}(t) - g(t) \rVert",
    relation=r"\le",
    uses=("linearisation.discrepancy-bound",),
    near_misses={"largest eigenvalue on the left": lambda: _left(lin.weaker_bound())},
    falsifiers={"a tenth of it": lambda: lin.weaker_bound() / 10},
    mutate=False,
    remark=(
        "$`K(s) = \\lVert e^{\\eta\\Theta_0 s}(\\Theta_s - \\Theta_0)\\rVert`$ is never below $`e^{\\lambda\\eta s} "
        "k(s)`$. The scan of the paper admits both readings; for one output and one sample they agree."
    ),
)


def _left(formula: Expr) -> Expr:
    return formula.xreplace({exp(-ETA * LAMBDA * TIME): exp(-ETA * LARGEST * TIME)})


@weaker.proof(generic_in="network, outputs, samples, kernels")
def larger_integrand(formula):
    """The same comparison of rates, with an integrand that is never smaller."""
    return lin.is_bound(formula)


@weaker.check(
    NETWORKS
    + grid(
        depth=[1], widths=["wide"], outputs=[1], samples=[1], activation=["tanh"], shift=[0.02], horizon=[1.0], seed=[0]
    )
)
def weaker_along_the_flow(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """Full networks and their linearisations, trained by accurate gradient flows."""
    return inside(formula, network_course(depth, widths, outputs, samples, activation, shift, horizon, seed))


fisher = Claim(
    "linearisation.fisher-as-printed",
    source="B eq. 19, lemma 4",
    says="The distance of network and linear model is bounded by the summed change of the Fisher matrix.",
    formula=lambda: lin.bound(LAMBDA_G, FISHER_CHANGE),
    control=lin.bound,
    corrected_by=("linearisation.discrepancy-bound",),
    lhs=r"\lVert g^{\mathrm{lin}}(t) - g(t) \rVert",
    relation=r"\le",
    near_misses={
        "no amplification": lambda: lin.bound().xreplace(
            {exp(Integral(ETA * CHANGE(PAST), (PAST, 0, TIME))): Integer(1)}
        )
    },
    falsifiers={"half of it": lambda: lin.bound() / 2, "a tenth of it": lambda: lin.bound() / 10},
    mutate=False,
    remark=(
        "$`c(s) = \\lVert G_s - G_0\\rVert`$. Spectra coincide, changes do not: the kernel may turn while the "
        "Fisher matrix stays. Besides, with more parameters than points the smallest eigenvalue of the Fisher matrix "
        "is zero, and its exponential says nothing."
    ),
)


@fisher.proof(generic_in="network, outputs, samples, kernels")
def circle_in_closed_form(formula):
    """Two outputs on a circle: the Fisher matrix is constant while the kernel turns."""
    return lin.is_bound_on_circle(formula)


@fisher.check(grid(horizon=[1.0, 4.0]), network=False)
def on_a_circle(formula, horizon):
    """The flow on the circle, integrated."""
    return inside(formula, circle_course(horizon))


@fisher.check(
    grid(
        depth=[1], widths=["wide"], outputs=[1], samples=[1], activation=["tanh"], shift=[1e-3], horizon=[1.0], seed=[0]
    )
)
def full_networks(formula, depth, widths, outputs, samples, activation, shift, horizon, seed):
    """A full network with more parameters than points, where the Fisher matrix changes more than the kernel."""
    return inside(formula, network_course(depth, widths, outputs, samples, activation, shift, horizon, seed))
