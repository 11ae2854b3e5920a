"""The page of one claim: what is said, the verdict and why, the proof, the networks, what would have been noticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.default_figure import default
from reports.evidence_blocks import checks_block, dropped_block, falsifier_block, point, proofs_block
from reports.graph import ancestry_graph, users
from reports.markdown import emphasis, equation, fence, link, number, page, table, text
from reports.verdict import Word
from reports.words import PAPERS, Claim, Ledger, case, heading, listing, plural, reasons, verdict


def claim_link(claim_id: str, folder: str = "") -> str:
    """A link to a claim's page from a page beside it, or from ``folder`` away."""
    return link(f"`{claim_id}`", f"{folder}{claim_id}.md")


def claim_page(ledger: Ledger, claim_id: str, places: Mapping[str, str]) -> str:
    """The page of a claim; ``places`` maps labels and families to their anchors."""
    claim = ledger["claims"][claim_id]
    family = claim["family"]
    trail = f"{link('All claims', '../index.md')} · family {link(family, f'../{places[family]}')} · `{claim_id}`"
    return page(
        f"# {heading(claim_id)}",
        trail,
        _sentence(claim["says"]),
        fence(equation(claim["formula"], claim["lhs"], claim["relation"])),
        _box(ledger, claim_id, places),
        ancestry_graph(ledger, claim_id),
        text(claim["remark"]),
        _truth(ledger, claim),
        proofs_block(claim),
        _network(claim_id, claim),
        falsifier_block(claim),
        dropped_block(claim),
        _completeness(claim),
    )


def _sentence(prose: str) -> str:
    sentence = text(prose.strip())
    sentence = sentence[:1].upper() + sentence[1:]
    return sentence if sentence.endswith((".", "!", "?", ":")) else sentence + "."


def figures_of(claim: Claim) -> list[Mapping[str, Any]]:
    """The figures a claim brings, or else the default one, where there is anything to draw."""
    own = [figure for figure in claim["figures"] if figure["panels"]]
    drawn = default(claim) if not own else None
    return own or ([drawn] if drawn else [])


def _box(ledger: Ledger, claim_id: str, places: Mapping[str, str]) -> str:
    claim = ledger["claims"][claim_id]
    paper = PAPERS.get(claim["source"][:1], ("", ""))[1] if claim["source"][1:2] == " " else ""
    labels = ", ".join(link(label, f"../{places[label]}") if label in places else label for label in claim["labels"])
    why = "; ".join(text(reason) for reason in reasons(claim))
    rows = [["In the paper", text(claim["source"]) + (f", *{paper}*" if paper else "")], ["Statements", labels]]
    rows += [[f"Assumes {text(one['name'])}", text(one["says"])] for one in claim["given"]]
    rows += [[f"Needs {text(name)}", text(said)] for name, said in claim["condition_texts"].items()]
    rows.append(["Uses", _related(ledger, claim["uses"])])
    rows.append(["Used by", _related(ledger, users(ledger)[claim_id])])
    rows.append(["Corrected by", _related(ledger, claim["corrected_by"])])
    header = ["Verdict", f"**{verdict(claim)}**" + (f": {why}" if why else "")]
    return table(header, [row for row in rows if row[1]])


def _related(ledger: Ledger, claim_ids: list[str]) -> str:
    known = ledger["claims"]
    return ", ".join(
        f"{claim_link(one)} ({verdict(known[one]).lower()})" if one in known else f"`{one}`" for one in claim_ids
    )


def counterexample(claim: Claim) -> str:
    """The counterexample as a paragraph with its numbers; empty without one."""
    found = claim["counterexample"]
    if not found:
        return ""
    said = ""
    if found["check"]:
        where = case(found["case"])
        said = f"At {where}:" if where else "In one case:"
        said = text(said) + " " + _against(found)
    if set(found.get("witness") or ()) == {"value"}:
        said += f" In exact numbers the two sides differ by {point(found['witness'])}."
    elif found.get("witness"):
        said += f" An exact point where the statement fails: {point(found['witness'])}"
        said += "" if said.endswith("```") else "."
    if found.get("detail") and not found.get("observed"):
        said += ("\n\n" if said.endswith("```") else " ") + _sentence(found["detail"])
    return said.strip()


