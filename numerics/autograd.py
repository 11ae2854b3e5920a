"""The independent reference: derivatives of the loss and of the end-to-end map by automatic differentiation.

Nothing here uses the structure of a product of matrices; sizes are those of the naive P x P objects.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from numerics.networks import DeepLinear, Direction, flatten, inner, matching, unflatten, vec
from numerics.problems import Problem


def gradient(net: DeepLinear, problem: Problem) -> Direction:
    """Return the derivative of the loss with respect to every layer, shapes of the weights."""
    return grad(lambda weights: problem.loss(DeepLinear(weights)).sum())(net.weights)


def hessian(net: DeepLinear, problem: Problem) -> Tensor:
    """Return the second derivative of the loss, (*S, P, P), in the order of flatten."""

    def at(flat: Tensor, teacher: Tensor) -> Tensor:
        its = Problem(teacher, problem.covariance)

        def loss(v: Tensor) -> Tensor:
            return its.loss(_net(v, net))

        return jacrev(grad(loss))(flat)

    return _rowwise(at, net, problem.teacher)


def jacobian(net: DeepLinear) -> Tensor:
    """Return the derivative of the column-major vec W, (*S, n_d n_0, P), in the order of flatten."""
    return _rowwise(lambda flat, _: jacrev(lambda v: vec(_net(v, net).product()))(flat), net, None)


def gauss_newton(net: DeepLinear, problem: Problem) -> Tensor:
    """Return the Hessian+ J^T (S kron 1) J, (*S, P, P)."""
    j = jacobian(net)
    if problem.covariance is None:
        return j.mT @ j
    eye = torch.eye(net.widths[-1], dtype=j.dtype, device=j.device)
    return j.mT @ torch.kron(problem.covariance, eye) @ j


def hessian_vector(net: DeepLinear, problem: Problem, direction: Direction) -> Direction:
    """Return the Hessian of the loss times a direction: the derivative of the slope along it."""
    matching(net, direction)
    slope = grad(lambda weights: problem.loss(DeepLinear(weights)).sum())
    return grad(lambda weights: inner(slope(weights), direction).sum())(net.weights)


def power(net: DeepLinear, problem: Problem, exponent: float, *, cutoff: float = 1e-13) -> Direction:
    """Return (H+)^exponent g by the eigenvectors of the P x P matrix, with 0^exponent := 0.

    Eigenvalues below cutoff times the largest count as zero.
    """
    values, vectors = torch.linalg.eigh(gauss_newton(net, problem))
    kept = values > cutoff * values[..., -1:]
    weights = torch.where(kept, values.clamp_min(torch.finfo(values.dtype).tiny) ** exponent, 0.0)
    g = flatten(gradient(net, problem))
    coefficients = (vectors.mT @ g[..., None])[..., 0]
    return unflatten((vectors @ (weights * coefficients)[..., None])[..., 0], net.widths)


def _net(flat: Tensor, like: DeepLinear) -> DeepLinear:
    return DeepLinear(unflatten(flat, like.widths))


def _rowwise(function: Callable[[Tensor, Tensor], Tensor], net: DeepLinear, teacher: Tensor | None) -> Tensor:
    flat = flatten(net.weights)
    if teacher is None:
        teacher = torch.zeros((1, 1), dtype=flat.dtype, device=flat.device)
    if not net.batch:
        return function(flat, teacher)
    teacher = teacher.expand(*net.batch, *teacher.shape[-2:]).flatten(0, len(net.batch) - 1)
    found = vmap(function)(flat.flatten(0, len(net.batch) - 1), teacher)
    return found.unflatten(0, net.batch)
