"""What the tangent kernel decides about training: the dual form of natural gradients and the speed of the outputs."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from torch.func import jvp

from derivations import words
from derivations.compiled import evaluate
from derivations.deep_linear.fractional_powers import DELTA_K, KAPPA
from derivations.information import tangent_kernel as kernels
from derivations.information.tangent_kernel import SLOPE, J
from derivations.notation import EPSILON, ETA, Q
from numerics.flows import integrate
from numerics.likelihoods import log_likelihood
from numerics.perceptrons import Perceptron, parameter_jacobian
from numerics.tangent_kernels import tangent_kernel
from tests.checker.bounds import integration, remainder
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series
from tests.claims.kernel_settings import (
    FLOOR,
    Linearised,
    chebyshev,
    draw_network,
    linearised,
    matrix_rounding,
    spectral_function,
    spread,
)
from tests.claims.settings import array


def _residual(setting: Linearised) -> np.ndarray:
    """A fixed vector of residuals, sample-major."""
    return np.cos(1.0 + np.arange(setting.jacobian.shape[0]))


def _checked(q: float, epsilon: float = 0.0) -> None:
    if not q >= 1:
        raise ValueError(f"q: {q} given, allowed: q >= 1")
    if not epsilon >= 0:
        raise ValueError(f"epsilon: {epsilon} given, allowed: epsilon >= 0")


@lru_cache(maxsize=128)
def primal(setting: Linearised, q: float, epsilon: float) -> np.ndarray:
    """The step that solves (J^T J + epsilon)^{1/q} v = J^T r within the range, from the whole curvature matrix."""
    curvature = setting.jacobian.T @ setting.jacobian
    pulled = setting.jacobian.T @ _residual(setting)
    return spectral_function(curvature, lambda values: (values + epsilon) ** (-1 / q)) @ pulled


def dual_rounding(setting: Linearised, power: float):
    """Rounding of a filtered step: its size, products of Jacobians, and the spread of the kernel."""
    values = np.linalg.svd(setting.jacobian, compute_uv=False) ** 2
    kept = values[values > FLOOR * values[0]]
    size = float(np.linalg.norm(_residual(setting)) * (kept ** (0.5 + power)).max())
    return matrix_rounding(setting, size, spread(setting))


dual = Claim(
    "tangent-kernel.dual-form",
    source="beyond B, after app. B.4",
    says="Damped powers of the Fisher matrix act on a gradient as a filter on the eigenvalues of the tangent kernel.",
    formula=kernels.damped_filter,
    lhs="f(\\kappa)",
    uses=("natural-gradient.dual-form", "tangent-kernel.spectrum"),
    near_misses={
        "damping outside the root": lambda: KAPPA ** (-1 / Q) + EPSILON,
        "root of the damping forgotten": lambda: 1 / (KAPPA ** (1 / Q) + EPSILON),
    },
    falsifiers={
        "no damping": lambda: KAPPA ** (-1 / Q),
        "power q instead of root": lambda: (KAPPA + EPSILON) ** (-Q),
    },
    remark=(
        "One theorem of both papers: $`f(\\mathcal{J}^{\\mathsf{T}}\\mathcal{J})\\,\\mathcal{J}^{\\mathsf{T}} = "
        "\\mathcal{J}^{\\mathsf{T}} f(\\mathcal{J}\\mathcal{J}^{\\mathsf{T}})`$. At $`f(\\kappa) = \\kappa`$ it says "
        "that Fisher matrix and tangent kernel share their spectrum; at $`\\kappa^{-1/q}`$ it is the dual form of the "
        "companion paper's rules (natural-gradient.dual-form), here for any network; at $`1/(\\kappa + \\epsilon)`$ it "
        "is damped natural gradient descent solved in the space of outputs."
    ),
)


@dual.proof(generic_in="order q, damping, network, parameters, outputs, samples")
def singular_direction_by_singular_direction(formula):
    """Functions of the curvature pass through the Jacobian, and on each singular direction the equation holds."""
    return kernels.is_dual(formula)


@dual.check(
    grid(
        depth=[2], widths=["wide"], outputs=[2], samples=[3], q=[1, 1.5, 2, 7, inf], epsilon=[0.0, 1e-2, 1.0], seed=[0]
    )
    + grid(depth=[1, 3], widths=["narrowing"], outputs=[3], samples=[13], q=[1, 2], epsilon=[0.0, 0.5], seed=[0])
)
def whole_curvature_matrix(formula, depth, widths, outputs, samples, q, epsilon, seed):
    """The step from the whole curvature matrix of a full network against the filter on its tangent kernel."""
    _checked(q, epsilon)
    setting = linearised(depth, widths, outputs, samples, seed)

    def filtered(values: np.ndarray) -> np.ndarray:
        return evaluate(formula, {KAPPA: values, EPSILON: epsilon, Q: q})

    kernel = array(tangent_kernel(setting.net, setting.x))
    predicted = setting.jacobian.T @ (spectral_function(kernel, filtered) @ _residual(setting))
    return agree(primal(setting, q, epsilon), predicted, bound=dual_rounding(setting, -1 / q)).on(setting)


speed = Claim(
    "tangent-kernel.function-velocity",
    source="beyond B, after app. B.4",
    says="Along each eigenvector of the kernel outputs move by a power of its eigenvalue times their residual.",
    formula=kernels.function_velocity,
    lhs=r"\dot h_k",
    uses=("tangent-kernel.dual-form",),
    near_misses={"half the exponent of the curvature": lambda: -ETA * KAPPA ** (1 - 1 / (2 * Q)) * DELTA_K},
    falsifiers={
        "speed of the parameters": lambda: -ETA * KAPPA ** ((1 - 2 / Q) / 2) * DELTA_K,
        "kernel whatever the order": lambda: -ETA * KAPPA * DELTA_K,
    },
    remark=(
        "$`q \\to \\infty`$ is the law of the tangent kernel, $`\\dot h = -\\eta \\Theta r`$: directions of small "
        "eigenvalue wait. At $`q = 1`$ the kernel drops out, and where the Jacobian has full row rank all outputs head "
        "for their targets at one rate. The companion paper's square root lies half way, $`\\Theta^{1/2}`$."
    ),
)


@speed.proof(generic_in="order q, network, parameters, outputs, samples")
def through_the_jacobian(formula):
    """The outputs move by the Jacobian times the filtered step."""
    return kernels.is_function_velocity(formula)


@lru_cache(maxsize=128)
def moved_outputs(setting: Linearised, q: float) -> np.ndarray:
    """The derivative of a full network's outputs along the rule's step, by forward differentiation; sample-major."""
    net, x = setting.net, setting.x
    along = torch.from_numpy(-primal(setting, q, 0.0))

    def outputs(flat: torch.Tensor) -> torch.Tensor:
        return net.replace(flat, setting.which).forward(x).outputs.mT.flatten()

    return array(jvp(outputs, (net.flat(setting.which),), (along,))[1])


@speed.check(
    grid(depth=[1, 2, 3], widths=["wide"], outputs=[2], samples=[3], q=[1, 1.5, 2, 7, inf], seed=[0])
    + grid(depth=[2], widths=["waist"], outputs=[3], samples=[13], q=[1, 2, inf], seed=[1])
)
def outputs_of_a_full_network(formula, depth, widths, outputs, samples, q, seed):
    """The outputs' derivative along the step of the whole curvature matrix, on the eigenvectors of the kernel."""
    _checked(q)
    setting = linearised(depth, widths, outputs, samples, seed)
    values, vectors = np.linalg.eigh(array(tangent_kernel(setting.net, setting.x)))
    kept = values > FLOOR * values[-1]
    parts = vectors.T @ _residual(setting)
    predicted = np.zeros_like(values)
    predicted[kept] = evaluate(formula, {KAPPA: values[kept], DELTA_K: parts[kept], Q: q, ETA: 1.0})
    bound = dual_rounding(setting, 0.5 - 1 / q)
    return agree(moved_outputs(setting, q), vectors @ predicted, bound=bound).on(setting)


