"""Natural gradient and the shape of the network: over-complete layers, lacking ranks, bottlenecks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from derivations.code import value
from derivations.deep_linear import bottleneck
from derivations.deep_linear.bottleneck import S_INVERSE, TEACHER, U, V
from derivations.deep_linear.null_dimension import RANK, at_ranks, same_counts
from derivations.notation import DELTA, DEPTH, ETA
from derivations.words import Expression
from numerics import autograd, exact
from numerics.device import generator
from numerics.networks import DeepLinear
from numerics.rules import NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, equal
from tests.checker.evidence import Bound, Evidence
from tests.claims.assumptions import WIDE_AS_MIN
from tests.claims.blocks import rank
from tests.claims.settings import Setting, array, near_solution, sizes
from tests.claims.updates import RATE, chain, map_change, spread

SHAPES = ["square", "widening", "narrowing", "wide", "waist"]
Widths = str | tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """A network of integers, the ranks of its partial products, and the number of maps that no layer sees."""

    net: DeepLinear
    table: tuple[tuple[int, ...], ...]
    invisible: int


@lru_cache(maxsize=256)
def counted(depth: int, widths: Widths, deficit: int, seed: int) -> Counted:
    """The null space of X -> A_i^T X B_i^T over the rationals, for layers that lack ``deficit`` of their rank."""
    n, draw = sizes(depth, widths), generator(seed)
    ranks = [max(0, min(pair) - deficit) for pair in zip(n[1:], n, strict=False)]
    net = exact.integer_network(n, ranks, draw)
    seen = exact.rank(autograd.jacobian(net))
    return Counted(net, exact.rank_table(net), n[0] * n[-1] - seen)


invisible = Claim(
    "supplement.invisible-maps",
    source="A S.I.1, on over-complete networks",
    says="The error that no layer sees is counted by the ranks of the layers above and below.",
    formula=bottleneck.invisible_dimension,
    lhs=r"\dim \{ X : A_i^{\mathsf{T}} X B_i^{\mathsf{T}} = 0 \ \forall i \}",
    near_misses={
        "the map's own rank decides": lambda: (RANK[0, 0] - RANK[0, DEPTH]) * (RANK[DEPTH, DEPTH] - RANK[0, DEPTH]),
        "every layer counted": lambda: bottleneck.invisible_dimension() + RANK[0, 0] - RANK[0, 1],
    },
    falsifiers={"nothing is invisible": lambda: 0 * RANK[0, 0]},
    equivalent=same_counts,
    remark=(
        "For two layers the number is $`(n_2 - r_2)(n_0 - r_1)`$: one layer of the rank of its end is enough. Hidden "
        "layers as wide as the narrower end do it, equality included, as long as no rank is lacking."
    ),
)


@invisible.proof(instances="d = 1, ..., 4, for all widths and ranks")
def unreached_pairs_of_chains(formula):
    """In suitable bases the layers are a sum of chains, and every entry of the map is reached or it is not."""
    return bottleneck.counts_invisible(formula)


@invisible.check(
    grid(depth=[1, 2], widths=["square", "widening", "waist"], deficit=[0, 1], seed=[0])
    + grid(depth=[2], widths=[(3, 5, 3)], deficit=[1, 2], seed=[0])
    + grid(depth=[3], widths=["narrowing", (4, 3, 2, 3), (3, 3, 4, 3)], deficit=[0, 1], seed=[0])
)
def exact_ranks(formula, depth, widths, deficit, seed):
    """Exact ranks of the Jacobian of networks of integers, by automatic differentiation."""
    found = counted(depth, widths, deficit, seed)
    return equal([found.invisible], [at_ranks(formula, found.table)]).on(found)


def _largest_products(setting: Setting) -> bool:
    net = setting.net
    outer = [(net.left(i), net.widths[i:]) for i in range(1, net.depth)]
    outer += [(net.right(i), net.widths[:i]) for i in range(2, net.depth + 1)]
    return all(rank(matrix) == min(widths) for matrix, widths in outer)


LARGEST_PRODUCTS = Assumption(
    "no lacking rank", "the products of outer layers have the largest rank that their widths allow", _largest_products
)

decay = Claim(
    "supplement.overcomplete-decay",
    source="A S.I.1, after S.I.9",
    says="If no hidden layer is narrower than the narrower end, natural gradient removes the whole error at the common "
    "rate.",
    formula=bottleneck.free_decay,
    lhs=r"\dot\Delta",
    given=(WIDE_AS_MIN,),
    conditions=(LARGEST_PRODUCTS,),
    near_misses={"twice the rate": lambda: bottleneck.free_decay() * 2},
    falsifiers={"no decay": lambda: bottleneck.free_decay() * 0},
    remark=(
        "The print asks for hidden layers wider than the narrower end. Equal width is enough, but width alone is not: "
        "layers that lack rank leave errors that no layer sees. Random weights lack none."
    ),
)


@decay.proof(generic_in="depth, widths")
def kernel_has_an_inverse(formula):
    """The map's answer to the natural gradient, where the kernel is invertible."""
    return bottleneck.is_free_decay(formula)


