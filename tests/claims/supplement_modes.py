"""The supplement's constrained problem on singular modes: velocity, residual and multiplier of one mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.deep_linear import supplement
from derivations.deep_linear.supplement import SIGMA_S
from derivations.notation import ETA, J_I, NORM_J, SIGMA_DELTA, SIGMA_I, SIGMA_LAMBDA
from numerics import curvature
from numerics.rules import NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound, Evidence
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned, array
from tests.claims.updates import RATE, chain, multiplier, pseudo_inverse_rounding

GIVEN = (ALIGNED, ACTIVE, WHITENED)
MODES = grid(depth=[2, 3], widths=["square", "widening", "waist"], seed=[0]) + grid(
    depth=[1, 4], widths=["narrowing"], seed=[0]
)
WRONG_FORMS = {
    "residual without the kernel": lambda: {
        **supplement.mode_forms(),
        "residual": SIGMA_LAMBDA - SIGMA_DELTA,
        "multiplier": SIGMA_DELTA,
    },
    "coupling strength not squared": lambda: {**supplement.mode_forms(), "multiplier": SIGMA_DELTA / NORM_J},
}

forms = Claim(
    "supplement.mode-forms",
    source="A S.I.10, S.I.12-14 (in the convention of S.I.4-9)",
    says="On one mode the multiplier is the gap over the squared coupling strength, and drives the layers.",
    formula=supplement.mode_forms,
    lhs=r"\left(\dot\sigma_i,\ \sigma_S,\ \sigma_\Lambda\right)",
    given=GIVEN,
    uses=("natural-gradient.lagrangian-form", "natural-gradient.multiplier-equation"),
    near_misses={"as printed, eta inside the multiplier": supplement.mode_forms_as_printed},
    falsifiers=WRONG_FORMS,
    remark=(
        "Both conventions, with the learning rate beside the multiplier or inside it, give the same velocity. They "
        "must not be mixed: S.I.4-9 use the first, the printed mode forms the second."
    ),
)

forms_printed = Claim(
    "supplement.mode-forms-as-printed",
    source="A S.I.10, S.I.12-13",
    says="As printed, the mode forms of the multiplier equations have the learning rate inside the multiplier.",
    formula=supplement.mode_forms_as_printed,
    control=supplement.mode_forms,
    corrected_by=("supplement.mode-forms",),
    lhs=r"\left(\dot\sigma_i,\ \sigma_S,\ \sigma_\Lambda\right)",
    given=GIVEN,
    near_misses={
        "rate inside the velocity only": lambda: {**supplement.mode_forms(), "velocity": -SIGMA_LAMBDA * J_I},
        "rate inside the residual only": lambda: {
            **supplement.mode_forms(),
            "residual": NORM_J**2 * SIGMA_LAMBDA - ETA * SIGMA_DELTA,
        },
    },
    remark=(
        "A slip of notation: with the multiplier defined by S.I.4-9 the printed forms are off by the learning rate, "
        "while their product, the velocity of S.I.14, is right."
    ),
)


@forms.proof(generic_in="depth, widths")
def entries_of_the_multiplier_equations(formula):
    """Insert maps that are diagonal in the modes into the update and into the residual."""
    return supplement.are_mode_forms(formula)


@forms_printed.proof(generic_in="depth, widths")
def entries_as_printed(formula):
    """The same insertion, held against the printed forms."""
    return supplement.are_mode_forms(formula)


def _diagonal(setting: Setting, values: np.ndarray) -> np.ndarray:
    """The map with the given mode entries."""
    first, last = array(setting.frame.bases[0]), array(setting.frame.bases[-1])
    return last[:, : len(values)] * values @ first[:, : len(values)].T


def _entries(setting: Setting, matrix: np.ndarray) -> np.ndarray:
    first, last, rank = array(setting.frame.bases[0]), array(setting.frame.bases[-1]), setting.frame.rank
    return np.diagonal(last.T @ matrix @ first)[:rank]


def _residual(setting: Setting, trial: np.ndarray) -> np.ndarray:
    """S(Lambda) of a trial multiplier, by pushing it back to the weights and forward to the map."""
    net = setting.net
    image = curvature.forward(net, curvature.back(net, torch.from_numpy(trial)))
    return array(image) - array(setting.problem.error(net))


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Velocity, multiplier and residual of a trial multiplier on the modes of a network, with their budgets."""

    setting: Setting
    velocity: np.ndarray
    multiplier: np.ndarray
    trial: np.ndarray
    residual: np.ndarray
    budgets: tuple[Bound, Bound, Bound]


@lru_cache(maxsize=64)
def measured(depth: int, widths: str | tuple[int, ...], seed: int) -> Measured:
    """Everything about the constrained problem of a full aligned network."""
    setting = aligned(depth, widths, seed)
    known, solved = mode_values(setting), multiplier(setting)
    trial = np.linspace(0.5, 1.5, known[J_I].shape[1])
    residual = _entries(setting, _residual(setting, _diagonal(setting, trial)))
    bound = velocity_rounding(setting, -1) + pseudo_inverse_rounding(setting, 2)
    scale = float((known[NORM_J] ** 2).max() * 1.5 + np.abs(known[SIGMA_DELTA]).max())
    spread, largest = float(known[NORM_J].max() / known[NORM_J].min()) ** 2, float(np.abs(solved).max())
    budgets = bound, bound + rounding(largest, chain(setting), spread), rounding(scale, chain(setting))
    velocity = mode_velocity(setting, NaturalGradient(RATE))
    return Measured(setting, velocity, _entries(setting, solved), trial, residual, budgets)


