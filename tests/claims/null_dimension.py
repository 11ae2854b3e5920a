"""How large the null space of the Hessian+ is, counted exactly, and how much of it the symmetries reach."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from sympy import Integer

from derivations.deep_linear import null_dimension as counts
from derivations.deep_linear.null_dimension import RANK, at_ranks
from derivations.notation import DEPTH
from numerics import autograd, exact, gauge
from numerics.device import generator
from numerics.networks import DeepLinear
from numerics.problems import Problem
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import equal
from tests.checker.figure import Figure, Panel, Series
from tests.claims.settings import sizes

INSTANCES = 5
Table = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Exact counts on one network of integers: ranks of partial products, dim ker H_+, and dim of the moves."""

    net: DeepLinear
    table: Table
    null: int
    orbit: int


@lru_cache(maxsize=512)
def counted(depth: int, widths: str | tuple[int, ...], deficit: int, seed: int, correlated: bool = False) -> Counted:
    """A random network of integers whose layers lack ``deficit`` of their largest rank, with its exact counts."""
    n, draw = sizes(depth, widths), generator(seed)
    ranks = [max(0, min(pair) - deficit) for pair in zip(n[1:], n, strict=False)]
    net = exact.integer_network(n, ranks, draw)
    root = torch.randint(-1, 2, (n[0], n[0]), generator=draw).to(torch.float64)
    inputs = root @ root.mT + torch.eye(n[0], dtype=torch.float64) if correlated else None
    curvature = autograd.gauss_newton(net, Problem(torch.zeros((n[-1], n[0]), dtype=torch.float64), inputs))
    null = net.parameters - exact.rank(curvature)
    return Counted(net, exact.rank_table(net), null, exact.rank(gauge.tangent(net)))


def _largest_ranks(found: Counted) -> bool:
    n = found.net.widths
    pairs = [(a, b) for a in range(len(n)) for b in range(a, len(n))]
    return all(found.table[a][b] == min(n[a : b + 1]) for a, b in pairs)


LARGEST_RANKS = Assumption(
    "largest ranks", "every product of neighbouring layers has the largest rank that its widths allow", _largest_ranks
)
SHAPES = ("square", "widening", "narrowing", "wide", "waist")
GENERIC = grid(depth=[1, 2, 3, 4], widths=SHAPES, deficit=[0], seed=range(2)) + grid(
    depth=[3], widths=[(3, 2, 2, 1), (3, 2, 4, 1), (2, 3, 3, 2), (1, 2, 1, 3)], deficit=[0], seed=[0]
)
DEFICIENT = grid(depth=[2, 3, 4], widths=SHAPES, deficit=[1, 2], seed=[0])

kernel = Claim(
    "null-space.dimension",
    source="A section 2",
    says="The dimension of the null space of the Hessian+ follows from the ranks of the products of layers.",
    formula=counts.null_dimension,
    lhs=r"\dim \ker H_+",
    near_misses={"no overlap of the layers": lambda: counts.parameters() - counts.separate_ranks()},
    falsifiers={
        "full rank whatever the layers": lambda: counts.parameters() - RANK[0, 0] * RANK[DEPTH, DEPTH],
        "rank of the map for the ranks of its parts": lambda: (
            counts.parameters() - RANK[0, DEPTH] * (RANK[0, 0] + RANK[DEPTH, DEPTH] - RANK[0, DEPTH])
        ),
    },
    equivalent=counts.same_counts,
    remark=(
        "Here $`r_{ab}`$ is the rank of the layers from $`a`$ to $`b`$ multiplied, and $`r_{aa} = n_a`$. The rank "
        "of the Jacobian is the area of a staircase: the images of the upper products grow while the row spaces of "
        "the lower ones shrink."
    ),
)


@kernel.proof(instances="d = 1, ..., 5, for all widths and ranks")
def every_pair_of_chains(formula):
    """In suitable bases the layers are a sum of chains, and the Jacobian falls into one tiny block a pair of chains."""
    return counts.at_depths(lambda d: counts.counts_pairs(formula, counts.null_of_pair, d), INSTANCES)


@kernel.check(
    GENERIC + DEFICIENT + grid(depth=[2, 3], widths=["narrowing"], deficit=[0, 1], seed=[0], correlated=[True])
)
def exact_rank_of_the_curvature(formula, depth, widths, deficit, seed, correlated=False):
    """The rank of the Hessian+ over the rationals, from automatic differentiation of networks of integers."""
    found = counted(depth, widths, deficit, seed, correlated)
    return equal([found.null], [at_ranks(formula, found.table)]).on(found)


orbit = Claim(
    "null-space.orbit-dimension",
    source="A section 2",
    says="The symmetries reach as many directions as generators have entries, less the generators that move nothing.",
    formula=counts.orbit_dimension,
    lhs=r"\dim \{ m_i w_i - w_i m_{i-1} \}",
    uses=("null-space.generator",),
    near_misses={
        "every generator moves something": lambda: counts.equation_counts()["orthogonal to all moves"],
        "the outermost layers count as hidden": lambda: counts.orbit_dimension() + RANK[DEPTH, DEPTH] ** 2,
    },
    falsifiers={"the whole null space": counts.null_dimension},
    equivalent=counts.same_counts,
    remark=(
        "For two layers $`(n_1 - r_1)(n_1 - r_2)`$ generators move nothing: those that ignore the image of the "
        "first layer and end in the kernel of the second."
    ),
)


