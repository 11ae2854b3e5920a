"""Aligned networks: singular vectors stay, modes do not mix, and the kernel is diagonal on pairs of them."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch

from derivations import words
from derivations.compiled import evaluate
from derivations.deep_linear import alignment, couplings
from derivations.deep_linear.alignment import ABOVE, BELOW
from derivations.deep_linear.couplings import RANK
from derivations.notation import N_0, N_D
from numerics.curvature import factor, kernel
from numerics.device import generator
from numerics.exact import integer_network, rank
from numerics.flows import Trajectory, flow
from numerics.frames import Frame, haar
from numerics.networks import DeepLinear
from numerics.problems import Problem, covariance
from numerics.rules import BlockFractional, BlockNatural, Damped, Fractional, GradientDescent, NaturalGradient, Rule
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, equal, spectra_match
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED, COMMUTING
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
TIMES = (0.0, 0.3, 0.8, 1.5)


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
    return Setting(setting.net, Problem(setting.problem.teacher, (matrix + matrix.mT) / 2), setting.frame, setting.goals)


@lru_cache(maxsize=64)
def course(depth: int, widths: str | tuple[int, ...], rule: str, seed: int, inputs: str = "white") -> Trajectory:
    """The flow of the full network of ``task`` under a rule of the table."""
    setting = task(depth, widths, seed, inputs)
    return flow(setting.net, setting.problem, RULES[rule], TIMES)


@lru_cache(maxsize=64)
def _chains(
    depth: int, widths: str | tuple[int, ...], rule: str, seed: int, inputs: str
) -> tuple[np.ndarray, float]:
    """Mode values (T, d, r) of width-one networks, each trained alone under the same rule, and their error."""
    setting = task(depth, widths, seed, inputs)
    values, variance = torch.as_tensor(setting.modes()), _variances(setting)
    groups = [[k] for k in range(values.shape[-1])] if inputs != "white" else [list(range(values.shape[-1]))]
    found, error = [], 0.0
    for group in groups:
        net = DeepLinear(tuple(values[i, group].reshape(-1, 1, 1) for i in range(depth)))
        alone = Problem(setting.goals[group].reshape(-1, 1, 1), variance[group[0]].reshape(1, 1))
        run = flow(net, alone, RULES[rule], TIMES)
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
    given=(ALIGNED, COMMUTING),
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
    grid(depth=[3], widths=["wide"], rule=list(RULES), seed=[0], inputs=["white"])
    + grid(depth=[2], widths=["waist"], rule=["gradient", "square-root", "block-natural"], seed=[0], inputs=["commuting"])
    + grid(depth=[1], widths=["widening"], rule=["natural"], seed=[0], inputs=["commuting"])
    + grid(depth=[4], widths=["narrowing"], rule=["cube-root"], seed=[0], inputs=["white"])
)
def narrow_networks(formula, depth, widths, rule, seed, inputs):
    """The full network against one narrow network for each mode, all weights at four times."""
    return _against_chains(formula, depth, widths, rule, seed, inputs)


@decoupling.without(
    COMMUTING,
    grid(depth=[2], widths=["square"], rule=["gradient", "square-root"], seed=[0], inputs=["correlated"]),
)
def correlated_inputs(formula, depth, widths, rule, seed, inputs):
    """Inputs whose covariance does not commute with that of the teacher mix the modes."""
    return _against_chains(formula, depth, widths, rule, seed, inputs)


@decoupling.figure
def modes_beside_narrow_networks(formula):
    """Mode values of a full network over those of narrow networks trained alone."""
    depth, widths, rule, seed = 3, "wide", "square-root", 0
    setting, run = task(depth, widths, seed), course(depth, widths, rule, seed)
    values, error = _chains(depth, widths, rule, seed, "white")
    full = array(setting.frame.modes(run.nets()))
    lines = [Series(f"mode {k + 1} alone", TIMES, values[:, :, k].prod(1)) for k in range(values.shape[-1])]
    dots = [
        Series(f"mode {k + 1}, full network", TIMES, full[:, :, k].prod(1), "simulation")
        for k in range(values.shape[-1])
    ]
    leak = array(setting.frame.leak(run.nets()))
    panel = Panel(
        "Each mode evolves alone", "time in units of 1/eta", "map value of the mode", (*lines, *dots),
        residual=Series("entries outside the modes", TIMES, leak, "simulation"), residual_bound=run.error + error,
    )  # fmt: skip
    return Figure("A full network of unequal widths and the narrow networks of its modes, square-root rule.", (panel,))


@lru_cache(maxsize=64)
def crowded(depth: int, widths: str | tuple[int, ...], seed: int) -> Setting:
    """An aligned network whose layers use every diagonal entry that their shape has, with a full teacher."""
    n, draw = sizes(depth, widths), generator(seed)
    bases = tuple(haar(size, draw) for size in n)
    layers = []
    for upper, lower in zip(bases[1:], bases, strict=False):
        count = min(upper.shape[-1], lower.shape[-1])
        values = (0.5 + torch.rand(count, generator=draw, dtype=torch.float64)) * (-1.0) ** torch.arange(count)
        layers.append(upper[:, :count] * values @ lower[:, :count].mT)
    ends = min(n[0], n[-1])
    goals = 2.0 + torch.rand(ends, generator=draw, dtype=torch.float64)
    teacher = bases[-1][:, :ends] * goals @ bases[0][:, :ends].mT
    return Setting(DeepLinear(tuple(layers)), Problem(teacher), Frame(bases, max(n)), goals)


def padded_modes(setting: Setting) -> np.ndarray:
    """Diagonal entries of every layer in the frame, filled up with zeros to the largest width; shape (d, n_max)."""
    size = max(setting.net.widths)
    entries = [array(c.diagonal()) for c in setting.frame.components(setting.net)]
    return np.stack([np.pad(row, (0, size - len(row))) for row in entries])


spectrum = Claim(
    "alignment.kernel-spectrum",
    source="A S.I.2",
    says="In an aligned network every pair of singular vectors is an eigenvector of the kernel, with a product as eigenvalue.",
    formula=alignment.kernel_eigenvalue,
    lhs=r"\lambda_{ab}",
    relation=r"= \sum_{i=1}^{d}",
    given=(ALIGNED,),
    near_misses={
        "products without squares": lambda: ABOVE * BELOW,
        "only the layers above": lambda: ABOVE**2,
    },
    falsifiers={
        "equal directions only, as for a mode": lambda: (ABOVE * BELOW) ** 4,
        "sum for product": lambda: ABOVE**2 + BELOW**2,
    },
    remark=(
        r"Here $`\alpha_{ia}`$ is the product of direction $`a`$ over the layers above $`i`$, and $`\beta_{ib}`$ that of "
        r"direction $`b`$ over the layers below. The diagonal pairs carry the eigenvalue $`\lVert j \rVert^2`$ of a mode; "
        "the others are the directions in which alignment itself could be lost, and the gradient has no part in them."
    ),
)


@spectrum.proof(generic_in="depth, widths")
def one_layer_on_a_pair(formula):
    """One layer's term of the kernel multiplies a pair of singular vectors by a number."""
    return alignment.kernel_term(formula)


