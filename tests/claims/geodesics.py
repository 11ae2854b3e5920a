"""Geodesics of matrices with orthonormal columns: acceleration in two metrics, and a closed form."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import expm

from derivations import words
from derivations.code import value
from derivations.information import stiefel
from derivations.information.stiefel import POINT, TANGENT
from numerics import constraints
from tests.checker.bounds import integration
from tests.checker.claim import Claim, grid
from tests.checker.compare import agree, both
from tests.checker.figure import Figure, Panel, Series
from tests.claims.manifold_layers import ORTHONORMAL, SHARES, SURFACES, on_manifold, path, vector_rounding
from tests.claims.settings import array
from tests.claims.stiefel import letters

METRICS = {"embedded": "stiefel", "canonical": "canonical"}
NETS = grid(depth=[1, 2], widths=["square", "widening", "narrowing"], seed=[0]) + grid(
    depth=[2], widths=[(1, 3, 3), (2, 4, 4)], seed=[0]
)


@lru_cache(maxsize=64)
def accelerated(metric: str, depth: int, widths, seed: int) -> tuple[np.ndarray, ...]:
    """Accelerations of the geodesics of a network's layers along their velocities."""
    surface = SURFACES[METRICS[metric]]
    layers = on_manifold("stiefel", depth, widths, seed).layers
    return tuple(array(constraints.acceleration(surface, one.w, one.velocity)) for one in layers)


def against(formula, depth: int, widths, seed: int, metrics: tuple[str, ...]):
    """Accelerations by a formula for each metric, against those of the constraint."""
    subject, found = on_manifold("stiefel", depth, widths, seed), []
    for name in metrics:
        for layer, observed in zip(subject.layers, accelerated(name, depth, widths, seed), strict=True):
            predicted, scale = words.evaluate(formula[name], letters(layer)), float(layer.velocity.norm() ** 2)
            found.append(agree(observed, predicted, bound=vector_rounding(layer, scale), scale=scale))
    return both(*found).on(subject)


def _changed(name: str, term) -> dict:
    right = stiefel.accelerations()
    return {**right, name: term(right[name])}


TURN = POINT.T * TANGENT
equation = Claim(
    "stiefel.geodesic-equation",
    source="B app. B.3, corrected",
    says="A geodesic is accelerated along the normal alone, and which curves are geodesics depends on the metric.",
    formula=stiefel.accelerations,
    lhs=r"\ddot \gamma",
    given=(ORTHONORMAL,),
    near_misses={
        "half the pull": lambda: _changed("embedded", lambda right: right / 2),
        "canonical without the turn inside": lambda: _changed("canonical", lambda right: right + POINT * TURN * TURN),
    },
    falsifiers={
        "no acceleration": lambda: _changed("embedded", lambda right: right * 0),
        "one metric for both": lambda: dict.fromkeys(("embedded", "canonical"), stiefel.accelerations()["embedded"]),
    },
    remark=(
        "Only the covariant acceleration vanishes. The embedded metric is $`\\mathrm{tr}(\\xi^T \\xi)`$; the canonical "
        "one takes $`\\frac12 \\mathrm{tr}(A^T A)`$ off, with $`A = W^T \\xi`$. The two part where a step both turns "
        "the columns among themselves and leaves their span; for single columns and for square matrices their "
        "geodesics are the same."
    ),
)


@equation.proof(generic_in="sizes n >= p, velocity")
def euler_lagrange(formula):
    """The Euler-Lagrange equation of the squared speed, with normal forces."""
    return stiefel.solves_geodesic_equation(formula)


@equation.check(NETS)
def forced_by_the_constraint(formula, depth, widths, seed):
    """Accelerations of a network's layers from derivatives of the constraint and of the squared speed."""
    return against(formula, depth, widths, seed, ("embedded", "canonical"))


printed = Claim(
    "stiefel.geodesic-acceleration-as-printed",
    source="B app. B.3",
    says="A geodesic is the curve of constant velocity: its second derivative is zero.",
    formula=lambda: {"embedded": words.zeros(*POINT.shape)},
    control=lambda: {"embedded": stiefel.accelerations()["embedded"]},
    corrected_by=("stiefel.geodesic-equation",),
    lhs=r"\ddot \gamma",
    given=(ORTHONORMAL,),
    near_misses={"half the pull": lambda: {"embedded": stiefel.accelerations()["embedded"] / 2}},
    falsifiers={"pushed outwards": lambda: {"embedded": -stiefel.accelerations()["embedded"]}},
    remark=(
        "As read in the space of matrices, where the metric is the inherited one. On a single column it would mean a "
        "straight line, which leaves the sphere: the true acceleration is $`-\\lVert \\xi \\rVert^2 \\gamma`$. What "
        "vanishes is the tangent part."
    ),
)


