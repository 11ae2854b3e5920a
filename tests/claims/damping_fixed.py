"""Why no fixed damping serves all modes: the best speed that it can give the slower of two."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sympy import Integer, Rational

from derivations.compiled import evaluate
from derivations.deep_linear import damping
from derivations.notation import EPSILON, J_MAX, J_MIN, NORM_J, SIGMA_DELTA
from numerics.device import generator
from numerics.initialisations import normal
from numerics.rules import Fractional
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_most, both
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.damping_modes import damped_modes, damped_rounding
from tests.claims.modes import mode_values, mode_velocity
from tests.claims.settings import Setting, aligned, array, sizes


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
        "One damping cannot serve all modes",
        r"coupling $\Vert j\Vert$",
        r"speed per $\eta\,|\sigma_\Delta|$",
        tuple(series),
        log_x=True,
        log_y=True,
    )
    return Figure(
        "Speed of modes under three fixed dampings and under the square root rule: lines from the formulas, dots "
        "from ten modes of one network.",
        (panel,),
    )
