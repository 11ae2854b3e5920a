"""Aligned networks: singular vectors stay, modes do not mix, and the kernel is diagonal on pairs of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from derivations import words
from derivations.deep_linear import alignment
from numerics.device import generator
from numerics.flows import Trajectory, flow
from numerics.networks import DeepLinear
from numerics.problems import Problem, covariance
from numerics.rules import BlockFractional, BlockNatural, Damped, Fractional, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED
from tests.claims.covariance import SHARED
from tests.claims.settings import Setting, aligned, array, sizes

RULES: dict[str, Rule] = {
    "gradient": GradientDescent(),
    "natural": NaturalGradient(),
    "square-root": Fractional(2.0),
    "cube-root": Fractional(3.0),
    "damped": Damped(0.5),
    "block-natural": BlockNatural(),
    "block-square-root": BlockFractional(2.0),
}
TIMES = (0.0, 0.3, 1.0)


@lru_cache(maxsize=64)
def task(depth: int, widths: str | tuple[int, ...], seed: int, inputs: str = "white") -> Setting:
    """An aligned network with goals of the sign of its map, so that no rule has to cross zero; inputs by name."""
    rank_ = min(sizes(depth, widths))
    signs = [(-1.0) ** ((depth + 1) // 2)] + [1.0] * (rank_ - 1)
    goals = tuple(sign * (2.0 - 0.3 * k) for k, sign in enumerate(signs))
    setting = aligned(depth, widths, seed, goals=goals)
    basis = setting.frame.bases[0]
    draw, n = generator(seed + 1), basis.shape[-1]
    if inputs == "white":
        return setting
    if inputs == "commuting":
        matrix = (basis * (0.5 + torch.rand(n, generator=draw, dtype=torch.float64))) @ basis.mT
    else:
        matrix = covariance(n, draw, condition=6.0)
    problem = Problem(setting.problem.teacher, (matrix + matrix.mT) / 2)
    return Setting(setting.net, problem, setting.frame, setting.goals)


@lru_cache(maxsize=64)
def course(
    depth: int, widths: str | tuple[int, ...], rule: str, seed: int, inputs: str = "white",
    times: tuple[float, ...] = TIMES,
) -> Trajectory:  # fmt: skip
    """The flow of the full network of ``task`` under a rule of the table."""
    setting = task(depth, widths, seed, inputs)
    return flow(setting.net, setting.problem, RULES[rule], times, tolerance=1e-10)


@lru_cache(maxsize=64)
def _chains(
    depth: int, widths: str | tuple[int, ...], rule: str, seed: int, inputs: str,
    times: tuple[float, ...] = TIMES,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Mode values (T, d, r) of width-one networks, each trained alone under the same rule, and their error."""
    setting = task(depth, widths, seed, inputs)
    values, variance = torch.as_tensor(setting.modes()), _variances(setting)
    groups = [[k] for k in range(values.shape[-1])] if inputs != "white" else [list(range(values.shape[-1]))]
    found, error = [], 0.0
    for group in groups:
        net = DeepLinear(tuple(values[i, group].reshape(-1, 1, 1) for i in range(depth)))
        alone = Problem(setting.goals[group].reshape(-1, 1, 1), variance[group[0]].reshape(1, 1))
        run = flow(net, alone, RULES[rule], times, tolerance=1e-10)
        found.append(np.stack([array(w)[:, :, 0, 0] for w in run.weights], axis=1))
        error = max(error, run.error)
    return np.concatenate(found, axis=-1), error


def _variances(setting: Setting) -> torch.Tensor:
    basis, matrix = setting.frame.bases[0], setting.problem.covariance
    if matrix is None:
        return torch.ones(basis.shape[-1], dtype=basis.dtype)
    return (basis.mT @ matrix @ basis).diagonal()


