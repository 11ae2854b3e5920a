"""Students of a low-rank teacher: which rules learn the signal before the noise, and which need damping (figure 3)."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch

from numerics import steps
from numerics.device import generator
from numerics.flows import flow
from numerics.rules import BlockFractional, BlockNatural, Damped, Fractional, GradientDescent, NaturalGradient, Rule
from numerics.students import DampedBlocks, Lesson, half_times, lesson, small_weights
from tests.checker.claim import Claim, grid
from tests.checker.compare import equal
from tests.checker.figure import Figure, Panel, Series
from tests.checker.seeds import seed_of

SIGNAL, NOISE, START, DAMPING = (3.0, 2.4, 1.8), 0.6, 0.05, 1e-5
RULES: dict[str, Rule] = {
    "SGD": GradientDescent(),
    "NGD": Damped(DAMPING),
    "square root NGD": Fractional(2),
    "NGD-d": DampedBlocks(DAMPING),
    "square root NGD-d": BlockFractional(2),
}


SOONER = "square roots, three layers or more"


def _outcome(apart: tuple[str, ...] = ("SGD", "square root NGD", "square root NGD-d")) -> dict[str, str]:
    found = {name: "signal first, low loss" if name in apart else "all at once, high loss" for name in RULES}
    return {**found, SOONER: "much sooner than SGD"}


stopping = Claim(
    "generalisation.early-stopping",
    source="A section 4, figure 3",
    says="Gradient descent and both square-root rules learn the signal before the noise and can be stopped at "
    "a low loss on new data, in deep networks the latter much sooner; both natural gradients learn everything at "
    "once and overfit.",
    formula=_outcome,
    uses=("generalisation.time-scale-separation",),
    near_misses={"cutting the natural gradient into layers separates": lambda: _outcome(("SGD", *list(RULES)[2:]))},
    falsifiers={
        "only gradient descent separates": lambda: _outcome(("SGD",)),
        "every rule separates": lambda: _outcome(tuple(RULES)),
        "no sooner than gradient descent": lambda: {**_outcome(), SOONER: "no sooner than SGD"},
    },
    mutate=False,
    remark=(
        "Signal first: the fastest mode of the noise takes at least 1.3 times as long to be half learned as "
        "the slowest mode of the teacher. Low loss: the best loss on new data is nearer, as a ratio, to that "
        "of gradient descent than to that of the map which explains the data. Much sooner: the best loss is "
        "reached in a fifth of the time or less. The paper leaves its noise and "
        "its teacher's spectrum open; here the teacher has the mode values 3, 2.4 and 1.8, and the noise "
        "reaches up to 0.6."
    ),
)


@lru_cache(maxsize=16)
def course(n: int, depth: int, rule: str, time: float, seed: int) -> tuple[Lesson, np.ndarray, torch.Tensor]:
    """A lesson, times, and the maps of a student along the flow of a rule from small random weights."""
    draw = generator(seed)
    task, net = lesson(n, SIGNAL, NOISE, draw), small_weights(n, depth, START, draw)
    times = np.concatenate([[0.0], np.geomspace(1e-1, time, 40)])
    return task, times, flow(net, task.problem, RULES[rule], times.tolist(), tolerance=1e-4).products()


def measured(n: int, depth: int, rule: str, time: float, seed: int) -> tuple[float, float, float]:
    """First half-time of the noise over the last of the signal; best loss over that of the overfitted map; its time."""
    task, times, maps = course(n, depth, rule, time, seed)
    halves = half_times(torch.as_tensor(times), task.strengths(maps))
    loss = task.new_data_loss(maps)
    best = int(loss.argmin())
    ratio = float(loss[best] / task.new_data_loss(task.problem.teacher))
    return float(halves[task.rank :].min() / halves[: task.rank].max()), ratio, float(times[best])


def _outcomes(formula, n: int, depth: int, time: float, seed: int):
    found = {rule: measured(n, depth, rule, time if rule == "SGD" else 20.0, seed) for rule in RULES}
    between = found["SGD"][1] ** 0.5
    words = [
        f"{'signal first' if gap > 1.3 else 'all at once'}, {'low' if ratio < between else 'high'} loss"
        for gap, ratio, _ in found.values()
    ]
    told = "; ".join(f"{rule}: {ratio:.3f} at t = {when:.3g}, {gap:.2f}" for rule, (gap, ratio, when) in found.items())
    return equal(words, [formula[rule] for rule in RULES]).noting(
        f"best loss on new data over that of the overfitted map, its time, and the gap between signal and noise: {told}"
    )


@stopping.check(grid(n=[8], depth=[2], time=[100.0], seed=[0]))
def small_students(formula, n, depth, time, seed):
    """Students with one hidden layer of the width of a small teacher."""
    return _outcomes(formula, n, depth, time, seed)


@stopping.check(grid(n=[5], depth=[3], time=[150.0], seed=[0]))
def times_of_the_best_loss(formula, n, depth, time, seed):
    """When the loss on new data is lowest: under both square roots against gradient descent, with two hidden layers."""
    if depth < 3:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 3")
    ends = {"SGD": time, "square root NGD": 20.0, "square root NGD-d": 20.0}
    found = {rule: measured(n, depth, rule, end, seed)[2] for rule, end in ends.items()}
    latest = max(when for rule, when in found.items() if rule != "SGD")
    told = ", ".join(f"{rule} at t = {when:.3g}" for rule, when in found.items())
    words = "much sooner than SGD" if 5 * latest <= found["SGD"] else "no sooner than SGD"
    return equal([words], [formula[SOONER]]).noting(f"lowest loss on new data: {told}")


@stopping.check(grid(n=[16], depth=[4], time=[2000.0], seed=[0, 1]), slow=True)
def students_of_the_paper(formula, n, depth, time, seed):
    """The sizes of the paper: width 16, four layers, teacher of rank 3, initial singular values up to 0.05."""
    return _outcomes(formula, n, depth, time, seed)


@stopping.figure
def losses_and_modes(formula):
    """Loss on new data and strengths of modes over time, for five rules."""
    case = dict(stopping.checks[0].cases[0])
    case["seed"], late = seed_of(stopping.id, case), case.pop("time")
    losses, panels = [], []
    for rule in RULES:
        task, times, maps = course(rule=rule, time=late if rule == "SGD" else 20.0, **case)
        shown = times > 0.5
        losses.append(
            Series(
                rule, times[shown], task.new_data_loss(maps)[shown], "theory" if "root" not in rule else "simulation"
            )
        )
        if rule in ("SGD", "NGD", "square root NGD"):
            strengths = task.strengths(maps)[1:]
            signal = [Series(f"signal {k + 1}", times[1:], strengths[:, k]) for k in range(task.rank)]
            noise = [Series(f"noise {k + 1}", times[1:], strengths[:, task.rank + k], "simulation") for k in range(3)]
            panels.append(Panel(rule, r"time, $1/\eta$", "fraction learned", (*signal, *noise), log_x=True))
    first = Panel("loss on new data", r"time, $1/\eta$", "loss", tuple(losses), log_x=True, log_y=True)
    return Figure(
        "The signal (lines) comes before the noise (dots), except under natural gradient descent.", (first, *panels)
    )


def _stability(stable: tuple[str, ...] = ("square root NGD", "square root NGD-d")) -> dict[str, str]:
    return {name: "learns" if name in stable else "explodes" for name in UNDAMPED}


UNDAMPED: dict[str, Rule] = {
    "NGD": NaturalGradient(),
    "NGD-d": BlockNatural(),
    "square root NGD": Fractional(2),
    "square root NGD-d": BlockFractional(2),
}

damping = Claim(
    "generalisation.no-damping-needed",
    source="A section 4",
    says="From small weights the square-root rules learn in discrete steps without damping or clipping, while "
    "steps of the natural gradients raise the loss a thousandfold.",
    formula=_stability,
    uses=("natural-gradient.sqrt-speed",),
    near_misses={"layer by layer the natural gradient is stable": lambda: _stability(tuple(UNDAMPED)[1:])},
    falsifiers={
        "all need damping": lambda: _stability(()),
        "cut into layers the square root is unstable": lambda: _stability(("square root NGD",)),
    },
    mutate=False,
    remark=(
        "The speed of the square root is the distance of the maps, whatever the weights; that of the natural "
        "gradient grows as their scale to the power $`1 - d`$, beyond any fixed step."
    ),
)


@lru_cache(maxsize=32)
def final_loss(n: int, depth: int, rule: str, step: float, scale: float, seed: int) -> float:
    """The loss after 600 discrete steps over its start, or infinity as soon as it has grown a thousandfold."""
    draw = generator(seed)
    task, net = lesson(n, SIGNAL, NOISE, draw), small_weights(n, depth, scale, draw)
    first = float(task.problem.loss(net))
    for _ in range(600):
        net = steps.euler(net, task.problem, UNDAMPED[rule], step)
        if not float(task.problem.loss(net)) < 1e3 * first:
            return inf
    return float(task.problem.loss(net)) / first


@damping.check(grid(n=[4], depth=[3, 4], step=[0.05], scale=[0.05], seed=[0]))
def discrete_training(formula, n, depth, step, scale, seed):
    """The loss after many discrete steps of undamped rules: below a thousandth of the start, or never returning."""
    losses = {rule: final_loss(n, depth, rule, step, scale, seed) for rule in UNDAMPED}
    words = ["explodes" if loss == inf else "learns" if loss < 1e-3 else "neither" for loss in losses.values()]
    told = ", ".join(f"{rule} {loss:.2g}" for rule, loss in losses.items())
    return equal(words, [formula[rule] for rule in UNDAMPED]).noting(f"final loss over initial loss: {told}")
