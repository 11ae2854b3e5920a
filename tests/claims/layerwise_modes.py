"""Block-diagonal rules on aligned singular modes: natural, fractional and square-root."""

from __future__ import annotations

from math import inf

import numpy as np
from sympy import Abs, sign, sqrt

from derivations.compiled import evaluate
from derivations.deep_linear import layerwise
from derivations.notation import DEPTH, ETA, J_I, NORM_J, SIGMA_DELTA, SIGMA_I_DOT, Q
from numerics.rules import BlockFractional, BlockNatural
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Evidence
from tests.checker.figure import Arrows, Figure, Panel, Series
from tests.claims.assumptions import ALIGNED, COUPLED, WHITENED
from tests.claims.blocks import RATE, SHAPES, block_rounding
from tests.claims.modes import mode_values, mode_velocity
from tests.claims.settings import Setting, aligned, array

GIVEN = (ALIGNED, COUPLED, WHITENED)
NETS = grid(depth=[2, 3, 5], widths=SHAPES, seed=[0, 1]) + grid(depth=[1], widths=["narrowing"], seed=[0])


def agrees(formula, setting: Setting, q: float) -> Evidence:
    """Measured velocities of all modes under the block rule of order q against a formula."""
    rule = BlockNatural(RATE) if q == 1 else BlockFractional(q, RATE)
    values = {**mode_values(setting), Q: q, ETA: RATE, DEPTH: setting.net.depth}
    predicted = np.broadcast_to(evaluate(formula, values), values[J_I].shape)
    return agree(mode_velocity(setting, rule), predicted, bound=block_rounding(setting, -1 / q)).on(setting)


natural = Claim(
    "layerwise.natural-rate",
    source="A eq. 24",
    says="Block-diagonal natural gradient descent drives each layer of a mode by the gap over its own coupling.",
    formula=layerwise.natural_velocity,
    lhs=SIGMA_I_DOT,
    given=GIVEN,
    uses=("layerwise.natural-update",),
    near_misses={
        "full rate for every layer": lambda: -ETA * SIGMA_DELTA / J_I,
        "coupling strength of all layers": lambda: -ETA * SIGMA_DELTA * J_I / NORM_J**2,
    },
    falsifiers={"no sign of the coupling": lambda: -ETA * SIGMA_DELTA / (DEPTH * Abs(J_I))},
    remark=(
        "A layer with a weak coupling moves most: each layer tries to mend the whole error alone. Where a "
        "coupling vanishes the pseudo-inverse leaves the layer at rest."
    ),
)


@natural.proof(generic_in="depth, widths")
def inverse_block_on_one_mode(formula):
    """A block acts on an aligned mode as the squared coupling of its layer."""
    return layerwise.follows_from_block(formula, -1, 1 / DEPTH)


@natural.check(NETS)
def natural_velocities(formula, depth, widths, seed):
    """Velocity of the full weight matrices, projected on the modes."""
    return agrees(formula, aligned(depth, widths, seed), 1)


rate = Claim(
    "layerwise.fractional-rate",
    source="A eq. 25 (corrected)",
    says="A block-diagonal fractional rule drives a layer by the sign and a power of the size of its own coupling.",
    formula=layerwise.fractional_velocity,
    lhs=SIGMA_I_DOT,
    given=GIVEN,
    near_misses={
        "as printed, without the sign": layerwise.fractional_velocity_as_printed,
        "share 1/d at every order": lambda: -ETA * SIGMA_DELTA * sign(J_I) * Abs(J_I) ** (1 - 2 / Q) / DEPTH,
    },
    falsifiers={
        "coupling strength of all layers": lambda: -ETA * SIGMA_DELTA * J_I * NORM_J ** (-2 / Q),
        "exponent 1 - 1/q": lambda: -ETA * SIGMA_DELTA * sign(J_I) * Abs(J_I) ** (1 - 1 / Q) * DEPTH ** (-1 / Q),
    },
    remark=(
        "The rate $`d^{-1/q}`$ matches the full rule where all couplings are equal: there $`\\lVert j "
        "\\rVert^2 = d\\, j_i^2`$, and one block holds the $`d`$-th part of the curvature."
    ),
)


@rate.proof(generic_in="depth, order q, widths")
def power_of_the_block_on_one_mode(formula):
    """A power of the block acts on an aligned mode as that power of the squared coupling."""
    return layerwise.follows_from_block(formula, -1 / Q, DEPTH ** (-1 / Q))


ORDERS = grid(depth=[2, 3, 5], q=[1, 1.5, 2, 7, inf], widths=["square", "widening", "waist"], seed=[0]) + grid(
    depth=[1, 2], q=[1, 3], widths=["narrowing", "wide"], seed=[0]
)


@rate.check(ORDERS)
def fractional_velocities(formula, depth, q, widths, seed):
    """Velocity of the full weight matrices, projected on the modes, at five orders."""
    return agrees(formula, aligned(depth, widths, seed), q)


