"""Symmetry moves and conserved balances: the identity behind theorem 1, its printed form, and its converse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sympy import Sum
from torch import Tensor
from torch.func import jacrev

from derivations.code import value
from derivations.deep_linear import conservation, null_dimension
from derivations.deep_linear.conservation import V_HERE, V_NEXT
from derivations.deep_linear.null_dimension import INDEX, RANK, at_ranks
from derivations.notation import DEPTH, W_I, W_NEXT
from derivations.words import layer_sum, trace
from numerics import curvature, exact, gauge
from numerics import initialisations as init
from numerics.device import generator
from numerics.frames import normal
from numerics.networks import DeepLinear, Direction, flatten, inner, norm, unflatten
from numerics.problems import Problem
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both, equal, vanishes
from tests.checker.evidence import Bound
from tests.claims.hidden_layers import SHAPES, balance_rates, layer_pairs, stacked
from tests.claims.settings import Setting, generic, sizes

product = Claim(
    "conservation.orbit-identity",
    source="A theorem 1",
    says="The product of an update with a symmetry move is a sum over hidden layers, one matrix for each generator.",
    formula=conservation.orbit_product,
    lhs=r"\dot{w} \cdot \dot{w}_{\mathrm{null}}",
    uses=("null-space.generator",),
    near_misses={
        "generator not transposed": conservation.orbit_product_as_printed,
        "transpose on the wrong factor": lambda: layer_sum(
            trace((V_HERE * W_I.T - V_NEXT.T * W_NEXT) * conservation.CHANGE.T)
        ),
    },
    falsifiers={
        "plus between the layers": lambda: layer_sum(
            trace((V_HERE * W_I.T + W_NEXT.T * V_NEXT) * conservation.CHANGE.T)
        )
    },
    remark="The sum runs over the hidden layers, from 1 to $`d - 1`$: a generator needs a layer on either side.",
)


@product.proof(generic_in="depth, widths, update")
def collected_around_the_generator(formula):
    """Write the product with the moves of one generator and collect it."""
    return conservation.is_orbit_product(formula)


@lru_cache(maxsize=128)
def paired(
    depth: int, widths: str | tuple[int, ...], seed: int
) -> tuple[Setting, Direction, tuple[Tensor, ...], float]:
    """A network, any direction, a generator for each of the layers 1..d, and the direction's product with the moves."""
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: >= 2, a generator needs a hidden layer")
    setting, draw = generic(depth, widths, seed), generator(seed + 2000)
    net = setting.net
    direction = tuple(normal(tuple(w.shape), draw) for w in net.weights)
    generators = tuple(normal((n, n), draw) for n in net.widths[1:])
    moved = gauge.move(net, generators[:-1])
    return setting, direction, generators, float(inner(direction, moved))


def _orbit_letters(
    net: DeepLinear, direction: Direction, generators: tuple[Tensor, ...]
) -> list[dict[str, np.ndarray]]:
    """The letters at the layers 1..d; above the last layer there is nothing, a layer of no rows."""
    n = net.widths[-1]
    empty = torch.zeros((1, n), dtype=torch.float64)
    letters = layer_pairs((*net.weights, empty), (*direction, empty))
    return [{**one, "m_i": np.asarray(m)} for one, m in zip(letters, generators, strict=True)]


def _product_rounding(net: DeepLinear, direction: Direction, generators: tuple[Tensor, ...]) -> Bound:
    sizes = [float(v.norm() * w.norm() * m.norm()) for v, w, m in zip(direction, net.weights, generators, strict=True)]
    sizes += [
        float(v.norm() * w.norm() * m.norm())
        for v, w, m in zip(direction[1:], net.weights[1:], generators, strict=False)
    ]
    return rounding(sum(sizes), 3 * max(net.widths) + net.depth)


@product.check(grid(depth=[2, 3, 5], widths=SHAPES, seed=range(2)))
def any_direction_and_move(formula, depth, widths, seed):
    """A random direction times the derivative of random changes of all hidden bases."""
    setting, direction, generators, observed = paired(depth, widths, seed)
    letters = _orbit_letters(setting.net, direction, generators)[:-1]
    bound = _product_rounding(setting.net, direction, generators)
    return agree(observed, value(formula, letters), bound=bound).on(setting)


