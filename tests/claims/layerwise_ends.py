"""Where block-diagonal rules arrive: end values, larger or smaller norms, sensitivity to the start."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.deep_linear import layerwise_ends as ends
from derivations.deep_linear.layerwise_ends import ADDED, END, END_RATIO, GROWTH, START
from derivations.notation import DEPTH, SIGMA_0, SIGMA_I0, SIGMA_STAR, Q
from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear
from numerics.rules import BlockFractional, BlockNatural, Fractional, NaturalGradient, Rule
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_least, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED, COUPLED, WHITENED
from tests.claims.blocks import RATE, heading
from tests.claims.settings import Setting, aligned, array

LATE = 27.0 / RATE
LATEST = float(np.exp(-RATE * LATE))


def _grows(setting: Setting) -> bool:
    return bool((np.abs(array(setting.goals)) >= np.abs(setting.modes().prod(-2)) - 1e-12).all())


GROWING = Assumption("growing map", "no mode of the map has to shrink", _grows)


def _rule(name: str, q: float) -> Rule:
    rules = {"block": BlockFractional(q, RATE), "full": Fractional(q, RATE)}
    if name not in rules:
        raise ValueError(f"rule: {name} given, allowed: {', '.join(rules)}")
    return rules[name]


@lru_cache(maxsize=128)
def _end(setting: Setting, rule: Rule) -> Trajectory:
    return flow(setting.net, setting.problem, rule, [0.0, LATE], tolerance=1e-10)


def _end_modes(setting: Setting, rule: Rule) -> np.ndarray:
    return array(setting.frame.modes(_end(setting, rule).net(1)))


end = Claim(
    "layerwise.end-value",
    source="A section 3.3, after eq. 24",
    says="Block-diagonal natural gradient descent multiplies all layers of a mode by one factor until the solution.",
    formula=ends.end_value,
    lhs=r"\sigma_i(\infty)",
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("layerwise.ratio",),
    near_misses={"factor of the next depth": lambda: SIGMA_I0 * (SIGMA_STAR / SIGMA_0) ** (1 / (DEPTH + 1))},
    falsifiers={
        "balanced end": lambda: SIGMA_STAR ** (1 / DEPTH),
        "one layer does it all": lambda: SIGMA_I0 * SIGMA_STAR / SIGMA_0,
    },
    remark=(
        "The squared norm of the end is $`\\sum_i \\sigma_i(0)^2 (\\sigma^* / \\sigma_0)^{2/d}`$: an imbalance "
        "of the start is carried to the end in full. The full rule adds the same to all squares instead and "
        "forgets it. The map value must keep its sign."
    ),
)


@end.proof(generic_in="depth, widths")
def one_factor_for_all_layers(formula):
    """Ratios are conserved and the product is given."""
    return ends.is_end_value(formula)


@end.check(
    grid(depth=[2, 3], widths=["square"], factor=[1.6], seed=[0])
    + grid(depth=[2, 3], widths=["waist"], factor=[0.5], seed=[0])
    + grid(depth=[1], widths=["wide"], factor=[2.0], seed=[0])
)
def late_weights(formula, depth, widths, factor, seed):
    """Mode values of a full network after a long training."""
    setting = heading(depth, widths, seed, factor=factor)
    start, rule = setting.modes(), BlockNatural(RATE)
    values = {SIGMA_I0: start, SIGMA_0: start.prod(0), SIGMA_STAR: array(setting.goals), DEPTH: depth}
    return agree(_end_modes(setting, rule), evaluate(formula, values), bound=_end_bound(setting, rule)).on(setting)


def _end_bound(setting: Setting, rule: Rule):
    """Integration, and the displacement left at the end, on the scale of the steepest layer."""
    start = setting.modes()
    steep = float(np.abs(start).max() / np.abs(start.prod(0)).min()) * 4
    gap = float(np.abs(array(setting.goals) - start.prod(0)).max())
    size = max(setting.net.widths)
    bound = integration(_end(setting, rule).error * size) + remainder(steep * gap * LATEST)
    return bound + rounding(float(np.abs(start).max()) * 2, 8 * sum(setting.net.widths), max(steep, 1.0))


norm = Claim(
    "layerwise.larger-norm",
    source="A section 3.3, after eq. 24",
    says="Block-diagonal natural gradient descent ends at weights of larger norm than the full rule does.",
    formula=ends.norm_share,
    lhs=r"\lVert\sigma\rVert_{\text{block}}^2 - \lVert\sigma\rVert^2 = c\,u \sum_i g(r_i) \ge 0,\quad g(r)",
    given=(ALIGNED, COUPLED, WHITENED),
    conditions=(GROWING,),
    uses=("layerwise.end-value",),
    near_misses={"logarithm without its factor": lambda: (END_RATIO - 1) / (GROWTH - END_RATIO)},
    falsifiers={"denominators added": lambda: (END_RATIO - 1) / (GROWTH + END_RATIO)},
    remark=(
        "$`c = (\\sigma^*/\\sigma_0)^{2/d}`$ multiplies all squares under the block rule, $`u`$ is added to "
        "all squares under the full one, and $`r_i`$ is the ratio of both ends. All shares vanish for equal "
        "layers only. A map that has to shrink has $`u < 0`$: there the block rule ends at the smaller norm, "
        "so the paper's sentence holds for growing modes, the usual small start."
    ),
)


@norm.proof(generic_in="depth, widths")
def shares_are_positive(formula):
    """Both ends have the same product; a tangent in the logarithm makes every share positive."""
    return ends.is_norm_share(formula)


def _norms(formula, depth, widths, factor, seed):
    setting = heading(depth, widths, seed, factor=factor)
    start, block, full = setting.modes(), BlockNatural(RATE), NaturalGradient(RATE)
    first, second = _end_modes(setting, block) ** 2, _end_modes(setting, full) ** 2
    growth = (array(setting.goals) / start.prod(0)) ** (2 / depth)
    added = (second - start**2).mean(0)
    shares = evaluate(formula, {GROWTH: growth, END_RATIO: first / second, ADDED: added})
    found, predicted = first.sum(0) - second.sum(0), growth * added * np.broadcast_to(shares, start.shape).sum(0)
    largest = float(max(first.max(), second.max()))
    parts = _end_bound(setting, block) + _end_bound(setting, full)
    condition = max(1.0, largest / float(np.abs(growth - 1).min()) ** 2)
    bound = type(parts)(tuple((name, part * 2 * depth * condition * largest**0.5) for name, part in parts.parts))
    exact = agree(found, predicted, bound=bound, scale=largest)
    return both(exact, at_least(found, 0.0, bound=bound)).on(setting)


@norm.check(
    grid(depth=[2, 3], widths=["square"], factor=[1.6], seed=[0])
    + grid(depth=[2], widths=["waist"], factor=[3.0], seed=[0])
)
def late_norms(formula, depth, widths, factor, seed):
    """Squared norms of all modes of full networks after long trainings under both rules."""
    return _norms(formula, depth, widths, factor, seed)


@norm.without(GROWING, grid(depth=[2], widths=["waist"], factor=[0.5], seed=[0]))
def shrinking_maps(formula, depth, widths, factor, seed):
    """The same where the map has to shrink: the block rule ends at the smaller norm."""
    return _norms(formula, depth, widths, factor, seed)


@lru_cache(maxsize=64)
def _amplification(depth: int, ratio: float, rule: str, q: float, seed: int) -> tuple[float, float, Setting]:
    """End over start of a small difference between two equal layers of a full network, its error, and the network.

    Central differences at three distances, two Richardson steps; all six starts are trained as one batch.
    """
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: depth >= 2")
    if not ratio > 0:
        raise ValueError(f"ratio: {ratio} given, allowed: ratio > 0")
    level, distances = ratio, (0.03 * ratio, 0.015 * ratio, 0.0075 * ratio)

    def started(shift: float) -> Setting:
        first = [level] * depth
        first[0], first[1] = level + shift, level - shift
        table = tuple((value, 0.9) for value in first)
        return aligned(depth, (2,) * (depth + 1), seed, modes=table, goals=(1.0, 0.9**depth * 1.1))

    settings = [started(sign * distance) for distance in distances for sign in (1, -1)]
    layers = zip(*(setting.net.weights for setting in settings), strict=True)
    batch = DeepLinear(tuple(torch.stack(same) for same in layers))
    path = flow(batch, settings[0].problem, _rule(rule, q), [0.0, LATE], tolerance=1e-10)
    modes = np.stack([array(settings[0].frame.modes(path.net(1).at(k)))[:, 0] for k in range(6)])
    moved = np.linalg.norm(modes[::2] - modes[1::2], axis=1) / (2 * np.sqrt(2) * np.array(distances))
    once = (4 * moved[1:] - moved[:-1]) / 3
    found = float((16 * once[1] - once[0]) / 15)
    noise = 4 * (path.error + LATEST) / distances[-1]
    return found, noise + abs(float(once[1] - once[0])), started(0.0)


sensitivity = Claim(
    "layerwise.sensitivity",
    source="A section 3.3, after eqs. 24 and 26",
    says="A small difference of equal layers grows until the solution by a power of their size then and now.",
    formula=ends.sensitivity,
    lhs=r"\left\lVert \frac{\partial \sigma(\infty)}{\partial \sigma(0)} \right\rVert",
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("layerwise.invariant",),
    near_misses={"exponent of the conserved power": lambda: (START / END) ** (2 - 2 / Q)},
    falsifiers={
        "reciprocal": lambda: (END / START) ** (1 - 2 / Q),
        "gradient descent at every order": lambda: START / END,
    },
    remark=(
        "From a start of size $`e`$ to solutions of size one, the block-diagonal natural gradient magnifies by "
        "$`1/e`$ what every full rule damps by $`e`$; the block-diagonal square root does neither at any "
        "scale: this is what neutrally stable means. Changes of all layers alike are forgotten by all rules, "
        "so this is the norm of the whole derivative."
    ),
)


@sensitivity.proof(generic_in="depth, order q")
def slopes_of_the_conserved_power(formula):
    """A conserved difference compares the slopes of the conserved power at both ends."""
    return ends.is_sensitivity(formula)


SPREADS = (
    grid(depth=[2], ratio=[0.3, 1.5], rule=["block"], q=[1, 2], seed=[0])
    + grid(depth=[2], ratio=[0.3, 1.5], rule=["full"], q=[2], seed=[0])
    + grid(depth=[2], ratio=[0.3], rule=["block"], q=[4], seed=[0])
    + grid(depth=[3], ratio=[0.5], rule=["block", "full"], q=[1], seed=[0])
)


@sensitivity.check(SPREADS)
def differences_of_ends(formula, depth, ratio, rule, q, seed):
    """Ends of a full network from starts that differ by little in two layers."""
    found, noise, setting = _amplification(depth, ratio, rule, q, seed)
    order = q if rule == "block" else inf
    predicted = evaluate(formula, {START: ratio, END: 1.0, Q: order})
    bound = remainder(noise) + rounding(max(found, 1.0), 64)
    return agree(found, predicted, bound=bound).on(setting)


@sensitivity.figure
def fan_of_sensitivities(formula):
    """Amplification over the size of the start, for block rules of three orders and the full rule."""
    sizes, dots = np.geomspace(0.1, 2.5, 40), (0.3, 1.5)
    series = []
    for name, rule, q in (
        ("natural, block", "block", 1),
        ("square root, block", "block", 2),
        ("square root, full", "full", 2),
    ):
        order = q if rule == "block" else inf
        theory = evaluate(formula, {START: sizes, END: 1.0, Q: order})
        series.append(Series(name, sizes, np.broadcast_to(theory, sizes.shape)))
        found = [_amplification(2, one, rule, q, 0)[0] for one in dots]
        series.append(Series("", dots, found, "simulation"))
    panel = Panel(
        "From small differences at the start to differences at the end",
        r"size of the layers at the start, $e$",
        r"$\Vert\partial\sigma(\infty)/\partial\sigma(0)\Vert$",
        tuple(series),
        log_x=True,
        log_y=True,
    )
    return Figure("Growth of a small difference of two equal layers until a solution of size one is reached.", (panel,))
