"""Balanced networks that are not aligned with their teacher: a closed equation for the map alone, at every order."""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
import torch
from scipy.integrate import solve_ivp

from derivations.compiled import evaluate, function
from derivations.deep_linear import balanced_flow
from derivations.deep_linear.balanced_flow import GAP_AB, S_A, S_B
from derivations.notation import DEPTH, ETA, Q
from numerics import initialisations as init
from numerics.curvature import forward, kernel
from numerics.device import generator
from numerics.flows import flow
from numerics.networks import DeepLinear
from numerics.problems import Problem
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import BALANCED, FULL_ROW_RANK, WHITENED
from tests.claims.growth import rule_of, stiffness
from tests.claims.modes_natural import RATE
from tests.claims.settings import Setting, array, sizes

Widths = str | tuple[int, ...]
GIVEN = (BALANCED, FULL_ROW_RANK, WHITENED)
SHAPES = grid(depth=[2, 3, 5], widths=["square", "wide"], seed=[0]) + grid(depth=[1, 3], widths=["narrowing"], seed=[1])


@lru_cache(maxsize=64)
def unaligned(depth: int, widths: Widths, seed: int) -> Setting:
    """A balanced network with different singular values and a teacher that has nothing in common with it."""
    n, draw = sizes(depth, widths), generator(seed, "cpu")
    values = torch.linspace(0.5, 1.6, min(n[0], n[-1]), dtype=torch.float64)
    net = init.balanced(n, draw, singular_values=values)
    return Setting(net, Problem(init.normal((n[-1], n[0]), draw)))


def frame_of(net: DeepLinear) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular vectors U (n_d, n_d) and V (n_0, n_0) of the map, and its singular values (r,)."""
    u, s, vt = np.linalg.svd(array(net.product()))
    return u, s, vt.T


def pairs(values: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of the pairs u_a v_b^T, shapes (rows, columns); directions beyond the rank have the value 0."""
    upper, lower = np.zeros(rows), np.zeros(columns)
    upper[: len(values)], lower[: len(values)] = values, values
    return np.broadcast_to(upper[:, None], (rows, columns)), np.broadcast_to(lower, (rows, columns))


def on_pairs(formula: dict, values: np.ndarray, rows: int, columns: int, **more) -> np.ndarray:
    """A formula for different and for equal singular values, on all pairs of singular vectors (rows, columns)."""
    s_a, s_b = pairs(values, rows, columns)
    given = {S_A: s_a, S_B: s_b, ETA: RATE, **more}
    same = np.eye(rows, columns, dtype=bool)
    different = evaluate(formula["different"], {**given, S_B: np.where(same, 2 * s_b + 1, s_b)})
    return np.where(same, evaluate(formula["equal"], given), different)


def pair_rounding(setting: Setting, scale: float) -> Bound:
    """Rounding of what is read in the singular vectors of the map, whose condition is set by the gaps of the values."""
    net = setting.net
    values = frame_of(net)[1]
    gaps = np.abs(np.diff(values, append=0.0))
    condition = float(values.max() / gaps.min()) ** 2
    return rounding(scale, net.parameters + 4 * sum(net.widths), condition)


spectrum = Claim(
    "balanced.kernel-eigenvalue",
    source="A section 3.2",
    says="In a balanced network the kernel of the map has the pairs of the map's singular vectors as eigenvectors.",
    formula=balanced_flow.eigenvalues,
    lhs=r"\lambda_{ab}",
    given=(BALANCED,),
    uses=("alignment.balanced-root",),
    near_misses={
        "d-th roots of the values, not of their squares": lambda: {
            **balanced_flow.eigenvalues(),
            "different": (S_A**2 - S_B**2) / (S_A ** (1 / DEPTH) - S_B ** (1 / DEPTH)),
        },
        "equal values without the depth": lambda: {**balanced_flow.eigenvalues(), "equal": S_A ** (2 - 2 / DEPTH)},
    },
    falsifiers={
        "first powers": lambda: {
            **balanced_flow.eigenvalues(),
            "different": (S_A - S_B) / (S_A ** (1 / DEPTH) - S_B ** (1 / DEPTH)),
        }
    },
    remark=(
        "With $`s_b = 0`$ it is $`s_a^{2 - 2/d}`$, the reach of the last layer alone. For two layers it is "
        "$`s_a + s_b`$. The kernel, which costs $`n_0 n_d`$ squared numbers in general, is known from one singular "
        "value decomposition of the map."
    ),
)


