"""Block-diagonal natural gradient on arbitrary weights: its update, and what it does to the map."""

from __future__ import annotations

from functools import lru_cache
from itertools import product as tuples

import numpy as np
import torch
from sympy import Ge, Gt, Max, Min, Symbol

from derivations import words
from derivations.code import value
from derivations.decide import step
from derivations.deep_linear import layerwise
from derivations.deep_linear import natural_gradient as natural
from derivations.deep_linear.layerwise import A_PLUS, B_PLUS, ROOT, SEEN_PLUS
from derivations.deep_linear.natural_gradient import DELTA, UPDATE, A, B
from derivations.notation import ETA, ETA_I, N_0, N_D
from numerics import autograd, initialisations
from numerics.device import generator
from numerics.networks import flatten
from numerics.problems import Problem
from numerics.rules import BlockNatural
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, vanishes
from tests.checker.compare import equal as same
from tests.checker.evidence import Bound
from tests.claims.assumptions import WHITENED
from tests.claims.blocks import RATE, SHAPES, UNOBSTRUCTED, block_rounding, block_velocity, layers, network, rates_of
from tests.claims.settings import Setting, array
from tests.claims.updates import entries, map_change

NETS = grid(depth=[2, 3, 4], widths=SHAPES, start=["near"], shares=["equal", "rising"], seed=[0]) + grid(
    depth=[1, 2], widths=["wide", "narrowing"], start=["aligned", "zero factor"], shares=["rising"], seed=[0]
)

update = Claim(
    "layerwise.natural-update",
    source="A eq. 23",
    says="Block-diagonal natural gradient descent moves a layer by the displacement between two pseudo-inverses.",
    formula=layerwise.natural_update,
    lhs=UPDATE,
    near_misses={
        "inputs weighted once more": lambda: -ETA_I * (A_PLUS * DELTA * ROOT * ROOT * SEEN_PLUS),
        "transposes for pseudo-inverses": lambda: -ETA_I * (A.T * DELTA * ROOT * ROOT * B.T),
    },
    falsifiers={"climbs": lambda: ETA_I * (A_PLUS * DELTA * ROOT * SEEN_PLUS)},
    remark=(
        "$`A_i`$ is everything above the layer and $`B_i`$ everything below. The layer undoes both and writes "
        "the error where it would vanish if no other layer moved; the learning rates then share the work."
    ),
)


@update.proof(generic_in="depth, widths, ranks, input covariance")
def least_solution_of_the_block_equation(formula):
    """Insert the singular values of both factors: the equation holds, and the update has no idle part."""
    return layerwise.solves_block_equation(formula)


@lru_cache(maxsize=256)
def _by_autograd(setting: Setting, shares: str) -> np.ndarray:
    """Each block of the curvature by automatic differentiation, pseudo-inverted as a whole."""
    curvature = array(autograd.gauss_newton(setting.net, setting.problem))
    slope = array(flatten(autograd.gradient(setting.net, setting.problem)))
    found, at = [], 0
    for weight, rate in zip(setting.net.weights, rates_of(setting.net.depth, shares), strict=True):
        stop = at + weight.numel()
        moved = np.linalg.pinv(curvature[at:stop, at:stop], rcond=1e-11, hermitian=True) @ slope[at:stop]
        found.append(-RATE * rate * moved.reshape(tuple(weight.shape), order="F").ravel())
        at = stop
    return np.concatenate(found)


@update.check(NETS + grid(depth=[1, 2, 3], widths=SHAPES, start=["correlated"], shares=["rising"], seed=[0, 1]))
def blocks_by_automatic_differentiation(formula, depth, widths, start, shares, seed):
    """The rule, and the pseudo-inverse of every differentiated block, against the formula in all layers."""
    setting = network(depth, widths, start, seed)
    values = layers(setting, rates_of(depth, shares))
    predicted = np.concatenate([np.ravel(value(formula, one)) for one in values])
    observed = np.stack([entries(block_velocity(setting, 1, shares)), _by_autograd(setting, shares)])
    bound = block_rounding(setting, formed=True)
    return agree(observed, np.broadcast_to(predicted, observed.shape), bound=bound).on(setting)


