"""Smoothness of the gradient: its Lipschitz constant, what one step surely gains, and how far descent reaches."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.func import jacrev, vmap

from derivations.compiled import evaluate
from derivations.information import smoothness
from derivations.information.smoothness import BOTTOM, MOST, SIZE, TOP
from derivations.notation import ETA
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, at_most, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.objectives import Objective, on_the_sharpest_axis, spectrum, task

NODES = 9


def _operations(objective: Objective) -> int:
    return objective.x.numel() + 8 * sum(objective.net.widths) + 2 * objective.start.numel()


constant = Claim(
    "smoothness.lipschitz-constant",
    source="B section 3",
    says="The gradient changes at most by the largest size of a curvature times the distance, upward curvature or "
    "downward, and along one direction it does.",
    formula=smoothness.constant,
    lhs="M",
    near_misses={
        "largest curvature alone": lambda: TOP,
        "largest curvature upwards plus downwards": lambda: TOP - BOTTOM,
    },
    falsifiers={"least curvature": lambda: -BOTTOM},
    remark=(
        "The largest eigenvalue is the constant only where no downward curvature is stronger. The Fisher matrix has no "
        "downward curvature, so its largest eigenvalue is the constant of the loss only as far as it stands for the "
        "Hessian."
    ),
)


@constant.proof(generic_in="objective, number of parameters")
def largest_size_of_a_curvature(formula):
    """Upward and downward curvatures apart, each inside the extremes."""
    return smoothness.is_constant(formula)


def _along(objective: Objective, move: Tensor, nodes: int) -> Tensor:
    """Hessians (nodes, P, P) at equal distances on the way from the start by ``move``."""
    shares = torch.linspace(0, 1, nodes, dtype=torch.float64)
    return vmap(objective.curvature)(objective.start + shares[:, None] * move)


@lru_cache(maxsize=64)
def changes(objective: Objective, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Largest stretch of the gradient field at the start; ratios over segments; extreme curvatures on the segments."""
    field = jacrev(objective.slope)(objective.start)
    stretch = float(torch.linalg.svdvals(field)[0])
    draw = torch.Generator().manual_seed(seed + 1)
    ratios, extremes = [], []
    for reach in (0.01, 0.1):
        move = torch.randn(objective.start.shape, generator=draw, dtype=torch.float64) * reach
        there = objective.slope(objective.start + move) - objective.slope(objective.start)
        ratios.append(float(torch.linalg.vector_norm(there) / torch.linalg.vector_norm(move)))
        values = torch.linalg.eigvalsh(_along(objective, move, 5))
        extremes.append([float(values.max()), float(values.min())])
    return stretch, np.array(ratios), np.array(extremes)


@constant.check(
    grid(depth=[1, 2], widths=["square"], activation=["tanh"], kind=["identity", "softmax"], sign=[1, -1])
    + grid(depth=[2], widths=["waist"], activation=["erf"], kind=["identity"], sign=[1, -1])
)
def changes_of_the_gradient(formula, depth, widths, activation, kind, sign):
    """Losses (sign 1) and log-likelihoods (sign -1): the gradient field around a point and over segments."""
    objective = _signed(depth, widths, activation, kind, sign)
    stretch, ratios, extremes = changes(objective, 0)
    values = spectrum(objective)[0]
    here = evaluate(formula, {TOP: values[-1], BOTTOM: values[0]})
    along = evaluate(formula, {TOP: extremes[:, 0], BOTTOM: extremes[:, 1]})
    bound = rounding(float(np.abs(values).max()), _operations(objective))
    return both(agree(stretch, here, bound=bound), at_most(ratios, along, bound=bound)).on(objective)


@lru_cache(maxsize=64)
def _signed(depth: int, widths: str | tuple[int, ...], activation: str, kind: str, sign: float) -> Objective:
    if sign not in (1, -1):
        raise ValueError(f"sign: {sign} given, allowed: 1, -1")
    return replace(task(depth, widths, activation, 0, kind), sign=float(sign))


