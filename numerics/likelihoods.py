"""Likelihoods of the outputs: log p(y | h^g), its Hessian, and square roots of the Hessian.

Outputs are columns, (*S, K, T); Hessians carry the samples in front, (*S, T, K, K).
"""

from typing import Literal

import torch
from torch import Tensor

Likelihood = Literal["identity", "softmax"]
LIKELIHOODS = ("identity", "softmax")


def hessians(kind: Likelihood, outputs: Tensor) -> Tensor:
    """Return -d^2 log p / dh dh for outputs (*S, K, T) as (*S, T, K, K).

    identity: Gaussian of unit variance, the unit matrix; softmax: diag(p) - p p^T. ValueError for another kind.
    """
    if _checked(kind) == "identity":
        return _identity(outputs)
    p = torch.softmax(outputs, -2).mT
    return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]


def roots(kind: Likelihood, outputs: Tensor) -> Tensor:
    """Return R (*S, T, K, r) with R R^T = ``hessians``; r = K for the identity, r = K - 1 for the softmax.

    The softmax root is the exact triangular one of diag(p) - p p^T; with tails s_j = p_j + ... + p_K its column j has
    sqrt(p_j s_{j+1} / s_j) on the diagonal and -p_i sqrt(p_j / (s_j s_{j+1})) below.
    """
    if _checked(kind) == "identity":
        return _identity(outputs)
    p = torch.softmax(outputs, -2).mT
    tails = p.flip(-1).cumsum(-1).flip(-1)
    here, after = tails[..., :-1], tails[..., 1:]
    # a tail that underflows belongs to classes of probability zero: their entries are zero too
    shared = torch.where(after > 0, (p[..., :-1] / here).sqrt() / after.sqrt(), 0.0)
    found = torch.tril(-p[..., :, None] * shared[..., None, :], -1)
    found.diagonal(dim1=-2, dim2=-1).copy_(torch.where(after > 0, (p[..., :-1] / here * after).sqrt(), 0.0))
    return found


def log_likelihood(kind: Likelihood, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return log p(y | h) of every sample, (*S, T), up to a constant for the Gaussian.

    labels: numbers (K, T) for the identity, class numbers (T,) for the softmax.
    """
    if _checked(kind) == "identity":
        return -(outputs - labels).square().sum(-2) / 2
    logs = torch.log_softmax(outputs, -2)
    return logs.gather(-2, labels.expand(*logs.shape[:-2], 1, logs.shape[-1]))[..., 0, :]


def _checked(kind: str) -> str:
    if kind not in LIKELIHOODS:
        raise ValueError(f"likelihood: {kind!r} given, allowed: {', '.join(LIKELIHOODS)}")
    return kind


def _identity(outputs: Tensor) -> Tensor:
    k, t = outputs.shape[-2:]
    return torch.eye(k, dtype=outputs.dtype, device=outputs.device).expand(*outputs.shape[:-2], t, k, k)