@speed.figure
def eigenvalue_by_eigenvalue(formula):
    """Relative velocity over the eigenvalue of the kernel for four orders, theory line and a full network's outputs."""
    setting = linearised(2, "wide", 2, 8, 3)
    values, vectors = np.linalg.eigh(array(tangent_kernel(setting.net, setting.x)))
    parts = vectors.T @ _residual(setting)
    line = np.geomspace(values[0], values[-1], 60)
    series, off, budget = [], [], 0.0
    for q in (1.0, 2.0, 4.0, inf):
        dots = -(vectors.T @ moved_outputs(setting, q)) / parts
        theory = evaluate(formula, {KAPPA: values, DELTA_K: np.ones_like(values), Q: q, ETA: 1.0})
        smooth = evaluate(formula, {KAPPA: line, DELTA_K: np.ones_like(line), Q: q, ETA: 1.0})
        name = "gradient descent" if q == inf else f"order {q:g}"
        series += [Series(name, line, -smooth), Series("network", values, dots, "simulation")]
        off += list(dots / -theory - 1)
        budget = max(budget, float((dual_rounding(setting, 0.5 - 1 / q).total / abs(parts * theory)).max()))
    residual = Series("relative difference", list(values) * 4, off, "simulation")
    panel = Panel(
        "Slow directions of the outputs, and how each order treats them",
        r"eigenvalue $\kappa$ of the tangent kernel",
        r"$-\dot h_k \,/\, \eta\delta_k$",
        tuple(series),
        residual=residual,
        residual_bound=budget,
        log_x=True,
        log_y=True,
    )
    caption = (
        "Rate at which the outputs of a tanh network approach their targets along each eigenvector of its tangent "
        "kernel. Gradient descent is as slow as the eigenvalue is small, the natural gradient treats all alike."
    )
    return Figure(caption, (panel,))


