"""Fully connected networks with elementwise activations: outputs, losses, Fisher matrices, update rules.

Samples are columns: x is (n_0, samples). Layer i holds w_i (n_i, n_{i-1}) and, with biases, b_i (n_i, 1). The flat
order of parameters is w_1, b_1, w_2, b_2, ..., each row by row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.func import jacrev

from numerics.frames import normal

Loss = Literal["squares", "cross-entropy"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "leaky-relu": lambda z: torch.where(z > 0, z, 0.2 * z),
    "square": torch.square,
    "relu-squared": lambda z: torch.relu(z).square(),
    "tanh": torch.tanh,
    "softplus": lambda z: torch.nn.functional.softplus(z),
}
RULES = (
    "gradient",
    "natural",
    "fractional",
    "damped",
    "empirical-natural",
    "block-natural",
    "diagonal",
    "sign",
)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """x -> w_d phi(... phi(w_1 x + b_1)) + b_d with the named activation phi; biases may be left out.

    Raises ValueError for an unknown activation or biases that do not fit.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...] = ()
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: {self.activation!r} given, allowed: {', '.join(ACTIVATIONS)}")
        shapes = [tuple(b.shape) for b in self.biases]
        if self.biases and shapes != [(w.shape[0], 1) for w in self.weights]:
            raise ValueError(f"biases: shapes {shapes} given, allowed: none, or (n_i, 1) for each layer")

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """All weights and biases in the flat order."""
        if not self.biases:
            return self.weights
        return tuple(part for pair in zip(self.weights, self.biases, strict=True) for part in pair)

    def with_parameters(self, parts: tuple[Tensor, ...]) -> "Network":
        """Return the network with other weights and biases, in the flat order."""
        biases = parts[1::2] if self.biases else ()
        return Network(parts[::2] if self.biases else parts, biases, self.activation)

    def from_flat(self, flat: Tensor) -> "Network":
        """Return the network with the parameters of a vector (P,)."""
        pieces = flat.split([p.numel() for p in self.parameters])
        return self.with_parameters(
            tuple(piece.reshape(p.shape) for piece, p in zip(pieces, self.parameters, strict=True))
        )

    def flat(self) -> Tensor:
        """Return all parameters as a vector (P,)."""
        return torch.cat([p.flatten() for p in self.parameters])

    def add(self, direction: Tensor, scale: float = 1.0) -> "Network":
        """Return the network moved by scale times a flat direction (P,)."""
        return self.from_flat(self.flat() + scale * direction)

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs (n_d, samples)."""
        return self.layers(x)[-1]

    def layers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the pre-activations (n_i, samples) of layers 1..d; the last ones are the outputs."""
        found: list[Tensor] = []
        for i, w in enumerate(self.weights):
            seen = ACTIVATIONS[self.activation](found[-1]) if i else x
            found.append(w @ seen + self.biases[i] if self.biases else w @ seen)
        return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Inputs x (n_0, samples) with targets y (n_d, samples): numbers, or probabilities for the cross-entropy."""

    x: Tensor
    y: Tensor
    loss: Loss = "squares"

    def value(self, net: Network) -> Tensor:
        """Return the mean loss over the samples."""
        out = net.outputs(self.x)
        if self.loss == "squares":
            return (out - self.y).square().sum(0).mean() / 2
        return -(self.y * torch.log_softmax(out, 0)).sum(0).mean()

    def residual(self, net: Network) -> Tensor:
        """Return the derivative of each sample's loss with respect to its outputs, (n_d, samples)."""
        out = net.outputs(self.x)
        return (out if self.loss == "squares" else torch.softmax(out, 0)) - self.y

    def root(self, net: Network) -> Tensor:
        """Return R (samples, n_d, n_d) with R^T R the second derivative of each sample's loss in its outputs."""
        count, n = self.x.shape[1], self.y.shape[0]
        if self.loss == "squares":
            return torch.eye(n, dtype=torch.float64).expand(count, n, n)
        p = torch.softmax(net.outputs(self.x), 0).mT
        # (1 - p 1^T) diag(p) (1 - 1 p^T) = diag(p) - p p^T
        return p.sqrt()[:, :, None] * (torch.eye(n, dtype=torch.float64) - p[:, None, :])


def jacobian(net: Network, x: Tensor) -> Tensor:
    """Return the derivative of each sample's outputs with respect to the parameters, (samples, n_d, P)."""
    return jacrev(lambda flat: net.from_flat(flat).outputs(x).mT)(net.flat())


def gradient(net: Network, task: Task) -> Tensor:
    """Return the derivative of the mean loss, (P,), by automatic differentiation."""
    return jacrev(lambda flat: task.value(net.from_flat(flat)))(net.flat())


@lru_cache(maxsize=256)
def velocity(net: Network, task: Task, rule: str, q: float = 2.0, epsilon: float = 0.1) -> Tensor:
    """Return dw/dt (P,) of a rule at eta = 1.

    natural, fractional, damped: -F^+ g, -F^{-1/q} g, -(epsilon + F)^{-1} g with the generalised Fisher matrix F;
    empirical-natural: the same as natural with the mean of outer products of the samples' gradients;
    block-natural: natural with the blocks of single layers; diagonal: -g / (epsilon + diag F)^{1/2}; sign: -sign g.
    """
    if rule not in RULES:
        raise ValueError(f"rule: {rule!r} given, allowed: {', '.join(RULES)}")
    g = gradient(net, task)
    if rule == "gradient":
        return -g
    if rule == "sign":
        return -g.sign()
    factor = fisher_factor(net, task, empirical=rule == "empirical-natural")
    if rule == "diagonal":
        return -g / (epsilon + factor.square().sum(0)).sqrt()
    if rule == "block-natural":
        own = [p.numel() for p in net.parameters]
        sizes = [a + b for a, b in zip(own[::2], own[1::2], strict=True)] if net.biases else own
        parts = zip(factor.split(sizes, 1), g.split(sizes), strict=True)
        return -torch.cat([_filtered(m, part, lambda s: s**-2) for m, part in parts])
    filters = {"fractional": lambda s: s ** (-2 / q), "damped": lambda s: 1 / (epsilon + s**2)}
    return -_filtered(factor, g, filters.get(rule, lambda s: s**-2))


def fisher_factor(net: Network, task: Task, empirical: bool = False) -> Tensor:
    """Return M (rows, P) with M^T M the generalised Fisher matrix, or the empirical one."""
    derivative, count = jacobian(net, task.x), task.x.shape[1]
    left = task.residual(net).mT[:, None, :] if empirical else task.root(net)
    return (left @ derivative).flatten(0, 1) / count**0.5


def _filtered(factor: Tensor, g: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """function(s) g for a g in the row space of M, on its singular values above 1e-10 of the largest."""
    _, s, vh = torch.linalg.svd(factor, full_matrices=False)
    kept = s > 1e-10 * s[0]
    return vh[kept].mT @ (function(s[kept]) * (vh[kept] @ g))


def gaussian(
    widths: tuple[int, ...],
    draw: torch.Generator,
    *,
    activation: str = "relu",
    biases: bool = False,
    scale: float = 1.0,
) -> Network:
    """Return a network with independent normal weights of deviation scale / sqrt(n_{i-1}) and biases of 0.3 scale."""
    weights = tuple(scale / n**0.5 * normal((m, n), draw) for n, m in zip(widths, widths[1:], strict=False))
    shifts = tuple(0.3 * scale * normal((m, 1), draw) for m in widths[1:]) if biases else ()
    return Network(weights, shifts, activation)
