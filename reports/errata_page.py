"""The errata: for each refuted or conditional statement what is printed, what is true, and a counterexample."""

from __future__ import annotations

from reports.claim_page import claim_link, counterexample, truth
from reports.markdown import anchors, equation, fence, link, page, paginate, table, text
from reports.verdict import Word
from reports.words import AMISS, PAPERS, Ledger, in_paper_order, paper_of, place, plural, verdict


def errata_pages(ledger: Ledger) -> dict[str, str]:
    """An overview of all errata, and for each paper its errata in its own order, long ones in numbered pages."""
    amiss = in_paper_order(ledger, [one for one, claim in ledger["claims"].items() if Word(claim["verdict"]) in AMISS])
    lead = page("# Errata", "[All claims](index.md) · [coverage](coverage.md)", _count(ledger, amiss))
    parts, found = [], {}
    for paper in sorted({paper_of(ledger["claims"][one]) for one in amiss}):
        mine = [one for one in amiss if paper_of(ledger["claims"][one]) == paper]
        stem, full = PAPERS[paper]
        head = page(
            f"# Errata: {full}",
            f"[All errata](errata.md) · [the paper](papers/{stem}.md) · [all claims](index.md)",
            _count(ledger, mine),
        )
        own = paginate(f"errata-{stem}", head, [_entry(ledger, one) for one in mine])
        parts.append(_overview(ledger, mine, full, anchors(own, "##")))
        found.update(own)
    return {**paginate("errata", lead, parts), **found}


def _count(ledger: Ledger, amiss: list[str]) -> str:
    wrong = sum(ledger["claims"][one]["verdict"] == Word.REFUTED for one in amiss)
    return (
        f"{wrong} {plural('statement', wrong)} refuted as printed, {len(amiss) - wrong} true only under conditions "
        "that are not stated, in the order of the papers. Each entry links to the evidence."
    )


def _overview(ledger: Ledger, mine: list[str], full: str, places: dict[str, str]) -> str:
    rows = []
    for one in mine:
        claim = ledger["claims"][one]
        rows.append([link(text(place(claim)), places[_heading(ledger, one)]), text(claim["says"]), verdict(claim)])
    return page(f"## {full}", table(["where", "stated", "verdict"], rows))


def _heading(ledger: Ledger, claim_id: str) -> str:
    claim = ledger["claims"][claim_id]
    said = text(claim["says"]).removeprefix("As printed, ").removesuffix(".")
    return f"{text(place(claim))}: {said[:1].upper()}{said[1:]}"


def _entry(ledger: Ledger, claim_id: str) -> str:
    claim = ledger["claims"][claim_id]
    shown = counterexample(claim)
    instead = truth(ledger, claim)
    return page(
        f"## {_heading(ledger, claim_id)}",
        f"**{verdict(claim)}** · {claim_link(claim_id, 'claims/')}",
        fence(equation(claim["formula"], claim["lhs"], claim["relation"])),
        f"*Counterexample*: {shown}" if shown else "",
        f"*What is true*:\n\n{instead}" if instead else "",
    )
