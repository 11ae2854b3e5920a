"""Riemannian Adam: dividing by elementwise moments leaves the tangent space, and what that does to the step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from sympy import Integer, Rational, sin
from torch import Tensor

from derivations import words
from derivations.compiled import evaluate
from derivations.information import oblique, retractions
from derivations.information.oblique import COSINE, LENGTH
from derivations.information.stiefel import POINT, TANGENT, UPPER
from numerics import manifolds
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.manifold_layers import ORTHONORMAL, TINY, Layer, derivative, on_manifold, vector_rounding
from tests.claims.settings import array

RATE, DECAY = 0.3, 0.9
NETS = grid(depth=[1, 2, 3], widths=["square", "widening", "narrowing"], seed=range(2))


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """The layers of a network with the directions in which Adam would move them."""

    layers: tuple[Layer, ...]
    directions: tuple[Tensor, ...]


def _tangent(found: Moved) -> bool:
    pairs = zip(found.layers, found.directions, strict=True)
    return all(float((one.w * u).sum(0).abs().max()) < TINY for one, u in pairs)


def _unit(found: Moved) -> bool:
    return all(float(((one.w * one.w).sum(0) - 1).abs().max()) < TINY for one in found.layers)


TANGENT_STEP = Assumption(
    "projected after dividing",
    "the direction is projected on the tangent space after the division by moments",
    _tangent,
)
UNIT_POINTS = Assumption("unit columns", "the columns of every hidden weight matrix have length one", _unit)


PROJECTIONS = {"stiefel": manifolds.stiefel_tangent, "oblique": manifolds.oblique_tangent}


def adam_direction(layer: Layer, manifold: str) -> Tensor:
    """-rate m / sqrt(v): elementwise moments of the projected gradients of two halves of the data."""
    first, second = (PROJECTIONS[manifold](layer.w, z) for z in layer.halves)
    mean = DECAY * first + (1 - DECAY) * second
    square = DECAY * first.square() + (1 - DECAY) * second.square()
    return -RATE * mean / square.sqrt()


@lru_cache(maxsize=64)
def moved(manifold: str, depth: int, widths, seed: int, projected: bool) -> Moved:
    """Directions of Adam for a network's layers, projected after the division or not."""
    subject = on_manifold(manifold, depth, widths, seed)
    found = [adam_direction(layer, manifold) for layer in subject.layers]
    if projected:
        found = [PROJECTIONS[manifold](one.w, u) for one, u in zip(subject.layers, found, strict=True)]
    return Moved(subject.layers, tuple(found))


def squared_lengths(w: Tensor, u: Tensor) -> np.ndarray:
    """Squared lengths of the columns after the exponential of a direction."""
    return array(manifolds.oblique_exponential(w, u).square().sum(0))


def columns_agree(formula, depth: int, widths, seed: int, projected: bool):
    """Squared lengths of a network's columns after one step, against a formula in r and c."""
    subject, found = moved("oblique", depth, widths, seed, projected), []
    for layer, u in zip(subject.layers, subject.directions, strict=True):
        r = array(u.norm(dim=0))
        cosine = array((layer.w * u).sum(0)) / r
        predicted = evaluate(formula, {LENGTH: r, COSINE: cosine})
        bound = vector_rounding(layer, 2.0)
        found.append(agree(squared_lengths(layer.w, u), np.broadcast_to(predicted, r.shape), bound=bound))
    return both(*found).on(subject)


length = Claim(
    "oblique.adam-norm",
    source="beyond B",
    says="The exponential of a direction that is not tangent changes the length of a column by its part along it.",
    formula=oblique.length_after_step,
    lhs=r"\lVert \mathrm{Exp}_w(u) \rVert^2",
    given=(UNIT_POINTS,),
    uses=("oblique.exponential",),
    near_misses={
        "single angle": lambda: 1 + COSINE * sin(LENGTH),
        "twice the part": lambda: 1 + 2 * COSINE * sin(2 * LENGTH),
    },
    falsifiers={"length kept": lambda: Integer(1)},
    remark=(
        "$`r`$ is the length of the direction and $`c`$ its cosine with the weights. Elementwise division by the root "
        "of the second moments makes $`c`$ different from zero, although mean and moments come from tangent vectors."
    ),
)


@length.proof(generic_in="dimension of the columns, direction")
def square_of_the_end(formula):
    """The squared length of the point that the step reaches."""
    return oblique.is_length_after_step(formula)


@length.check(NETS)
def columns_after_a_step(formula, depth, widths, seed):
    """Lengths of the columns of a network's layers after one step of Adam's direction as it comes."""
    return columns_agree(formula, depth, widths, seed, projected=False)