map_rate = Claim(
    "layerwise.map-velocity",
    source="A section 3.3, after eq. 23",
    says="Under block-diagonal natural gradient descent each layer removes the part of the displacement that it sees.",
    formula=layerwise.map_velocity,
    lhs=r"\dot \Delta",
    given=(WHITENED,),
    uses=("layerwise.natural-update",),
    near_misses={
        "the output side sees all": lambda: words.layer_sum(-ETA_I * (DELTA * B_PLUS * B)),
        "the input side sees all": lambda: words.layer_sum(-ETA_I * (A * A_PLUS * DELTA)),
    },
    falsifiers={"every layer sees all": lambda: words.layer_sum(-ETA_I * words.expression(DELTA))},
    remark=(
        "$`A_i A_i^{+}`$ projects on the outputs that the layers above can produce, $`B_i^{+} B_i`$ on the "
        "inputs that survive the layers below. Neither depends on the size of the weights, only on what they "
        "can reach."
    ),
)


@map_rate.proof(generic_in="depth, widths, ranks")
def projections_of_the_displacement(formula):
    """Insert the update into the change of the map."""
    return layerwise.is_map_velocity(formula)


@map_rate.check(NETS)
def change_of_the_map(formula, depth, widths, start, shares, seed):
    """Velocity of the map of a full network, by automatic differentiation along the update."""
    setting = network(depth, widths, start, seed)
    observed = map_change(setting, block_velocity(setting, 1, shares))
    predicted = value(formula, layers(setting, rates_of(depth, shares)))
    return agree(observed, predicted, bound=_map_rounding(setting)).on(setting)


def _map_rounding(setting: Setting) -> Bound:
    """Rounding of the map's velocity: that of the layers, carried through their factors."""
    reach = max(
        float(torch.linalg.matrix_norm(a, 2) * torch.linalg.matrix_norm(b, 2))
        for a, b in zip(setting.net.lefts(), setting.net.rights(), strict=True)
    )
    return block_rounding(setting, factor=max(reach, 1.0) * setting.net.depth)


seen = Claim(
    "layerwise.constraint",
    source="A section 3.3, after eq. 23",
    says="The block-diagonal rule obeys the constraint of the natural gradient if its rates add up to the full one.",
    formula=natural.constraint,
    lhs=r"(H_+ \dot w + \eta g)_i",
    conditions=(UNOBSTRUCTED,),
    uses=("layerwise.natural-update", "natural-gradient.constraint"),
    near_misses={
        "rates add up to twice the full one": lambda: words.substitute(natural.constraint(), {DELTA: 2 * DELTA}),
        "rate of one layer only": lambda: A.T * (natural.DELTA_DOT + ETA / 3 * DELTA) * natural.SIGMA_X * B.T,
    },
    falsifiers={"displacement grows": lambda: A.T * (natural.DELTA_DOT - ETA * DELTA) * natural.SIGMA_X * B.T},
    equivalent=lambda formula, mutant: projections_are_identities(mutant).proved,
    remark=(
        "The paper asks only for the sum of the rates. The first layer must also see every output through the "
        "layers above it and the last one every input through the layers below; for generic weights every "
        "hidden layer must be as wide as the wider end. Behind a bottleneck each layer removes only what it "
        "sees, and the rates no longer add up."
    ),
)

STARTS = ["near", "generic", "correlated"]
CLEAR = grid(depth=[2, 3, 4], widths=["square", "wide"], start=STARTS, shares=["equal", "rising"], seed=[0])


