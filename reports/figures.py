"""Figures of the ledger as SVG: the same byte for byte on every run, transparent, legible on dark and light pages."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from reports import panels as drawing
from reports.panels import INK

ROW = 3

_STYLE: Any = {
    "svg.hashsalt": "lemmata",
    "svg.fonttype": "path",
    "path.simplify": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    **{key: INK for key in ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color")},
    **{key: INK for key in ("xtick.color", "ytick.color", "legend.labelcolor")},
}


def compose(figure: Mapping[str, Any]) -> Figure:
    """The drawing of a figure of the ledger: panels side by side, three in a row."""
    panels = figure["panels"]
    columns, rows = min(len(panels), ROW), -(-len(panels) // ROW)
    crowded = any(len(panel["series"]) > 4 or panel["arrows"] for panel in panels)
    wide = {1: 5.4, 2: 4.3, 3: 3.5}[columns] + (0.9 if crowded else 0)
    tall = 3.9 if any(panel["residual"] or panel["equal_axes"] for panel in panels) else 3.2
    wide = min(wide, tall) if all(panel["equal_axes"] for panel in panels) else wide
    whole = Figure(figsize=(wide * columns, tall * rows), layout="constrained")
    whole.patch.set_alpha(0)
    parts = np.ravel(whole.subfigures(rows, columns, squeeze=False))
    for part, panel in zip(parts, panels, strict=False):
        part.patch.set_alpha(0)
        drawing.draw(part, panel)
    if len(parts) > len(panels) and panels[-1]["arrows"]:
        drawing.draw_key(parts[len(panels)], panels[-1])
    for part in parts:
        part.patch.set_alpha(0)
        for axes in part.axes:
            axes.patch.set_alpha(0)
    return whole


def svg(figure: Mapping[str, Any]) -> str:
    """The figure as deterministic SVG, marked with the digest of what it shows; raises ValueError without panels."""
    if not figure["panels"]:
        raise ValueError("figure: no panels given, allowed: at least one")
    with matplotlib.rc_context(_STYLE):
        stream = io.StringIO()
        FigureCanvasSVG(compose(figure)).print_svg(
            stream, metadata={"Date": None, "Creator": None, "Description": digest(figure)}
        )
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def png(figure: Mapping[str, Any], path: Path, ground: str = "white") -> None:
    """The same drawing as a picture on a chosen ground, for looking at it."""
    with matplotlib.rc_context(_STYLE):
        whole = compose(figure)
        whole.patch.set_alpha(1)
        FigureCanvasAgg(whole).print_figure(path, dpi=110, facecolor=ground)


def digest(figure: Mapping[str, Any]) -> str:
    """What a drawing depends on, as a digest: its data and the modules that draw."""
    sources = (Path(__file__), Path(drawing.__file__))
    text = json.dumps(figure, sort_keys=True) + "".join(path.read_text(encoding="utf-8") for path in sources)
    return "drawn from " + hashlib.sha256(text.encode()).hexdigest()


def is_current(figure: Mapping[str, Any], path: Path) -> bool:
    """Whether the file at ``path`` already shows this figure, so that it need not be drawn again."""
    if not path.exists():
        return False
    with path.open(encoding="utf-8") as stream:
        return digest(figure) in stream.read(4000)
