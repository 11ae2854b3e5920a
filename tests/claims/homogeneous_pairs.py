"""What two neurons of one layer exchange: the balance matrix of a ReLU network beside its diagonal."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from derivations.compiled import evaluate
from derivations.deep_linear import homogeneous
from numerics.homogeneous import velocity
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.claims.neurons import SAMPLES, Subject, network
from tests.claims.settings import array

between = Claim(
    "homogeneous.balance-between-neurons",
    source="A eq. 4, for ReLU networks",
    says="The balance matrix of a ReLU network is not conserved: two neurons exchange balance while one of "
    "them is active and the other is not.",
    formula=homogeneous.pair_drift,
    lhs=r"[\dot{C}]_{hk}",
    uses=("homogeneous.neuron-balance",),
    near_misses={
        "sum of the two exchanges": lambda: (
            -(homogeneous.GATE_H - homogeneous.GATE_K)
            * (homogeneous.FORCE_H * homogeneous.PRE_K + homogeneous.FORCE_K * homogeneous.PRE_H)
        )
    },
    falsifiers={"conserved, as in a linear network": lambda: 0 * homogeneous.GATE_H},
    remark=(
        "The diagonal vanishes, which is the law of single neurons. The rest vanishes for every sample that "
        "finds both neurons in the same state: as long as no neuron is switched off, a ReLU network conserves "
        "the whole matrix, like the linear one."
    ),
)


@between.proof(generic_in="depth, widths, loss")
def products_of_two_neurons(formula):
    """The updates of the incoming and the outgoing weights of two neurons, from one sample."""
    return homogeneous.is_pair_drift(formula)


@lru_cache(maxsize=64)
def exchange(depth: int, widths: str | tuple[int, ...], activation: str, loss: str, seed: int) -> tuple:
    """Rates of all balance matrices under gradient descent, and slopes, pre-activations and forces of every layer."""
    net, task = network(depth, widths, activation, False, loss, seed)
    g = velocity(net, task, "gradient")
    ahead, behind = (net.add(g, s).weights for s in (1.0, -1.0))

    def balances(weights: tuple[Tensor, ...]) -> list[Tensor]:
        return [w @ w.mT - above.mT @ above for w, above in zip(weights, weights[1:], strict=False)]

    rates = [array(a - b) / 2 for a, b in zip(balances(ahead), balances(behind), strict=True)]
    pre, slope = net.layers(task.x), {"linear": 1.0, "relu": 0.0, "leaky-relu": 0.2}[activation]
    force, parts = task.residual(net), []
    for i in range(depth - 1, 0, -1):
        force = net.weights[i].mT @ force
        gates = (pre[i - 1] > 0).to(torch.float64) * (1 - slope) + slope
        parts.append([array(one) for one in (gates, force, pre[i - 1])])
        force = gates * force
    return net, task, g, rates, parts[::-1]


@between.check(
    grid(
        depth=[2, 3], widths=["wide", "waist"], activation=["relu", "leaky-relu", "linear"], loss=["squares"], seed=[0]
    )
    + grid(depth=[4], widths=["narrowing"], activation=["relu"], loss=["cross-entropy"], seed=[1])
)
def rates_of_the_balance_matrix(formula, depth, widths, activation, loss, seed):
    """The rate of every entry of every balance matrix under gradient descent, against its mean over the samples."""
    net, task, g, rates, parts = exchange(depth, widths, activation, loss, seed)
    predicted, observed = [], []
    for rate, (gate, force, pre) in zip(rates, parts, strict=True):
        letters = {"D": gate, "e": force, "z": pre}
        pairs = {f"{name}_h": one[:, None, :] for name, one in letters.items()}
        pairs |= {f"{name}_k": one[None, :, :] for name, one in letters.items()}
        full = np.broadcast_to(evaluate(formula, pairs), (*rate.shape, SAMPLES))
        predicted.append(full.mean(-1).ravel())
        observed.append(rate.ravel())
    largest = float(net.flat().abs().max())
    speed = float(g.abs().max())
    bound = rounding((largest + speed) ** 2 + largest * speed, 4 * g.numel())
    return agree(np.concatenate(observed), np.concatenate(predicted), bound=bound, scale=largest * speed).on(
        Subject(net, task, g / g.norm())
    )
