"""Unit columns: the gradient, the exponential and the parallel transport of appendix B.3.1."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from sympy import cos, sin

from derivations import words
from derivations.information import oblique
from derivations.information.oblique import CARRIED, GRADIENT, LENGTH, POINT, VELOCITY
from numerics import manifolds
from tests.checker.bounds import integration, rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.manifold_layers import (
    SHARES,
    UNIT_COLUMNS,
    Layer,
    chain,
    derivative,
    on_manifold,
    path,
    vector_rounding,
)
from tests.claims.settings import array

NETS = grid(depth=[1, 2, 3], widths=["square", "widening", "narrowing"], seed=range(2)) + grid(
    depth=[2], widths=[(3, 2, 4), (2, 5, 2)], seed=[0]
)
PATHS = grid(depth=[2], widths=["wide"], seed=[0]) + grid(depth=[1], widths=[(2, 6)], seed=[0])


def columns(matrix: torch.Tensor) -> np.ndarray:
    """The columns of a matrix (*S, n, p) as a batch (*S, p, n, 1)."""
    return array(matrix.mT[..., None])


def matrix(batch: np.ndarray) -> np.ndarray:
    """The matrix of a batch of columns."""
    return np.swapaxes(batch[..., 0], -1, -2)


def letters(layer: Layer, shares: float | tuple[float, ...] = 1.0) -> dict:
    """Values of the letters for every column of a layer, the step times one or several shares."""
    step = torch.as_tensor(shares, dtype=torch.float64)[..., None, None] * layer.velocity
    found = {POINT: layer.w, GRADIENT: layer.gradient, VELOCITY: step, CARRIED: layer.other}
    return {**{letter: columns(value) for letter, value in found.items()}, LENGTH: array(step.norm(dim=-2))}


gradient = Claim(
    "oblique.gradient",
    source="B eq. 41",
    says="On unit columns the gradient is the Euclidean one minus, column by column, its part along the weights.",
    formula=oblique.gradient,
    lhs=r"\mathrm{grad} f",
    given=(UNIT_COLUMNS,),
    near_misses={
        "half of the part along the weights": lambda: GRADIENT - POINT * (POINT.T * GRADIENT) / 2,
        "the part along the weights added": lambda: GRADIENT + POINT * (POINT.T * GRADIENT),
    },
    falsifiers={"the Euclidean gradient": lambda: words.expression(GRADIENT)},
    remark=(
        "The manifold is a product of spheres, so the whole weight matrix is treated column by column. Unit columns "
        "are far from orthonormal ones in general: a matrix with all columns equal is on the manifold and has rank one."
    ),
)


@gradient.proof(generic_in="dimension of the columns, loss")
def tangent_part(formula):
    """The formula is tangent and what it takes away is normal."""
    return oblique.is_tangent_part(formula)


@gradient.check(NETS)
def projected_by_the_constraint(formula, depth, widths, seed):
    """The gradient of a network's loss, projected on the kernel of the constraint's Jacobian for the whole matrix."""
    subject = on_manifold("oblique", depth, widths, seed)
    found = []
    for layer in subject.layers:
        predicted = matrix(words.evaluate(formula, letters(layer)))
        scale = float(layer.gradient.abs().max())
        found.append(agree(layer.slope, predicted, bound=vector_rounding(layer, scale), scale=scale))
    return both(*found).on(subject)


def along_circle(formula, depth: int, widths, seed: int, what: str):
    """A formula at several shares of the step against the curve that the constraint alone determines."""
    subject, curve = on_manifold("oblique", depth, widths, seed), path("oblique", depth, widths, seed)
    layer, observed = subject.layers[-1], (curve.points if what == "points" else curve.carried[:, 0])[1:]
    predicted = matrix(words.evaluate(formula, letters(layer, SHARES[1:])))
    bound = integration(curve.error) + vector_rounding(layer, float(observed.abs().max()))
    return agree(observed, predicted, bound=bound).on(subject)


exponential = Claim(
    "oblique.exponential",
    source="B eq. 42, corrected",
    says="A step on unit columns ends on a great circle: the cosine goes with the weights, the sine with the step.",
    formula=oblique.exponential,
    lhs=r"\mathrm{Exp}_w(\zeta)",
    given=(UNIT_COLUMNS,),
    near_misses={
        "step not normalised": lambda: POINT * cos(LENGTH) + VELOCITY * sin(LENGTH),
        "weights and step exchanged": lambda: VELOCITY * cos(LENGTH) + POINT * (sin(LENGTH) / LENGTH),
    },
    falsifiers={"straight line": lambda: POINT + VELOCITY},
    remark=(
        "$`r`$ is the length of the step: a column turns by it in radians, whatever the dimension. At zero step it "
        "stays where it is, which the printed formula misses."
    ),
)


@exponential.proof(generic_in="dimension of the columns, length of the step")
def geodesic_equation(formula):
    """Start, velocity, normal acceleration and unit length of the curve."""
    return oblique.great_circle(formula)


@exponential.check(PATHS)
def curve_from_the_constraint(formula, depth, widths, seed):
    """The geodesic of a network's layer, integrated from the constraint of the whole matrix."""
    return along_circle(formula, depth, widths, seed, "points")


