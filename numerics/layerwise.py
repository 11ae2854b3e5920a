"""Curvature of single layers: H_i = (B_i S B_i^T) kron (A_i^T A_i), the diagonal blocks of the Hessian+.

Only SVDs of A_i and B_i S^(1/2) are taken; cut-offs are relative to their largest product.
"""

import torch
from torch import Tensor

from numerics import spectral
from numerics.networks import DeepLinear, Direction
from numerics.problems import Problem


def layer_power(net: DeepLinear, problem: Problem, power: float, *, cutoff: float | None = None) -> Direction:
    """Return H_i^power g_i for every layer, H_i = (B_i S B_i^T) kron (A_i^T A_i), by two SVDs a layer."""
    error = problem.error(net)
    whitened = error if problem.root is None else error @ problem.root
    found = []
    for a, b in zip(net.lefts(), net.rights(), strict=True):
        upper = torch.linalg.svd(a, full_matrices=False)
        lower = torch.linalg.svd(b if problem.root is None else b @ problem.root, full_matrices=False)
        weights = _layer_weights(upper.S, lower.S, 2 * power + 1, spectral.checked(cutoff))
        core = weights * (upper.U.mT @ whitened @ lower.Vh.mT)
        found.append(upper.Vh.mT @ core @ lower.U.mT)
    return tuple(found)


def layer_dual(
    net: DeepLinear,
    error: Tensor,
    power: float,
    layer: int,
    *,
    cutoff: float | None = None,
    root: Tensor | None = None,
) -> Tensor:
    """Return X_i with A_i^T X_i B_i^T = H_i^power g_i, (*S, n_d, n_0), by two SVDs."""
    b = net.right(layer)
    upper = torch.linalg.svd(net.left(layer), full_matrices=False)
    lower = torch.linalg.svd(b if root is None else b @ root, full_matrices=False)
    weights = _layer_weights(upper.S, lower.S, 2 * power, spectral.checked(cutoff))
    whitened = error if root is None else error @ root
    found = upper.U @ (weights * (upper.U.mT @ whitened @ lower.Vh.mT)) @ lower.Vh
    return found if root is None else found @ root


def _layer_weights(upper: Tensor, lower: Tensor, exponent: float, cutoff: float) -> Tensor:
    products = upper[..., :, None] * lower[..., None, :]
    kept = products > cutoff * products[..., :1, :1]
    return torch.where(kept, torch.where(kept, products, 1.0) ** exponent, 0.0)
