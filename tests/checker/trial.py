"""Run one claim at the user's own parameters, for ``lemmata try``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.checker.claim import Check, Claim
from tests.checker.examine import Examination, Options
from tests.checker.parameters import read
from tests.checker.registry import load


@dataclass(frozen=True, slots=True)
class TrialRow:
    """Theory against simulation for one check at one case."""

    check: str
    case: Mapping[str, Any]
    observed: tuple[float, ...]
    predicted: tuple[float, ...]
    error: float
    bound: float
    outcome: str
    note: str


def find(claim_id: str, known: Mapping[str, Claim]) -> Claim:
    """The claim of that id; raises ``ValueError`` with the closest ids if there is none."""
    if claim_id in known:
        return known[claim_id]
    close = difflib.get_close_matches(claim_id, known, 3) or [name for name in known if claim_id in name][:3]
    hint = f"did you mean {', '.join(close)}?" if close else "see `lemmata list`"
    raise ValueError(f"claim: {claim_id} given, allowed: a known id; {hint}")


def _axes(check: Check) -> dict[str, tuple[Any, ...]]:
    names = {name for case in check.cases for name in case}
    return {name: tuple(dict.fromkeys(case[name] for case in check.cases if name in case)) for name in sorted(names)}


def _case(check: Check, settings: Mapping[str, str]) -> dict[str, Any]:
    """The first declared case, with the user's values put in; ``widths`` yields to a new depth."""
    axes = _axes(check)
    case = dict(check.cases[0])
    case.update({name: read(name, text, axes[name]) for name, text in settings.items()})
    if "depth" in settings and "widths" in case and "widths" not in settings:
        shapes = [shape for shape in axes["widths"] if isinstance(shape, str)]
        case["widths"] = shapes[0] if shapes else case["widths"]
    return case


def attempt(claim_id: str, settings: Mapping[str, str], device: str = "cpu") -> list[TrialRow]:
    """Run every check of a claim that has the given parameters; raises ``ValueError`` in one line on bad input."""
    claim = find(claim_id, load())
    fitting = [check for check in claim.checks if set(settings) <= set(_axes(check))]
    if not fitting:
        known = sorted({name for check in claim.checks for name in _axes(check)})
        unknown = sorted(set(settings) - set(known)) or sorted(settings)
        raise ValueError(f"{unknown[0]}: no parameter of {claim_id}, allowed: {', '.join(known) or 'none'}")
    exam = Examination(claim, Options(device=device))
    formula = claim.formula()
    rows = []
    for check in fitting:
        case = _case(check, settings)
        found = exam.ask(check, formula, case)
        unmet = exam.unmet(check, found)
        note = f"outside the assumptions: {unmet}" if unmet else found.detail
        rows.append(
            TrialRow(check.name, case, found.observed, found.predicted, found.error, found.bound, found.outcome, note)
        )
    return rows
