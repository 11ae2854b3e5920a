"""Networks with homogeneous activations: what every neuron conserves, and under which updates."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.deep_linear import homogeneous
from derivations.deep_linear.homogeneous import ABOVE, BIAS, DEGREE, FACTOR, INCOMING, REACH
from derivations.words import trace
from numerics.homogeneous import Network, fisher_factor, velocity
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, vanishes
from tests.checker.figure import Figure, Panel, Series
from tests.claims.hidden_layers import multiple
from tests.claims.neurons import DEGREES, HOMOGENEOUS, ORTHOGONAL, SAMPLES, Subject, network, quantities
from tests.claims.settings import array, sizes

rescaling = Claim(
    "homogeneous.rescaling",
    source="A section 4",
    says="Multiplying one layer by a positive factor and dividing a later one leaves the outputs unchanged, if "
    "the biases in between are scaled along and the activations are homogeneous.",
    formula=homogeneous.rescaling,
    near_misses={
        "biases left as they are": lambda: {**homogeneous.rescaling(), "b": FACTOR**0},
        "the factor of degree one for every degree": lambda: homogeneous.rescaling(1),
    },
    falsifiers={"both layers multiplied": lambda: {**homogeneous.rescaling(), "u": FACTOR ** (DEGREE**REACH)}},
    remark=(
        "The printed statement is the case of degree $`k = 1`$ without biases. Squares in between turn a "
        "factor $`c`$ into $`c^{k^r}`$ after $`r`$ layers: the deeper the pair is apart, the smaller the "
        "change of the lower layer that is needed."
    ),
)


@rescaling.proof(generic_in="depth, widths, degree, factor")
def factor_passes_through_the_layers(formula):
    """Induction over the layers between the two scaled ones."""
    return homogeneous.keeps_outputs(formula)


@rescaling.check(
    grid(depth=[4], widths=["wide"], activation=list(DEGREES), reach=[1, 3], factor=[1.7], seed=[0])
    + grid(depth=[2], widths=["waist"], activation=["relu", "square"], reach=[1], factor=[0.6], seed=[0])
    + grid(depth=[5], widths=["narrowing"], activation=["relu"], reach=[2], factor=[20.0], seed=[0])
)
def outputs_of_rescaled_networks(formula, depth, widths, activation, reach, factor, seed):
    """Outputs before and after the first layer is multiplied and the layer a number of steps above it divided."""
    if not 1 <= reach < depth:
        raise ValueError(f"reach: {reach} given, allowed: from 1 to depth - 1 = {depth - 1}")
    if not factor > 0:
        raise ValueError(f"factor: {factor} given, allowed: factor > 0")
    net, task = network(depth, widths, activation, True, "squares", seed)
    degree = DEGREES[activation]
    before = array(net.outputs(task.x))

    def number(part: str, place: int = 0) -> float:
        return float(evaluate(formula[part], {FACTOR: factor, DEGREE: degree, ABOVE: place, REACH: reach}))

    weights, biases = list(net.weights), list(net.biases)
    weights[0] = number("w") * weights[0]
    weights[reach] = number("u") * weights[reach]
    biases[:reach] = [number("b", m) * biases[m] for m in range(reach)]
    after = array(Network(tuple(weights), tuple(biases), activation).outputs(task.x))
    # what is summed may be larger than the sum: activations of absolute values bound it
    size = Network(tuple(w.abs() for w in net.weights), tuple(b.abs() for b in net.biases), activation)
    bound = rounding(float(size.outputs(task.x.abs()).max()), degree**depth * sum(sizes(depth, widths)))
    return agree(after, before, bound=bound).on(Subject(net, task, net.flat()))


balance = Claim(
    "homogeneous.neuron-balance",
    source="A section 4 (left open there)",
    says="With homogeneous activations every update without null component conserves, for each neuron, its squared "
    "incoming weights less k times its squared outgoing weights.",
    formula=homogeneous.neuron_balance,
    relation=r"= \text{constant} =",
    given=(ORTHOGONAL, HOMOGENEOUS),
    uses=("homogeneous.rescaling",),
    near_misses={
        "biases forgotten": lambda: homogeneous.neuron_balance() - trace(BIAS * BIAS.T),
        "degree forgotten": lambda: homogeneous.neuron_balance(1),
    },
    falsifiers={
        "sum instead of difference": lambda: homogeneous.neuron_balance(-DEGREE),
        "incoming weights alone": lambda: trace(INCOMING * INCOMING.T),
    },
    equivalent=multiple,
    remark=(
        "This settles what the paper leaves open. The outputs for no sample change when a neuron is rescaled, "
        "so no combination of their gradients moves along the rescaling; gradient, natural, fractional and "
        "damped updates are such combinations, for any loss, and so is the empirical natural gradient. Summed "
        "over neurons it is the difference of layer norms."
    ),
)


@balance.proof(generic_in="depth, widths, degree, number of neurons, loss, samples, rule")
def one_sample_moves_both_sides_alike(formula):
    """Insert the update from one sample and use Euler's identity."""
    return homogeneous.conserved(formula)


@lru_cache(maxsize=256)
def instant(
    depth: int, widths: str | tuple[int, ...], activation: str, biases: bool, loss: str, rule: str, q: float, seed: int
) -> tuple[Subject, float]:
    """A network with the unit velocity of a rule, and the condition number of the spectral function that made it."""
    net, task = network(depth, widths, activation, biases, loss, seed)
    v = velocity(net, task, rule, q)
    condition = 1.0
    if rule in ("natural", "fractional", "empirical-natural", "block-natural"):
        s = torch.linalg.svdvals(fisher_factor(net, task, rule == "empirical-natural"))
        condition = float(s[0] / s[s > 1e-10 * s[0]][-1])
    return Subject(net, task, v / v.norm()), condition


