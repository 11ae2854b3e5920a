"""Natural gradient descent and its fractional powers on aligned singular modes: rates and speeds."""

from __future__ import annotations

from functools import lru_cache
from math import inf, log

import numpy as np
import torch
from sympy import Abs, Expr, sqrt

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step
from derivations.deep_linear import modes
from derivations.notation import DEPTH, ETA, J_I, NORM_J, SIGMA_DELTA, Q
from numerics import autograd
from numerics.curvature import kernel
from numerics.flows import flow
from numerics.networks import vec
from numerics.rules import Fractional, NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both, slope
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, WHITENED
from tests.claims.modes import mode_values, mode_velocity, velocity_rounding
from tests.claims.settings import Setting, aligned, array, sizes

RATE = 0.7
STARTS = ("random", "zero factor", "equal modes")
SHAPES = ("square", "widening", "narrowing", "wide", "waist")
NETS = grid(depth=[2, 3, 5], widths=SHAPES, start=STARTS, seed=[0]) + grid(
    depth=[1], widths=["narrowing"], start=["random"], seed=[0]
)
GIVEN = (ALIGNED, ACTIVE, WHITENED)


@lru_cache(maxsize=512)
def started(depth: int, widths: str | tuple[int, ...], start: str, seed: int, device: str = "cpu") -> Setting:
    """An aligned network: random signed modes, one zero factor in the first mode, or all modes equal."""
    if start not in STARTS:
        raise ValueError(f"start: {start} given, allowed: {', '.join(STARTS)}")
    setting = aligned(depth, widths, seed, device=device)
    if start == "random":
        return setting
    table = setting.modes().copy()
    if start == "zero factor":
        table[0, 0] = 0.0
    else:
        table[:] = table[:, :1]
    goals = tuple(map(float, array(setting.goals)))
    return aligned(depth, widths, seed, device=device, modes=tuple(map(tuple, table.tolist())), goals=goals)


@lru_cache(maxsize=2048)
def measured_velocity(setting: Setting, q: float) -> np.ndarray:
    """Velocities of the mode values (d, r) from the full weight matrices under the fractional rule."""
    return mode_velocity(setting, Fractional(q, RATE))


def measured_speed(setting: Setting, q: float) -> np.ndarray:
    """The speed of each mode, shape (r,)."""
    return np.sqrt(np.square(measured_velocity(setting, q)).sum(0))


def predicted(formula: Expr, setting: Setting, q: float = 1) -> np.ndarray:
    """A formula in j_i, ||j||, sigma_Delta, q, d and eta on all modes, shape (d, r)."""
    values = {**mode_values(setting), Q: q, ETA: RATE, DEPTH: setting.net.depth}
    return np.broadcast_to(evaluate(formula, values), values[J_I].shape)


def speed_agrees(formula: Expr, setting: Setting, q: float) -> object:
    """Measured speeds of all modes against a formula."""
    found, wanted = measured_speed(setting, q), predicted(formula, setting, q)[0]
    bound = velocity_rounding(setting, -1 / q)
    return agree(found, wanted, bound=bound, axis=mode_values(setting)[NORM_J][0]).on(setting)


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
        "learning rate twice": lambda: {**modes.natural_rate(), "velocity": -(ETA**2) * SIGMA_DELTA * J_I / NORM_J**2},
    },
    remark=(
        "The multiplier of a mode is its displacement over $`\\lVert j \\rVert^2`$, so the map value obeys "
        "$`\\dot\\sigma = \\sum_i j_i \\dot\\sigma_i = -\\eta\\sigma_\\Delta`$ at every depth. A mode with one zero factor is no "
        "exception: its one non-zero coupling carries the whole change."
    ),
)


@natural.proof(generic_in="depth, widths")
def multiplier_equation_on_one_mode(formula):
    """The kernel acts on a mode as ||j||^2; a layer with j_i other than 0 fixes the multiplier, all layers follow it."""
    residual = modes.multiplier_residual(formula["multiplier"])
    update = -ETA * formula["multiplier"] * J_I
    return all_of(modes.kernel_acts_on_modes(), equal(residual, 0), equal(formula["velocity"], update)).explain(
        step("On one mode the multiplier equation has the solution", formula["multiplier"]),
        step("Steepest descent with the multiplier in place of the displacement moves a layer by", update),
    )