@spectrum.proof(generic_in="depth, widths, singular values")
def geometric_sum_over_the_layers(formula):
    """Balance makes the Gram matrices powers of that of the map; the layers form a geometric sum, by induction."""
    return balanced_flow.are_eigenvalues(formula)


@spectrum.check(SHAPES)
def kernel_of_the_network(formula, depth, widths, seed):
    """The kernel of a full network on all pairs of singular vectors, and nothing beside its diagonal."""
    setting = unaligned(depth, widths, seed)
    u, values, v = frame_of(setting.net)
    basis = np.kron(v, u)
    observed = basis.T @ array(kernel(setting.net)) @ basis
    rows, columns = len(u), len(v)
    predicted = np.diag(on_pairs(formula, values, rows, columns, **{DEPTH.name: depth}).ravel(order="F"))
    bound = pair_rounding(setting, float(np.abs(observed).max()))
    return agree(observed, predicted, bound=bound).on(setting)


velocity = Claim(
    "balanced.map-velocity",
    source="A section 3.2",
    says="In a balanced network the map obeys an equation of its own, whatever the teacher, at every order.",
    formula=balanced_flow.map_velocity,
    lhs=r"u_a^{\mathsf{T}} \dot W v_b",
    given=GIVEN,
    uses=("balanced.kernel-eigenvalue", "natural-gradient.dual-form"),
    near_misses={
        "exponent of the weights": lambda: {
            **balanced_flow.map_velocity(),
            "different": -ETA * balanced_flow.eigenvalues()["different"] ** (1 - 2 / Q) * GAP_AB,
        },
        "aligned entries only": lambda: {**balanced_flow.map_velocity(), "different": 0 * GAP_AB * S_A * S_B},
    },
    falsifiers={
        "gradient descent at every order": lambda: {
            name: -ETA * value * GAP_AB for name, value in balanced_flow.eigenvalues().items()
        }
    },
    remark=(
        "Balance replaces alignment: the layers have dropped out, and the singular vectors may turn. Every rule "
        "with the full curvature conserves balance, so the equation holds for all time. "
        "For natural gradient descent it is linear."
    ),
)


@velocity.proof(generic_in="depth, order q, widths, teacher")
def power_of_the_kernel(formula):
    """The update is a power of the kernel, which the map sees through the kernel once more."""
    return balanced_flow.is_map_velocity(formula)


@lru_cache(maxsize=128)
def _velocity(depth: int, q: float, widths: Widths, seed: int) -> tuple[Setting, np.ndarray, np.ndarray]:
    """The velocity of the map of a full network, and its gap, in the singular vectors of the map (n_d, n_0)."""
    stiffness(depth, q)
    setting = unaligned(depth, widths, seed)
    u, _, v = frame_of(setting.net)
    change = forward(setting.net, rule_of(q).velocity(setting.net, setting.problem))
    return setting, u.T @ array(change) @ v, u.T @ array(setting.problem.error(setting.net)) @ v


@velocity.check(
    grid(depth=[2, 3], q=[1, 1.5, 2, inf], widths=["square", "wide"], seed=[0])
    + grid(depth=[1, 4], q=[2], widths=["narrowing", "widening"], seed=[1])
)
def velocities_of_networks(formula, depth, q, widths, seed):
    """All entries of the velocity of the map of a full network, in the map's singular vectors."""
    setting, observed, gap = _velocity(depth, q, widths, seed)
    values = frame_of(setting.net)[1]
    predicted = on_pairs(formula, values, *gap.shape, **{DEPTH.name: depth, Q.name: q, GAP_AB.name: gap})
    bound = pair_rounding(setting, float(np.linalg.norm(observed)))
    return agree(observed, predicted, bound=bound).on(setting)


