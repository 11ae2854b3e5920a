"""Trainings under block-diagonal natural gradient: the map decays as under the full rule, weights may blow up."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import Expr, Rational, exp, log, pi

from derivations.compiled import evaluate
from derivations.decide import all_of, equal, step, zero
from derivations.deep_linear import layerwise_invariants as invariants
from derivations.deep_linear.layerwise_invariants import KAPPA
from derivations.notation import DEPTH, ETA, TIME
from numerics.device import generator
from numerics.flows import Trajectory, flow
from numerics.problems import Problem
from numerics.rules import BlockNatural, NaturalGradient
from tests.checker.bounds import integration, rounding, sampling
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import FULL_RANK, WHITENED
from tests.claims.blocks import RATE, UNOBSTRUCTED, network
from tests.claims.layerwise_unaligned import SQUARE
from tests.claims.settings import Setting, array, near_solution

TIMES = (0.0, 0.5, 1.0, 2.0)


@lru_cache(maxsize=128)
def _trained(setting: Setting, rule: str) -> Trajectory:
    rules = {"block": BlockNatural(RATE), "full": NaturalGradient(RATE)}
    if rule not in rules:
        raise ValueError(f"rule: {rule} given, allowed: {', '.join(rules)}")
    return flow(setting.net, setting.problem, rules[rule], TIMES)


same_map = Claim(
    "layerwise.same-map",
    source="A section 3.3, after eq. 24",
    says="Block-diagonal natural gradient descent moves the map as the full rule does, while its weights are finite.",
    formula=lambda: exp(-ETA * TIME),
    lhs=r"\Delta(t) / \Delta(0)",
    conditions=(UNOBSTRUCTED,),
    uses=("layerwise.constraint",),
    near_misses={"rate of one layer": lambda: exp(-ETA * TIME / 2)},
    falsifiers={"faster": lambda: exp(-2 * ETA * TIME), "hyperbolic": lambda: 1 / (1 + ETA * TIME)},
    remark=(
        "The two trainings differ by null moves only, aligned or not, as long as every layer sees all of the "
        "displacement. With a bottleneck or a vanishing factor the maps part at once, and the weights may "
        "become singular on the way."
    ),
)


@same_map.proof(generic_in="depth, widths, start")
def decay_of_the_displacement(formula):
    """Both rules give the displacement the same linear equation, which fixes it from its start."""
    residual = formula.diff(TIME) + ETA * formula
    return all_of(zero(residual), equal(formula.subs(TIME, 0), 1)).explain(
        step("Where the constraint holds in full, the factor of the displacement has the residual", residual),
        step("and the initial value", formula.subs(TIME, 0)),
    )


def _course(formula: Expr, depth, widths, start, rule, seed):
    setting = network(depth, widths, start, seed)
    path = _trained(setting, rule)
    observed = array(path.products() - setting.problem.teacher)
    factor = evaluate(formula, {ETA: RATE, TIME: array(path.times)})[:, None, None]
    norms = [float(torch.linalg.matrix_norm(a, 2) * torch.linalg.matrix_norm(b, 2)) for a, b in _factors(path)]
    size = max(setting.net.widths)
    bound = integration(path.error * size * depth * max(norms)) + rounding(max(norms), depth * size * 4)
    return agree(observed, factor * observed[:1], bound=bound).on(setting)


def _factors(path: Trajectory):
    return [pair for net in path for pair in zip(net.lefts(), net.rights(), strict=True)]


@same_map.check(
    grid(depth=[2, 3], widths=["square", "wide"], start=["near"], rule=["block", "full"], seed=[0])
    + grid(depth=[1, 2], widths=["square"], start=["correlated"], rule=["block"], seed=[0])
)
def displacement_over_time(formula, depth, widths, start, rule, seed):
    """Displacement of an unaligned full network at all times, under the block rule and the full one."""
    return _course(formula, depth, widths, start, rule, seed)


@same_map.without(
    UNOBSTRUCTED,
    grid(depth=[2, 3], widths=["widening", "narrowing"], start=["near"], rule=["block"], seed=[0])
    + grid(depth=[2], widths=["waist"], start=["near"], rule=["block"], seed=[0]),
)
def behind_a_bottleneck(formula, depth, widths, start, rule, seed):
    """The same where some layer does not see all of the displacement."""
    return _course(formula, depth, widths, start, rule, seed)


closed = Claim(
    "layerwise.closed-form",
    source="beyond A section 3.3",
    says="Under block-diagonal natural gradient descent all layers of a square network carry the same matrix root.",
    formula=invariants.common_factor,
    lhs=r"\rho(t), \text{ where } w_k(t) = P_k\, \rho\, P_{k-1}^{-1},\; P_k = w_k \cdots w_1 \text{ at } t = 0,\;"
    r" \kappa \text{ of } W_0^{-1} W^*",
    given=(SQUARE, FULL_RANK, WHITENED),
    uses=("layerwise.natural-update",),
    near_misses={"root of the next order": lambda: (KAPPA + (1 - KAPPA) * exp(-ETA * TIME)) ** (1 / (DEPTH + 1))},
    falsifiers={
        "rate of one layer": lambda: (KAPPA + (1 - KAPPA) * exp(-ETA * TIME / DEPTH)) ** (1 / DEPTH),
        "interpolates the roots": lambda: KAPPA ** (1 / DEPTH) + (1 - KAPPA ** (1 / DEPTH)) * exp(-ETA * TIME),
    },
    remark=(
        "The solution is complete, for any depth and without alignment: only $`W_0^{-1} W^*`$ and the partial "
        "products of the start enter. All $`P_k^{-1} w_k(t) P_{k-1}`$ are equal at all times, the matrix form "
        "of the conserved ratios."
    ),
)


@closed.proof(generic_in="depth, width, start")
def functions_of_one_matrix(formula):
    """Functions of one matrix commute, so every layer obeys one scalar equation."""
    return invariants.solves_block_flow(formula)


@closed.check(grid(depth=[1, 2, 3, 4], widths=["square"], seed=[0, 1]))
def weights_over_time(formula, depth, widths, seed):
    """All weights of an unaligned full network at all times."""
    setting = near_solution(depth, widths, seed)
    path = _trained(setting, "block")
    net, teacher = setting.net, array(setting.problem.teacher)
    whole = array(net.product())
    kappa, vectors = np.linalg.eig(np.linalg.solve(whole, teacher))
    at = {KAPPA: kappa, ETA: RATE, TIME: array(path.times)[:, None], DEPTH: depth}
    roots = np.broadcast_to(evaluate(formula, at), (len(path), len(kappa)))
    factor = (vectors * roots[:, None, :]) @ np.linalg.inv(vectors)
    partial = [array(net.right(k)) for k in range(1, depth + 1)] + [whole]
    predicted = [p @ factor @ np.linalg.inv(m) for m, p in zip(partial, partial[1:], strict=False)]
    condition = max(np.linalg.cond(p) for p in partial) ** 2 * np.linalg.cond(vectors) ** 2
    scale = float(np.abs(predicted).max())
    bound = integration(path.error) + rounding(scale, 4 * depth * len(kappa), float(condition))
    real = [p.real if np.abs(p.imag).max() <= bound.total else np.full(p.shape, np.nan) for p in predicted]
    return agree(np.stack([array(w) for w in path.weights]), np.stack(real), bound=bound).on(setting)


blow_up = Claim(
    "layerwise.blow-up-time",
    source="beyond A section 3.3",
    says="A negative eigenvalue of the teacher relative to the start makes all layers singular at a finite time.",
    formula=invariants.blow_up_time,
    lhs=r"t_s",
    given=(SQUARE, FULL_RANK, WHITENED),
    uses=("layerwise.closed-form", "layerwise.log-determinant"),
    near_misses={"sign of the eigenvalue": lambda: log(1 + 1 / KAPPA) / ETA},
    falsifiers={
        "half the time": lambda: log(1 - 1 / KAPPA) / (2 * ETA),
        "reciprocal eigenvalue": lambda: log(1 - KAPPA) / ETA,
    },
    remark=(
        "The map itself decays calmly through that time. The weights follow a root of it whose slope is "
        "infinite, so they cannot go on: the identical map dynamics ends there."
    ),
)


@blow_up.proof(generic_in="depth, width, start")
def root_of_the_common_factor(formula):
    """The common factor to the power d is one linear function of the decaying exponential."""
    return invariants.is_blow_up_time(formula)


@lru_cache(maxsize=32)
def _opposed(depth: int, kappa: float, seed: int) -> Setting:
    """A well-conditioned square network with a teacher that has one negative eigenvalue relative to it."""
    if not kappa < 0:
        raise ValueError(f"kappa: {kappa} given, allowed: kappa < 0")
    start = near_solution(depth, (3,) * (depth + 1), seed)
    basis = torch.eye(3, dtype=torch.float64) + 0.3 * torch.randn(
        3, 3, generator=generator(seed, "cpu"), dtype=torch.float64
    )
    values = torch.diag(torch.tensor([kappa, 0.7, 1.6], dtype=torch.float64))
    relative = torch.linalg.solve(basis, basis @ values, left=False)
    return Setting(start.net, Problem(start.net.product() @ relative))


@lru_cache(maxsize=32)
def _determinants(depth: int, kappa: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Four early times, the powers |det w_1|^d of a full network there, relative to the start, and their error."""
    setting = _opposed(depth, kappa, seed)
    times = np.linspace(0, 0.85 / (1 - kappa), 4) / RATE
    path = flow(setting.net, setting.problem, BlockNatural(RATE), times.tolist())
    first = path.weights[0]
    values = array(torch.linalg.det(first).abs()) ** depth
    slope = float(torch.linalg.inv(first).abs().sum((-2, -1)).max())
    return times, values / values[0], path.error * slope * depth


