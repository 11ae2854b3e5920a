"""Frozen and active modes: how many zero layers stop a mode, and how many modes a network can learn."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Ge, Min

from derivations.compiled import evaluate
from derivations.deep_linear import couplings
from derivations.deep_linear.couplings import NARROWEST, ZEROS
from derivations.notation import DEPTH, N_0, N_D, SIGMA_DELTA
from numerics.curvature import kernel
from numerics.flows import Trajectory, flow
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import differs, equal, vanishes
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.aligned_kernel import crowded
from tests.claims.alignment import RULES
from tests.claims.assumptions import ALIGNED, WHITENED
from tests.claims.modes import mode_values, mode_velocity
from tests.claims.modes_sgd import product_rounding
from tests.claims.settings import SHAPES, Setting, aligned, array, sizes

UNLEARNED = Assumption(
    "unlearned modes",
    "the map value of every mode differs from its goal",
    lambda setting: bool((np.abs(mode_values(setting)[SIGMA_DELTA]) > 1e-10).all()),
)


@lru_cache(maxsize=64)
def with_zeros(depth: int, zeros: int, widths: str | tuple[int, ...]) -> Setting:
    """Two modes: the first has the given number of zero layers, the rest .7 and the goal 1; the second is generic."""
    if zeros not in range(depth + 1):
        raise ValueError(f"zeros: {zeros} given, allowed: an integer from 0 to the depth {depth}")
    if min(sizes(depth, widths)) < 2:
        raise ValueError(f"widths: narrowest {min(sizes(depth, widths))} given, allowed: at least 2, for two modes")
    first = [0.0] * zeros + [0.7] * (depth - zeros)
    table = tuple((value, 0.8 + 0.1 * i) for i, value in enumerate(first))
    return aligned(depth, widths, 0, modes=table, goals=(1.0, 1.6))


@lru_cache(maxsize=128)
def _first_mode(depth: int, zeros: int, widths: str | tuple[int, ...], rule: str) -> tuple[np.ndarray, Bound]:
    """Velocities of the layers of the first mode under a rule, from the full network, and their rounding."""
    setting = with_zeros(depth, zeros, widths)
    velocity = mode_velocity(setting, RULES[rule])
    values = array(torch.linalg.eigvalsh(kernel(setting.net)))
    kept = values[values > 1e-12 * values[-1]]
    operations = sum(setting.net.widths) * depth + len(values)
    return velocity[:, 0], rounding(float(np.abs(velocity).max()), operations, float(kept[-1] / kept[0]))


def _still_or_moving(formula, depth, zeros, widths, rule) -> Evidence:
    """The first mode must stand still where the condition says so, and move where it does not."""
    velocity, bound = _first_mode(depth, zeros, widths, rule)
    if bool(formula.subs({ZEROS: zeros, DEPTH: depth})):
        found = vanishes(velocity, bound=bound, scale=1.0)
    else:
        found = differs(velocity, np.zeros(depth), at_least=0.0, bound=bound)
    return found.on(with_zeros(depth, zeros, widths))


frozen = Claim(
    "modes.zero-factor-frozen",
    source="A footnote 3",
    says="A mode is frozen exactly when at least two of its layers are zero; a single zero layer moves at once.",
    formula=couplings.frozen_condition,
    lhs=r"\dot\sigma_i = 0 \text{ in every layer}",
    relation=r"\iff",
    given=(ALIGNED, WHITENED, UNLEARNED),
    uses=("alignment.decoupling",),
    near_misses={
        "one zero layer is enough": lambda: Ge(ZEROS, 1),
        "three zero layers are needed": lambda: Ge(ZEROS, 3),
    },
    falsifiers={"all layers must be zero": lambda: Ge(ZEROS, DEPTH)},
    remark=(
        r"The number of zero layers is $`z`$. What counts is the coupling $`j`$, not the map value $`\sigma`$: with "
        "one zero layer the map is zero but its derivative is not. Every rule of the paper agrees, the "
        "block-diagonal ones included."
    ),
)

frozen_as_printed = Claim(
    "modes.zero-singular-value-frozen-as-printed",
    source="A footnote 3",
    says="Every mode whose map value is zero stays frozen.",
    formula=lambda: Ge(ZEROS, 1),
    control=couplings.frozen_condition,
    corrected_by=("modes.zero-factor-frozen",),
    lhs=r"\dot\sigma_i = 0 \text{ in every layer}",
    relation=r"\iff",
    given=(ALIGNED, WHITENED, UNLEARNED),
    near_misses={
        "three zero layers are needed": lambda: Ge(ZEROS, 3),
        "all layers must be zero": lambda: Ge(ZEROS, DEPTH),
    },
    remark=(
        "The map value is zero as soon as one layer is. Such a mode is active: from layers 0 and 7/10 with goal 1 "
        "gradient descent sets off at 7/10, the square root at 1, natural gradient at 10/7, and all of them learn "
        "the mode."
    ),
)


@frozen.proof(generic_in="depth, spectral filter of the rule")
def couplings_at_zeros(formula):
    """All couplings vanish when two factors do, and not before."""
    return couplings.freezes(formula)


@frozen_as_printed.proof(generic_in="depth, spectral filter of the rule")
def couplings_as_printed(formula):
    """Looks for a mode on which the printed condition and the couplings disagree."""
    return couplings.freezes(formula)


@frozen.check(
    grid(depth=[3], zeros=[0, 1, 2, 3], widths=["wide", "waist"], rule=list(RULES))
    + grid(depth=[2], zeros=[1, 2], widths=["narrowing"], rule=["gradient", "natural", "square-root"])
    + grid(depth=[5], zeros=[1, 2, 4], widths=["square"], rule=["gradient", "natural", "square-root"])
)
def velocity_of_the_mode(formula, depth, zeros, widths, rule):
    """The velocity of the first mode of the full network under seven rules."""
    return _still_or_moving(formula, depth, zeros, widths, rule)


@frozen_as_printed.check(
    grid(depth=[2, 3], zeros=[1, 2], widths=["wide"], rule=["gradient", "natural", "square-root"])
    + grid(depth=[3], zeros=[3], widths=["wide"], rule=["gradient"])
)
def velocity_of_a_zero_map(formula, depth, zeros, widths, rule):
    """The velocity of a mode whose map value is zero."""
    return _still_or_moving(formula, depth, zeros, widths, rule)


@lru_cache(maxsize=64)
def _started_from_zero(depth: int, zeros: int, widths: str | tuple[int, ...], rule: str) -> Trajectory:
    setting = with_zeros(depth, zeros, widths)
    return flow(setting.net, setting.problem, RULES[rule], np.linspace(0, 8, 17).tolist(), tolerance=1e-10)


@frozen.check(
    grid(depth=[2], zeros=[1], widths=["wide"], rule=["gradient", "natural", "square-root"])
    + grid(depth=[3], zeros=[2], widths=["wide"], rule=["gradient", "natural", "square-root"])
    + grid(depth=[3], zeros=[1], widths=["narrowing"], rule=["gradient"])
)
def course_of_the_map(formula, depth, zeros, widths, rule):
    """The map value of the mode after eight units of time: where it started, or on its way to the goal."""
    setting, run = with_zeros(depth, zeros, widths), _started_from_zero(depth, zeros, widths, rule)
    left, right = setting.frame.bases[-1][:, 0], setting.frame.bases[0][:, 0]
    moved = array(left @ run.products() @ right)
    bound = integration(max(setting.net.widths) * run.error)
    if bool(formula.subs({ZEROS: zeros, DEPTH: depth})):
        return vanishes(moved, bound=bound, scale=1.0).on(setting)
    return differs(moved[-1], 0.0, at_least=0.1, bound=bound).on(setting)


@frozen.figure
def one_zero_and_two(formula):
    """Map values of modes with one and with two zero layers under three rules."""
    panels = []
    for depth, zeros in ((2, 1), (3, 2)):
        series = []
        for rule in ("gradient", "square-root", "natural"):
            setting, run = with_zeros(depth, zeros, "wide"), _started_from_zero(depth, zeros, "wide", rule)
            left, right = setting.frame.bases[-1][:, 0], setting.frame.bases[0][:, 0]
            series.append(Series(rule, array(run.times), array(left @ run.products() @ right), "simulation"))
        goal = Series("goal", [0, 8], [1, 1], "reference")
        title = f"{zeros} zero layer{'s' if zeros > 1 else ''} of {depth}"
        panels.append(Panel(title, "time in units of 1/eta", "map value of the mode", (*series, goal)))
    return Figure("A mode with one zero layer is learned, one with two stands still.", tuple(panels))


active = Claim(
    "modes.active-count",
    source="A footnote 3",
    says="The number of modes that can be learned is the narrowest width of the network.",
    formula=couplings.active_modes,
    lhs=r"\#\{\text{active modes}\}",
    given=(ALIGNED, WHITENED),
    uses=("modes.zero-factor-frozen",),
    near_misses={
        "only the ends count": lambda: Min(N_0, N_D),
        "one fewer": lambda: Min(N_0, N_D, NARROWEST) - 1,
    },
    falsifiers={"only the hidden widths count": lambda: NARROWEST, "the wider end": lambda: Min(N_0, NARROWEST)},
    remark=(
        "A bottleneck of width $`n_h`$ leaves zeros on both of its sides, hence two zero layers in every further "
        "mode. This is why the count holds although one zero layer alone freezes nothing."
    ),
)


@active.proof(generic_in="depth, widths")
def directions_through_the_bottleneck(formula):
    """Counts the directions of the teacher map that pass every layer."""
    return couplings.counts_active(formula)


@lru_cache(maxsize=256)
def _moving(depth: int, widths: str | tuple[int, ...], seed: int, rule: str) -> int:
    """How many teacher modes have a layer that moves, in a network that uses all diagonal entries of its layers."""
    setting = crowded(depth, widths, seed)
    velocity = RULES[rule].velocity(setting.net, setting.problem)
    parts = [array(c.diagonal()) for c in setting.frame.components(setting.net.replace(velocity))]
    ends = min(setting.net.widths[0], setting.net.widths[-1])
    speed = np.max([np.abs(np.pad(part, (0, ends))[:ends]) for part in parts], axis=0)
    return int((speed > product_rounding(setting).total).sum())


@active.check(
    grid(depth=[1, 2, 3, 5], widths=SHAPES, seed=[0], rule=["gradient"])
    + grid(depth=[2, 4], widths=["waist", "wide"], seed=[0], rule=["natural", "square-root", "block-natural"])
)
def moving_modes(formula, depth, widths, seed, rule):
    """Counts the teacher modes that the full network starts to learn."""
    n = sizes(depth, widths)
    given = {N_0: n[0], N_D: n[-1], NARROWEST: min(n[1:-1], default=min(n))}
    found = equal([_moving(depth, widths, seed, rule)], [float(evaluate(formula, given))])
    return found.on(crowded(depth, widths, seed))
