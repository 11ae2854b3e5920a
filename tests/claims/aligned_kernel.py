"""The kernel of aligned networks: its spectrum is made of products of mode values, its rank of the narrowest width."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.deep_linear import alignment, couplings
from derivations.deep_linear.alignment import ABOVE, BELOW
from derivations.deep_linear.couplings import RANK
from derivations.notation import N_0, N_D
from numerics.curvature import factor, kernel
from numerics.device import generator
from numerics.exact import integer_network, rank
from numerics.frames import Frame, haar
from numerics.networks import DeepLinear
from numerics.problems import Problem
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import equal, spectra_match
from tests.checker.figure import Figure, Panel, Series
from tests.claims.assumptions import ALIGNED
from tests.claims.settings import Setting, array, sizes


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
    says="In an aligned network every pair of singular vectors is an eigenvector of the kernel.",
    formula=alignment.kernel_eigenvalue,
    lhs=r"\lambda_{ab}",
    relation=r"= \sum_{i=1}^{d}",
    given=(ALIGNED,),
    near_misses={
        "products without squares": lambda: ABOVE * BELOW,
        "only the layers above": lambda: ABOVE**2,
    },
    falsifiers={
        "fourth powers": lambda: (ABOVE * BELOW) ** 4,
        "sum for product": lambda: ABOVE**2 + BELOW**2,
    },
    remark=(
        r"Here $`\alpha_{ia}`$ is the product of direction $`a`$ over the layers above $`i`$, and $`\beta_{ib}`$ "
        r"that of direction $`b`$ over the layers below. The diagonal pairs carry the eigenvalue $`\lVert j "
        r"\rVert^2`$ of a mode; the others are the directions in which alignment itself could be lost, and the "
        "gradient has no part in them."
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


def _predicted(formula, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Eigenvalues (n_d, n_0): the shares of all layers added up."""
    return (evaluate(formula, {ABOVE: above, BELOW: below}) * np.ones_like(above * below)).sum(0)


@spectrum.check(
    grid(depth=[2, 3, 5], widths=["square", "widening", "narrowing", "wide", "waist"], seed=range(2))
    + grid(depth=[1], widths=["narrowing"], seed=[0])
)
def all_eigenvalues(formula, depth, widths, seed):
    """All eigenvalues of the kernel of the full network, zeros included."""
    seen, above, below = _spectrum(depth, widths, seed)
    setting = crowded(depth, widths, seed)
    operations = sum(setting.net.widths) * depth + seen.size
    bound = rounding(float(seen.max()), operations)
    return spectra_match(seen, _predicted(formula, above, below), bound=bound).on(setting)


@spectrum.figure
def spectrum_by_rank(formula):
    """Predicted and measured eigenvalues of two networks of different shape."""
    panels = []
    for widths in ("wide", "waist"):
        seen, above, below = _spectrum(3, widths, 0)
        predicted = np.sort(_predicted(formula, above, below), None)
        place = np.arange(1, seen.size + 1)
        panels.append(
            Panel(
                f"{widths}: {' - '.join(map(str, sizes(3, widths)))}", "rank of the eigenvalue", "eigenvalue",
                (Series("products of mode values", place, predicted), Series("full kernel", place, seen, "simulation")),
                residual=Series("difference", place, seen - predicted, "simulation"),
            )
        )  # fmt: skip
    caption = "The spectrum of the kernel of aligned networks; a waist leaves a null space."
    return Figure(caption, tuple(panels))


ranks = Claim(
    "alignment.kernel-rank",
    source="A S.I.1, footnote 3",
    says="The kernel of a generic network of narrowest width r has as many directions as the maps of rank r.",
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