@natural.proof(generic_in="depth, widths")
def pseudo_inverse_on_one_mode(formula):
    """The same velocity from the pseudo-inverse, which divides by the eigenvalue ||j||^2."""
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
    """The least multiplier map that the kernel takes to the displacement, by automatic differentiation, on the modes."""
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
        "Where the weights are small the couplings are smaller still, $`\\lVert j \\rVert \\sim \\sigma^{1 - 1/d}`$ for equal layers, "
        "and the speed grows without bound as learning starts. This is the price of a map that learns at a constant rate."
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


fractional_speed = Claim(
    "modes.fractional-speed",
    source="A eq. 15",
    says="A fractional rule moves an aligned mode at a speed that is a power of its coupling strength.",
    formula=modes.fractional_speed,
    lhs=r"\lVert \dot\sigma \rVert",
    given=GIVEN,
    uses=("modes.fractional-rate",),
    near_misses={"exponent 1 - 1/q": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J ** (1 - 1 / Q)},
    falsifiers={
        "exponent of the map's rate": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J ** (2 - 2 / Q),
        "gradient descent at every order": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J,
    },
    remark=(
        "Vanishing and exploding are two sides of one exponent, $`1 - 2/q`$: positive above $`q = 2`$, where small weights "
        "stall, negative below, where they are driven ever faster, and zero at the square root."
    ),
)


@fractional_speed.proof(generic_in="depth, order q, widths")
def speed_of_the_fractional_rate(formula):
    """All layers share one factor, so the speed is its size times the coupling strength."""
    found = modes.speed(modes.fractional_velocity())
    return equal(formula, found).explain(step("The velocities of the layers add up in squares to", found))


@fractional_speed.check(
    grid(depth=[2, 3, 5], q=[1, 1.5, 2, 7, inf], widths=["square", "widening", "waist"], start=["random"], seed=[0])
    + grid(depth=[2, 3], q=[1.5, inf], widths=["narrowing", "wide"], start=["zero factor", "equal modes"], seed=[0])
    + grid(depth=[1], q=[1, 3], widths=["narrowing"], start=["random"], seed=[0])
)
def speeds_at_every_order(formula, depth, q, widths, start, seed, device="cpu"):
    """Speed of every mode of a full network under the fractional rule."""
    return speed_agrees(formula, started(depth, widths, start, seed, device), q)


SCALES = (0.2, 0.5, 1.0, 2.0)


def one_mode(depth: int, scale: float, seed: int) -> Setting:
    """A square network with one mode whose layers all carry about ``scale``, all other modes idle."""
    shares = 1 + 0.3 * np.cos(np.arange(depth))
    return aligned(depth, (3,) * (depth + 1), seed, modes=tuple((float(scale * s),) for s in shares), goals=(1.0,))


@fractional_speed.check(grid(depth=[2, 4], q=[1, 1.5, 2, 7, inf], seed=[0]))
def exponent(formula, depth, q, seed):
    """Log-log slope of the measured speed per displacement over the coupling strength, for networks of four scales."""
    settings = [one_mode(depth, scale, seed) for scale in SCALES]
    strength = [float(mode_values(one)[NORM_J][0, 0]) for one in settings]
    gaps = [abs(float(mode_values(one)[SIGMA_DELTA][0, 0])) for one in settings]
    found = [float(measured_speed(one, q)[0]) / gap for one, gap in zip(settings, gaps, strict=True)]
    power = formula.diff(NORM_J) * NORM_J / formula
    wanted = float(evaluate(power, {NORM_J: 1.5, SIGMA_DELTA: 1.0, Q: q, ETA: RATE}))
    noise = [velocity_rounding(one, -1 / q).total / speed for one, speed in zip(settings, found, strict=True)]
    return slope(strength, found, predicted=wanted, systematic=2 * max(noise) / log(strength[-1] / strength[0])).on(
        settings[0]
    )