guarantee = Claim(
    "smoothness.descent-guarantee",
    source="B introduction",
    says="A step of gradient descent lowers a smooth objective by at least its rate times the squared gradient, less a "
    "share that grows with rate and smoothness; a parabola gains no more.",
    formula=smoothness.guaranteed_decrease,
    lhs=r"f(\theta) - f(\theta - \eta \nabla f)",
    relation=r"\ge",
    uses=("smoothness.lipschitz-constant",),
    near_misses={
        "one half missing": lambda: ETA * (1 - ETA * MOST) * SIZE**2,
        "no loss to smoothness": lambda: ETA * SIZE**2,
    },
    falsifiers={"smoothness helps": lambda: ETA * (1 + ETA * MOST / 2) * SIZE**2},
    remark=(
        "The gain is positive up to the rate $`2/M`$ and largest at $`1/M`$. So it is the inverse of the curvature, "
        "twice, that limits the rate of gradient descent, not the curvature itself."
    ),
)


@guarantee.proof(generic_in="objective, number of parameters")
def descent_lemma(formula):
    """Integrate the slope along the step, then compare with a parabola."""
    return smoothness.is_guaranteed_decrease(formula)


SHARES = (0.3, 1.0, 1.9, 2.5)


@guarantee.check(grid(width=[2, 4], share=SHARES, distance=[0.1, 3.0], seed=[0]))
def along_the_sharpest_direction(formula, width, share, distance, seed):
    """Steps of full networks with a linear hidden layer, displaced along the sharpest direction of their loss."""
    objective = on_the_sharpest_axis(width, seed, distance)
    most = float(spectrum(objective)[0][-1])
    slope = objective.slope(objective.start)
    if not share > 0:
        raise ValueError(f"share: {share} given, allowed: numbers > 0")
    rate, before = share / most, objective.value(objective.start)
    gained = before - objective.value(objective.start - rate * slope)
    predicted = evaluate(formula, {ETA: rate, MOST: most, SIZE: float(torch.linalg.vector_norm(slope))})
    bound = rounding(before * (1 + share) ** 2, 8 * _operations(objective), _stiffness(objective))
    return agree(gained, predicted, bound=bound, scale=before).on(objective)


def _stiffness(objective: Objective) -> float:
    """Size of outputs over the part that makes the loss: how much rounding the subtraction of labels amplifies."""
    outputs = objective.net.replace(objective.start, objective.which).forward(objective.x).outputs
    return max(1.0, float(outputs.abs().max() / (outputs - objective.labels).abs().max()))


@lru_cache(maxsize=64)
def segment(depth: int, widths: str | tuple[int, ...], activation: str, kind: str, share: float) -> tuple:
    """A step of gradient descent, its gain, and the largest size of a curvature on the way."""
    objective = task(depth, widths, activation, 1, kind)
    slope = objective.slope(objective.start)
    rate = share / float(np.abs(spectrum(objective)[0]).max())
    most = float(torch.linalg.matrix_norm(_along(objective, -rate * slope, NODES), 2).max())
    gained = objective.value(objective.start) - objective.value(objective.start - rate * slope)
    return objective, rate, gained, most, float(torch.linalg.vector_norm(slope))


@guarantee.check(
    grid(depth=[1, 2], widths=["square"], activation=["tanh"], kind=["identity", "softmax"], share=[0.2, 1.0])
    + grid(depth=[2], widths=["waist"], activation=["erf"], kind=["identity"], share=[0.5])
)
def steps_of_nonlinear_networks(formula, depth, widths, activation, kind, share):
    """Steps of full networks, with the largest size of a curvature on the way."""
    objective, rate, gained, most, size = segment(depth, widths, activation, kind, share)
    predicted = evaluate(formula, {ETA: rate, MOST: most, SIZE: size})
    start = objective.value(objective.start)
    return at_least(gained, predicted, bound=rounding(start, _operations(objective))).on(objective)


@guarantee.figure
def gain_over_the_rate(formula):
    """Gain of one step over the rate, on the sharpest direction and for a tanh network."""
    quadratic, shares = on_the_sharpest_axis(4, 0, 1.0), np.linspace(0.05, 2.6, 24)
    most, slope = float(spectrum(quadratic)[0][-1]), quadratic.slope(quadratic.start)
    before, size = quadratic.value(quadratic.start), float(torch.linalg.vector_norm(slope))
    exact = [before - quadratic.value(quadratic.start - float(s) / most * slope) for s in shares]
    theory = evaluate(formula, {ETA: shares / most, MOST: most, SIZE: size})
    found = [segment(2, "square", "tanh", "identity", float(s)) for s in shares[::5]]
    scale = [f[2] / f[4] ** 2 * f[3] for f in found]
    unit = most / size**2
    panel = Panel(
        "one step of gradient descent",
        r"$\eta M$",
        r"gain in units of $\Vert \nabla f \Vert^2 / M$",
        (
            Series("guaranteed", shares, theory * unit),
            Series("sharpest direction", shares, np.array(exact) * unit, "simulation"),
            Series("tanh network", [f[1] * f[3] for f in found], scale, "marker"),
        ),
        residual=Series("difference", shares, np.abs(np.array(exact) - theory) * unit, "simulation"),
    )
    return Figure("What a step gains: no less than the line, and exactly that along the sharpest direction.", (panel,))


