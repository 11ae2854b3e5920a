"""Losses of full perceptrons as functions of their parameters, with derivatives by automatic differentiation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev

from numerics.device import generator
from numerics.ensembles import perceptron
from numerics.frames import normal
from numerics.likelihoods import log_likelihood
from numerics.perceptrons import Parameters, Perceptron
from tests.claims.settings import array, sizes

Widths = str | tuple[int, ...]
OUTPUTS = 2
SAMPLES = 6


def whole(name: str, number: float, least: int = 1) -> int:
    """A number as an integer; ``ValueError`` unless it is one of at least ``least``."""
    if number != int(number) or number < least:
        raise ValueError(f"{name}: {number} given, allowed: integers >= {least}")
    return int(number)


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """Minus the mean log-likelihood (times ``sign``) of a network on samples; ``which`` parameters are free.

    ``start`` (P,) is where derivatives are taken; labels are numbers (K, T) or classes (T,).
    """

    net: Perceptron
    x: Tensor
    labels: Tensor
    start: Tensor
    kind: str = "identity"
    which: Parameters = "all"
    sign: float = 1.0

    def loss(self, flat: Tensor) -> Tensor:
        """The objective at parameters (P,)."""
        outputs = self.net.replace(flat, self.which).forward(self.x).outputs
        return -self.sign * log_likelihood(self.kind, outputs, self.labels).mean()

    def value(self, flat: Tensor) -> float:
        """The objective as a number."""
        return float(self.loss(flat))

    def slope(self, flat: Tensor) -> Tensor:
        """The gradient (P,)."""
        return grad(self.loss)(flat)

    def curvature(self, flat: Tensor) -> Tensor:
        """The Hessian (P, P)."""
        return hessian(self.loss)(flat)

    def outputs_by_parameters(self) -> Tensor:
        """The Jacobian (T, K, P) of the outputs at the start."""
        return jacrev(lambda flat: self.net.replace(flat, self.which).forward(self.x).outputs.mT)(self.start)

    def moved(self, start: Tensor) -> Objective:
        """The same objective with another start."""
        return replace(self, start=start)


@lru_cache(maxsize=64)
def task(depth: int, widths: Widths, activation: str, seed: int, kind: str = "identity") -> Objective:
    """A Gaussian network with biases on Gaussian samples with labels that have nothing to do with it."""
    draw, n = generator(seed), sizes(depth, widths, base=3)
    net = perceptron(n, OUTPUTS, draw, ensemble="gaussian", sigma_w=1.2, sigma_b=0.3, activation=activation)
    x = normal((n[0], SAMPLES), draw)
    if kind == "identity":
        labels = 2 * normal((OUTPUTS, SAMPLES), draw)
    else:
        labels = torch.randint(OUTPUTS, (SAMPLES,), generator=draw)
    return Objective(net, x, labels, net.flat("all"), kind)


@lru_cache(maxsize=64)
def minimum(depth: int, widths: Widths, activation: str, seed: int, which: Parameters = "all") -> Objective:
    """A network at an exact minimum: the labels are its own outputs."""
    found = task(depth, widths, activation, seed)
    return replace(found, labels=found.net.forward(found.x).outputs, start=found.net.flat(which), which=which)


@lru_cache(maxsize=64)
def spectrum(objective: Objective) -> tuple[np.ndarray, Tensor]:
    """Eigenvalues and eigenvectors of the Hessian at the start, ascending."""
    values, vectors = torch.linalg.eigh(objective.curvature(objective.start))
    return array(values), vectors


@lru_cache(maxsize=64)
def on_the_sharpest_axis(width: int, seed: int, distance: float) -> Objective:
    """A linear hidden layer under a fixed readout, an exact quadratic, displaced along its sharpest direction."""
    if distance == 0:
        raise ValueError(f"distance: {distance} given, allowed: numbers that are not 0")
    found = minimum(1, (3, whole("width", width)), "linear", seed, "hidden")
    return found.moved(found.start + distance * spectrum(found)[1][:, -1])
