"""Behind a bottleneck: the map's column space turns towards that of the teacher."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Symbol
from torch import Tensor
from torch.func import jvp

from derivations.code import value
from derivations.compiled import evaluate
from derivations.deep_linear import bottleneck
from derivations.deep_linear.bottleneck import S_INVERSE, TEACHER, U, V
from derivations.notation import ETA
from numerics import initialisations as init
from numerics.device import generator
from numerics.flows import flow
from numerics.networks import DeepLinear
from numerics.problems import Problem
from numerics.rules import NaturalGradient
from tests.checker.bounds import integration, remainder, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.bottleneck import BOTTLENECK, WAISTS, Widths, letters, waist
from tests.claims.settings import Setting, array, sizes
from tests.claims.updates import RATE, chain, spread

VALUE = Symbol("s", positive=True)

turning = Claim(
    "supplement.turning-directions",
    source="A S.I.1, on bottlenecks (corrected)",
    says="Behind a bottleneck the column space of the map turns by what the teacher makes of the map's inverse.",
    formula=bottleneck.turning_rate,
    lhs=r"\frac{d}{dt} U U^{\mathsf{T}}",
    given=(BOTTLENECK,),
    uses=("supplement.projected-flow",),
    near_misses={
        "part inside not removed": lambda: _turn(TEACHER * V * S_INVERSE * U.T),
        "inverse forgotten": lambda: _turn((TEACHER - U * U.T * TEACHER) * V * U.T),
    },
    falsifiers={"at rest": bottleneck.frozen},
    remark=(
        "It is at rest exactly where the teacher maps the row space of the network into its column space: aligned "
        "networks are such, and they are where the frozen dimensions of the print come from. From random weights "
        "the space turns until it holds the strongest directions of the teacher."
    ),
)

printed = Claim(
    "supplement.frozen-directions-as-printed",
    source="A S.I.1, after S.I.9",
    says="As printed, the dimensions that a bottleneck does not admit remain frozen.",
    formula=bottleneck.frozen,
    control=bottleneck.turning_rate,
    corrected_by=("supplement.turning-directions",),
    lhs=r"\frac{d}{dt} U U^{\mathsf{T}}",
    given=(BOTTLENECK,),
    near_misses={"inverse forgotten": lambda: _turn((TEACHER - U * U.T * TEACHER) * V * U.T)},
    falsifiers={"half the rate": lambda: bottleneck.turning_rate() / 2},
    remark=(
        "True in aligned networks, where each mode stays in its own direction. In all others the admitted directions "
        "turn, and the rest of the error moves with them."
    ),
)


def _turn(matrix):
    return (matrix + matrix.T) * ETA


@turning.proof(generic_in="depth, widths")
def rate_of_the_projector(formula):
    """The rate of a projector of constant rank, along the projected flow."""
    return bottleneck.is_turning_rate(formula)


@printed.proof(generic_in="depth, widths")
def rate_as_printed(formula):
    """The same rate, held against zero."""
    return bottleneck.is_turning_rate(formula)


@lru_cache(maxsize=64)
def turned(depth: int, widths: Widths, seed: int) -> tuple[Setting, np.ndarray, Bound]:
    """The derivative of the projector on the column space, from the layers above the bottleneck alone."""
    setting = waist(depth, widths, seed)
    net = setting.net
    place = int(np.argmin(net.widths))
    velocity = NaturalGradient(RATE).velocity(net, setting.problem)

    def projector(*layers: Tensor) -> Tensor:
        above = DeepLinear(layers).product()
        return above @ torch.linalg.solve(above.mT @ above, above.mT)

    found = array(jvp(projector, net.weights[place:], velocity[place:])[1])
    values = array(torch.linalg.svdvals(net.left(place)))
    whole = array(torch.linalg.svdvals(net.product()))
    condition = float(values[0] / values[-1]) ** 2 * float(whole[0] / whole[net.widths[place] - 1])
    bound = rounding(float(np.abs(found).max()), chain(setting), spread(setting) * condition)
    return setting, found, bound


def _turns(formula, depth: int, widths: Widths, seed: int) -> Evidence:
    setting, found, bound = turned(depth, widths, seed)
    known = letters(setting)
    predicted = np.broadcast_to(value(formula, {**known, "n_d": setting.net.widths[-1]}), found.shape)
    return agree(found, predicted, bound=bound).on(setting)


@turning.check(WAISTS)
def projectors(formula, depth, widths, seed):
    """The projector on the column space of the upper layers, differentiated along the natural gradient."""
    return _turns(formula, depth, widths, seed)


@printed.check(WAISTS)
def projectors_as_printed(formula, depth, widths, seed):
    """The same derivative against zero."""
    return _turns(formula, depth, widths, seed)


GOALS = (3.0, 2.0, 0.5, 0.25)

best = Claim(
    "supplement.best-rank",
    source="A S.I.1, on bottlenecks",
    says="From random weights natural gradient behind a bottleneck reaches the best map of its rank: half the squares "
    "of the singular values without room are left.",
    formula=lambda: bottleneck.lost_loss(VALUE),
    lhs=r"L(\infty)",
    relation=r"= \sum_{k > r}",
    uses=("supplement.projected-flow",),
    near_misses={"not halved": lambda: VALUE**2},
    falsifiers={"singular values not squared": lambda: VALUE / 2},
    remark=(
        "No start got stuck at a worse map of the same rank: those are saddles of the flow. That it always ends so is "
        "observed, not proved."
    ),
)


@lru_cache(maxsize=16)
def ends(depth: int, widths: Widths, time: float, seed: int, starts: int = 6) -> tuple[np.ndarray, Bound, int]:
    """Losses after the flow from random weights, with the error of the flow and what is still to come."""
    n, draw = sizes(depth, widths), generator(seed)
    rank = min(n)
    if rank >= len(GOALS) or min(n[0], n[-1]) < len(GOALS):
        raise ValueError(f"widths: {n} given, allowed: ends of at least {len(GOALS)}, a hidden width below it")
    net = init.gaussian(n, draw, seeds=starts)
    left, right = init.haar(n[-1], draw)[:, : len(GOALS)], init.haar(n[0], draw)[:, : len(GOALS)]
    teacher = left * torch.tensor(GOALS, dtype=torch.float64) @ right.mT
    problem = Problem(teacher.expand(starts, *teacher.shape))
    course = flow(net, problem, NaturalGradient(), [0.0, time - 2.0, time], tolerance=1e-8)
    losses = problem.loss(course.net(2))
    # the last two units of time shrink the excess by more than half, so what remains is less than they took
    rest = float((problem.loss(course.net(1)) - losses).abs().max())
    slope = max(float(w.abs().max()) for w in course.net(2).weights) * sum(GOALS) * sum(n)
    return array(losses), integration(slope * course.error) + remainder(rest), rank


@best.check(grid(depth=[2], widths=[(4, 2, 4)], time=[12.0], seed=[0]))
def flows_from_random_weights(formula, depth, widths, time, seed):
    """The loss at the end of natural gradient flows from six random starts."""
    losses, bound, rank = ends(depth, widths, time, seed)
    lost = float(evaluate(formula, {VALUE: np.array(GOALS[rank:])}).sum())
    return agree(losses, np.full(losses.shape, lost), bound=bound)


@best.check(
    grid(depth=[2], widths=[(5, 3, 4), (4, 1, 5)], time=[16.0], seed=[0])
    + grid(depth=[3], widths=[(4, 3, 2, 4)], time=[16.0], seed=[0]),
    slow=True,
)
def other_shapes(formula, depth, widths, time, seed):
    """The same behind other bottlenecks, wide ends and three layers."""
    return flows_from_random_weights(formula, depth, widths, time, seed)


@best.figure
def losses_over_time(formula):
    """Losses of networks of two hidden widths over time, with the losses that their ranks leave."""
    times, panels = np.linspace(0.0, 8.0, 17), []
    for hidden in (1, 2):
        draw = generator(hidden)
        net = init.gaussian((4, hidden, 4), draw, seeds=3)
        left, right = init.haar(4, draw), init.haar(4, draw)
        teacher = (left * torch.tensor(GOALS, dtype=torch.float64) @ right.mT).expand(3, 4, 4)
        course = flow(net, Problem(teacher), NaturalGradient(), times.tolist(), tolerance=1e-6)
        losses = ((course.products() - teacher) ** 2).sum((-2, -1)) / 2
        lost = float(evaluate(formula, {VALUE: np.array(GOALS[hidden:])}).sum())
        dots = [Series("network" if k == 0 else "", times, losses[:, k], "simulation") for k in range(3)]
        panels.append(Panel(f"bottleneck of {hidden}", r"$\eta t$", "loss",
                            (Series("best of its rank", [0, 8], [lost, lost]), *dots), log_y=True))  # fmt: skip
    caption = "Natural gradient flows from three random starts behind bottlenecks of two widths."
    return Figure(caption, tuple(panels))
