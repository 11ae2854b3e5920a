"""The reader's guides: each paper in its own order, every statement in words with its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from reports.claim_page import claim_link
from reports.markdown import page, paginate, slug, text
from reports.verdict import Word
from reports.words import AMISS, PAPERS, Ledger, is_beyond, label_order, paper_of, plural, verdict


def papers_pages(ledger: Ledger) -> dict[str, str]:
    """The guide pages by path; a long paper goes on in numbered pages."""
    order = label_order(ledger)
    labels = sorted(ledger["statements"], key=order.__getitem__)
    found: dict[str, str] = {}
    for paper, group in groupby(labels, key=lambda label: ledger["statements"][label]["paper"]):
        name, full = PAPERS.get(paper, (slug(paper), paper))
        mine = list(group)
        own, beyond = [one for one in mine if not is_beyond(one)], [one for one in mine if is_beyond(one)]
        found.update(
            _guide(ledger, f"papers/{name}", full, own, f"[beyond the paper]({name}-beyond.md)" * bool(beyond))
        )
        if beyond:
            title = f"Beyond the paper: {full}"
            found.update(_guide(ledger, f"papers/{name}-beyond", title, beyond, f"[the paper itself]({name}.md)"))
    return found


def _guide(ledger: Ledger, stem: str, title: str, labels: list[str], other: str) -> dict[str, str]:
    claims = {one for label in labels for one in ledger["statements"][label]["claims"]}
    links = ["[All claims](../index.md)", f"[errata]({_errata(ledger, stem)})", "[coverage](../coverage.md)", other]
    head = page(
        f"# {title}",
        " · ".join(filter(None, links)),
        f"{len(labels)} {plural('statement', len(labels))} in the paper's own order, "
        f"checked by {len(claims)} {plural('claim', len(claims))}.",
        _tally(ledger, labels),
    )
    parts: list[str] = []
    for section, group in groupby(labels, key=lambda label: ledger["statements"][label]["section"]):
        blocks = [_statement(ledger, label) for label in group]
        parts.append(f"## {_section(section)}\n\n{blocks[0]}")
        parts += blocks[1:]
    return paginate(stem, head, parts)


def _errata(ledger: Ledger, stem: str) -> str:
    """Where the errata of a guide's paper stand; the overview if it has none."""
    own = stem.removeprefix("papers/").removesuffix("-beyond")
    amiss = (claim for claim in ledger["claims"].values() if Word(claim["verdict"]) in AMISS)
    has = any(PAPERS[paper_of(claim)][0] == own for claim in amiss)
    return f"../errata-{own}.md" if has else "../errata.md"


def _tally(ledger: Ledger, labels: list[str]) -> str:
    """How many statements have which answer, the most frequent first."""
    answers = Counter(_answer(ledger, ledger["statements"][label]) for label in labels)
    return " · ".join(f"**{answer}** {count}" for answer, count in answers.most_common())


def _section(section: str) -> str:
    if not section:
        return "Elsewhere"
    plain = section[:1].upper() + section[1:]
    return f"Section {plain}" if section[:1].isdigit() else plain


def _statement(ledger: Ledger, label: str) -> str:
    said: Mapping[str, Any] = ledger["statements"][label]
    words, note = text(said["says"]), text(said.get("note", ""))
    return page(
        f"### {label}",
        f"*{_sentence(text(said['where']))}* {_sentence(words)}",
        f"**{_answer(ledger, said)}.** {note[:1].upper()}{note[1:]}".rstrip(),
        _verdicts(ledger, said),
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def _answer(ledger: Ledger, said: Mapping[str, Any]) -> str:
    """What the verdicts on its claims say about a statement, the worst first; a reason beside claims leaves it open."""
    if said["claims"] and said["reason"]:
        return "Not settled, premises checked"
    words = {ledger["claims"][one]["verdict"] for one in said["claims"] if one in ledger["claims"]}
    answers = {
        "defective": "Evidence flawed",
        "undecided": "Open",
        "refuted": "Not as printed",
        "conditional": "Only under conditions",
        "confirmed": "Holds in simulations",
        "proved-for-instances": "Holds, proved for instances",
        "proved": "Holds",
    }
    return next((answer for word, answer in answers.items() if word in words), "Not checked")


def _verdicts(ledger: Ledger, said: Mapping[str, Any]) -> str:
    claims = [one for one in said["claims"] if one in ledger["claims"]]
    if claims:
        left = [f"\nNot settled: {text(said['reason'])}"] if said["reason"] else []
        return "\n".join([*(_line(ledger, one) for one in claims), *left])
    return f"**Not checked**: {text(said['reason'])}" if said["reason"] else "**Gap**: no claim, and no reason given."


def _line(ledger: Ledger, one: str) -> str:
    """A claim with its verdict, its sentence, and the conditions or the correction that belong to it."""
    claim = ledger["claims"][one]
    texts = claim["condition_texts"]
    conditions = [
        f"*{text(name)}* ({text(texts[name])})" if name in texts else text(name) for name in claim["conditions"]
    ]
    more = f" Needs {' and '.join(conditions)}." if conditions else ""
    return f"- **{verdict(claim)}**: {text(claim['says'])}{more} {claim_link(one, '../claims/')}"
