"""Random perceptrons: Gaussian and orthogonal weights, Gaussian biases, and Gaussian inputs.

Random numbers are drawn on the generator's device and then moved. seeds = None gives one network, an integer a batch.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from numerics.device import resolve
from numerics.frames import haar, normal
from numerics.perceptrons import Perceptron

Ensemble = Literal["orthogonal", "gaussian"]


def perceptron(
    widths: Sequence[int],
    outputs: int,
    draw: torch.Generator,
    *,
    ensemble: Ensemble = "orthogonal",
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    readout: float = 1.0,
    readout_bias: float = 0.0,
    activation: str = "tanh",
    seeds: int | None = None,
    device: str | torch.device | None = None,
) -> Perceptron:
    """Return networks with weights of scale sigma_w and normal biases of deviation sigma_b.

    gaussian: independent entries of variance sigma_w^2 / N_{l-1}; orthogonal: sigma_w times a uniform (semi-)orthogonal
    matrix, with columns lengthened by sqrt(N_l / N_{l-1}) where N_l > N_{l-1} so that entries have the same variance.
    The readout is drawn from the same ensemble with scale readout and biases of deviation readout_bias. Raises
    ValueError for an unknown ensemble or sizes below 1.
    """
    sizes = (*widths, outputs)
    if len(sizes) < 3 or min(sizes) < 1:
        raise ValueError(f"widths: {tuple(widths)} given, allowed: (N_0, ..., N_L) with L >= 1, all at least 1")
    if ensemble not in _DRAWS:
        raise ValueError(f"ensemble: {ensemble!r} given, allowed: {', '.join(_DRAWS)}")
    scales = [(sigma_w, sigma_b)] * (len(sizes) - 2) + [(readout, readout_bias)]
    weights, biases = [], []
    for n, m, (scale, shift) in zip(sizes, sizes[1:], scales, strict=False):
        weights.append(scale * _DRAWS[ensemble](m, n, draw, seeds))
        biases.append(shift * normal((m,), draw, seeds))
    if device is not None:
        weights, biases = ([p.to(resolve(device)) for p in parts] for parts in (weights, biases))
    return Perceptron(tuple(weights[:-1]), tuple(biases[:-1]), weights[-1], biases[-1], activation)


def gaussian_inputs(
    n: int, count: int, variance: float, draw: torch.Generator, *, exact: bool = False, seeds: int | None = None
) -> Tensor:
    """Return independent normal inputs (*S, n, count) of the given variance.

    exact rescales every sample to |x|^2 / n = variance. Raises ValueError for a negative variance.
    """
    if not variance >= 0:
        raise ValueError(f"variance: {variance} given, allowed: variance >= 0")
    x = normal((n, count), draw, seeds)
    return with_mean_square(x, variance) if exact else variance**0.5 * x


def with_mean_square(x: Tensor, value: float) -> Tensor:
    """Return inputs rescaled sample by sample (columns) to |x|^2 / N_0 = value."""
    return x * (value / x.square().mean(-2, keepdim=True)).sqrt()


def _orthogonal(m: int, n: int, draw: torch.Generator, seeds: int | None) -> Tensor:
    """A uniform semi-orthogonal (m, n) matrix from a thin QR, with entries of variance 1 / n."""
    if m == n:
        return haar(n, draw, seeds)
    q, r = torch.linalg.qr(normal((max(m, n), min(m, n)), draw, seeds))
    # as in `haar`: the sign convention of the library would leave the distribution non-uniform
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return q.mT if m < n else (m / n) ** 0.5 * q


def _gaussian(m: int, n: int, draw: torch.Generator, seeds: int | None) -> Tensor:
    return normal((m, n), draw, seeds) / n**0.5


_DRAWS = {"orthogonal": _orthogonal, "gaussian": _gaussian}