@fractional_speed.figure
def fan(formula):
    """Speed per displacement over the coupling strength, five orders."""
    series, worst, budget = [], ([], []), 0.0
    strength = np.geomspace(0.03, 20, 60)
    for q, name in ((1, "natural, q = 1"), (1.5, "q = 1.5"), (2, "square root, q = 2"), (4, "q = 4"), (inf, "gradient, q = ∞")):
        theory = evaluate(formula, {NORM_J: strength, SIGMA_DELTA: 1.0, Q: q, ETA: 1.0})
        series.append(Series(name, strength, theory))
        settings = [one_mode(3, scale, 1) for scale in np.geomspace(0.15, 2.8, 9)]
        values = [mode_values(one) for one in settings]
        x = [float(one[NORM_J][0, 0]) for one in values]
        y = [float(measured_speed(s, q)[0] / abs(v[SIGMA_DELTA][0, 0]) / RATE) for s, v in zip(settings, values, strict=True)]
        series.append(Series("network", x, y, "simulation"))
        ideal = evaluate(formula, {NORM_J: np.array(x), SIGMA_DELTA: 1.0, Q: q, ETA: 1.0})
        worst[0].extend(x)
        worst[1].extend(np.array(y) / ideal - 1)
        budget = max(budget, *(velocity_rounding(s, -1 / q).total / v for s, v in zip(settings, y, strict=True)))
    panel = Panel(
        "Vanishing, exploding, constant",
        r"coupling strength $\Vert j\Vert$",
        r"$\Vert\dot\sigma\Vert \,/\, \eta|\sigma_\Delta|$",
        tuple(series),
        residual=Series("relative difference", *worst, style="simulation"),
        residual_bound=budget,
        log_x=True,
        log_y=True,
    )
    return Figure("Speed of one mode of networks of depth 3 per displacement, over the strength of its couplings.", (panel,))


root_speed = Claim(
    "modes.sqrt-speed",
    source="A eq. 16",
    says="The square-root rule moves an aligned mode at the speed of its displacement, whatever its couplings.",
    formula=lambda: modes.fractional_speed(2),
    lhs=r"\lVert \dot\sigma \rVert",
    given=GIVEN,
    uses=("modes.fractional-speed",),
    near_misses={"share of one layer": lambda: ETA * Abs(SIGMA_DELTA) / sqrt(DEPTH)},
    falsifiers={
        "squared displacement": lambda: ETA * SIGMA_DELTA**2,
        "a trace of the coupling": lambda: ETA * Abs(SIGMA_DELTA) * NORM_J ** (Q / 2),
    },
    remark=(
        "Neither depth nor the size of the weights enters. The same holds for arbitrary, unaligned weights with the loss "
        "in place of the displacement, see the claim on the square-root speed of the natural gradient family."
    ),
)


@root_speed.proof(generic_in="depth, widths")
def couplings_cancel(formula):
    """At q = 2 the factor common to all layers is inverse to the coupling strength."""
    found = modes.speed(modes.fractional_velocity(2))
    return equal(formula, found).explain(step("The velocities of the layers add up in squares to", found))


@root_speed.check(NETS)
def speeds_at_the_square_root(formula, depth, widths, start, seed, device="cpu"):
    """Speed of every mode of a full network under the square-root rule."""
    return speed_agrees(formula, started(depth, widths, start, seed, device), 2)


