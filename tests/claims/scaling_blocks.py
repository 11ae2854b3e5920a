"""Scaling of block-diagonal rules, their square root against the full one, and speeds of models that are not linear."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from sympy import S, sqrt, symbols
from torch import Tensor
from torch.func import jacrev

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, nonnegative, step
from derivations.deep_linear import fractional_powers as fractional
from derivations.deep_linear import scaling
from derivations.deep_linear.fractional_powers import DELTA_K, KAPPA
from derivations.deep_linear.scaling import SCALE
from derivations.notation import DEPTH, ETA, J_I, J_K, Q
from numerics import autograd, curvature
from numerics.device import generator
from numerics.frames import normal
from numerics.networks import inner, norm, vec
from numerics.rules import BlockFractional, Fractional
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Evidence
from tests.claims.assumptions import ALIGNED, COUPLED, WHITENED
from tests.claims.scaling import Widths, held
from tests.claims.settings import Setting, aligned, array
from tests.claims.updates import RATE, chain

blocks = Claim(
    "scaling.block-power-law",
    source="A figure S1",
    says="Block-diagonal rules change with the weight scale by the same powers as the full ones.",
    formula=scaling.block_power_law,
    lhs=r"\left(\lVert\dot w\rVert^2,\ -\dot L\right)",
    relation=r"= \sum_{i,\, k}",
    given=(WHITENED,),
    uses=("scaling.power-law",),
    near_misses={
        "rate of the whole network": scaling.power_law,
        "exponent of d layers": lambda: {
            name: part.subs(SCALE, SCALE ** (DEPTH / (DEPTH - 1))) for name, part in scaling.block_power_law().items()
        },
    },
    falsifiers={"scale left out": lambda: {n: part.subs(SCALE, 1) for n, part in scaling.block_power_law().items()}},
    remark=(
        "One layer's kernel is as homogeneous as their sum. Only the constants differ: the speed of block-diagonal "
        "natural gradient exceeds that of the full one, while both empty the loss alike where layers are wide."
    ),
)


@blocks.proof(generic_in="depth, order q, widths")
def one_layer_alone(formula):
    """The share of one layer in its own kernel, at the rate of the block rule."""
    return scaling.follows_from_blocks(formula)


@lru_cache(maxsize=64)
def layer_directions(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Non-zero eigenvalues of every layer's kernel and the components of the displacement, layer after layer."""
    jacobian, error = array(autograd.jacobian(setting.net)), array(vec(setting.problem.error(setting.net)))
    stops = np.cumsum([w.numel() for w in setting.net.weights])[:-1]
    kappa, delta = [], []
    for part in np.split(jacobian, stops, axis=1):
        left, values, _ = np.linalg.svd(part, full_matrices=False)
        kept = values > 1e-11 * values[0]
        kappa.append(values[kept] ** 2)
        delta.append(left[:, kept].T @ error)
    return np.concatenate(kappa), np.concatenate(delta)


@blocks.check(
    grid(depth=[2, 3], q=[1, 2, 7, inf], widths=["waist", "widening"], scale=[0.05], seed=[0])
    + grid(depth=[1, 4], q=[1, 2], widths=["square"], scale=[3.0], seed=[0])
)
def scaled_layers(formula, depth, q, widths, scale, seed):
    """A scaled full network with the displacement of the unscaled one, under the block rule."""
    plain, other = held(depth, widths, scale, seed)
    kappa, delta = layer_directions(plain)
    given = {KAPPA: kappa, DELTA_K: delta, Q: q, ETA: RATE, SCALE: scale, DEPTH: depth}
    found, spread = _block_measured(other, q), float(kappa.max() / kappa.min())
    predicted = [float(evaluate(part, given).sum()) for part in formula.values()]
    pairs = zip(found, predicted, strict=True)
    return both(*(agree(a, b, bound=rounding(abs(a), 4 * chain(other), spread)) for a, b in pairs)).on(other)


@lru_cache(maxsize=256)
def _block_measured(setting: Setting, q: float) -> tuple[float, float]:
    velocity = BlockFractional(q, RATE).velocity(setting.net, setting.problem)
    slope = curvature.gradient(setting.net, setting.problem)
    return float(norm(velocity)) ** 2, -float(inner(slope, velocity))


