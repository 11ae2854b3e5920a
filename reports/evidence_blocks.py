"""Blocks of a claim page that show evidence: proofs, checks, the kill matrix, dropped assumptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reports.markdown import emphasis, equation, fence, inline, number, short, table, text
from reports.words import Claim, against_bound, budget, listing, plural, spoken

COLUMNS = 6


def _capital(prose: str) -> str:
    return prose[:1].upper() + prose[1:]


def _closed(prose: str) -> str:
    return prose if prose.endswith((".", ":", "!", "?")) else prose + "."


def proofs_block(claim: Claim) -> str:
    """The section *Why*: each proof with its grade and its steps as equations."""
    blocks = ["## Why"] if claim["proofs"] else []
    for name, proof in claim["proofs"].items():
        blocks += [f"### {_capital(spoken(name))}", _grade(proof)]
        goes_on = False
        for step in proof["steps"]:
            end = ":" if step["latex"] else "."
            said = text(step["text"]).rstrip(".:")
            said = said if goes_on else _capital(said)
            goes_on = said.endswith(",")
            blocks.append(said if goes_on or not said else said + end)
            blocks.append(fence(step["latex"]) if step["latex"] else "")
    return "\n\n".join(block for block in blocks if block)


def _grade(proof: Mapping[str, Any]) -> str:
    said = _closed(_capital(text(proof["says"]))) + " " if proof["says"] else ""
    how = f" by {text('; '.join(dict.fromkeys(proof['how'].split('; '))))}" if proof["how"] else ""
    if proof["outcome"] == "proved":
        grade = f"generic in {proof['generic_in']}" if proof["generic_in"] else f"for {proof['instances']}"
        return f"{said}Proved, {text(grade)}{_decided(how)}."
    if proof["outcome"] == "refuted":
        where = proof["witness"] or {}
        join = ", with a difference of " if set(where) == {"value"} else " at "
        return f"{said}Refuted{_decided(how)}" + (f"{join}{_stop(point(where))}" if where else ".")
    return f"{said}Undecided{_decided(how)}: the proof does not close."


LONG = 200


def _stop(said: str) -> str:
    return said if said.endswith("```") else said + "."


def point(witness: Mapping[str, Any]) -> str:
    """An exact point where a statement fails, with the difference of both sides there if it is known.

    Matrices and long lists stand in a block of their own, one quantity in a line.
    """
    entries = [f"{name} = {_exact(value)}" for name, value in witness.items() if name != "value"]
    value = _exact(witness["value"]) if witness.get("value") is not None else None
    if sum(map(len, entries)) > LONG or any("[[" in entry for entry in entries):
        lead = f"the two sides differ by `{value}` at" if value is not None else "these values"
        return "\n".join([lead + "\n", "```text", *entries, "```"])
    where = ", ".join(f"`{entry}`" for entry in entries)
    return f"{where}, with a difference of `{value}`" if value is not None and where else where or f"`{value}`"


def _exact(value: Any) -> str:
    """A witness's value: fractions as quotients, decimals without zeros that say nothing."""
    said = re.sub(r"Fraction\((-?\d+), (\d+)\)", r"\1/\2", str(value))
    return re.sub(r"(\.\d*?)0+(?!\d)", lambda zeros: zeros[1].rstrip("."), said)


def _decided(how: str) -> str:
    return f" (decided{how})" if how else ""


def checks_block(claim: Claim) -> list[str]:
    """One heading and one paragraph for each check: what was compared, where, how well, what it would notice."""
    blocks = []
    for name, check in claim["checks"].items():
        blocks += [f"### {_capital(spoken(name))}", _check(check)]
    return blocks


def _check(check: Mapping[str, Any]) -> str:
    said = _closed(_capital(text(check["says"]))) + " " if check["says"] else ""
    if not check["network"]:
        said += "No full network takes part. "
    grid = "; ".join(f"{text(axis)} {text(listing(values))}" for axis, values in check["grid"].items())
    said += f"Grid: {grid}. " if grid else ""
    said += f"Data: {text(check['data'])}. " if check.get("data") else ""
    if check["skipped"]:
        why = "it wants an accelerator" if check["gpu"] else "it is slow"
        why = f"it needs the data set {check['data']}" if check.get("data") and not check["slow"] else why
        return f"{said}This check of {check['cases']} {plural('case', check['cases'])} did not run: {why}."
    if check.get("kept"):
        said += "These numbers are from an earlier run; the last one left this check out. "
    said += _outcome(check)
    if check["budget"]:
        said += f" In the worst case the bound is made of {text(budget(check['budget']))}."
    if check["sees"]:
        said += f" It notices a relative change of {number(check['sees'])} in the formula."
    if check["notes"]:
        said += f" Noted: {'; '.join(text(_note(note)) for note in check['notes'])}."
    return said


