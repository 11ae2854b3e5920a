"""Deep linear networks W = w_d ... w_1 and directions in their parameter space.

Layers are counted 1..d, weights[i-1] = w_i of shape (*S, n_i, n_{i-1}). A direction is a tuple of tensors
of the weights' shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Direction = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DeepLinear:
    """The map x -> w_d ... w_1 x; weights[i-1] = w_i has shape (*S, n_i, n_{i-1}), float64.

    Raises ValueError when there is no layer, a shape does not chain, or a dtype is not float64.
    """

    weights: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        if not self.weights:
            raise ValueError("weights: 0 layers given, allowed: at least 1")
        below: tuple[int, ...] = ()
        for i, w in enumerate(self.weights, start=1):
            shape = tuple(w.shape)
            if w.dtype != torch.float64:
                raise ValueError(f"weights: layer {i} has dtype {w.dtype}, allowed: torch.float64")
            if len(shape) < 2:
                raise ValueError(f"weights: layer {i} has shape {shape}, allowed: (*S, n_{i}, n_{i - 1})")
            if below and (shape[:-2] != below[:-2] or shape[-1] != below[-2]):
                raise ValueError(f"weights: layer {i} has shape {shape}, layer {i - 1} has {below}: no match")
            below = shape

    @property
    def depth(self) -> int:
        """The number of layers d."""
        return len(self.weights)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths (n_0, ..., n_d)."""
        return (self.weights[0].shape[-1], *(w.shape[-2] for w in self.weights))

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading batch shape S."""
        return tuple(self.weights[0].shape[:-2])

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.weights[0].device

    @property
    def parameters(self) -> int:
        """The number of parameters P of one network."""
        return sum(a * b for a, b in zip(self.widths[1:], self.widths, strict=False))

    def product(self) -> Tensor:
        """Return the end-to-end map W = w_d ... w_1 of shape (*S, n_d, n_0)."""
        return _chain(self.weights)

    def left(self, i: int) -> Tensor:
        """Return A_i = w_d ... w_{i+1} of shape (*S, n_d, n_i), the identity for i = d."""
        self._layer(i)
        return _chain(self.weights[i:]) if i < self.depth else self._identity(self.depth)

    def right(self, i: int) -> Tensor:
        """Return B_i = w_{i-1} ... w_1 of shape (*S, n_{i-1}, n_0), the identity for i = 1."""
        self._layer(i)
        return _chain(self.weights[: i - 1]) if i > 1 else self._identity(0)

    def lefts(self) -> tuple[Tensor, ...]:
        """Return (A_1, ..., A_d) with d - 2 products."""
        found = [self._identity(self.depth)]
        for k, w in enumerate(reversed(self.weights[1:])):
            found.append(found[-1] @ w if k else w)
        return tuple(reversed(found))

    def rights(self) -> tuple[Tensor, ...]:
        """Return (B_1, ..., B_d) with d - 2 products."""
        found = [self._identity(0)]
        for k, w in enumerate(self.weights[:-1]):
            found.append(w @ found[-1] if k else w)
        return tuple(found)

    def balance(self, i: int) -> Tensor:
        """Return C_i = w_i w_i^T - w_{i+1}^T w_{i+1} of shape (*S, n_i, n_i), i = 1..d-1."""
        if not 1 <= i < self.depth:
            raise ValueError(f"i: {i} given, allowed: 1 <= i <= {self.depth - 1}")
        below, above = self.weights[i - 1], self.weights[i]
        return below @ below.mT - above.mT @ above

    def imbalance(self) -> Tensor:
        """Return the largest absolute entry of all C_i, shape S (0 for a single layer)."""
        if self.depth == 1:
            return torch.zeros(self.batch, dtype=torch.float64, device=self.device)
        return torch.stack([self.balance(i).abs().amax((-2, -1)) for i in range(1, self.depth)]).amax(0)

    def replace(self, weights: Sequence[Tensor]) -> "DeepLinear":
        """Return the network with other weights of the same shapes."""
        matching(self, tuple(weights), "weights")
        return DeepLinear(tuple(weights))

    def add(self, direction: Direction, scale: float | Tensor = 1.0) -> "DeepLinear":
        """Return the network with weights w_i + scale direction_i; scale is a number or has shape S."""
        matching(self, direction)
        if isinstance(scale, Tensor):
            scale = scale[..., None, None]
        return DeepLinear(tuple(w + scale * v for w, v in zip(self.weights, direction, strict=True)))

    def norm(self) -> Tensor:
        """Return the Euclidean norm of all parameters, shape S."""
        return norm(self.weights)

    def at(self, index: int | slice | Tensor) -> "DeepLinear":
        """Return the networks at an index of the first batch dimension."""
        if not self.batch:
            raise ValueError("index: the network has no batch dimension to index")
        return DeepLinear(tuple(w[index] for w in self.weights))

    def _layer(self, i: int) -> None:
        if not 1 <= i <= self.depth:
            raise ValueError(f"i: {i} given, allowed: 1 <= i <= {self.depth}")

    def _identity(self, layer: int) -> Tensor:
        n = self.widths[layer]
        return torch.eye(n, dtype=torch.float64, device=self.device).expand(*self.batch, n, n)


def matching(net: DeepLinear, direction: Direction, name: str = "direction") -> None:
    """Raise ValueError unless the direction has exactly the shapes of the network's weights."""
    if len(direction) != net.depth:
        raise ValueError(f"{name}: {len(direction)} layers given, allowed: {net.depth}")
    for i, (v, w) in enumerate(zip(direction, net.weights, strict=True), start=1):
        if v.shape != w.shape:
            raise ValueError(f"{name}: layer {i} has shape {tuple(v.shape)}, allowed: {tuple(w.shape)}")


