"""Gershgorin's theorem in blocks, on Fisher matrices of full networks and on random matrices."""

from __future__ import annotations

import numpy as np
import torch

from derivations.compiled import evaluate
from derivations.information import gershgorin
from derivations.information.gershgorin import CENTRE, LARGEST, NUCLEAR, ROW, SMALLEST
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, at_most, both
from tests.checker.evidence import Evidence
from tests.checker.figure import Figure, Panel, Series
from tests.claims.partitions import RANDOM, SELF_ADJOINT, SYMMETRIC, Partitioned, fisher, isometric, random

NETWORKS = grid(
    depth=[1, 3],
    widths=["widening", "narrowing", "wide"],
    activation=["tanh", "relu"],
    likelihood=["softmax"],
    seed=[0],
) + grid(depth=[2], widths=["square", "waist"], activation=["linear", "erf"], likelihood=["identity"], seed=[1])
ISOMETRIC = grid(depth=[1, 2, 4], width=[3], outputs=[1, 2], seed=[0])


def outside(formula, subject: Partitioned) -> np.ndarray:
    """How far each eigenvalue is outside the union of all disks with the formula as radius, (S, P)."""
    radii = evaluate(formula, subject.rows)
    found = [
        np.abs(subject.spectrum[..., :, None] - centres[..., None, :]).min(-1) - radii[..., i, None]
        for i, centres in enumerate(subject.within)
    ]
    return np.min(found, 0)


spectrum = Claim(
    "gershgorin.spectrum",
    source="B eq. 22",
    says="Every eigenvalue of a matrix in blocks lies in a disk around an eigenvalue of a diagonal block; the radius "
    "is the sum of the largest singular values of the other blocks in that row.",
    formula=gershgorin.radius,
    lhs=r"\min_{i,\, k} \left( \lvert \lambda - \lambda_k(A_{ii}) \rvert - r_i \right) \le 0, \quad r_i",
    given=(SELF_ADJOINT,),
    near_misses={
        "largest singular value of the whole row": lambda: ROW,
        "all singular values added": lambda: NUCLEAR,
    },
    falsifiers={
        "smallest singular values": lambda: SMALLEST,
        "largest of the blocks instead of their sum": lambda: LARGEST,
    },
    remark=(
        "Only the diagonal blocks need be symmetric; with a Jordan block on the diagonal the theorem fails. The radius "
        "cannot be improved: the Fisher matrix of an orthogonal linear network on one input of unit length reaches it."
    ),
)


@spectrum.proof(generic_in="number and sizes of the blocks")
def longest_part_of_an_eigenvector(formula):
    """The block row of the longest part, norms on both sides, and a family that reaches the bound."""
    return gershgorin.is_radius(formula)


@spectrum.check(NETWORKS)
def fisher_eigenvalues(formula, depth, widths, activation, likelihood, seed):
    """All eigenvalues of Fisher matrices, cut into the weights and biases of each layer."""
    subject = fisher(depth, widths, activation, likelihood, seed)
    return at_most(outside(formula, subject), 0.0, bound=subject.rounding).on(subject)


@spectrum.check(ISOMETRIC)
def reached_by_isometric_networks(formula, depth, width, outputs, seed):
    """The distance of the largest eigenvalue from the largest one of a block, where every block has norm one."""
    subject = isometric(depth, width, outputs, seed)
    distance = subject.spectrum[..., :1] - subject.rows[CENTRE]
    return agree(distance, evaluate(formula, subject.rows), bound=subject.rounding).on(subject)


@spectrum.check(grid(kind=["plain", "symmetric"], cut=[(2, 3), (1, 1, 2), (2, 3, 1, 2)], seed=[0]), network=False)
def random_matrices(formula, kind, cut, seed):
    """All eigenvalues of random matrices, half of the cases not symmetric as a whole."""
    subject = random(kind, cut, seed)
    found = at_most(outside(formula, subject), 0.0, bound=subject.rounding)
    return found.on(subject).noting(f"{RANDOM} matrices")


@spectrum.without(SELF_ADJOINT, grid(jordan=[10], coupling=[0.1]), network=False)
def jordan_block(formula, jordan, coupling):
    """A nilpotent diagonal block of two numbers next to a zero, weakly coupled."""
    if not 0 < coupling < jordan:
        raise ValueError(f"coupling: {coupling} given, allowed: between 0 and {jordan}")
    matrix = torch.tensor([[0.0, jordan, 0.0], [0.0, 0.0, coupling], [coupling, 0.0, 0.0]], dtype=torch.float64)
    subject = Partitioned(matrix[None], (2, 1))
    return at_most(outside(formula, subject), 0.0, bound=subject.rounding).on(subject)


def _upper(formula, subject: Partitioned) -> Evidence:
    """The largest eigenvalue against the largest end of a disk, and no block above it."""
    top = subject.spectrum[..., 0]
    ends = evaluate(formula, subject.rows).max(-1)
    return both(
        at_most(top, ends, bound=subject.rounding),
        at_most(subject.rows[CENTRE].max(-1), top, bound=subject.rounding),
    ).on(subject)


