"""What correlated inputs change in the dynamics of deep networks, and what they do not."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch

from derivations import words
from derivations.compiled import evaluate
from derivations.deep_linear import covariance
from derivations.notation import A_I, B_I, DELTA, ETA, J_I, LAMBDA_X, NORM_J, SIGMA_DELTA, SIGMA_I_DOT, SIGMA_X, Q
from numerics import curvature, problems
from numerics.device import generator
from numerics.networks import DeepLinear
from numerics.problems import Problem
from numerics.rules import Fractional, NaturalGradient
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound, Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ACTIVE, ALIGNED, DEFINITE, FULL_ROW_RANK
from tests.claims.hessian import moved
from tests.claims.loss import Widths, layer_letters
from tests.claims.modes import mode_values, velocity_rounding
from tests.claims.settings import Setting, aligned, array, near_solution


def _shares_directions(setting: Setting) -> bool:
    if setting.problem.covariance is None or setting.frame is None:
        return setting.problem.covariance is None
    basis = setting.frame.bases[0]
    seen = (basis.mT @ setting.problem.covariance @ basis)[:, : setting.frame.rank].clone()
    return bool(seen.fill_diagonal_(0).abs().max() < 1e-10)


SHARED = Assumption(
    "covariance shares the modes' directions",
    "the input directions of the modes are eigenvectors of the input covariance",
    _shares_directions,
)


@lru_cache(maxsize=256)
def correlated(depth: int, widths: Widths, seed: int, shared: bool, equal_goals: bool = False) -> Setting:
    """An aligned network on correlated inputs; ``shared``: the covariance has the modes' directions as eigenvectors."""
    plain = aligned(depth, widths, seed)
    if equal_goals:
        plain = aligned(depth, widths, seed, goals=(2.0,) * plain.frame.rank)
    inputs = problems.covariance(plain.net.widths[0], generator(seed + 1), condition=6.0)
    if shared:
        basis, rates = plain.frame.bases[0], torch.linalg.eigvalsh(inputs)
        inputs = (basis * rates) @ basis.mT
        inputs = (inputs + inputs.mT) / 2
    return Setting(plain.net, Problem(plain.problem.teacher, inputs), plain.frame, plain.goals)


@lru_cache(maxsize=512)
def mode_update(setting: Setting, q: float) -> tuple[tuple[np.ndarray, ...], dict, Bound]:
    """The velocity of every layer in the modes' bases, the symbols of the modes, and the rounding of both."""
    net, frame = setting.net, setting.frame
    velocity = Fractional(q).velocity(net, setting.problem)
    components = tuple(array(part) for part in frame.components(net.replace(velocity)))
    basis = frame.bases[0][:, : frame.rank]
    rates = array(((setting.problem.covariance @ basis) * basis).sum(0))
    spectrum = array(torch.linalg.eigvalsh(setting.problem.covariance))
    values = {**mode_values(setting), LAMBDA_X: rates}
    plain = velocity_rounding(setting, -1 / q)
    condition = float(spectrum[-1] / spectrum[0])
    bound = Bound(tuple((name, part * condition * max(1.0, spectrum[-1])) for name, part in plain.parts))
    return components, values, bound


def against_modes(formula: object, setting: Setting, q: float) -> Evidence:
    """All entries of the velocity in the modes' bases: the formula on the diagonal, nothing beside it."""
    components, values, bound = mode_update(setting, q)
    rates = evaluate(formula, {**values, Q: q, ETA: 1.0})
    found = []
    for part, row in zip(components, rates, strict=True):
        expected = np.zeros_like(part)
        expected[np.arange(row.size), np.arange(row.size)] = row
        found.append(agree(part, expected, bound=bound))
    return both(*found).on(setting)


modes = Claim(
    "loss.covariance-not-critical",
    source="A section 2",
    says="Aligned modes evolve alone for correlated inputs too, each with a factor from its own input variance.",
    formula=covariance.correlated_velocity,
    lhs=SIGMA_I_DOT,
    given=(ALIGNED, ACTIVE, DEFINITE),
    conditions=(SHARED,),
    near_misses={
        "factor $`\\lambda_x`$ for every order": lambda: -ETA * LAMBDA_X * NORM_J ** (-2 / Q) * J_I * SIGMA_DELTA,
        "factor $`\\lambda_x^{-1/q}`$": lambda: -ETA * LAMBDA_X ** (-1 / Q) * NORM_J ** (-2 / Q) * J_I * SIGMA_DELTA,
    },
    falsifiers={
        "as for white inputs": lambda: -ETA * NORM_J ** (-2 / Q) * J_I * SIGMA_DELTA,
        "factor $`\\lambda_x^{1/q}`$": lambda: -ETA * LAMBDA_X ** (1 / Q) * NORM_J ** (-2 / Q) * J_I * SIGMA_DELTA,
    },
    remark=(
        "That the covariance commutes with $`{W^*}^T W^*`$ is not enough when singular values coincide: the directions "
        "of the modes themselves must be eigenvectors. Natural gradient descent, $`q = 1`$, needs no condition as long "
        "as no bottleneck keeps the Jacobian from full row rank."
    ),
)


@modes.proof(generic_in="depth, order q, widths")
def kernel_with_covariance(formula):
    """The kernel with the root of the covariance in it, in the bases of the modes."""
    return covariance.is_correlated_velocity(formula)


@modes.check(
    grid(depth=[2, 3], widths=["square", "widening", "narrowing", "wide", "waist"], q=[1, 1.5, 2, inf], seed=[0])
    + grid(depth=[1, 5], widths=["square"], q=[1, 2, inf], seed=[1])
)
def shared_directions(formula, depth, widths, q, seed):
    """A full network on inputs whose covariance has the modes' directions as eigenvectors."""
    return against_modes(formula, correlated(depth, widths, seed, shared=True), q)


