"""Gradient descent on aligned singular modes: rate, couplings, frozen and active modes, hyperbolic paths, speed."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.deep_linear import couplings, modes
from derivations.notation import DEPTH, ETA, J_I, NORM_J, SIGMA, SIGMA_DELTA, SIGMA_I, SIGMA_I_DOT, SIGMA_K
from numerics.curvature import forward
from numerics.flows import flow
from numerics.rules import GradientDescent
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, vanishes
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.alignment import RULES, course, task
from tests.claims.assumptions import ALIGNED, COUPLED, WHITENED
from tests.claims.covariance import SHARED
from tests.claims.mode_updates import NETS, RATE, started
from tests.claims.modes import mode_values, mode_velocity
from tests.claims.settings import SHAPES, Setting, aligned, array


def product_rounding(setting: Setting) -> Bound:
    """Rounding of the products of all layers but one with the displacement, on the scale of their spectral norms."""
    norms = [float(torch.linalg.matrix_norm(w, 2)) for w in setting.net.weights]
    whole = float(np.prod(norms)) + float(torch.linalg.matrix_norm(setting.problem.teacher, 2))
    others = max(float(np.prod(np.delete(norms, i))) for i in range(len(norms)))
    return rounding(others * whole, 2 * sum(setting.net.widths))


@lru_cache(maxsize=512)
def descent(setting: Setting) -> np.ndarray:
    """Velocities of the mode values (d, r) from the full gradient."""
    return mode_velocity(setting, GradientDescent(RATE))


rate = Claim(
    "modes.gradient-rate",
    source="A eq. 6",
    says="Under gradient descent every layer of an aligned mode is driven by the gap of the map, times its coupling.",
    formula=lambda: modes.filtered_velocity(lambda eigenvalue: eigenvalue**0),
    lhs=SIGMA_I_DOT,
    given=(ALIGNED, WHITENED),
    uses=("alignment.decoupling", "loss.gradient"),
    near_misses={
        "coupling without sign": lambda: -ETA * SIGMA_DELTA * abs(J_I),
        "coupling strength for the coupling": lambda: -ETA * SIGMA_DELTA * NORM_J,
    },
    falsifiers={
        "up the gradient": lambda: ETA * SIGMA_DELTA * J_I,
        "curvature-corrected": lambda: -ETA * SIGMA_DELTA * J_I / NORM_J**2,
    },
    remark=(
        "The coupling is the product of all other layers of the mode, and carries their sign. A mode with small "
        "layers has couplings that are smaller still: this is why depth slows gradient descent down."
    ),
)


@rate.proof(generic_in="depth, widths")
def trivial_filter_on_one_mode(formula):
    """Gradient descent is the spectral rule that leaves all eigenvalues alone."""
    return modes.follows_from_filter(formula, lambda eigenvalue: eigenvalue**0)


@rate.check(NETS)
def full_gradient(formula, depth, widths, start, seed, device="cpu"):
    """The gradient of all weight matrices, projected on the modes; zero factors and equal modes included."""
    setting = started(depth, widths, start, seed, device)
    predicted = evaluate(formula, {**mode_values(setting), ETA: RATE})
    return agree(descent(setting), predicted, bound=product_rounding(setting)).on(setting)


ratio = Claim(
    "modes.coupling-as-ratio",
    source="A below eq. 6",
    says="The coupling of a layer is the value of the map over the value of the layer, as long as no layer is zero.",
    formula=couplings.coupling_ratio,
    lhs=J_I,
    given=(ALIGNED,),
    conditions=(COUPLED,),
    near_misses={
        "the layer's own square": lambda: SIGMA / SIGMA_I**2,
        "absolute values": lambda: abs(SIGMA / SIGMA_I),
    },
    falsifiers={"the map value itself": lambda: SIGMA},
    remark=(
        "The derivative of the map always exists, the quotient does not: at a zero layer it reads 0/0, where the "
        "coupling is the product of the others. That one mode starts to move is lost with the quotient."
    ),
)


@ratio.proof(generic_in="depth")
def derivative_of_a_product(formula):
    """Differentiates the map value with respect to one factor."""
    return couplings.is_coupling(formula)


@lru_cache(maxsize=256)
def _measured_couplings(depth: int, widths: str | tuple[int, ...], start: str, seed: int) -> np.ndarray:
    """How the map value of each mode answers to each layer: derivatives (d, r) of the full map."""
    setting = started(depth, widths, start, seed)
    bases, net = setting.frame.bases, setting.net
    found = np.zeros(setting.modes().shape)
    for i, k in np.ndindex(*found.shape):
        push = [torch.zeros_like(w) for w in net.weights]
        push[i] = torch.outer(bases[i + 1][:, k], bases[i][:, k])
        found[i, k] = float(bases[-1][:, k] @ forward(net, tuple(push)) @ bases[0][:, k])
    return found


def _as_ratio(formula, depth, widths, start, seed) -> Evidence:
    setting = started(depth, widths, start, seed)
    sigma, bound = setting.modes(), product_rounding(setting)
    sigma = np.where(np.abs(sigma) > bound.total, sigma, 0.0)
    predicted = evaluate(formula, {SIGMA: sigma.prod(0), SIGMA_I: sigma})
    observed = _measured_couplings(depth, widths, start, seed)
    return agree(observed, np.broadcast_to(predicted, sigma.shape), bound=bound).on(setting)


@ratio.check(grid(depth=[1, 2, 3, 5], widths=SHAPES, start=["random", "equal modes"], seed=[0]))
def derivative_of_the_map(formula, depth, widths, start, seed):
    """The full map, differentiated along one mode of one layer."""
    return _as_ratio(formula, depth, widths, start, seed)


@ratio.without(COUPLED, grid(depth=[2, 3], widths=["wide"], start=["zero factor"], seed=[0]))
def at_a_zero_layer(formula, depth, widths, start, seed):
    """A layer of the first mode is zero: the quotient is no number."""
    return _as_ratio(formula, depth, widths, start, seed)


hyperbola = Claim(
    "modes.hyperbola",
    source="A eq. 7",
    says="Any two layers of an aligned mode move on one hyperbola under every spectral rule, damped ones included.",
    formula=couplings.hyperbola,
    lhs=r"\mathrm{constant}",
    given=(ALIGNED, SHARED),
    uses=("alignment.decoupling",),
    near_misses={
        "without squares": lambda: SIGMA_I - SIGMA_K,
        "sum of squares": lambda: SIGMA_I**2 + SIGMA_K**2,
    },
    falsifiers={
        "ratio, as for block-diagonal natural gradient": lambda: SIGMA_I / SIGMA_K,
        "fourth powers": lambda: SIGMA_I**4 - SIGMA_K**4,
    },
    equivalent=lambda formula, mutant: couplings.conserved(mutant).proved,
    remark=(
        "A rule that is a function of the curvature multiplies all layers of a mode by one common factor, which "
        r"changes the time-table and not the path. Each layer gains the same square: $`\sigma_i^2 = \sigma_i(0)^2 + "
        "u(t)`$."
    ),
)


@hyperbola.proof(generic_in="depth, spectral filter of the rule")
def along_any_spectral_rule(formula):
    """Differentiates the quantity along the mode equation of an arbitrary filter."""
    return couplings.conserved(formula)


@hyperbola.check(
    grid(depth=[3], widths=["wide"], rule=["gradient", "natural", "square-root", "cube-root", "damped"],
         inputs=["white"], seed=[0])
    + grid(depth=[2, 4], widths=["waist", "widening"], rule=["gradient"], inputs=["white"], seed=[0])
    + grid(depth=[2], widths=["square"], rule=["gradient", "natural"], inputs=["commuting"], seed=[0])
)  # fmt: skip
def along_flows(formula, depth, widths, rule, inputs, seed):
    """All pairs of layers of all modes of the full network, at three times."""
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 2")
    setting, run = task(depth, widths, seed, inputs), course(depth, widths, rule, seed, inputs)
    values = array(setting.frame.modes(run.nets()))
    pairs = list(combinations(range(depth), 2))
    drift = [evaluate(formula, {SIGMA_I: values[:, i], SIGMA_K: values[:, k]}) for i, k in pairs]
    drift = np.stack([one - one[0] for one in drift])
    size, entries = float(np.abs(values).max()), max(setting.net.widths)
    bound = integration(8 * size * entries * run.error)
    return vanishes(drift, bound=bound, scale=size**2).on(setting)


@hyperbola.figure
def three_rules_on_one_hyperbola(formula):
    """The plane of two layers: hyperbolas through the starts, and networks under three rules at equal times."""
    rules = {"gradient": [], "square-root": [], "natural": []}
    lines, shown = [], ((0.05, 0.45), (0.1, 1.2), (1.0, 0.2))
    for start in shown:
        setting = aligned(2, "square", 0, modes=((start[0],), (start[1],)), goals=(1.0,))
        level = float(evaluate(formula, {SIGMA_I: start[0], SIGMA_K: start[1]}))
        first = np.linspace(start[0], 1.5, 60)
        second = np.sqrt(np.maximum(first**2 - level, 0))
        keep = first * second <= 1.0
        lines.append(Series("" if lines else "theory", first[keep], second[keep], "reference"))
        for rule, dots in rules.items():
            run = flow(setting.net, setting.problem, RULES[rule], [0.0, 0.2, 0.5, 1.0, 2.0, 4.0])
            dots.append(array(setting.frame.modes(run.nets()))[:, :, 0])
    dots = [
        Series(rule, np.concatenate(found)[:, 0], np.concatenate(found)[:, 1], "simulation")
        for rule, found in rules.items()
    ]
    axis = np.linspace(0.55, 1.6, 40)
    goal = Series("learned", axis, 1 / axis, "bound")
    panel = Panel("One path, three time-tables", "layer 1", "layer 2", (*lines, goal, *dots), equal_axes=True)
    return Figure("Full 4 - 4 - 4 networks with one mode, at six equal times under each rule.", (panel,))


speed = Claim(
    "modes.gradient-speed",
    source="A eq. 8",
    says="The speed of a mode under gradient descent is the gap of the map times the strength of all couplings.",
    formula=couplings.gradient_speed,
    lhs=r"\lVert \dot\sigma \rVert",
    given=(ALIGNED, WHITENED),
    uses=("modes.gradient-rate",),
    near_misses={
        "coupling strength squared": lambda: ETA * abs(SIGMA_DELTA) * NORM_J**2,
        "square root of the coupling strength": lambda: ETA * abs(SIGMA_DELTA) * NORM_J ** (1 / DEPTH),
    },
    falsifiers={
        "constant speed": lambda: ETA * abs(SIGMA_DELTA),
        "gap with its sign": lambda: ETA * SIGMA_DELTA * NORM_J,
    },
    remark=(
        r"The factor that the paper leaves open by a proportionality sign is $`\eta`$ exactly. The speed vanishes "
        "with the couplings and explodes with them."
    ),
)


@speed.proof(generic_in="depth, widths")
def sum_over_the_layers(formula):
    """Adds up the squares of the layers' velocities."""
    return couplings.has_gradient_speed(formula)


@speed.check(NETS)
def speed_of_full_weights(formula, depth, widths, start, seed, device="cpu"):
    """The speed of every mode from the gradient of all weight matrices."""
    setting = started(depth, widths, start, seed, device)
    observed = np.sqrt((descent(setting) ** 2).sum(0))
    values = {**mode_values(setting), ETA: RATE, DEPTH: depth}
    predicted = np.broadcast_to(evaluate(formula, values), descent(setting).shape)[0]
    found = agree(observed, predicted, bound=product_rounding(setting), axis=mode_values(setting)[NORM_J][0])
    return found.on(setting)