stays = Claim(
    "oblique.adam-stays",
    source="B app. B.3.1",
    says="A step of Riemannian Adam keeps the columns at unit length.",
    formula=lambda: oblique.length_after_step().subs(COSINE, 0),
    lhs=r"\lVert \mathrm{Exp}_w(u) \rVert^2",
    given=(UNIT_POINTS,),
    conditions=(TANGENT_STEP,),
    uses=("oblique.adam-norm",),
    near_misses={"longer by a part in a thousand": lambda: Rational(1001, 1000)},
    falsifiers={"length of a straight step": lambda: 1 + LENGTH**2},
    remark=(
        "The paper does not say whether the direction is projected after the elementwise division. Without that the "
        "step leaves the manifold; renormalising the columns brings them back, but elsewhere than the exponential."
    ),
)


@stays.proof(generic_in="dimension of the columns, tangent direction")
def end_of_a_tangent_direction(formula):
    """The squared length of the point that a tangent direction reaches."""
    return oblique.is_length_after_step(formula, Integer(0))


@stays.check(NETS)
def columns_after_a_projected_step(formula, depth, widths, seed):
    """Lengths of the columns after a step whose direction was projected after the division."""
    return columns_agree(formula, depth, widths, seed, projected=True)


@stays.without(TANGENT_STEP, grid(depth=[2], widths=["square", "widening"], seed=range(2)))
def columns_after_a_raw_step(formula, depth, widths, seed):
    """Lengths of the columns after a step of the direction as the division leaves it."""
    return columns_agree(formula, depth, widths, seed, projected=False)


turned = Claim(
    "stiefel.adam-turn",
    source="beyond B",
    says="QR turns the normal part of a direction into a rotation of the columns that depends on their order.",
    formula=retractions.turned_by_normal_part,
    lhs=r"\left. \frac{d}{d h} \mathrm{qf}(W + h (\xi + W S)) \right\rvert_{h = 0}",
    given=(ORTHONORMAL,),
    near_misses={
        "turned the other way": lambda: TANGENT + POINT * (UPPER - UPPER.T),
        "normal part ignored": lambda: words.expression(TANGENT),
    },
    falsifiers={"normal part kept": lambda: TANGENT + POINT * (UPPER + UPPER.T)},
    remark=(
        "$`S`$ is the symmetric normal part that Adam's elementwise division leaves, and $`U`$ its upper triangle with "
        "half of the diagonal. Projecting after the division removes it; the polar step ignores it."
    ),
)


@turned.proof(generic_in="sizes n >= p, direction")
def first_order_of_the_factor(formula):
    """The triangular factor to first order takes the symmetric part, unevenly."""
    return retractions.is_turned(formula)


@turned.check(NETS)
def velocity_of_the_step(formula, depth, widths, seed):
    """Velocity of the QR step of Adam's direction in a network's layers, by forward differentiation."""
    subject, found = on_manifold("stiefel", depth, widths, seed), []
    directions = moved("stiefel", depth, widths, seed, False).directions
    for layer, u in zip(subject.layers, directions, strict=True):
        observed = derivative(lambda h, w=layer.w, u=u: manifolds.qr_retraction(w, h * u))
        tangent = manifolds.stiefel_tangent(layer.w, u)
        normal = layer.w.mT @ (u - tangent)
        values = {POINT: layer.w, TANGENT: tangent, UPPER: manifolds.half_upper(normal)}
        predicted = words.evaluate(formula, {letter: array(one) for letter, one in values.items()})
        scale = float(u.norm())
        found.append(agree(observed, predicted, bound=vector_rounding(layer, scale), scale=scale))
    return both(*found).on(subject)


@length.figure
def lengths_by_rate(formula):
    """Squared length of a column after a step of Adam's direction, against the length of the step."""
    subject = moved("oblique", 2, "square", 0, False)
    layer, u = subject.layers[-1], subject.directions[-1]
    j = int((layer.w * u).sum(0).abs().argmax())
    unit, cosine = u / u.norm(dim=0), float((layer.w * u)[:, j].sum() / u[:, j].norm())
    fine, dots = np.linspace(0, 3, 61), np.linspace(0, 3, 13)[1:]
    theory = evaluate(formula, {LENGTH: fine, COSINE: np.full(61, cosine)})
    raw = np.array([squared_lengths(layer.w, r * unit)[j] for r in dots])
    tangent = manifolds.oblique_tangent(layer.w, unit)
    fixed = [squared_lengths(layer.w, r * tangent / tangent.norm(dim=0))[j] for r in dots]
    off = raw - evaluate(formula, {LENGTH: dots, COSINE: np.full(12, cosine)})
    panel = Panel(
        "A column after one step of Adam",
        "length of the step",
        "squared length of the column",
        (
            Series("derived", fine, theory),
            Series("as divided", dots, raw, "simulation"),
            Series("projected after dividing", dots, fixed, "simulation"),
            Series("manifold", [0, 3], [1, 1], "reference"),
        ),
        residual=Series("difference", dots, off, "simulation"),
        residual_bound=vector_rounding(layer, 2.0).total,
    )
    return Figure(
        "Squared length of a column of a network's layer after the exponential of Adam's direction, as the elementwise "
        "division leaves it and projected on the tangent space.",
        (panel,),
    )