@printed.proof(generic_in="sizes n >= p, velocity")
def constraint_twice_differentiated(formula):
    """Without acceleration the columns do not stay orthonormal."""
    right = stiefel.accelerations()
    return stiefel.solves_geodesic_equation({**right, **formula})


@printed.check(NETS)
def forced_to_turn(formula, depth, widths, seed):
    """Accelerations of a network's layers from derivatives of the constraint."""
    return against(formula, depth, widths, seed, ("embedded",))


exponential = Claim(
    "stiefel.exponential",
    source="B app. B.3, corrected",
    says="The geodesic of orthonormal columns has a closed form in two matrix exponentials of the size of the columns.",
    formula=stiefel.block_exponential,
    lhs="",
    given=(ORTHONORMAL,),
    uses=("stiefel.geodesic-equation",),
    near_misses={
        "not unwound": lambda: {**stiefel.block_exponential(), "unwind": TURN * 0},
        "pull halved": lambda: {**stiefel.block_exponential(), "pull": -TANGENT.T * TANGENT / 2},
    },
    falsifiers={"turned the other way": lambda: {**stiefel.block_exponential(), "turn": -TURN, "unwind": TURN}},
    remark=(
        "Let $`A = W^T \\xi`$ (turn, and $`-A`$ to unwind) and $`S = \\xi^T \\xi`$ (pull $`-S`$). The geodesic is "
        "$`[W \\; \\xi]`$ times the first half of the columns of $`e^{t M}`$, where $`M`$ has the rows $`(A, -S)`$ and "
        "$`(I, A)`$, times $`e^{-t A}`$. No differential equation needs to be integrated, as on unit columns."
    ),
)


@exponential.proof(generic_in="sizes n >= p, velocity, time")
def moving_frame(formula):
    """The Gram matrix of the moving frame stays, and the acceleration is normal."""
    return stiefel.solves_by_blocks(formula)


def block_geodesic(formula, values: dict, time: float) -> np.ndarray:
    """The curve [W xi] exp t((turn, pull), (1, turn)) (1, 0)^T exp(t unwind) at one time."""
    found = value(formula, values)
    turn, pull, unwind = (found[name] for name in ("turn", "pull", "unwind"))
    whole = np.block([[turn, pull], [np.eye(len(turn)), turn]])
    frame = np.hstack([values[POINT], values[TANGENT]])
    return frame @ expm(time * whole)[:, : len(turn)] @ expm(time * unwind)


@exponential.check(grid(depth=[2], widths=["wide"], seed=[0]) + grid(depth=[1], widths=[(2, 5)], seed=[0]))
def integrated_from_the_constraint(formula, depth, widths, seed):
    """The geodesic of a network's last hidden layer, integrated from derivatives of the constraint."""
    subject, curve, found = on_manifold("stiefel", depth, widths, seed), path("stiefel", depth, widths, seed), []
    layer = subject.layers[-1]
    for k, time in enumerate(SHARES[1:], start=1):
        predicted = block_geodesic(formula, letters(layer), time)
        bound = integration(curve.error) + vector_rounding(layer, float(np.abs(predicted).max()))
        found.append(agree(curve.points[k], predicted, bound=bound))
    return both(*found).on(subject)


@exponential.figure
def entries_in_time(formula):
    """Entries of a layer's weights along a geodesic, closed form against integration."""
    layer, curve = on_manifold("stiefel", 2, "wide", 0).layers[-1], path("stiefel", 2, "wide", 0)
    fine = np.linspace(0, 4, 81)
    exact = np.array([block_geodesic(formula, letters(layer), t) for t in fine])
    at_dots = np.array([block_geodesic(formula, letters(layer), t) for t in SHARES])
    chosen = [(0, 0), (1, 1), (2, 2)]
    series = [Series(f"entry {i + 1}, {j + 1}", fine, exact[:, i, j]) for i, j in chosen]
    series += [Series("constraint", SHARES, curve.points[:, i, j], "simulation") for i, j in chosen]
    straight = array(layer.w)[0, 0] + fine * array(layer.velocity)[0, 0]
    series.append(Series("constant velocity, entry 1, 1", fine[:41], straight[:41], "reference"))
    worst = np.abs(array(curve.points) - at_dots).max((1, 2))
    panel = Panel(
        "A geodesic of orthonormal columns",
        "time, in steps",
        "weights",
        tuple(series),
        residual=Series("largest difference", SHARES, worst, "simulation"),
        residual_bound=curve.error + vector_rounding(layer, 1.0).total,
    )
    return Figure(
        "Weights of a hidden layer along a geodesic: closed form against the curve that the constraint alone "
        "determines. Constant velocity leaves the manifold.",
        (panel,),
    )
