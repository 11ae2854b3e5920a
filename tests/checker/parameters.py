"""Parameters that a user may set on a trial: how they are read, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Domain:
    """A parser and a test, with the words that an error message uses for what is allowed."""

    parse: Callable[[str], Any]
    allows: Callable[[Any], bool]
    says: str


def _number(text: str) -> float:
    value = math.inf if text in ("oo", "inf") else float(text)
    return int(value) if math.isfinite(value) and value == int(value) else value


def _sizes(text: str) -> tuple[int, ...] | str:
    return tuple(int(part) for part in text.split(",")) if text[:1].isdigit() or "," in text else text


_positive = Domain(_number, lambda v: 0 < v < math.inf, "a number > 0")

DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "depth": Domain(int, lambda v: 1 <= v <= 64, "an integer from 1 to 64"),
        "q": Domain(_number, lambda v: v >= 1, "q >= 1, or oo"),
        "widths": Domain(
            _sizes,
            lambda v: isinstance(v, str) or all(1 <= n <= 512 for n in v),
            "depth + 1 sizes from 1 to 512 with commas, or the name of a shape",
        ),
        "seed": Domain(int, lambda v: v >= 0, "an integer >= 0"),
        "eta": _positive,
        "epsilon": _positive,
        "scale": _positive,
        "time": _positive,
        "step": _positive,
    }
)


def read(name: str, text: str, declared: tuple[Any, ...]) -> Any:
    """The value of ``name`` given as text; raises ``ValueError`` in one line that says what is allowed.

    ``declared`` are the values of the check's grid: a name without a domain takes one of them, or a number if they
    are numbers.
    """
    domain = DOMAINS.get(name) or _domain_of(declared)
    try:
        value = domain.parse(text)
        fits = domain.allows(value)
    except (ValueError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(f"{name}: {text} given, allowed: {domain.says}")
    return value


def _domain_of(declared: tuple[Any, ...]) -> Domain:
    if declared and all(isinstance(v, int | float) and not isinstance(v, bool) for v in declared):
        return Domain(_number, math.isfinite, "a finite number")
    table = {str(value): value for value in declared}
    return Domain(lambda text: table.get(text, text), lambda v: v in table.values(), ", ".join(table))
