"""Damped natural gradient descent as an update of all weights: inverse, limits, conserved quantity."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer, Rational

from derivations.code import value
from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from derivations.deep_linear import damping
from derivations.notation import EPSILON, ETA, W_I, W_NEXT
from numerics import autograd
from numerics.curvature import kernel
from numerics.flows import Trajectory, flow
from numerics.networks import flatten
from numerics.rules import Damped, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, slope, vanishes
from tests.checker.evidence import Bound
from tests.claims.assumptions import DEFINITE
from tests.claims.settings import Setting, array, generic, near_solution


@lru_cache(maxsize=512)
def spectrum(setting: Setting) -> np.ndarray:
    """Eigenvalues of the kernel of a setting, ascending; those that rounding makes negative count as zero."""
    return np.clip(array(torch.linalg.eigvalsh(kernel(setting.net, setting.problem.root))), 0.0, None)


def operations(setting: Setting) -> int:
    """Roundings along the longest chain: the products of the layers, and a solve in the space of all weights."""
    return sum(setting.net.widths) * setting.net.depth + setting.net.parameters


@lru_cache(maxsize=256)
def curvature_and_gradient(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """H_+ (P, P) and the gradient (P, 1), both by automatic differentiation."""
    hessian = array(autograd.gauss_newton(setting.net, setting.problem))
    return hessian, array(flatten(autograd.gradient(setting.net, setting.problem)))[:, None]


@lru_cache(maxsize=512)
def velocity(setting: Setting, rule: Rule) -> np.ndarray:
    """The velocity of a rule as a column of all weights, shape (P, 1)."""
    return array(flatten(rule.velocity(setting.net, setting.problem)))[:, None]


@lru_cache(maxsize=256)
def letter_values(setting: Setting, epsilon: float) -> dict[object, object]:
    """Values of H_+, its damped inverse, g, and the velocities of natural and plain gradient descent."""
    hessian, gradient = curvature_and_gradient(setting)
    return {
        damping.HESSIAN_PLUS: hessian,
        damping.RESOLVENT: np.linalg.inv(epsilon * np.eye(len(hessian)) + hessian),
        damping.GRADIENT: gradient,
        damping.NATURAL: velocity(setting, NaturalGradient()),
        damping.STEEPEST: velocity(setting, GradientDescent()),
        EPSILON: epsilon,
        ETA: 1.0,
    }


def solve_rounding(setting: Setting, epsilon: float, scale: float) -> Bound:
    """Rounding of a solve with epsilon + H_+, whose smallest eigenvalue is epsilon."""
    return rounding(scale, operations(setting), 1 + float(spectrum(setting)[-1]) / epsilon)


inverse = Claim(
    "damping.inverse",
    source="A eq. 17",
    says="Adding a multiple of gradient descent's equation to natural gradient descent's gives the damped inverse.",
    formula=damping.update,
    lhs=r"\dot{w}",
    near_misses={
        "without the factor 1 + epsilon": lambda: -ETA * (damping.RESOLVENT * damping.GRADIENT),
        "factor epsilon for 1 + epsilon": lambda: -ETA * EPSILON * (damping.RESOLVENT * damping.GRADIENT),
    },
    falsifiers={
        "curvature in front": lambda: damping.HESSIAN_PLUS * damping.update(),
    },
    remark=(
        "The factor $`1 + \\epsilon`$ makes this an interpolation: without it the update only shrinks as the "
        "damping grows. $`\\epsilon > 0`$ is needed, because $`H_+`$ is singular for every network of two or more "
        "layers."
    ),
)


@inverse.proof(generic_in="depth, widths, damping, input covariance")
def solves_both_equations_in_sum(formula):
    """The asserted velocity is put into the damped equation, with the inverse as a rewriting rule."""
    return damping.residual(formula)


@inverse.check(
    grid(depth=[2, 3], epsilon=[0.01, 0.3, 1, 10], widths=["square", "narrowing", "wide", "waist"], seed=[0])
    + grid(depth=[1, 4], epsilon=[0.5], widths=["widening"], seed=[1])
)
def full_network(formula, depth, epsilon, widths, seed):
    """Damped velocity from solves in the space of maps against the inverse in the space of all weights."""
    setting = generic(depth, widths, seed, correlated=True)
    observed = velocity(setting, Damped(epsilon))
    predicted = value(formula, letter_values(setting, epsilon))
    return agree(observed, predicted, bound=solve_rounding(setting, epsilon, np.abs(observed).max())).on(setting)


mean = Claim(
    "damping.weighted-mean",
    source="A section 3.1",
    says="The damped velocity is a mean of natural and plain gradient descent, weighted by the curvature.",
    formula=damping.distances,
    lhs=r"\dot{w}_\epsilon - \dot{w}",
    uses=("damping.inverse",),
    equivalent=lambda formula, mutant: damping.is_distance(mutant).proved,
    near_misses={
        "weights exchanged": lambda: dict(
            zip(damping.distances(), reversed([-part for part in damping.distances().values()]), strict=True)
        ),
        "no weight on the first distance": lambda: {
            **damping.distances(),
            "from natural gradient descent": damping.RESOLVENT * (damping.STEEPEST - damping.NATURAL),
        },
    },
    remark=(
        "On an eigenvector of $`H_+`$ with eigenvalue $`\\lambda`$ the weights are $`\\lambda : \\epsilon`$, so "
        "directions of curvature above $`\\epsilon`$ follow natural gradient descent and those below follow "
        "gradient descent. At $`\\lambda = 1`$ all damped rules agree."
    ),
)


@mean.proof(generic_in="depth, widths, damping, input covariance")
def subtracted_from_the_solution(formula):
    """The velocities of both ends are subtracted from the solution of the damped equation."""
    return damping.is_distance(formula)


@mean.check(
    grid(depth=[2, 3], epsilon=[0.05, 0.3, 1, 1000], widths=["square", "widening", "waist"], seed=[0])
    + grid(depth=[1], epsilon=[1], widths=["narrowing"], seed=[0])
)
def distances_in_a_network(formula, depth, epsilon, widths, seed):
    """Differences between three simulated velocities against the formula."""
    setting = near_solution(depth, widths, seed, correlated=True)
    values, here = letter_values(setting, epsilon), velocity(setting, Damped(epsilon))
    ends = {"from natural gradient descent": damping.NATURAL, "from gradient descent": damping.STEEPEST}
    observed = np.stack([here - values[ends[name]] for name in formula])
    predicted = np.stack([value(part, values) for part in formula.values()])
    positive = spectrum(setting)[spectrum(setting) > 1e-10]
    scale = max(np.abs(values[letter]).max() for letter in ends.values())
    # the inverse stands beside H_+, so its own condition and that of the product multiply
    amplified = scale * (1 + float(positive[-1]) / epsilon)
    bound = solve_rounding(setting, epsilon, amplified)
    bound += rounding(scale, operations(setting), positive[-1] / positive[0])
    return agree(observed, predicted, bound=bound).on(setting)


limits = Claim(
    "damping.limits",
    source="A eq. 17",
    says="Damping approaches natural gradient descent in proportion to epsilon, gradient descent to 1/epsilon.",
    formula=damping.limit_orders,
    lhs=r"\text{powers of }\epsilon",
    uses=("damping.weighted-mean",),
    near_misses={
        "half an order at zero": lambda: (Rational(1, 2), Integer(-1)),
        "half an order at infinity": lambda: (Integer(1), -Rational(1, 2)),
    },
    falsifiers={"second order": lambda: (Integer(2), Integer(-2))},
    remark="Both limits are of first order, so very large or very small values are needed to come close to either end.",
)


@limits.proof(generic_in="eigenvalue, hence depth and widths")
def logarithmic_slopes(formula):
    """The logarithmic slope of each distance, eigenvalue by eigenvalue, in the limit."""
    near, far = damping.limit_orders()
    return all_of(equal(formula[0], near), equal(formula[1], far)).explain(
        step(r"On an eigenvector of value $`\lambda`$ the damped filter is", damping.damped_filter(damping.EIGENVALUE)),
        step("Its distances from the two ends change with the powers", (near, far)),
    )


@limits.check(grid(depth=[2, 3], widths=["square", "narrowing"], seed=range(2)))
def fitted_slopes(formula, depth, widths, seed):
    """Slopes fitted to the distances from both ends over three decades of damping."""
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: depth >= 2 (for a single layer all these rules agree)")
    setting = near_solution(depth, widths, seed)
    eigenvalues = spectrum(setting)
    smallest, largest = float(eigenvalues[eigenvalues > 1e-10].min()), float(eigenvalues.max())
    found = []
    for order, rule, grid_of in (
        (formula[0], NaturalGradient(), smallest * np.logspace(-7, -5, 7)),
        (formula[1], GradientDescent(), largest * np.logspace(5, 7, 7)),
    ):
        gaps = [np.linalg.norm(velocity(setting, Damped(float(e))) - velocity(setting, rule)) for e in grid_of]
        # the next order changes the local slope by at most the largest ratio of epsilon and curvature
        found.append(slope(grid_of, gaps, predicted=float(order), systematic=1e-5))
    return both(*found).on(setting)


usual = Claim(
    "damping.usual-vanishes",
    source="A note 6",
    says="Without the factor 1 + epsilon the damped update fades away in proportion to 1/epsilon.",
    formula=damping.usual_leading_rate,
    lhs=r"-\dot{w} / g",
    relation=r"\simeq",
    given=(DEFINITE,),
    near_misses={
        "half the order": lambda: ETA / EPSILON ** Rational(1, 2),
        "tends to gradient descent": lambda: ETA,
    },
    falsifiers={"twice the order": lambda: ETA / EPSILON**2},
    remark="The usual rule is the interpolating one divided by $`1 + \\epsilon`$: the same path, at a vanishing speed.",
)


@usual.proof(generic_in="eigenvalue, hence depth and widths")
def ratio_tends_to_one(formula):
    """The ratio of the leading rate and the filter of the usual rule tends to 1 on every eigenvalue."""
    filter_ = ETA * damping.damped_filter(damping.EIGENVALUE) / (1 + EPSILON)
    return damping.is_leading(formula, filter_).explain(
        step("The rate of the usual rule on an eigenvector is", filter_),
        step("For large damping it is asymptotic to", formula),
    )


@usual.check(grid(depth=[2, 3], epsilon=[1e4, 1e7, 1e10], widths=["square", "waist", "narrowing"], seed=[0]))
def large_damping(formula, depth, epsilon, widths, seed):
    """Velocity of the usual rule times epsilon against the leading term, within the proved remainder."""
    setting = generic(depth, widths, seed, correlated=True)
    _, gradient = curvature_and_gradient(setting)
    observed = epsilon * velocity(setting, Damped(epsilon, usual=True))
    predicted = -epsilon * evaluate(formula, {EPSILON: epsilon, ETA: 1.0}) * gradient
    # |1/(epsilon + lambda) - 1/epsilon| <= lambda / epsilon^2 on every eigenvector
    tail = remainder(float(np.linalg.norm(gradient)) * float(spectrum(setting)[-1]) / epsilon)
    return agree(observed, predicted, bound=tail + solve_rounding(setting, epsilon, np.abs(observed).max())).on(setting)


def _balance():
    return W_I * W_I.T - W_NEXT.T * W_NEXT


conserves = Claim(
    "damping.conserves-balance",
    source="A section 3.1",
    says="Damped natural gradient descent conserves the balance of neighbouring layers, as gradient descent does.",
    formula=_balance,
    lhs="C_i",
    uses=("damping.inverse",),
    near_misses={"sum instead of difference": lambda: W_I * W_I.T + W_NEXT.T * W_NEXT},
    falsifiers={
        "lower layer alone": lambda: W_I * W_I.T,
        "upper layer alone": lambda: W_NEXT.T * W_NEXT,
    },
    equivalent=lambda formula, mutant: damping.conserved_by_damping(mutant).proved,
    remark=(
        "The damped update never leaves the row space of the Jacobian, so it shares every conserved quantity of "
        "gradient descent, at any damping and for any input covariance."
    ),
)


@conserves.proof(generic_in="depth, widths, damping, error")
def same_drive_in_neighbouring_layers(formula):
    """One matrix drives all layers; the rate of change of the balance then cancels word by word."""
    return damping.conserved_by_damping(formula)


@lru_cache(maxsize=64)
def damped_flow(setting: Setting, epsilon: float) -> Trajectory:
    """The flow of the damped rule until time 2."""
    return flow(setting.net, setting.problem, Damped(epsilon), [0.0, 0.5, 2.0])


@conserves.check(grid(depth=[2, 3], epsilon=[0.05, 2], widths=["widening", "waist"], seed=[0]))
def drift_along_flows(formula, depth, epsilon, widths, seed):
    """Change of the quantity of all hidden layers along flows with correlated inputs."""
    setting = near_solution(depth, widths, seed, correlated=True)
    run = damped_flow(setting, epsilon)
    layers = [array(w) for w in run.weights]
    drift, changes = [], []
    for lower, upper in zip(layers, layers[1:], strict=False):
        found = value(formula, {W_I: lower, W_NEXT: upper})
        drift.append(np.ravel(found[1:] - found[:1]))
        changes.append(np.abs(lower @ lower.swapaxes(-1, -2) - (lower @ lower.swapaxes(-1, -2))[:1]).max())
    size = max(np.abs(w).max() for w in layers)
    # an error in one entry of w enters w w^T twice, once for each side, summed over a row
    bound = integration(4 * max(setting.net.widths) * size * run.error)
    return vanishes(np.concatenate(drift), bound=bound, scale=min(changes)).on(setting)
