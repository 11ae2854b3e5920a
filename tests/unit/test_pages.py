"""Pages: what GitHub would refuse, links that lead nowhere, numbers from nowhere, and what a reader must find."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from reports import ledger as store
from reports.claim_page import figures_of
from reports.graph import NODES, ancestors, family_graph, tree
from reports.markdown import anchors, faults, number, paginate, slug, table, tex, text
from reports.pages import END, START, build, pages, update_readme
from reports.words import complete, in_paper_order, largest_ratio, section_key, tally
from tests.unit.sample_ledger import sample_ledger, undrawn_ledger

LEDGERS = {"sample": sample_ledger()}
if store.PUBLISHED.exists():
    LEDGERS["committed"] = store.load()

every_ledger = pytest.mark.parametrize("ledger", LEDGERS.values(), ids=LEDGERS.keys())


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


_TOKEN = re.compile(r"(?<![\w.\-/])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w/])")


def printed(content: str) -> set[str]:
    """The numbers that a reader sees in the prose of a page."""
    content = re.sub(r"^```.*?^```$", "", content, flags=re.DOTALL | re.MULTILINE)
    content = re.sub(r"\$`.*?`\$|`[^`\n]*`|!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)", " ", content)
    return set(_TOKEN.findall(content))


def leaves(thing: Any) -> Iterator[Any]:
    """All keys and values of a ledger."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield key
            # Points of drawings and samples are not printed: left in, they would excuse almost any number.
            yield from leaves(value) if key not in ("panels", "sample") else ()
    elif isinstance(thing, list):
        for value in thing:
            yield from leaves(value)
    else:
        yield thing


def known_numbers(ledger: dict[str, Any]) -> set[str]:
    """Numbers of the ledger as printed, with the counts and sums that pages may state about it."""
    found: set[str] = set()
    for leaf in leaves(ledger):
        if isinstance(leaf, str):
            found |= set(re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", leaf.replace("e-0", "e-")))
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            found |= {number(leaf), number(leaf, 6)}
    return found | {str(count) for count in counts(ledger)}


def counts(ledger: dict[str, Any]) -> set[int]:
    claims, statements = list(ledger["claims"].values()), list(complete(ledger)["statements"].values())
    checks = [check for claim in claims for check in claim["checks"].values()]
    found = {len(claims), len(checks), *tally(claims).values()}
    for family in {claim["family"] for claim in claims}:
        found |= {len(mine := [c for c in claims if c["family"] == family]), *tally(mine).values()}
    for paper in {said["paper"] for said in statements}:
        mine = [said for said in statements if said["paper"] == paper]
        claimed = sum(bool(said["claims"]) for said in mine)
        excused = sum(bool(said["reason"]) and not said["claims"] for said in mine)
        found |= {len(mine), claimed, excused, len(mine) - claimed - excused}
        found.add(len({name for said in mine for name in said["claims"]}))
    found.add(sum(not said["claims"] and not said["reason"] for said in statements))
    for claim in claims:
        mine = list(claim["checks"].values())
        found |= {len(mine), *(sum(bool(c[key]) for c in mine) for key in ("network", "skipped"))}
        found |= {sum(c[key] for c in mine) for key in ("supports", "contradicts", "undecided", "outside")}
        found.add(claim["mutants"].get("tried", 0) - claim["mutants"].get("equivalent", 0))
    ran = [check for check in checks if not check["skipped"]]
    found |= {len(ran), len(checks) - len(ran), sum(c["network"] for c in ran), sum(c["supports"] for c in ran)}
    wrong = [killers for claim in claims for killers in claim["falsifiers"].values()]
    found |= {len(wrong), sum(map(bool, wrong))}
    found |= {sum(claim["mutants"].get(key, 0) for claim in claims) for key in ("tried", "killed", "equivalent")}
    proved = [p for claim in claims for p in claim["proofs"].values() if p["outcome"] == "proved"]
    return found | {len(proved), sum(bool(p["generic_in"]) for p in proved)}


@every_ledger
def test_every_number_on_a_page_occurs_in_the_ledger(ledger: dict[str, Any]) -> None:
    known = known_numbers(ledger)
    strange = {name: printed(content) - known for name, content in pages(ledger).items()}
    assert {name: numbers for name, numbers in strange.items() if numbers} == {}


@pytest.mark.parametrize("invented", ["0.777", "4711", "3.3e-7"])
def test_an_invented_number_is_noticed(invented: str) -> None:
    assert printed(f"The error is {invented} of its bound.") - known_numbers(LEDGERS["sample"]) == {invented}


def test_index_puts_what_is_wrong_first() -> None:
    index = pages(sample_ledger())["index.md"]
    order = [index.index(words) for words in ("## Wrong or conditional", "## Gaps", "## Families", "## modes")]
    assert order == sorted(order)
    amiss = index[order[0] : order[1]]
    assert "claims/modes.faster.md" in amiss and "claims/null-space.orbit.md" in amiss
    assert "claims/modes.fractional-rate.md" not in amiss
    assert "claims/damping.limit.md" in index[order[1] : order[2]]


def test_errata_give_statement_counterexample_and_truth() -> None:
    errata = pages(sample_ledger())["errata.md"]
    assert errata.index("## Orbit") < errata.index("## Faster"), "order of the paper"
    entry = errata[errata.index("## Faster") :]
    assert r"t_{\mathrm{NGD}} \le t_{\mathrm{SGD}}" + "\n" in entry
    assert "found 0.6831 where the statement gives 0.2298" in entry
    assert r"\left\lvert j\right\rvert ^{2}" in entry
    assert "*full rank*: both factors have full rank" in errata
    assert "fractional-rate" not in errata


def test_claim_page_shows_the_evidence() -> None:
    shown = pages(sample_ledger())["claims/modes.fractional-rate.md"]
    for expected in (
        "**Proved**: generic in d, q, widths",
        r"\dot\sigma_i = -\eta \left\lVert j\right\rVert ^{-2/q} j_i \sigma_\Delta",
        "The largest error is 0.0312 of its bound",
        "rounding 6.5e-14, integration 2.25e-15",
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


def test_paginate_keeps_order_and_everything() -> None:
    parts = [f"part {k} " + "x" * 20_000 for k in range(6)]
    found = paginate("folder/name", "# Head\n\nlead", parts)
    assert list(found) == ["folder/name.md", "folder/name-2.md", "folder/name-3.md"]
    joined = "".join(found.values())
    assert [joined.index(f"part {k} x") for k in range(6)] == sorted(joined.index(f"part {k} x") for k in range(6))


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
    assert "| Refuted | 1 |" in content and "reports/claims/modes.faster.md" in content


@pytest.mark.parametrize("bad", [{"schema": 2, "claims": {}}, {"claims": {}}, []])
def test_another_schema_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="schema .* given, allowed: 1"):
        pages(bad)


def test_anchors_are_those_of_github() -> None:
    assert anchors({"a.md": "# x\n### igoi.abs-b\ntext\n"}, "###") == {"igoi.abs-b": "a.md#igoiabs-b"}


def test_committed_pages_are_those_of_the_committed_ledger() -> None:
    """Vacuous only as long as no ledger is committed at all; then there must be no pages either."""
    folder = store.PUBLISHED.parent
    written = pages(LEDGERS["committed"]) if "committed" in LEDGERS else {}
    kept = {path.relative_to(folder).as_posix() for path in folder.glob("claims/*.md")}
    assert kept == {name for name in written if name.startswith("claims/")}
    stale = [name for name, content in written.items() if (folder / name).read_text(encoding="utf-8") != content]
    assert stale == [], "run `python -m reports build`"
