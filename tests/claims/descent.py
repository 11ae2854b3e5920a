"""Descent under curvature-corrected rules: guaranteed, but not always to a minimum."""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf

import numpy as np
from sympy import S
from sympy import exp as exponential

from derivations import words
from derivations.compiled import evaluate
from derivations.deep_linear import critical_points
from derivations.deep_linear.critical_points import GOAL, START
from derivations.notation import ETA, TIME
from numerics import autograd
from numerics.flows import Trajectory, flow
from numerics.networks import flatten, inner
from numerics.rules import Damped, Fractional, GradientDescent
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED, BALANCED, WHITENED
from tests.claims.loss import Widths
from tests.claims.settings import Setting, aligned, array, near_solution

descent = Claim(
    "hessian.descent",
    source="A section 2",
    says="Every curvature-corrected rule lowers the loss, at the rate of a square that is zero only with the gradient.",
    formula=critical_points.descent,
    lhs=r"\dot L",
    near_misses={
        "squared speed of the weights": lambda: -ETA * words.trace(critical_points.MOVE.T * critical_points.MOVE),
        "one half too many": lambda: critical_points.descent() / 2,
    },
    falsifiers={
        "as for gradient descent": lambda: -ETA * words.trace(critical_points.SLOPE.T * critical_points.SLOPE),
        "uphill": lambda: -critical_points.descent(),
    },
    remark=(
        "Here $`r = H_+^{-1/(2q)} g`$, or the like root of $`(1 + \\epsilon)(\\epsilon + H_+)^{-1}`$ for damping. "
        "Descent is all that a positive semi-definite curvature guarantees: the end may be a saddle."
    ),
)


@descent.proof(generic_in="depth, widths, order q, damping, covariance")
def minus_a_square(formula):
    """Gradient times velocity, with the filter of the curvature written as a square."""
    return critical_points.is_descent(formula)


@lru_cache(maxsize=128)
def descending(depth: int, widths: Widths, seed: int, q: float, epsilon: float) -> tuple[Setting, float, dict, float]:
    """dL/dt from gradient and velocity, the letters from the eigenvectors of the P x P matrix, and its condition."""
    setting = near_solution(depth, widths, seed, correlated=True)
    net, problem = setting.net, setting.problem
    slope = autograd.gradient(net, problem)
    rule = Damped(epsilon) if epsilon else Fractional(q)
    rates, vectors = np.linalg.eigh(array(autograd.gauss_newton(net, problem)))
    kept = rates > 1e-13 * rates[-1]
    if epsilon:
        filtered = (1 + epsilon) / (epsilon + rates)
    else:
        filtered = np.where(kept, np.where(kept, rates, 1.0) ** (-1 / q), 0.0)
    coefficients = vectors.T @ array(flatten(slope))
    root = vectors @ (filtered**0.5 * coefficients)
    letters = {
        critical_points.FILTERED: root[:, None],
        critical_points.MOVE: (vectors @ (filtered * coefficients))[:, None],
        critical_points.SLOPE: array(flatten(slope))[:, None],
    }
    observed = float(inner(slope, rule.velocity(net, problem)))
    return setting, observed, letters, float(rates[-1] / rates[kept][0])


@descent.check(
    grid(depth=[1, 2, 3], widths=["square", "widening", "narrowing", "wide", "waist"], q=[1, 1.5, 2, 7, inf], seed=[0])
    + grid(depth=[2, 3], widths=["narrowing", "waist"], epsilon=[0.1, 3.0], seed=[1])
)
def slope_of_the_loss(formula, depth, widths, seed, q=1, epsilon=0.0):
    """Gradient of the loss by automatic differentiation, times the velocity of the rule, correlated inputs."""
    setting, observed, letters, condition = descending(depth, widths, seed, q, epsilon)
    predicted = words.evaluate(formula, {**letters, ETA: 1.0})
    operations = setting.net.parameters + 2 * sum(setting.net.widths)
    return agree(observed, predicted, bound=rounding(abs(observed), operations, condition)).on(setting)


@lru_cache(maxsize=32)
def trapped(widths: Widths, start: float, seed: int, time: float) -> tuple[Setting, Trajectory]:
    """Gradient flow of a balanced aligned two-layer network: the first mode starts at ``start`` < 0, others above."""
    if not start < 0:
        raise ValueError(f"start: {start} given, allowed: a number < 0")
    goals = tuple(float(goal) for goal in aligned(2, widths, seed).goals)
    others = [(0.8 * goal) ** 0.5 for goal in goals[1:]]
    first = (-start) ** 0.5
    setting = aligned(2, widths, seed, modes=((first, *others), (-first, *others)), goals=goals)
    times = np.linspace(0, time, 9).tolist()
    return setting, flow(setting.net, setting.problem, GradientDescent(), times)