def _note(note: str) -> str:
    return re.sub(r"observed \[(.*?)\], predicted \[(.*?)\]", r"found \1 where \2 is stated", note)


def _outcome(check: Mapping[str, Any]) -> str:
    counted = [f"{check[key]} {words}" for key, words in _OUTCOMES if check[key]]
    said = f"{check['cases']} {plural('case', check['cases'])}: {', '.join(counted) or 'none decided'}."
    ratio = check["largest_error_over_bound"]
    if ratio is None:
        return said
    if check.get("bound") == 0 and check.get("largest_error"):
        return f"{said} The largest error is {number(check['largest_error'])}, where none is allowed."
    return f"{said} The largest error is {against_bound(ratio)}." if ratio else f"{said} No error at all."


_OUTCOMES = (
    ("supports", "in support"),
    ("contradicts", "against"),
    ("undecided", "undecided"),
    ("outside", "outside the assumptions"),
)


def falsifier_block(claim: Claim) -> str:
    """The section *What would have been noticed*: wrong formulas against checks, and the automatic mutants."""
    if not claim["falsifiers"] and not claim["mutants"].get("tried"):
        return ""
    blocks = ["## What would have been noticed"]
    if claim["falsifiers"]:
        lead = "Each wrong formula went through the same proofs and checks as the true one."
        near = [name for name in claim["near_misses"] if name in claim["falsifiers"]]
        if near:
            names = ", ".join(emphasis(name) for name in near)
            lead += f" {'A near miss is' if len(near) == 1 else 'Near misses are'} {names}."
        blocks += [lead, _matrix(claim), *_long_formulas(claim)]
    return "\n\n".join([*blocks, _mutants(claim["mutants"])]).strip()


def _matrix(claim: Claim) -> str:
    judges = [*claim["proofs"], *(name for name, check in claim["checks"].items() if not check["skipped"])]
    formulas = claim["falsifier_formulas"]
    rows = []
    for name, killers in claim["falsifiers"].items():
        formula = formulas.get(name, "")
        cells = [text(name), inline(formula) if formula and short(formula) else "below" if formula else "—"]
        if len(judges) > COLUMNS:
            rows.append([*cells, ", ".join(spoken(one) for one in killers) or "nothing"])
        else:
            rows.append([*cells, *("rejects" if judge in killers else "—" for judge in judges)])
    heads = ["rejected by"] if len(judges) > COLUMNS else [spoken(judge) for judge in judges]
    return table(["wrong formula", "as mathematics", *heads], rows)


def _long_formulas(claim: Claim) -> list[str]:
    blocks = []
    for name in claim["falsifiers"]:
        formula = claim["falsifier_formulas"].get(name, "")
        if formula and not short(formula):
            blocks += [f"{emphasis(_capital(name))}:", fence(equation(formula))]
    return blocks


def _mutants(score: Mapping[str, Any]) -> str:
    if not score.get("tried"):
        return ""
    pool = f" of {score['pool']}" if score.get("pool", score["tried"]) > score["tried"] else ""
    said = f"Automatic mutants of the formula: {score['tried']}{pool} tried, {score['killed']} rejected"
    said += f", {score['equivalent']} the same as the formula." if score["equivalent"] else "."
    if score["survivors"]:
        said += f" Not noticed: {'; '.join(text(name) for name in score['survivors'][:20])}."
    return said


def dropped_block(claim: Claim) -> str:
    """The table of assumptions and what happens without them."""
    if not claim["dropped"]:
        return ""
    rows = []
    for name, check in claim["dropped"].items():
        if check["skipped"]:
            rows.append([text(check["drops"]), spoken(name), str(check["cases"]), "did not run", "—"])
            continue
        against = f"{check['contradicts']} against, {check['supports']} in support"
        rows.append(
            [
                text(check["drops"]),
                text(check["says"]) or spoken(name),
                str(check["cases"]),
                against,
                number(check["largest_error_over_bound"]),
            ]
        )
    header = ["without", "tried on", "cases", "outcome", "error in units of its bound"]
    return "\n\n".join(["## Dropping an assumption", table(header, rows)])
