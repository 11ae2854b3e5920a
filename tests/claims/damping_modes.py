"""Damping seen by singular modes: the rate, the damping that is the square root rule, and why no fixed one will do."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Integer, Rational

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from derivations.deep_linear import damping, modes
from derivations.notation import A_RATIO, EPSILON, ETA, J_I, J_MAX, J_MIN, NORM_J, SIGMA_DELTA, SIGMA_I_DOT, Q
from numerics import autograd
from numerics.device import generator
from numerics.initialisations import normal
from numerics.networks import flatten, vec
from numerics.rules import Damped, Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_most, both
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, FULL_ROW_RANK, WHITENED
from tests.claims.damping import operations, spectrum
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned, array, near_solution, sizes


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
    given=(ALIGNED, WHITENED),
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


def _per_mode(formula, setting: Setting, q: float):
    """Each mode under its own damping from the formula, against the fractional rule of order q."""
    if setting.net.depth < 2:
        raise ValueError("depth: 1 given, allowed: depth >= 2 (for a single layer every damping gives the same rule)")
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


@lru_cache(maxsize=128)
def sweep(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray, Bound]:
    """Coupling norms, slowest speed over six decades of damping, both speeds at the best one, error budget."""
    norms = mode_values(setting)[NORM_J][0]
    gap = float(np.abs(mode_values(setting)[SIGMA_DELTA]).min())
    best = float(norms.min() * norms.max())
    dampings = [float(epsilon) for epsilon in best * np.logspace(-3, 3, 13)]
    slower = np.array([speeds(setting, damped_modes(setting, epsilon)).min() for epsilon in dampings])
    worst = max(damped_rounding(setting, epsilon).total for epsilon in (best, *dampings))
    return norms, slower, speeds(setting, damped_modes(setting, best)), Bound((("rounding", worst / gap),))


STRADDLING = Assumption(
    "couplings on both sides of 1",
    "the weakest coupling norm of a mode is below 1 and the strongest above",
    lambda setting: bool(mode_values(setting)[NORM_J].min() < 1 < mode_values(setting)[NORM_J].max()),
)


@lru_cache(maxsize=128)
def two_modes(depth: int, widths: str | tuple[int, ...], seed: int, weakest: float, strongest: float) -> Setting:
    """An aligned network of two modes with prescribed norms of the couplings, in random directions of each mode."""
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 2")
    if min(sizes(depth, widths)) < 2:
        raise ValueError(f"widths: {widths} given, allowed: sizes of at least 2")
    shape = array(normal((depth, 2), generator(seed, "cpu")).abs()) + 0.5
    for mode, norm in enumerate((weakest, strongest)):
        coupling = np.array([np.prod(np.delete(shape[:, mode], i)) for i in range(depth)])
        shape[:, mode] *= (norm / np.linalg.norm(coupling)) ** (1 / (depth - 1))
    goals = tuple(float(2 * np.abs(np.prod(shape[:, mode])) + 1) for mode in range(2))
    return aligned(depth, widths, seed, modes=tuple(map(tuple, shape.tolist())), goals=goals)


def speeds(setting: Setting, rule_velocity: np.ndarray) -> np.ndarray:
    """Speed of each mode per unit of eta |sigma_Delta|, shape (r,)."""
    return np.linalg.norm(rule_velocity, axis=0) / np.abs(mode_values(setting)[SIGMA_DELTA][0])


fixed = Claim(
    "damping.fixed-epsilon",
    source="A section 3.1",
    says="Whatever the damping, the slower of a weakly and a strongly coupled mode stays below a fixed speed.",
    formula=damping.best_slowest_speed,
    lhs=r"\max_\epsilon \min_{\mathrm{modes}} \lVert\dot\sigma\rVert / (\eta \lvert\sigma_\Delta\rvert)",
    given=(ALIGNED, ACTIVE, WHITENED, STRADDLING),
    uses=("damping.mode-rate",),
    near_misses={
        "one half for 1 in the numerator": lambda: (Rational(1, 2) + J_MIN * J_MAX) / (J_MIN + J_MAX),
        "geometric mean": lambda: 2 * (J_MIN * J_MAX) ** Rational(1, 2) / (J_MIN + J_MAX),
    },
    falsifiers={
        "the speed of the square root rule": lambda: Integer(1),
        "the weakest coupling": lambda: J_MIN,
    },
    remark=(
        "The best damping is $`\\epsilon = j_{\\min} j_{\\max}`$; then both modes run at the same speed, about "
        "$`1 / j_{\\max}`$ where $`j_{\\min}`$ is small. The square root rule runs every mode at speed 1."
    ),
)


@fixed.proof(generic_in="depth, widths, damping, couplings")
def one_mode_loses_what_the_other_gains(formula):
    """The distances of both speeds from the formula have a common factor and opposite signs."""
    return damping.caps_the_slowest(formula)


@fixed.check(
    grid(depth=[2, 3], widths=["square", "waist"], weakest=[1e-3, 0.3], strongest=[2, 10], seed=[0])
    + grid(depth=[4], widths=["widening"], weakest=[0.05], strongest=[1.5], seed=[1])
)
def slower_of_two_modes(formula, depth, widths, weakest, strongest, seed):
    """The slower mode over six decades of damping against the bound, and both modes at the best damping."""
    setting = two_modes(depth, widths, seed, weakest, strongest)
    norms, slower, at_best, bound = sweep(setting)
    cap = evaluate(formula, {J_MIN: norms.min(), J_MAX: norms.max()})
    return both(at_most(slower, cap, bound=bound), agree(at_best, np.broadcast_to(cap, 2), bound=bound)).on(setting)


@fixed.figure
def speeds_of_all_modes(formula):
    """Speed against coupling for several dampings: every curve has a hump, the square root rule is flat."""
    depth, widths, strengths = 2, (10, 10, 10), np.logspace(-3, 1, 10)
    values = tuple(tuple(float(s) * part for s in strengths) for part in (0.6, 0.8))
    setting = aligned(depth, widths, 0, modes=values, goals=(200.0,) * 10)
    norms = mode_values(setting)[NORM_J][0]
    line = np.logspace(-3, 1, 120)
    series = []
    for epsilon in (1e-4, 1e-2, 1.0):
        curve = evaluate(damping.normalised_speed(NORM_J), {NORM_J: line, EPSILON: epsilon})
        series.append(Series(f"damping {epsilon:g}", line, curve))
    series.append(Series("square root rule", line, np.ones_like(line)))
    for epsilon in (1e-4, 1e-2, 1.0):
        series.append(Series("", norms, speeds(setting, damped_modes(setting, epsilon)), "simulation"))
    series.append(Series("", norms, speeds(setting, mode_velocity(setting, Fractional(2))), "simulation"))
    cap = float(evaluate(formula, {J_MIN: 1e-3, J_MAX: 10.0}))
    series.append(Series("best slowest speed", [1e-3, 10.0], [cap, cap], "bound"))
    panel = Panel(
        "One damping cannot serve all modes", r"coupling $\Vert j\Vert$", r"speed per $\eta\,|\sigma_\Delta|$",
        tuple(series), log_x=True, log_y=True,
    )
    return Figure(
        "Speed of modes under three fixed dampings and under the square root rule: lines from the formulas, dots "
        "from ten modes of one network.",
        (panel,),
    )
