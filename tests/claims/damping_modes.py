"""Damping seen by singular modes: the rate, the damping that is the square root rule, and why no fixed one will do."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from sympy import Integer

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from derivations.deep_linear import damping, modes
from derivations.notation import A_RATIO, EPSILON, ETA, J_I, NORM_J, SIGMA_DELTA, SIGMA_I_DOT, Q
from numerics import autograd
from numerics.networks import flatten, vec
from numerics.rules import Damped, Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.claims.assumptions import ACTIVE, ALIGNED, FULL_ROW_RANK, WHITENED
from tests.claims.damping import operations, spectrum
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned, array, near_solution


@lru_cache(maxsize=512)
def damped_modes(setting: Setting, epsilon: float) -> np.ndarray:
    """The damped velocity of all modes, from the full weight matrices; shape (d, r)."""
    return mode_velocity(setting, Damped(epsilon))


@lru_cache(maxsize=512)
def damped_rounding(setting: Setting, epsilon: float) -> Bound:
    """Rounding of a damped solve on an aligned network: the largest velocity times the condition of the solve."""
    eigenvalues = spectrum(setting)
    condition = (epsilon + float(eigenvalues[-1])) / (epsilon + float(eigenvalues[0]))
    return rounding(float(np.abs(damped_modes(setting, epsilon)).max()), operations(setting), condition)


rate = Claim(
    "damping.mode-rate",
    source="A eq. 18",
    says="Damping drives an aligned mode by a factor that depends on the ratio of the damping and the mode's coupling.",
    formula=damping.mode_velocity,
    lhs=SIGMA_I_DOT,
    given=(ALIGNED, ACTIVE, WHITENED),
    uses=("damping.inverse",),
    near_misses={
        "ratio taken to the squared coupling": lambda: damping.mode_velocity().subs(A_RATIO, A_RATIO * NORM_J),
        "usual damping": lambda: damping.mode_velocity() / (1 + A_RATIO * NORM_J),
    },
    falsifiers={
        "no damping": lambda: modes.fractional_velocity(Integer(1)),
        "linear interpolation of both ends": lambda: (
            (modes.fractional_velocity(Integer(1)) - A_RATIO * ETA * SIGMA_DELTA * J_I) / (1 + A_RATIO)
        ),
    },
    remark=(
        "Written with $`a = \\epsilon / \\lVert j \\rVert`$ the two ends of the range are symmetric: $`a \\to 0`$ "
        "is natural gradient descent, $`a \\to \\infty`$ gradient descent, and $`a = 1`$ stands exactly between "
        "them."
    ),
)


@rate.proof(generic_in="depth, widths, damping")
def filter_read_on_one_mode(formula):
    """The damped equation solved on an eigenvector, read at the eigenvalue of the mode."""
    undone = formula.subs(A_RATIO, EPSILON / NORM_J)
    return modes.follows_from_filter(undone, damping.damped_filter).explain(
        step("with the ratio of damping and coupling in place of the damping itself", formula)
    )


@rate.check(
    grid(depth=[2, 3], epsilon=[0.02, 0.7, 40], widths=["square", "narrowing", "waist"], seed=range(2))
    + grid(depth=[1, 5], epsilon=[2], widths=["widening"], seed=[0])
)
def full_network(formula, depth, epsilon, widths, seed):
    """Damped velocity of the full weight matrices, projected on the modes, against the formula."""
    setting = aligned(depth, widths, seed)
    values = mode_values(setting)
    predicted = evaluate(formula, {**values, A_RATIO: epsilon / values[NORM_J], ETA: 1.0})
    return agree(damped_modes(setting, epsilon), predicted, bound=damped_rounding(setting, epsilon)).on(setting)


def _between_the_ends(q: float) -> None:
    if not 1 < q < inf:
        raise ValueError(f"q: {q} given, allowed: 1 < q < oo (the two ends need no damping, or an infinite one)")


def _per_mode(formula, setting: Setting, q: float):
    """Each mode under its own damping from the formula, against the fractional rule of order q."""
    if setting.net.depth < 2:
        raise ValueError("depth: 1 given, allowed: depth >= 2 (for a single layer every damping gives the same rule)")
    _between_the_ends(q)
    wanted = mode_velocity(setting, Fractional(q))
    norms = mode_values(setting)[NORM_J][0]
    observed, bound = np.zeros_like(wanted), velocity_rounding(setting, -1 / q)
    for mode, epsilon in enumerate(np.atleast_1d(evaluate(formula, {NORM_J: norms, Q: q}))):
        observed[:, mode] = damped_modes(setting, float(epsilon))[:, mode]
        bound = max(bound, damped_rounding(setting, float(epsilon)), key=lambda one: one.total)
    # a rounded damping moves the filter by at most its own relative error
    return agree(observed, wanted, bound=bound + rounding(float(np.abs(wanted).max()), 8, max(q, 1)))


def _as_operator(formula, setting: Setting, q: float):
    """Damping by the formula of the root of the kernel, any weights, against the fractional rule of order q."""
    _between_the_ends(q)
    jacobian = array(autograd.jacobian(setting.net))
    left, values, _ = np.linalg.svd(jacobian, full_matrices=False)
    operator = evaluate(formula, {NORM_J: values, Q: q})
    error = left.T @ array(vec(setting.problem.error(setting.net)))
    observed = array(flatten(Fractional(q).velocity(setting.net, setting.problem)))
    predicted = -jacobian.T @ (left @ ((1 + operator) / (operator + values**2) * error))
    condition = float(values[0] / values[-1]) ** 2
    bound = rounding(float(np.abs(observed).max()), operations(setting), condition)
    return agree(observed, predicted, bound=bound)


root = Claim(
    "damping.sqrt-is-unit-ratio",
    source="A section 3.1",
    says="The square root rule is damping with every mode's own coupling, the point halfway between both ends.",
    formula=lambda: NORM_J,
    lhs=EPSILON,
    given=(FULL_ROW_RANK, WHITENED),
    uses=("damping.mode-rate", "modes.fractional-rate"),
    near_misses={
        "squared coupling": lambda: NORM_J**2,
        "one damping for all modes": lambda: Integer(1),
    },
    falsifiers={"inverse coupling": lambda: 1 / NORM_J},
    remark=(
        "As matrices: with $`E = K^{1/2}`$ one has $`(1 + E)(E + K)^{-1} = K^{-1/2}`$, aligned or not. The unit of "
        "the ratio matters: it is $`\\epsilon / \\lVert j \\rVert = 1`$, and $`\\epsilon / \\lVert j \\rVert^2 = "
        "1`$ is another rule."
    ),
)


@root.proof(generic_in="depth, widths, kernel")
def damping_by_the_root_of_the_kernel(formula):
    """The rates of damping and square root rule on a mode, and the same identity between matrices."""
    damped = damping.mode_velocity().subs(A_RATIO, formula / NORM_J)
    return all_of(equal(damped, modes.fractional_velocity(Integer(2))), damping.root_as_damping()).explain(
        step("With the asserted damping the rate of a mode becomes", damped)
    )


@root.check(grid(depth=[2, 3, 5], widths=["square", "widening", "wide"], seed=[0]))
def mode_by_mode(formula, depth, widths, seed):
    """One damped velocity for each aligned mode, with that mode's damping, against the square root rule."""
    setting = aligned(depth, widths, seed)
    return _per_mode(formula, setting, 2).on(setting)


