"""Claims in a terminal: lists, one claim in full, dependency trees, trials."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from reports.graph import tree, users
from reports.markdown import equation, number
from reports.plain_maths import prose, readable
from reports.verdict import Word
from reports.words import AMISS, OPEN, Claim, Ledger, against_bound, budget, case, reasons, spoken, title, verdict

SAMPLES = 6


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=110, color_system=None, file=sys.stdout)


def _tone(claim: Claim) -> str:
    word = Word(claim["verdict"])
    return "red" if word in AMISS else "yellow" if word in OPEN else "green"


def listing(claims: Mapping[str, Claim]) -> None:
    """One line a claim: id, verdict, source, what it says; cut to the width of a terminal."""
    wide = [
        max((len(value) for value in column), default=0)
        for column in zip(*((name, claim["verdict"], claim["source"]) for name, claim in claims.items()), strict=True)
    ]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for name, claim in claims.items():
        cells = zip((name, claim["verdict"], claim["source"]), wide, strict=True)
        line = "  ".join(f"{cell:{width}}" for cell, width in cells) + f"  {prose(claim['says'])}"
        print(line[:room].rstrip())


def show(ledger: Ledger, claim_id: str) -> None:
    """One claim with its evidence."""
    claim, console = ledger["claims"][claim_id], _console()
    console.print(Text(f"{title(claim_id)}  ", "bold").append(claim_id, "dim"), highlight=False)
    console.print(Text(verdict(claim), f"bold {_tone(claim)}").append(_because(claim), "not bold default"))
    labels = f" ({', '.join(claim['labels'])})" if claim["labels"] else ""
    _say(console, f"{claim['source']}{labels}")
    _say(console, "")
    _say(console, prose(claim["says"]))
    for line in readable(equation(claim["formula"], claim["lhs"], claim["relation"])).split("; "):
        console.print(Text(f"    {line}", "bold"))
    _say(console, "")
    for one in claim["given"]:
        _say(console, f"assumes {one['name']}: {prose(one['says'])}")
    for name, said in claim["condition_texts"].items():
        _say(console, f"needs {name}: {prose(said)}")
    _relations(console, ledger, claim_id)
    _counterexample(console, claim)
    _evidence(console, claim)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), highlight=False)


def _because(claim: Claim) -> str:
    return ": " + prose("; ".join(reasons(claim))) if claim["reasons"] else ""


def _relations(console: Console, ledger: Ledger, claim_id: str) -> None:
    claim = ledger["claims"][claim_id]
    named = (("uses", claim["uses"]), ("used by", users(ledger)[claim_id]), ("corrected by", claim["corrected_by"]))
    for name, ids in named:
        if ids:
            _say(console, f"{name}: {', '.join(ids)}")


def _counterexample(console: Console, claim: Claim) -> None:
    found = claim["counterexample"]
    if found and found["check"]:
        _say(console, f"counterexample at {case(found['case'])}:")
        _pairs(console, found.get("predicted", ()), found.get("observed", ()))
    if found and found.get("witness"):
        _say(console, "fails at " + ", ".join(f"{name} = {value}" for name, value in found["witness"].items()))


def _evidence(console: Console, claim: Claim) -> None:
    for name, proof in claim["proofs"].items():
        grade = f"generic in {proof['generic_in']}" if proof["generic_in"] else f"for {proof['instances']}"
        _say(console, f"proof {spoken(name)}: {proof['outcome']}, {prose(grade)}")
    table = Table("check", "cases", "in support", "against", "largest error", "bound made of", "sees", box=None)
    for name, check in claim["checks"].items():
        if check["skipped"]:
            table.add_row(spoken(name), str(check["cases"]), "did not run")
            continue
        ratio = check["largest_error_over_bound"]
        error = against_bound(ratio) if ratio is not None else "—"
        counts = (str(check[key]) for key in ("cases", "supports", "contradicts"))
        table.add_row(spoken(name), *counts, error, prose(budget(check["budget"])), number(check["sees"]))
    if claim["checks"]:
        console.print(table)
    rejected = sum(bool(killers) for killers in claim["falsifiers"].values())
    score = claim["mutants"]
    line = f"wrong formulas rejected: {rejected} of {len(claim['falsifiers'])} by hand"
    if score.get("tried"):
        line += f", {score['killed']} of {score['tried'] - score['equivalent']} automatic mutants"
    _say(console, line)


def why(ledger: Ledger, claim_id: str) -> None:
    """The dependency tree of a claim with verdicts."""
    trunk: list[Tree] = []
    for branch in tree(ledger, claim_id):
        claim = ledger["claims"].get(branch.claim_id)
        line = Text(branch.claim_id)
        if claim:
            line.append(f"  {verdict(claim).lower()}", _tone(claim))
            line.append(_because(claim), "dim")
        else:
            line.append("  not in the ledger", "yellow")
        if branch.again:
            line.append("  (see above)", "dim")
        del trunk[branch.level :]
        trunk.append(trunk[-1].add(line) if trunk else Tree(line))
    _console().print(trunk[0], highlight=False)


def trial(claim_id: str, rows: Iterable[Any]) -> None:
    """Theory beside simulation for each check of a trial."""
    console = _console()
    _say(console, claim_id)
    for row in rows:
        _say(console, "")
        _say(console, f"{spoken(row.check)} at {case(row.case)}: {row.outcome}")
        _say(console, f"  error {number(row.error)}, bound {number(row.bound)}")
        if row.note:
            _say(console, f"  {prose(row.note)}")
        _pairs(console, row.predicted, row.observed)


def _pairs(console: Console, predicted: Iterable[Any], observed: Iterable[Any]) -> None:
    pairs = list(zip(predicted, observed, strict=False))
    if not pairs:
        return
    table = Table("theory", "simulation", box=None, padding=(0, 3))
    for said, found in pairs[:SAMPLES]:
        table.add_row(number(said, 10), number(found, 10))
    console.print(table)
    if len(pairs) > SAMPLES:
        _say(console, f"   and {len(pairs) - SAMPLES} more")