def _against(found: Mapping[str, Any]) -> str:
    pairs = ""
    if found.get("observed"):
        pairs = f"found {_sample(found['observed'])} where the statement gives {_sample(found['predicted'])}; "
    if found["error"] in ("inf", "nan"):
        return f"{pairs}not all numbers that were compared are finite."
    if not pairs and not found.get("bound"):
        return "what is found is not what is stated."
    bound = (
        f"against an error bound of {number(found['bound'])}" if found.get("bound") else "where no error is possible"
    )
    return f"{pairs}the difference is {number(found['error'])} {bound}."


def _sample(numbers: list[Any]) -> str:
    return listing([number(value, 6) for value in numbers])


def truth(ledger: Ledger, claim: Claim) -> str:
    """What holds instead: the corrected formula and the claims that assert it, or the conditions; no heading."""
    blocks = []
    if claim.get("control_formula"):
        blocks.append(fence(equation(claim["control_formula"], claim["lhs"], claim["relation"])))
    for one in claim["corrected_by"]:
        if one in ledger["claims"]:
            right = ledger["claims"][one]
            blocks.append(f"{_sentence(right['says'])} {verdict(right)}.")
            if not claim.get("control_formula"):
                blocks.append(fence(equation(right["formula"], right["lhs"], right["relation"])))
    if claim["condition_texts"]:
        needed = "; ".join(f"{emphasis(name)}: {text(said)}" for name, said in claim["condition_texts"].items())
        blocks.append(f"It holds if, in addition, {needed}.")
    return "\n\n".join(blocks)


def _truth(ledger: Ledger, claim: Claim) -> str:
    shown = counterexample(claim)
    if Word(claim["verdict"]) not in (Word.REFUTED, Word.CONDITIONAL):
        return ""
    blocks = []
    if shown:
        blocks += ["## The counterexample", shown]
    instead = truth(ledger, claim)
    if instead:
        blocks += ["## What is true", instead]
    return "\n\n".join(blocks)


def _network(claim_id: str, claim: Claim) -> str:
    blocks = []
    for place, figure in enumerate(figures_of(claim), 1):
        blocks.append(f"![{heading(claim_id)}](../figures/{claim_id}-{place}.svg)")
        blocks.append(_sentence(figure["caption"]))
    blocks += checks_block(claim)
    name = "## In a network" if any(check["network"] for check in claim["checks"].values()) else "## In numbers"
    return "\n\n".join([name, *blocks]) if blocks else ""


def _completeness(claim: Claim) -> str:
    checks = claim["checks"].values()
    skipped, networks = sum(bool(c["skipped"]) for c in checks), sum(bool(c["network"]) for c in checks)
    supports, undecided = sum(c["supports"] for c in checks), sum(c["undecided"] for c in checks)
    contradicts, outside = sum(c["contradicts"] for c in checks), sum(c["outside"] for c in checks)
    said = f"{len(checks)} {plural('check', len(checks))}"
    said += f", {networks} of them on full networks" if 0 < networks < len(checks) else ""
    said += f"; {supports} {plural('case', supports)} in support, {contradicts} against, {undecided} undecided."
    if outside:
        said += f" {outside} {plural('case', outside)} fell outside the assumptions and {_were(outside)} not counted."
    if skipped:
        said += f" {skipped} {plural('check', skipped)} did not run here."
    grade = f"Proved in general in {text(claim['generic_in'])}." if claim["generic_in"] else ""
    grade = grade or (f"Proved for instances only: {text(claim['instances'])}." if claim["instances"] else "")
    if not grade and claim["verdict"] != Word.REFUTED:
        grade = "No proof of this statement closes."
    versions = ", ".join(f"{name} {value}" for name, value in claim["environment"].items() if name != "device")
    where = claim["environment"].get("device", "")
    source = f"Computed with {text(versions)}" + (f" on {text(where)}" if where else "")
    return page("## Completeness and provenance", f"{said} {grade}".rstrip(), f"{source}.").strip()


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