printed = Claim(
    "oblique.exponential-as-printed",
    source="B eq. 42",
    says="The exponential of a unit column is the step times a cosine plus the column times a sine, of its own length.",
    formula=oblique.exponential_as_printed,
    control=oblique.exponential,
    corrected_by=("oblique.exponential",),
    lhs=r"\mathrm{Exp}_w(\zeta)",
    given=(UNIT_COLUMNS,),
    near_misses={
        "norms of the step, roles exchanged": lambda: VELOCITY * cos(LENGTH) + POINT * (sin(LENGTH) / LENGTH),
        "norms of the weights, roles right": lambda: POINT * cos(1) + VELOCITY * sin(1),
    },
    remark=(
        "At zero step the printed formula gives $`w \\sin 1`$ instead of $`w`$. If the norms are read as those of the "
        "step, which a scan cannot tell, the first term still carries the wrong vector: that reading is among the "
        "wrong formulas here."
    ),
)


@printed.proof(generic_in="dimension of the columns, length of the step")
def geodesic_equation_fails(formula):
    """The printed curve starts at another point."""
    return oblique.great_circle(formula)


@printed.check(PATHS)
def curve_misses(formula, depth, widths, seed):
    """The geodesic of a network's layer, integrated from the constraint of the whole matrix."""
    return along_circle(formula, depth, widths, seed, "points")


descent = Claim(
    "oblique.descent",
    source="B eq. 40",
    says="A small step against the gradient on unit columns lowers the loss by the squared gradients of all columns.",
    formula=oblique.descent,
    lhs=r"\left. \frac{d f}{d \eta} \right\rvert_{\eta = 0}",
    given=(UNIT_COLUMNS,),
    uses=("oblique.gradient",),
    near_misses={"half the rate": lambda: oblique.descent() / 2},
    falsifiers={"squared Euclidean gradient": lambda: -words.trace(GRADIENT.T * GRADIENT)},
    remark=(
        "Shown for one column; the columns add up because the manifold is a product of spheres. Great circles and "
        "columns that are divided by their length after a straight step start with the same velocity."
    ),
)
STEPS = {
    "great circle": manifolds.oblique_exponential,
    "divided by length": lambda w, step: (w + step) / (w + step).square().sum(0).sqrt(),
}


@descent.proof(generic_in="dimension of the columns, loss")
def rate_of_descent(formula):
    """The chain rule in the direction of the step."""
    return oblique.is_descent(formula)


@lru_cache(maxsize=64)
def loss_rate(depth: int, widths, seed: int, curve: str) -> torch.Tensor:
    """The derivative of a network's loss, when all layers step against their gradients at once."""
    subject = on_manifold("oblique", depth, widths, seed)
    return derivative(lambda h: subject.loss(tuple(STEPS[curve](one.w, -h * one.slope) for one in subject.layers)))


