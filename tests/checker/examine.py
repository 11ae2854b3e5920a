"""Run one claim: formula, control, falsifiers and mutants through the same proofs and checks, into plain findings."""

from __future__ import annotations

import inspect
import platform
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from itertools import islice
from typing import Any

from derivations.printing import latex
from numerics.data import available
from tests.checker.claim import Case, Check, Claim, Drawing
from tests.checker.evidence import Evidence, Outcome
from tests.checker.findings import Tally, plain_evidence, plain_proof
from tests.checker.mutants import equivalent, mutants, nudges
from tests.checker.seeds import rank_of, seed_of, text_of

SAMPLE = 12
TIGHTER = 0.01
_DECADES = 14
# shapes that do not conform, divisions by zero, not a number: the wrong formula says nothing. Any other exception is
# a fault of ours and counts as no rejection
_ILL_FORMED = (ValueError, ArithmeticError, RuntimeWarning)


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: device, how many mutants (None for all), whether slow checks run."""

    device: str = "cpu"
    mutants: int | None = SAMPLE
    slow: bool = False


@dataclass(slots=True)
class Examination:
    """The state of one examination; ``errors`` holds what broke, by name."""

    claim: Claim
    options: Options
    errors: dict[str, str] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)

    def ask(self, check: Check, formula: Any, case: Case, accuracy: float = 1.0) -> Evidence:
        """One case of one check with one formula; a seed is derived from claim and case."""
        wanted = inspect.signature(check.run).parameters
        given = dict(case)
        if "seed" in wanted:
            given["seed"] = seed_of(self.claim.id, case)
        if "device" in wanted:
            given["device"] = self.options.device
        if "accuracy" in wanted:
            given["accuracy"] = accuracy
        found = check.run(formula, **given)
        if not isinstance(found, Evidence):
            raise TypeError(f"check {check.name} returned {type(found).__name__}, allowed: Evidence")
        return found

    def unmet(self, check: Check, found: Evidence) -> str:
        """The first assumption that the subject does not satisfy (or, for a dropped one, does), or nothing."""
        assumptions = [one for one in (*self.claim.given, *self.claim.conditions) if one.holds]
        if found.subject is None:
            if assumptions and check.network:
                raise TypeError(f"check {check.name}: say on which network with `.on(...)`, to measure the assumptions")
            return ""
        for one in assumptions:
            if one.holds and one.holds(found.subject) is (one == check.drops):
                return f"{'not ' if one == check.drops else ''}{one.name}"
        return ""

    def persists(self, check: Check, formula: Any, case: Case, found: Evidence) -> bool:
        """Whether a contradiction stays when every error source is tightened a hundredfold."""
        if "accuracy" in inspect.signature(check.run).parameters:
            return self.ask(check, formula, case, TIGHTER).outcome is Outcome.CONTRADICTS
        return found.ratio > 1 / TIGHTER

    def skipped(self, check: Check | Drawing) -> bool:
        """Slow checks and checks for an accelerator run when asked for, checks on a data set where it is."""
        if (check.slow and not self.options.slow) or (check.gpu and not self.options.device.startswith("cuda")):
            return True
        return bool(check.data) and not available(check.data)

    def tally(self, check: Check, formula: Any) -> Tally:
        """All cases of a check with the asserted formula."""
        result = Tally(check, skipped=self.skipped(check))
        if result.skipped:
            return result
        for case in check.cases:
            try:
                found = self.ask(check, formula, case)
                unmet = self.unmet(check, found)
            except Exception as error:
                self.broke(f"{check.name} at {text_of(case)}", error)
                return result
            persistent = (
                not unmet and found.outcome is Outcome.CONTRADICTS and self.persists(check, formula, case, found)
            )
            result.add(case, found, unmet, persistent)
        return result

    def broke(self, name: str, error: Exception) -> None:
        """Remember an exception: the claim is defective, all else is kept."""
        self.errors[name] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        self.traces[name] = traceback.format_exc()

    def rejects(self, check: Check, wrong: Any) -> bool:
        """Whether some case within the assumptions contradicts a wrong formula, or cannot even evaluate it."""
        for case in check.cases:
            try:
                found = self.ask(check, wrong, case)
                if found.outcome is Outcome.CONTRADICTS and not self.unmet(check, found):
                    return True
            except _ILL_FORMED:
                return True
            except Exception:
                return False
        return False

    def accepts(self, check: Check, formula: Any) -> str:
        """The worst outcome of a check with the corrected formula."""
        outcomes = set()
        for case in check.cases:
            found = self.ask(check, formula, case)
            if not self.unmet(check, found):
                outcomes.add(found.outcome)
        worst = [one for one in (Outcome.CONTRADICTS, Outcome.UNDECIDED, Outcome.SUPPORTS) if one in outcomes]
        return str(worst[0]) if worst else "outside"

    def sees(self, check: Check, formula: Any) -> float | None:
        """The smallest relative nudge, by decades, that the check rejects; none if it notices no nudge of a tenth."""
        best: int | None = None
        for nudge in nudges(formula):
            low, high = best or 0, _DECADES
            while low < high:
                middle = (low + high + 1) // 2
                if self.rejects(check, nudge(Fraction(1, 10**middle))):
                    low = middle
                else:
                    high = middle - 1
            best = max(low, best or 0) or None
        return None if best is None else 10.0**-best


def _wrong_formulas(claim: Claim) -> Iterator[tuple[str, Any]]:
    for name, make in claim.wrong.items():
        yield name, make()


def _kill(exam: Examination, checks: list[Check], wrong: Any) -> list[str]:
    """Names of the proofs and checks that reject a wrong formula."""
    return _refuting(exam, wrong) + [check.name for check in checks if exam.rejects(check, wrong)]


def _refuting(exam: Examination, wrong: Any) -> list[str]:
    """Names of the proofs that refute a wrong formula, or find it ill-formed."""
    killers: list[str] = []
    for proof in exam.claim.proofs:
        try:
            if proof.run(wrong).refuted:
                killers.append(proof.name)
        except _ILL_FORMED:
            killers.append(proof.name)
        except Exception:
            continue
    return killers


def _mutation(exam: Examination, checks: list[Check], reference: Any) -> tuple[dict[str, Any], set[str]]:
    """The score over a fixed sample of automatic mutants, and which checks killed any."""
    same = exam.claim.equivalent or (lambda formula, mutant: False)
    pool = sorted(mutants(reference), key=lambda one: rank_of(exam.claim.id, one[0])) if exam.claim.mutate else []
    chosen = pool if exam.options.mutants is None else pool[: exam.options.mutants]
    killed, equal, survivors, killers = 0, 0, [], set()
    for name, wrong in chosen:
        # checks come first: their simulations are cached, while deciding equality of formulas may take seconds
        by = list(islice((check.name for check in checks if exam.rejects(check, wrong)), 1))
        if not by and (equivalent(reference, wrong) or same(reference, wrong)):
            equal += 1
            continue
        by = by or _refuting(exam, wrong)
        killers.update(by)
        killed += bool(by)
        survivors += [] if by else [name]
    score = {"tried": len(chosen), "killed": killed, "equivalent": equal, "survivors": survivors, "pool": len(pool)}
    return score, killers


def _proofs(exam: Examination, asserted: Any, wrong: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for proof in exam.claim.proofs:
        try:
            decision = proof.run(asserted)
            control = proof.run(exam.claim.control()).outcome if exam.claim.control else None
        except Exception as error:
            exam.broke(proof.name, error)
            continue
        found[proof.name] = plain_proof(proof, decision, control)
        for name, formula in wrong:
            if _quietly(lambda run=proof.run, formula=formula: run(formula).proved):
                found[proof.name]["proves_wrong"].append(name)
    return found


def _quietly(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except Exception:
        return False


def environment(device: str) -> dict[str, str]:
    """The versions that the evidence rests on."""
    names = ("sympy", "numpy", "scipy", "torch", "python-flint")
    return {"python": platform.python_version(), **{name: version(name) for name in names}, "device": device}


def examine(claim: Claim, options: Options = Options()) -> dict[str, Any]:  # noqa: B008
    """Everything found out about a claim, as plain JSON, without a verdict (see ``reports.verdict.judge``)."""
    exam = Examination(claim, options)
    asserted = claim.formula()
    reference = claim.control() if claim.control else asserted
    wrong = list(_wrong_formulas(claim))
    proofs = _proofs(exam, asserted, wrong)
    tallies = [exam.tally(check, asserted) for check in claim.checks]
    main = [tally.check for tally in tallies if not tally.check.drops and not tally.skipped and not exam.errors]
    kills = {name: _kill(exam, main, formula) for name, formula in wrong} if not exam.errors else {}
    mutation, killers = _mutation(exam, main, reference) if not exam.errors else ({"survivors": []}, set())
    killers.update(*kills.values())
    checks: dict[str, Any] = {}
    dropped: dict[str, Any] = {}
    for tally in tallies:
        entry = tally.plain()
        if tally.check.drops:
            dropped[tally.check.name] = entry
            continue
        alive = not tally.skipped and not exam.errors
        entry["rejects"] = tally.check.name in killers or bool(tally.contradicts)
        entry["control"] = exam.accepts(tally.check, reference) if claim.control and alive else None
        entry["sees"] = exam.sees(tally.check, reference) if alive else None
        checks[tally.check.name] = entry
    return {
        "id": claim.id,
        "source": claim.source,
        "family": claim.family,
        "says": claim.says,
        "lhs": latex(claim.lhs) if claim.lhs is not None else "",
        "relation": claim.relation,
        "formula": _latex(asserted),
        "control_formula": _latex(reference) if claim.control else "",
        "given": [one.name for one in claim.given],
        "conditions": [one.name for one in claim.conditions],
        "assumption_texts": {one.name: one.says for one in (*claim.given, *claim.conditions)},
        "uses": list(claim.uses),
        "corrected_by": list(claim.corrected_by),
        "control_given": claim.control is not None,
        "remark": claim.remark,
        "proofs": proofs,
        "checks": checks,
        "dropped": dropped,
        "counterexample": plain_evidence(tallies, proofs),
        "falsifiers": kills,
        "near_misses": list(claim.near_misses),
        "falsifier_formulas": {name: _latex(formula) for name, formula in wrong},
        "mutants": mutation,
        "figures": [_drawn(exam, one, reference) for one in claim.figures] if not exam.errors else [],
        "errors": exam.errors,
        "traces": exam.traces,
        "environment": environment(options.device),
    }


def _drawn(exam: Examination, drawing: Drawing, formula: Any) -> dict[str, Any]:
    """The figure as JSON; one that is left out this time has no panels."""
    return {"caption": "", "panels": []} if exam.skipped(drawing) else drawing.draw(formula).plain()


def _latex(formula: Any) -> Any:
    """A formula as LaTeX, or as name-LaTeX pairs where it has several parts."""
    if isinstance(formula, dict):
        return [[str(name), latex(part)] for name, part in formula.items()]
    if isinstance(formula, tuple):
        return [["", latex(part)] for part in formula]
    return latex(formula)
