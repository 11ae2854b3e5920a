"""Singular values of balanced maps that are not aligned with their teacher."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.deep_linear import balanced_flow
from derivations.deep_linear.balanced_flow import S_A, TARGET
from derivations.notation import DEPTH, ETA, Q
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.claims.balanced_flow import GIVEN, frame_of, pair_rounding, unaligned
from tests.claims.growth import rule_of, stiffness
from tests.claims.hessian import moved
from tests.claims.modes_natural import RATE
from tests.claims.settings import Setting, array

Widths = str | tuple[int, ...]

rate = Claim(
    "balanced.singular-value-rate",
    source="A eq. 21",
    says="Singular values of a balanced map follow eq. 21 without alignment, towards the teacher's diagonal entry.",
    formula=balanced_flow.singular_value_rate,
    lhs=r"\dot s_a",
    given=GIVEN,
    uses=("balanced.map-velocity",),
    near_misses={
        "plain learning rate": lambda: balanced_flow.singular_value_rate() / DEPTH ** (1 - 1 / Q),
        "half of the stiffness": lambda: (
            -ETA * DEPTH ** (1 - 1 / Q) * S_A ** ((1 - 1 / DEPTH) * (1 - 1 / Q)) * (S_A - TARGET)
        ),
    },
    falsifiers={"linear at every order": lambda: -ETA * DEPTH ** (1 - 1 / Q) * (S_A - TARGET)},
    remark=(
        "$`T_{aa} = u_a^{\\mathsf{T}} W^* v_a`$ is what the teacher puts on a pair of singular vectors, and moves with "
        "them. Stiffness, growth and effective depth are therefore properties of balanced networks, aligned or not."
    ),
)


@rate.proof(generic_in="depth, order q, widths, teacher")
def diagonal_of_the_velocity(formula):
    """Singular vectors move at right angles to themselves, so a singular value moves by the diagonal entry."""
    return balanced_flow.is_singular_value_rate(formula)


@lru_cache(maxsize=128)
def value_speeds(depth: int, q: float, widths: Widths, seed: int) -> tuple[Setting, np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives of the singular values of the map along a rule, by differentiating through their decomposition."""
    stiffness(depth, q)
    setting = unaligned(depth, widths, seed)
    along = rule_of(q).velocity(setting.net, setting.problem)
    observed = array(moved(setting.net, lambda net: torch.linalg.svdvals(net.product()), along))
    u, values, v = frame_of(setting.net)
    target = np.diagonal(u.T @ array(setting.problem.teacher) @ v)
    return setting, observed, values, target


def _rates_agree(formula, depth, q, widths, seed) -> Evidence:
    setting, observed, values, target = value_speeds(depth, q, widths, seed)
    predicted = evaluate(formula, {S_A: values, TARGET: target, ETA: RATE, DEPTH: depth, Q: q})
    bound = pair_rounding(setting, float(np.abs(observed).max()))
    return agree(observed, predicted, bound=bound).on(setting)


@rate.check(
    grid(depth=[2, 3], q=[1, 1.5, 2, inf], widths=["square"], seed=[0])
    + grid(depth=[1, 4], q=[2], widths=["narrowing", "wide"], seed=[1])
)
def derivatives_of_singular_values(formula, depth, q, widths, seed):
    """Derivatives of the singular values of the map along the update of all weights, against eq. 21."""
    return _rates_agree(formula, depth, q, widths, seed)