def _forms(formula, depth: int, widths, seed: int) -> Evidence:
    found = measured(depth, widths, seed)
    known = {**mode_values(found.setting), ETA: RATE}
    shape = known[J_I].shape
    pushed = np.broadcast_to(found.multiplier, shape)
    trial = np.broadcast_to(found.trial, shape)
    driven = np.broadcast_to(evaluate(formula["velocity"], {**known, SIGMA_LAMBDA: pushed}), shape)
    stated = np.broadcast_to(evaluate(formula["multiplier"], known), shape)[0]
    seen = np.broadcast_to(evaluate(formula["residual"], {**known, SIGMA_LAMBDA: trial}), shape)[0]
    pairs = ((found.velocity, driven), (found.multiplier, stated), (found.residual, seen))
    parts = [agree(a, b, bound=bound) for (a, b), bound in zip(pairs, found.budgets, strict=True)]
    return both(*parts).on(found.setting)


@forms.check(MODES)
def multipliers_of_full_networks(formula, depth, widths, seed):
    """Velocity, multiplier and residual of full aligned networks, read on the modes."""
    return _forms(formula, depth, widths, seed)


@forms_printed.check(MODES)
def printed_on_full_networks(formula, depth, widths, seed):
    """The same networks against the printed forms."""
    return _forms(formula, depth, widths, seed)


seen_residual = Claim(
    "supplement.visible-residual",
    source="A S.I.11 (corrected)",
    says="A layer sees the residual of a mode through its coupling, so an inactive mode may keep any residual.",
    formula=supplement.visible_residual,
    lhs=r"(A_i^{\mathsf{T}} S B_i^{\mathsf{T}})_\sigma",
    given=(ALIGNED,),
    near_misses={"as printed, through its own value": supplement.visible_residual_as_printed},
    falsifiers={"squared coupling": lambda: J_I**2 * SIGMA_S},
    remark=(
        "The natural gradient makes this vanish in every layer: the residual must be zero as soon as one coupling is "
        "not, and that takes $`d - 1`$ non-zero layers, not one."
    ),
)

printed_residual = Claim(
    "supplement.visible-residual-as-printed",
    source="A S.I.11",
    says="As printed, a layer sees the residual of a mode through its own value, and one non-zero layer is enough.",
    formula=supplement.visible_residual_as_printed,
    control=supplement.visible_residual,
    corrected_by=("supplement.visible-residual",),
    lhs=r"(A_i^{\mathsf{T}} S B_i^{\mathsf{T}})_\sigma",
    given=(ALIGNED,),
    near_misses={"squared coupling": lambda: J_I**2 * SIGMA_S},
    falsifiers={"both factors": lambda: SIGMA_I * J_I * SIGMA_S},
    remark=(
        "For two layers the equations only change places. From three layers on they contradict the mode itself: with "
        "layers $`(0, 0, 7/10)`$ the printed form demands $`\\sigma_S = 0`$, while S.I.12 gives the whole goal: "
        "the mode is frozen."
    ),
)


@seen_residual.proof(generic_in="depth, widths")
def step_back_on_modes(formula):
    """The step back from a map to one layer, on a map that is diagonal in the modes."""
    return supplement.is_visible_residual(formula)


@printed_residual.proof(generic_in="depth, widths")
def step_back_as_printed(formula):
    """The same step, held against the printed equation."""
    return supplement.is_visible_residual(formula)


def _visible(formula, depth: int, widths, zeros: int, seed: int) -> Evidence:
    if zeros not in range(depth + 1):
        raise ValueError(f"zeros: {zeros} given, allowed: an integer from 0 to the depth {depth}")
    table = tuple((0.0 if i < zeros else 0.7, 0.8 + 0.2 * i) for i in range(depth))
    setting = aligned(depth, widths, seed, modes=table, goals=(1.0, 1.6))
    residual = np.array([1.1, -0.6])
    back = curvature.back(setting.net, torch.from_numpy(_diagonal(setting, residual)))
    observed = array(setting.frame.modes(setting.net.replace(back)))
    known = mode_values(setting)
    predicted = evaluate(formula, {**known, SIGMA_S: np.broadcast_to(residual, known[J_I].shape)})
    size = float(np.abs(known[SIGMA_I]).max()) ** (depth - 1)
    return agree(observed, predicted, bound=rounding(1.1 * max(size, 1.0), chain(setting))).on(setting)


VISIBLE = grid(depth=[2, 3, 4], widths=["square", "wide"], zeros=[0, 1, 2], seed=[0])


@seen_residual.check(VISIBLE)
def residuals_of_full_networks(formula, depth, widths, zeros, seed):
    """A map with given mode entries, pushed back to the layers of full networks with zero factors."""
    return _visible(formula, depth, widths, zeros, seed)


@printed_residual.check(VISIBLE)
def residuals_as_printed(formula, depth, widths, zeros, seed):
    """The same maps against the printed equation."""
    return _visible(formula, depth, widths, zeros, seed)
