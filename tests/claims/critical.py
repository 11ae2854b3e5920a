"""Perceptrons on the critical line with their inputs, as the claims about paper B set them up."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from derivations.information.critical_line import CriticalPoint, critical_point
from numerics import data
from numerics.device import generator
from numerics.ensembles import Ensemble, gaussian_inputs, perceptron, with_mean_square
from numerics.perceptrons import Pass, Perceptron

_KEPT = 4_000_000
QSTARS = (9e-4, 1 / 64, 1 / 2, 8.0)


@dataclass(frozen=True, eq=False)
class Sample:
    """A network (or a batch of them) with inputs (N_0, T) or (*S, N_0, T), and where it came from."""

    net: Perceptron
    x: Tensor
    qstar: float = float("nan")
    ensemble: str = ""
    source: str = field(default="gaussian")

    @cached_property
    def found(self) -> Pass:
        """The forward pass, computed once."""
        return self.net.forward(self.x)


@cache
def point(activation: str, qstar: float) -> CriticalPoint:
    """The critical point with fixed length ``qstar``; a ``ValueError`` says which activations have one."""
    return critical_point(activation, qstar)


@lru_cache(maxsize=2)
def standardised(name: str) -> data.Images:
    """A data set with mean 0 and deviation 1 in each channel; of CIFAR-10 and SVHN the test part."""
    return data.load(name, part="train" if name == "digits" else "test").standardised()


def critical_sample(qstar: float, width: int, depth: int, *, seeds: int | None = None, **how: Any) -> Sample:
    """A critical network of equal widths whose first pre-activations have variance q^*, with biases at sigma_b.

    ``seeds`` makes a batch. ``inputs``: "gaussian" (independent, |x|^2 / N_0 exact) or the name of a data set
    (standardised images scaled to the same length, zero-padded to the width); ``readout`` scales a readout of the same
    ensemble without biases. Samples of small networks are kept, others would fill the memory.
    """
    drawn = _kept_sample if width**2 * depth * (seeds or 1) <= _KEPT else _kept_sample.__wrapped__
    return drawn(qstar, width, depth, seeds=seeds, **how)


@lru_cache(maxsize=64)
def _kept_sample(
    qstar: float,
    width: int,
    depth: int,
    *,
    outputs: int = 10,
    samples: int = 8,
    seed: int = 0,
    ensemble: Ensemble = "orthogonal",
    activation: str = "tanh",
    seeds: int | None = None,
    inputs: str = "gaussian",
    readout: float = 1.0,
    inputs_width: int | None = None,
    device: str = "cpu",
) -> Sample:
    at, draw = point(activation, qstar), generator(seed, "cpu")
    n_0 = width if inputs_width is None else inputs_width
    net = perceptron(
        (n_0, *[width] * depth),
        outputs,
        draw,
        ensemble=ensemble,
        sigma_w=at.sigma_w,
        sigma_b=at.sigma_b,
        readout=readout,
        activation=activation,
        seeds=seeds,
        device=device,
    )
    if inputs == "gaussian":
        x = gaussian_inputs(n_0, samples, at.second_moment, draw, exact=True)
    else:
        images = standardised(inputs).images
        chosen = torch.randperm(images.shape[1], generator=draw)[:samples]
        x = with_mean_square(data.padded(images[:, chosen], n_0), at.second_moment)
    return Sample(net, x.to(net.device), qstar, ensemble, inputs)
