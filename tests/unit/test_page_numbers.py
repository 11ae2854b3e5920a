"""Every number on a page occurs in the ledger, or is a count or a sum that this test computes on its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from reports.markdown import number
from reports.pages import pages
from reports.words import complete, is_beyond, paper_of, tally
from tests.unit.sample_ledger import every_ledger, sample_ledger

_TOKEN = re.compile(r"(?<![\w.\-/])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w/])")


def printed(content: str) -> set[str]:
    """The numbers that a reader sees in the prose of a page."""
    content = re.sub(r"^```.*?^```$", "", content, flags=re.DOTALL | re.MULTILINE)
    content = re.sub(r"\$`.*?`\$|`[^`\n]*`|!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)", " ", content)
    return set(_TOKEN.findall(content.replace("e-0", "e-")))


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


def guide_counts(ledger: dict[str, Any], paper: str) -> set[int]:
    """Statements and claims of the two guides of a paper: its own statements, and those beyond it."""
    table = complete(ledger)["statements"]
    found: set[int] = set()
    for beyond in (False, True):
        mine = [table[one] for one in table if table[one]["paper"] == paper and is_beyond(one) is beyond]
        found |= {len(mine), len({name for said in mine for name in said["claims"]})}
    return found


def counts(ledger: dict[str, Any]) -> set[int]:
    claims, statements = list(ledger["claims"].values()), list(complete(ledger)["statements"].values())
    checks = [check for claim in claims for check in claim["checks"].values()]
    found = {len(claims), len(checks), *tally(claims).values()}
    for family in {claim["family"] for claim in claims}:
        found |= {len(mine := [c for c in claims if c["family"] == family]), *tally(mine).values()}
    for paper in {paper_of(claim) for claim in claims}:
        words = [claim["verdict"] for claim in claims if paper_of(claim) == paper]
        found |= {words.count("refuted"), words.count("conditional")}
    for paper in {said["paper"] for said in statements}:
        mine = [said for said in statements if said["paper"] == paper]
        found |= guide_counts(ledger, paper)
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
    assert printed(f"The error is {invented} of its bound.") - known_numbers(sample_ledger()) == {invented}
