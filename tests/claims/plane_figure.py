"""Figure 1 of paper A drawn anew: five vector fields over the plane of a mode, theory over networks."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from sympy import Expr, Integer

from derivations.compiled import evaluate
from derivations.deep_linear import vector_field
from derivations.notation import ETA, SIGMA_1, SIGMA_2, SIGMA_DELTA, Q
from numerics.flows import flow
from tests.checker.figure import Arrows, Figure, Panel, Series
from tests.claims.plane import FIELDS, field, plane
from tests.claims.settings import array

EDGE = 2.1
STARTS = ((0.12, 0.42), (0.5, 0.14), (1.85, 1.25))
TITLES = {
    "SGD": ("A  gradient descent", 2.4),
    "NGD": ("B  natural gradient descent", 3.0),
    "square root NGD": ("C  square root rule", 2.4),
    "NGD-d": ("D  natural, layer by layer", 3.0),
    "square root NGD-d": ("E  square root, layer by layer", 2.4),
}


def theory_field(formula, name: str, points: np.ndarray) -> np.ndarray:
    """The field of a rule at points (2, n) of the first quadrant, from the formulas; goal 1."""
    values = {SIGMA_1: points[0], SIGMA_2: points[1], SIGMA_DELTA: points[0] * points[1] - 1, ETA: 1.0}
    parts = {
        "SGD": formula,
        "NGD": formula,
        "square root NGD": formula,
        "NGD-d": vector_field.in_plane(vector_field.layerwise_velocity(Integer(1))),
        "square root NGD-d": vector_field.in_plane(vector_field.layerwise_velocity(Integer(2))),
    }[name]
    order = {"SGD": 1e300, "NGD": 1.0}.get(name, 2.0)
    return np.stack([evaluate(part, {**values, Q: order}) for part in parts])


def theory_path(name: str, start: tuple[float, float]) -> np.ndarray:
    """The path of a rule from a start to the optimum, (2, 40), from its conserved quantity."""
    x, y = start
    members = {
        "NGD-d": lambda s: np.array([x * np.exp(s), y * np.exp(s)]),
        "square root NGD-d": lambda s: np.array([x + s, y + s]),
    }
    member = members.get(name, lambda s: np.sqrt(np.array([x * x + s, y * y + s])))
    low = {"NGD-d": -5.0, "square root NGD-d": -min(start)}.get(name, -(min(start) ** 2))
    end = brentq(lambda s: float(np.prod(member(s))) - 1, low, 5.0)
    return np.stack([member(s) for s in np.linspace(0.0, end, 40)], axis=1)


def _panel(formula, name: str) -> Panel:
    title, stop = TITLES[name]
    ticks = np.linspace(0.13, 1.93, 9)
    points = np.stack([part.ravel() for part in np.meshgrid(ticks, ticks)])
    u, v = theory_field(formula, name, points)
    simulated, _ = field(plane(tuple(map(tuple, points.T.tolist())), 1.0), FIELDS[name])
    walkers = plane(STARTS, 1.0)
    run = flow(walkers.net, walkers.problem, FIELDS[name], list(np.linspace(0.0, stop, 11)))
    dots = array(walkers.frame.modes(run.nets()))
    lines, marks = [], []
    for k, start in enumerate(STARTS):
        way = theory_path(name, start)
        lines.append(Series("", *way[:, (way < EDGE).all(0)]))
        seen = dots[(dots[:, :, k] < EDGE).all(1), :, k]
        marks.append(Series("", *seen.T, "simulation"))
    return Panel(
        title,
        r"$\sigma_1$",
        r"$\sigma_2$",
        series=(*lines, *marks, _contour(1.0)),
        arrows=(Arrows(*points, u, v), Arrows(*points, *simulated, "simulation")),
        contours=tuple(_contour(level) for level in (0.1, 0.35, 0.65, 1.5, 2.2, 3.0)),
        equal_axes=True,
    )


def _contour(level: float) -> Series:
    x = np.linspace(level / EDGE, EDGE, 80)
    return Series("", x, level / x, "reference")


def five_fields(formula: tuple[Expr, Expr]) -> Figure:
    """The five fields: broad arrows and lines from the formulas, thin arrows and dots from networks."""
    return Figure(
        "Update per unit of gap over the plane of the two layer values of one mode. Broad pale arrows are the fields "
        "of the theory, thin dark ones the modes of a network that has a mode at each of the 81 points. Coloured lines "
        "are the paths that the conserved quantities give from three starts, dots the flows of the weight matrices "
        "at equal times. Grey lines are contours of constant error, the dotted one is the optimum. A, B and C share "
        "their paths and differ in their clocks; B and D share the clock and differ in their paths; E runs along "
        "diagonals at one speed.",
        tuple(_panel(formula, name) for name in FIELDS),
    )
