"""The one pure function from findings to verdict. Nothing here is typed by hand about any claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Word(StrEnum):
    """The verdict words, as they stand in the ledger and in the lock file."""

    PROVED = "proved"
    INSTANCES = "proved-for-instances"
    CONFIRMED = "confirmed"
    CONDITIONAL = "conditional"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    DEFECTIVE = "defective"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict word with the reasons that led to it, in the order found."""

    word: Word
    reasons: tuple[str, ...] = ()


Finding = Mapping[str, Any]


def _defects(found: Finding) -> list[str]:
    """Everything that makes the evidence worthless, whatever it says."""
    defects = [f"{name}: broke with {text}" for name, text in found["errors"].items()]
    checks, dropped, proofs = found["checks"], found["dropped"], found["proofs"]
    if not checks and not proofs:
        defects.append("neither a proof nor a check: nothing was examined")
    for name, check in {**checks, **dropped}.items():
        if check["cases"] == 0:
            defects.append(f"check {name}: empty grid; give it at least one case")
        elif check["outside"] == check["cases"]:
            defects.append(f"check {name}: no case satisfies the assumptions ({check['unmet']})")
    for name, killers in found["falsifiers"].items():
        if not killers:
            defects.append(f"falsifier {name!r} survives every check; sharpen a check or widen a grid")
    for name, check in checks.items():
        if not check["rejects"] and not check["skipped"]:
            defects.append(f"check {name}: rejects no wrong formula, so it cannot fail; add a falsifier it must notice")
        if check["control"] not in (None, "supports"):
            defects.append(f"check {name}: does not accept the corrected formula ({check['control']})")
    for name, proof in proofs.items():
        if proof["proves_wrong"]:
            defects.append(f"proof {name}: also proves {', '.join(map(repr, proof['proves_wrong']))}")
        if proof["control"] == "refuted":
            defects.append(f"proof {name}: refutes the corrected formula")
    if found["mutants"]["survivors"]:
        defects.append(f"mutants survive: {', '.join(found['mutants']['survivors'])}")
    refuting = [name for name, proof in proofs.items() if proof["outcome"] == "refuted"]
    proving = [name for name, proof in proofs.items() if proof["outcome"] == "proved"]
    if refuting and proving:
        defects.append(f"proofs disagree: {', '.join(proving)} against {', '.join(refuting)}")
    if proving and any(check["persistent"] for check in checks.values()):
        defects.append("a proof and a persistent contradiction stand against each other")
    return defects


def _refutation(found: Finding) -> list[str]:
    exact = [f"exact witness in {name}" for name, proof in found["proofs"].items() if proof["outcome"] == "refuted"]
    numeric = [
        f"{name}: contradiction persists with every error source tightened 100 times"
        for name, check in found["checks"].items()
        if check["persistent"]
    ]
    return exact + numeric


def _conditions(found: Finding) -> tuple[list[str], list[str]]:
    """Which extra conditions are shown to be needed, and which are not."""
    shown = {check["drops"] for check in found["dropped"].values() if check["persistent"]}
    needed = [name for name in found["conditions"] if name in shown]
    return needed, [name for name in found["conditions"] if name not in shown]


def judge(found: Finding, ancestors: Mapping[str, str]) -> Verdict:
    """The verdict on a claim from its findings and the verdict words of the claims it uses.

    ``found`` has the keys ``errors, checks, dropped, proofs, falsifiers, mutants, conditions, conditions_of_ancestors,
    corrected_by, control_given``; see ``tests.checker.examine``.
    """
    defects = _defects(found)
    bad = [name for name, word in ancestors.items() if word in (Word.REFUTED, Word.DEFECTIVE, Word.UNDECIDED)]
    if bad:
        defects.append(f"rests on {', '.join(bad)}, which does not hold")
    refutation = _refutation(found)
    if refutation and not (found["corrected_by"] and found["control_given"]):
        defects.append("refuted, but no corrected statement: give `control` and `corrected_by`")
    if not refutation and found["control_given"]:
        defects.append("a corrected formula is given, but nothing refutes the printed one")
    if defects:
        return Verdict(Word.DEFECTIVE, tuple(defects))
    if refutation:
        return Verdict(Word.REFUTED, tuple(refutation))
    ran = [check for check in found["checks"].values() if not check["skipped"]]
    contradicted = [name for name, check in found["checks"].items() if check["contradicts"]]
    if contradicted:
        return Verdict(Word.UNDECIDED, tuple(f"{name}: contradicts, but not persistently" for name in contradicted))
    unsure = [name for name, check in found["checks"].items() if check["undecided"]]
    if unsure:
        return Verdict(Word.UNDECIDED, tuple(f"{name}: undecided cases" for name in unsure))
    needed, needless = _conditions(found)
    if needless:
        return Verdict(Word.UNDECIDED, tuple(f"condition {name!r} is not shown to be needed" for name in needless))
    proved = [proof for proof in found["proofs"].values() if proof["outcome"] == "proved"]
    generic = [proof for proof in proved if proof["generic_in"]]
    if not proved and not any(check["supports"] for check in ran):
        return Verdict(Word.UNDECIDED, ("no proof closes and no check that ran supports",))
    if needed:
        return Verdict(Word.CONDITIONAL, tuple(f"needs {name}" for name in needed))
    weak = {name: word for name, word in ancestors.items() if not _carries(word, name, found)}
    if generic and not weak:
        return Verdict(Word.PROVED, tuple(f"generic in {proof['generic_in']}" for proof in generic))
    if generic:
        return Verdict(Word.CONFIRMED, tuple(f"proof rests on {name}, which is {word}" for name, word in weak.items()))
    if proved:
        return Verdict(Word.INSTANCES, tuple(proof["instances"] for proof in proved))
    cases = sum(check["supports"] for check in ran)
    return Verdict(Word.CONFIRMED, (f"{cases} cases, no closing proof",))


def _carries(word: str, name: str, found: Finding) -> bool:
    """Whether an ancestor is as good as proved here: proved, or conditional on what this claim assumes anyway."""
    if word == Word.CONDITIONAL:
        return set(found["conditions_of_ancestors"].get(name, ())) <= set(found["given"]) | set(found["conditions"])
    return word == Word.PROVED
