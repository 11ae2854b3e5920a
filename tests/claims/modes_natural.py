"""Natural gradient descent on aligned singular modes: rate, multiplier, speed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Abs, sqrt

from derivations.decide import all_of, equal, step
from derivations.deep_linear import modes
from derivations.notation import DEPTH, ETA, J_I, NORM_J, SIGMA_DELTA
from numerics import autograd
from numerics.curvature import kernel
from numerics.networks import vec
from numerics.rules import NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Claim
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound
from tests.claims.mode_updates import GIVEN, NETS, RATE, predicted, speed_agrees, started
from tests.claims.modes import mode_velocity, velocity_rounding
from tests.claims.settings import Setting, array

natural = Claim(
    "modes.natural-rate",
    source="A eq. 12",
    says="Natural gradient descent divides the rate of an aligned active mode by its squared coupling strength.",
    formula=modes.natural_rate,
    given=GIVEN,
    uses=("natural-gradient.multiplier-equation", "modes.fractional-rate"),
    near_misses={
        "coupling strength not squared": lambda: {
            "velocity": -ETA * SIGMA_DELTA * J_I / NORM_J,
            "multiplier": SIGMA_DELTA / NORM_J,
        },
        "each layer by itself": lambda: {**modes.natural_rate(), "velocity": -ETA * SIGMA_DELTA / (DEPTH * J_I)},
    },
    falsifiers={
        "no curvature correction": lambda: {"velocity": -ETA * SIGMA_DELTA * J_I, "multiplier": SIGMA_DELTA},
        "learning rate squared": lambda: {
            **modes.natural_rate(),
            "velocity": -(ETA**2) * SIGMA_DELTA * J_I / NORM_J**2,
        },
    },
    remark=(
        "The multiplier of a mode is its displacement over $`\\lVert j \\rVert^2`$, so the map value obeys "
        "$`\\dot\\sigma = \\sum_i j_i \\dot\\sigma_i = -\\eta\\sigma_\\Delta`$ at every depth. A mode with "
        "one zero factor is no exception: its one non-zero coupling carries the whole change."
    ),
)


@natural.proof(generic_in="depth, widths")
def multiplier_equation_on_one_mode(formula):
    """The kernel multiplies a mode by its squared coupling strength; one active layer fixes the multiplier."""
    residual = modes.multiplier_residual(formula["multiplier"])
    update = -ETA * formula["multiplier"] * J_I
    return all_of(modes.kernel_acts_on_modes(), equal(residual, 0), equal(formula["velocity"], update)).explain(
        step("On one mode the multiplier equation has the solution", formula["multiplier"]),
        step("Steepest descent with the multiplier in place of the displacement moves a layer by", update),
    )


@natural.proof(generic_in="depth, widths")
def pseudo_inverse_on_one_mode(formula):
    """The same velocity from the pseudo-inverse, which divides by the squared coupling strength."""
    return modes.follows_from_filter(formula["velocity"], lambda eigenvalue: 1 / eigenvalue)


@natural.check(NETS)
def velocity_and_multiplier(formula, depth, widths, start, seed, device="cpu"):
    """Velocity and multiplier of the full weight matrices, projected on the modes."""
    setting = started(depth, widths, start, seed, device)
    velocity = mode_velocity(setting, NaturalGradient(RATE))
    wanted = {name: predicted(part, setting) for name, part in formula.items()}
    return both(
        agree(velocity, wanted["velocity"], bound=velocity_rounding(setting, -1)),
        agree(_multiplier(setting), wanted["multiplier"][0], bound=_solution_rounding(setting)),
    ).on(setting)


def _solution_rounding(setting: Setting) -> Bound:
    """Rounding of a solved linear system: the kernel's size and condition on the scale of the solution."""
    values = array(torch.linalg.eigvalsh(kernel(setting.net)))
    kept = values[values > 1e-11 * values[-1]]
    scale = float(torch.linalg.matrix_norm(setting.problem.error(setting.net)) / kept[0])
    return rounding(scale, setting.net.parameters + len(values), float(kept[-1] / kept[0]))


@lru_cache(maxsize=256)
def _multiplier(setting: Setting) -> np.ndarray:
    """The least map that the kernel takes to the displacement, by automatic differentiation, on the modes."""
    net, frame = setting.net, setting.frame
    jacobian = array(autograd.jacobian(net))
    found = np.linalg.lstsq(jacobian @ jacobian.T, array(vec(setting.problem.error(net))), rcond=1e-11)[0]
    matrix = found.reshape((net.widths[-1], net.widths[0]), order="F")
    return np.diagonal(array(frame.bases[-1]).T @ matrix @ array(frame.bases[0]))[: frame.rank]


natural_speed = Claim(
    "modes.natural-speed",
    source="A eq. 13",
    says="The natural gradient moves an aligned mode at a speed inverse to its coupling strength.",
    formula=lambda: modes.fractional_speed(1),
    lhs=r"\lVert \dot\sigma \rVert",
    given=GIVEN,
    uses=("modes.natural-rate",),
    near_misses={"inverse square": lambda: ETA * Abs(SIGMA_DELTA) / NORM_J**2},
    falsifiers={
        "proportional to the coupling": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J,
        "layers add up": lambda: ETA * Abs(SIGMA_DELTA) * sqrt(DEPTH) / NORM_J,
    },
    remark=(
        "Where the weights are small the couplings are smaller still, $`\\lVert j \\rVert \\sim \\sigma^{1 - "
        "1/d}`$ for equal layers, and the speed grows without bound as learning starts. This is the price of "
        "a map that learns at a constant rate."
    ),
)


@natural_speed.proof(generic_in="depth, widths")
def speed_of_the_natural_rate(formula):
    """All layers share one factor, so the speed is its size times the coupling strength."""
    found = modes.speed(modes.natural_rate()["velocity"])
    return equal(formula, found).explain(step("The velocities of the layers add up in squares to", found))


@natural_speed.check(NETS)
def speeds(formula, depth, widths, start, seed, device="cpu"):
    """Speed of every mode of a full network under natural gradient descent."""
    return speed_agrees(formula, started(depth, widths, start, seed, device), 1)
