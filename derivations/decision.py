"""Three-valued decisions with their reasons: proved, refuted with a witness, undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from derivations.printing import latex

Outcome = Literal["proved", "refuted", "undecided"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a proof: a sentence and the object it speaks of as LaTeX."""

    text: str
    latex: str = ""


def step(text: str, obj: Any = None) -> Step:
    """A proof step that shows a SymPy or word object."""
    return Step(text, "" if obj is None else latex(obj))


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of a decision procedure, how it was reached, and a witness when refuted."""

    outcome: Outcome
    how: str
    witness: Mapping[str, str] | None = None
    steps: tuple[Step, ...] = ()

    @property
    def proved(self) -> bool:
        """True only for a complete proof."""
        return self.outcome == "proved"

    @property
    def refuted(self) -> bool:
        """True only with a witness."""
        return self.outcome == "refuted"

    def explain(self, *steps: Step) -> Decision:
        """A copy with these proof steps appended."""
        return replace(self, steps=self.steps + steps)


def all_of(*decisions: Decision) -> Decision:
    """The conjunction: proved iff all are, refuted if any is (with its witness), else undecided.

    >>> all_of(Decision("proved", "a"), Decision("undecided", "b")).outcome
    'undecided'
    """
    if not decisions:
        raise ValueError("decisions: none given, allowed: at least one")
    steps = tuple(s for decision in decisions for s in decision.steps)
    for outcome in ("refuted", "undecided"):
        for decision in decisions:
            if decision.outcome == outcome:
                return replace(decision, steps=steps)
    return Decision("proved", "; ".join(dict.fromkeys(decision.how for decision in decisions)), None, steps)
