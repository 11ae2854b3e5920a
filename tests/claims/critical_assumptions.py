"""The assumptions of paper B, each with a test that measures it on a sample of networks with inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.checker.claim import Assumption
from tests.claims.critical import Sample, point

_TINY = 1e-10


def _orthogonal(sample: Sample) -> bool:
    return all(_isometric(w) for w in sample.net.weights)


def _isometric(w: Tensor) -> bool:
    """Whether all singular values of a (stack of) weights agree."""
    gram = w @ w.mT if w.shape[-2] <= w.shape[-1] else w.mT @ w
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return bool(((gram / scale - eye).abs() < _TINY).all())


def _critical(sample: Sample) -> bool:
    """Whether the sample was drawn with the variances of the critical point that it names."""
    at, n = point(sample.net.activation, sample.qstar), sample.net.widths
    mean_square = torch.stack([w.square().sum((-2, -1)) / w.shape[-2] for w in sample.net.weights])
    count = min(a * b for a, b in zip(n[1:], n, strict=False))
    return bool(((mean_square / at.sigma_w**2 - 1).abs() < 6 * (2 / count) ** 0.5 + _TINY).all())


ORTHOGONAL = Assumption("orthogonal weights", "all singular values of each hidden weight matrix agree", _orthogonal)
CRITICAL = Assumption(
    "critical initialisation",
    "weights and biases have the variances at which lengths rest at q* and chi is 1",
    _critical,
)
ODD = Assumption(
    "odd activation",
    "the activation is an odd function",
    lambda sample: sample.net.activation in ("linear", "tanh", "erf", "hard-tanh"),
)
SINGLE_INPUT = Assumption("one input", "there is a single input", lambda sample: sample.x.shape[-1] == 1)