def norm(direction: Direction) -> Tensor:
    """Return the Euclidean norm over all layers of a direction, shape S."""
    return torch.stack([v.square().sum((-2, -1)) for v in direction]).sum(0).sqrt()


def inner(first: Direction, second: Direction) -> Tensor:
    """Return the Euclidean inner product of two directions, shape S."""
    return torch.stack([(a * b).sum((-2, -1)) for a, b in zip(first, second, strict=True)]).sum(0)


def scaled(direction: Direction, factor: float) -> Direction:
    """Return factor times a direction."""
    return tuple(factor * v for v in direction)


def vec(matrix: Tensor) -> Tensor:
    """Return the column-major vec of a matrix: (*S, m, n) -> (*S, m n)."""
    return matrix.mT.flatten(-2)


def unvec(vector: Tensor, rows: int, columns: int) -> Tensor:
    """Return the matrix (*S, rows, columns) whose column-major vec is given."""
    return vector.unflatten(-1, (columns, rows)).mT


def flatten(direction: Direction) -> Tensor:
    """Return (*S, P): the column-major vecs of layers 1..d one after the other."""
    return torch.cat([vec(v) for v in direction], dim=-1)


def unflatten(vector: Tensor, widths: Sequence[int]) -> Direction:
    """Return the direction of a network with widths (n_0..n_d) whose flatten is the vector (*S, P)."""
    sizes = [a * b for a, b in zip(widths[1:], widths, strict=False)]
    if vector.shape[-1] != sum(sizes):
        given, allowed = vector.shape[-1], f"{sum(sizes)} for widths {tuple(widths)}"
        raise ValueError(f"vector: last size {given} given, allowed: {allowed}")
    parts = vector.split(sizes, dim=-1)
    return tuple(unvec(p, widths[i + 1], widths[i]) for i, p in enumerate(parts))


def _chain(weights: Sequence[Tensor]) -> Tensor:
    found = weights[0]
    for w in weights[1:]:
        found = w @ found
    return found