REACH = grid(width=[2, 4], distance=[0.1, 3.0], seed=[0])


def _crossing(objective: Objective) -> float:
    """How far along the negative gradient the objective is below its start."""
    slope = objective.slope(objective.start)
    way = slope / torch.linalg.vector_norm(slope)
    before, reach = objective.value(objective.start), 1e-3

    def above(length: float) -> float:
        return objective.value(objective.start - length * way) - before

    while above(2 * reach) < 0:
        reach *= 2
    return brentq(above, reach, 2 * reach, xtol=1e-15, rtol=1e-15)


@lru_cache(maxsize=64)
def reached(width: int, seed: int, distance: float) -> tuple[Objective, float, float, float]:
    """An objective on its sharpest axis, the measured reach of descent, the constant and the size of the gradient."""
    objective = on_the_sharpest_axis(width, seed, distance)
    most = float(spectrum(objective)[0][-1])
    size = float(torch.linalg.vector_norm(objective.slope(objective.start)))
    return objective, _crossing(objective), most, size


def _distances(formula, width: int, distance: float, seed: int):
    objective, observed, most, size = reached(width, seed, distance)
    predicted = evaluate(formula, {MOST: most, SIZE: size})
    bound = rounding(observed, 8 * _operations(objective), _stiffness(objective))
    return agree(observed, predicted, bound=bound).on(objective)


reach = Claim(
    "smoothness.descent-reach",
    source="B section 3",
    says="Along the negative gradient a smooth objective stays below its start over twice the gradient divided by the "
    "smoothness, and over no longer distance in general.",
    formula=smoothness.descent_distance,
    lhs=r"\lVert \theta - \theta' \rVert",
    uses=("smoothness.descent-guarantee",),
    near_misses={"half of it": lambda: SIZE / MOST, "twice the inverse smoothness": lambda: 2 / MOST},
    falsifiers={"product": lambda: 2 * SIZE * MOST},
    remark="The half of this distance is where the guaranteed gain is largest, at the rate $`1/M`$.",
)


@reach.proof(generic_in="objective, number of parameters")
def bound_back_at_zero(formula):
    """The bound on the change along the negative gradient, and where it returns to zero."""
    return smoothness.is_descent_distance(formula)


@reach.check(REACH)
def reach_along_the_sharpest_direction(formula, width, distance, seed):
    """Where the loss of a full network with a linear hidden layer is back at its start."""
    return _distances(formula, width, distance, seed)


printed = Claim(
    "smoothness.descent-reach-as-printed",
    source="B section 3",
    says="The negative gradient is a direction of descent over a distance of the Lipschitz constant.",
    formula=lambda: MOST,
    control=smoothness.descent_distance,
    corrected_by=("smoothness.descent-reach",),
    lhs=r"\lVert \theta - \theta' \rVert",
    near_misses={"half the gradient over the smoothness": lambda: SIZE / (2 * MOST)},
    falsifiers={"twice the inverse smoothness": lambda: 2 / MOST},
    remark=(
        "The constant stands in the denominator, and the gradient in the numerator: a sharper objective allows a "
        "shorter way. On $`5 x^2`$, whose constant is 10, a way of 10 from 1 raises the value from 5 to 405."
    ),
)


@printed.proof(generic_in="objective, number of parameters")
def bound_at_that_distance(formula):
    """The bound on the change along the negative gradient, and where it returns to zero."""
    return smoothness.is_descent_distance(formula)


@printed.check(REACH)
def reach_of_full_networks(formula, width, distance, seed):
    """Where the loss of a full network with a linear hidden layer is back at its start."""
    return _distances(formula, width, distance, seed)