TIMES = (0.0, 0.3, 0.8)


@lru_cache(maxsize=32)
def trained(depth: int, q: float, widths: Widths, seed: int) -> tuple[Setting, np.ndarray, Bound]:
    """Maps (T, n_d, n_0) along the flow of all weights, and the error of the map."""
    setting = unaligned(depth, widths, seed)
    run = flow(setting.net, setting.problem, rule_of(q), TIMES)
    maps = array(run.products())
    size = float(np.linalg.norm(maps, 2, (1, 2)).max())
    error = depth * max(setting.net.widths) * size ** (1 - 1 / depth) * run.error
    return setting, maps, integration(error) + rounding(size, 8 * depth * max(setting.net.widths))


def _map_flow(formula: dict, setting: Setting, depth: int, q: float, times, tolerance: float) -> np.ndarray:
    """The asserted equation of the map integrated by itself, (T, n_d, n_0)."""
    args = (S_A, S_B, GAP_AB, ETA, DEPTH, Q)
    different, equal = (function(formula[name], args) for name in ("different", "equal"))
    start, teacher = array(setting.net.product()), array(setting.problem.teacher)
    rows, columns = start.shape
    same = np.eye(rows, columns, dtype=bool)

    def rhs(_, flat):
        whole = flat.reshape(rows, columns)
        u, values, vt = np.linalg.svd(whole)
        s_a, s_b = pairs(values, rows, columns)
        gap = u.T @ (whole - teacher) @ vt.T
        beside = different(s_a, np.where(same, 2 * s_b + 1, s_b), gap, RATE, depth, q)
        return (u @ np.where(same, equal(s_a, s_b, gap, RATE, depth, q), beside) @ vt).ravel()

    found = solve_ivp(
        rhs, (times[0], times[-1]), start.ravel(), method="DOP853", rtol=tolerance, atol=tolerance, t_eval=times
    )
    if not found.success:
        return np.full((len(times), rows, columns), np.nan)
    return found.y.T.reshape(-1, rows, columns)


@velocity.check(grid(depth=[3], q=[2], widths=[(2, 3, 3, 2)], seed=[0]))
def map_without_its_layers(formula, depth, q, widths, seed):
    """The equation of the map, integrated by itself, against the flow of all weights."""
    setting, observed, bound = trained(depth, q, widths, seed)
    predicted = _map_flow(formula, setting, depth, q, TIMES, 1e-10)
    rough = _map_flow(formula, setting, depth, q, TIMES, 1e-8)
    return agree(observed, predicted, bound=bound + integration(float(np.abs(rough - predicted).max()))).on(setting)


@velocity.figure
def map_and_network(formula):
    """Singular values of the map along gradient descent, the square root and the natural gradient."""
    panels, fine = [], np.linspace(0, TIMES[-1], 25)
    for title, q in (("gradient descent", inf), ("square root", 2.0), ("natural gradient", 1.0)):
        setting = unaligned(3, (2, 3, 3, 2), 0)
        line = np.linalg.svd(_map_flow(formula, setting, 3, q if q < inf else 1e300, fine, 1e-6), compute_uv=False)
        run = flow(setting.net, setting.problem, rule_of(q), fine[::3], tolerance=1e-6)
        dots = np.linalg.svd(array(run.products()), compute_uv=False)
        series = []
        for k in range(line.shape[1]):
            series += [Series(f"$s_{k + 1}$", fine, line[:, k]), Series("", fine[::3], dots[:, k], "simulation")]
        panels.append(Panel(title, "time", "singular values of the map", tuple(series)))
    return Figure(
        "A balanced network of three layers with an unrelated teacher. Lines: the equation of the map, without layers. "
        "Dots: flows of all weights.",
        tuple(panels),
    )
