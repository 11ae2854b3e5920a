"""Coverage: how much of each paper is checked, by what kind of evidence, and what is left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from reports.claim_page import claim_link
from reports.markdown import link, page, paginate, table, text
from reports.words import PAPERS, VERDICTS, Ledger, families, gaps, label_order, plural, tally


def coverage_pages(ledger: Ledger, places: Mapping[str, str]) -> dict[str, str]:
    """The coverage page; ``places`` maps labels and families to their anchors."""
    head = page("# Coverage", "[All claims](index.md) · [errata](errata.md)")
    parts = [_papers(ledger), _gaps(ledger, places), _families(ledger, places), _power(ledger), _beyond(ledger)]
    parts += _unchecked(ledger, places)
    return paginate("coverage", head, [part for part in parts if part])


def _papers(ledger: Ledger) -> str:
    statements = ledger["statements"]
    rows = []
    for paper, group in groupby(sorted(statements.values(), key=lambda said: said["paper"]), lambda s: s["paper"]):
        all_of = list(group)
        checked = sum(bool(said["claims"]) for said in all_of)
        excused = sum(not said["claims"] and bool(said["reason"]) for said in all_of)
        name = PAPERS.get(paper, ("", paper))[1]
        rows.append([name, str(len(all_of)), str(checked), str(excused), str(len(all_of) - checked - excused)])
    if not rows:
        return ""
    return page("## By paper", table(["paper", "statements", "with claims", "left out, with a reason", "gaps"], rows))


def _gaps(ledger: Ledger, places: Mapping[str, str]) -> str:
    missing = gaps(ledger)
    if not missing:
        return ""
    named = ", ".join(link(label, places[label]) for label in missing)
    return page("## Gaps", f"Statements with neither a claim nor a reason: {named}.")


def _families(ledger: Ledger, places: Mapping[str, str]) -> str:
    rows = []
    for family, ids in families(ledger).items():
        counted = tally(ledger["claims"][one] for one in ids)
        rows.append([link(family, places[family]), str(len(ids)), *(str(n or "—") for n in counted.values())])
    header = ["family", "claims", *(words.lower() for words, _ in VERDICTS.values())]
    return page("## By family", table(header, rows))


def _power(ledger: Ledger) -> str:
    """How strong the evidence is, in sums over all claims."""
    claims = list(ledger["claims"].values())
    checks = [check for claim in claims for check in claim["checks"].values()]
    ran = [check for check in checks if not check["skipped"]]
    wrong = [killers for claim in claims for killers in claim["falsifiers"].values()]
    rejected = sum(bool(killers) for killers in wrong)
    score = {key: sum(claim["mutants"].get(key, 0) for claim in claims) for key in ("tried", "killed", "equivalent")}
    proofs = [proof for claim in claims for proof in claim["proofs"].values() if proof["outcome"] == "proved"]
    networks = sum(bool(check["network"]) for check in ran)
    generic = sum(bool(proof["generic_in"]) for proof in proofs)
    lines = [
        f"{len(proofs)} {plural('proof', len(proofs))} closed, {generic} of them generic.",
        f"{len(ran)} {plural('check', len(ran))} ran, {networks} of them on full networks, "
        f"with {sum(check['supports'] for check in ran)} cases in support; {len(checks) - len(ran)} did not run.",
        f"{rejected} of {len(wrong)} hand-written wrong formulas were rejected; of {score['tried']} automatic mutants "
        f"{score['equivalent']} say the same as their formula and {score['killed']} were rejected.",
    ]
    return page("## Power", " ".join(lines))


def _beyond(ledger: Ledger) -> str:
    beyond = [one for one, claim in sorted(ledger["claims"].items()) if not claim["labels"]]
    if not beyond:
        return ""
    named = ", ".join(claim_link(one, "claims/") for one in beyond)
    return page("## Claims without a printed statement", f"{named}.")


def _unchecked(ledger: Ledger, places: Mapping[str, str]) -> list[str]:
    order = label_order(ledger)
    left = [label for label, said in ledger["statements"].items() if not said["claims"] and said["reason"]]
    parts = []
    for place, label in enumerate(sorted(left, key=order.__getitem__)):
        said = ledger["statements"][label]
        line = f"{link(label, places[label])}, {text(said['where'])}: {text(said['reason'])}"
        parts.append(page("## Left out, and why", line) if place == 0 else line)
    return parts