@seen.proof(generic_in="depth, widths, rates")
def projections_are_identities(formula):
    """Where both projections are identities, a layer's share of the decay is its learning rate."""
    share = layerwise.decay_where_all_is_seen()
    total = words.substitute(share, {DELTA: DELTA}) * (ETA / ETA_I)
    left = words.substitute(formula, {natural.DELTA_DOT: total})
    return words.vanishes(left).explain(
        step("Without obstruction the share of one layer in the velocity of the map is", share),
        step("With rates that add up, all layers together give", total),
        step("Inserted into the constraint this leaves", left),
    )


def _constraint(formula, depth, widths, start, shares, seed):
    setting = network(depth, widths, start, seed)
    change = map_change(setting, block_velocity(setting, 1, shares))
    letters = layers(setting, rates_of(depth, shares), dDelta=change)
    found = [np.ravel(value(formula, one)) for one in letters]
    norms = [float(torch.linalg.matrix_norm(m, 2)) for m in (*setting.net.lefts(), *setting.net.rights())]
    scale = RATE * float(torch.linalg.matrix_norm(setting.problem.error(setting.net)))
    bound = _map_rounding(setting)
    # an error of the map's velocity, entry by entry, reaches the residual through A_i^T, the covariance and B_i^T
    inputs = max(1.0, float(np.linalg.norm(letters[0]["Sigma_x"], 2)))
    reach = max(norms) ** 2 * max(setting.net.widths) * inputs
    carried = Bound(tuple((name, part * reach) for name, part in bound.parts))
    return vanishes(np.concatenate(found), bound=carried, scale=scale).on(setting)


@seen.check(CLEAR)
def all_layers_agree(formula, depth, widths, start, shares, seed):
    """Residual of the constraint in every layer of a full network, with the measured velocity of the map."""
    return _constraint(formula, depth, widths, start, shares, seed)


@seen.without(
    UNOBSTRUCTED,
    grid(depth=[2, 3], widths=["widening", "narrowing"], start=["near", "generic"], shares=["equal"], seed=[0])
    + grid(depth=[2], widths=[(2, 1, 1), (3, 2, 2), (4, 3, 2)], start=["generic"], shares=["equal"], seed=[0])
    + grid(depth=[2], widths=["waist"], start=["near"], shares=["equal"], seed=[0])
    + grid(depth=[2], widths=["square"], start=["zero factor"], shares=["equal"], seed=[0]),
)
def obstructed(formula, depth, widths, start, shares, seed):
    """The same with a bottleneck, or with a zero factor in one mode."""
    return _constraint(formula, depth, widths, start, shares, seed)


residual = Claim(
    "layerwise.constraint-residual",
    source="A section 3.3, after eq. 23 (corrected)",
    says="Of the first layer's constraint there remains what the layers below the others do not tell apart.",
    formula=layerwise.constraint_residual,
    lhs=r"A_1^{\mathsf{T}} (\dot\Delta + \eta \Delta)",
    given=(WHITENED,),
    uses=("layerwise.map-velocity",),
    near_misses={
        "what the layers below do tell apart": lambda: words.layer_sum(ETA_I * (layerwise.TOP.T * DELTA * B_PLUS * B)),
    },
    falsifiers={
        "nothing is left": lambda: words.layer_sum(0 * (layerwise.TOP.T * DELTA)),
        "no projection": lambda: words.layer_sum(ETA_I * (layerwise.TOP.T * DELTA * words.identity(N_0))),
    },
    remark=(
        "It vanishes for every displacement only if $`B_i^{+} B_i = 1`$ for all layers, and by symmetry the "
        "last layer's residual only if $`A_i A_i^{+} = 1`$: the condition on the constraint is necessary as "
        "well as sufficient."
    ),
)


@residual.proof(generic_in="depth, widths, ranks")
def output_side_drops_out(formula):
    """What the first layer sees through all others, each later layer sees too."""
    return layerwise.is_constraint_residual(formula)


