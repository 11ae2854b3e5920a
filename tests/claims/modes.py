"""Singular-mode dynamics of deep linear networks: the fractional rule that interpolates between NGD and SGD."""

from __future__ import annotations

from math import inf

import numpy as np
from sympy import Symbol

from derivations.compiled import evaluate
from derivations.deep_linear import modes
from derivations.notation import ETA, J_I, NORM_J, SIGMA_DELTA, SIGMA_I, SIGMA_I_DOT, Q
from numerics.rules import Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.settings import Setting, aligned, array


def mode_values(setting: Setting) -> dict[Symbol, np.ndarray]:
    """j_i, ||j|| and sigma_Delta of all modes of an aligned setting, from their definitions; arrays of shape (d, r)."""
    sigma = setting.modes()
    depth, rank = sigma.shape
    coupling = np.array([np.prod(np.delete(sigma, i, axis=0), axis=0) for i in range(depth)])
    norm = np.broadcast_to(np.sqrt((coupling**2).sum(0)), (depth, rank))
    goals = np.zeros(rank) if setting.goals is None else array(setting.goals)
    gap = np.broadcast_to(sigma.prod(0) - goals, (depth, rank))
    return {SIGMA_I: sigma, J_I: coupling, NORM_J: norm, SIGMA_DELTA: gap}


def mode_velocity(setting: Setting, rule: object) -> np.ndarray:
    """The components of a rule's velocity on the modes, from the full weight matrices; shape (d, r)."""
    frame, net = setting.frame, setting.net
    velocity = rule.velocity(net, setting.problem)
    return array(frame.modes(net.replace(velocity)))


def velocity_rounding(setting: Setting, power: float) -> Bound:
    """Rounding of a spectral function of the kernel: its factor's size, its spread ||j||^2, the chain of products."""
    found = mode_values(setting)
    norm, gap = found[NORM_J], found[SIGMA_DELTA]
    spread = float(norm.max() / norm.min()) ** 2
    sizes = setting.net.widths
    operations = setting.net.parameters + sum(sizes) * len(sizes) + sizes[0] * sizes[-1]
    scale = float(np.abs(norm ** (1 + 2 * power) * gap).max())
    return rounding(scale, operations, max(spread, 1.0))


rate = Claim(
    "modes.fractional-rate",
    source="A eq. 14",
    says="Under fractional natural gradient descent every active aligned mode is driven by its own gap and couplings.",
    formula=modes.fractional_velocity,
    lhs=SIGMA_I_DOT,
    given=(ALIGNED, ACTIVE, WHITENED),
    near_misses={
        "exponent 1/q instead of 2/q": lambda: -ETA * SIGMA_DELTA * J_I * NORM_J ** (-1 / Q),
        "exponent 2q instead of 2/q": lambda: -ETA * SIGMA_DELTA * J_I * NORM_J ** (-2 * Q),
    },
    falsifiers={
        "no curvature correction": lambda: -ETA * SIGMA_DELTA * J_I,
        "no sign of the coupling": lambda: -ETA * SIGMA_DELTA * abs(J_I) * NORM_J ** (-2 / Q),
    },
    remark=(
        "The order interpolates: $`q = 1`$ is natural gradient descent, $`q \\to \\infty`$ gradient descent. "
        "At $`q = 2`$ the couplings drop out of the speed, which is why the square root of the curvature "
        "neither stalls nor explodes."
    ),
)


@rate.proof(generic_in="depth, order q, widths")
def pseudo_inverse_power_on_one_mode(formula):
    r"""The kernel acts on an aligned mode as the number $`\lVert j \rVert^2`$, so its power does too."""
    return modes.follows_from_filter(formula, lambda eigenvalue: eigenvalue ** (-1 / Q))


@rate.check(
    grid(depth=[2, 3, 5], q=[1, 1.5, 2, 7, inf], widths=["square", "widening", "wide"], seed=range(2))
    + grid(depth=[1], q=[1, 2], widths=["narrowing"], seed=[0])
)
def full_network(formula, depth, q, widths, seed, device="cpu"):
    """Velocity of the full weight matrices, projected on the modes, against the formula."""
    setting = aligned(depth, widths, seed, device=device)
    observed = mode_velocity(setting, Fractional(q))
    predicted = evaluate(formula, {**mode_values(setting), Q: q, ETA: 1.0})
    return agree(observed, predicted, bound=velocity_rounding(setting, -1 / q)).on(setting)