@orbit.proof(instances="d = 1, ..., 5, for all widths and ranks")
def every_pair_of_moved_chains(formula):
    """The map from generators to moves falls into one block of zeros and ones a pair of chains."""
    return counts.at_depths(lambda d: counts.counts_pairs(formula, counts.orbit_of_pair, d), INSTANCES)


@orbit.check(GENERIC + DEFICIENT)
def exact_rank_of_the_moves(formula, depth, widths, deficit, seed):
    """The rank over the rationals of the derivative of the changes of basis, on networks of integers."""
    found = counted(depth, widths, deficit, seed)
    return equal([found.orbit], [at_ranks(formula, found.table)]).on(found)


printed = Claim(
    "null-space.equals-orbit-as-printed",
    source="A section 2",
    says="The symmetry transformations form the null space of the Hessian+.",
    formula=counts.orbit_dimension,
    lhs=r"\dim \ker H_+",
    control=counts.null_dimension,
    corrected_by=("null-space.dimension", "null-space.generic-gap"),
    near_misses={"one direction more": lambda: counts.null_dimension() + 1},
    falsifiers={"full rank whatever the layers": lambda: counts.parameters() - RANK[0, 0] * RANK[DEPTH, DEPTH]},
    mutate=False,
    remark=(
        "The moves of the symmetries lie in the null space but need not fill it, even if every layer has full "
        "rank: widths $`3, 2, 1`$ leave one null direction that no symmetry reaches. Nothing else in the paper "
        "suffers, since its conservation law uses the symmetries alone."
    ),
)


@printed.proof(instances="d = 1, ..., 5, for all widths and ranks")
def pairs_out_of_reach(formula):
    """Count null directions and moves for every pair of chains."""
    return counts.at_depths(lambda d: counts.counts_pairs(formula, counts.null_of_pair, d), INSTANCES)


@printed.check(grid(depth=[2, 3], widths=["narrowing", "widening", "square"], deficit=[0, 1], seed=[0]))
def rank_of_the_curvature(formula, depth, widths, deficit, seed):
    """The null space of the Hessian+ against the moves, both as exact ranks of networks of integers."""
    found = counted(depth, widths, deficit, seed)
    return equal([found.null], [at_ranks(formula, found.table)]).on(found)


gap = Claim(
    "null-space.generic-gap",
    source="A section 2",
    says="In a generic network the symmetries fill the null space unless the running minimum of the widths, read from "
    "either end, drops twice.",
    formula=counts.generic_gap,
    lhs=r"\dim \ker H_+ - \dim \{ m_i w_i - w_i m_{i-1} \}",
    given=(LARGEST_RANKS,),
    uses=("null-space.dimension", "null-space.orbit-dimension"),
    near_misses={"strictly monotone through one layer": counts.monotone_gap},
    falsifiers={"no gap": lambda: Integer(0)},
    equivalent=counts.same_counts,
    remark=(
        "The first sum reads the widths from the inputs, the second from the outputs; with $`r_{0b} = \\min(n_0, "
        "..., n_b)`$ the summands are products of two drops. A single bottleneck is harmless, two successive ones "
        "are not: $`3, 2, 4, 1`$ has a gap although no layer lies strictly between its neighbours."
    ),
)


@gap.proof(instances="d = 1, ..., 4, for all widths")
def every_order_of_the_widths(formula):
    """Both dimensions are polynomials in the steps between the sorted widths; compare them in every order."""
    return counts.at_depths(lambda d: counts.counts_generic_gap(formula, d), INSTANCES - 1)


@gap.check(GENERIC)
def difference_of_exact_ranks(formula, depth, widths, deficit, seed):
    """The null directions that no symmetry reaches, counted over the rationals."""
    found = counted(depth, widths, deficit, seed)
    return equal([found.null - found.orbit], [at_ranks(formula, found.table)]).on(found)


@gap.without(LARGEST_RANKS, DEFICIENT)
def lower_ranks(formula, depth, widths, deficit, seed):
    """Layers that lack rank have more null directions that no symmetry reaches."""
    found = counted(depth, widths, deficit, seed)
    return equal([found.null - found.orbit], [at_ranks(formula, found.table)]).on(found)


@gap.figure
def null_directions_and_symmetries(formula):
    """Null directions and moves of networks with one hidden layer of growing width, counted and predicted."""
    panels = []
    for deficit, ranks in ((0, "largest ranks"), (1, "ranks one less")):
        hidden = range(1, 9)
        found = [counted(2, (5, n, 2), deficit, 0) for n in hidden]
        null, moves = ([at_ranks(f(), x.table) for x in found] for f in (counts.null_dimension, counts.orbit_dimension))
        series = (
            Series("null space", hidden, null),
            Series("null space, counted", hidden, [x.null for x in found], "simulation"),
            Series("symmetries", hidden, moves, "reference"),
            Series("symmetries, counted", hidden, [x.orbit for x in found], "marker"),
        )
        panels.append(Panel(f"widths 5, n, 2, {ranks}", "hidden width $n$", "dimension", series))
    caption = (
        "Between the widths of the ends, and where ranks are lacking, null directions exist that no symmetry reaches."
    )
    return Figure(caption, tuple(panels))
