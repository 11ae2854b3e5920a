"""Balance is alignment: the defect of every layer is fed by imbalance, and a balanced network is a root of its map."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Integer

from derivations import words
from derivations.compiled import evaluate
from derivations.deep_linear import emergence
from derivations.deep_linear.emergence import BALANCE, DEFECT, LAYER, PREFIX
from derivations.notation import DEPTH
from numerics import initialisations as init
from numerics.device import generator
from numerics.problems import Problem
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.claims.assumptions import BALANCED
from tests.claims.settings import SHAPES, Setting, array, generic, sizes

recursion = Claim(
    "alignment.defect-recursion",
    source="A section 3.1",
    says="What keeps a layer from being aligned with the map is handed on upwards, and fed by imbalance alone.",
    formula=emergence.next_defect,
    lhs="D_{k+1}",
    near_misses={
        "imbalance with the other sign": lambda: LAYER * DEFECT + BALANCE * PREFIX,
        "imbalance left out": lambda: words.expression(LAYER * DEFECT),
    },
    falsifiers={"imbalance doubled": lambda: LAYER * DEFECT - 2 * BALANCE * PREFIX},
    remark=(
        r"With $`P_k = w_k \cdots w_1`$ and $`G = w_1^{\mathsf{T}} w_1`$ the defect is $`D_k = w_k^{\mathsf{T}} P_k "
        "- P_{k-1} G`$, and it starts from zero. Unrolled, it is linear in the balance matrices, which most rules "
        "conserve."
    ),
)


@recursion.proof(generic_in="depth, layer, widths, weights")
def from_definitions(formula):
    """Puts the definitions of defect, prefix and balance in and compares words."""
    return emergence.defect_recursion(formula)


@recursion.check(grid(depth=[2, 3, 5], widths=SHAPES, seed=range(2)))
def every_layer(formula, depth, widths, seed):
    """The defects of all layers of a random network, each from its definition."""
    if depth < 2:
        raise ValueError(f"depth: {depth} given, allowed: an integer >= 2")
    setting = generic(depth, widths, seed)
    w = [array(one) for one in setting.net.weights]
    prefix = [np.eye(w[0].shape[1])]
    for one in w:
        prefix.append(one @ prefix[-1])
    gram = w[0].T @ w[0]
    defect = [w[k].T @ prefix[k + 1] - prefix[k] @ gram for k in range(depth)]
    observed, predicted = [], []
    for k in range(depth - 1):
        letters = {DEFECT: defect[k], PREFIX: prefix[k + 1], BALANCE: array(setting.net.balance(k + 1)), LAYER: w[k]}
        observed.append(defect[k + 1].ravel())
        predicted.append(words.evaluate(formula, letters).ravel())
    size = max(np.linalg.norm(one, 2) for one in w) ** 2 * max(np.linalg.norm(one, 2) for one in prefix) * 2
    bound = rounding(size, 4 * max(setting.net.widths) + sum(setting.net.widths))
    return agree(np.concatenate(observed), np.concatenate(predicted), bound=bound).on(setting)


root = Claim(
    "alignment.balanced-root",
    source="A section 3.1",
    says="In a balanced network the Gram matrix of the map is a power of that of the first layer.",
    formula=lambda: DEPTH,
    lhs=r"W^{\mathsf{T}} W = (w_1^{\mathsf{T}} w_1)^e,\quad e",
    given=(BALANCED,),
    uses=("alignment.defect-recursion",),
    near_misses={"one layer too few": lambda: DEPTH - 1, "one layer too many": lambda: DEPTH + 1},
    falsifiers={"as at depth two": lambda: Integer(2), "half the depth": lambda: DEPTH / 2},
    remark=(
        "Perfect balance is perfect alignment between layers and map: once the map has been learned, the first "
        "layer has the right singular vectors of the teacher. Training cannot reach it exactly, since imbalance is "
        "conserved."
    ),
)


@root.proof(generic_in="depth, widths, weights")
def by_induction(formula):
    """Induction over the layers: each adds one factor."""
    return emergence.balanced_root(formula)


@lru_cache(maxsize=64)
def _balanced(depth: int, widths: str | tuple[int, ...], seed: int) -> Setting:
    n, draw = sizes(depth, widths), generator(seed)
    values = torch.linspace(0.6, 1.6, min(n), dtype=torch.float64)
    return Setting(init.balanced(n, draw, singular_values=values), Problem(init.normal((n[-1], n[0]), draw)))


@root.check(grid(depth=[1, 2, 3, 5], widths=SHAPES, seed=[0]))
def balanced_networks(formula, depth, widths, seed):
    """Powers of the Gram matrix of the first layer against that of the map, and the same at the last layer."""
    setting = _balanced(depth, widths, seed)
    exponent = float(evaluate(formula, {DEPTH: depth}))
    net, found = setting.net, []
    w, whole = net.weights, net.product()
    for inner, outer in ((w[0].mT @ w[0], whole.mT @ whole), (w[-1] @ w[-1].mT, whole @ whole.mT)):
        values, vectors = torch.linalg.eigh(inner)
        kept = values > 1e-12 * values[-1]
        powers = torch.where(kept, torch.where(kept, values, 1.0) ** exponent, 0.0)
        found.append((array(outer), array((vectors * powers) @ vectors.mT)))
    scale = float(max(np.linalg.norm(seen, 2) for seen, _ in found))
    bound = rounding(scale, 4 * sum(net.widths) + 2 * depth, float(depth))
    observed, predicted = (np.concatenate([pair[k].ravel() for pair in found]) for k in (0, 1))
    return agree(observed, predicted, bound=bound).on(setting)