@root_speed.figure
def collapse(formula):
    """Speed over displacement along whole trainings from small weights."""
    gap = np.geomspace(0.02, 1, 40)
    series = [Series("theory", gap, evaluate(formula, {SIGMA_DELTA: gap, NORM_J: 1.0, Q: 2, ETA: 1.0, DEPTH: 2}))]
    for q, style in ((2.0, "simulation"), (1.0, "reference"), (inf, "reference")):
        for depth in (2, 4):
            start = one_mode(depth, 0.25, 2)
            late = {2.0: 7.0, 1.0: 4.0, inf: 40.0}[q]
            path = flow(start.net, start.problem, Fractional(q), np.linspace(0, late, 24).tolist(), tolerance=1e-6)
            states = [start.moved(net) for net in path]
            x = [abs(float(mode_values(one)[SIGMA_DELTA][0, 0])) for one in states]
            y = [float(measured_speed(one, q)[0]) / RATE for one in states]
            kept = [k for k, value in enumerate(x) if value > 0.02]
            name = {2.0: "square root", 1.0: "natural gradient", inf: "gradient"}[q]
            series.append(Series(f"{name}, depth {depth}", [x[k] for k in kept], [y[k] for k in kept], style))
    panel = Panel(
        "Speed is displacement",
        r"displacement $|\sigma_\Delta|$",
        r"speed $\Vert\dot\sigma\Vert/\eta$",
        tuple(series),
        log_x=True,
        log_y=True,
    )
    return Figure(
        "Speed over displacement along trainings of networks of depth 2 and 4 from small weights, right to left. Under the "
        "square-root rule all of them fall on one line; gradient descent starts far below it, the natural gradient above.",
        (panel,),
    )


reciprocal = Claim(
    "modes.reciprocal-speed",
    source="A section 3.1, after eq. 13",
    says="On one mode the speeds of two conjugate orders multiply to the squared displacement; the square root is the mean.",
    formula=lambda: (ETA * SIGMA_DELTA) ** 2,
    lhs=r"\lVert \dot\sigma \rVert_q \, \lVert \dot\sigma \rVert_{q'}",
    given=GIVEN,
    uses=("modes.fractional-speed",),
    near_misses={"couplings do not cancel": lambda: (ETA * SIGMA_DELTA) ** 2 * NORM_J ** (1 / Q)},
    falsifiers={
        "displacement not squared": lambda: ETA**2 * Abs(SIGMA_DELTA),
        "squared coupling left": lambda: (ETA * SIGMA_DELTA) ** 2 * NORM_J**2,
    },
    remark=(
        "Orders with $`1/q + 1/q' = 1`$ are reciprocal: natural gradient and gradient descent are one such pair, the square root "
        "is its own partner. On a whole network the product is larger than the square, except where one mode is left."
    ),
)


@reciprocal.proof(generic_in="depth, order q, widths")
def exponents_of_conjugate_orders_cancel(formula):
    """The exponents of conjugate orders add up to zero."""
    product = modes.fractional_speed(Q) * modes.fractional_speed(Q / (Q - 1))
    return all_of(equal(formula, product), equal(formula, modes.fractional_speed(2) ** 2)).explain(
        step("The product of the two speeds is", product), step("which is the square of the speed at q = 2.", formula)
    )


@reciprocal.check(
    grid(depth=[2, 3, 5], q=[1, 1.25, 1.5, 3, inf], widths=["square", "widening", "waist"], start=["random"], seed=[0])
    + grid(depth=[1, 2, 3], q=[1, 1.5], widths=["narrowing", "wide"], start=["zero factor", "equal modes"], seed=[0])
)
def product_of_two_velocities(formula, depth, q, widths, start, seed, device="cpu"):
    """Speeds of every mode of a full network at an order, its conjugate and the square root."""
    setting = started(depth, widths, start, seed, device)
    conjugate = inf if q == 1 else 1.0 if q == inf else q / (q - 1)
    first, second, middle = (measured_speed(setting, order) for order in (q, conjugate, 2.0))
    wanted = predicted(formula, setting, q)[0]
    bound = _product_rounding(setting, first, second, q, conjugate)
    middle_bound = _product_rounding(setting, middle, middle, 2.0, 2.0)
    return both(
        agree(first * second, wanted, bound=bound), agree(middle**2, wanted, bound=middle_bound)
    ).on(setting)


def _product_rounding(setting: Setting, first: np.ndarray, second: np.ndarray, q: float, p: float) -> Bound:
    one, two = velocity_rounding(setting, -1 / q).total, velocity_rounding(setting, -1 / p).total
    return rounding(float((first * second).max()), 3) + Bound(
        (("rounding of the velocities", float(first.max()) * two + float(second.max()) * one),)
    )
