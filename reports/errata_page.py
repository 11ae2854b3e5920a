"""The errata: for each refuted or conditional statement what is printed, what is true, and a counterexample."""

from __future__ import annotations

from reports.claim_page import claim_link, counterexample, truth
from reports.markdown import equation, fence, page, paginate, text
from reports.verdict import Word
from reports.words import AMISS, Ledger, in_paper_order, place, plural, verdict


def errata_pages(ledger: Ledger) -> dict[str, str]:
    """The errata in the order of the papers; long errata go on in numbered pages."""
    amiss = [one for one, claim in ledger["claims"].items() if Word(claim["verdict"]) in AMISS]
    wrong = sum(ledger["claims"][one]["verdict"] == Word.REFUTED for one in amiss)
    head = page(
        "# Errata",
        "[All claims](index.md) · [coverage](coverage.md)",
        f"{wrong} {plural('statement', wrong)} refuted as printed, {len(amiss) - wrong} true only under conditions "
        "that are not stated, in the order of the papers. Each entry links to the evidence.",
    )
    return paginate("errata", head, [_entry(ledger, one) for one in in_paper_order(ledger, amiss)])


def _entry(ledger: Ledger, claim_id: str) -> str:
    claim = ledger["claims"][claim_id]
    shown = counterexample(claim)
    instead = truth(ledger, claim)
    said = text(claim["says"]).removeprefix("As printed, ").removesuffix(".")
    return page(
        f"## {text(place(claim))}: {said[:1].upper()}{said[1:]}",
        f"**{verdict(claim)}** · {claim_link(claim_id, 'claims/')}",
        fence(equation(claim["formula"], claim["lhs"], claim["relation"])),
        f"*Counterexample*: {shown}" if shown else "",
        f"*What is true*:\n\n{instead}" if instead else "",
    )
