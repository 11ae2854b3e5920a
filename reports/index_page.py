"""The first page: what is wrong or conditional, what is open, then every claim by family; and the README block."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from reports.graph import family_graph
from reports.markdown import link, page, paginate, table, text
from reports.verdict import Word
from reports.words import (
    AMISS,
    OPEN,
    PAPERS,
    VERDICTS,
    Ledger,
    families,
    gaps,
    heading,
    in_paper_order,
    paper_of,
    plural,
    reasons,
    sees,
    strongest,
    tally,
    tally_line,
    title,
    verdict,
)


def index_pages(ledger: Ledger, guides: Mapping[str, str]) -> dict[str, str]:
    """The index; ``guides`` are the pages of the papers."""
    head = page("# What was found", _summary(ledger), _trail(guides))
    parts = [_amiss(ledger), _open(ledger), _legend(ledger), _graph(ledger)]
    parts += [_family(ledger, family, ids) for family, ids in families(ledger).items()]
    return paginate("index", head, [part for part in parts if part])


def _summary(ledger: Ledger) -> str:
    claims = ledger["claims"]
    lead = (
        "Each claim is one statement as a formula, derived by computer algebra and compared with networks whose full "
        "weight matrices are trained or moved by the rule in question."
    )
    return f"{lead} {len(claims)} {plural('claim', len(claims))}: {tally_line(claims.values())}."


def _trail(guides: Mapping[str, str]) -> str:
    firsts = {name: content.partition("\n")[0].removeprefix("# ") for name, content in guides.items()}
    papers = [link(full, name) for name, full in firsts.items() if not re.search(r"-\d+\.md$", name)]
    return " · ".join([*papers, link("errata", "errata.md"), link("coverage", "coverage.md")])


def _rows(ledger: Ledger, words: Iterable[Word]) -> list[list[str]]:
    wanted = tuple(words)
    found = [one for one, claim in ledger["claims"].items() if Word(claim["verdict"]) in wanted]
    rows = []
    for one in in_paper_order(ledger, found):
        claim = ledger["claims"][one]
        rows.append([_title_link(one), text(claim["source"]), verdict(claim), text(claim["says"])])
    return rows


def _title_link(claim_id: str, words: Callable[[str], str] = heading) -> str:
    return link(words(claim_id), f"claims/{claim_id}.md")


def _amiss(ledger: Ledger) -> str:
    rows = _rows(ledger, AMISS)
    if not rows:
        return page("## Wrong or conditional", "Nothing.")
    lead = f"What the papers state and what does not hold as stated; the {link('errata', 'errata.md')} say what does."
    return page("## Wrong or conditional", lead, table(["claim", "where", "verdict", "stated"], rows))


def _open(ledger: Ledger) -> str:
    rows = [
        [_title_link(one), text(claim["source"]), verdict(claim), "; ".join(map(text, reasons(claim)[:3]))]
        for one, claim in ledger["claims"].items()
        if Word(claim["verdict"]) in OPEN
    ]
    missing = gaps(ledger)
    left = f"{len(missing)} {plural('statement', len(missing))} without a claim or a reason, " if missing else ""
    pointer = f"{left}see {link('coverage', 'coverage.md')}." if missing else ""
    if not rows and not missing:
        return page("## Gaps", f"No claim is undecided; {link('coverage', 'coverage.md')} lists what was left out.")
    return page("## Gaps", table(["claim", "where", "verdict", "because"], rows) if rows else "", pointer)


def _legend(ledger: Ledger) -> str:
    counted = tally(ledger["claims"].values())
    rows = [[words, str(counted[word]), meaning] for word, (words, meaning) in VERDICTS.items() if counted[word]]
    lead = (
        "In the tables below, *sees* is the smallest relative change of the formula that a check of the claim notices."
    )
    return page("## Verdicts", table(["verdict", "claims", "meaning"], rows), lead)


def _graph(ledger: Ledger) -> str:
    drawn = family_graph(ledger)
    return page("## Families", "An arrow leads from a family to one that uses it.", drawn) if drawn else ""


def _family(ledger: Ledger, family: str, ids: list[str]) -> str:
    rows = []
    for one in ids:
        claim = ledger["claims"][one]
        rows.append(
            [_title_link(one, title), text(claim["source"]), verdict(claim), text(strongest(claim)), sees(claim)]
        )
    return page(f"## {family}", table(["claim", "where", "verdict", "strongest evidence", "sees"], rows))


def readme_block(ledger: Ledger) -> str:
    """The block of the README: how many claims of each paper have which verdict, and where the errata are."""
    claims = list(ledger["claims"].values())
    papers = sorted({paper_of(claim) for claim in claims})
    counted = {paper: tally(claim for claim in claims if paper_of(claim) == paper) for paper in papers}
    rows = [
        [words, *(str(counted[paper][word]) for paper in papers), meaning]
        for word, (words, meaning) in VERDICTS.items()
        if any(counted[paper][word] for paper in papers)
    ]
    header = ["verdict", *(f"paper {paper}, {PAPERS[paper][0]}" for paper in papers), "meaning"]
    pages = " · ".join(link(name, f"reports/{name}.md") for name in ("index", "errata", "coverage"))
    return page(table(header, rows), f"Pages: {pages}.")
