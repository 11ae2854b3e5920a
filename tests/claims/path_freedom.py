"""What the conserved quantities leave open: rotations of the hidden layers, so rules end at different weights."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer
from torch.func import jvp

from derivations.code import value
from derivations.compiled import evaluate
from derivations.deep_linear import path
from derivations.notation import N
from numerics import initialisations as init
from numerics.device import generator
from numerics.networks import DeepLinear, Direction
from numerics.problems import Problem
from numerics.rules import GradientDescent, NaturalGradient
from tests.checker.bounds import integration, remainder
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both, differs, equal
from tests.claims.assumptions import BALANCED, WHITENED
from tests.claims.mode_flows import run
from tests.claims.settings import Setting, array, generic, sizes


@lru_cache(maxsize=64)
def balanced_near_teacher(depth: int, widths: str | tuple[int, ...], seed: int) -> Setting:
    """A balanced network, not aligned with a teacher that lies near its well-conditioned map."""
    n, draw = sizes(depth, widths), generator(seed, "cpu")
    ends = (n[-1], n[0])
    product = init.orthogonal((n[0], n[-1]), draw).product() + 0.1 * init.normal(ends, draw)
    net = init.balanced(n, draw, product=product)
    return Setting(net, Problem(product + 0.2 * init.normal(ends, draw)))


rotated = Claim(
    "path.rotated-endpoints",
    source="A section 3.1",
    says="From a balanced start all rules of the whole curvature that learn the map end with the same outer Gram "
    "matrices, but with rotated hidden layers.",
    formula=path.equal_grams,
    lhs=r"\tilde{w}_1^{\mathsf{T}} \tilde{w}_1,\; \tilde{w}_d \tilde{w}_d^{\mathsf{T}}",
    given=(WHITENED, BALANCED),
    uses=("conservation.weight-balance", "alignment.balanced-root"),
    near_misses={
        "twice the first": lambda: {**path.equal_grams(), "first layer": 2 * path.equal_grams()["first layer"]},
        "Gram matrix of the first layer's other side": lambda: {"first layer": path.FIRST * path.FIRST.T},
    },
    remark=(
        "The rotations are what the path leaves behind: map and balance agree at the end, the weights do not. The "
        "conserved quantities alone therefore cannot fix the path of a network with more than one mode."
    ),
)


@rotated.proof(generic_in="depth, widths")
def gram_matrix_is_a_root_of_the_map(formula):
    """By induction over balanced layers the Gram matrix of an outer layer is the d-th root of that of the map."""
    return path.share_grams(formula)


@rotated.check(grid(depth=[2], widths=["square", "wide"], seed=[0]) + grid(depth=[3], widths=["wide"], seed=[1]))
def endpoints_of_two_rules(formula, depth, widths, seed):
    """Outer layers where natural gradient descent ends, against those where gradient descent ends."""
    setting = balanced_near_teacher(depth, widths, seed)
    first, second = (run(setting, rule, 36.0, 2) for rule in (GradientDescent(), NaturalGradient()))
    nets = [one.net(1) for one in (first, second)]
    values = {path.FIRST: array(nets[0].weights[0]), path.LAST: array(nets[0].weights[-1])}
    lower, upper = (array(nets[1].weights[k]) for k in (0, -1))
    wanted = {"first layer": lower.T @ lower, "last layer": upper @ upper.T}
    size, widest = float(nets[0].norm()), max(setting.net.widths)
    apart = float((nets[0].product() - nets[1].product()).abs().max())
    # roots of a well-conditioned Gram matrix move by at most its condition times the difference of the maps
    spread = torch.linalg.svdvals(nets[0].product())
    condition = float((spread[0] / spread[-1]) ** 2)
    bound = integration(2 * widest * size * (first.error + second.error)) + remainder(2 * widest * condition * apart)
    observed = [wanted[name] for name in formula]
    predicted = [value(part, values) for part in formula.values()]
    flat = [np.concatenate([np.ravel(part) for part in parts]) for parts in (observed, predicted)]
    same = agree(*flat, bound=bound)
    return both(same, differs(lower, values[path.FIRST], at_least=1000 * bound.total, bound=bound)).on(setting)


def _symmetry(net: DeepLinear, layer: int, generator_: torch.Tensor) -> Direction:
    """The direction m w_i, -w_{i+1} m of the hidden layer i, zero elsewhere."""
    moved = [torch.zeros_like(w) for w in net.weights]
    moved[layer - 1] = generator_ @ net.weights[layer - 1]
    moved[layer] = -net.weights[layer] @ generator_
    return tuple(moved)


@lru_cache(maxsize=64)
def symmetry_ranks(setting: Setting) -> tuple[int, int]:
    """Ranks of the symmetry directions themselves, and of the changes of the balance matrices that they cause."""
    net, moves, changes = setting.net, [], []

    def balances(weights: Direction) -> torch.Tensor:
        other = DeepLinear(weights)
        return torch.cat([other.balance(i).ravel() for i in range(1, other.depth)])

    for layer in range(1, net.depth):
        n = net.widths[layer]
        for unit in torch.eye(n * n, dtype=torch.float64).unflatten(-1, (n, n)):
            direction = _symmetry(net, layer, unit)
            moves.append(torch.cat([part.ravel() for part in direction]))
            changes.append(jvp(balances, (net.weights,), (direction,))[1])
    return tuple(int(torch.linalg.matrix_rank(torch.stack(rows), rtol=1e-10)) for rows in (moves, changes))


FREE = Assumption(
    "free symmetry",
    "no symmetry direction leaves all weights unchanged",
    lambda setting: symmetry_ranks(setting)[0] == sum(n * n for n in setting.net.widths[1:-1]),
)

free = Claim(
    "path.freedom-left",
    source="A section 2",
    says="Of the symmetry directions, which all keep the map, as many per hidden layer keep all balances as it has "
    "rotations.",
    formula=path.free_directions,
    lhs=r"\dim",
    given=(FREE,),
    near_misses={"symmetric instead of antisymmetric": lambda: N * (N + 1) / 2},
    falsifiers={
        "the whole symmetry": lambda: N**2,
        "one direction less": lambda: N * (N - 1) / 2 - 1,
        "none, as one path for all rules would need": lambda: Integer(0),
    },
    remark=(
        "A mode by itself has $`n = 1`$ and nothing is left open: the conserved quantities are its path. From $`n "
        "= 2`$ on they are not, and every rule may choose its own. Null directions that no symmetry reaches, where "
        "there are any, come on top."
    ),
)


@free.proof(generic_in="depth, widths")
def only_rotations_keep_the_balance(formula):
    """A symmetry direction with symmetric generator pays its squared length to the balance matrices."""
    return path.counts_free_directions(formula)


@free.check(grid(depth=[2, 3, 4], widths=["square", "narrowing", "widening", "waist"], seed=[0]))
def ranks_in_a_network(formula, depth, widths, seed):
    """Symmetry directions less the rank of what they change, against the sum over hidden layers."""
    setting = generic(depth, widths, seed)
    moves, changes = symmetry_ranks(setting)
    predicted = sum(float(evaluate(formula, {N: n})) for n in setting.net.widths[1:-1])
    return equal([float(moves - changes)], [predicted]).on(setting)
