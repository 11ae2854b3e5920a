"""The network without hidden layers, whose learning is solved in one line."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from sympy import exp

from derivations import words
from derivations.compiled import evaluate
from derivations.deep_linear import loss
from derivations.notation import DELTA, ETA, LAMBDA_X, SIGMA_X, TIME, Q
from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear
from numerics.problems import Problem
from numerics.rules import Fractional, GradientDescent, NaturalGradient
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import DEFINITE
from tests.claims.loss import Widths
from tests.claims.settings import Setting, array, generic

SHALLOW = ["square", "widening", "narrowing", (1, 1), (1, 3)]
TIMES = tuple(0.5 * k for k in range(7))


@lru_cache(maxsize=64)
def shallow_flow(widths: Widths, q: float, seed: int, time: float) -> tuple[Setting, Trajectory]:
    """Three shallow networks on correlated inputs, trained by qNGD until ``time``; arrays (T, 3, n_d, n_0)."""
    setting = generic(1, widths, seed, correlated=True, seeds=3)
    return setting, flow(setting.net, setting.problem, Fractional(q), [time * t / TIMES[-1] for t in TIMES])


def along_eigenvectors(setting: Setting, run: Trajectory) -> tuple[np.ndarray, np.ndarray, float]:
    """The gap along the eigenvectors of the covariance, (T, 3, n_d, n_0), its eigenvalues, and how close they lie."""
    rates, vectors = np.linalg.eigh(array(setting.problem.covariance))
    gaps = np.diff(rates)
    separation = float(rates[-1] / gaps.min()) if gaps.size else 1.0
    return (array(run.products()) - array(setting.problem.teacher)) @ vectors, rates, separation


decay = Claim(
    "loss.shallow-decay",
    source="A section 2",
    says="In a network without hidden layers every eigenvector of the input covariance has one exponential rate.",
    formula=loss.shallow_gap,
    lhs=r"\Delta\, r_k",
    given=(DEFINITE,),
    near_misses={
        "rate $`\\lambda_x^{1/q}`$": lambda: loss.GAP_0 * exp(-ETA * LAMBDA_X ** (1 / Q) * TIME),
        "equal rates without whitening": lambda: loss.GAP_0 * exp(-ETA * TIME),
        "rate $`\\lambda_x`$ for every order": lambda: loss.GAP_0 * exp(-ETA * LAMBDA_X * TIME),
    },
    falsifiers={"loss rate instead of map rate": lambda: loss.GAP_0 * exp(-2 * ETA * LAMBDA_X ** (1 - 1 / Q) * TIME)},
    remark=(
        "Gradient descent ($`q \\to \\infty`$) learns at the eigenvalues of the covariance, natural gradient descent "
        "($`q = 1`$) at one common rate; fractional orders lie in between."
    ),
)


@decay.proof(generic_in="widths, covariance, order q")
def linear_flow(formula):
    """Curvature and slope on one eigenvector, and the linear equation that they leave."""
    return loss.solves_shallow_flow(formula)


@decay.check(
    grid(widths=["square"], q=[1, 1.5, 2, inf], seed=[0], time=[3.0])
    + grid(widths=["widening", (1, 3)], q=[1.5], seed=[0], time=[3.0])
    + grid(widths=["narrowing"], q=[inf], seed=[0], time=[3.0])
)
def simulated_decay(formula, widths, q, seed, time):
    """Training of the network on correlated inputs, projected on the eigenvectors of their covariance."""
    setting, run = shallow_flow(widths, q, seed, time)
    observed, rates, separation = along_eigenvectors(setting, run)
    values = {loss.GAP_0: observed[:1], LAMBDA_X: rates, TIME: array(run.times)[:, None, None, None], ETA: 1.0, Q: q}
    scale = float(np.linalg.norm(observed[0]))
    n_0, n_d = setting.net.widths
    budget = integration(n_0**0.5 * run.error) + rounding(scale, n_0 * n_d + n_0, separation)
    return agree(observed, evaluate(formula, values), bound=budget).on(setting)


@decay.figure
def decay_by_order(formula):
    """Time courses of the gap along the slowest and the fastest eigenvector for three orders."""
    return Figure(
        "The gap of a shallow network along two eigenvectors of the input covariance: theory as lines, training as "
        "dots. The slopes grow together as the order of the curvature correction falls from infinity to one.",
        tuple(_decay_panel(formula, q, title) for q, title in ((inf, "gradient"), (2, "order 2"), (1, "natural"))),
    )


def _decay_panel(formula, q, title):
    setting, run = shallow_flow("square", q, 0, 3.0)
    observed, rates, _ = along_eigenvectors(setting, run)
    series, worst = [], np.zeros(len(TIMES))
    fine = np.linspace(0, TIMES[-1], 61)
    for k, name in ((0, "smallest eigenvalue"), (-1, "largest eigenvalue")):
        course = observed[:, 0, int(np.abs(observed[0, 0, :, k]).argmax()), k]
        values = {loss.GAP_0: 1.0, LAMBDA_X: rates[k], ETA: 1.0, Q: q}
        series.append(Series(name, fine, evaluate(formula, {**values, TIME: fine}), "theory"))
        series.append(Series("", TIMES, course / course[0], "simulation"))
        at_dots = evaluate(formula, {**values, TIME: np.array(TIMES)})
        worst = np.maximum(worst, np.abs(course / course[0] - at_dots))
    residual = Series("largest error", TIMES, worst, "simulation")
    return Panel(title, "time", "gap, relative to its start", tuple(series), residual=residual, log_y=True)


natural = Claim(
    "loss.shallow-natural-gradient",
    source="A section 2",
    says="Without hidden layers natural gradient descent moves the map as gradient descent on whitened inputs does.",
    formula=loss.shallow_natural_velocity,
    lhs=r"\dot W",
    given=(DEFINITE,),
    near_misses={
        "half whitened, the rate of order 2": lambda: -ETA * (DELTA * loss.ROOT),
        "whitened twice": lambda: -ETA * (DELTA * loss.UNROOT * loss.UNROOT),
    },
    falsifiers={
        "gradient descent on raw inputs": lambda: -ETA * (DELTA * SIGMA_X),
        "away from the teacher": lambda: ETA * words.expression(DELTA),
    },
    remark=(
        "Whitening the data and correcting the curvature are the same thing for $`d = 1`$. What is special about "
        "curvature in deep networks therefore shows up with white inputs already."
    ),
)


@natural.proof(generic_in="widths, definite covariance")
def whitening_and_curvature(formula):
    """Both updates as matrix words, with the root of the covariance as a letter."""
    return loss.whitening_is_natural(formula)


@natural.check(grid(widths=SHALLOW, way=["natural gradient", "whitened inputs"], seed=range(2)))
def both_ways(formula, widths, way, seed):
    """The velocity of the map, by natural gradient descent and by gradient descent on whitened inputs."""
    setting = generic(1, widths, seed, correlated=True)
    net, problem = setting.net, setting.problem
    rates, basis = np.linalg.eigh(array(problem.covariance))
    root, unroot = ((basis * rates**power) @ basis.T for power in (0.5, -0.5))
    if way == "natural gradient":
        observed = array(NaturalGradient().velocity(net, problem)[0])
    else:
        white = Problem(problem.teacher @ torch.from_numpy(root))
        moved = GradientDescent().velocity(DeepLinear((net.weights[0] @ torch.from_numpy(root),)), white)
        observed = array(moved[0]) @ unroot
    gap, inputs = array(problem.error(net)), array(problem.covariance)
    values = {DELTA: gap, SIGMA_X: inputs, loss.ROOT: root, loss.UNROOT: unroot}
    n_0, n_d = net.widths
    bound = rounding(float(np.linalg.norm(gap)), 4 * n_0 + n_0 * n_d, float(rates[-1] / rates[0]))
    return agree(observed, words.evaluate(formula, {**values, ETA: 1.0}), bound=bound).on(setting)