COUPLINGS = grid(first=[0.5, -0.4, 1.0], second=[1.2, -1.0], widths=["square", "wide", "waist"], seed=[0])

ratio = Claim(
    "scaling.block-sqrt-descent",
    source="A figure S1 (corrected)",
    says="In two layers the block-diagonal square root lowers a mode's loss no faster than the full one, and as fast "
    "only where both couplings have equal sizes.",
    formula=scaling.sqrt_descent_ratio,
    lhs=r"\dot L_{\mathrm{block}} / \dot L",
    given=(ALIGNED, COUPLED, WHITENED),
    uses=("layerwise.sqrt-rate", "modes.fractional-rate"),
    near_misses={"the two agree": lambda: S.One},
    falsifiers={"not normalised": lambda: scaling.sqrt_descent_ratio() * sqrt(2)},
    remark=(
        "The mean of the sizes of the couplings against their root mean square. Block-diagonal and full square root "
        "move the weights at exactly the same speed, but the blocks' direction is not the steepest for that speed."
    ),
)

printed = Claim(
    "scaling.block-sqrt-match-as-printed",
    source="A figure S1",
    says="As printed, the block-diagonal square root matches the full one identically, in weights and in loss.",
    formula=lambda: S.One,
    control=scaling.sqrt_descent_ratio,
    corrected_by=("scaling.block-sqrt-descent",),
    lhs=r"\dot L_{\mathrm{block}} / \dot L",
    given=(ALIGNED, COUPLED, WHITENED),
    near_misses={"not normalised": lambda: scaling.sqrt_descent_ratio() * sqrt(2)},
    falsifiers={"half": lambda: S.Half},
    remark=(
        "The speeds of the parameters do match, for all weights that block no layer. The losses match where the "
        "couplings agree, and nearly in random networks of moderate depth, which is what the printed figure shows."
    ),
)


@ratio.proof(instances="d = 2, all couplings")
def two_layers(formula):
    """Insert the velocities of both rules into the descent of the loss; what the ratio lacks to one is a square."""
    first, second = symbols("a b", positive=True)
    found = formula.subs({J_I: first, J_K: second}, simultaneous=True)
    missing = (first - second) ** 2 / (2 * (first**2 + second**2))
    return all_of(scaling.is_sqrt_descent_ratio(formula), equal(1 - found**2, missing), nonnegative(found)).explain(
        step("For sizes a, b of the couplings the squared ratio lacks to one", missing)
    )


@printed.proof(instances="d = 2, all couplings")
def two_layers_as_printed(formula):
    """The same ratio, held against one."""
    return scaling.is_sqrt_descent_ratio(formula)


@lru_cache(maxsize=64)
def descents(first: float, second: float, widths: Widths, seed: int) -> tuple[Setting, float]:
    """The ratio of the descents of the loss under both square roots, from one mode of a full network."""
    if first == 0 or second == 0:
        raise ValueError(f"first, second: {first}, {second} given, allowed: non-zero numbers")
    setting = aligned(2, widths, seed, modes=((first,), (second,)), goals=(3.0,))
    slope = curvature.gradient(setting.net, setting.problem)
    rules = (BlockFractional(2), Fractional(2))
    found = [float(inner(slope, rule.velocity(setting.net, setting.problem))) for rule in rules]
    return setting, found[0] / found[1]


def _descends(formula, first: float, second: float, widths: Widths, seed: int) -> Evidence:
    setting, observed = descents(first, second, widths, seed)
    predicted = float(evaluate(formula, {J_I: second, J_K: first}))
    spread = max(abs(first / second), abs(second / first)) ** 2
    return agree(observed, predicted, bound=rounding(1.0, 4 * chain(setting), spread)).on(setting)


@ratio.check(COUPLINGS)
def both_square_roots(formula, first, second, widths, seed):
    """Descents of the loss of full aligned networks of two layers under both rules."""
    return _descends(formula, first, second, widths, seed)


@printed.check(COUPLINGS)
def printed_match(formula, first, second, widths, seed):
    """The same descents against the printed match."""
    return _descends(formula, first, second, widths, seed)