def _rectangular(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Matrices (T, rows, columns) with values (T, r) on their diagonals."""
    found = np.zeros((len(values), rows, columns))
    place = np.arange(values.shape[-1])
    found[:, place, place] = values
    return found


decoupling = Claim(
    "alignment.decoupling",
    source="A section 3.1, footnote 2",
    says="In an aligned network the singular vectors stay for ever, and every mode evolves as a network of its own.",
    formula=alignment.aligned_layer,
    lhs="w_i(t)",
    given=(ALIGNED, SHARED),
    near_misses={
        "input basis not transposed": lambda: alignment.Q_I * alignment.D_I * alignment.Q_H,
        "output basis transposed": lambda: alignment.Q_I.T * alignment.D_I * alignment.Q_H.T,
    },
    falsifiers={"both bases transposed": lambda: alignment.Q_I.T * alignment.D_I * alignment.Q_H},
    remark=(
        "The check trains one narrow network for each mode, with a single unit in every layer, and the full network "
        "beside them; $`D_i(t)`$ is read off the narrow ones. Nothing but the bases is shared. Block-diagonal rules "
        "decouple as well: alignment needs no conservation law."
    ),
)


@decoupling.proof(generic_in="depth, widths, spectral filter of the rule")
def frame_is_kept(formula):
    """Every factor of an update keeps the form of an aligned layer, so the velocity is tangent to it."""
    return alignment.decouples(formula)


def _against_chains(formula, depth, widths, rule, seed, inputs):
    setting, run = task(depth, widths, seed, inputs), course(depth, widths, rule, seed, inputs)
    values, error = _chains(depth, widths, rule, seed, inputs)
    observed, predicted = [], []
    for i, w in enumerate(run.weights):
        upper, lower = setting.frame.bases[i + 1], setting.frame.bases[i]
        shapes = _rectangular(values[:, i], *w.shape[-2:])
        letters = {"Q_i": array(upper), "D_i": shapes, "Q_h": array(lower)}
        observed.append(array(w).ravel())
        predicted.append(words.evaluate(formula, letters).ravel())
    bound = integration(run.error + error)
    return agree(np.concatenate(observed), np.concatenate(predicted), bound=bound).on(setting)


@decoupling.check(
    grid(depth=[3], widths=["wide"], rule=[name for name in RULES if name != "cube-root"], seed=[0], inputs=["white"])
    + grid(depth=[2], widths=["waist"], rule=["gradient", "block-natural"], seed=[0], inputs=["commuting"])
    + grid(depth=[1], widths=["widening"], rule=["natural"], seed=[0], inputs=["commuting"])
    + grid(depth=[4], widths=["narrowing"], rule=["gradient"], seed=[0], inputs=["white"])
)
def narrow_networks(formula, depth, widths, rule, seed, inputs):
    """The full network against one narrow network for each mode, all weights at three times."""
    return _against_chains(formula, depth, widths, rule, seed, inputs)


@decoupling.without(
    SHARED,
    grid(depth=[2], widths=["square"], rule=["gradient", "square-root"], seed=[0], inputs=["correlated"]),
)
def correlated_inputs(formula, depth, widths, rule, seed, inputs):
    """Inputs whose covariance has directions of its own mix the modes."""
    return _against_chains(formula, depth, widths, rule, seed, inputs)


@decoupling.figure
def modes_beside_narrow_networks(formula):
    """Mode values of a full network over those of narrow networks trained alone."""
    depth, widths, rule, seed = 3, "wide", "square-root", 0
    fine = tuple(np.linspace(0, 3, 25).tolist())
    coarse = fine[::2]
    setting, run = task(depth, widths, seed), course(depth, widths, rule, seed, "white", coarse)
    values, error = _chains(depth, widths, rule, seed, "white", fine)
    full, modes = array(setting.frame.modes(run.nets())), range(values.shape[-1])
    lines = [Series(f"mode {k + 1} alone", fine, values[:, :, k].prod(1)) for k in modes]
    dots = [Series(f"mode {k + 1}, full network", coarse, full[:, :, k].prod(1), "simulation") for k in modes]
    leak = array(setting.frame.leak(run.nets()))
    panel = Panel(
        "Each mode evolves alone", "time in units of 1/eta", "map value of the mode", (*lines, *dots),
        residual=Series("entries outside the modes", coarse, leak, "simulation"), residual_bound=run.error + error,
    )  # fmt: skip
    return Figure("A full network of unequal widths and the narrow networks of its modes, square-root rule.", (panel,))
