"""Strict inequalities on boxes by ball arithmetic and bisection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flint import acb
from sympy import Expr, Rational, Symbol, sympify

from derivations.balls import NotEnclosable, ball
from derivations.decision import Decision
from derivations.witness import as_text, short

Box = Mapping[Symbol, tuple[Any, Any]]
BOX_LIMIT = 8000


def enclosed(expr: Expr, box: Box, relation: str) -> Decision:
    """Decide expr > 0, expr < 0 or expr != 0 on a closed box of exact bounds.

    Proved when every sub-box is enclosed on the right side, refuted at a sub-box centre that is certainly on
    the wrong side, else undecided (equality cases always are).

    >>> from sympy import exp, symbols
    >>> x = symbols("x", real=True)
    >>> enclosed(exp(x) - 1 - x - x**2 / 3, {x: (Rational(1, 4), 3)}, ">").outcome
    'proved'
    """
    exact = sympify(expr)
    sides = {">": (_above, _below), "<": (_below, _above), "!=": (_apart, _never)}
    if relation not in sides:
        raise ValueError(f"relation: {relation!r} given, allowed: > < !=")
    holds, fails = sides[relation]
    missing = exact.free_symbols - set(box)
    if missing:
        raise ValueError(f"box: no interval for {', '.join(sorted(map(str, missing)))}")
    todo = [{s: (_exact(low), _exact(high)) for s, (low, high) in box.items()}]
    count = 0
    while todo and count < BOX_LIMIT:
        current, count = todo.pop(), count + 1
        if holds(_value(exact, current)):
            continue
        centre = {s: (low + high) / 2 for s, (low, high) in current.items()}
        value = _value(exact, centre)
        if value is not None and fails(value):
            return Decision("refuted", "ball arithmetic at a point of the box", as_text(centre, value=short(value)))
        widest = max(current, key=lambda s: current[s][1] - current[s][0], default=None)
        if widest is None or current[widest][0] == current[widest][1]:
            return Decision("undecided", "the value at a point cannot be separated from 0")
        low, high = current[widest]
        todo += [{**current, widest: half} for half in ((low, centre[widest]), (centre[widest], high))]
    if todo:
        return Decision("undecided", f"more than {BOX_LIMIT} boxes needed")
    return Decision("proved", f"ball arithmetic on {count} boxes")


def _exact(bound: Any) -> Rational:
    value = sympify(bound)
    if not value.is_Rational:
        raise ValueError(f"box: the bound {bound} given, allowed: exact rationals")
    return value


def _value(expr: Expr, box: Mapping[Symbol, Any]) -> acb | None:
    try:
        value = ball(expr, box, digits=30)
    except NotEnclosable:
        raise
    except (ValueError, ZeroDivisionError):
        return None
    return value if value.is_finite() else None


def _above(value: acb | None) -> bool:
    return value is not None and value.imag == 0 and bool(value.real > 0)


def _below(value: acb | None) -> bool:
    return value is not None and value.imag == 0 and bool(value.real < 0)


def _apart(value: acb | None) -> bool:
    return value is not None and not value.contains(0)


def _never(value: acb | None) -> bool:
    return False
