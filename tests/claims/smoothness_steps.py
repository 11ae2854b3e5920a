"""The largest stable steps: gradient descent, heavy ball, and the best rate when all curvatures are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import brentq
from sympy import Expr, sqrt
from torch import Tensor
from torch.func import jacrev, vmap

from derivations.compiled import evaluate
from derivations.information import smoothness
from derivations.information.smoothness import BETA, LEAST, MOST
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, equal
from tests.checker.figure import Figure, Panel, Series
from tests.claims.objectives import Objective, minimum, spectrum
from tests.claims.settings import array

Widths = str | tuple[int, ...]
STEPS = 40


def _momentum(beta: float) -> float:
    if not 0 <= beta < 1:
        raise ValueError(f"beta: {beta} given, allowed: 0 <= beta < 1")
    return beta


def after_a_step(objective: Objective, pair: Tensor, rate: float, beta: float) -> Tensor:
    """Heavy ball on (theta_t, theta_{t-1}), both in one vector: the same of the next step."""
    here, before = pair.chunk(2)
    return torch.cat([here - rate * objective.slope(here) + beta * (here - before), here])


def update(objective: Objective, beta: float) -> Callable[[float], Tensor]:
    """The Jacobian (2P, 2P) of one step at the start, as a function of the rate: a step is affine in it."""
    rest = torch.cat([objective.start, objective.start])
    still, moving = (jacrev(lambda pair, r=rate: after_a_step(objective, pair, r, beta))(rest) for rate in (0.0, 1.0))
    return lambda rate: still + rate * (moving - still)


@lru_cache(maxsize=64)
def threshold(depth: int, widths: Widths, activation: str, beta: float) -> tuple[Objective, float]:
    """The rate at which the update of a full network at its minimum has the eigenvalue -1, by automatic derivatives."""
    objective = minimum(depth, widths, activation, 0)
    at = update(objective, beta)

    def least(rate: float) -> float:
        return float(torch.linalg.eigvals(at(rate)).real.min()) + 1

    rate = 1e-2
    while least(2 * rate) > 0:
        rate *= 2
    return objective, brentq(least, rate, 2 * rate, xtol=1e-15, rtol=1e-14)


def _stable_rate(formula, depth: int, widths: Widths, activation: str, beta: float):
    objective, observed = threshold(depth, widths, activation, _momentum(beta))
    most = float(spectrum(objective)[0][-1])
    predicted = evaluate(formula, {MOST: most, BETA: beta})
    operations = 16 * objective.start.numel() + objective.x.numel()
    return agree(observed, predicted, bound=rounding(observed, operations, 2 / (1 - beta))).on(objective)


RATES = grid(depth=[1], widths=["square"], activation=["tanh"], beta=[0.0, 0.9]) + grid(
    depth=[2], widths=["waist"], activation=["erf"], beta=[0.3]
)

largest = Claim(
    "smoothness.largest-step",
    source="B introduction, section 3",
    says="Gradient descent is stable up to twice the inverse smoothness, and momentum raises that limit.",
    formula=smoothness.step_threshold,
    lhs=r"\eta_{\max}",
    near_misses={
        "momentum lowers it": lambda: 2 * (1 - BETA) / MOST,
        "inverse smoothness once": lambda: (1 + BETA) / MOST,
        "as without momentum": lambda: 2 / MOST,
    },
    falsifiers={"proportional to the smoothness": lambda: 2 * (1 + BETA) * MOST},
    remark=(
        "Momentum $`\\beta = 0`$ is plain gradient descent, where the rate and the smoothness are inversely "
        "proportional, as the paper says. The limit is that of the sharpest direction; every other is stable up to a "
        "larger rate."
    ),
)


@largest.proof(generic_in="objective near a minimum, momentum below 1")
def characteristic_polynomial(formula):
    """The linear map of two successive points and the places where its eigenvalues leave the unit circle."""
    return smoothness.is_step_threshold(formula)


@largest.check(RATES)
def eigenvalue_of_the_update(formula, depth, widths, activation, beta):
    """Where the update of a full network at a minimum of its loss gets the eigenvalue -1."""
    return _stable_rate(formula, depth, widths, activation, beta)


SHARES = (1.0, 1.8, 2.2, 2.8, 3.2, 3.6, 4.2)


@lru_cache(maxsize=64)
def grows(depth: int, widths: Widths, activation: str, beta: float) -> tuple[Objective, list[bool], float]:
    """Whether training at each of the ``SHARES``, from next to a minimum along its sharpest direction, leads away."""
    objective = minimum(depth, widths, activation, 0)
    values, vectors = spectrum(objective)
    rates = torch.tensor(SHARES, dtype=torch.float64)[:, None] / float(values[-1])
    here = before = (objective.start + 1e-7 * vectors[:, -1]).expand(len(SHARES), -1)
    slopes, away = vmap(objective.slope), torch.zeros(len(SHARES), dtype=torch.float64)
    for _ in range(STEPS):
        here, before = here - rates * slopes(here) + beta * (here - before), here
        now = torch.linalg.vector_norm(here - objective.start, dim=-1)
        # far from the minimum the activations saturate and training may return: what counts is that it left
        away = torch.where(away > 1e-5, away, now)
    return objective, (away > 1e-7).tolist(), float(values[-1])


@largest.check(grid(depth=[1, 2], widths=["square"], activation=["tanh"], beta=[0.0, 0.5, 0.9]))
def training_next_to_a_minimum(formula, depth, widths, activation, beta):
    """Whether training of full networks leads away from the minimum, at seven rates on both sides of the limit."""
    objective, found, most = grows(depth, widths, activation, _momentum(beta))
    limit = float(evaluate(formula, {MOST: most, BETA: beta}))
    return equal(found, [share / most > limit for share in SHARES]).on(objective)


@largest.figure(slow=True)
def growth_over_the_rate(formula):
    """Growth per step of a small displacement over the rate, for three momenta, with the predicted limits."""
    objective = minimum(2, "square", "tanh", 0)
    most = float(spectrum(objective)[0][-1])
    shares, series = np.linspace(0.4, 4.4, 9), []
    for beta in (0.0, 0.5, 0.9):
        at = update(objective, beta)
        found = [float(-torch.linalg.eigvals(at(share / most)).real.min()) for share in shares]
        limit = float(evaluate(formula, {MOST: most, BETA: beta})) * most
        series.append(Series(f"momentum {beta:g}", shares, found, "simulation"))
        series.append(Series("", [limit, limit], [0.0, 1.0], "theory"))
    series.append(Series("limit of stability", [shares[0], shares[-1]], [1, 1], "reference"))
    panel = Panel("tanh network at a minimum", r"$\eta M$", "minus the least eigenvalue of an update", tuple(series))
    return Figure("Dots: eigenvalues of the update of all weights. Upright lines: the predicted limits.", (panel,))


any_method = Claim(
    "smoothness.any-method-as-printed",
    source="B section 3",
    says="The Lipschitz constant bounds the step of every first-order method by the same number.",
    formula=lambda: 2 / MOST,
    control=smoothness.step_threshold,
    corrected_by=("smoothness.largest-step", "smoothness.adam-step-ratio"),
    lhs=r"\eta_{\max}",
    near_misses={"momentum lowers it": lambda: 2 * (1 - BETA) / MOST},
    falsifiers={"four times the inverse smoothness": lambda: 4 / MOST},
    remark=(
        "Already momentum goes beyond it: with $`\\beta = 0.9`$ the rate $`3/M`$ converges, at which gradient descent "
        "diverges. For methods that rescale the gradient, like Adam, there is no such bound at all."
    ),
)


@any_method.proof(generic_in="objective near a minimum, momentum below 1")
def limit_with_momentum(formula):
    """The characteristic polynomial of heavy ball at the printed limit."""
    return smoothness.is_step_threshold(formula)


@any_method.check(grid(depth=[1], widths=["square"], activation=["tanh"], beta=[0.5, 0.9]))
def eigenvalue_with_momentum(formula, depth, widths, activation, beta):
    """Where the update of a full network at a minimum of its loss gets the eigenvalue -1."""
    return _stable_rate(formula, depth, widths, activation, beta)


bounded_by = Claim(
    "smoothness.rate-bound-as-printed",
    source="B section 3.1",
    says="The largest curvature is an upper bound of the largest learning rate.",
    formula=lambda: MOST,
    control=lambda: 2 / MOST,
    corrected_by=("smoothness.largest-step",),
    lhs=r"\eta_{\max}",
    near_misses={"inverse curvature once": lambda: 1 / MOST},
    falsifiers={"inverse of the root": lambda: 2 / sqrt(MOST)},
    remark="Its inverse is, twice. The paper's introduction says so; the sentence with the experiments turns it round.",
)


@bounded_by.proof(generic_in="objective near a minimum")
def limit_without_momentum(formula):
    """The characteristic polynomial of gradient descent at the printed limit."""
    return smoothness.is_step_threshold(formula * (1 + BETA))


@bounded_by.check(grid(depth=[1, 2], widths=["square"], activation=["tanh"], beta=[0.0]))
def eigenvalue_without_momentum(formula, depth, widths, activation, beta):
    """Where the update of a full network at a minimum of its loss gets the eigenvalue -1."""
    return _stable_rate(formula, depth, widths, activation, beta)


best = Claim(
    "smoothness.best-rate",
    source="B abstract, discussion",
    says="At its best rate gradient descent is as slow as the ratio of the extreme curvatures is large; neither of "
    "them matters by itself.",
    formula=smoothness.best_step,
    lhs=r"\eta,\; \rho",
    uses=("smoothness.largest-step",),
    near_misses={
        "the largest stable step": lambda: {**smoothness.best_step(), "step": 2 / MOST},
        "factor at the rate 1/M": lambda: {**smoothness.best_step(), "factor": 1 - LEAST / MOST},
    },
    falsifiers={"square roots, as with momentum": lambda: {**smoothness.best_step(), "factor": _accelerated()}},
    remark=(
        "This is the analogy to convex functions that the paper draws: a low condition number means fast convergence "
        "near a minimum. Multiplying a loss by a constant changes its largest curvature and not this rate, so a "
        "smaller curvature alone does not make training faster."
    ),
)


def _accelerated() -> Expr:
    return (sqrt(MOST) - sqrt(LEAST)) / (sqrt(MOST) + sqrt(LEAST))


@best.proof(generic_in="objective near a minimum")
def both_ends_alike(formula):
    """Contraction at both ends of the spectrum, inside, and at other rates."""
    return smoothness.is_best_step(formula)


@lru_cache(maxsize=64)
def contraction(depth: int, widths: Widths, activation: str) -> tuple[Objective, float, float, np.ndarray]:
    """Best rate and contraction of gradient descent at a minimum, on the directions that change the outputs."""
    objective = minimum(depth, widths, activation, 0)
    jacobian = objective.outputs_by_parameters().flatten(0, 1)
    _, values, rows = torch.linalg.svd(jacobian, full_matrices=False)
    basis = rows[values > 1e-9 * values[0]].mT

    still, moving = (jacrev(lambda flat, r=r: flat - r * objective.slope(flat))(objective.start) for r in (0.0, 1.0))

    def ends(rate: float) -> np.ndarray:
        step = still + rate * (moving - still)
        return array(torch.linalg.eigvalsh(basis.mT @ step @ basis))[[0, -1]]

    rate = 1e-2
    while ends(2 * rate).sum() > 0:
        rate *= 2
    rate = brentq(lambda r: float(ends(r).sum()), rate, 2 * rate, xtol=1e-15, rtol=1e-14)
    curvatures = array(torch.linalg.eigvalsh(basis.mT @ objective.curvature(objective.start) @ basis))
    return objective, rate, float(ends(rate)[-1]), curvatures


@best.check(grid(depth=[1, 2], widths=["square", "wide"], activation=["tanh", "erf"]))
def rate_of_a_network(formula, depth, widths, activation):
    """Eigenvalues of the update of a full network at a minimum, at the rate where both ends contract alike."""
    objective, rate, factor, curvatures = contraction(depth, widths, activation)
    values = {MOST: curvatures[-1], LEAST: curvatures[0]}
    predicted = [float(evaluate(formula[name], values)) for name in ("step", "factor")]
    operations = 16 * objective.start.numel() + objective.x.numel()
    bound = rounding(max(rate, factor), operations)
    return agree([rate, factor], predicted, bound=bound).on(objective)
