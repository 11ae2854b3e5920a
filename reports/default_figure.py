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
    caption = "Samples of what was compared, over all cases, in the order of the predicted value"
    curves, strips = any(panel["series"] for panel in panels), any(panel["residual"] for panel in panels)
    if curves:
        caption += ": predicted as a line, found in the simulation as dots"
        caption += ", and below the size of each error against its bound" if strips else ""
    else:
        caption += ", which is zero: the size of what was found against its bound, exact zeros at the lower edge"
    caption += "."
    return {"caption": caption, "panels": panels}


def _rows(check: Any) -> list[tuple[float, ...]]:
    """Finite rows (predicted, observed, bound, error) in the order of the predicted value."""
    sample = check.get("sample") or {}
    rows = zip(*(sample.get(key, ()) for key in ("predicted", "observed", "bound", "error")), strict=False)
    numbers = (tuple(float(value) for value in row) for row in rows)
    return sorted(row for row in numbers if all(map(math.isfinite, row)))


def _series(label: str, x: list[int], y: list[float], style: str) -> dict[str, Any]:
    return {"label": label, "x": x, "y": y, "style": style}


def _panel(title: str, check: Any, relation: str) -> dict[str, Any]:
    rows = _rows(check)
    x = list(range(1, len(rows) + 1))
    predicted, observed, bounds, errors = (list(column) for column in zip(*rows, strict=True))
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
    strip = _strip(x, errors, bounds)
    if not any(predicted) and strip:
        return {**panel, "series": [], **strip}
    limits = relation in _AT_MOST or relation in _AT_LEAST
    panel["series"] = [
        _series("predicted limit" if limits else "predicted", x, predicted, "theory"),
        _series("found", x, observed, "simulation"),
    ]
    values = [*predicted, *observed]
    if _spread(values) > 100:
        panel["log_y"] = True if min(values) > 0 else "symlog"
    if limits:
        return panel
    return {**panel, **strip}


def _strip(x: list[int], errors: list[float], bounds: list[float]) -> dict[str, Any]:
    """The sizes of the errors, in units of their bounds where these are not zero."""
    if all(bound > 0 for bound in bounds):
        scaled = [error / bound for error, bound in zip(errors, bounds, strict=True)]
        return {"residual": _series("error / bound", x, scaled, "simulation"), "residual_bound": 1.0}
    return {"residual": _series("error", x, errors, "simulation")}


def _spread(values: list[float]) -> float:
    sizes = [abs(value) for value in values if value]
    return max(sizes) / min(sizes) if sizes else 1.0
