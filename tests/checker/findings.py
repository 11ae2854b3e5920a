"""From evidence to the plain records of the ledger: rounded, JSON-ready, free of timings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from tests.checker.claim import Case, Check, Proof
from tests.checker.evidence import Evidence, Outcome


def significant(value: float, digits: int = 3) -> float | str:
    """A number rounded for the ledger; infinities and NaN as words, since JSON has none."""
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else str(value)


def summary(thing: Any) -> str:
    """The first line of a docstring."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


@dataclass(slots=True)
class Tally:
    """The outcomes of one check over its grid."""

    check: Check
    skipped: bool = False
    found: list[tuple[Case, Evidence, str, bool]] = field(default_factory=list)

    def add(self, case: Case, evidence: Evidence, unmet: str, persistent: bool) -> None:
        """Count one case; ``unmet`` names an assumption that its subject fails."""
        self.found.append((case, evidence, unmet, persistent))

    @property
    def inside(self) -> list[tuple[Case, Evidence, str, bool]]:
        """The cases within the assumptions."""
        return [one for one in self.found if not one[2]]

    @property
    def contradicts(self) -> int:
        """How many cases within the assumptions contradict."""
        return self._count(Outcome.CONTRADICTS)

    def _count(self, outcome: Outcome) -> int:
        return sum(evidence.outcome is outcome for _, evidence, _, _ in self.inside)

    def plain(self) -> dict[str, Any]:
        """The record of the ledger."""
        worst = max(self.inside, key=lambda one: one[1].ratio, default=None)
        outside = [one for one in self.found if one[2]]
        axes = {name: None for case in self.check.cases for name in case}
        return {
            "says": summary(self.check.run),
            "network": self.check.network,
            "slow": self.check.slow,
            "gpu": self.check.gpu,
            "data": self.check.data,
            "skipped": self.skipped,
            "drops": self.check.drops.name if self.check.drops else "",
            "cases": len(self.check.cases),
            "supports": self._count(Outcome.SUPPORTS),
            "contradicts": self._count(Outcome.CONTRADICTS),
            "undecided": self._count(Outcome.UNDECIDED),
            "persistent": sum(one[3] for one in self.inside),
            "outside": len(outside),
            "unmet": outside[0][2] if outside else "",
            "largest_error_over_bound": significant(worst[1].ratio) if worst else None,
            "largest_error": significant(worst[1].error) if worst else None,
            "bound": significant(worst[1].bound) if worst else None,
            "budget": [[name, significant(value)] for name, value in worst[1].budget] if worst else [],
            "grid": {name: _distinct(case[name] for case in self.check.cases if name in case) for name in axes},
            "notes": list(dict.fromkeys(one[1].detail for one in self.inside if one[1].detail))[:6],
            "sample": self._sample(),
        }

    def _sample(self, size: int = 80) -> dict[str, list[Any]]:
        """A few observed and predicted numbers with their errors and bounds, for the drawing."""
        rows = [
            (observed, predicted, evidence.bound)
            for _, evidence, _, _ in self.inside
            for observed, predicted in zip(evidence.observed, evidence.predicted, strict=True)
        ]
        step = max(1, -(-len(rows) // size))
        kept = rows[::step]
        names = ("observed", "predicted", "bound")
        sample: dict[str, list[Any]] = {name: [significant(row[k], 6) for row in kept] for k, name in enumerate(names)}
        # Six digits of two numbers that agree to fifteen would make every error look like zero.
        return {**sample, "error": [significant(abs(row[0] - row[1])) for row in kept]}


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def plain_proof(proof: Proof, decision: Any, control: str | None) -> dict[str, Any]:
    """The record of a proof: outcome, grade of generality, steps, and a witness where it refutes."""
    return {
        "says": summary(proof.run),
        "outcome": decision.outcome,
        "generic_in": proof.generic_in,
        "instances": proof.instances,
        "how": decision.how,
        "steps": [{"text": step.text, "latex": step.latex} for step in decision.steps],
        "witness": dict(decision.witness) if decision.witness else None,
        "control": control,
        "proves_wrong": [],
    }


def plain_evidence(tallies: list[Tally], proofs: dict[str, Any]) -> dict[str, Any] | None:
    """The counterexample: the clearest persistent contradiction, else the witness of a refuting proof."""
    rows = [(tally, *one) for tally in tallies for one in tally.inside if one[3]]
    witness = next((proof["witness"] for proof in proofs.values() if proof["outcome"] == "refuted"), None)
    if not rows:
        return {"check": "", "case": {}, "detail": "", "witness": witness} if witness else None
    main = [row for row in rows if not row[0].check.drops] or rows
    tally, case, evidence, _, _ = max(main, key=lambda row: min(row[2].ratio, 1e300))
    far = sorted(range(len(evidence.observed)), key=lambda k: -abs(evidence.observed[k] - evidence.predicted[k]))[:3]
    return {
        "check": tally.check.name,
        "says": summary(tally.check.run),
        "case": {name: str(value) for name, value in case.items()},
        "detail": evidence.detail,
        "observed": [significant(evidence.observed[k], 6) for k in far],
        "predicted": [significant(evidence.predicted[k], 6) for k in far],
        "error": significant(evidence.error),
        "bound": significant(evidence.bound),
        "witness": witness,
    }
