"""Networks of neurons with activations: settings of the claims, their assumptions, letters of single neurons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from derivations.code import value
from derivations.deep_linear.homogeneous import BIAS, DEGREE, INCOMING, OUTGOING
from numerics.device import generator
from numerics.frames import normal
from numerics.homogeneous import ACTIVATIONS, Network, Task, gaussian, jacobian
from tests.checker.claim import Assumption
from tests.claims.settings import array, sizes

DEGREES = {"linear": 1, "relu": 1, "leaky-relu": 1, "square": 2, "relu-squared": 2}
SAMPLES = 12


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A network with its task and the unit-length velocity of a rule there."""

    net: Network
    task: Task
    velocity: Tensor


def _within_reach(subject: Subject) -> bool:
    _, s, vh = torch.linalg.svd(jacobian(subject.net, subject.task.x).flatten(0, 1), full_matrices=False)
    seen = vh[s > 1e-10 * s[0]]
    return bool((subject.velocity - seen.mT @ (seen @ subject.velocity)).norm() < 1e-6)


def _homogeneous(subject: Subject) -> bool:
    z, function = torch.linspace(-2, 2, 9, dtype=torch.float64), ACTIVATIONS[subject.net.activation]
    degree = torch.log2(function(2 * z[-1]) / function(z[-1]))
    return bool((function(3 * z) - 3**degree * function(z)).abs().max() < 1e-10)


ORTHOGONAL = Assumption(
    "no part that the outputs ignore",
    "the update has no component that leaves the outputs for all samples unchanged",
    _within_reach,
)
HOMOGENEOUS = Assumption(
    "homogeneous activation",
    "scaling the input of an activation by c > 0 scales its output by a power of c",
    _homogeneous,
)


@lru_cache(maxsize=128)
def network(
    depth: int, widths: str | tuple[int, ...], activation: str, biases: bool, loss: str, seed: int
) -> tuple[Network, Task]:
    """A random network with random inputs and targets; the targets of the cross-entropy are classes."""
    n, draw = sizes(depth, widths), generator(seed)
    net = gaussian(n, draw, activation=activation, biases=biases, scale=1.2)
    x, y = normal((n[0], SAMPLES), draw), normal((n[-1], SAMPLES), draw)
    if loss == "cross-entropy":
        y = torch.nn.functional.one_hot(y.argmax(0), n[-1]).mT.to(torch.float64)
    return net, Task(x, y, loss)


def neurons(net: Network, whole: bool = False) -> list[dict]:
    """The letters of every hidden neuron, one batch a layer; or, if whole, of every hidden layer."""
    found = []
    for i, (w, above) in enumerate(zip(net.weights, net.weights[1:], strict=False)):
        b = net.biases[i] if net.biases else torch.zeros_like(w[:, :1])
        batch = (w, b, above) if whole else (w[:, None, :], b[:, None, :], above.mT[:, :, None])
        letters = dict(zip((INCOMING, BIAS, OUTGOING), map(array, batch), strict=True))
        found.append({**letters, DEGREE: DEGREES.get(net.activation, 1)})
    return found


def quantities(formula, net: Network, whole: bool = False) -> np.ndarray:
    """A quantity of all hidden neurons, or of all hidden layers, as a flat array."""
    return np.concatenate([np.ravel(value(formula, letters)) for letters in neurons(net, whole)])