@root.check(grid(depth=[2, 3, 4], widths=["square", "narrowing", "wide"], seed=[0]))
def as_matrices(formula, depth, widths, seed):
    """Damping by an operator, for weights in general position, against the square root rule."""
    setting = near_solution(depth, widths, seed)
    return _as_operator(formula, setting, 2).on(setting)


adaptive = Claim(
    "damping.adaptive-order",
    source="A section 3.1",
    says="Every fractional rule is damping with a damping that adapts to each mode's coupling.",
    formula=damping.adaptive_epsilon,
    lhs=EPSILON,
    given=(FULL_ROW_RANK, WHITENED),
    uses=("damping.mode-rate", "modes.fractional-rate"),
    near_misses={
        "exponent 1/q for 2/q": lambda: damping.adaptive_epsilon(2 * Q),
        "always the square root rule": lambda: NORM_J,
    },
    falsifiers={"inverse": lambda: 1 / damping.adaptive_epsilon()},
    remark=(
        "At $`q = 2`$ this is $`\\epsilon = \\lVert j \\rVert`$. At $`\\lVert j \\rVert = 1`$ all rules agree, any "
        "damping will do, and the limit of the formula is $`q - 1`$."
    ),
)


@adaptive.proof(generic_in="depth, widths, order q")
def solved_for_the_damping(formula):
    """The filters of both rules are set equal and solved for the damping."""
    return damping.reproduces_order(formula)


@adaptive.check(grid(depth=[2, 3], q=[1.5, 2, 3, 7], widths=["square", "widening"], seed=[0]))
def every_order_mode_by_mode(formula, depth, q, widths, seed):
    """One damped velocity for each aligned mode, with that mode's damping, against the fractional rule."""
    setting = aligned(depth, widths, seed)
    return _per_mode(formula, setting, q).on(setting)


@adaptive.check(grid(depth=[2, 3], q=[1.5, 3, 7], widths=["narrowing", "wide"], seed=[0]))
def every_order_as_matrices(formula, depth, q, widths, seed):
    """Damping by an operator, for weights in general position, against the fractional rule."""
    setting = near_solution(depth, widths, seed)
    return _as_operator(formula, setting, q).on(setting)
