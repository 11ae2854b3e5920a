"""Figures: the same byte for byte, legible on any ground, and faithful to what the ledger holds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from reports import figures
from reports.default_figure import default
from tests.unit.sample_ledger import curves, field, sample_ledger


def drawn_default() -> dict[str, Any]:
    found = default(sample_ledger()["claims"]["modes.fractional-rate"])
    assert found is not None
    return found


ALL = {"curves": curves(), "field": field(), "default": drawn_default()}
every_figure = pytest.mark.parametrize("figure", ALL.values(), ids=ALL.keys())


@every_figure
def test_drawing_twice_gives_the_same_bytes(figure: dict[str, Any]) -> None:
    first = figures.svg(figure)
    assert first == figures.svg(copy.deepcopy(figure))
    assert "dc:date" not in first and not any(line.endswith(" ") for line in first.splitlines())


@every_figure
def test_the_ground_is_transparent_and_the_ink_grey(figure: dict[str, Any]) -> None:
    drawing = figures.svg(figure)
    assert "fill: #ffffff" not in drawing and "#000000" not in drawing
    assert figures.INK in drawing


def test_global_settings_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    figures.svg(curves())
    assert dict(matplotlib.rcParams) == before


def test_other_data_give_another_drawing(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    assert not figures.is_current(curves(), path)
    path.write_text(figures.svg(curves()))
    assert figures.is_current(curves(), path)
    changed = curves()
    changed["panels"][0]["series"][0]["y"][3] += 0.1
    assert not figures.is_current(changed, path)
    assert figures.svg(changed) != path.read_text()


def test_residual_and_bound_are_drawn_as_stored() -> None:
    whole = figures.compose(curves())
    strip = next(axes for axes in whole.findobj(matplotlib.axes.Axes) if "residual" in axes.get_ylabel())
    heights = [float(line.get_ydata()[0]) for line in strip.lines if len(line.get_ydata()) == 2]
    assert heights == [2e-13]
    low, high = strip.get_ylim()
    assert low < 1e-14 and high > 2e-13
    dots = strip.lines[0].get_ydata()
    assert np.all(np.asarray(dots) > 0) and len(dots) == 19


def test_theory_and_simulation_share_a_colour_where_paired() -> None:
    whole = figures.compose(curves())
    main = next(axes for axes in whole.findobj(matplotlib.axes.Axes) if axes.get_title() == "learning curves")
    colours = [line.get_color() for line in main.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_tex_that_cannot_be_drawn_is_shown_as_written() -> None:
    strange = curves()
    strange["panels"][0]["y_label"] = r"$\nosuchmacro{x}$"
    assert figures.svg(strange) != figures.svg(curves())


def test_gaps_and_zeros_do_not_break_a_drawing() -> None:
    odd = curves()
    odd["panels"][0]["series"][0]["y"][2] = None
    odd["panels"][0]["residual"]["y"] = [0.0] * 24
    odd["panels"][0]["residual_bound"] = None
    odd["panels"][1]["series"][0]["y"][0] = 0.0
    assert "<svg" in figures.svg(odd)


def test_a_figure_without_panels_is_refused() -> None:
    with pytest.raises(ValueError, match="no panels given, allowed: at least one"):
        figures.svg({"caption": "", "panels": []})


def test_default_figure_shows_error_over_bound() -> None:
    panel = drawn_default()["panels"][0]
    predicted, found = (one["y"] for one in panel["series"])
    assert predicted == sorted(predicted)
    assert found == pytest.approx(predicted, abs=5e-14) and found != predicted
    assert panel["residual"]["y"] == pytest.approx([0.04 * (1 + k) for k in range(12)])
    assert panel["residual_bound"] == 1.0


def sampled(observed: list[Any], predicted: list[Any], bound: float) -> dict[str, Any]:
    """A claim whose only check kept these samples."""
    claim = sample_ledger()["claims"]["modes.balanced"]
    errors = [abs(float(a) - float(b)) for a, b in zip(observed, predicted, strict=True)]
    claim["checks"]["full_network"]["sample"] = {
        "observed": observed, "predicted": predicted, "bound": [bound] * len(observed), "error": errors
    }  # fmt: skip
    return claim


def test_default_figure_of_what_should_vanish_is_in_units_of_its_bound() -> None:
    found = default(sampled([1e-15, -2e-15, 0.0], [0.0] * 3, 4e-15))
    assert found is not None
    panel = found["panels"][0]
    assert sorted(panel["residual"]["y"]) == [0.0, 0.25, 0.5] and panel["residual_bound"] == 1.0
    assert panel["series"] == [] and "which is zero" in found["caption"]
    assert "<svg" in figures.svg(found)


def test_a_repeated_label_stands_once_in_the_legend() -> None:
    figure = curves()
    for one in figure["panels"][0]["series"]:
        one["label"] = one["style"]
    main = next(axes for axes in figures.compose(figure).findobj(matplotlib.axes.Axes) if axes.get_legend())
    assert [entry.get_text() for entry in main.get_legend().get_texts()] == ["theory", "simulation"]


def test_default_figure_of_a_limit_has_no_error_strip() -> None:
    claim = {**sample_ledger()["claims"]["modes.balanced"], "relation": "<="}
    found = default(claim)
    assert found is not None and found["panels"][0]["residual"] is None
    assert found["panels"][0]["series"][0]["label"] == "predicted limit"


def test_no_numbers_no_figure() -> None:
    assert default(sampled(["inf"] * 5, [1.0] * 5, 1.0)) is None


def test_large_ranges_are_drawn_on_a_logarithmic_scale() -> None:
    values = [10.0**k for k in range(-3, 4)]
    positive, signed = default(sampled(values, values, 1e-9)), default(sampled([-1.0, *values], [-1.0, *values], 1e-9))
    assert positive is not None and positive["panels"][0]["log_y"] is True
    assert signed is not None and signed["panels"][0]["log_y"] == "symlog"
    main = next(axes for axes in figures.compose(signed).findobj(matplotlib.axes.Axes) if axes.get_title())
    assert main.get_yscale() == "symlog" and 0 in main.get_yticks() and len(main.get_yticks()) <= 7
