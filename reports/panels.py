"""One panel of a figure on its axes: theory as lines, simulation as dots, the residual below with its bound.

Colours are those of Okabe and Ito, told apart by colour-blind readers too; the ink is a grey that reads on dark and
on light ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import SubFigure
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

PALETTE = ("#2f8fd6", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a0783c", "#8c6bd1")
INK = "#7d8590"
DARK = "#59636e"

_PALE: dict[str, Any] = {"color": "#a8d4f2", "pivot": "mid", "zorder": 2, "lw": 0}
_LOOKS: dict[str, dict[str, Any]] = {
    "theory": {"lw": 1.8, "zorder": 4},
    "simulation": {"ls": "", "marker": "o", "ms": 4, "mew": 0.6, "mec": "#30363d", "zorder": 5},
    "bound": {"lw": 1.1, "ls": (0, (5, 3)), "zorder": 1},
    "reference": {"lw": 1.1, "ls": (0, (1, 2)), "zorder": 1},
    "marker": {"ls": "", "marker": "D", "ms": 6, "mew": 0.6, "mec": "#30363d", "zorder": 6},
}


_NAMES = {"theory": "theory", "simulation": "network"}
_MARKS = {"theory": "path, theory", "simulation": "network at equal times", "reference": "optimum"}


@cache
def _parser() -> Any:
    return MathTextParser("path")


def _label(text: str) -> str:
    """A label that can be drawn: TeX that the drawing library cannot read is shown as it was written."""
    text = text.replace("$`", "$").replace("`$", "$").replace(r"$\sqrt{}$", "√")
    try:
        _parser().parse(text)
    except ValueError:
        return text.replace("$", r"\$")
    return text


def _values(numbers: Any) -> np.ndarray:
    return np.array([np.nan if one is None else float(one) for one in numbers], dtype=float)


def _colours(series: list[Mapping[str, Any]]) -> list[str]:
    """A colour for each series; the k-th simulation or marker shares that of the k-th theory where numbers match."""
    seen = {"theory": 0, "simulation": 0, "marker": 0}
    counts = {style: sum(one["style"] == style for one in series) for style in seen}
    paired = {style: counts[style] == counts["theory"] > 1 for style in seen}
    colours = []
    for one in series:
        if one["style"] not in seen:
            colours.append(INK)
            continue
        shift = {"theory": 0, "simulation": counts["theory"], "marker": 4}[one["style"]]
        shift = 0 if paired[one["style"]] else shift
        colours.append(PALETTE[(seen[one["style"]] + shift) % len(PALETTE)])
        seen[one["style"]] += 1
    return colours


def _draw_series(axes: Axes, series: list[Mapping[str, Any]]) -> None:
    named: set[str] = set()
    for one, colour in zip(series, _colours(series), strict=True):
        label = "_" if one["label"] in named or not one["label"] else _label(one["label"])
        named.add(one["label"])
        axes.plot(_values(one["x"]), _values(one["y"]), color=colour, label=label, **_LOOKS[one["style"]])


def _draw_arrows(axes: Axes, fields: list[Mapping[str, Any]]) -> None:
    """Vector fields on one linear scale: nine arrows in ten are shorter than the distance between neighbours."""
    speeds = [np.hypot(_values(field["u"]), _values(field["v"])) for field in fields]
    axes.margins(0.08)
    usual = max((float(np.nanquantile(speed, 0.9)) for speed in speeds if speed.size), default=0.0)
    if not usual > 0:
        return
    x, y = _values(fields[0]["x"]), _values(fields[0]["y"])
    area = max(np.ptp(x), 1e-300) * max(np.ptp(y), 1e-300)
    spacing = np.sqrt(area) / max(np.sqrt(len(x)) - 1, 1)
    for field in fields:
        axes.quiver(
            *(_values(field[name]) for name in ("x", "y", "u", "v")),
            angles="xy",
            scale_units="xy",
            scale=usual / (0.85 * spacing),
            **_arrow(field["style"]),
        )


def _arrow(style: str) -> dict[str, Any]:
    """Theory as broad pale arrows, the simulation as thin dark ones on top of them, both centred at their points."""
    if style == "theory":
        return {"width": 0.016, "headwidth": 2.6, "headlength": 2.6, "headaxislength": 2.6, **_PALE}
    return {"width": 0.0035, "headwidth": 4, "headlength": 5, "color": DARK, "pivot": "mid", "zorder": 3}


def _scale(axes: Axes, panel: Mapping[str, Any]) -> None:
    if panel["log_x"]:
        axes.set_xscale("log")
    if panel["log_y"] == "symlog":
        sizes = [size for one in panel["series"] for size in np.abs(_values(one["y"])) if size > 0]
        low, high = np.floor(np.log10([max(min(sizes), 1e-6 * max(sizes)), max(sizes)])).astype(int)
        axes.set_yscale("symlog", linthresh=10.0**low)
        # The labels next to zero would overlap it: only decades well outside the linear part get a tick.
        decades = 10.0 ** np.arange(high, low, -max(1, -(-(high - low) // 3)))
        axes.set_yticks([*-decades, 0, *decades])
        axes.yaxis.set_minor_locator(NullLocator())
        if min(np.nanmin(_values(one["y"])) for one in panel["series"]) > -(10.0**low):
            axes.set_ylim(bottom=-(10.0**low) / 2)
    elif panel["log_y"]:
        axes.set_yscale("log")
    for axis, logarithmic in ((axes.xaxis, panel["log_x"]), (axes.yaxis, panel["log_y"] is True)):
        if logarithmic:
            _thin_ticks(axis)


def _thin_ticks(axis: Axis) -> None:
    """Label decades alone, or 1, 2 and 5 where an axis spans little more than one."""
    low, high = axis.get_view_interval()
    if high > 30 * low:
        axis.set_minor_formatter(NullFormatter())
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def draw_key(part: SubFigure, panel: Mapping[str, Any]) -> None:
    """What the marks of a vector field stand for, in place of a panel."""
    axes = part.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    shown = {field["style"] for field in panel["arrows"]}
    rows = [(f"update, {name}", f"arrow {style}") for style, name in _NAMES.items() if style in shown]
    shown = {one["style"] for one in panel["series"]}
    rows += [(words, style) for style, words in _MARKS.items() if style in shown]
    for k, (words, style) in enumerate(rows):
        height = 0.9 - 0.11 * k
        if style.startswith("arrow "):
            look = {**_arrow(style.removeprefix("arrow ")), "pivot": "tail", "scale": 1, "scale_units": "xy"}
            axes.quiver([0.0], [height], [0.16], [0.0], angles="xy", **look)
        else:
            colour = INK if style == "reference" else PALETTE[0]
            axes.plot([0.0, 0.08, 0.16], [height] * 3, color=colour, **_LOOKS[style])
        axes.text(0.22, height, words, va="center", fontsize=9)


def _draw_panel(axes: Axes, panel: Mapping[str, Any]) -> None:
    for line in panel["contours"]:
        axes.plot(_values(line["x"]), _values(line["y"]), color=INK, lw=0.7, alpha=0.7, zorder=1)
    _draw_arrows(axes, panel["arrows"])
    _draw_series(axes, panel["series"])
    _scale(axes, panel)
    axes.set_title(_label(panel["title"]))
    axes.set_ylabel(_label(panel["y_label"]))
    if panel["equal_axes"]:
        axes.set_aspect("equal", adjustable="box")
    named = axes.get_legend_handles_labels()[1]
    if named:
        many = len(panel["series"]) > 4 or panel["arrows"]
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if many else {"loc": "best"}
        axes.legend(**place)


def _draw_residual(axes: Axes, panel: Mapping[str, Any]) -> None:
    """The strip: sizes of the residual as dots, exact zeros as triangles at the lower edge, the bound as a line."""
    residual, bound = panel["residual"], panel["residual_bound"]
    x, size = _values(residual["x"]), np.abs(_values(residual["y"]))
    positive = size[size > 0]
    levels = [*positive, *([bound] if bound else [])]
    if not levels:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "residual exactly zero", transform=axes.transAxes, ha="center", va="center")
        return
    low, high = 10 ** (np.log10(min(levels)) - 0.8), 10 ** (np.log10(max(levels)) + 0.8)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    dots: dict[str, Any] = {"ls": "", "ms": 3, "color": PALETTE[1], "mew": 0}
    axes.plot(x[size > 0], positive, marker="o", **dots)
    axes.plot(x[size == 0], np.full(np.sum(size == 0), low * 1.6), marker="v", **dots)
    if bound:
        axes.axhline(bound, color=INK, lw=1.1, ls=(0, (5, 3)))
        axes.axhspan(low, bound, color=INK, alpha=0.12, lw=0)
        axes.annotate(
            "bound",
            (1, bound),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=7.5,
        )
    axes.set_ylabel(_label(residual["label"]) or "residual", fontsize=8)
    axes.yaxis.set_major_locator(LogLocator(numticks=6 if not panel["series"] else 4))
    axes.yaxis.set_minor_locator(NullLocator())


def draw(part: SubFigure, panel: Mapping[str, Any]) -> None:
    """Draw a panel of the ledger: its axes and, where it has a residual, a strip below; samples are counted whole."""
    _draw_parts(part, panel)
    if panel["x_label"] == "sample":
        part.axes[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _draw_parts(part: SubFigure, panel: Mapping[str, Any]) -> None:
    shown = panel["series"] or panel["arrows"] or panel["contours"]
    if not (panel["residual"] and shown):
        axes = part.subplots()
        if panel["residual"]:
            _draw_residual(axes, panel)
            axes.set_title(_label(panel["title"]))
        else:
            _draw_panel(axes, panel)
        axes.set_xlabel(_label(panel["x_label"]))
        return
    main, strip = part.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _draw_panel(main, panel)
    _draw_residual(strip, panel)
    strip.set_xlabel(_label(panel["x_label"]))