def _true_sum() -> dict[str, object]:
    return {"upper limit": DEPTH - 1, "summand": conservation.orbit_product().summand}


printed = Claim(
    "conservation.orbit-identity-as-printed",
    source="A theorem 1",
    says="The product of an update with a symmetry move is a sum over all layers, with untransposed generators.",
    formula=lambda: {"upper limit": DEPTH, "summand": conservation.orbit_product_as_printed().summand},
    lhs=r"\dot{w} \cdot \dot{w}_{\mathrm{null}}",
    control=_true_sum,
    corrected_by=("conservation.orbit-identity",),
    near_misses={
        "one layer too few": lambda: {**_true_sum(), "upper limit": DEPTH - 2},
        "one layer too many": lambda: {**_true_sum(), "upper limit": DEPTH},
        "generator not transposed": lambda: {**_true_sum(), "summand": conservation.orbit_product_as_printed().summand},
    },
    mutate=False,
    remark=(
        "Two slips without consequences: the last layer has no generator, and the generator enters transposed. The "
        "theorem only uses that the sum vanishes for every generator, which is the same condition either way."
    ),
)


@printed.proof(generic_in="depth, widths, update")
def one_generator_at_a_time(formula):
    """Compare the summand with the product of the update and the moves of one generator."""
    return conservation.is_orbit_sum(formula["upper limit"], layer_sum(formula["summand"]))


@printed.check(grid(depth=[2, 3, 4], widths=["square", "wide", "narrowing"], seed=range(2)))
def any_direction_and_moves(formula, depth, widths, seed):
    """A random direction times random moves, against the sum up to the stated layer."""
    setting, direction, generators, observed = paired(depth, widths, seed)
    last = int(formula["upper limit"].subs(DEPTH, depth))
    letters = _orbit_letters(setting.net, direction, generators)[:last]
    predicted = value(layer_sum(formula["summand"]), letters) if letters else 0.0
    bound = _product_rounding(setting.net, direction, generators)
    return agree(observed, predicted, bound=bound, scale=float(norm(direction))).on(setting)


turning = Claim(
    "conservation.converse-fails",
    source="A theorem 1, its converse",
    says="An antisymmetric generator only turns the balance: a conserved balance does not make an update orthogonal "
    "to the null space.",
    formula=conservation.turning_rate,
    lhs=r"\dot{C}_i",
    uses=("null-space.generator", "conservation.weight-balance"),
    near_misses={
        "anticommutator": lambda: (
            conservation.CHANGE * conservation.balance() + conservation.balance() * conservation.CHANGE
        ),
        "other sense of turning": lambda: -conservation.turning_rate(),
    },
    falsifiers={"lower square alone": lambda: conservation.CHANGE * W_I * W_I.T - W_I * W_I.T * conservation.CHANGE},
    equivalent=lambda formula, mutant: conservation.is_turning_rate(mutant).proved,
    remark=(
        "A balanced network, $`C_i = 0`$, may turn its hidden bases freely without any change of a balance. "
        "Theorem 1 is therefore an implication: orthogonality asks $`n_i^2`$ equations of a hidden layer, a "
        "conserved balance only $`n_i (n_i + 1) / 2`$."
    ),
)


@turning.proof(generic_in="depth, widths, generator")
def commutator_with_the_balance(formula):
    """Differentiate the balance along the moves of an antisymmetric generator."""
    return conservation.is_turning_rate(formula)


@turning.check(grid(depth=[2, 3, 4], widths=["square", "wide", "narrowing"], balanced=[False, True], seed=[0]))
def turning_hidden_bases(formula, depth, widths, balanced, seed):
    """The rate of all balances along moves of antisymmetric generators, and that these moves are null directions."""
    net, generators = _turned(depth, widths, balanced, seed)
    moved = gauge.move(net, generators)
    observed = stacked(balance_rates(net, moved))
    letters = [{**one, "m_i": np.asarray(m)} for one, m in zip(layer_pairs(net.weights), generators, strict=True)]
    size = max(float(norm(moved)), 1.0) * float(net.norm())
    bound = rounding(size, 4 * max(net.widths))
    stated = stacked([value(formula, one) for one in letters])
    null = vanishes(
        curvature.forward(net, moved),
        bound=rounding(size * float(net.norm()) ** (depth - 1), sum(net.widths)),
        scale=size,
    )
    return both(agree(observed, stated, bound=bound, scale=size), null).on(Setting(net, Problem(net.product())))