@descent.check(grid(depth=[1, 2], widths=["square", "widening", "narrowing", "wide"], seed=[0], curve=list(STEPS)))
def loss_after_small_steps(formula, depth, widths, seed, curve):
    """The loss of a network after a step in all columns at once, differentiated in the step size."""
    subject = on_manifold("oblique", depth, widths, seed)
    observed = loss_rate(depth, widths, seed, curve)
    predicted = sum(words.evaluate(formula, letters(layer)).sum() for layer in subject.layers)
    scale = sum(float(one.gradient.norm() * one.slope.norm()) for one in subject.layers)
    bound = rounding(scale, sum(chain(one) for one in subject.layers))
    return agree(observed, predicted, bound=bound, scale=scale).on(subject)


transport = Claim(
    "oblique.transport",
    source="B eq. 43",
    says="Momentum moved by the formula stays tangent, keeps its length, and is parallel along the great circle.",
    formula=oblique.transport,
    lhs=r"T_\zeta(\xi)",
    given=(UNIT_COLUMNS,),
    uses=("oblique.exponential",),
    near_misses={
        "one plus cosine": lambda: CARRIED - _along((1 + cos(LENGTH)) / LENGTH, sin(LENGTH)),
        "sign of the sine": lambda: CARRIED - _along((1 - cos(LENGTH)) / LENGTH, -sin(LENGTH)),
        "sign of the cosine term": lambda: CARRIED - _along((cos(LENGTH) - 1) / LENGTH, sin(LENGTH)),
    },
    falsifiers={"projection at the end of the step": lambda: _projection()},
    remark=(
        "$`\\zeta`$ is the step, $`r`$ its length, $`\\xi`$ the momentum. Only the part of the momentum along the step "
        "turns, with the step. Libraries that call a single projection at the end of the step transport shorten that "
        "part by the cosine of the angle; many small projections converge to this formula."
    ),
)


def _along(with_step, with_point):
    return (VELOCITY * with_step + POINT * with_point) * (VELOCITY.T * CARRIED / LENGTH)


def _projection():
    end = oblique.exponential()
    return CARRIED - end * (end.T * CARRIED)


@transport.proof(generic_in="dimension of the columns, length of the step, momentum")
def parallel_equation(formula):
    """The carried vector starts right and changes along the normal only."""
    return oblique.parallel(formula)


@transport.check(PATHS)
def carried_along(formula, depth, widths, seed):
    """A tangent vector carried along the geodesic of a network's layer by the definition of parallel."""
    return along_circle(formula, depth, widths, seed, "carried")


@transport.figure
def against_projection(formula):
    """Length of a carried vector along the step, and the shortened one of a single projection."""
    layer, curve = on_manifold("oblique", 2, "wide", 0).layers[-1], path("oblique", 2, "wide", 0)
    start, shares = float(layer.other.norm()), np.linspace(0.1, 3, 30)
    at_shares = letters(layer, tuple(shares))
    kept, cut = (_sizes(words.evaluate(one, at_shares)) / start for one in (formula, _projection()))
    seen = [float(one[0].norm()) / start for one in curve.carried[1:]]
    off = np.abs(columns(curve.carried[1:, 0]) - words.evaluate(formula, letters(layer, SHARES[1:]))).max((1, 2, 3))
    panel = Panel(
        "Momentum moved along a step",
        "length of the step, in units of the first",
        "length of the momentum, start 1",
        (
            Series("parallel transport", shares, kept),
            Series("carried by the constraint", SHARES[1:], seen, "simulation"),
            Series("one projection", shares, cut, "reference"),
        ),
        residual=Series("difference", SHARES[1:], off, "simulation"),
        residual_bound=curve.error + vector_rounding(layer, 1.0).total,
    )
    return Figure(
        "A tangent vector of a network's layer, moved along a great circle: the formula keeps its length as parallel "
        "transport does, a single projection at the end of the step does not.",
        (panel,),
    )


def _sizes(batch: np.ndarray) -> np.ndarray:
    """The lengths of matrices given by their columns, (S, p, n, 1) to (S,)."""
    return np.sqrt(np.square(batch).sum((1, 2, 3)))
