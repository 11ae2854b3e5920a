"""Orthonormal columns: metric, gradient, rates along curves and descent of appendix B.3."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.func import jvp

from derivations import words
from derivations.information import stiefel
from derivations.information.stiefel import GRADIENT, OTHER, POINT, TANGENT, projected
from numerics import manifolds
from tests.checker.bounds import rounding
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.claims.manifold_layers import ORTHONORMAL, Layer, chain, derivative, on_manifold, vector_rounding
from tests.claims.settings import array

NETS = grid(depth=[1, 2, 3], widths=["square", "widening", "narrowing"], seed=range(2)) + grid(
    depth=[2], widths=["waist", (1, 3, 3)], seed=[0]
)
FEW = grid(depth=[1, 2], widths=["square", "widening", "narrowing"], seed=[0]) + grid(
    depth=[2], widths=[(1, 3, 3)], seed=[0]
)
RETRACTIONS = {
    "qr": manifolds.qr_retraction,
    "polar": manifolds.polar_retraction,
    "cayley": manifolds.cayley_retraction,
    "geodesic": manifolds.stiefel_exponential,
}


def letters(layer: Layer, **more: torch.Tensor) -> dict:
    """Values of the letters of one layer."""
    found = {POINT: layer.w, GRADIENT: layer.gradient, TANGENT: layer.velocity, OTHER: layer.other}
    return {letter: array(value) for letter, value in found.items()} | {k: array(v) for k, v in more.items()}


metric = Claim(
    "stiefel.embedding-metric",
    source="B app. B.3",
    says="The metric inherited from the space of matrices pairs two weight changes by a trace.",
    formula=lambda: stiefel.inner(POINT, OTHER),
    lhs=r"\langle W, V \rangle",
    near_misses={
        "half the trace": lambda: stiefel.inner(POINT, OTHER) / 2,
        "twice the trace": lambda: 2 * stiefel.inner(POINT, OTHER),
    },
    falsifiers={"length of one of the two": lambda: words.trace(POINT.T * POINT)},
    remark=(
        "It is the sum of products of entries. With it the gradient of the loss is the matrix of partial derivatives, "
        "as automatic differentiation returns it."
    ),
)


@metric.proof(generic_in="sizes")
def polarisation(formula):
    """The bilinear form that belongs to the sum of squared entries."""
    return stiefel.is_polar_form(formula)


@metric.check(NETS)
def rate_of_the_loss(formula, depth, widths, seed):
    """The rate of a network's loss along a matrix, against its pairing with the gradient."""
    subject = on_manifold("stiefel", depth, widths, seed)
    points = tuple(one.w for one in subject.layers)
    found = []
    for k, layer in enumerate(subject.layers):
        observed = jvp(lambda w, k=k: subject.loss((*points[:k], w, *points[k + 1 :])), (layer.w,), (layer.other,))[1]
        predicted = words.evaluate(formula, {POINT: array(layer.gradient), OTHER: array(layer.other)})
        scale = float(layer.gradient.norm() * layer.other.norm())
        found.append(agree(observed, predicted, bound=rounding(scale, _network(subject)), scale=scale))
    return both(*found).on(subject)


def _network(subject) -> int:
    """Roundings along a chain through all layers of a network and back."""
    return sum(chain(layer) for layer in subject.layers)


rates = Claim(
    "stiefel.directional-derivative",
    source="B eq. 39",
    says="Along every curve on the manifold the loss changes at a rate that only the curve's velocity decides.",
    formula=stiefel.directional,
    lhs=r"\frac{d}{dt} f(\gamma(t))",
    given=(ORTHONORMAL,),
    uses=("stiefel.embedding-metric",),
    near_misses={
        "half the rate": lambda: stiefel.directional() / 2,
        "tangent part without the half": lambda: words.trace(
            (GRADIENT - POINT * (POINT.T * GRADIENT) + POINT * (POINT.T * GRADIENT - GRADIENT.T * POINT)).T * TANGENT
        ),
    },
    falsifiers={"rate along the weights": lambda: words.trace(projected(GRADIENT).T * POINT)},
    remark=(
        "Geodesic, QR, polar and Cayley curves of one velocity give one rate: a tangent vector is what such curves "
        "share. The formula pairs the velocity with the projected gradient, whose normal part does not matter."
    ),
)


@rates.proof(generic_in="sizes, loss, curve")
def chain_rule(formula):
    """The chain rule on tangent vectors."""
    return stiefel.is_rate_along_curves(formula)


