"""What curvature does not fix: Adam under a rescaled loss, the sign of the Fisher matrix, and depth at a fixed rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Integer, sqrt

from derivations import words
from derivations.compiled import evaluate
from derivations.information import adaptive, smoothness
from derivations.information.adaptive import FACTOR, ROOT
from derivations.information.smoothness import CURVATURE, JACOBIAN, MOVE, TOTAL
from derivations.notation import DEPTH, EPSILON
from numerics import initialisations as init
from numerics.device import generator
from numerics.frames import haar, normal
from numerics.likelihoods import log_likelihood, roots
from numerics.problems import Problem
from numerics.rules import GradientDescent
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both, vanishes
from tests.checker.figure import Figure, Panel, Series
from tests.claims.objectives import Objective, spectrum, task, whole
from tests.claims.settings import Setting, array

Widths = str | tuple[int, ...]
NETS = grid(depth=[1, 2], widths=["square", "waist"], activation=["tanh"])


def adam(objective: Objective, factor: float, eta: float, epsilon: float, steps: int) -> torch.Tensor:
    """Parameters over the steps (steps + 1, P) of torch.optim.Adam on ``factor`` times a loss."""
    flat = objective.start.clone().requires_grad_()
    optimiser = torch.optim.Adam([flat], lr=eta, eps=epsilon)
    path = [flat.detach().clone()]
    for _ in range(steps):
        optimiser.zero_grad()
        (factor * objective.loss(flat)).backward()
        optimiser.step()
        path.append(flat.detach().clone())
    return torch.stack(path)


ratio = Claim(
    "smoothness.adam-step-ratio",
    source="beyond B",
    says="Multiplying the loss by a constant leaves the steps of Adam as they are, but for its small constant in the "
    "denominator; so no absolute curvature limits them.",
    formula=adaptive.step_ratio,
    lhs=r"\delta\theta(c f) / \delta\theta(f)",
    near_misses={
        "the same with the constant": lambda: FACTOR**0,
        "constant not divided": lambda: FACTOR * (ROOT + EPSILON) / (FACTOR * ROOT + FACTOR * EPSILON + EPSILON),
    },
    falsifiers={"proportional to the loss": lambda: FACTOR, "inversely proportional": lambda: 1 / FACTOR},
    remark=(
        "Here $`r`$ is the root of the running mean of squared gradients of one parameter. The curvature of a loss "
        "grows with the constant, the steps do not: with $`\\epsilon = 0`$ the whole training is the same."
    ),
)


@ratio.proof(generic_in="objective, number of steps, decay rates")
def running_means_scale(formula):
    """Both running means scale with the loss, by induction over the steps; then one step."""
    return adaptive.is_step_ratio(formula)


@lru_cache(maxsize=64)
def first_steps(depth: int, widths: Widths, activation: str, factor: float, epsilon: float) -> tuple:
    """Ratios of the first steps of Adam on a scaled and on the plain loss, and the gradient's entries."""
    objective = task(depth, widths, activation, 2)
    plain = adam(objective, 1.0, 1.0, epsilon, 1)
    scaled = adam(objective, factor, 1.0, epsilon, 1)
    entries = array(objective.slope(objective.start))
    moved = array(plain[1] - plain[0])
    return objective, array(scaled[1] - scaled[0]) / moved, np.abs(entries), np.abs(moved)


@ratio.check(
    grid(depth=[1, 2], widths=["square", "waist"], activation=["tanh"], factor=[1e4, 0.01], epsilon=[1e-3, 0.3])
)
def first_step_of_the_library(formula, depth, widths, activation, factor, epsilon):
    """The first step of torch.optim.Adam on a full network, every parameter, with and without the factor."""
    if not factor > 0:
        raise ValueError(f"factor: {factor} given, allowed: a number > 0")
    objective, observed, entries, moved = first_steps(depth, widths, activation, factor, epsilon)
    predicted = evaluate(formula, {FACTOR: factor, ROOT: entries, EPSILON: epsilon})
    # parameters of size one are rounded when a small step is added to them
    largest = float(objective.start.abs().max()) + 1
    bound = rounding(largest * float((observed / moved).max() + (1 / moved).max()), 16)
    return agree(observed, predicted, bound=bound).on(objective)


printed = Claim(
    "smoothness.adam-step-as-printed",
    source="B introduction, section 3",
    says="The effective step of the optimiser is inversely proportional to the smoothness: a loss multiplied by a "
    "constant needs a rate divided by it.",
    formula=lambda: 1 / FACTOR,
    control=lambda: Integer(1),
    corrected_by=("smoothness.adam-step-ratio", "smoothness.largest-step"),
    lhs=r"\eta(c f) / \eta(f)",
    near_misses={"root of the factor": lambda: 1 / sqrt(FACTOR)},
    falsifiers={"proportional": lambda: FACTOR},
    mutate=False,
    remark=(
        "True for gradient descent, and for momentum. The paper trains with Adam, for which the rate that gives the "
        "same training does not depend on the constant."
    ),
)


