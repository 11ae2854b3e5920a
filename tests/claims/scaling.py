"""How updates scale with the weights: power laws at a given displacement, their constants, their exponents."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from sympy import S, sqrt

from derivations.compiled import evaluate
from derivations.deep_linear import scaling
from derivations.deep_linear.fractional_powers import DELTA_K, KAPPA
from derivations.deep_linear.scaling import SCALE
from derivations.notation import DEPTH, ETA, NORM_J, SIGMA_DELTA, Q
from numerics import curvature
from numerics import initialisations as init
from numerics.device import generator
from numerics.networks import Direction, inner, norm, scaled
from numerics.problems import Problem
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound, Evidence
from tests.claims.assumptions import ACTIVE, ALIGNED, BALANCED, WHITENED
from tests.claims.modes import mode_values, velocity_rounding
from tests.claims.settings import Setting, aligned, array, near_solution
from tests.claims.updates import RATE, chain, directions, spread

ORDERS = [1, 1.5, 2, 7, inf]
Widths = str | tuple[int, ...]


def powered(setting: Setting, q: float) -> Direction:
    """-eta (H_+)^{-1/q} g on a full network, for every q > 0, below 1 too."""
    return scaled(curvature.preconditioned(setting.net, setting.problem, -1 / q), -RATE)


@lru_cache(maxsize=1024)
def measured(setting: Setting, q: float) -> tuple[float, float]:
    """Squared speed and descent of the loss of a full network under the rule of order q."""
    velocity = powered(setting, q)
    slope = curvature.gradient(setting.net, setting.problem)
    return float(norm(velocity)) ** 2, -float(inner(slope, velocity))


@lru_cache(maxsize=256)
def held(depth: int, widths: Widths, scale: float, seed: int) -> tuple[Setting, Setting]:
    """A network, and the same with all weights scaled and the teacher moved so that the displacement is the same."""
    plain = near_solution(depth, widths, seed)
    net = plain.net.replace([scale * w for w in plain.net.weights])
    return plain, Setting(net, Problem(net.product() - plain.problem.error(plain.net)))


@lru_cache(maxsize=512)
def condition(setting: Setting) -> float:
    """The spread of the curvature's spectrum."""
    return spread(setting)


def update_rounding(setting: Setting, size: float) -> Bound:
    """Rounding of products of two updates: the condition of the curvature, on the size of the product."""
    return rounding(size, 4 * chain(setting), condition(setting))


def ratios(setting: Setting, q: float) -> tuple[float, float]:
    """|dw/dt| / L^{1/2} and |dL/dt| / L."""
    fast, falls = measured(setting, q)
    loss = float(setting.problem.loss(setting.net))
    return (fast / loss) ** 0.5, falls / loss


modes = Claim(
    "scaling.mode-rates",
    source="A S.I.15",
    says="The speed of a mode's layers is a power of the coupling strength, that of its map value one power higher.",
    formula=scaling.mode_scaling,
    lhs=r"\left(\lVert\dot\sigma\rVert / \lvert\sigma_\Delta\rvert,\ \dot\sigma / \sigma_\Delta\right)",
    given=(ALIGNED, ACTIVE, WHITENED),
    uses=("modes.fractional-rate",),
    near_misses={
        "same power for the map": lambda: {**scaling.mode_scaling(), "rate of the map": -ETA * NORM_J ** (1 - 2 / Q)},
        "exponent 1 - 1/q for the layers": lambda: {
            **scaling.mode_scaling(),
            "speed of the layers": ETA * NORM_J ** (1 - 1 / Q),
        },
    },
    falsifiers={"map climbs": lambda: {**scaling.mode_scaling(), "rate of the map": ETA * NORM_J ** (2 - 2 / Q)}},
    remark=(
        "The map moves by coupling times velocity, which adds one power to the speed. At the square root the layers "
        "keep their pace, at the natural gradient the map does; no order can do both."
    ),
)