@lru_cache(maxsize=256)
def loss_rate(depth: int, widths, seed: int, curve: str, back: bool = False) -> torch.Tensor:
    """The derivative of a network's loss along curves in all layers at once: of ``velocity``, or of -slope if back."""
    subject = on_manifold("stiefel", depth, widths, seed)
    ways = [-one.slope if back else one.velocity for one in subject.layers]

    def moved(h: torch.Tensor) -> torch.Tensor:
        pairs = zip(subject.layers, ways, strict=True)
        return subject.loss(tuple(RETRACTIONS[curve](one.w, h * way) for one, way in pairs))

    return derivative(moved)


@rates.check([{**case, "curve": curve} for case in FEW for curve in RETRACTIONS])
def rate_along_curves(formula, depth, widths, seed, curve):
    """The loss of a network along curves of one velocity, differentiated through the curve."""
    subject = on_manifold("stiefel", depth, widths, seed)
    observed = loss_rate(depth, widths, seed, curve)
    predicted = sum(words.evaluate(formula, letters(layer)) for layer in subject.layers)
    scale = sum(float(one.gradient.norm() * one.velocity.norm()) for one in subject.layers)
    return agree(observed, predicted, bound=rounding(scale, _network(subject)), scale=scale).on(subject)


gradient = Claim(
    "stiefel.gradient",
    source="B eq. 44",
    says="On orthonormal columns the gradient is the Euclidean one without the part that would stretch the columns.",
    formula=lambda: projected(GRADIENT),
    lhs=r"\mathrm{grad} f",
    given=(ORTHONORMAL,),
    near_misses={
        "plus instead of minus": lambda: (
            GRADIENT - POINT * (POINT.T * GRADIENT) + POINT * (POINT.T * GRADIENT + GRADIENT.T * POINT) / 2
        ),
        "without the half": lambda: (
            GRADIENT - POINT * (POINT.T * GRADIENT) + POINT * (POINT.T * GRADIENT - GRADIENT.T * POINT)
        ),
        "gradient of the canonical metric": lambda: GRADIENT - POINT * (GRADIENT.T * POINT),
    },
    falsifiers={"rotations of the columns left out": lambda: GRADIENT - POINT * (POINT.T * GRADIENT)},
    remark=(
        "The last product must be $`\\nabla f^T W`$. As the equation can be read, without that transpose, its sizes "
        "fit square matrices only, and even there the result is not tangent."
    ),
)


@gradient.proof(generic_in="sizes n >= p, loss")
def tangent_part(formula):
    """Tangent, and the rest has no tangent part."""
    return stiefel.is_projection(formula)


@gradient.check(NETS)
def projected_by_the_constraint(formula, depth, widths, seed):
    """The gradient of a network's loss, projected on the kernel of the constraint's Jacobian."""
    subject = on_manifold("stiefel", depth, widths, seed)
    found = []
    for layer in subject.layers:
        scale = float(layer.gradient.abs().max())
        predicted = words.evaluate(formula, letters(layer))
        found.append(agree(layer.slope, predicted, bound=vector_rounding(layer, scale), scale=scale))
    return both(*found).on(subject)


descent = Claim(
    "stiefel.descent",
    source="B eq. 40",
    says="A small step against the gradient lowers the loss at the rate of its squared length, by any retraction.",
    formula=stiefel.descent,
    lhs=r"\left. \frac{d f}{d \eta} \right\rvert_{\eta = 0}",
    given=(ORTHONORMAL,),
    uses=("stiefel.gradient", "stiefel.directional-derivative"),
    near_misses={
        "half the rate": lambda: stiefel.descent() / 2,
        "pairing with the gradient of the canonical metric": lambda: (
            -words.trace((GRADIENT - POINT * (GRADIENT.T * POINT)).T * (GRADIENT - POINT * (GRADIENT.T * POINT)))
        ),
    },
    falsifiers={"squared Euclidean gradient": lambda: -words.trace(GRADIENT.T * GRADIENT)},
    remark="Exponential map and retractions agree to first order, which is all that the decrease depends on.",
)


@descent.proof(generic_in="sizes n >= p, loss, retraction")
def rate_of_descent(formula):
    """The chain rule in the direction of the step."""
    return stiefel.is_descent(formula)


@descent.check([{**case, "curve": curve} for case in FEW for curve in RETRACTIONS])
def loss_after_small_steps(formula, depth, widths, seed, curve):
    """The loss of a network after a step in all layers at once, differentiated in the step size."""
    subject = on_manifold("stiefel", depth, widths, seed)
    observed = loss_rate(depth, widths, seed, curve, back=True)
    predicted = sum(words.evaluate(formula, letters(layer)) for layer in subject.layers)
    scale = sum(float(one.gradient.norm() * one.slope.norm()) for one in subject.layers)
    return agree(observed, predicted, bound=rounding(scale, _network(subject)), scale=scale).on(subject)
