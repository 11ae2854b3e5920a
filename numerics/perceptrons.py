"""Multilayer perceptrons with a linear readout, batched over networks: activations, slopes and Jacobians.

Samples are columns: x is (N_0, T), or (*S, N_0, T) with inputs of its own for every network. Layers are counted
1..L, weights[l-1] = W^l of shape (*S, N_l, N_{l-1}).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import jacrev

from numerics.networks import unvec, vec

Parameters = Literal["hidden", "weights", "all"]
_STEEP = math.sqrt(math.pi) / 2
# each activation with its derivative; erf is scaled to slope 1 at the origin
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "linear": (lambda h: h, torch.ones_like),
    "tanh": (torch.tanh, lambda h: torch.cosh(h).pow(-2)),
    "erf": (lambda h: torch.erf(_STEEP * h), lambda h: torch.exp(-((_STEEP * h) ** 2))),
    "relu": (torch.relu, lambda h: (h > 0).to(h.dtype)),
    "hard-tanh": (lambda h: h.clamp(-1, 1), lambda h: (h.abs() < 1).to(h.dtype)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Perceptron:
    """x^l = phi(W^l x^{l-1} + b^l) for l = 1..L and outputs h^g = W^g x^L + b^g (B eq. 1).

    weights[l-1] is (*S, N_l, N_{l-1}), biases[l-1] is (*S, N_l), readout W^g is (*S, N_g, N_L), readout_bias (*S, N_g).
    Raises ValueError for an unknown activation, no layer, or shapes that do not chain.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    readout: Tensor
    readout_bias: Tensor
    activation: str = "tanh"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        object.__setattr__(self, "biases", tuple(self.biases))
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: {self.activation!r} given, allowed: {', '.join(ACTIVATIONS)}")
        if not self.weights:
            raise ValueError("weights: 0 layers given, allowed: at least 1")
        if len(self.biases) != len(self.weights):
            raise ValueError(f"biases: {len(self.biases)} given, allowed: one for each of {len(self.weights)} layers")
        below = tuple(self.weights[0].shape[:-2]), self.weights[0].shape[-1]
        layers = zip((*self.weights, self.readout), (*self.biases, self.readout_bias), strict=True)
        for i, (w, b) in enumerate(layers, start=1):
            name = f"layer {i}" if i <= self.depth else "readout"
            if (tuple(w.shape[:-2]), w.shape[-1]) != below:
                allowed = (*below[0], "n", below[1])
                raise ValueError(f"weights: {name} has shape {tuple(w.shape)}, allowed: {allowed}")
            if tuple(b.shape) != tuple(w.shape[:-1]):
                raise ValueError(f"biases: {name} has shape {tuple(b.shape)}, allowed: {tuple(w.shape[:-1])}")
            below = tuple(w.shape[:-2]), w.shape[-2]

    @property
    def depth(self) -> int:
        """The number L of hidden layers."""
        return len(self.weights)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths (N_0, ..., N_L)."""
        return (self.weights[0].shape[-1], *(w.shape[-2] for w in self.weights))

    @property
    def outputs(self) -> int:
        """The number N_g of outputs."""
        return self.readout.shape[-2]

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading batch shape S."""
        return tuple(self.readout.shape[:-2])

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.readout.device

    def forward(self, x: Tensor) -> "Pass":
        """Return all activations on inputs (N_0, T) or (*S, N_0, T); ValueError when they do not fit."""
        if x.ndim < 2 or x.shape[-2] != self.widths[0] or tuple(x.shape[:-2]) not in ((), self.batch):
            allowed = f"({self.widths[0]}, T) or {(*self.batch, self.widths[0], 'T')}"
            raise ValueError(f"x: shape {tuple(x.shape)} given, allowed: {allowed}")
        act, slope = ACTIVATIONS[self.activation]
        seen, before = [x.expand(*self.batch, *x.shape[-2:])], []
        for w, b in zip(self.weights, self.biases, strict=True):
            before.append(w @ seen[-1] + b[..., None])
            seen.append(act(before[-1]))
        out = self.readout @ seen[-1] + self.readout_bias[..., None]
        return Pass(self, tuple(seen), tuple(before), tuple(slope(h) for h in before), out)

    def at(self, index: int | slice | Tensor) -> "Perceptron":
        """Return the networks at an index of the first batch dimension."""
        if not self.batch:
            raise ValueError("index: the network has no batch dimension to index")
        weights, biases = (tuple(p[index] for p in parts) for parts in (self.weights, self.biases))
        return Perceptron(weights, biases, self.readout[index], self.readout_bias[index], self.activation)

    def replace(self, vector: Tensor, which: Parameters = "all") -> "Perceptron":
        """Return the unbatched network with the parameters of a vector (P,), in the order of ``blocks``."""
        parts = {name: vector[place] for name, place in blocks(self, which).items()}
        weights = tuple(_put(parts, f"W{i}", w) for i, w in enumerate(self.weights, start=1))
        biases = tuple(_put(parts, f"b{i}", b) for i, b in enumerate(self.biases, start=1))
        readout, shift = _put(parts, "Wg", self.readout), _put(parts, "bg", self.readout_bias)
        return Perceptron(weights, biases, readout, shift, self.activation)

    def flat(self, which: Parameters = "all") -> Tensor:
        """Return the parameters as (*S, P), in the order of ``blocks``: matrices by columns."""
        named = _named(self, which).values()
        return torch.cat([vec(p) if p.ndim == len(self.batch) + 2 else p for p in named], -1)


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """A forward pass: x = (x^0, ..., x^L), h = (h^1, ..., h^L) and slopes phi'(h^l), each (*S, N_l, T); outputs h^g."""

    net: Perceptron
    x: tuple[Tensor, ...]
    h: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    outputs: Tensor

    @property
    def samples(self) -> int:
        """The number T of samples."""
        return self.outputs.shape[-1]


