"""The assumptions of paper A, each with a test that measures it on a setting."""

from __future__ import annotations

import torch
from torch import Tensor

from numerics.curvature import kernel
from tests.checker.claim import Assumption
from tests.claims.settings import Setting

_TINY = 1e-10


def _identity_covariance(setting: Setting) -> bool:
    inputs = setting.problem.covariance
    return inputs is None or bool((inputs - torch.eye(inputs.shape[-1], dtype=inputs.dtype)).abs().max() < _TINY)


def _off_diagonal(matrix: Tensor, rank: int) -> float:
    mask = torch.ones_like(matrix)
    mask.diagonal(dim1=-2, dim2=-1)[..., :rank] = 0
    return float((matrix * mask).abs().max())


def _aligned(setting: Setting) -> bool:
    if setting.frame is None:
        return False
    first, last = setting.frame.bases[0], setting.frame.bases[-1]
    teacher = last.mT @ setting.problem.teacher @ first
    leak = float(setting.frame.leak(setting.net).max())
    return max(leak, _off_diagonal(teacher, min(teacher.shape[-2:]))) < _TINY


def _modes(setting: Setting) -> Tensor:
    if setting.frame is None:
        raise ValueError("frame: none given, allowed: a setting built by `aligned`")
    return setting.frame.modes(setting.net)


def _zero_factors(setting: Setting) -> Tensor:
    return (_modes(setting).abs() < _TINY).sum(-2)


def _full_row_rank(setting: Setting) -> bool:
    values = torch.linalg.eigvalsh(kernel(setting.net))
    return bool((values[..., 0] > _TINY * values[..., -1]).all())


def _definite(setting: Setting) -> bool:
    inputs = setting.problem.covariance
    return inputs is None or bool(torch.linalg.eigvalsh(inputs)[0] > _TINY)


def _hidden(setting: Setting) -> tuple[int, ...]:
    return setting.net.widths[1:-1]


def _ends(setting: Setting) -> tuple[int, int]:
    return setting.net.widths[0], setting.net.widths[-1]


def _full_rank(setting: Setting) -> bool:
    return all(bool((torch.linalg.svdvals(w)[..., -1] > _TINY).all()) for w in setting.net.weights)


ALIGNED = Assumption(
    "aligned",
    "neighbouring layers share singular vectors, and the outermost ones are those of the teacher map",
    _aligned,
)
ACTIVE = Assumption("active", "at most one layer of each mode is zero", lambda s: bool((_zero_factors(s) <= 1).all()))
COUPLED = Assumption(
    "all couplings non-zero", "no layer of any mode is zero", lambda s: bool((_zero_factors(s) == 0).all())
)
WHITENED = Assumption("whitened inputs", "the input covariance is the identity", _identity_covariance)
DEFINITE = Assumption("definite covariance", "the input covariance is positive definite", _definite)
BALANCED = Assumption("balanced", "all balance matrices vanish", lambda s: bool((s.net.imbalance() < _TINY).all()))
FULL_ROW_RANK = Assumption("full row rank", "the Jacobian of the map has full row rank", _full_row_rank)
FULL_RANK = Assumption("full-rank layers", "every layer has full rank", _full_rank)
WIDE_AS_MIN = Assumption(
    "no bottleneck",
    "every hidden layer is at least as wide as the narrower end",
    lambda s: min(_hidden(s), default=min(_ends(s))) >= min(_ends(s)),
)
WIDE_AS_MAX = Assumption(
    "wide hidden layers",
    "every hidden layer is at least as wide as the wider end",
    lambda s: min(_hidden(s), default=max(_ends(s))) >= max(_ends(s)),
)