trap = Claim(
    "hessian.sign-trap",
    source="A section 2",
    says="Gradient descent takes a balanced two-layer mode of the wrong sign to the saddle at zero, logistically.",
    formula=critical_points.trapped_mode,
    lhs=r"\sigma(t)",
    given=(ALIGNED, BALANCED, WHITENED),
    near_misses={
        "half the rate": lambda: critical_points.trapped_mode().subs(TIME, TIME / 2),
        "logistic curve to the goal": lambda: GOAL / (1 - (1 - GOAL / START) * exponential(-2 * ETA * GOAL * TIME)),
    },
    falsifiers={"exponential decay": lambda: START * exponential(-2 * ETA * GOAL * TIME)},
    remark=(
        "The two layers keep equal size and opposite sign, so their product can shrink to zero but not pass it. A "
        "saddle is reached although the curvature in use is positive semi-definite."
    ),
)


@trap.proof(generic_in="start, teacher value, eta")
def logistic_solution(formula):
    """The conserved relation of the two layers, the equation that it leaves, and its solution."""
    return critical_points.is_trapped_mode(formula)


@trap.check(grid(widths=["square", "widening", "wide", (1, 1, 1)], start=[-0.25, -1.5], seed=[0], time=[4.0]))
def simulated_mode(formula, widths, start, seed, time):
    """Training of a full network whose first mode starts with the wrong sign."""
    setting, run = trapped(widths, start, seed, time)
    observed = np.array([setting.moved(run.net(k)).modes().prod(0)[0] for k in range(len(run))])
    goal = float(setting.goals[0])
    values = {START: start, GOAL: goal, TIME: array(run.times), ETA: 1.0}
    widest = max(1.0, abs(start))
    # rounding off the balanced line grows with the curvature of the saddle, which is the goal
    bound = integration(2 * widest * run.error) + rounding(widest, run.steps, exp(goal * time))
    return agree(observed, evaluate(formula, values), bound=bound, axis=run.times).on(setting)


@trap.figure
def falling_into_the_saddle(formula):
    """Map values over time, for two starts of the wrong sign."""
    series, errors = [], []
    for start in (-0.25, -1.5):
        setting, run = trapped("square", start, 0, 4.0)
        goal, times = float(setting.goals[0]), array(run.times)
        values = {START: start, GOAL: goal, ETA: 1.0}
        fine = np.linspace(0, times[-1], 81)
        dots = np.array([setting.moved(run.net(k)).modes().prod(0)[0] for k in range(len(run))])
        label = "theory" if start == -0.25 else ""
        series.append(Series(label, fine, evaluate(formula, {**values, TIME: fine}), "theory"))
        series.append(Series("training" if label else "", times, dots, "simulation"))
        errors.append(np.abs(dots - evaluate(formula, {**values, TIME: times})))
    series.append(Series("goal", [0, times[-1]], [goal, goal], "reference"))
    residual = Series("largest error", times, np.max(errors, axis=0), "simulation")
    panel = Panel("gradient descent, balanced start", "time", "map value of the mode", tuple(series), residual=residual)
    return Figure("A mode that starts with the wrong sign goes to zero and stays there; its goal lies above.", (panel,))


guarantee = Claim(
    "hessian.minimum-guarantee-as-printed",
    source="A section 2",
    says="A positive semi-definite approximation of the Hessian guarantees convergence to a minimum.",
    formula=lambda: S.Zero,
    control=critical_points.trapped_loss,
    corrected_by=("hessian.descent", "hessian.sign-trap"),
    lhs=r"\lim_{t \to \infty} L(t)",
    near_misses={
        "one half missing": lambda: GOAL**2,
        "not squared": lambda: GOAL / 2,
    },
    falsifiers={"more than at the saddle": lambda: GOAL**2 / 2 + 1},
    remark=(
        "The minima of this loss have the value zero. Descent is guaranteed, a minimum is not: one balanced mode of "
        "the wrong sign leaves $`\\tfrac12 {\\sigma^*}^2`$. Generic starts avoid this."
    ),
)


@guarantee.proof(generic_in="teacher value")
def loss_at_the_end(formula):
    """The exact solution of the trapped mode, its limit, and the loss there."""
    return critical_points.is_limit_of_loss(formula)


@guarantee.check(grid(widths=["square", "widening", "wide", (1, 1, 1)], start=[-0.25], seed=[0], time=[9.0]))
def trained_to_the_end(formula, widths, start, seed, time):
    """The loss of a full network after long training, one of whose modes started with the wrong sign."""
    setting, run = trapped(widths, start, seed, time)
    goals = array(setting.goals)
    predicted = evaluate(formula, {GOAL: goals[0]})
    observed = float(setting.problem.loss(run.net(-1)))
    course = evaluate(critical_points.trapped_mode(), {START: start, GOAL: goals[0], TIME: time, ETA: 1.0})
    left = abs(float(course))
    # what is still to come: the trapped mode, and the others, whose gaps shrink at least at the rate of their goals
    coming = left * (goals[0] + left) + float(sum(goals[1:] ** 2 * np.exp(-2 * goals[1:] * time)))
    escape = rounding(goals[0], run.steps, exp(goals[0] * time))
    bound = remainder(coming) + integration(2 * goals.sum() * run.error) + escape
    return agree(observed, predicted, bound=bound).on(setting)
