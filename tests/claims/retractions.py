"""Retractions to orthonormal columns: how far each step is from the geodesics, and from the nearest point."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from derivations import words
from derivations.decide import all_of
from derivations.information import retractions
from derivations.information.retractions import SQUARE, TURN
from derivations.information.stiefel import POINT, TANGENT, UPPER
from numerics import constraints, manifolds
from tests.checker.bounds import remainder
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.evidence import Bound
from tests.checker.figure import Figure, Panel, Series
from tests.claims.geodesics import METRICS
from tests.claims.manifold_layers import (
    LENGTH,
    ORTHONORMAL,
    SURFACES,
    Coefficients,
    Layer,
    coefficients,
    on_manifold,
    vector_rounding,
)
from tests.claims.settings import array
from tests.claims.stiefel import RETRACTIONS, letters

NETS = grid(depth=[1], widths=["square", "narrowing", (1, 3)], seed=[0]) + grid(depth=[2], widths=[(2, 4, 4)], seed=[0])
STEPS = grid(depth=[1, 2], widths=["square", "widening", "narrowing"], seed=range(2))
FACTORIALS = (1, 2, 6)


def with_upper(layer: Layer) -> dict:
    """The letters of a layer with the upper triangular U, U + U^T = xi^T xi."""
    return letters(layer) | {UPPER: array(manifolds.half_upper(layer.velocity.mT @ layer.velocity))}


@lru_cache(maxsize=256)
def series_of(curve: str, depth: int, widths, seed: int) -> tuple[Coefficients, ...]:
    """The coefficients of h, h^2, h^3 of a step for every layer of a network."""
    layers = on_manifold("stiefel", depth, widths, seed).layers
    retract = RETRACTIONS[curve]
    return tuple(coefficients(lambda h, one=one: retract(one.w, h * one.velocity)) for one in layers)


@lru_cache(maxsize=256)
def geodesics_of(metric: str, depth: int, widths, seed: int) -> tuple[np.ndarray, ...]:
    """The same (3, n, p) of the geodesics, from derivatives of the constraint."""
    layers, surface = on_manifold("stiefel", depth, widths, seed).layers, SURFACES[METRICS[metric]]
    jets = [constraints.jet(surface, one.w, one.velocity) for one in layers]
    return tuple(np.array([array(d) / f for d, f in zip(jet, FACTORIALS, strict=True)]) for jet in jets)


def leads_agree(formula, orders: dict[str, int], curve: str, depth: int, widths, seed: int):
    """Differences of a step from the geodesics: nothing below the order, the formula at the order."""
    subject, found = on_manifold("stiefel", depth, widths, seed), []
    steps = series_of(curve, depth, widths, seed)
    for name, order in orders.items():
        geodesics = geodesics_of(name, depth, widths, seed)
        for layer, step, geodesic in zip(subject.layers, steps, geodesics, strict=True):
            lead = words.evaluate(formula[name], with_upper(layer))
            for k in range(order):
                goal = lead if k + 1 == order else np.zeros_like(lead)
                gap, scale = step.values[k] - geodesic[k], float(layer.velocity.norm()) ** (k + 1)
                found.append(agree(gap, goal, bound=budget(layer, step, k), scale=scale))
    return both(*found).on(subject)


def budget(layer: Layer, step: Coefficients, k: int) -> Bound:
    """Rounding of the points of a step, as interpolation amplifies it, and the terms it neglects."""
    return vector_rounding(layer, 1.0, max(step.amplification[k], 1.0)) + remainder(step.neglected[k])


TWIST = POINT * (UPPER.T - UPPER) / 2
PART = (TANGENT * TURN - POINT * TURN * TURN) / 2
COMMUTATOR = POINT * (TURN * SQUARE - SQUARE * TURN)
QR_ORDERS = {"embedded": 2, "canonical": 2}
POLAR_ORDERS = {"embedded": 3, "canonical": 2}
CAYLEY_ORDERS = {"embedded": 2, "canonical": 3}

qr_order = Claim(
    "stiefel.qr-order",
    source="beyond B",
    says="The QR step leaves the geodesic of either metric at second order.",
    formula=retractions.qr_lead,
    lhs=r"R_W(h \xi) - \gamma(h)",
    relation=r"\simeq",
    given=(ORTHONORMAL,),
    uses=("stiefel.geodesic-equation",),
    near_misses={"twist the other way": lambda: {"embedded": -TWIST, "canonical": -TWIST - PART}},
    falsifiers={"on the geodesic": lambda: {"embedded": TWIST * 0, "canonical": -PART}},
    remark=(
        "$`U`$ is the upper triangle of $`\\xi^T \\xi`$ with half of its diagonal; the formula is the coefficient of "
        "$`h^2`$. The twist depends on the order of the columns, and for a single column there is none."
    ),
)


@qr_order.proof(generic_in="sizes n >= p, step")
def series_of_the_triangular_factor(formula):
    """Power series of both curves, term by term."""
    return all_of(retractions.is_qr(), retractions.is_lead(formula, retractions.qr_terms(), QR_ORDERS))


@qr_order.check(NETS)
def derivatives_of_the_qr_step(formula, depth, widths, seed):
    """Derivatives of the QR step of a network's layers, and of geodesics that the constraint determines."""
    return leads_agree(formula, QR_ORDERS, "qr", depth, widths, seed)


