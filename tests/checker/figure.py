"""Figures as plain data: claims fill them, the ledger stores them, the pages draw them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

Style = Literal["theory", "simulation", "bound", "reference", "marker"]


def _numbers(values: Iterable[Any]) -> list[float | None]:
    """Numbers rounded to five significant digits, enough for a drawing; what is not finite is a gap."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy().ravel()
    return [float(f"{float(value):.5g}") if isfinite(float(value)) else None for value in values]


@dataclass(frozen=True, slots=True)
class Series:
    """A line (theory, bound, reference) or dots (simulation, marker)."""

    label: str
    x: Iterable[Any]
    y: Iterable[Any]
    style: Style = "theory"

    def plain(self) -> dict[str, Any]:
        """The series as JSON."""
        return {"label": self.label, "x": _numbers(self.x), "y": _numbers(self.y), "style": self.style}


@dataclass(frozen=True, slots=True)
class Arrows:
    """A vector field: positions ``x, y`` and components ``u, v``; ``style`` tells theory from simulation."""

    x: Iterable[Any]
    y: Iterable[Any]
    u: Iterable[Any]
    v: Iterable[Any]
    style: Style = "theory"

    def plain(self) -> dict[str, Any]:
        """The field as JSON."""
        parts = {name: _numbers(getattr(self, name)) for name in ("x", "y", "u", "v")}
        return {**parts, "style": self.style}


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. ``residual`` is drawn as a strip below, with its bound."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...] = ()
    arrows: tuple[Arrows, ...] = ()
    contours: tuple[Series, ...] = ()
    residual: Series | None = None
    residual_bound: float | None = None
    log_x: bool = False
    log_y: bool = False
    equal_axes: bool = False

    def plain(self) -> dict[str, Any]:
        """The panel as JSON."""
        return {
            "title": self.title,
            "x_label": self.x_label,
            "y_label": self.y_label,
            "series": [one.plain() for one in self.series],
            "arrows": [one.plain() for one in self.arrows],
            "contours": [one.plain() for one in self.contours],
            "residual": self.residual.plain() if self.residual else None,
            "residual_bound": self.residual_bound and float(f"{self.residual_bound:.3g}"),
            "log_x": self.log_x,
            "log_y": self.log_y,
            "equal_axes": self.equal_axes,
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels side by side with a caption in words; labels are plain text or inline TeX between dollars."""

    caption: str
    panels: tuple[Panel, ...]

    def plain(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {"caption": self.caption, "panels": [panel.plain() for panel in self.panels]}
