"""The natural gradient is the shortest update that moves the map as it does."""

from __future__ import annotations

import numpy as np
import torch

from derivations import words
from derivations.code import value
from derivations.decide import all_of, step
from derivations.deep_linear import natural_gradient as natural
from derivations.deep_linear.natural_gradient import NULL, WEIGHT, A
from numerics.networks import Direction, inner, norm, unflatten
from numerics.rules import BlockNatural, NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.settings import Setting, layer_values, near_solution
from tests.claims.updates import NETS, RATE, chain, null_vectors, spread

shortest = Claim(
    "natural-gradient.minimum-norm",
    source="A footnote 4",
    says="A null vector added to the natural gradient keeps the change of the map and adds its own squared length.",
    formula=lambda: words.layer_sum(natural.added_length()),
    lhs=r"\lVert \dot w + o \rVert^2 - \lVert \dot w \rVert^2",
    uses=("natural-gradient.lagrangian-form",),
    near_misses={
        "measured behind the layers above": lambda: words.layer_sum(words.trace(A * NULL * NULL.T * A.T)),
        "overlap with the weights": lambda: words.layer_sum(
            words.trace(NULL * NULL.T) + 2 * words.trace(WEIGHT * NULL.T)
        ),
    },
    falsifiers={"half the length": lambda: words.layer_sum(words.trace(NULL * NULL.T) / 2)},
    remark=(
        "Pythagoras in weight space: among all updates that move the map alike the natural gradient is the "
        "shortest one. The block-diagonal rule moves a wide network's map in the same way and pays for a null "
        "vector on top."
    ),
)


def extra_length(setting: Setting, added: Direction) -> float:
    """|v + o|^2 - |v|^2 for the natural gradient v of a full network."""
    velocity = NaturalGradient(RATE).velocity(setting.net, setting.problem)
    together = tuple(v + o for v, o in zip(velocity, added, strict=True))
    return float(inner(together, together) - inner(velocity, velocity))


def layer_sum_value(formula: object, setting: Setting, added: Direction) -> float:
    """The value of a sum over layers at a direction."""
    return float(value(formula, [layer_values(setting, i + 1, null=part) for i, part in enumerate(added)]))


def length_rounding(setting: Setting, added: Direction) -> Bound:
    """Rounding of an inner product with the natural gradient, which is as accurate as its pseudo-inverse."""
    update = norm(NaturalGradient(RATE).velocity(setting.net, setting.problem))
    scale = float(norm(added) * (update + norm(added)))
    return rounding(scale, chain(setting), spread(setting))


@shortest.proof(generic_in="depth, widths, input covariance")
def pythagoras(formula):
    """The cross terms of all layers cancel, since a null vector leaves the map alone."""
    update = natural.natural_update()
    square = words.trace((update + NULL) * (update + NULL).T) - words.trace(update * update.T)
    cross = 2 * words.trace(update * NULL.T)
    return all_of(natural.null_vector_is_orthogonal(), words.vanishes(square - cross - formula.summand)).explain(
        step("What remains of the square of the sum in one layer is", square - cross),
    )


@shortest.check([case for case in NETS if case["depth"] > 1])
def random_null_vector(formula, depth, widths, correlated, seed):
    """A random null vector of a full network's Jacobian, added to its natural gradient."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    basis = null_vectors(setting)
    if not basis.shape[1]:
        raise ValueError(f"depth: {depth} given, allowed: depth >= 2 (a single layer has no null vectors)")
    drawn = basis @ np.random.default_rng(seed).standard_normal(basis.shape[1])
    added = unflatten(torch.from_numpy(drawn), setting.net.widths)
    found, wanted = extra_length(setting, added), layer_sum_value(formula, setting, added)
    return agree(found, wanted, bound=length_rounding(setting, added)).on(setting)


@shortest.check(grid(depth=[2, 3, 4], widths=["square", "wide"], correlated=[False, True], seed=[0, 1]))
def block_diagonal_update(formula, depth, widths, correlated, seed):
    """In a wide network the block-diagonal update is the natural gradient plus a null vector, hence longer."""
    setting = near_solution(depth, widths, seed, correlated=correlated)
    added = _detour(setting)
    found, wanted = extra_length(setting, added), layer_sum_value(formula, setting, added)
    return agree(found, wanted, bound=length_rounding(setting, added)).on(setting)


def _detour(setting: Setting) -> Direction:
    natural_velocity = NaturalGradient(RATE).velocity(setting.net, setting.problem)
    block_velocity = BlockNatural(RATE).velocity(setting.net, setting.problem)
    return tuple(b - v for b, v in zip(block_velocity, natural_velocity, strict=True))


@shortest.figure
def detours(formula):
    """Squared length of the update along the detour from the natural gradient to the block-diagonal update."""
    series: list[Series] = []
    places: list[float] = []
    off: list[float] = []
    budget = 0.0
    shares, dots = np.linspace(-0.6, 1.6, 45), np.linspace(-0.6, 1.6, 12)
    for depth in (2, 3, 4):
        setting = near_solution(depth, "wide", 0)
        velocity, added = NaturalGradient(RATE).velocity(setting.net, setting.problem), _detour(setting)
        base, grown = float(inner(velocity, velocity)), layer_sum_value(formula, setting, added)
        found = [extra_length(setting, tuple(s * o for o in added)) / base for s in dots]
        series.append(Series(f"depth {depth}", shares, 1 + shares**2 * grown / base))
        series.append(Series("network", dots, 1 + np.array(found), "simulation"))
        series.append(Series("block-diagonal update", [1.0], [1 + grown / base], "marker"))
        places.extend(dots)
        off.extend((1 + np.array(found)) - (1 + dots**2 * grown / base))
        budget = max(budget, length_rounding(setting, added).total / base)
    panel = Panel(
        "All these updates move the map alike",
        "share of the detour: 0 natural gradient, 1 block-diagonal",
        r"$\Vert \dot w\Vert^2$ over its least value",
        tuple(series),
        residual=Series("difference", places, off, style="simulation"),
        residual_bound=budget,
    )
    return Figure(
        "Squared length of updates that move the map of a wide network in the same way: the natural gradient "
        "is the bottom of the parabola, the block-diagonal update sits higher on the same one.",
        (panel,),
    )