polar_order = Claim(
    "stiefel.polar-order",
    source="beyond B",
    says="The polar step leaves the geodesic of the inherited metric at third order, that of the canonical at second.",
    formula=retractions.polar_lead,
    lhs=r"R_W(h \xi) - \gamma(h)",
    relation=r"\simeq",
    given=(ORTHONORMAL,),
    uses=("stiefel.geodesic-equation",),
    near_misses={
        "commutator the other way": lambda: {"embedded": -COMMUTATOR / 6 - TANGENT * SQUARE / 3, "canonical": -PART},
    },
    falsifiers={"no commutator": lambda: {"embedded": -TANGENT * SQUARE / 3, "canonical": -PART}},
    remark="Coefficients of $`h^3`$ and $`h^2`$. The polar step goes to the nearest point, which favours no column.",
)


@polar_order.proof(generic_in="sizes n >= p, step")
def series_of_the_inverse_root(formula):
    """Power series of both curves, term by term."""
    return all_of(retractions.is_polar(), retractions.is_lead(formula, retractions.polar_terms(), POLAR_ORDERS))


@polar_order.check(NETS)
def derivatives_of_the_polar_step(formula, depth, widths, seed):
    """Derivatives of the polar step of a network's layers, and of geodesics that the constraint determines."""
    return leads_agree(formula, POLAR_ORDERS, "polar", depth, widths, seed)


cayley_order = Claim(
    "stiefel.cayley-order",
    source="beyond B",
    says="The Cayley step leaves the geodesic of the canonical metric at third order, that of the inherited at second.",
    formula=retractions.cayley_lead,
    lhs=r"R_W(h \xi) - \gamma(h)",
    relation=r"\simeq",
    given=(ORTHONORMAL,),
    uses=("stiefel.geodesic-equation",),
    near_misses={
        "a sixth instead of a twelfth": lambda: {
            "embedded": PART,
            "canonical": 2 * retractions.cayley_lead()["canonical"],
        },
    },
    falsifiers={
        "other metric": lambda: dict(zip(CAYLEY_ORDERS, reversed(retractions.cayley_lead().values()), strict=True))
    },
    remark=(
        "The canonical geodesic is $`e^{h B} W`$ for the skew $`B`$ of the step, and the Cayley transform is the "
        "simplest rational approximation of that exponential; hence the third order. For square matrices and single "
        "columns the two metrics share their geodesics, and the step follows both to third order."
    ),
)


@cayley_order.proof(generic_in="sizes n >= p, step")
def series_of_the_cayley_transform(formula):
    """Power series of both curves, term by term."""
    return retractions.is_lead(formula, retractions.cayley_terms(), CAYLEY_ORDERS)