@printed.proof(generic_in="objective, number of steps, decay rates")
def same_steps_same_rate(formula):
    """The ratio of steps without the small constant; the rate has to undo it."""
    return adaptive.is_step_ratio(1 / formula, Integer(0))


@lru_cache(maxsize=64)
def trained(depth: int, widths: Widths, activation: str, factor: float, eta: float, steps: int) -> torch.Tensor:
    """Parameters over many steps of Adam without its small constant."""
    return adam(task(depth, widths, activation, 2), factor, eta, 0.0, steps)


@printed.check(grid(depth=[1, 2], widths=["square"], activation=["tanh"], power=[13, -6], step=[0.01], steps=[40]))
def whole_trainings(formula, depth, widths, activation, power, step, steps):
    """Training of full networks by Adam, loss and rate both changed, against plain training; factors 2^power."""
    factor, steps = 2.0 ** whole("power", power, -60), whole("steps", steps)
    rate = float(evaluate(formula, {FACTOR: factor}))
    plain = trained(depth, widths, activation, 1.0, step, steps)
    scaled = trained(depth, widths, activation, factor, step * rate, steps)
    size = float((plain - plain[0]).abs().max())
    bound = rounding(float(plain.abs().max()), 16 * steps)
    return vanishes(array(scaled - plain), bound=bound, scale=size).on(task(depth, widths, activation, 2))


fisher = Claim(
    "smoothness.fisher-nonnegative",
    source="B introduction",
    says="The Fisher matrix gives every direction the mean square of a number, so it is never negative, also where "
    "the loss is not convex.",
    formula=smoothness.fisher_form,
    lhs=r"v^{\mathsf T} G_i v",
    near_misses={"half of it": lambda: smoothness.fisher_form() / 2},
    falsifiers={
        "curvature squared": lambda: words.trace(MOVE.T * JACOBIAN.T * CURVATURE * CURVATURE * JACOBIAN * MOVE),
        "negative": lambda: -smoothness.fisher_form(),
        "without the likelihood": lambda: words.trace(MOVE.T * JACOBIAN.T * JACOBIAN * MOVE),
    },
    remark="This is one sample; the Fisher matrix is the mean. The Hessian of the same loss has downward curvature.",
)


@fisher.proof(generic_in="network, likelihood, numbers of parameters and outputs")
def a_square_for_every_sample(formula):
    """Split the curvature of the likelihood into a product with its own transpose."""
    return smoothness.is_fisher_form(formula)


@lru_cache(maxsize=64)
def scores(depth: int, widths: Widths, activation: str, seed: int) -> tuple:
    """Mean squared scores along a direction, every label weighted by its model probability; letters; extremes."""
    objective = task(depth, widths, activation, seed, "softmax")
    net, x = objective.net, objective.x
    move = torch.randn(objective.start.shape, generator=generator(seed + 1), dtype=torch.float64)
    outputs = net.forward(x).outputs
    probabilities = torch.softmax(outputs, -2)

    def logs(flat: torch.Tensor, label: int) -> torch.Tensor:
        labels = torch.full((x.shape[1],), label)
        return log_likelihood("softmax", net.replace(flat).forward(x).outputs, labels)

    along, whole = torch.zeros(x.shape[1], dtype=torch.float64), torch.zeros(len(move), len(move), dtype=torch.float64)
    for label in range(net.outputs):
        score = torch.func.jacrev(logs)(objective.start, label)
        along = along + probabilities[label] * (score @ move) ** 2
        whole = whole + (score.mT * probabilities[label]) @ score / x.shape[1]
    root = roots("softmax", outputs)
    letters = [
        {"J": array(j), "v": array(move)[:, None], "R": array(r), "H_i": array(r @ r.mT)}
        for j, r in zip(objective.outputs_by_parameters(), root, strict=True)
    ]
    least = float(torch.linalg.eigvalsh(whole)[0]), float(spectrum(objective)[0][0])
    return objective, array(along), letters, least, float(whole.abs().max())


@fisher.check(NETS + grid(depth=[2], widths=["wide"], activation=["erf"]))
def mean_squared_scores(formula, depth, widths, activation):
    """Scores of a full softmax network for all labels; least eigenvalues of its Fisher matrix and of its Hessian."""
    objective, along, letters, (least, downward), size = scores(depth, widths, activation, 0)
    predicted = [float(words.evaluate(formula, one)) for one in letters]
    operations = objective.start.numel() + 8 * sum(objective.net.widths)
    bound = rounding(float(along.max()), operations)
    if not downward < -1e-3:
        raise ValueError(f"widths: {widths} given, allowed: networks whose loss is not convex")
    sign = vanishes(min(least, 0.0), bound=rounding(size * objective.start.numel(), operations), scale=-downward)
    return both(agree(along, predicted, bound=bound), sign).on(objective)