@lru_cache(maxsize=64)
def _turned(
    depth: int, widths: str | tuple[int, ...], balanced: bool, seed: int
) -> tuple[DeepLinear, tuple[Tensor, ...]]:
    """A network, balanced or not, and antisymmetric generators for its hidden layers."""
    setting, draw = generic(depth, widths, seed), generator(seed + 3000)
    net = setting.net
    if balanced:
        count = min(net.widths)
        net = init.balanced(net.widths, draw, singular_values=torch.linspace(0.5, 1.5, count, dtype=torch.float64))
    free = [normal((n, n), draw) for n in net.widths[1:-1]]
    return net, tuple((m - m.mT) / 2 for m in free)


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """Exact counts on a network of integers: ranks of partial products, and equations on the velocities."""

    table: tuple[tuple[int, ...], ...]
    orthogonal: int
    conserving: int


@lru_cache(maxsize=64)
def equations(depth: int, widths: str | tuple[int, ...], seed: int) -> Equations:
    """How many equations orthogonality to all moves, and conservation of all balances, ask of a velocity."""
    n = sizes(depth, widths)
    net = exact.integer_network(n, [min(pair) for pair in zip(n[1:], n, strict=False)], generator(seed))

    def balances(flat: Tensor) -> Tensor:
        moved = DeepLinear(unflatten(flat, n))
        return torch.cat([moved.balance(i).flatten() for i in range(1, depth)])

    conserving = exact.rank(jacrev(balances)(flatten(net.weights))) if depth > 1 else 0
    return Equations(exact.rank_table(net), exact.rank(gauge.tangent(net)), conserving)


MOVING = Assumption(
    "every generator moves a weight",
    "no change of the hidden bases leaves all layers as they are",
    lambda found: at_ranks(null_dimension.stabiliser_dimension(), found.table) == 0,
)

counted = Claim(
    "conservation.equations-count",
    source="A theorem 1, its converse",
    says="Orthogonality to the symmetries is one equation for each entry of a square matrix, a conserved balance one "
    "for each entry of a symmetric matrix.",
    formula=null_dimension.equation_counts,
    given=(MOVING,),
    uses=("null-space.orbit-dimension",),
    near_misses={
        "antisymmetric for symmetric": lambda: {
            **null_dimension.equation_counts(),
            "conserved balances": Sum(RANK[INDEX, INDEX] * (RANK[INDEX, INDEX] - 1) / 2, (INDEX, 1, DEPTH - 1)),
        }
    },
    falsifiers={
        "one count for both": lambda: dict.fromkeys(
            null_dimension.equation_counts(), null_dimension.equation_counts()["orthogonal to all moves"]
        )
    },
    equivalent=lambda formula, mutant: all(null_dimension.same_counts(formula[k], mutant[k]) for k in formula),
    remark=(
        "The difference, $`n_i (n_i - 1) / 2`$ equations, is the antisymmetric part of the strong form: "
        "constraints on velocities that belong to no conserved quantity. They are what keeps the hidden bases from "
        "turning."
    ),
)


@counted.proof(instances="d = 1, ..., 5, for all widths")
def equations_are_moves(formula):
    """Read the equations of a conserved balance as moves of symmetric generators, and count free entries."""
    return conservation.count_equations(formula)


@counted.check(grid(depth=[2, 3, 4], widths=["square", "widening", "narrowing", "waist"], seed=range(2)))
def exact_ranks_of_equations(formula, depth, widths, seed):
    """Ranks over the rationals of all moves and of the derivative of all balances, on networks of integers."""
    found = equations(depth, widths, seed)
    predicted = [at_ranks(count, found.table) for count in formula.values()]
    return equal([found.orthogonal, found.conserving], predicted).on(found)


@counted.without(MOVING, grid(depth=[2, 3, 4], widths=["wide"], seed=[0]))
def wide_hidden_layers(formula, depth, widths, seed):
    """A hidden layer wider than both its neighbours has generators that move nothing, hence fewer equations."""
    return exact_ranks_of_equations(formula, depth, widths, seed)