@residual.check(
    grid(depth=[2, 3, 4], widths=SHAPES[1:], start=["near"], shares=["equal", "rising"], seed=[0])
    + grid(depth=[2], widths=[(2, 1, 1), (3, 2, 2)], start=["generic"], shares=["equal"], seed=[0])
    + grid(depth=[2, 3], widths=["square"], start=["zero factor"], shares=["rising"], seed=[0])
)
def first_layer(formula, depth, widths, start, shares, seed):
    """Residual in the first layer of a full network with a bottleneck."""
    setting = network(depth, widths, start, seed)
    top = array(setting.net.left(1))
    change = map_change(setting, block_velocity(setting, 1, shares))
    error = array(setting.problem.error(setting.net))
    observed = top.T @ (change + RATE * error)
    predicted = value(formula, [{**one, "A1": top} for one in layers(setting, rates_of(depth, shares))])
    norm = max(float(np.linalg.norm(top, 2)), 1.0)
    bound = Bound(tuple((name, 2 * norm * part) for name, part in _map_rounding(setting).parts))
    scale = RATE * float(np.linalg.norm(error))
    return agree(observed, predicted, bound=bound, scale=scale).on(setting)


NARROWEST, WIDEST = (Symbol(name, integer=True, positive=True) for name in (r"n_\min", r"n_\max"))

width_condition = Claim(
    "layerwise.width-condition",
    source="A section 3.3, after eq. 23 (corrected)",
    says="For generic weights the constraint is obeyed exactly if no hidden layer is narrower than the wider end.",
    formula=lambda: Ge(NARROWEST, Max(N_0, N_D)),
    uses=("layerwise.constraint-residual",),
    near_misses={
        "strictly wider": lambda: Gt(NARROWEST, Max(N_0, N_D)),
        "the narrower end decides": lambda: Ge(NARROWEST, Min(N_0, N_D)),
    },
    falsifiers={
        "the input alone": lambda: Ge(NARROWEST, N_0),
        "the widest hidden layer decides": lambda: Ge(WIDEST, Max(N_0, N_D)),
        "always": lambda: Ge(NARROWEST, 1),
    },
    mutate=False,
    remark=(
        "All tuples of widths up to five with two layers and up to three with three are tried. There is no "
        "exception: the sizes of a network alone decide whether the sentence in the paper is true of it."
    ),
)


@lru_cache(maxsize=8)
def _obeys(depth: int, largest: int, seed: int) -> tuple[tuple[tuple[int, ...], bool], ...]:
    """Whether generic networks of all width tuples obey the constraint, by the residual of the block rule."""
    if depth < 2 or largest not in range(2, 8):
        raise ValueError(f"depth, largest: {depth}, {largest} given, allowed: depth >= 2, an integer from 2 to 7")
    draw, found = generator(seed, "cpu"), []
    for widths in tuples(range(1, largest + 1), repeat=depth + 1):
        net = initialisations.gaussian(widths, draw)
        problem = Problem(initialisations.normal((widths[-1], widths[0]), draw))
        update = BlockNatural().velocity(net, problem)
        error = problem.error(net)
        change = sum(a @ v @ b for a, v, b in zip(net.lefts(), update, net.rights(), strict=True))
        left = [a.mT @ (change + error) @ b.mT for a, b in zip(net.lefts(), net.rights(), strict=True)]
        worst = max(float(r.abs().max()) for r in left)
        found.append((widths, worst < 1e-9 * float(net.norm() ** (2 * depth) * torch.linalg.matrix_norm(error))))
    return tuple(found)


@width_condition.check(grid(depth=[2], largest=[5], seed=[0, 1]) + grid(depth=[3], largest=[3], seed=[0]))
def every_width_tuple(formula, depth, largest, seed):
    """Which of all small networks obey the constraint, against the comparison of widths."""
    observed = _obeys(depth, largest, seed)
    predicted = [
        bool(formula.subs({NARROWEST: min(n[1:-1]), WIDEST: max(n[1:-1]), N_0: n[0], N_D: n[-1]})) for n, _ in observed
    ]
    return same([obeys for _, obeys in observed], predicted)