@modes.proof(generic_in="depth, order q, widths")
def couplings_add_up(formula):
    """Lengths and projections of the velocity of one mode on its couplings."""
    return scaling.are_mode_scalings(formula)


@modes.check(
    grid(depth=[2, 3, 5], q=[1, 1.5, inf], widths=["square", "waist"], seed=[0])
    + grid(depth=[1], q=[1, 3], widths=["narrowing"], seed=[1])
)
def aligned_networks(formula, depth, q, widths, seed):
    """Speed of the layers and rate of the map of all modes, from the velocity of full networks."""
    setting = aligned(depth, widths, seed)
    known = mode_values(setting)
    velocity = powered(setting, q)
    layers = array(setting.frame.modes(setting.net.replace(velocity)))
    moved = curvature.forward(setting.net, velocity)
    first, last = setting.frame.bases[0], setting.frame.bases[-1]
    gap = known[SIGMA_DELTA][0]
    rate = np.diagonal(array(last.mT @ moved @ first))[: len(gap)] / gap
    given = {NORM_J: known[NORM_J][0], Q: q, ETA: RATE}
    bound = velocity_rounding(setting, -1 / q)
    top = max(1.0, float(known[NORM_J].max())) / float(np.abs(gap).min())
    bound = Bound(tuple((name, part * top) for name, part in bound.parts))
    fast = np.linalg.norm(layers, axis=0) / np.abs(gap)
    return both(
        agree(fast, evaluate(formula["speed of the layers"], given), bound=bound),
        agree(rate, evaluate(formula["rate of the map"], given), bound=bound),
    ).on(setting)


law = Claim(
    "scaling.power-law",
    source="A S.I.16-17 (for any weights)",
    says="At a given displacement speed and loss of any network change with the scale of its weights by exact powers.",
    formula=scaling.power_law,
    lhs=r"\left(\lVert\dot w\rVert^2,\ -\dot L\right)",
    relation=r"= \sum_k",
    given=(WHITENED,),
    uses=("natural-gradient.speed",),
    near_misses={
        "exponent of d layers": lambda: {
            name: part.subs(DEPTH, DEPTH + 1) for name, part in scaling.power_law().items()
        },
        "exponent 1 - 1/q for the speed": lambda: {
            **scaling.power_law(),
            "squared speed": ETA**2 * (SCALE ** (2 * (DEPTH - 1)) * KAPPA) ** (1 - 1 / Q) * DELTA_K**2,
        },
    },
    falsifiers={"scale left out": lambda: {name: part.subs(SCALE, 1) for name, part in scaling.power_law().items()}},
    remark=(
        "No balance is needed for the exponents: the kernel is homogeneous in the weights. What else changes when "
        "weights are scaled is the displacement, since the teacher stays; it tends to the teacher as the scale falls, "
        "and the print's plots are straight for that reason."
    ),
)


@law.proof(generic_in="depth, order q, widths")
def homogeneous_kernel(formula):
    """The kernel gains one power of the squared scale for each layer but one."""
    return scaling.follows_from_homogeneity(formula)


@law.check(
    grid(depth=[2, 3], q=[1, 2, 7, inf], widths=["waist", "widening"], scale=[0.01], seed=[0])
    + grid(depth=[1, 4], q=[1, 2], widths=["narrowing"], scale=[0.1], seed=[0])
)
def scaled_networks(formula, depth, q, widths, scale, seed):
    """A scaled full network with the displacement of the unscaled one."""
    plain, other = held(depth, widths, scale, seed)
    kappa, delta = directions(plain)
    given = {KAPPA: kappa, DELTA_K: delta, Q: q, ETA: RATE, SCALE: scale, DEPTH: depth}
    found = measured(other, q)
    predicted = [float(evaluate(part, given).sum()) for part in formula.values()]
    pairs = zip(found, predicted, strict=True)
    return both(*(agree(a, b, bound=update_rounding(other, a)) for a, b in pairs)).on(other)