def _shares():
    power = KAPPA ** (1 - 1 / Q)
    return {"squared speed": fractional.squared_speed(), "descent of the loss": ETA * power * DELTA_K**2}


universal = Claim(
    "scaling.any-model",
    source="A eqs. 15-16, beyond linear networks",
    says="For squared loss, speed and descent of any model, linear or not, follow from the kernel of its outputs.",
    formula=_shares,
    lhs=r"\left(\lVert\dot w\rVert^2,\ -\dot L\right)",
    relation=r"= \sum_k",
    uses=("natural-gradient.dual-form",),
    near_misses={
        "exponents exchanged": lambda: {
            "squared speed": ETA**2 * KAPPA ** (1 - 1 / Q) * DELTA_K**2,
            "descent of the loss": ETA * KAPPA ** (1 - 2 / Q) * DELTA_K**2,
        },
    },
    falsifiers={"half the descent": lambda: {**_shares(), "descent of the loss": ETA * DELTA_K**2 / 2}},
    remark=(
        "At the square root $`\\lVert\\dot w\\rVert = \\eta\\sqrt{2L}`$, under the natural gradient "
        "$`\\dot L = -2\\eta L`$, for every model whose outputs are free to move independently. These two laws are "
        "exact because of the isometry of the Jacobian's polar factor, not because some weights are balanced."
    ),
)


@universal.proof(generic_in="model, order q")
def filter_on_the_outputs(formula):
    """The update is the filtered residual, pulled back; nothing else of the model enters."""
    passed = KAPPA * fractional.fractional_filter()
    falls = ETA * DELTA_K * passed * DELTA_K
    fast = fractional.squared_speed_of(fractional.fractional_filter())
    return all_of(
        fractional.intertwining(),
        equal(formula["squared speed"], fast),
        equal(formula["descent of the loss"], falls),
    ).explain(
        step("An eigenvector of the kernel of the outputs moves with the speed whose square is", fast),
        step("and the loss falls by the residual times the velocity of the output:", falls),
    )


@lru_cache(maxsize=64)
def tanh_network(width: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Jacobian (outputs, parameters) and residuals of a network with two hidden layers of hyperbolic tangents."""
    draw = generator(seed)
    shapes = ((width, 3), (width, width), (2, width))
    x, y = normal((3, samples), draw), normal((2, samples), draw)
    flat = torch.cat([normal(shape, draw).flatten() / shape[1] ** 0.5 for shape in shapes])

    def residual(parameters: Tensor) -> Tensor:
        first, second, last = (
            part.reshape(shape)
            for part, shape in zip(parameters.split([a * b for a, b in shapes]), shapes, strict=True)
        )
        return (last @ torch.tanh(second @ torch.tanh(first @ x)) - y).flatten()

    return jacrev(residual)(flat), residual(flat)


@universal.check(
    grid(width=[6], samples=[4], q=[1, 1.5, 2, 7, inf], seed=[0]) + grid(width=[3], samples=[1, 2], q=[1, 2], seed=[1])
)
def hyperbolic_tangents(formula, width, samples, q, seed):
    """Velocity of all parameters of a network of hyperbolic tangents, from the eigenvectors of its curvature."""
    jacobian, residual = tanh_network(width, samples, seed)
    values, vectors = torch.linalg.eigh(jacobian.mT @ jacobian)
    kept = values > 1e-11 * values[-1]
    slope = jacobian.mT @ residual
    powers = torch.where(kept, values.clamp_min(1e-300) ** (-1 / q), torch.zeros_like(values))
    velocity = -RATE * vectors @ (powers * (vectors.mT @ slope))
    left, singular, _ = np.linalg.svd(array(jacobian), full_matrices=False)
    given = {KAPPA: singular**2, DELTA_K: left.T @ array(residual), Q: q, ETA: RATE}
    found = float(velocity @ velocity), -float(slope @ velocity)
    spread, operations = float((singular[0] / singular[-1]) ** 2), 4 * len(slope)
    predicted = [float(evaluate(part, given).sum()) for part in formula.values()]
    parts = [agree(a, b, bound=rounding(a, operations, spread)) for a, b in zip(found, predicted, strict=True)]
    return both(*parts)