printed = Claim(
    "layerwise.fractional-rate-as-printed",
    source="A eq. 25",
    says="As printed, a block-diagonal fractional rule drives a layer by a power of its coupling.",
    formula=layerwise.fractional_velocity_as_printed,
    control=layerwise.fractional_velocity,
    corrected_by=("layerwise.fractional-rate",),
    lhs=SIGMA_I_DOT,
    given=GIVEN,
    near_misses={
        "size without the sign": lambda: -ETA * SIGMA_DELTA * Abs(J_I) ** (1 - 2 / Q) * DEPTH ** (-1 / Q),
    },
    falsifiers={
        "share 1/d at every order": lambda: -ETA * SIGMA_DELTA * sign(J_I) * Abs(J_I) ** (1 - 2 / Q) / DEPTH,
    },
    remark=(
        "A power of a negative number is no real number, and at the square root the printed right-hand side is "
        "blind to the sign: a layer below a negative factor would move uphill. Eq. 26 has the sign, eq. 25 "
        "lost it."
    ),
)


@printed.proof(generic_in="depth, order q, widths")
def power_of_a_negative_coupling(formula):
    """The same derivation, at couplings of either sign."""
    return layerwise.follows_from_block(formula, -1 / Q, DEPTH ** (-1 / Q))


@printed.check(ORDERS)
def signed_networks(formula, depth, q, widths, seed):
    """Velocity of the full weight matrices with negative couplings."""
    return agrees(formula, aligned(depth, widths, seed), q)


root = Claim(
    "layerwise.sqrt-rate",
    source="A eq. 26",
    says="The block-diagonal square root moves all layers of a mode at one common speed; couplings give the sign only.",
    formula=lambda: layerwise.fractional_velocity(2),
    lhs=SIGMA_I_DOT,
    given=GIVEN,
    uses=("layerwise.fractional-rate",),
    near_misses={"share 1/d": lambda: -ETA * SIGMA_DELTA * sign(J_I) / DEPTH},
    falsifiers={
        "normalised by all layers": lambda: -ETA * SIGMA_DELTA * J_I / NORM_J,
        "no sign": lambda: -ETA * SIGMA_DELTA / sqrt(DEPTH),
    },
    remark="The velocity has $`d`$ equal components, so its length is the gap: the paths are parallel straight lines.",
)


@root.proof(generic_in="depth, widths")
def root_of_the_block_on_one_mode(formula):
    """The root of the block acts on an aligned mode as the size of the coupling."""
    return layerwise.follows_from_block(formula, -1 / sqrt(4), DEPTH ** (-1 / sqrt(4)))


@root.check(NETS)
def root_velocities(formula, depth, widths, seed):
    """Velocity of the full weight matrices, projected on the modes."""
    return agrees(formula, aligned(depth, widths, seed), 2)


def _plane(first: float, second: float) -> Setting:
    return aligned(2, (2, 2, 2), 3, modes=((first,), (second,)), goals=(1.0,))


def _field(formula, q: float, title: str) -> Panel:
    """Direction field of one mode of two layers: formula as arrows, full networks as arrows on top."""
    ticks = np.linspace(-1.6, 1.6, 9)
    points = [(float(x), float(y)) for x in ticks for y in ticks if abs(x * y) > 0.05]
    parts = []
    for measured in (False, True):
        found = []
        for point in points[:: 3 if measured else 1]:
            setting = _plane(*point)
            if measured:
                rule = BlockNatural() if q == 1 else BlockFractional(q)
                found.append(array(mode_velocity(setting, rule))[:, 0])
            else:
                values = {**mode_values(setting), Q: q, ETA: 1.0, DEPTH: 2}
                found.append(np.broadcast_to(evaluate(formula, values), (2, 1))[:, 0])
        x, y = np.array(points[:: 3 if measured else 1]).T
        u, v = np.array(found).T
        size = np.hypot(u, v) ** 0.6 + 1e-12
        parts.append(Arrows(x, y, u / size, v / size, "simulation" if measured else "theory"))
    curve = np.linspace(0.625, 1.6, 30)
    goals = (Series("solutions", curve, 1 / curve, "reference"), Series("", -curve, -1 / curve, "reference"))
    return Panel(title, r"$\sigma_1$", r"$\sigma_2$", goals, tuple(parts), equal_axes=True)


@rate.figure
def three_fields(formula):
    """Direction fields of three orders on one mode of two layers."""
    titles = {1: "natural, q = 1", 2: "square root, q = 2", 4: "q = 4"}
    return Figure(
        "Update directions of one mode of two layers under block-diagonal rules: radial for the natural gradient, "
        "parallel and of one length for the square root, bent towards the axes above. Formula, and full networks at "
        "every third point.",
        tuple(_field(formula, q, title) for q, title in titles.items()),
    )
