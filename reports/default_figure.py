"""A figure for a claim that brings none: predicted as a curve, simulated as dots, errors against their bounds."""

from __future__ import annotations

import math
from typing import Any

from reports.words import Claim, spoken

PANELS = 3
_AT_MOST, _AT_LEAST = ("<=", "<", r"\le", r"\leq"), (">=", ">", r"\ge", r"\geq")


def default(claim: Claim) -> dict[str, Any] | None:
    """Panels for the checks that kept samples, full networks first; None if no check has numbers to show."""
    checks = [(name, check) for name, check in claim["checks"].items() if len(_rows(check)) >= 3]
    checks.sort(key=lambda one: (not one[1]["network"], -len(_rows(one[1]))))
    panels = [_panel(spoken(name), check, claim["relation"]) for name, check in checks[:PANELS]]
    if not panels:
        return None
    caption = (
        "Samples of what was compared, over all cases, in the order of the predicted value: "
        "predicted as a line, found in the simulation as dots."
    )
    if any(panel["residual"] for panel in panels):
        caption += " Below, the size of each error against its bound."
    return {"caption": caption, "panels": panels}


def _rows(check: Any) -> list[tuple[float, float, float]]:
    """Finite (predicted, observed, bound) triples in the order of the predicted value."""
    sample = check.get("sample") or {}
    rows = zip(*(sample.get(key, ()) for key in ("predicted", "observed", "bound")), strict=False)
    numbers = [(float(p), float(o), float(b)) for p, o, b in rows]
    return sorted(row for row in numbers if all(map(math.isfinite, row)))


def _series(label: str, x: list[int], y: list[float], style: str) -> dict[str, Any]:
    return {"label": label, "x": x, "y": y, "style": style}


def _panel(title: str, check: Any, relation: str) -> dict[str, Any]:
    rows = _rows(check)
    x = list(range(1, len(rows) + 1))
    predicted, observed, bounds = (list(column) for column in zip(*rows, strict=True))
    panel: dict[str, Any] = {
        "title": title,
        "x_label": "sample",
        "y_label": "value",
        "arrows": [],
        "contours": [],
        "residual": None,
        "residual_bound": None,
        "log_x": False,
        "log_y": False,
        "equal_axes": False,
    }
    if not any(predicted) and all(bound > 0 for bound in bounds) and _within(observed, bounds):
        ratios = [value / bound for value, bound in zip(observed, bounds, strict=True)]
        edges = [_series("bound", x, [edge] * len(x), "bound") for edge in (1.0, -1.0)]
        edges[1]["label"] = ""
        zero = _series("predicted: zero", x, [0.0] * len(x), "theory")
        return {**panel, "y_label": "found, in units of its bound",
                "series": [*edges, zero, _series("found", x, ratios, "simulation")]}
    limits = relation in _AT_MOST or relation in _AT_LEAST
    panel["series"] = [
        _series("predicted limit" if limits else "predicted", x, predicted, "theory"),
        _series("found", x, observed, "simulation"),
    ]
    panel["log_y"] = "symlog" if _spread([*predicted, *observed]) > 1e3 else False
    if limits:
        return panel
    errors = [abs(found - said) for said, found, _ in rows]
    if all(bound > 0 for bound in bounds):
        scaled = [error / bound for error, bound in zip(errors, bounds, strict=True)]
        return {**panel, "residual": _series("error / bound", x, scaled, "simulation"), "residual_bound": 1.0}
    return {**panel, "residual": _series("error", x, errors, "simulation")}


def _within(observed: list[float], bounds: list[float]) -> bool:
    """Whether what should vanish stays near its bound; a gross violation needs a scale of its own."""
    return all(abs(value) <= 30 * bound for value, bound in zip(observed, bounds, strict=True))


def _spread(values: list[float]) -> float:
    sizes = [abs(value) for value in values if value]
    return max(sizes) / min(sizes) if sizes else 1.0
