"""Small perceptrons with a likelihood, and their scores by automatic differentiation, label by label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.func import jacrev

from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.frames import normal
from numerics.likelihoods import hessians, log_likelihood
from numerics.perceptrons import Parameters, blocks, parameter_jacobian
from tests.checker.bounds import rounding
from tests.checker.evidence import Bound
from tests.claims.critical import Sample
from tests.claims.loss import Widths
from tests.claims.settings import sizes


@lru_cache(maxsize=128)
def small(
    depth: int, widths: Widths, activation: str = "tanh", outputs: int = 3, samples: int = 3, seed: int = 0
) -> Sample:
    """A Gaussian perceptron of widths (N_0, ..., N_L) with biases everywhere, and Gaussian inputs."""
    if outputs < 1 or samples < 1:
        name, value = ("outputs", outputs) if outputs < 1 else ("samples", samples)
        raise ValueError(f"{name}: {value} given, allowed: an integer >= 1")
    n, draw = sizes(depth, widths), generator(seed)
    net = perceptron(
        n, outputs, draw, ensemble="gaussian", sigma_w=1.2, sigma_b=0.3, readout_bias=0.3, activation=activation
    )
    return Sample(net, gaussian_inputs(n[0], samples, 1.0, draw))


@dataclass(frozen=True, eq=False)
class Labelled:
    """A sample with a likelihood: all labels r = 1..R that the model may draw, one label of the data, derivatives.

    Labels of the Gaussian are a cubature that is exact for moments up to the third. Arrays: weights (R, T), scores
    (R, T, P), seconds (R, T, P, P); the data label comes last, index -1, with weight zero.
    """

    sample: Sample
    kind: str
    labels: Tensor
    weights: Tensor
    which: Parameters = "hidden"

    @cached_property
    def flat(self) -> Tensor:
        """The parameters as a vector (P,)."""
        return self.sample.net.flat(self.which)

    def logs(self, flat: Tensor) -> Tensor:
        """log p of every label at every input, (R, T)."""
        outputs = self.sample.net.replace(flat, self.which).forward(self.sample.x).outputs
        return self.logs_at(outputs)

    def logs_at(self, outputs: Tensor) -> Tensor:
        """The same at given outputs (K, T)."""
        return torch.stack([log_likelihood(self.kind, outputs, label) for label in self.labels])

    @cached_property
    def scores(self) -> Tensor:
        """d log p / d theta, (R, T, P)."""
        return jacrev(self.logs)(self.flat)

    @cached_property
    def seconds(self) -> Tensor:
        """d^2 log p / d theta^2, (R, T, P, P), without the chain rule being written down anywhere."""
        return jacrev(jacrev(self.logs))(self.flat)

    @cached_property
    def output_scores(self) -> Tensor:
        """d log p / d h of every label, (R, T, K)."""
        outputs = self.sample.found.outputs
        return jacrev(lambda h: self.logs_at(h).sum(-1))(outputs).mT

    @cached_property
    def jacobian(self) -> Tensor:
        """d h / d theta, (T, K, P)."""
        return parameter_jacobian(self.sample.net, self.sample.x, self.which)

    @cached_property
    def hessians(self) -> Tensor:
        """- d^2 log p / dh dh of the likelihood, (T, K, K)."""
        return hessians(self.kind, self.sample.found.outputs)

    @cached_property
    def fisher(self) -> Tensor:
        """The mean of score times score over the labels of the model, one matrix for every input, (T, P, P)."""
        return torch.einsum("rt,rta,rtb->tab", self.weights, self.scores, self.scores)

    def part(self, name: str) -> slice:
        """Where a block (W1, b1, ...) stands."""
        return blocks(self.sample.net, self.which)[name]

    def rounding(self, scale: float) -> Bound:
        """Rounding of sums over parameters, labels and layers at a given size of the summands."""
        net = self.sample.net
        return rounding(scale, 2 * self.flat.shape[-1] + 4 * sum(net.widths) + 4 * net.outputs**2)


def drawn(kind: str, outputs: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Labels (R, ...) that the model may draw at outputs (K, T), with weights (R, T); the data's label comes last."""
    count, t = outputs.shape
    draw = generator(seed)
    if kind == "softmax":
        every = torch.arange(count)[:, None].expand(count, t)
        labels = torch.cat([every, torch.randint(count, (1, t), generator=draw)])
        weights = torch.softmax(outputs, 0)
    else:
        steps = count**0.5 * torch.eye(count, dtype=outputs.dtype)[:, :, None]
        labels = torch.cat([outputs + steps, outputs - steps, outputs + normal((1, count, t), draw)])
        weights = torch.full((2 * count, t), 0.5 / count, dtype=outputs.dtype)
    return labels, torch.cat([weights, torch.zeros(1, t, dtype=outputs.dtype)])


@lru_cache(maxsize=128)
def labelled(
    depth: int,
    widths: Widths,
    likelihood: str,
    seed: int,
    activation: str = "tanh",
    samples: int = 3,
    which: Parameters = "hidden",
) -> Labelled:
    """A small perceptron with a likelihood."""
    sample = small(depth, widths, activation, samples=samples, seed=seed)
    return Labelled(sample, likelihood, *drawn(likelihood, sample.found.outputs, seed + 1), which)
