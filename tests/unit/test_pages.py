"""Pages: what GitHub would refuse, links that lead nowhere, numbers from nowhere, and what a reader must find."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from reports import ledger as store
from reports.claim_page import figures_of
from reports.evidence_blocks import point
from reports.graph import NODES, ancestors, family_graph, tree
from reports.markdown import faults, slug
from reports.pages import END, START, build, pages, update_readme
from reports.words import complete, heading, in_paper_order, largest_ratio, place, section_key
from tests.unit.sample_ledger import LEDGERS, every_ledger, sample_ledger, undrawn_ledger


def drawings(ledger: dict[str, Any]) -> set[str]:
    """The paths of the figures that pages may show."""
    return {
        f"figures/{name}-{k}.svg"
        for name, claim in ledger["claims"].items()
        for k in range(1, len(figures_of(claim)) + 1)
    }


def dangling(written: dict[str, str], figures: set[str]) -> list[str]:
    """Links of pages whose file or heading does not exist."""
    headings = {
        name: {slug(head) for head in re.findall(r"^#+ (.+)$", content, re.MULTILINE)} | {""}
        for name, content in written.items()
    }
    found = []
    for name, content in written.items():
        for target in re.findall(r"\]\(([^)]+)\)", content):
            file, _, anchor = target.partition("#")
            path = PurePosixPath(name).parent / file if file else PurePosixPath(name)
            parts: list[str] = []
            for part in path.parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            reached = "/".join(parts)
            if reached not in figures and anchor not in headings.get(reached, set()):
                found.append(f"{name}: {target}")
    return found


@every_ledger
def test_github_accepts_every_page(ledger: dict[str, Any]) -> None:
    assert {name: faults(content) for name, content in pages(ledger).items() if faults(content)} == {}


@every_ledger
def test_every_link_and_figure_exists(ledger: dict[str, Any]) -> None:
    assert dangling(pages(ledger), drawings(ledger)) == []


def test_a_dangling_link_is_noticed() -> None:
    lost = "# B\n[y](../index.md#nowhere) ![z](../figures/n.svg)"
    written = {"index.md": "# A\n[x](claims/b.md)", "claims/b.md": lost}
    assert dangling(written, set()) == ["claims/b.md: ../index.md#nowhere", "claims/b.md: ../figures/n.svg"]
    written["claims/b.md"] = "# B\n[y](../index.md#a) ![z](../figures/n.svg)"
    assert dangling(written, {"figures/n.svg"}) == []


def test_index_puts_what_is_wrong_first() -> None:
    index = pages(sample_ledger())["index.md"]
    order = [index.index(words) for words in ("## Wrong or conditional", "## Gaps", "## Families", "## modes")]
    assert order == sorted(order)
    amiss = index[order[0] : order[1]]
    assert "claims/modes.faster.md" in amiss and "claims/null-space.orbit.md" in amiss
    assert "claims/modes.fractional-rate.md" not in amiss
    assert "claims/damping.limit.md" in index[order[1] : order[2]]


def test_errata_give_statement_counterexample_and_truth() -> None:
    written = pages(sample_ledger())
    errata = written["errata-curvature.md"]
    assert errata.index("## Section 2: The symm") < errata.index("## Section 5: Curv"), "order of the paper"
    entry = errata[errata.index("## Section 5") :]
    assert r"t_{\mathrm{NGD}} \le t_{\mathrm{SGD}}" + "\n" in entry
    assert "found 0.6831 where the statement gives 0.2298" in entry
    assert r"\left\lvert j\right\rvert ^{2}" in entry
    assert "*full rank*: both factors have full rank" in errata
    assert "fractional-rate" not in errata
    for anchor in ("section-2-the-symm", "section-5-curv"):
        assert f"](errata-curvature.md#{anchor}" in written["errata.md"]


def test_claim_page_shows_the_evidence() -> None:
    shown = pages(sample_ledger())["claims/modes.fractional-rate.md"]
    for expected in (
        "**Proved**: generic in d, q, widths",
        r"\dot\sigma_i = -\eta \left\lVert j\right\rVert ^{-2/q} j_i \sigma_\Delta",
        "The largest error is 0.0312 of its bound",
        "6.5e-14 from rounding, 2.25e-15 from integration",
        "It notices a relative change of 1e-12 in the formula",
        "| damping dropped | below | rejects | — | rejects |",
        "No full network takes part",
    ):
        assert expected in shown


def test_gross_errors_are_times_the_bound() -> None:
    assert "The largest error is 4.5e9 times its bound" in pages(sample_ledger())["claims/modes.faster.md"]


def test_an_error_where_none_is_allowed_has_no_ratio() -> None:
    ledger = sample_ledger()
    ledger["claims"]["modes.faster"]["checks"]["half_time"].update(
        largest_error_over_bound="inf", largest_error=10.0, bound=0.0
    )
    assert "The largest error is 10, where none is allowed." in pages(ledger)["claims/modes.faster.md"]


def test_names_with_maths_are_not_set_in_italics() -> None:
    ledger = sample_ledger()
    claim = ledger["claims"]["modes.balanced"]
    claim["near_misses"] = ["$`\\lambda`$ squared"]
    claim["falsifiers"]["$`\\lambda`$ squared"] = []
    claim["falsifier_formulas"]["$`\\lambda`$ squared"] = [["a", "1"], ["b", "2"]]
    assert faults(pages(ledger)["claims/modes.balanced.md"]) == []


def test_what_did_not_run_is_said() -> None:
    ledger = sample_ledger()
    check = ledger["claims"]["modes.balanced"]["checks"]["full_network"]
    check.update(skipped=True, gpu=True, supports=0, largest_error_over_bound=None, sample={})
    shown = pages(ledger)["claims/modes.balanced.md"]
    assert "did not run: it wants an accelerator" in shown and "1 check did not run here" in shown
    assert largest_ratio(ledger["claims"]["modes.balanced"]) is None


def test_long_guides_go_on_in_parts_and_links_follow() -> None:
    ledger = sample_ledger()
    for k in range(900):
        ledger["statements"][f"C2-{k}"] = {**ledger["statements"]["C1-34"], "says": "words " * 20}
    ledger["claims"]["modes.fractional-rate"]["labels"].append("C2-899")
    written = pages(ledger)
    assert "papers/curvature-2.md" in written
    assert [faults(content) for content in written.values() if faults(content)] == []
    assert dangling(written, drawings(ledger)) == []
    assert "curvature.md#c2-899" not in written["claims/modes.fractional-rate.md"]


def test_sections_and_labels_follow_the_paper() -> None:
    sections = ["S.I.10", "3.2", "abstract", "10", "S.I.2", "3.1", "beyond the paper"]
    wanted = ["abstract", "3.1", "3.2", "10", "S.I.2", "S.I.10", "beyond the paper"]
    assert sorted(sections, key=section_key) == wanted
    order = in_paper_order(complete(sample_ledger()), ["modes.faster", "modes.fractional-rate", "gradient.words"])
    assert order == ["gradient.words", "modes.fractional-rate", "modes.faster"]


def test_a_missing_section_is_read_from_where() -> None:
    ledger = sample_ledger()
    for where, section in (("section 3.1, eq. 14", "3.1"), ("S.I.2, below eq. 4", "S.I.2"), ("figure 3", "")):
        ledger["statements"]["C1-34"] = {"where": where, "says": "a law"}
        assert complete(ledger)["statements"]["C1-34"]["section"] == section


def test_graphs_stay_small_and_cycles_end() -> None:
    ledger = sample_ledger()
    example = ledger["claims"]["modes.fractional-rate"]
    for k in range(60):
        ledger["claims"][f"f{k}.a"] = {**example, "family": f"f{k}", "uses": [f"f{(k + 1) % 60}.a"]}
    assert family_graph(ledger).count("[") == NODES
    assert len(ancestors(ledger, "f0.a")) == 59
    assert len(list(tree(ledger, "f0.a"))) == 61
    assert list(tree(ledger, "f0.a"))[-1].again
    assert faults(pages(ledger)["claims/f0.a.md"]) == []
    assert pages(ledger)["claims/f0.a.md"].count('["') == NODES


def test_build_is_the_same_byte_for_byte_and_removes_stale_files(tmp_path: Path) -> None:
    ledger, drawn = sample_ledger(), []
    stale = [tmp_path / "claims" / "gone.fact.md", tmp_path / "figures" / "gone.fact-1.svg", tmp_path / "errata-2.md"]
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text("old")
    (tmp_path / "performance.md").write_text("kept")
    build(ledger, tmp_path, notify=drawn.append)
    first = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert not any(path.exists() for path in stale) and (tmp_path / "performance.md").exists()
    assert len(drawn) == len(drawings(ledger))
    drawn.clear()
    build(json.loads(json.dumps(ledger)), tmp_path, notify=drawn.append)
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")} == first
    assert drawn == []


def test_readme_block_stands_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    assert not update_readme(readme, "x")
    readme.write_text("# Title\nno markers\n")
    assert not update_readme(readme, "x") and readme.read_text() == "# Title\nno markers\n"
    readme.write_text(f"# Title\n{START}\nstale text\n{END}\nrest\n")
    build(undrawn_ledger(), tmp_path / "reports", readme=readme, notify=lambda line: None)
    content = readme.read_text()
    assert content.startswith(f"# Title\n{START}\n") and content.endswith(f"\n{END}\nrest\n") and "stale" not in content
    assert "| Refuted | 1 |" in content and "reports/errata.md" in content


@pytest.mark.parametrize("bad", [{"schema": 2, "claims": {}}, {"claims": {}}, []])
def test_another_schema_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="schema .* given, allowed: 1"):
        pages(bad)


def test_committed_pages_are_those_of_the_committed_ledger() -> None:
    """Vacuous only as long as no ledger is committed at all; then there must be no pages either."""
    folder = store.PUBLISHED.parent
    written = pages(LEDGERS["committed"]) if "committed" in LEDGERS else {}
    kept = {path.relative_to(folder).as_posix() for path in folder.glob("claims/*.md")}
    assert kept == {name for name in written if name.startswith("claims/")}
    stale = [name for name, content in written.items() if (folder / name).read_text(encoding="utf-8") != content]
    assert stale == [], "run `python -m reports build`"


def test_headings_stand_alone() -> None:
    assert heading("closed-form.zero-start-as-printed") == "Closed form: zero start, as printed"
    assert heading("path.same-path-as-printed") == "Same path, as printed"
    assert place({"source": "A footnote 7 (for any weights)"}) == "Footnote 7"


def test_matrices_of_a_witness_stand_in_a_block_of_their_own() -> None:
    assert point({"q": "9/4", "value": "-2.5000"}) == "`q = 9/4`, with a difference of `-2.5`"
    shown = point({"U": "[[Fraction(3, 5)], [0]]", "d": "2", "value": "-59.000"})
    assert shown == "the two sides differ by `-59` at\n\n```text\nU = [[3/5], [0]]\nd = 2\n```"


def test_a_statement_with_claims_and_a_reason_is_not_settled() -> None:
    ledger = sample_ledger()
    ledger["statements"]["C1-34"]["reason"] = "it needs a training run"
    guide = pages(ledger)["papers/curvature.md"]
    entry = guide[guide.index("### C1-34") :]
    assert "**Not settled, premises checked.**" in entry and "Not settled: it needs a training run" in entry
    assert "claims/modes.fractional-rate.md" in entry
