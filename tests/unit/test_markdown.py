"""Markdown: what GitHub would refuse is noticed, and what can be repaired is repaired."""

from __future__ import annotations

from typing import Any

import pytest

from reports.markdown import anchors, faults, number, paginate, table, tex, text, upright


@pytest.mark.parametrize(
    "bad",
    [
        r"the $`\operatorname{Tr}`$ of it",
        "$$x$$",
        "a plain $x$ there",
        "| a | $`|x|`$ |",
        "of degree-$`d`$",
        "seen ($`d`$)",
        "[see $`x`$](a.md)",
        "text ```math\nx\n```",
        "x" * 60_000,
        "```math\n\\phantom{x}\n```",
    ],
)
def test_faults_are_noticed(bad: str) -> None:
    assert faults(bad) != []


def test_repaired_prose_has_no_faults() -> None:
    prose = r"degree-$`d`$ of ($\operatorname{Tr} |x|$) and *all* a_b < c [1] `code|x`"
    assert faults(prose) != []
    repaired = text(prose)
    assert faults(table(["a"], [[repaired]])) == []
    assert r"\*all\* a\_b &lt; c \[1\]" in repaired
    assert r"$`\mathrm{Tr} \vert x\vert`$" in repaired


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3, "3"), (0.0312, "0.0312"), (1e-8, "1e-8"), (6.6512e-14, "6.65e-14"), (1234567.0, "1.23e6"), (None, "—"),
     ("inf", "infinite"), (float("nan"), "not a number"), (-0.5, "-0.5"), (0.0, "0"), (12, "12")],
)  # fmt: skip
def test_numbers_are_printed_in_one_way(value: Any, shown: str) -> None:
    assert number(value) == shown


def test_norm_bars_become_macros() -> None:
    assert tex(r"\left\|x\right\| + |y| + \left|z\right|").replace(" ", "") == (
        r"\left\lVertx\right\rVert+\verty\vert+\left\lvertz\right\rvert"
    )


def test_paginate_keeps_order_and_everything() -> None:
    parts = [f"part {k} " + "x" * 20_000 for k in range(6)]
    found = paginate("folder/name", "# Head\n\nlead", parts)
    assert list(found) == ["folder/name.md", "folder/name-2.md", "folder/name-3.md"]
    joined = "".join(found.values())
    assert [joined.index(f"part {k} x") for k in range(6)] == sorted(joined.index(f"part {k} x") for k in range(6))


def test_anchors_are_those_of_github() -> None:
    assert anchors({"a.md": "# x\n### igoi.abs-b\ntext\n"}, "###") == {"igoi.abs-b": "a.md#igoiabs-b"}


def test_words_in_formulas_are_upright() -> None:
    assert upright(r"idle^{2} + j_{max} \sigma") == r"\text{idle}^{2} + j_{\text{max}} \sigma"
    assert upright(r"\text{one block} + \mathrm{tr}(ab)") == r"\text{one block} + \mathrm{tr}(ab)"
    assert upright(r"\begin{aligned} x &= another map \end{aligned}") == (
        r"\begin{aligned} x &= \text{another map} \end{aligned}"
    )