def blocks(net: Perceptron, which: Parameters = "hidden") -> dict[str, slice]:
    """Return where W1, b1, W2, b2, ... (with "all" also Wg, bg) stand in a parameter vector; weights by columns."""
    found, start, lead = {}, 0, len(net.batch)
    for name, part in _named(net, which).items():
        size = math.prod(part.shape[lead:])
        found[name] = slice(start, start + size)
        start += size
    return found


def output_jacobians(found: Pass, left: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return J_l = d h^g / d h^l for l = 1..L, each (*S, T, N_g, N_l); with left R (*S, T, N_g, r) the R^T J_l."""
    return tuple(reversed([back for _, back in backward(found, left)]))


def backward(found: Pass, left: Tensor | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yield (l, J_l) from l = L down to 1, so that no more than one layer needs to be kept; left as above."""
    net, t = found.net, found.samples
    top = net.readout[..., None, :, :] if left is None else left.mT @ net.readout[..., None, :, :]
    back = top * found.slopes[-1].mT[..., None, :]
    yield net.depth, back
    for layer in range(net.depth - 1, 0, -1):
        below = (back.flatten(-3, -2) @ net.weights[layer]).unflatten(-2, (t, back.shape[-2]))
        back = below * found.slopes[layer - 1].mT[..., None, :]
        yield layer, back


def input_jacobian(found: Pass) -> Tensor:
    """Return d x^L / d x^0 = D^L W^L ... D^1 W^1 of every sample, (*S, T, N_L, N_0), by forward products."""
    net = found.net
    so_far = found.slopes[0].mT[..., :, None] * net.weights[0][..., None, :, :]
    for w, slope in zip(net.weights[1:], found.slopes[1:], strict=True):
        so_far = slope.mT[..., :, None] * (w[..., None, :, :] @ so_far)
    return so_far


def parameter_jacobian(net: Perceptron, x: Tensor, which: Parameters = "hidden") -> Tensor:
    """Return d h^g / d theta (T, N_g, P) of one network by automatic differentiation, columns as in ``blocks``."""
    if net.batch:
        raise ValueError(f"net: batch {net.batch} given, allowed: a single network")
    return jacrev(lambda flat: net.replace(flat, which).forward(x).outputs.mT)(net.flat(which))


def _named(net: Perceptron, which: Parameters) -> dict[str, Tensor]:
    if which not in ("hidden", "weights", "all"):
        raise ValueError(f"which: {which!r} given, allowed: 'hidden', 'weights', 'all'")
    found: dict[str, Tensor] = {}
    for i, (w, b) in enumerate(zip(net.weights, net.biases, strict=True), start=1):
        found[f"W{i}"] = w
        if which != "weights":
            found[f"b{i}"] = b
    return found | ({"Wg": net.readout, "bg": net.readout_bias} if which == "all" else {})


def _put(parts: dict[str, Tensor], name: str, old: Tensor) -> Tensor:
    if name not in parts:
        return old
    return unvec(parts[name], *old.shape) if old.ndim == 2 else parts[name]