@blow_up.check(grid(depth=[1, 2, 3], kappa=[-0.5, -2.0], seed=[0, 1]))
def determinant_extrapolated(formula, depth, kappa, seed):
    """The zero of a determinant of a full network, extrapolated from four times before it.

    By the constraint on the map the determinant is a cubic polynomial of e^{-eta t}, which four times fix exactly.
    """
    times, values, error = _determinants(depth, kappa, seed)
    nodes = np.exp(-RATE * times)
    cubic = np.polynomial.Polynomial.fit(nodes, values, 3)
    zeros = cubic.roots()
    near = zeros[(np.abs(zeros.imag) < 1e-9) & (zeros.real > 0) & (zeros.real < nodes[-1])].real
    found = float(near.max())
    weights = [np.prod([(found - m) / (n - m) for m in nodes if m != n]) for n in nodes]
    gain = float(np.abs(weights).sum() / abs(cubic.deriv()(found)) / found / RATE)
    bound = integration(gain * error) + rounding(1.0, 50, max(gain * float(np.abs(values).max()), 1.0))
    predicted = evaluate(formula, {KAPPA: kappa, ETA: RATE})
    return agree(-np.log(found) / RATE, predicted, bound=bound).on(_opposed(depth, kappa, seed))


@blow_up.figure
def approach(formula):
    """Speed of the weights and of the map over the time left."""
    series, kappa = [], -0.5
    end = float(evaluate(formula, {KAPPA: kappa, ETA: 1.0}))
    left = end * np.geomspace(0.9, 1e-2, 8)
    for depth in (2, 3):
        setting = _opposed(depth, kappa, 0)
        rule = BlockNatural()
        path = flow(setting.net, setting.problem, rule, [0.0, *(end - left)], tolerance=1e-9)
        moves = [rule.velocity(net, setting.problem) for net in list(path)[1:]]
        speed = np.array([float(sum(v.square().sum() for v in move).sqrt()) for move in moves])
        series.append(Series(f"network, depth {depth}", left, speed, "simulation"))
        slope = float(evaluate(invariants.escape_exponent(), {DEPTH: depth}))
        series.append(Series(f"exponent 1/{depth} - 1", left, speed[-1] * (left / left[-1]) ** slope))
    gaps = [float(torch.linalg.matrix_norm(setting.problem.error(net))) for net in list(path)[1:]]
    series.append(Series("map", left, gaps, "reference"))
    title, axis = "Weights before the singular time", r"time left $t_s - t$"
    panel = Panel(title, axis, "speed", tuple(series), log_x=True, log_y=True)
    return Figure("Speed of the weights on the approach to the singular time, where the map notices nothing.", (panel,))