def _rate(formula, subject: Subject, condition: float):
    """The rates of all neurons and of all layers: central differences of a quadratic function are exact."""
    ahead, behind = (subject.net.add(subject.velocity, s) for s in (1.0, -1.0))
    rates = [(quantities(formula, ahead, w) - quantities(formula, behind, w)) / 2 for w in (False, True)]
    largest = float(ahead.flat().abs().max())
    scale = max(largest, 1.0) * float(subject.velocity.abs().max())
    bound = rounding(scale + largest**2, SAMPLES * subject.velocity.numel(), condition)
    return vanishes(np.concatenate(rates), bound=bound, scale=scale).on(subject)


KEEPING = ["gradient", "natural", "fractional", "damped", "empirical-natural"]


@balance.check(
    grid(
        depth=[2],
        widths=["wide"],
        activation=list(DEGREES),
        biases=[True],
        loss=["squares"],
        rule=KEEPING,
        q=[2],
        seed=[0],
    )
    + grid(
        depth=[3],
        widths=["widening", "narrowing"],
        activation=["relu"],
        biases=[False],
        loss=["cross-entropy"],
        rule=KEEPING,
        q=[3],
        seed=[1],
    )
)
def velocities(formula, depth, widths, activation, biases, loss, rule, q, seed):
    """The rates of change of every neuron and of every layer under full-network velocities of five rules."""
    return _rate(formula, *instant(depth, widths, activation, biases, loss, rule, q, seed))


BREAKING = ["block-natural", "diagonal", "sign"]


@balance.without(
    ORTHOGONAL,
    grid(
        depth=[3],
        widths=["wide"],
        activation=["relu"],
        biases=[True],
        loss=["squares", "cross-entropy"],
        rule=BREAKING,
        q=[2],
        seed=[0],
    ),
)
def velocities_with_null_component(formula, depth, widths, activation, biases, loss, rule, q, seed):
    """One curvature for each layer, one for each weight, or the signs alone (as Adam takes at its first step)."""
    return _rate(formula, *instant(depth, widths, activation, biases, loss, rule, q, seed))


@balance.without(
    HOMOGENEOUS,
    grid(
        depth=[2],
        widths=["wide"],
        activation=["tanh", "softplus"],
        biases=[False],
        loss=["squares"],
        rule=["gradient", "natural"],
        q=[2],
        seed=[0],
    ),
)
def other_activations(formula, depth, widths, activation, biases, loss, rule, q, seed):
    """Activations that are not homogeneous, under gradient and natural gradient."""
    return _rate(formula, *instant(depth, widths, activation, biases, loss, rule, q, seed))


@lru_cache(maxsize=64)
def training(
    depth: int, widths: str | tuple[int, ...], activation: str, rule: str, step: float, time: float, seed: int
) -> tuple[Network, ...]:
    """The networks along discrete steps of a rule over a given time."""
    net, task = network(depth, widths, activation, True, "squares", seed)
    course = [net]
    for _ in range(max(1, round(time / step))):
        course.append(course[-1].add(velocity.__wrapped__(course[-1], task, rule), step))
    return tuple(course)


def own_steps(course: tuple[Network, ...]) -> list[Network]:
    """The differences of successive networks, as networks."""
    return [b.add(a.flat(), -1.0) for a, b in zip(course, course[1:], strict=False)]


@balance.check(
    grid(
        depth=[2],
        widths=["wide"],
        activation=["relu", "relu-squared"],
        rule=["gradient", "damped"],
        step=[0.02],
        time=[0.4],
        seed=[0],
    )
)
def training_across_kinks(formula, depth, widths, activation, rule, step, time, seed):
    """Along discrete training the quantity changes by its value at each step alone, whichever neurons switch."""
    course = training(depth, widths, activation, rule, step, time, seed)
    net, task = network(depth, widths, activation, True, "squares", seed)
    change = quantities(formula, course[-1]) - quantities(formula, course[0])
    found = change - sum(quantities(formula, one) for one in own_steps(course))
    v = velocity(net, task, rule)
    largest = max(float(one.flat().abs().max()) for one in (course[0], course[-1]))
    bound = rounding(max(largest, 1.0) ** 2, 2 * len(course) * v.numel())
    return vanishes(found, bound=bound, scale=float(np.abs(change).max())).on(Subject(net, task, v / v.norm()))


@balance.figure
def drift_against_step(formula):
    """Drift of the neurons of a ReLU network over a given time, for rules with and without null component."""
    steps, case = (0.1, 0.05, 0.025, 0.0125), (3, "wide", "relu")
    series, worst = [], []
    for rule in ("gradient", "damped", "diagonal", "sign"):
        seen, told = [], []
        for step in steps:
            course = training(*case, rule, step, 0.4, 0)
            drift = quantities(formula, course[-1]) - quantities(formula, course[0])
            theory = sum(quantities(formula, one) for one in own_steps(course))
            seen.append(float(np.abs(drift).max()))
            told.append(float(np.abs(theory).max()))
        if rule in KEEPING:
            series.append(Series(f"{rule}: theory", steps, told, "theory"))
            worst = [max(a, abs(b - c)) for a, b, c in zip(worst or [0.0] * len(steps), seen, told, strict=True)]
        series.append(Series(rule, steps, seen, "simulation" if rule in KEEPING else "marker"))
    panel = Panel(
        "ReLU network of three layers, $t = 0.4$",
        "step $h$",
        "largest drift of a neuron",
        tuple(series),
        residual=Series("difference", steps, worst, "simulation"),
        residual_bound=rounding(4.0, 400).total,
        log_x=True,
        log_y=True,
    )
    return Figure(
        "Gradient and damped natural updates lose the balance by discretisation alone, the others by themselves.",
        (panel,),
    )