evolution = Claim(
    "tangent-kernel.evolution",
    source="B sec. 4, after eq. 18",
    says="Along the gradient flow the outputs move by the current kernel times the loss's gradient in the outputs.",
    formula=kernels.evolution,
    lhs=r"\dot h",
    near_misses={"learning rate squared": lambda: -(ETA**2) * (J * J.T * SLOPE)},
    falsifiers={
        "uphill": lambda: ETA * (J * J.T * SLOPE),
        "kernel applied twice": lambda: -ETA * (J * J.T * J * J.T * SLOPE),
    },
    remark=(
        "For every loss, and at every time with the kernel of that time. The kernel prescribes the training of the "
        "network only as far as one knows how the kernel itself moves."
    ),
)


@evolution.proof(generic_in="network, loss, parameters, outputs, samples")
def chain_rule(formula):
    """Gradient in the parameters, then its image in the outputs."""
    return kernels.is_evolution(formula)


RATE = 0.7
_INTERVALS = 16


@lru_cache(maxsize=32)
def trained(likelihood: str, depth: int, widths: str, outputs: int, samples: int, activation: str, seed: int):
    """A full network on its gradient flow: nodes, outputs, Jacobians, loss gradients and the error of the flow."""
    net, x = draw_network(depth, widths, outputs, samples, activation, seed)
    targets = torch.arange(samples) % outputs if likelihood == "softmax" else torch.zeros(outputs, samples)

    def loss(h: torch.Tensor) -> torch.Tensor:
        return -log_likelihood(likelihood, h, targets).sum()

    def rhs(_: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        leaf = flat.clone().requires_grad_()
        return -RATE * torch.autograd.grad(loss(net.replace(leaf, "hidden").forward(x).outputs), leaf)[0]

    times, _ = chebyshev(_INTERVALS, 0.3)
    path, error = integrate(rhs, net.flat("hidden"), times, 1e-10)
    nets: list[Perceptron] = [net.replace(flat, "hidden") for flat in path]
    found = [one.forward(x).outputs for one in nets]
    jacobians = [array(parameter_jacobian(one, x).flatten(0, 1)) for one in nets]
    slopes = [array(torch.func.grad(loss)(h).mT.reshape(-1, 1)) for h in found]
    heights = np.stack([array(h.mT.flatten()) for h in found])
    return net, x, heights, jacobians, slopes, error


@evolution.check(
    grid(likelihood=["identity"], depth=[2], widths=["wide"], outputs=[3], samples=[4], seed=[0])
    + grid(likelihood=["softmax"], depth=[1], widths=["wide"], outputs=[3], samples=[1], seed=[0])
    + grid(likelihood=["softmax"], depth=[3], widths=["waist"], outputs=[2], samples=[5], seed=[1], activation=["erf"])
)
def integrated_over_time(formula, likelihood, depth, widths, outputs, samples, seed, activation="tanh"):
    """The outputs of a full network after some training against the formula summed up along its path."""
    _, _, heights, jacobians, slopes, error = trained(likelihood, depth, widths, outputs, samples, activation, seed)
    rates = [words.evaluate(formula, {J: a, SLOPE: g, ETA: RATE})[:, 0] for a, g in zip(jacobians, slopes, strict=True)]
    _, weights = chebyshev(_INTERVALS, 0.3)
    _, coarse = chebyshev(_INTERVALS // 2, 0.3)
    true = np.stack([-RATE * a @ (a.T @ g[:, 0]) for a, g in zip(jacobians, slopes, strict=True)])
    missed = float(np.abs(weights @ true - coarse @ true[::2]).max())
    size = float(np.linalg.norm(jacobians[0], 2))
    bound = remainder(missed) + integration(2 * size * error * len(jacobians[0]) ** 0.5)
    return agree(heights[-1] - heights[0], weights @ np.stack(rates), bound=bound)