odds = Claim(
    "layerwise.blow-up-odds",
    source="beyond A section 3.3",
    says="A random pair of start and teacher of size two becomes singular with a probability of nearly two thirds.",
    formula=invariants.odds_of_two,
    lhs=r"P(t_s < \infty)",
    uses=("layerwise.blow-up-time",),
    near_misses={"two thirds": lambda: Rational(2, 3)},
    falsifiers={"a half, as for size one": lambda: Rational(1, 2), "any real eigenvalue": lambda: pi / 4},
    about_networks=False,
    mutate=False,
    remark=(
        "For numbers the odds are one half. The probability of real eigenvalues of a pencil of two Gaussian "
        "matrices of size two, $`\\pi/4`$, is a known result that is quoted here, not derived; signs and "
        "symmetry give the rest."
    ),
)


@lru_cache(maxsize=8)
def _share(samples: int, seed: int) -> float:
    draw = generator(seed, "cpu")
    start, teacher = (torch.randn(samples, 2, 2, generator=draw, dtype=torch.float64) for _ in range(2))
    values = torch.linalg.eigvals(torch.linalg.solve(start, teacher))
    return float(((values.imag == 0) & (values.real < 0)).any(-1).double().mean())


@odds.check(grid(samples=[400_000], seed=[0]), network=False)
def random_pairs(formula, samples, seed):
    """The share of negative real eigenvalues among pairs of Gaussian matrices."""
    observed = _share(samples, seed)
    bound = sampling((observed * (1 - observed)) ** 0.5, samples, 1e-6)
    return agree(observed, evaluate(formula, {}), bound=bound)