proposition = Claim(
    "gershgorin.fisher-largest",
    source="B proposition 1",
    says="The largest eigenvalue of the Fisher matrix lies between the largest one of a diagonal block and that "
    "plus the sum of the largest singular values of the other blocks in the row, for some block.",
    formula=gershgorin.upper_end,
    lhs=r"\lambda_{\max}(G) \le \max_i \text{ of}",
    relation="",
    given=(SYMMETRIC,),
    uses=("gershgorin.spectrum",),
    near_misses={
        "largest singular value of the whole row": lambda: CENTRE + ROW,
        "all singular values added": lambda: CENTRE + NUCLEAR,
    },
    falsifiers={
        "smallest singular values": lambda: CENTRE + SMALLEST,
        "largest of the blocks instead of their sum": lambda: CENTRE + LARGEST,
        "diagonal blocks alone": lambda: CENTRE,
    },
    remark=(
        "“The sum of the singular values”, read literally, would add all of them: a weaker bound, which is true too "
        "but reached only where some row has no off-diagonal block of rank above one."
    ),
)


@proposition.proof(generic_in="number and sizes of the blocks")
def disk_and_interlacing(formula):
    """The disks bound from above, a top eigenvector of a block from below, and equal blocks reach the bound."""
    return gershgorin.is_upper_end(formula)


@proposition.check(NETWORKS)
def fisher_matrices(formula, depth, widths, activation, likelihood, seed):
    """Fisher matrices of full networks, cut into the weights and biases of each layer."""
    return _upper(formula, fisher(depth, widths, activation, likelihood, seed))


@proposition.check(ISOMETRIC)
def isometric_networks(formula, depth, width, outputs, seed):
    """Orthogonal linear networks on one input of unit length, where the bound is reached."""
    subject = isometric(depth, width, outputs, seed)
    top = subject.spectrum[..., :1]
    return agree(
        np.broadcast_to(top, subject.rows[CENTRE].shape), evaluate(formula, subject.rows), bound=subject.rounding
    ).on(subject)


@proposition.check(grid(kind=["symmetric", "positive"], cut=[(2, 3), (1, 1, 2), (2, 3, 1, 2)], seed=[1]), network=False)
def random_symmetric_matrices(formula, kind, cut, seed):
    """Random symmetric matrices, definite or not."""
    return _upper(formula, random(kind, cut, seed)).noting(f"{RANDOM} matrices")


@proposition.figure
def depths(formula):
    """Largest eigenvalue and largest end of a disk against depth, for isometric and for generic networks."""
    counts = [1, 2, 3, 4, 6]
    panels = []
    for title, build in (
        ("orthogonal, linear, one input", lambda d: isometric(d, 3, 2, 0)),
        ("Gaussian, tanh, three inputs", lambda d: fisher(d, (4,) * (d + 1), "tanh", "identity", 5)),
    ):
        found = [build(depth) for depth in counts]
        top = [float(one.spectrum[0, 0]) for one in found]
        ends = [float(evaluate(formula, one.rows).max()) for one in found]
        block = [float(one.rows[CENTRE].max()) for one in found]
        series = (
            Series("end of the disks", counts, ends),
            Series("largest eigenvalue", counts, top, "simulation"),
            Series("largest diagonal block", counts, block, "reference"),
        )
        panels.append(Panel(title, "hidden layers", "eigenvalue", series))
    return Figure("Gershgorin's bound, one block for the weights and one for the biases of each layer.", tuple(panels))


largest = Claim(
    "gershgorin.largest-eigenvalue",
    source="B eq. 23",
    says="The largest eigenvalue lies in the union of the disks around the largest eigenvalues of the diagonal blocks.",
    formula=gershgorin.radius,
    lhs=r"\min_i \left( \lvert \lambda_{\max} - \lambda_{\max}(A_{ii}) \rvert - r_i \right) \le 0, \quad r_i",
    given=(SELF_ADJOINT,),
    conditions=(SYMMETRIC,),
    uses=("gershgorin.spectrum",),
    near_misses={"largest singular value of the whole row": lambda: ROW},
    falsifiers={"largest of the blocks instead of their sum": lambda: LARGEST, "smallest ones": lambda: SMALLEST},
    remark=(
        "The appendix asks only for symmetric diagonal blocks. Without symmetry of the whole, the eigenvalue of "
        "largest real part can stay in the disk around another eigenvalue of a block and leave these ones."
    ),
)


@largest.proof(generic_in="number and sizes of the blocks")
def symmetric_matrices(formula):
    """Disks from above, interlacing from below."""
    return gershgorin.is_upper_end(CENTRE + formula)


def _top_outside(formula, subject: Partitioned) -> Evidence:
    gaps = np.abs(subject.spectrum[..., :1] - subject.rows[CENTRE]) - evaluate(formula, subject.rows)
    return at_most(gaps.min(-1), 0.0, bound=subject.rounding).on(subject)


@largest.check(NETWORKS)
def top_of_fisher_matrices(formula, depth, widths, activation, likelihood, seed):
    """The largest eigenvalue of Fisher matrices of full networks."""
    return _top_outside(formula, fisher(depth, widths, activation, likelihood, seed))


@largest.check(ISOMETRIC)
def top_of_isometric_networks(formula, depth, width, outputs, seed):
    """Where every block has norm one, the distance is the radius itself."""
    subject = isometric(depth, width, outputs, seed)
    distance = subject.spectrum[..., :1] - subject.rows[CENTRE]
    return agree(distance, evaluate(formula, subject.rows), bound=subject.rounding).on(subject)


@largest.without(SYMMETRIC, grid(scale=[1.0, 3.0]), network=False)
def not_symmetric(formula, scale):
    """Two diagonal blocks with eigenvalues 4, 0 and 0, -5, coupled so that the largest real part belongs to 0 and 0."""
    a = [[4, 0, 0, 6], [0, 0, -6, 0], [0, 4, 0, 0], [-4, 0, 0, -5]]
    return _top_outside(formula, Partitioned(scale * torch.tensor(a, dtype=torch.float64)[None], (2, 2)))