@dataclass(frozen=True, slots=True, eq=False)
class Layered:
    """An orthogonal linear network with its task, the rate of every layer and the total rate."""

    setting: Setting
    rate: float
    total: float


SHARED = Assumption(
    "rate shared by the layers",
    "the learning rate is a fixed number divided by the depth",
    lambda s: abs(s.rate * s.setting.net.depth - s.total) < 1e-12 * s.total,
)

orthogonal = Claim(
    "smoothness.orthogonal-start-speed",
    source="B section 3.1",
    says="At an orthogonal start deep linear networks of every depth move their map alike, if the rate is shared by "
    "the layers.",
    formula=smoothness.orthogonal_velocity,
    lhs=r"\dot W",
    conditions=(SHARED,),
    near_misses={"as one layer of the total": lambda: smoothness.orthogonal_velocity() / DEPTH},
    falsifiers={
        "twice as fast": lambda: 2 * smoothness.orthogonal_velocity(),
        "uphill": lambda: -smoothness.orthogonal_velocity(),
    },
    remark=(
        "The paper cites that such networks learn at a speed that does not depend on depth. At one and the same rate "
        "they are faster the deeper they are, in proportion, and become unstable: their curvature grows with the depth."
    ),
)


@orthogonal.proof(generic_in="depth, width")
def equal_shares(formula):
    """The share of one layer between orthogonal products, times the number of layers."""
    return smoothness.is_orthogonal_velocity(formula)


@lru_cache(maxsize=64)
def start_velocity(depth: int, width: int, rate: float, seed: int) -> tuple[Setting, np.ndarray]:
    """The velocity of the map of an orthogonal network under gradient descent at a rate, summed over the layers."""
    draw, width = generator(seed), whole("width", width)
    net = init.orthogonal((width,) * (depth + 1), draw)
    setting = Setting(net, Problem(normal((width, width), draw)))
    moved = GradientDescent(rate).velocity(net, setting.problem)
    return setting, sum(array(net.left(i) @ v @ net.right(i)) for i, v in enumerate(moved, start=1))


def _speeds(formula, depth: int, width: int, eta: float, rate: float, seed: int):
    setting, observed = start_velocity(depth, width, rate, seed)
    gap = array(setting.problem.error(setting.net))
    predicted = words.evaluate(formula, {"Delta": gap, TOTAL: eta, DEPTH: depth})
    bound = rounding(rate * depth * float(np.linalg.norm(gap, 2)), 8 * width * depth)
    return agree(observed, predicted, bound=bound).on(Layered(setting, rate, eta))


@orthogonal.check(grid(depth=[1, 2, 5, 24], width=[2, 5], eta=[0.4], seed=[0, 1]))
def shared_rates(formula, depth, width, eta, seed):
    """Velocities of full networks of four depths whose layers share one total rate."""
    return _speeds(formula, depth, width, eta, eta / depth, seed)


@orthogonal.without(SHARED, grid(depth=[2, 5, 24], width=[2, 5], eta=[0.4], seed=[0]))
def one_rate_for_every_layer(formula, depth, width, eta, seed):
    """Velocities of full networks whose layers all have the same rate whatever the depth."""
    return _speeds(formula, depth, width, eta, eta, seed)


@lru_cache(maxsize=64)
def course(depth: int, width: int, rate: float, steps: int) -> list[float]:
    """Losses of an orthogonal network in training by gradient descent, until they blow up."""
    draw = generator(3)
    net, base = init.orthogonal((width,) * (depth + 1), draw), haar(width, draw)
    problem = Problem(net.product() @ base @ torch.diag(torch.linspace(0.7, 1.4, width).double()) @ base.mT)
    losses = [float(problem.loss(net))]
    for _ in range(steps):
        net = net.add(GradientDescent(rate).velocity(net, problem))
        losses.append(float(problem.loss(net)))
    return losses


@orthogonal.figure
def training_at_four_depths(formula):
    """Losses in training, with the rate shared by the layers and with one rate for all."""
    panels = []
    for title, shared in (("rate shared by the layers", True), ("one rate for every layer", False)):
        series = []
        for depth in (2, 4, 8, 16):
            losses = course(depth, 4, 0.1 / depth if shared else 0.01, 60)
            series.append(Series(f"{depth} layers", range(len(losses)), losses, "simulation"))
        rate = float(-words.evaluate(formula, {"Delta": np.eye(1), TOTAL: 0.1, DEPTH: 1})[0, 0])
        decay = losses[0] * np.exp(-2 * rate * np.arange(61))
        series.append(Series("speed at the start", range(61), decay) if shared else Series("", [], []))
        panels.append(Panel(title, "step", "loss", tuple(one for one in series if one.x), log_y=True))
    return Figure("Orthogonal linear networks near their goal, in training by gradient descent.", tuple(panels))
