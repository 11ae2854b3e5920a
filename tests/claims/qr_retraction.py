"""The QR step: its triangular factor, and the sign convention without which it is no retraction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from derivations import words
from derivations.information import retractions
from derivations.information.retractions import SQUARE
from numerics import manifolds
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both
from tests.claims.manifold_layers import ORTHONORMAL, Layer, Subject, on_manifold, vector_rounding
from tests.claims.retractions import STEPS
from tests.claims.stiefel import letters


@dataclass(frozen=True, slots=True, eq=False)
class Factored:
    """Triangular factors (p, p) of the steps of a network's layers, with the network."""

    subject: Subject
    steps: tuple[tuple[Layer, Tensor], ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network."""
        return self.subject.layers


def _positive(found: Factored) -> bool:
    return all(bool((triangular.diagonal() > 0).all()) for _, triangular in found.steps)


POSITIVE = Assumption(
    "positive diagonal", "the triangular factor of the decomposition has a positive diagonal", _positive
)


@lru_cache(maxsize=64)
def factored(depth: int, widths, seed: int, raw: bool) -> Factored:
    """Triangular factors Q^T (W + xi), of the positive convention or as the library returns Q."""
    subject = on_manifold("stiefel", depth, widths, seed)
    steps = []
    for layer in subject.layers:
        moved = layer.w + layer.velocity
        q = torch.linalg.qr(moved).Q if raw else manifolds.qr_retraction(layer.w, layer.velocity)
        steps.append((layer, q.mT @ moved))
    return Factored(subject, tuple(steps))


def factors_agree(formula, depth: int, widths, seed: int, raw: bool):
    """The triangular factors of a network's steps against the Cholesky factor of a formula."""
    factors, found = factored(depth, widths, seed, raw), []
    for layer, triangular in factors.steps:
        predicted = np.linalg.cholesky(words.evaluate(formula, letters(layer))).T
        found.append(agree(triangular, predicted, bound=vector_rounding(layer, float(triangular.abs().max()))))
    return both(*found).on(factors)


qr_step = Claim(
    "stiefel.qr-retraction",
    source="B eq. 45",
    says="The QR step divides the moved weights by a triangular factor that is the identity to first order.",
    formula=retractions.triangular_square,
    lhs="R",
    relation=r"\text{is the upper Cholesky factor of}",
    given=(ORTHONORMAL,),
    conditions=(POSITIVE,),
    near_misses={"half the square": lambda: retractions.ONE + SQUARE / 2},
    falsifiers={
        "orthonormal already": lambda: retractions.ONE + 0 * SQUARE,
        "inverse of the factor": lambda: retractions.ONE - SQUARE,
    },
    remark=(
        "With a positive diagonal, $`R = 1 + O(h^2)`$ for a step $`h \\xi`$: the curve starts at $`W`$ with velocity "
        "$`\\xi`$, whatever the metric. The Q factor as libraries return it flips signs of columns, so that even a "
        "zero step moves the weights."
    ),
)


@qr_step.proof(generic_in="sizes n >= p, step")
def gram_matrix_of_the_step(formula):
    """The Gram matrix of the moved weights, on tangent vectors; it has one triangular root of positive diagonal."""
    return retractions.is_triangular_square(formula)


@qr_step.check(STEPS)
def triangular_factor(formula, depth, widths, seed):
    """The triangular factor of a step in a network's layers."""
    return factors_agree(formula, depth, widths, seed, raw=False)


@qr_step.without(POSITIVE, grid(depth=[2], widths=["square", "widening"], seed=range(3)))
def factor_of_the_library(formula, depth, widths, seed):
    """The triangular factor that belongs to the Q factor as the linear algebra library returns it."""
    return factors_agree(formula, depth, widths, seed, raw=True)
