"""The noise in what data teach: a peak where there are as many samples as inputs, unless the inputs are whitened."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.deep_linear import generalisation
from derivations.deep_linear.generalisation import EXTRA, INPUTS
from numerics.device import generator
from numerics.frames import normal
from tests.checker.bounds import rounding, sampling
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series

DRAWS = 8000


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Many independent sets of inputs (draws, N, P)."""

    x: torch.Tensor

    def gains(self) -> np.ndarray:
        """The squared norm that unit noise in the labels of one output adds to the solution, on average."""
        return (1 / torch.linalg.svdvals(self.x).square()).sum(-1).numpy()


def _fluctuate(inputs: Inputs) -> bool:
    traces = inputs.x.square().sum((-2, -1))
    return bool(traces.std() > 1e-6 * traces.mean())


RAW = Assumption(
    "raw Gaussian inputs", "the inputs are independent normal numbers, not whitened afterwards", _fluctuate
)


@lru_cache(maxsize=64)
def drawn(inputs: int, samples: int, whitened: bool, seed: int) -> Inputs:
    """Gaussian inputs, whitened exactly or not."""
    x = normal((inputs, samples), generator(seed), DRAWS)
    if whitened:
        u, _, vh = torch.linalg.svd(x, full_matrices=False)
        x = samples**0.5 * u @ vh
    return Inputs(x)


peak = Claim(
    "generalisation.noise-peak",
    source="A section 4",
    says="The noise that data leave in the solution grows without bound as the number of samples approaches "
    "the number of inputs: there the student overfits most.",
    formula=generalisation.noise_gain,
    lhs=r"\mathbb{E} \Vert W - W_\text{clean} \Vert^2 / (n_d\, \sigma_z^2)",
    conditions=(RAW,),
    near_misses={
        "difference not reduced by one": lambda: INPUTS / EXTRA,
        "reduced by two": lambda: INPUTS / (EXTRA - 2),
    },
    falsifiers={"no peak": lambda: INPUTS / (INPUTS + EXTRA)},
    about_networks=False,
    remark=(
        "Here $`N`$ is the smaller of the numbers of inputs and samples and $`D`$ their difference. The paper "
        "asks for as many samples as inputs and, in its theory, for whitened inputs. Both together do not go: "
        "whitening on the sample removes the small singular values that amplify the noise, and with them the "
        "peak."
    ),
)


@peak.proof(generic_in="numbers of inputs and samples")
def inverse_of_a_wishart_matrix(formula):
    """One diagonal entry of the inverse is an inverse chi-squared number."""
    return generalisation.is_noise_gain(formula)


def _mean_gain(formula, inputs: int, samples: int, whitened: bool, seed: int):
    smaller, difference = min(inputs, samples), abs(inputs - samples)
    if difference < 6:
        raise ValueError(f"samples: {samples} given, allowed: at least 6 more or fewer than the {inputs} inputs")
    found = drawn(inputs, samples, whitened, seed)
    gains = found.gains()
    predicted = evaluate(formula, {INPUTS: smaller, EXTRA: difference})
    deviation = float(gains.std())
    bound = rounding(1.0, 100) if whitened else sampling(deviation, len(gains), 1e-6)
    return agree(gains.mean(), predicted, bound=bound).on(found)


@peak.check(grid(inputs=[4], samples=[12, 16, 40], seed=[0]) + grid(inputs=[12], samples=[4], seed=[0]), network=False)
def drawn_inputs(formula, inputs, samples, seed):
    """The mean over many random data sets, with more and with fewer samples than inputs."""
    return _mean_gain(formula, inputs, samples, False, seed)


@peak.without(RAW, grid(inputs=[4], samples=[12, 16, 40], seed=[0]), network=False)
def whitened_inputs(formula, inputs, samples, seed):
    """The same after whitening each data set exactly."""
    return _mean_gain(formula, inputs, samples, True, seed)


@peak.figure
def gain_against_samples(formula):
    """Gain of the noise against the number of samples, raw and whitened."""
    n, counts = 8, [2, 4, 10, 12, 16, 24, 32]
    predicted = [float(evaluate(formula, {INPUTS: min(n, p), EXTRA: abs(n - p)})) for p in counts]
    below = sum(p < n for p in counts)
    every = [2, 4, 6, 7, 8, 9, 10, 12, 16, 24, 32]
    raw = [float(np.median(drawn(n, p, False, 1).gains()[:2000])) for p in every]
    means = [float(drawn(n, p, False, 1).gains().mean()) for p in counts]
    white = [min(n, p) / p for p in every]
    panel = Panel(
        "eight inputs",
        "samples",
        "noise in the solution",
        (
            Series("theory, fewer samples than inputs", counts[:below], predicted[:below]),
            Series("theory, more samples", counts[below:], predicted[below:]),
            Series("raw inputs, mean", counts, means, "simulation"),
            Series("raw inputs, median", every, raw, "marker"),
            Series("whitened inputs", every, white, "reference"),
        ),
        log_y=True,
    )
    return Figure("The peak at as many samples as inputs comes from inputs that are nearly dependent.", (panel,))
