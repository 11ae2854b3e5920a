"""What one run of a check on one case found out: supports, contradicts or undecided, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """The three answers of a check; "undecided" never counts as a pass."""

    SUPPORTS = "supports"
    CONTRADICTS = "contradicts"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Bound:
    """An error budget: named, non-negative absolute contributions that add up.

    Each part says which error source it stands for, so that a page can print where the number comes from.
    """

    parts: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        """Refuse parts that are negative or not numbers: an infinite budget would accept anything."""
        for name, value in self.parts:
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"bound {name!r}: {value} given, allowed: finite and >= 0")

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return math.fsum(value for _, value in self.parts)

    def __add__(self, other: Bound) -> Bound:
        sums: dict[str, float] = {}
        for name, value in self.parts + other.parts:
            sums[name] = sums.get(name, 0.0) + value
        return Bound(tuple(sums.items()))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Outcome of one case with the numbers that decided it.

    ``error`` and ``bound`` are absolute and of the same unit; ``observed`` and ``predicted`` are flat samples for
    figures and for ``lemmata try``; ``subject`` is what assumptions are measured on and is not stored.
    """

    outcome: Outcome
    error: float
    bound: float
    budget: tuple[tuple[str, float], ...] = ()
    detail: str = ""
    observed: tuple[float, ...] = ()
    predicted: tuple[float, ...] = ()
    axis: tuple[float, ...] = ()
    subject: Any = field(default=None, compare=False)

    @property
    def ratio(self) -> float:
        """Error over bound; infinite when the error is no number or the bound is zero and the error is not."""
        if not math.isfinite(self.error):
            return math.inf
        if self.bound == 0:
            return 0.0 if self.error == 0 else math.inf
        return self.error / self.bound

    def on(self, subject: Any) -> Evidence:
        """The same evidence, found on ``subject`` (the engine measures the claim's assumptions there)."""
        return replace(self, subject=subject)

    def noting(self, detail: str) -> Evidence:
        """The same evidence with a sentence of explanation."""
        return replace(self, detail=detail)