@lru_cache(maxsize=128)
def natural_change(setting: Setting) -> tuple[np.ndarray, Bound]:
    """The change of the map along the natural gradient of a full network, with its rounding."""
    found = map_change(setting, NaturalGradient(RATE).velocity(setting.net, setting.problem))
    error = RATE * float(setting.problem.error(setting.net).norm())
    return found, rounding(error, chain(setting), spread(setting))


@decay.check(grid(depth=[2, 3, 4], widths=["square", "widening", "narrowing", "wide"], seed=[0]))
def full_networks(formula, depth, widths, seed):
    """The map's velocity in full networks without bottleneck."""
    setting = near_solution(depth, widths, seed)
    return _decays(formula, setting)


@decay.without(LARGEST_PRODUCTS, grid(depth=[2, 3], widths=["square", "wide"], seed=[0]))
def lacking_ranks(formula, depth, widths, seed):
    """Layers with their two smallest singular values set to zero."""
    setting = near_solution(depth, widths, seed)
    layers = []
    for w in setting.net.weights:
        u, s, vh = torch.linalg.svd(w, full_matrices=False)
        s[..., -2:] = 0.0
        layers.append(u * s @ vh)
    return _decays(formula, setting.moved(setting.net.replace(layers)))


def _decays(formula: Expression, setting: Setting) -> Evidence:
    observed, bound = natural_change(setting)
    predicted = value(formula, {DELTA: array(setting.problem.error(setting.net)), ETA: RATE})
    return agree(observed, predicted, bound=bound).on(setting)


def _one_waist(setting: Setting) -> bool:
    net = setting.net
    return min(net.widths[1:-1]) < min(net.widths[0], net.widths[-1]) and rank(net.product()) == min(net.widths)


BOTTLENECK = Assumption(
    "bottleneck", "a hidden layer is narrower than both ends, and the map has its width as rank", _one_waist
)
WAISTS = (
    grid(depth=[2, 3, 4], widths=["waist"], seed=[0])
    + grid(depth=[2], widths=[(3, 2, 3), (4, 1, 3)], seed=[0])
    + grid(depth=[3], widths=[(3, 2, 2, 4), (4, 3, 2, 4)], seed=[0])
)


def waist(depth: int, widths: Widths, seed: int) -> Setting:
    """An unaligned network with a bottleneck, and a teacher of full rank."""
    return near_solution(depth, widths, seed, spread=0.5)


def letters(setting: Setting) -> dict[object, np.ndarray]:
    """U, V, S^{-1} of the map of rank r, with teacher and error."""
    u, s, vh = np.linalg.svd(array(setting.net.product()))
    size = min(setting.net.widths)
    frame = {U: u[:, :size], V: vh[:size].T, S_INVERSE: np.diag(1 / s[:size])}
    error, teacher = array(setting.problem.error(setting.net)), array(setting.problem.teacher)
    return {**frame, DELTA: error, TEACHER: teacher, ETA: RATE}


projected = Claim(
    "supplement.projected-flow",
    source="A S.I.1, on bottlenecks (corrected)",
    says="Behind a bottleneck natural gradient removes the part of the error that a map of its rank can follow.",
    formula=bottleneck.projected_velocity,
    lhs=r"\dot\Delta",
    given=(BOTTLENECK,),
    uses=("alignment.kernel-rank",),
    near_misses={
        "outputs and inputs counted twice": lambda: (U * U.T * DELTA + DELTA * V * V.T) * (-ETA),
        "inside both spaces only": lambda: U * U.T * DELTA * V * V.T * (-ETA),
    },
    falsifiers={"the whole error": lambda: DELTA * (-ETA)},
    remark=(
        "This is the gradient flow on the manifold of maps of fixed rank, for the distance of maps: layers and their "
        "parametrisation have dropped out. The space turns with the map, so the error beside it is not frozen."
    ),
)


@projected.proof(generic_in="depth, widths")
def projection_on_the_tangent_space(formula):
    """Three properties single out the orthogonal projection on the reachable changes of the map."""
    return bottleneck.is_projected_velocity(formula)


@projected.check(WAISTS)
def bottlenecks(formula, depth, widths, seed):
    """The velocity of the map of full networks with a bottleneck."""
    setting = waist(depth, widths, seed)
    observed, bound = natural_change(setting)
    return agree(observed, value(formula, letters(setting)), bound=bound).on(setting)