@modes.without(SHARED, grid(depth=[2, 3], widths=["square", "widening", "wide"], q=[1.5, 2, inf], seed=[0]))
def other_directions(formula, depth, widths, q, seed):
    """A covariance with directions of its own: the modes leak into each other for every order above one."""
    return against_modes(formula, correlated(depth, widths, seed, shared=False), q)


@modes.without(SHARED, grid(depth=[2, 3], widths=["square"], q=[2, inf], seed=[0]))
def commuting_is_not_enough(formula, depth, widths, q, seed):
    """Equal singular values of the teacher: every covariance commutes with it, and the modes leak all the same."""
    return against_modes(formula, correlated(depth, widths, seed, shared=False, equal_goals=True), q)


def leak(setting: Setting, q: float) -> float:
    """The share of the velocity that lies beside the mode values."""
    components = mode_update(setting, q)[0]
    beside = [part - np.diag(np.diag(part)) for part in components]
    return float(np.sqrt(sum((b**2).sum() for b in beside) / sum((c**2).sum() for c in components)))


@modes.figure
def leak_by_order(formula):
    """The part of the update beside the modes, over the order of the curvature correction."""
    inverse = np.linspace(0, 1, 11)
    orders = [inf if x == 0 else 1 / x for x in inverse]
    series = [Series("theory, shared directions", inverse, np.zeros(11), "theory")]
    for label, shared in (("shared directions", True), ("own directions", False)):
        setting = correlated(3, "square", 0, shared)
        series.append(Series(label, inverse, [leak(setting, q) for q in orders], "simulation"))
    panel = Panel("aligned network of three layers", "$1/q$", "share of the update beside the modes", tuple(series))
    return Figure(
        "From gradient descent (left) to natural gradient descent (right): a covariance with directions of its own "
        "mixes the modes, until the curvature is corrected in full.",
        (panel,),
    )


natural = Claim(
    "natural-gradient.any-covariance",
    source="A section 2",
    says="Natural gradient descent does not see the input covariance: it moves all weights as for white inputs.",
    formula=covariance.natural_velocity,
    given=(DEFINITE, FULL_ROW_RANK),
    near_misses={
        "map weighted by the covariance": lambda: {
            **covariance.natural_velocity(),
            r"\dot W": -ETA * (DELTA * SIGMA_X),
        },
        "multiplier weighted by the covariance": lambda: {
            **covariance.natural_velocity(),
            r"\dot w_i": -ETA * (A_I.T * covariance.MULTIPLIER * SIGMA_X * B_I.T),
        },
    },
    falsifiers={
        "gradient descent": lambda: {
            **covariance.natural_velocity(),
            r"\dot w_i": -ETA * (A_I.T * DELTA * SIGMA_X * B_I.T),
        },
        "map at half the rate": lambda: {
            **covariance.natural_velocity(),
            r"\dot W": -ETA * words.expression(DELTA) / 2,
        },
    },
    remark=(
        "The gap therefore shrinks as $`e^{-\\eta t}`$ for every definite covariance. In a bottleneck the multiplier "
        "does not exist: the best change of the map within reach then depends on which inputs count most."
    ),
)


@natural.proof(generic_in="depth, layer, widths, covariance")
def covariance_cancels(formula):
    """The covariance enters curvature and gradient alike and drops out where the Jacobian reaches every map."""
    return covariance.solves_any_covariance(formula)


@lru_cache(maxsize=128)
def natural_case(depth: int, widths: Widths, seed: int) -> tuple[Setting, tuple, np.ndarray, np.ndarray, float]:
    """Velocities of weights and map under NGD with correlated inputs, the multiplier for white ones, the condition."""
    setting = near_solution(depth, widths, seed, correlated=True)
    net, problem = setting.net, setting.problem
    velocity = NaturalGradient().velocity(net, problem)
    multiplier = curvature.dual(net, problem.error(net), -1)
    spectra = [torch.linalg.eigvalsh(one) for one in (curvature.kernel(net), problem.covariance)]
    condition = float(np.prod([one[-1] / one[one > 1e-13 * one[-1]][0] for one in spectra]))
    change = moved(net, DeepLinear.product, velocity)
    return setting, velocity, array(change), array(multiplier), condition


def _white_update(formula: dict, depth: int, widths: Widths, seed: int) -> Evidence:
    setting, velocity, change, multiplier, condition = natural_case(depth, widths, seed)
    operations = setting.net.parameters + 2 * sum(setting.net.widths)
    found = []
    for i, part in enumerate(velocity, start=1):
        values = {**layer_letters(setting, i), covariance.MULTIPLIER: multiplier, ETA: 1.0}
        layer, whole = (words.evaluate(one, values) for one in formula.values())
        scale = max(float(np.linalg.norm(array(part))), float(np.linalg.norm(values[DELTA])))
        bound = rounding(scale, operations, condition)
        found += [agree(part, layer, bound=bound), agree(change, whole, bound=bound)]
    return both(*found).on(setting)


@natural.check(grid(depth=[1, 2, 3, 4], widths=["square", "widening", "narrowing", "wide"], seed=range(2)))
def correlated_against_white(formula, depth, widths, seed):
    """The update on correlated inputs, nothing aligned, against the multiplier that white inputs would give."""
    return _white_update(formula, depth, widths, seed)


@natural.without(FULL_ROW_RANK, grid(depth=[2, 3], widths=["waist"], seed=range(2)))
def bottleneck(formula, depth, widths, seed):
    """A hidden layer narrower than both ends: not every change of the map can be made, and the covariance matters."""
    return _white_update(formula, depth, widths, seed)