@cayley_order.check(NETS)
def derivatives_of_the_cayley_step(formula, depth, widths, seed):
    """Derivatives of the Cayley step of a network's layers, and of geodesics that the constraint determines."""
    return leads_agree(formula, CAYLEY_ORDERS, "cayley", depth, widths, seed)


nearest = Claim(
    "stiefel.nearest-point-as-printed",
    source="B app. B.3",
    says="The retraction of the paper is the orthogonal projection on the manifold, to second order of the step.",
    formula=lambda: {"second": -(POINT * SQUARE) / 2},
    control=lambda: {"second": -(POINT * UPPER)},
    corrected_by=("stiefel.qr-order",),
    lhs=r"R_W(h \xi) - W - h \xi",
    relation=r"\simeq",
    given=(ORTHONORMAL,),
    near_misses={"lower triangle": lambda: {"second": -(POINT * UPPER.T)}},
    falsifiers={"straight": lambda: {"second": POINT * UPPER * 0}},
    remark=(
        "A retraction only has to start at $`W`$ with velocity $`\\xi`$. The nearest point is one of them, the polar "
        "step; the QR step that the paper uses is another, and is not the nearest point unless there is one column."
    ),
)


@nearest.proof(generic_in="sizes n >= p, step")
def second_term_of_qr(formula):
    """The second order of the QR step."""
    return all_of(retractions.is_qr(), retractions.is_qr_second(formula["second"]))


@nearest.check(STEPS)
def second_derivative_of_qr(formula, depth, widths, seed):
    """Second derivative of the QR step of a network's layers."""
    subject, found = on_manifold("stiefel", depth, widths, seed), []
    for layer, step in zip(subject.layers, series_of("qr", depth, widths, seed), strict=True):
        predicted, scale = words.evaluate(formula["second"], with_upper(layer)), float(layer.velocity.norm()) ** 2
        found.append(agree(step.values[1], predicted, bound=budget(layer, step, 1), scale=scale))
    return both(*found).on(subject)


def distances(curve: str, steps: np.ndarray, metric: str, layer: Layer) -> np.ndarray:
    """Distances of a step from the end of the geodesic of the same velocity, for several step sizes."""
    found = []
    for h in steps:
        way = float(h) * layer.velocity / LENGTH
        goal = manifolds.stiefel_exponential(layer.w, way, "canonical" if metric == "canonical" else "euclidean")
        found.append(float((RETRACTIONS[curve](layer.w, way) - goal).norm()))
    return np.array(found)


def _panel(metric: str, layer: Layer) -> Panel:
    steps, line = np.geomspace(2e-2, 1, 11), np.geomspace(2e-2, 1, 2)
    table = {
        "qr": (retractions.qr_lead, QR_ORDERS),
        "polar": (retractions.polar_lead, POLAR_ORDERS),
        "cayley": (retractions.cayley_lead, CAYLEY_ORDERS),
    }
    series: list[Series] = []
    for name, (lead, orders) in table.items():
        order = orders[metric]
        size = float(np.linalg.norm(words.evaluate(lead()[metric], with_upper(layer)))) / LENGTH**order
        series.append(Series(f"{name}: order {order}", line, size * line**order))
        series.append(Series(name, steps, distances(name, steps, metric, layer), "simulation"))
    title = f"Distance from the {metric} geodesic"
    return Panel(title, "spectral norm of the step", "distance", tuple(series), log_x=True, log_y=True)


@qr_order.figure
def distances_by_step(formula):
    """Distance of the three steps from the geodesics of both metrics against the length of the step."""
    layer = on_manifold("stiefel", 2, (3, 5, 5), 0).layers[0]
    caption = (
        "Steps of a network's layer against geodesics of the same velocity: lines are the derived leading terms, dots "
        "are steps. QR is of second order in both metrics, polar and Cayley each of third order in one."
    )
    return Figure(caption, (_panel("embedded", layer), _panel("canonical", layer)))
