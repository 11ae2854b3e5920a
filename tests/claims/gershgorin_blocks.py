"""What the diagonal blocks of a Fisher matrix say: errors of all eigenvalues, the dominant block, sums of blocks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import sqrt

from derivations.compiled import evaluate
from derivations.information import block_bounds
from derivations.information.gershgorin import BLOCKS, CENTRE, LARGEST, RADIUS, ROW, SMALLEST
from numerics.perceptrons import Perceptron
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_least, at_most
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.critical import critical_sample
from tests.claims.gershgorin import ISOMETRIC, NETWORKS
from tests.claims.partitions import (
    POSITIVE,
    RANDOM,
    SYMMETRIC,
    TWO_BLOCKS,
    Partitioned,
    cut_fisher,
    fisher,
    isometric,
    random,
)

CUTS = [(2, 3), (1, 1, 2), (2, 3, 1, 2)]


def _errors(formula, subject: Partitioned) -> tuple[np.ndarray, np.ndarray]:
    """Errors of all sorted eigenvalues, (S, P), and the largest value of the formula over the rows, (S, 1)."""
    blocks = -np.sort(-np.concatenate(subject.within, -1), axis=-1)
    return np.abs(subject.spectrum - blocks), evaluate(formula, subject.rows).max(-1, keepdims=True)


error = Claim(
    "gershgorin.block-diagonal-error",
    source="B sec. 3",
    says="Every eigenvalue of the block-diagonal approximation, in order, errs by at most the largest of the radii.",
    formula=block_bounds.eigenvalue_error,
    lhs=r"\max_k \lvert \lambda_k(G) - \lambda_k(\mathrm{diag}\, G_{ii}) \rvert \le \max_i \text{ of}",
    relation="",
    given=(SYMMETRIC,),
    uses=("gershgorin.spectrum",),
    near_misses={"largest singular value of the whole row": lambda: ROW},
    falsifiers={"smallest singular values": lambda: SMALLEST, "largest of the blocks alone": lambda: LARGEST},
    remark=(
        "The error bound is computable from the Fisher matrix itself. With the mean-field radii of the paper it is not "
        "a bound for the network at hand: for odd activations their shares of the later weights vanish, those of the "
        "network do not."
    ),
)


@error.proof(generic_in="number and sizes of the blocks")
def disks_of_what_is_left_out(formula):
    """Gershgorin for the off-diagonal part alone, then the min-max principle."""
    return block_bounds.is_eigenvalue_error(formula)


@error.check(NETWORKS)
def sorted_fisher_eigenvalues(formula, depth, widths, activation, likelihood, seed):
    """All eigenvalues of Fisher matrices of full networks against those of their diagonal blocks."""
    subject = fisher(depth, widths, activation, likelihood, seed)
    return at_most(*_errors(formula, subject), bound=subject.rounding).on(subject)


@error.check(ISOMETRIC)
def largest_error_of_isometric_networks(formula, depth, width, outputs, seed):
    """Where every block has norm one, the error of the largest eigenvalue is the radius."""
    subject = isometric(depth, width, outputs, seed)
    errors, ends = _errors(formula, subject)
    return agree(errors.max(-1, keepdims=True), ends, bound=subject.rounding).on(subject)


@error.check(grid(kind=["symmetric", "positive"], cut=CUTS, seed=[2]), network=False)
def random_matrices(formula, kind, cut, seed):
    """All sorted eigenvalues of random symmetric matrices."""
    subject = random(kind, cut, seed)
    return at_most(*_errors(formula, subject), bound=subject.rounding).on(subject).noting(f"{RANDOM} matrices")


dominant = Claim(
    "gershgorin.dominant-block",
    source="B sec. 3",
    says="The largest eigenvalue is at most the largest one of all diagonal blocks plus the radius of that block.",
    formula=block_bounds.dominant_end,
    lhs=r"\lambda_{\max}(G) \le \text{for the block with the largest } c_i \text{:}",
    relation=r"\;",
    given=(POSITIVE,),
    conditions=(TWO_BLOCKS,),
    uses=("gershgorin.fisher-largest",),
    near_misses={"smallest singular values": lambda: CENTRE + SMALLEST, "half the radius": lambda: CENTRE + RADIUS / 2},
    falsifiers={"no radius": lambda: CENTRE},
    remark=(
        "The paper chooses the block with the largest eigenvalue and takes the radius of that row. With two blocks "
        "both rows have the same radius, and this is right. With more blocks it is not: a block that is nearly "
        "uncoupled can have the largest eigenvalue while two smaller ones that are coupled add up to more. The "
        "maximum over all rows is needed."
    ),
)


@dominant.proof(generic_in="sizes of the two blocks")
def both_rows_have_one_radius(formula):
    """The larger of the two disks, and equal blocks that reach it."""
    return block_bounds.is_dominant_end(formula)


def _dominant(formula, subject: Partitioned) -> Evidence:
    """The end of the disk of the block with the largest eigenvalue, against the largest eigenvalue of the whole."""
    first = subject.rows[CENTRE].argmax(-1)[..., None]
    ends = np.take_along_axis(evaluate(formula, subject.rows), first, -1)
    return at_least(ends[..., 0], subject.spectrum[..., 0], bound=subject.rounding).on(subject)


@dominant.check(
    grid(depth=[1, 3], widths=["widening", "narrowing"], activation=["tanh", "relu"], cut=["first", "biases"], seed=[0])
)
def networks_in_two_parts(formula, depth, widths, activation, cut, seed):
    """Fisher matrices in two blocks: weights and biases, or the first layer and the others."""
    return _dominant(formula, fisher(depth, widths, activation, "identity", seed, cut=cut if depth > 1 else "biases"))


@dominant.check(grid(depth=[1], width=[3], outputs=[1, 2], seed=[0, 1]))
def one_isometric_layer(formula, depth, width, outputs, seed):
    """One orthogonal layer on an input of unit length: weights and biases have equal blocks, the bound is reached."""
    if depth != 1:
        raise ValueError(f"depth: {depth} given, allowed: 1, for two blocks")
    subject = isometric(depth, width, outputs, seed)
    ends = evaluate(formula, subject.rows)
    return agree(np.broadcast_to(subject.spectrum[..., :1], ends.shape), ends, bound=subject.rounding).on(subject)


@dominant.check(grid(kind=["positive"], cut=[(2, 3), (1, 4)], seed=[3]), network=False)
def random_pairs(formula, kind, cut, seed):
    """Random positive matrices in two blocks."""
    return _dominant(formula, random(kind, cut, seed)).noting(f"{RANDOM} matrices")


@lru_cache(maxsize=16)
def uncoupled(gain: float, weak: float) -> Partitioned:
    """A tanh network of three layers at input zero, whose last layer sees an output that no other layer reaches."""
    if not (0 < weak < 1 < gain):
        raise ValueError(f"weak: {weak} given, allowed: between 0 and 1, and a gain above 1 ({gain} given)")
    eye, zero = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    third = torch.tensor([[1 / weak, 0.0], [0.0, 0.0]], dtype=torch.float64)
    readout = torch.tensor([[weak, 0.0], [0.0, gain]], dtype=torch.float64)
    net = Perceptron((eye, eye, third), (zero,) * 3, readout, zero, "tanh")
    return cut_fisher(net, zero[:, None])


@dominant.without(TWO_BLOCKS, grid(gain=[1.05, 1.2], weak=[0.01]))
def three_layers(formula, gain, weak):
    """A full network whose third bias has the largest diagonal block; the first two share an output and add up."""
    return _dominant(formula, uncoupled(gain, weak))


@dominant.without(TWO_BLOCKS, grid(margin=[0.01, 0.1]), network=False)
def three_numbers(formula, margin):
    """One number slightly above 1, uncoupled, next to two that are 1 and fully coupled."""
    if not 0 < margin < 1:
        raise ValueError(f"margin: {margin} given, allowed: between 0 and 1")
    matrix = torch.tensor([[1 + margin, 0, 0], [0, 1, 1], [0, 1, 1]], dtype=torch.float64)
    return _dominant(formula, Partitioned(matrix[None], (1, 1, 1)))


@dominant.figure
def gains_of_an_uncoupled_output(formula):
    """The largest eigenvalue, the end of the dominant disk, and the largest end, against the gain of one output."""
    gains = [1.02, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    found = [uncoupled(gain, 0.01) for gain in gains]
    ends = [evaluate(formula, one.rows)[0] for one in found]
    first = [int(one.rows[CENTRE][0].argmax()) for one in found]
    series = (
        Series("dominant block", gains, [float(end[i]) for end, i in zip(ends, first, strict=True)]),
        Series("all blocks", gains, [float(end.max()) for end in ends], "bound"),
        Series("network", gains, [float(one.spectrum[0, 0]) for one in found], "simulation"),
    )
    panel = Panel("tanh network of three layers", "gain of the uncoupled output", "eigenvalue", series)
    return Figure(
        "The disk of the dominant block misses the largest eigenvalue; the maximum over rows does not.", (panel,)
    )


total = Claim(
    "gershgorin.sum-of-blocks",
    source="beyond B",
    says="The largest eigenvalue of a Fisher matrix is at most the sum of the largest ones of its diagonal blocks.",
    formula=block_bounds.share,
    lhs=r"\lambda_{\max}(G)",
    relation=r"\le \sum_{i=1}^{L}",
    given=(POSITIVE,),
    near_misses={"two thirds of each": lambda: 2 * CENTRE / 3, "mean instead of sum": lambda: CENTRE / BLOCKS},
    falsifiers={"norms of the factors": lambda: sqrt(CENTRE)},
    remark=(
        "It needs no off-diagonal block. Neither this bound nor Gershgorin's implies the other: coupled numbers 4 and "
        "1 have the sum 5 and the disk ends at 4 plus their coupling, which may be anything up to 2. With one "
        "input and one output the sum is the eigenvalue itself."
    ),
)


@total.proof(generic_in="number and sizes of the blocks")
def gram_matrix_and_cauchy_schwarz(formula):
    """A positive matrix is a Gram matrix; norms of its parts and the Cauchy-Schwarz inequality."""
    return block_bounds.is_share(formula)


def _sum(formula, subject: Partitioned) -> np.ndarray:
    return evaluate(formula, {**subject.rows, BLOCKS: len(subject.sizes)}).sum(-1)


@total.check(
    grid(width=[4], depth=[1, 4], qstar=[1 / 64, 0.5], samples=[1, 6], seed=[0])
    + grid(width=[4], depth=[3], qstar=[8.0], samples=[6], seed=[1])
)
def critical_networks(formula, width, depth, qstar, samples, seed):
    """Fisher matrices of critical orthogonal networks in the blocks of their layers."""
    drawn = critical_sample(qstar, width, depth, outputs=2, samples=samples, seed=seed)
    subject = cut_fisher(drawn.net, drawn.x)
    return at_most(subject.spectrum[..., 0], _sum(formula, subject), bound=subject.rounding).on(subject)


@total.check(grid(depth=[1, 3], widths=["widening", "narrowing"], activation=["tanh", "relu"], seed=[0]))
def one_output_and_input(formula, depth, widths, activation, seed):
    """With one output and one input the Fisher matrix has rank one, and the sum is reached."""
    subject = fisher(depth, widths, activation, "identity", seed, samples=1, outputs=1)
    return agree(subject.spectrum[..., 0], _sum(formula, subject), bound=subject.rounding).on(subject)


@total.check(grid(kind=["positive"], cut=CUTS, seed=[4]), network=False)
def random_positive_matrices(formula, kind, cut, seed):
    """Random positive matrices of low rank."""
    subject = random(kind, cut, seed)
    found = at_most(subject.spectrum[..., 0], _sum(formula, subject), bound=subject.rounding)
    return found.on(subject).noting(f"{RANDOM} matrices")


@total.without(POSITIVE, grid(cut=[(1, 1), (2, 2)]), network=False)
def not_positive(formula, cut):
    """Zero diagonal blocks with a coupling: the sum is zero, the largest eigenvalue is not."""
    if len(cut) != 2 or cut[0] != cut[1]:
        raise ValueError(f"cut: {cut} given, allowed: two equal sizes")
    flip = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    subject = Partitioned(torch.kron(flip, torch.eye(cut[0], dtype=torch.float64))[None], cut)
    return at_most(subject.spectrum[..., 0], _sum(formula, subject), bound=subject.rounding).on(subject)
