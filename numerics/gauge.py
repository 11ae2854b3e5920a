"""Invertible changes of the hidden bases of a network, and the tangent space of all networks they reach."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jacrev

from numerics.networks import DeepLinear, Direction, flatten, unflatten


def transformed(net: DeepLinear, changes: Sequence[Tensor]) -> DeepLinear:
    """Return the network in other hidden bases, w_i -> g_i w_i g_{i-1}^{-1} with g_0 = g_d = 1.

    changes are the invertible g_1, ..., g_{d-1}, g_i of shape (*S, n_i, n_i).
    """
    _fitting(net, changes)
    layers = list(net.weights)
    for i, g in enumerate(changes):
        layers[i] = g @ layers[i]
        layers[i + 1] = torch.linalg.solve(g, layers[i + 1], left=False)
    return DeepLinear(tuple(layers))


def tangent(net: DeepLinear) -> Tensor:
    """Return the derivative of `transformed` at g_i = 1, (P, sum of the n_i^2), rows in the order of flatten.

    For one network, without batch dimensions.
    """
    hidden = net.widths[1:-1]
    if not hidden:
        return torch.zeros((net.parameters, 0), dtype=torch.float64, device=net.device)
    sizes = [n * n for n in hidden]

    def weights(flat: Tensor) -> Tensor:
        changes = [part.reshape(n, n) for part, n in zip(flat.split(sizes), hidden, strict=True)]
        return flatten(transformed(net, changes).weights)

    ones = torch.cat([torch.eye(n, dtype=torch.float64, device=net.device).flatten() for n in hidden])
    return jacrev(weights)(ones)


def move(net: DeepLinear, generators: Sequence[Tensor]) -> Direction:
    """Return the derivative of `transformed` at g_i = 1 along the generators m_1, ..., m_{d-1}."""
    _fitting(net, generators)
    if not generators:
        return tuple(torch.zeros_like(w) for w in net.weights)
    return unflatten(tangent(net) @ torch.cat([m.flatten() for m in generators]), net.widths)


def _fitting(net: DeepLinear, changes: Sequence[Tensor]) -> None:
    shapes, hidden = [tuple(g.shape[-2:]) for g in changes], net.widths[1:-1]
    if shapes != [(n, n) for n in hidden]:
        raise ValueError(f"changes: shapes {shapes} given, allowed: square, of the hidden widths {hidden}")
