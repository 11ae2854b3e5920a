"""Implicit biases of the weights: balance of layers from small weights, zeros of the map that training cannot pass."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from sympy import Abs, Integer, sign

from derivations import words
from derivations.code import value
from derivations.compiled import evaluate
from derivations.deep_linear import implicit_bias
from derivations.notation import DEPTH, SIGMA_0, SIGMA_STAR, W_I, W_NEXT, Q
from numerics import initialisations as init
from numerics.device import generator
from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear
from numerics.problems import Problem
from numerics.rules import BlockFractional, Damped, Fractional, GradientDescent, Rule
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, slope, vanishes
from tests.checker.figure import Figure, Panel, Series
from tests.checker.seeds import seed_of
from tests.claims.assumptions import ALIGNED, BALANCED
from tests.claims.hidden_layers import ORTHOGONAL, RULES, TIMES, course, layer_pairs, multiple, stacked
from tests.claims.settings import Setting, aligned, array, sizes

norms = Claim(
    "implicit-bias.norm-difference",
    source="A section 4",
    says="Updates orthogonal to the null space conserve the difference of the squared norms of neighbouring layers.",
    formula=implicit_bias.norm_difference,
    relation=r"= \text{constant} =",
    given=(ORTHOGONAL,),
    uses=("conservation.weight-balance",),
    near_misses={"sum of the squared norms": lambda: words.trace(W_I * W_I.T) + words.trace(W_NEXT * W_NEXT.T)},
    falsifiers={
        "twice the upper norm": lambda: words.trace(W_I * W_I.T) - 2 * words.trace(W_NEXT * W_NEXT.T),
        "one layer alone": lambda: words.trace(W_I * W_I.T),
    },
    equivalent=multiple,
    remark=(
        "It is the trace of the balance matrix, and the part of the conservation law that belongs to the "
        "symmetry of multiplying one layer and dividing the next. Natural and fractional gradients keep it for "
        "the reason that gradient descent does."
    ),
)


@norms.proof(generic_in="depth, widths, loss, rule, input covariance")
def both_norms_change_alike(formula):
    """Insert the general update without null component into the rate of the formula."""
    return implicit_bias.norm_is_conserved(formula)


FULL: dict[str, Rule] = {
    "gradient": GradientDescent(),
    "natural": Fractional(1),
    "square-root": Fractional(2),
    "damped": Damped(0.3),
}


def _norm_drift(formula, depth, widths, rule, seed, times):
    run, trajectory = course(depth, widths, seed, (FULL | RULES)[rule], True, times)
    parts = [value(formula, letters) for letters in layer_pairs(trajectory.weights)]
    total = max(float(w.square().sum((-2, -1)).max()) for w in trajectory.weights)
    largest = max(float(w.abs().max()) * w[0].numel() for w in trajectory.weights)
    bound = integration(4 * largest * trajectory.error) + rounding(total, max(w[0].numel() for w in trajectory.weights))
    return vanishes(stacked([part - part[:1] for part in parts]), bound=bound, scale=total).on(run)


@norms.check(grid(depth=[3], rule=list(FULL), widths=["widening", "waist"], seed=[0]))
def flows_without_null_component(formula, depth, rule, widths, seed):
    """Along flows of four rules on correlated inputs from unaligned, unbalanced networks."""
    return _norm_drift(formula, depth, widths, rule, seed, TIMES)


@norms.without(ORTHOGONAL, grid(depth=[3], rule=["block-natural", "block-square-root"], widths=["square"], seed=[0]))
def flows_with_null_component(formula, depth, rule, widths, seed):
    """Along flows with one curvature for each layer."""
    return _norm_drift(formula, depth, widths, rule, seed, TIMES[:3])


small = Claim(
    "implicit-bias.balance-from-small-weights",
    source="A section 4",
    says="From small weights every rule but the block-diagonal natural gradient balances the layers; how well "
    "depends on the rule through a power of the initial scale.",
    formula=implicit_bias.imbalance_exponents,
    lhs=r"\text{exponent of } \alpha \text{ in the final relative imbalance}",
    near_misses={
        "block exponent 1 - 1/q": lambda: {**implicit_bias.imbalance_exponents(), "block": 1 - 1 / Q},
        "one curvature a layer as good as all": lambda: {"full": Integer(2), "block": Integer(2)},
    },
    falsifiers={
        "no balance with one curvature a layer": lambda: {"full": Integer(2), "block": Integer(0)},
        "full exponent 1": lambda: {**implicit_bias.imbalance_exponents(), "full": Integer(1)},
    },
    remark=(
        "With the full curvature the imbalance of the start, of order $`\\alpha^2`$, is conserved. With one "
        "curvature a layer it grows with the weights: the natural gradient ($`q = 1`$) keeps every ratio of "
        "layers, its square root ($`q = 2`$) keeps their difference. Random unaligned networks follow the same "
        "powers; there, with three and more layers and one curvature a layer, no invariant is known to explain it."
    ),
)


@small.proof(generic_in="depth, order q, modes (aligned)")
def conserved_differences_carry_the_scale(formula):
    """Differences of powers of two layers of one mode that the velocities conserve."""
    return implicit_bias.are_imbalance_exponents(formula)


SCALES = (0.04, 0.02, 0.01, 0.005)


@lru_cache(maxsize=64)
def balanced_by(
    depth: int, widths: str | tuple[int, ...], curvature: str, q: float, start: str, seed: int
) -> tuple[np.ndarray, float, Setting]:
    """Final relative imbalance for each initial scale, its error, and the largest start."""
    n, draw = sizes(depth, widths), generator(seed)
    if start == "aligned":
        rank = min(n)
        values = 0.5 + torch.rand((depth, rank), generator=draw, dtype=torch.float64)
        net, frame = init.aligned(values, n, draw)
        teacher = init.aligned_teacher(frame, torch.linspace(1.0, 1.5, rank, dtype=torch.float64))
    else:
        net, turn, other = init.gaussian(n, draw), init.haar(n[-1], draw), init.haar(n[0], draw)
        rank = min(n[0], n[-1])
        teacher = turn[:, :rank] * torch.linspace(1.0, 1.5, rank, dtype=torch.float64) @ other[:, :rank].mT
    nets = DeepLinear(tuple(torch.stack([a * w for a in SCALES]) for w in net.weights))
    problem = Problem(teacher.expand(len(SCALES), *teacher.shape).contiguous())
    rule = BlockFractional(q) if curvature == "block" else Fractional(q)
    end = flow(nets, problem, rule, (0.0, 13.0), tolerance=1e-7)
    last = end.net(1)
    sums = torch.stack([last.balance(i).square().sum((-2, -1)) for i in range(1, depth)]).sum(0).sqrt()
    weight = last.weights[0].square().sum((-2, -1))
    # the error of the flow enters the difference of two squares of layers
    return array(sums / weight), 4 * depth * end.error, Setting(nets.at(0), Problem(teacher))


@small.check(
    grid(depth=[2], widths=["wide"], curvature=["block"], q=[1, 1.5, 2], start=["aligned"], seed=[0])
    + grid(depth=[2], widths=["wide"], curvature=["full"], q=[2], start=["aligned"], seed=[0])
    + grid(depth=[2], widths=["square"], curvature=["block"], q=[2], start=["random"], seed=[0])
)
def imbalance_against_scale(formula, depth, widths, curvature, q, start, seed):
    """The power of the initial scale in the final imbalance of full networks, aligned or random at the start."""
    imbalance, error, setting = balanced_by(depth, widths, curvature, q, start, seed)
    local = np.diff(np.log(imbalance)) / np.diff(np.log(SCALES))
    doubt = float(np.ptp(local)) + error / float(imbalance.min()) / np.log(SCALES[0] / SCALES[-1])
    predicted = float(evaluate(formula[curvature], {Q: q}))
    return slope(SCALES, imbalance, predicted=predicted, systematic=doubt).on(setting)


@small.check(
    grid(depth=[3], widths=["square"], curvature=["block", "full"], q=[2, 3], start=["aligned"], seed=[0])
    + grid(depth=[3], widths=["square"], curvature=["block", "full"], q=[2], start=["random"], seed=[0]),
    slow=True,
)
def imbalance_of_deeper_networks(formula, depth, widths, curvature, q, start, seed):
    """The same for three layers and another order."""
    return imbalance_against_scale(formula, depth, widths, curvature, q, start, seed)


@small.figure
def imbalance_of_three_rules(formula):
    """Final imbalance against initial scale: powers from the formula, networks as dots."""
    series, residual = [], []
    labels = {("block", 1): "NGD-d", ("block", 2): r"$\sqrt{}$NGD-d", ("full", 2): r"$\sqrt{}$NGD"}
    for case in small.checks[0].cases[:4]:
        curvature, q = case["curvature"], case["q"]
        label = labels.get((curvature, q), f"order {q}, a curvature for each layer")
        seen, _, _ = balanced_by(**{**case, "seed": seed_of(small.id, case)})
        power = float(evaluate(formula[curvature], {Q: q}))
        theory = seen[-1] * (np.array(SCALES) / SCALES[-1]) ** power
        series += [Series(f"{label}: theory", SCALES, theory), Series(label, SCALES, seen, "simulation")]
        residual.append(np.abs(seen / theory - 1))
    panel = Panel(
        "two layers, learned from small weights",
        r"initial scale $\alpha$",
        "relative imbalance after learning",
        tuple(series),
        residual=Series("relative difference", SCALES, np.max(residual, axis=0), "simulation"),
        log_x=True,
        log_y=True,
    )
    return Figure("Small weights balance the layers, unless each layer divides by its own curvature in full.", (panel,))


trap = Claim(
    "implicit-bias.saddle-trap",
    source="A section 4, about eq. 21",
    says="Gradient descent from balanced weights keeps the sign of every mode: a mode that starts with the "
    "wrong one is left at zero, a saddle.",
    formula=implicit_bias.resting_value,
    lhs=r"\lim_{t \to \infty} \sigma(t)",
    given=(ALIGNED, BALANCED),
    uses=("map.balanced-rate-signed",),
    near_misses={"distance to the teacher halved": lambda: SIGMA_STAR / 2},
    falsifiers={
        "the teacher's value always": lambda: 1 * SIGMA_STAR,
        "the teacher's size with the first sign": lambda: sign(SIGMA_0) * Abs(SIGMA_STAR),
    },
    remark=(
        "So balance is not only a blessing. For the whole map it says that the sign of $`\\det W`$ never "
        "changes. An imbalance of any size opens a way around the saddle, and rounding is an imbalance: "
        "simulated networks do leave, long afterwards."
    ),
)


@trap.proof(generic_in="depth (two or more)")
def no_way_through_zero(formula):
    """Signs of the rate on both sides of zero, and the order of its zero."""
    return implicit_bias.is_resting_value(formula)


@lru_cache(maxsize=32)
def balanced_signs(depth: int, widths: str | tuple[int, ...], rule: Rule, times: tuple[float, ...], seed: int):
    """A balanced aligned network whose first mode has the wrong sign, the second the right one, and its flow."""
    rank = min(sizes(depth, widths))
    values = np.linspace(0.6, 0.9, rank)
    rows = [tuple(values)] * (depth - 1) + [(-values[0], *values[1:])]
    setting = aligned(depth, widths, seed, modes=tuple(rows), goals=(1.5,) * rank)
    return setting, flow(setting.net, setting.problem, rule, times)


def _map_values(setting: Setting, trajectory: Trajectory) -> np.ndarray:
    return np.array([setting.moved(net).modes().prod(0) for net in trajectory])


@trap.check(grid(depth=[2], widths=["square", "wide", "narrowing"], time=[8.0], seed=range(2)))
def rest_of_full_networks(formula, depth, widths, time, seed):
    """Where the modes of a balanced network of two layers are at a late time."""
    if depth != 2:
        raise ValueError(f"depth: {depth} given, allowed: 2 (deeper networks come to rest too slowly)")
    setting, trajectory = balanced_signs(depth, widths, GradientDescent(), (0.0, time), seed)
    start, end = _map_values(setting, trajectory)
    goal = array(setting.goals)
    # with two layers both kinds of modes decay at least as the exponential of twice the teacher's value
    gap = float((np.abs(goal) * np.maximum(1, np.abs((goal - start) / start)) * np.exp(-2 * goal * time)).max())
    predicted = evaluate(formula, {SIGMA_0: start, SIGMA_STAR: goal})
    return agree(end, predicted, bound=integration(4 * trajectory.error) + remainder(gap)).on(setting)


crossing = Claim(
    "implicit-bias.crossing-speed",
    source="A eq. 15, about eq. 21",
    says="Where a balanced mode has to pass zero, its parameters speed up or slow down by a power of the mode "
    "value: natural gradient descent diverges there, its square root passes at finite speed.",
    formula=implicit_bias.crossing_exponent,
    lhs=r"\Vert \dot{\sigma} \Vert \propto |\sigma|^{a},\quad a",
    given=(ALIGNED, BALANCED),
    uses=("modes.fractional-speed",),
    near_misses={"order 1/q instead of 2/q": lambda: (1 - 1 / DEPTH) * (1 - 1 / Q)},
    falsifiers={"as in a network of two layers": lambda: (1 - 2 / Q) / 2, "no divergence": lambda: 0 * Q},
    remark=(
        "The map of natural gradient descent moves in a straight line and reaches zero at a finite time "
        "$`t_s`$. The parameters go as $`(t_s - t)^{1/d}`$, with infinite speed at the end; unbalanced weights "
        "pass the same point smoothly."
    ),
)


@crossing.proof(generic_in="depth, order q")
def speed_of_equal_layers(formula):
    """The speed of a mode with equal layers, differentiated by its value."""
    return implicit_bias.is_crossing_exponent(formula)


@crossing.check(
    grid(depth=[2, 3], q=[1, 1.5, 2, inf], widths=["wide"], seed=[0])
    + grid(depth=[5], q=[1, 3], widths=["square"], seed=[0])
)
def speed_near_zero(formula, depth, q, widths, seed):
    """Speeds of one mode of full networks whose balanced layers are ever smaller, divided by the gap of the mode."""
    rank, values = min(sizes(depth, widths)), np.geomspace(1e-3, 1e-1, 7)
    speeds, settings = [], []
    for v in values:
        rows = [(v ** (1 / depth), *[1.0] * (rank - 1))] * (depth - 1) + [(-(v ** (1 / depth)), *[1.0] * (rank - 1))]
        setting = aligned(depth, widths, seed, modes=tuple(rows), goals=(1.5,) * rank)
        velocity = Fractional(q).velocity(setting.net, setting.problem)
        own = array(setting.frame.modes(setting.net.replace(velocity)))[:, 0]
        speeds.append(np.linalg.norm(own) / (1.5 + v))
        settings.append(setting)
    predicted = float(evaluate(formula, {DEPTH: depth, Q: q}))
    local = np.diff(np.log(speeds)) / np.diff(np.log(values))
    return slope(values, speeds, predicted=predicted, systematic=float(np.ptp(local))).on(settings[0])
