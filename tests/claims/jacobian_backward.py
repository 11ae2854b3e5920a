"""The Jacobians from each layer to the outputs: do largest singular values rise towards the input?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Integer, Rational

from derivations.compiled import evaluate
from derivations.information import directions
from derivations.information.directions import OUTPUTS_SHARE, SLOPE_MIN
from derivations.information.edge_values import least, slopes
from derivations.notation import LAYERS, SIGMA_W
from numerics.device import generator
from numerics.ensembles import gaussian_inputs, perceptron
from numerics.perceptrons import output_jacobians
from tests.checker.bounds import remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import Sample, critical_sample, point
from tests.claims.critical_assumptions import CRITICAL, ORTHOGONAL
from tests.claims.jacobian_spectrum import FREE, TRACY_WIDOM, sampled


@dataclass(frozen=True, eq=False)
class Steps:
    """Largest singular values (L, S) of the Jacobians from the layers 1..L to the outputs, and the least slopes."""

    sample: Sample
    values: np.ndarray
    least_slope: np.ndarray


@lru_cache(maxsize=64)
def backward_steps(sample: Sample) -> Steps:
    """Largest singular values of J_l, l = 1..L, of a batch of networks at one input each."""
    values = [torch.linalg.svdvals(j)[:, 0, 0] for j in output_jacobians(sample.found)]
    smallest = [slope[..., 0].amin(-1) for slope in sample.found.slopes]
    return Steps(sample, torch.stack(values).numpy(), torch.stack(smallest).numpy())


@lru_cache(maxsize=64)
def thin(depth: int, seeds: int, seed: int) -> Sample:
    """Networks with one neuron a layer and weights of size 1.1."""
    draw = generator(seed)
    net = perceptron((1,) * (depth + 1), 1, draw, sigma_w=1.1, sigma_b=0.3, seeds=seeds)
    return Sample(net, gaussian_inputs(1, 1, 1.0, draw), ensemble="orthogonal")


step_bound = Claim(
    "jacobian.backward-step",
    source="beyond B",
    says="One layer back the largest singular value of the Jacobian to the outputs falls at most by the least slope of "
    "the layer times the scale of the weights.",
    formula=directions.least_step,
    lhs=r"s_{\max}(J_\alpha) / s_{\max}(J_{\alpha+1})",
    relation=r"\geq",
    given=(ORTHOGONAL,),
    near_misses={"a hundredth more": lambda: Rational(101, 100) * directions.least_step()},
    falsifiers={"without the slope": lambda: SIGMA_W + 0 * SLOPE_MIN, "never falls": lambda: Integer(1)},
    mutate=False,
    remark="Equality holds with one neuron a layer.",
)

printed = Claim(
    "jacobian.backward-monotone-as-printed",
    source="B assumption 2",
    says="The largest singular value of the Jacobian from a layer to the outputs never falls on the way to the input.",
    formula=lambda: Integer(1),
    control=directions.least_step,
    corrected_by=("jacobian.backward-step", "jacobian.backward-edge"),
    lhs=r"s_{\max}(J_\alpha) / s_{\max}(J_{\alpha+1})",
    relation=r"\geq",
    given=(ORTHOGONAL,),
    near_misses=step_bound.near_misses,
    falsifiers={"without the slope": step_bound.falsifiers["without the slope"]},
    mutate=False,
    remark=(
        "The paper assumes it. Single critical networks break it at some layer nearly always; what rises is the mean "
        "over wide networks, in proportion to the share of outputs: with few outputs it hardly moves."
    ),
)


@step_bound.proof(instances="networks with one neuron a layer, any activation")
@printed.proof(instances="networks with one neuron a layer, any activation")
def one_neuron(formula):
    """With one neuron a layer the step is known exactly."""
    return directions.bounds_step(formula)


def _steps(formula, found: Steps, scale: float):
    ratio = found.values[:-1] / found.values[1:]
    lower = evaluate(formula, {SIGMA_W: scale, SLOPE_MIN: found.least_slope[:-1]})
    width = max(found.sample.net.widths)
    bound = rounding(float(ratio.max()), 4 * width * found.sample.net.depth + 40, 2.0)
    return at_least(ratio, np.broadcast_to(lower, ratio.shape), bound=bound).on(found.sample)


@step_bound.check(grid(depth=[2, 6], seeds=[20]))
@printed.check(grid(depth=[6], seeds=[20]))
def thin_networks(formula, depth, seeds, seed):
    """Steps in networks of one neuron a layer."""
    return _steps(formula, backward_steps(thin(depth, seeds, seed)), 1.1)


@step_bound.check(grid(qstar=[1 / 64, 0.5], depth=[12], width=[48], outputs=[10], seeds=[25]))
@printed.check(grid(qstar=[1 / 64, 0.5], depth=[12], width=[48], outputs=[10], seeds=[50]))
def critical_networks(formula, qstar, depth, width, outputs, seeds, seed):
    """Steps in random critical tanh networks with ten outputs."""
    sample = critical_sample(qstar, width, depth, outputs=outputs, samples=1, seed=seed, seeds=seeds)
    return _steps(formula, backward_steps(sample), point("tanh", qstar).sigma_w)


edge = Claim(
    "jacobian.backward-edge",
    source="beyond B",
    says="On average over wide networks the largest singular value of the Jacobian from a layer to the outputs is the "
    "edge of a free product cut to the share of outputs; it rises with every layer on the way to the input.",
    formula=directions.backward_curve,
    lhs=r"s_{\max}^2(J_\alpha) = \min_{u > 1}",
    relation="",
    given=(CRITICAL, ORTHOGONAL, FREE),
    uses=("jacobian.edge",),
    near_misses={
        "one weight matrix more": lambda: directions.backward_curve() * SIGMA_W**2,
        "all outputs": lambda: directions.backward_curve().subs(OUTPUTS_SHARE, 1),
    },
    falsifiers={"one layer for all": lambda: directions.backward_curve().subs(LAYERS, 1)},
    remark=(
        "$`L`$ counts the layers on the way, $`c = N^g / N`$. The spread is that of $`c L`$ layers, so with few "
        "outputs the rise is slight. The theorem of the paper uses this Jacobian, its figure 2 the one with $`c = 1`$."
    ),
)


@edge.proof(generic_in="layers, share of outputs, activation")
def compressed_product(formula):
    """The readout is a projection that is free from the layers."""
    return directions.is_backward_curve(formula)


@lru_cache(maxsize=512)
def cut_edge(curve, qstar: float, layers: int, share: float):
    """The edge of the Jacobian through the last layers to a share of outputs."""
    at = slopes("tanh", qstar)
    number = curve.subs(OUTPUTS_SHARE, Rational(share).limit_denominator(10**6))
    return least(number, at, depth=layers, sigma_w=at.moment(1) ** -0.5)


@edge.check(
    grid(qstar=[1 / 64], depth=[8], width=[64], outputs=[64, 32, 16], seeds=[48])
    + grid(qstar=[0.5], depth=[8], width=[64], outputs=[64], seeds=[64])
)
def jacobians_to_outputs(formula, qstar, depth, width, outputs, seeds, seed):
    """Largest squared singular values from the first and a middle layer, with their Tracy-Widom shifts."""
    sample = critical_sample(qstar, width, depth, outputs=outputs, samples=1, seed=seed, seeds=seeds)
    found = backward_steps(sample)
    observed, predicted, budget = [], [], []
    for layers in (depth, depth // 2):
        # the mean square of this very network is taken out: its fluctuation is no matter of the edge
        scale = mean_squares(sample)[depth - layers]
        tops = found.values[depth - layers] ** 2 / scale * point("tanh", qstar).mu[0]
        at = cut_edge(directions.backward_curve(), qstar, layers, outputs / width)
        shift = at.scale * outputs ** (-2 / 3)
        observed.append(tops.mean())
        predicted.append(cut_edge(formula, qstar, layers, outputs / width).value + TRACY_WIDOM * shift)
        budget.append(sampled(tops).total + shift * outputs ** (-1 / 3) + at.value / outputs)
    return agree(observed, predicted, bound=remainder(max(budget))).on(sample)


@lru_cache(maxsize=64)
def mean_squares(sample: Sample) -> np.ndarray:
    """The mean squared singular value of the Jacobians from the layers to the outputs (L, S)."""
    outputs = sample.net.outputs
    return torch.stack([j.square().sum((-2, -1))[:, 0] / outputs for j in output_jacobians(sample.found)]).numpy()


@edge.figure
def towards_the_input(formula):
    """Means over networks and three single networks against the layer, for two shares of outputs."""
    width, depth, panels = 64, 16, []
    for outputs in (64, 8):
        sample = critical_sample(0.5, width, depth, outputs=outputs, samples=1, seed=1, seeds=24)
        values = backward_steps(sample).values ** 2
        layers = np.arange(1, depth + 1)
        theory = [cut_edge(formula, 0.5, depth + 1 - int(one), outputs / width).value for one in layers]
        series = (
            Series("edge", layers, np.array(theory)),
            Series("mean of 24 networks", layers, values.mean(-1), "simulation"),
            *(Series("", layers, values[:, k], "reference") for k in range(3)),
        )
        panels.append(Panel(f"{outputs} outputs, 64 neurons", r"layer $\alpha$", r"$s_{\max}^2(J_\alpha)$", series))
    return Figure(
        "Critical orthogonal tanh networks, $q^* = 1/2$: the mean rises towards the input, single networks (thin) "
        "go up and down.",
        tuple(panels),
    )
