"""Lemma 3 and appendix A.3 as printed: bounds by means of factors, which blocks of real networks exceed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from sympy import Symbol, sqrt

from derivations.compiled import evaluate
from derivations.information import lemma3
from derivations.information.lemma3 import BELOW, FIRST, JOINT, LAYER, LINK, MEAN_INPUT, PHI
from tests.checker.bounds import sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import at_most
from tests.checker.evidence import Evidence
from tests.claims.anatomy import Anatomy
from tests.claims.critical import critical_sample

FALSE_ALARM = 1e-6
_ODD = ("tanh", "erf", "linear")


@lru_cache(maxsize=64)
def ensemble(
    activation: str, qstar: float, width: int, depth: int, samples: int, outputs: int, networks: int, seed: int
) -> tuple[Anatomy, ...]:
    """Critical orthogonal networks, a declared number, on the same inputs; of mean zero where there are several."""
    if networks < 2:
        raise ValueError(f"networks: {networks} given, allowed: at least 2")
    drawn = [
        critical_sample(qstar, width, depth, outputs=outputs, samples=samples, activation=activation, seed=seed + k)
        for k in range(networks)
    ]
    x = drawn[0].x
    x = x - x.mean(-1, keepdim=True) if samples > 1 else x
    return tuple(Anatomy(one.net, x) for one in drawn)


def names(kind: str, beta: int) -> tuple[str, str]:
    """The parameters of the block: ``Wb`` with beta = 2 is W1 and b2."""
    return f"{kind[0]}1", f"{kind[1]}{beta}"


def per_network(nets: tuple[Anatomy, ...], kind: str, beta: int) -> np.ndarray:
    """The norm of the block in every network."""
    return np.array([one.norm(*names(kind, beta)) for one in nets])


def means(nets: tuple[Anatomy, ...], beta: int) -> Mapping[Symbol, Any]:
    """The means over networks and inputs that the bounds are made of; E phi of an odd activation is zero exactly."""
    unit = nets[0].net
    below = [one.net.forward(one.x).x[beta - 1] for one in nets]
    phi = 0.0 if unit.activation in _ODD else abs(float(sum(x.mean() for x in below)) / len(nets))

    def mean(read: Any) -> float:
        return float(np.mean([read(one) for one in nets]))

    def joint(kind: str) -> Any:
        a, b = names(kind, beta)
        return lambda one: one.lengths[a] * one.lengths[b] * one.steepness[0] * one.links * one.steepness[beta - 1]

    return {
        BELOW: unit.widths[beta - 1],
        PHI: phi,
        MEAN_INPUT: nets[0].mean_input,
        FIRST: mean(lambda one: one.steepness[0]),
        LAYER: mean(lambda one: one.steepness[beta - 1]),
        LINK: mean(lambda one: one.links),
        **{JOINT[kind]: mean(joint(kind)) for kind in JOINT},
    }


def against(formula: Any, nets: tuple[Anatomy, ...], kind: str, beta: int, *, sampled: bool) -> Evidence:
    """The mean norm of the block against the formula; ``sampled`` where the formula does not vanish exactly."""
    if not 2 <= beta <= nets[0].net.depth:
        raise ValueError(f"beta: {beta} given, allowed: from 2 to the depth {nets[0].net.depth}")
    if kind != "Wb" and not sampled and nets[0].net.activation not in _ODD:
        raise ValueError(f"activation: {nets[0].net.activation} given, allowed: {', '.join(_ODD)}")
    found = per_network(nets, kind, beta)
    bound = nets[0].rounding
    if sampled:
        bound = bound + sampling(float(found.std(ddof=1)), len(nets), FALSE_ALARM)
    return at_most(found.mean(), evaluate(formula, means(nets, beta)), bound=bound)


ODD = grid(
    activation=["tanh"], qstar=[0.5], width=[6], depth=[3], beta=[2, 3], samples=[4], outputs=[2], networks=[6]
) + grid(
    activation=["erf"], qstar=[1 / 64, 8.0], width=[5], depth=[2], beta=[2], samples=[1], outputs=[1], networks=[6]
)
RELU = grid(activation=["relu"], qstar=[1.0], width=[16], depth=[2], beta=[2], samples=[1], outputs=[1], networks=[48])

weights_weights = Claim(
    "curvature-bound.first-and-later-weights-as-printed",
    source="B eqs. 13-14 and 24-26",
    says="The mean norm of the block of the first and a later weight matrix is at most the root of a width times the "
    "mean activation, the length of the mean input, and the mean norms of both Jacobians and of the output curvature.",
    formula=lambda: lemma3.printed("WW"),
    control=lambda: lemma3.corrected("WW"),
    corrected_by=("curvature-bound.block-norms", "curvature-bound.averaged-activation"),
    lhs=r"\mathbb{E}\, s_{\max}(G_{W^1 W^\beta})",
    relation=r"\le",
    near_misses={"lengths left out": lambda: JOINT["bb"], "half the mean": lambda: JOINT["WW"] / 2},
    mutate=False,
    remark=(
        "The mean of a norm is not the norm of a mean. For tanh the mean activation is zero and so is the printed "
        "bound, while the blocks of every network are not. For the matrix averaged over networks the outer product of "
        "activation and input has the stated norm, with the width of the layer below $`\\beta`$: the vector has "
        "$`N^{\\beta-1}`$ entries, not $`N^\\beta`$."
    ),
)


@weights_weights.proof(instances="ReLU networks of one unit on the inputs 1 and -1")
def first_and_later_weights_of_one_unit(formula):
    """Two inputs of opposite sign: the mean input vanishes, the block does not."""
    return lemma3.against_witness(formula, "WW")


@weights_weights.check(ODD)
def odd_activations(formula, beta, seed, **drawn):
    """Critical networks with odd activations, where the printed bound is zero."""
    return against(formula, ensemble(**drawn, seed=seed), "WW", beta, sampled=False)


@weights_weights.check(
    grid(
        activation=["tanh"],
        qstar=[1 / 64, 0.5],
        width=[40],
        depth=[4],
        beta=[2, 4],
        samples=[30],
        outputs=[10],
        networks=[4],
    ),
    slow=True,
)
def wider_odd_networks(formula, beta, seed, **drawn):
    """The same with more units, inputs and outputs."""
    nets = ensemble(**drawn, seed=seed)
    return against(formula, nets, "WW", beta, sampled=False)


weights_bias = Claim(
    "curvature-bound.first-weights-and-later-bias-as-printed",
    source="B eqs. 15-16 and 27-29",
    says="The mean norm of the block of the first weights and a later bias is at most the length of the mean input "
    "times the mean norms of both Jacobians and of the output curvature.",
    formula=lambda: lemma3.printed("Wb"),
    control=lambda: lemma3.corrected("Wb"),
    corrected_by=("curvature-bound.block-norms",),
    lhs=r"\mathbb{E}\, s_{\max}(G_{W^1 b^\beta})",
    relation=r"\le",
    near_misses={"half the mean": lambda: JOINT["Wb"] / 2},
    falsifiers={"a tenth of the bias block": lambda: JOINT["bb"] / 10},
    mutate=False,
    remark=(
        "The step replaces the mean length of the inputs by the length of their mean. Centred data make the printed "
        "bound vanish; the blocks do not vanish, because the Jacobians depend on the input."
    ),
)


@weights_bias.proof(instances="ReLU networks of one unit on the inputs 1 and -1")
def first_weights_of_one_unit(formula):
    """Two inputs of opposite sign again: the ReLU lets one of them through."""
    return lemma3.against_witness(formula, "Wb")


@weights_bias.check(
    grid(
        activation=["tanh", "relu"],
        qstar=[0.5],
        width=[6],
        depth=[3],
        beta=[2, 3],
        samples=[4],
        outputs=[2],
        networks=[6],
    )
)
def centred_inputs(formula, beta, seed, **drawn):
    """Critical networks on inputs of mean zero, where the printed bound is zero."""
    if drawn["samples"] < 2:
        raise ValueError(f"samples: {drawn['samples']} given, allowed: at least 2, to have mean zero")
    return against(formula, ensemble(**drawn, seed=seed), "Wb", beta, sampled=False)


@weights_bias.check(
    grid(
        activation=["tanh", "relu"],
        qstar=[0.5],
        width=[6],
        depth=[3],
        beta=[2],
        samples=[1],
        outputs=[1],
        networks=[36],
    )
)
def single_inputs(formula, beta, seed, **drawn):
    """One input and one output: the corrected bound is reached, the printed one differs from it by fluctuations."""
    return against(formula, ensemble(**drawn, seed=seed), "Wb", beta, sampled=True)


bias_weights = Claim(
    "curvature-bound.first-bias-and-later-weights-as-printed",
    source="B eqs. 30-32",
    says="The mean norm of the block of the first bias and a later weight matrix is at most the mean activation times "
    "the mean norms of both Jacobians and of the output curvature.",
    formula=lambda: lemma3.printed("bW"),
    control=lambda: lemma3.corrected("bW"),
    corrected_by=("curvature-bound.block-norms", "curvature-bound.averaged-activation"),
    lhs=r"\mathbb{E}\, s_{\max}(G_{b^1 W^\beta})",
    relation=r"\le",
    near_misses={"half the mean": lambda: JOINT["bW"] / 2},
    falsifiers={"eq. 31, the root of the width kept": lambda: sqrt(BELOW) * lemma3.printed("bW")},
    mutate=False,
    remark=(
        "The first line of the printed chain needs activations independent of the Jacobians. The second takes the "
        "length of the mean activation, $`\\sqrt{N^{\\beta-1}} \\lvert \\mathbb{E} \\phi \\rvert`$, "
        "for the mean length, and is zero for tanh. The third drops the root of the width, and takes the mean of a "
        "product for the product of means. For ReLU the bound is too small even if the root is kept: the mean of the "
        "activations is below the root of their mean square, at every width."
    ),
)


@bias_weights.proof(instances="two ReLU networks of one unit on the input 1")
def later_weights_of_one_unit(formula):
    """Two networks that differ in the sign of the first weight."""
    return lemma3.against_witness(formula, "bW")


@bias_weights.check(ODD)
def odd_activations_above(formula, beta, seed, **drawn):
    """Critical networks with odd activations, where the printed bound is zero."""
    return against(formula, ensemble(**drawn, seed=seed), "bW", beta, sampled=False)


@bias_weights.check(RELU)
def relu_networks(formula, beta, seed, **drawn):
    """Critical ReLU networks, whose mean activation is not zero: here the lost root of the width shows."""
    return against(formula, ensemble(**drawn, seed=seed), "bW", beta, sampled=True)
