"""Initial weights.

Random numbers are drawn on the generator's device and then moved, so that the same seed gives the same
network everywhere. seeds = None gives one network, an integer a batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from numerics.device import resolve
from numerics.frames import Frame, aligned_teacher, haar, haars, normal
from numerics.networks import DeepLinear

__all__ = [
    "Frame",
    "aligned",
    "aligned_teacher",
    "balanced",
    "bottleneck",
    "gaussian",
    "haar",
    "normal",
    "orthogonal",
    "with_product",
]


def gaussian(
    widths: Sequence[int],
    generator: torch.Generator,
    *,
    scale: float = 1.0,
    seeds: int | None = None,
    device: str | torch.device | None = None,
) -> DeepLinear:
    """Return layers of independent normal entries with standard deviation scale / sqrt(n_{i-1})."""
    _widths(widths)
    pairs = zip(widths, widths[1:], strict=False)
    return _placed([scale / n**0.5 * normal((m, n), generator, seeds) for n, m in pairs], device)


def bottleneck(
    widths: Sequence[int],
    generator: torch.Generator,
    *,
    scale: float = 1.0,
    seeds: int | None = None,
    device: str | torch.device | None = None,
) -> DeepLinear:
    """Return a Gaussian network with a hidden width below both n_0 and n_d (ValueError otherwise)."""
    if len(widths) < 3 or min(widths[1:-1]) >= min(widths[0], widths[-1]):
        raise ValueError(f"widths: {tuple(widths)} given, allowed: a hidden width below both ends")
    return gaussian(widths, generator, scale=scale, seeds=seeds, device=device)


def orthogonal(
    widths: Sequence[int],
    generator: torch.Generator,
    *,
    gain: float = 1.0,
    seeds: int | None = None,
    device: str | torch.device | None = None,
) -> DeepLinear:
    """Return semi-orthogonal layers: all min(n_i, n_{i-1}) singular values equal gain."""
    _widths(widths)
    pairs = zip(widths, widths[1:], strict=False)
    return _placed([gain * haar(max(m, n), generator, seeds)[..., :m, :n] for n, m in pairs], device)


def aligned(
    modes: Tensor,
    widths: Sequence[int],
    generator: torch.Generator,
    *,
    left: Tensor | None = None,
    right: Tensor | None = None,
    seeds: int | None = None,
    device: str | torch.device | None = None,
) -> tuple[DeepLinear, Frame]:
    """Return w_i = Q_i D_i Q_{i-1}^T, signed mode values (*S, d, r) on the diagonals of D_i, and its frame.

    The Q_i are uniform; left replaces Q_d and right replaces Q_0. seeds draws that many frames for one
    table of modes. Raises ValueError when r exceeds the smallest width or the depth does not fit.
    """
    _widths(widths)
    if modes.ndim > 2 and seeds is not None and modes.shape[:-2] != (seeds,):
        allowed = f"the batch {tuple(modes.shape[:-2])} of modes, or None"
        raise ValueError(f"seeds: {seeds} given, allowed: {allowed}")
    depth, rank = modes.shape[-2:]
    if depth != len(widths) - 1 or rank > min(widths):
        allowed = f"(*S, {len(widths) - 1}, r) with r <= {min(widths)}"
        raise ValueError(f"modes: shape {tuple(modes.shape)} given, allowed: {allowed}")
    batch = tuple(modes.shape[:-2]) or (() if seeds is None else (seeds,))
    bases = [haars(n, generator, batch) for n in widths]
    for place, given in ((0, right), (-1, left)):
        if given is not None:
            bases[place] = given.to(generator.device).expand_as(bases[place])
    values = modes.to(generator.device, torch.float64).expand(*batch, depth, rank)
    layers = [bases[i + 1][..., :rank] * values[..., i, None, :] @ bases[i][..., :rank].mT for i in range(depth)]
    where = generator.device if device is None else resolve(device)
    return _placed(layers, device), Frame(tuple(q.to(where) for q in bases), rank)


def balanced(
    widths: Sequence[int],
    generator: torch.Generator,
    *,
    product: Tensor | None = None,
    singular_values: Tensor | None = None,
    gauge: bool = True,
    seeds: int | None = None,
    device: str | torch.device | None = None,
) -> DeepLinear:
    """Return a network with C_i = 0 (up to rounding) and a prescribed end-to-end map.

    Give either the product (*S, n_d, n_0), or its singular values (*S, r) between uniform bases. gauge turns
    every hidden layer by a uniform orthogonal matrix. Raises ValueError when a hidden layer is narrower
    than the rank.
    """
    _widths(widths)
    u, s, v = _target(widths, generator, product, singular_values, seeds)
    rank, depth, batch = s.shape[-1], len(widths) - 1, tuple(s.shape[:-1])
    bases = [v]
    for n in widths[1:-1]:
        full = haars(n, generator, batch) if gauge else torch.eye(n, dtype=s.dtype, device=s.device)
        bases.append(full[..., :rank].expand(*batch, n, rank))
    bases.append(u)
    root = s[..., None, :] ** (1 / depth)
    return _placed([bases[i + 1] * root @ bases[i].mT for i in range(depth)], device)


def with_product(
    product: Tensor,
    widths: Sequence[int],
    generator: torch.Generator,
    *,
    strength: float = 0.5,
    seeds: int | None = None,
    device: str | torch.device | None = None,
) -> DeepLinear:
    """Return an unbalanced network with the prescribed end-to-end map (*S, n_d, n_0).

    A balanced network gets random weights in the directions which its product does not see and a random
    invertible change of hidden bases, 1 + strength times a Gaussian matrix of unit spectral scale.
    """
    net = balanced(widths, generator, product=product, seeds=seeds)
    batch, layers = net.batch, list(net.weights)
    for i in range(net.depth - 1):
        unseen = normal((*batch, *layers[i].shape[-2:]), generator)
        layers[i] = layers[i] + strength * _complement(layers[i]) @ unseen @ _complement(layers[i].mT)
    for i, n in enumerate(net.widths[1:-1]):
        noise = normal((*batch, n, n), generator) / (2 * n**0.5)
        change = torch.eye(n, dtype=noise.dtype, device=noise.device) + strength * noise
        layers[i] = change @ layers[i]
        layers[i + 1] = torch.linalg.solve(change, layers[i + 1], left=False)
    return _placed(layers, device)


def _complement(matrix: Tensor) -> Tensor:
    u, s, _ = torch.linalg.svd(matrix, full_matrices=True)
    rank = int((s > 1e-12 * s[..., :1]).sum(-1).max())
    rest = u[..., rank:]
    return rest @ rest.mT


def _target(
    widths: Sequence[int],
    generator: torch.Generator,
    product: Tensor | None,
    singular_values: Tensor | None,
    seeds: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    if (product is None) == (singular_values is None):
        raise ValueError("product: give either product or singular_values, and not both")
    if product is not None:
        if tuple(product.shape[-2:]) != (widths[-1], widths[0]):
            allowed = f"(*S, {widths[-1]}, {widths[0]})"
            raise ValueError(f"product: shape {tuple(product.shape)} given, allowed: {allowed}")
        given = product.to(generator.device)
        if given.ndim == 2 and seeds is not None:
            given = given.expand(seeds, *given.shape)
        u, s, vh = torch.linalg.svd(given, full_matrices=False)
        rank = max(1, int((s > 1e-14 * s[..., :1]).sum(-1).max()))
        u, s, v = u[..., :rank], s[..., :rank], vh.mT[..., :rank]
    else:
        assert singular_values is not None
        s = singular_values.to(generator.device, torch.float64)
        if s.shape[-1] > min(widths[0], widths[-1]) or bool((s < 0).any()):
            allowed = "at most min(n_0, n_d), none negative"
            raise ValueError(f"singular_values: {s.tolist()} given, allowed: {allowed}")
        s = s.expand(seeds, s.shape[-1]) if s.ndim == 1 and seeds is not None else s
        batch, rank = tuple(s.shape[:-1]), s.shape[-1]
        u, v = (haars(n, generator, batch)[..., :rank] for n in (widths[-1], widths[0]))
    if len(widths) > 2 and rank > min(widths[1:-1]):
        narrow = min(widths[1:-1])
        raise ValueError(f"widths: hidden width {narrow} given, allowed: >= {rank}, the rank of the map")
    return u, s, v


def _widths(widths: Sequence[int]) -> None:
    if len(widths) < 2 or min(widths) < 1:
        allowed = "(n_0, ..., n_d) with d >= 1 and all n_i >= 1"
        raise ValueError(f"widths: {tuple(widths)} given, allowed: {allowed}")


def _placed(layers: Sequence[Tensor], device: str | torch.device | None) -> DeepLinear:
    if device is None:
        return DeepLinear(tuple(layers))
    return DeepLinear(tuple(w.to(resolve(device)) for w in layers))