def _uniform(setting: Setting) -> bool:
    values = torch.linalg.eigvalsh(curvature.kernel(setting.net))
    return bool(values[0] > (1 - 1e-10) * values[-1])


EQUAL_COUPLINGS = Assumption("equal couplings", "the kernel is a multiple of the identity", _uniform)


@lru_cache(maxsize=256)
def balanced(depth: int, size: int, scale: float, seed: int, ratio: float) -> Setting:
    """A balanced square network; singular values of its layers spread by a ratio about the scale."""
    draw = generator(seed)
    values = torch.logspace(-1, 1, size, base=max(ratio, 1.0) ** 0.5, dtype=torch.float64) * scale
    net = init.balanced((size,) * (depth + 1), draw, singular_values=values**depth)
    return Setting(net, Problem(init.normal((size, size), draw)))


constants = Claim(
    "scaling.equal-couplings",
    source="A S.I.16-17",
    says="For balanced weights the scaling laws hold exactly, at every displacement and with known constants.",
    formula=scaling.equal_couplings,
    lhs=r"\left(\lVert\dot w\rVert / \sqrt L,\ -\dot L / L\right)",
    given=(BALANCED, WHITENED),
    conditions=(EQUAL_COUPLINGS,),
    uses=("scaling.power-law",),
    near_misses={
        "exponent (d - 1)(1 - 1/q)": lambda: {
            **scaling.equal_couplings(),
            "speed": sqrt(2) * ETA * DEPTH ** (S.Half - 1 / Q) * SCALE ** ((DEPTH - 1) * (1 - 1 / Q)),
        },
        "depth left out of the constants": lambda: {
            "speed": sqrt(2) * ETA * SCALE ** ((DEPTH - 1) * (1 - 2 / Q)),
            "descent of the loss": 2 * ETA * SCALE ** ((DEPTH - 1) * (2 - 2 / Q)),
        },
    },
    falsifiers={"twice as fast": lambda: {name: 2 * part for name, part in scaling.equal_couplings().items()}},
    remark=(
        "Balance alone is not enough: a balanced network has the coupling $`\\lVert j \\rVert^2 = d s^{2 - 2/d}`$ on "
        "a singular value $`s`$ of its map, equal only if all $`s`$ are. The print says so in a subordinate clause; "
        "orthogonal layers of one gain are such. With unequal couplings the ratios are means over eigenvectors, "
        "weighted by the displacement, which itself depends on the scale."
    ),
)


@constants.proof(generic_in="depth, order q, widths")
def one_eigenvalue(formula):
    """All eigenvalues of the kernel are d times the power of the gain."""
    return scaling.follow_from_equal_couplings(formula)


def _exact_law(formula, setting: Setting, depth: int, q: float, scale: float) -> Evidence:
    given = {Q: q, ETA: RATE, SCALE: scale, DEPTH: depth}
    pairs = zip(ratios(setting, q), formula.values(), strict=True)
    return both(
        *(agree(a, float(evaluate(part, given)), bound=update_rounding(setting, abs(a))) for a, part in pairs)
    ).on(setting)


@constants.check(
    grid(depth=[2, 4], q=ORDERS, size=[3], scale=[0.05, 2.0], seed=[0])
    + grid(depth=[1], q=[1, 2], size=[2], scale=[0.5], seed=[0])
)
def orthogonal_layers(formula, depth, q, size, scale, seed):
    """Balanced networks whose layers are orthogonal matrices times one gain, far from and near their teacher."""
    return _exact_law(formula, balanced(depth, size, scale, seed, 1.0), depth, q, scale)


@constants.without(EQUAL_COUPLINGS, grid(depth=[2, 3], q=[1, 1.5, 2, inf], size=[3], scale=[0.7], seed=[0]))
def unequal_singular_values(formula, depth, q, size, scale, seed):
    """Balanced networks whose singular values differ by a factor of four."""
    return _exact_law(formula, balanced(depth, size, scale, seed, 4.0), depth, q, scale)
