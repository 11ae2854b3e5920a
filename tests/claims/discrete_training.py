"""Training by discrete steps under five rules: which of them keep the balance of neighbouring layers."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch

from derivations.deep_linear import discrete
from numerics.networks import DeepLinear
from numerics.rules import BlockFractional, BlockNatural, Fractional, Rule
from tests.checker.claim import Claim, grid
from tests.checker.compare import slope
from tests.checker.figure import Figure, Panel, Series
from tests.claims.discrete import Widths, balances
from tests.claims.hidden_layers import Run
from tests.claims.settings import generic

RULES: dict[str, Rule] = {
    "gradient": Fractional(inf),
    "natural": Fractional(1),
    "square root": Fractional(2),
    "block natural": BlockNatural(),
    "block square root": BlockFractional(2),
}


def rule_named(name: str) -> Rule:
    """One of the five rules; ``ValueError`` for another name."""
    if name not in RULES:
        raise ValueError(f"rule: {name} given, allowed: {', '.join(RULES)}")
    return RULES[name]


@lru_cache(maxsize=128)
def training(depth: int, widths: Widths, rule: str, count: int, time: float, seed: int) -> DeepLinear:
    """The networks of all steps as one batch (count + 1, ...), from small Gaussian weights."""
    setting = generic(depth, widths, seed, scale=0.8)
    nets = [setting.net]
    for _ in range(count):
        nets.append(nets[-1].add(rule_named(rule).velocity(nets[-1], setting.problem), time / count))
    return DeepLinear(tuple(torch.stack(layers) for layers in zip(*(net.weights for net in nets), strict=True)))


def drift(nets: DeepLinear, step: int = -1) -> float:
    """The largest change of an entry of a balance since the start."""
    return float(np.abs(balances(nets.at(step)) - balances(nets.at(0))).max())


orders = Claim(
    "discrete.training-orders",
    source="A figure S2",
    says="In training by small steps gradient descent, natural gradient and its square root keep the balance up to "
    "the step, block-diagonal rules lose it however small the step.",
    formula=discrete.training_orders,
    lhs=r"\text{order in } h \text{ of the drift of } C_i",
    uses=("conservation.weight-balance", "conservation.euler-drift"),
    near_misses={
        "block-diagonal square root keeps it": lambda: {**discrete.training_orders(), "block square root": 1},
        "natural gradient loses it": lambda: {**discrete.training_orders(), "natural": 0},
    },
    falsifiers={
        "all rules keep it": lambda: dict.fromkeys(discrete.training_orders(), 1),
        "second order": lambda: {name: 2 * order for name, order in discrete.training_orders().items()},
    },
    mutate=False,
    remark=(
        "The conserved quantities of the printed figure wobble by a percent: that is the step, and the power of the "
        "step tells it from a broken law. Natural gradient within each layer takes long detours where a layer is "
        "nearly singular, and the balance grows without bound near a singular time."
    ),
)


def _order(formula, depth, rule, widths, time, counts, seed):
    drifts = [drift(training(depth, widths, rule, count, time, seed)) for count in counts]
    sizes = [time / count for count in counts]
    local = np.diff(np.log(drifts)) / np.diff(np.log(sizes))
    found = slope(sizes, drifts, predicted=formula[rule], systematic=float(np.ptp(local)))
    return found.on(Run(generic(depth, widths, seed, scale=0.8), rule_named(rule)))


@orders.check(
    grid(depth=[3], rule=list(RULES), widths=[(2, 2, 2, 2)], time=[0.5])
    + grid(depth=[2], rule=["square root", "block square root"], widths=["narrowing"], time=[0.5])
)
def drift_against_step(formula, depth, rule, widths, time):
    """The drift over a given time, as a power of the step."""
    return _order(formula, depth, rule, widths, time, (40, 50, 60, 70, 80), 1)


@orders.check(grid(depth=[3], rule=list(RULES), widths=[(2, 2, 2, 2)], time=[15.0]), slow=True)
def as_long_as_the_printed_figure(formula, depth, rule, widths, time):
    """The same up to 1500 steps of a hundredth."""
    return _order(formula, depth, rule, widths, time, (600, 750, 900, 1200, 1500), 1)


@orders.figure
def balances_in_training(formula):
    """Entries of the layers and of the balances of a three-layer network in training under the five rules."""
    count, time, panels = 160, 4.0, []
    times = np.linspace(0, time, count + 1)[::4]
    for rule in RULES:
        nets = training(3, (2, 2, 2, 2), rule, count, time, 1)
        parts = [nets.balance(i)[::4, a, b].numpy() for i in (1, 2) for a, b in ((0, 0), (0, 1), (1, 1))]
        kept = formula[rule] > 0
        series = [Series("", times, part, "simulation") for part in parts]
        series += [Series("conserved", [0, time], [part[0]] * 2) for part in parts] if kept else []
        panels.append(Panel(rule, r"$\eta t$", "entries of $C_1$, $C_2$", tuple(series)))
    caption = (
        "The balance of a network of three layers of width two in training by steps of 1/40: lines where a law holds, "
        "dots from the network."
    )
    return Figure(caption, tuple(panels))