@lru_cache(maxsize=64)
def _spectrum(depth: int, widths: str | tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of the full kernel, and the products alpha (d, n_d, 1) and beta (d, 1, n_0) of the mode values."""
    setting = crowded(depth, widths, seed)
    values = padded_modes(setting)
    above = np.array([values[i + 1 :].prod(0) for i in range(depth)])
    below = np.array([values[:i].prod(0) for i in range(depth)])
    seen = array(torch.linalg.eigvalsh(kernel(setting.net)))
    return seen, above[:, : setting.net.widths[-1], None], below[:, None, : setting.net.widths[0]]


@spectrum.check(
    grid(depth=[2, 3, 5], widths=["square", "widening", "narrowing", "wide", "waist"], seed=range(2))
    + grid(depth=[1], widths=["narrowing"], seed=[0])
)
def all_eigenvalues(formula, depth, widths, seed):
    """All eigenvalues of the kernel of the full network, zeros included."""
    seen, above, below = _spectrum(depth, widths, seed)
    predicted = evaluate(formula, {ABOVE: above, BELOW: below}) * np.ones_like(above * below)
    setting = crowded(depth, widths, seed)
    operations = sum(setting.net.widths) * depth + seen.size
    bound = rounding(float(seen.max()), operations)
    return spectra_match(seen, predicted.sum(0), bound=bound).on(setting)


@spectrum.figure
def spectrum_by_rank(formula):
    """Predicted and measured eigenvalues of two networks of different shape."""
    panels = []
    for widths in ("wide", "waist"):
        seen, above, below = _spectrum(3, widths, 0)
        predicted = np.sort((evaluate(formula, {ABOVE: above, BELOW: below}) * np.ones_like(above * below)).sum(0), None)
        place = np.arange(1, seen.size + 1)
        panels.append(
            Panel(
                f"{widths}: {' - '.join(map(str, sizes(3, widths)))}", "rank of the eigenvalue", "eigenvalue",
                (Series("products of mode values", place, predicted), Series("full kernel", place, seen, "simulation")),
                residual=Series("difference", place, seen - predicted, "simulation"),
            )
        )  # fmt: skip
    caption = "The spectrum of the kernel of aligned networks; a waist leaves a null space where both directions are lost."
    return Figure(caption, tuple(panels))


ranks = Claim(
    "alignment.kernel-rank",
    source="A S.I.1, footnote 3",
    says="The kernel of a generic network has the rank of the tangent space of all maps of rank r, r the narrowest width.",
    formula=couplings.kernel_rank,
    lhs=r"\mathrm{rank}\, J J^{\mathsf{T}}",
    uses=("alignment.kernel-spectrum",),
    near_misses={
        "only the pairs of active directions": lambda: RANK**2,
        "overlap counted twice": lambda: RANK * (N_0 + N_D),
    },
    falsifiers={"always full": lambda: N_0 * N_D},
    remark=(
        "The rank is full exactly when no hidden layer is narrower than both ends. It is measured exactly: integer "
        "weights, rational elimination, no cut-off."
    ),
)


@ranks.proof(generic_in="depth, widths")
def pairs_that_are_seen(formula):
    """Counts the pairs of directions on which the aligned kernel is positive."""
    return couplings.counts_pairs(formula)


@lru_cache(maxsize=1024)
def _exact_rank(widths: tuple[int, ...], seed: int) -> int:
    """The largest exact rank of J over four integer networks: rank is generic where it is largest."""
    draw = generator(seed)
    full = [min(pair) for pair in zip(widths[1:], widths, strict=False)]
    return max(rank(factor(integer_network(widths, full, draw))) for _ in range(4))


def _ranks_of(formula, table: list[tuple[int, ...]], seed: int):
    given = {RANK: [min(n) for n in table], N_0: [n[0] for n in table], N_D: [n[-1] for n in table]}
    return equal([_exact_rank(n, seed) for n in table], list(evaluate(formula, given)))


@ranks.check(grid(depth=[1, 2, 3], seed=[0]))
def all_small_networks(formula, depth, seed):
    """Every network of widths up to three, by exact elimination."""
    return _ranks_of(formula, list(product((1, 2, 3), repeat=depth + 1)), seed)


@ranks.check(grid(depth=[2, 4], widths=["square", "widening", "narrowing", "wide", "waist"], seed=[0]))
def named_shapes(formula, depth, widths, seed):
    """Networks of unequal widths, deeper ones too."""
    return _ranks_of(formula, [sizes(depth, widths)], seed)
