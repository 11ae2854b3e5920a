"""Exact sample points that respect the assumptions of symbols, and certified values at them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import mpmath
from sympy import Derivative, Dummy, Expr, Indexed, Rational, Symbol
from sympy.core.function import AppliedUndef

from derivations.balls import NotEnclosable, ball
from derivations.compiled import function

DIGITS = 50
_FIRST = [Rational(*pair) for pair in ((2, 1), (3, 1), (3, 2), (5, 2), (7, 3), (5, 1), (4, 3), (9, 4), (7, 1), (11, 5))]


def _allowed(value: Expr, symbol: Symbol) -> bool:
    return all(getattr(value, f"is_{fact}") == truth for fact, truth in symbol.assumptions0.items())


def _draw(symbol: Symbol, round_: int, generator: random.Random) -> Expr:
    for attempt in range(200):
        if round_ < 2 and attempt < len(_FIRST):
            value = generator.choice(_FIRST)
        else:
            value = Rational(generator.randint(1, 30 + attempt), generator.randint(1, 12))
        if symbol.is_integer:
            value = Rational(round(value))
        if not symbol.is_nonnegative and (symbol.is_nonpositive or generator.random() < 0.5):
            value = -value
        if _allowed(value, symbol):
            return value
    raise ValueError(f"{symbol}: no rational value found that satisfies its assumptions")


def points(symbols: Iterable[Symbol], count: int, seed: int = 0) -> Iterator[dict[Symbol, Expr]]:
    """Rational points, reproducible; small values first, all values of a point different when possible."""
    generator, ordered = random.Random(seed), sorted(symbols, key=lambda s: (str(s), s.sort_key()))
    for round_ in range(count):
        point: dict[Symbol, Expr] = {}
        for symbol in ordered:
            tries = (_draw(symbol, round_, generator) for _ in range(20))
            point[symbol] = next((v for v in tries if v not in point.values()), _draw(symbol, round_, generator))
        yield point


def free_functions(expr: Expr) -> dict[Expr, Dummy]:
    """Undefined functions, their derivatives and indexed entries, each with a real number to stand for it.

    At a point of general position these values are independent: some smooth function takes all of them.
    """
    found = expr.atoms(AppliedUndef, Derivative, Indexed)
    outer = [f for f in found if not isinstance(f, Derivative) or isinstance(f.expr, AppliedUndef)]
    ordered = sorted(outer, key=lambda f: (-f.count_ops(), str(f)))
    return {f: Dummy(f"value_{k}", real=True, positive=f.is_positive) for k, f in enumerate(ordered)}


def value_at(expr: Expr, point: Mapping[Symbol, Expr]) -> Any:
    """An enclosure of expr at a rational point (acb), or None where it is undefined or cannot be enclosed."""
    try:
        for digits in (DIGITS, 4 * DIGITS):
            value = ball(expr, point, digits=digits)
            if value.is_finite() and not value.contains(0):
                return value
        return value if value.is_finite() else None
    except (NotEnclosable, ZeroDivisionError, ValueError):
        return None


def nonzero_at(expr: Expr, point: Mapping[Symbol, Expr]) -> tuple[str, str] | None:
    """(value, method) when expr is certainly not zero at the point, else None."""
    value = value_at(expr, point)
    if value is not None:
        return None if value.contains(0) else (short(value), f"ball arithmetic, {DIGITS} digits")
    return _nonzero_mpmath(expr, point)


def _nonzero_mpmath(expr: Expr, point: Mapping[Symbol, Expr]) -> tuple[str, str] | None:
    try:
        low, high = (_mpmath_value(expr, point, digits) for digits in (DIGITS, 2 * DIGITS))
    except Exception:  # noqa: BLE001  unsupported functions fail in many ways; all of them mean "no value"
        return None
    if not mpmath.isfinite(high) or abs(high) < mpmath.mpf(10) ** -20 or abs(high - low) > abs(high) * mpmath.mpf(10) ** -30:
        return None
    return mpmath.nstr(high, 12), f"mpmath at {DIGITS} and {2 * DIGITS} digits"


def _mpmath_value(expr: Expr, point: Mapping[Symbol, Expr], digits: int) -> Any:
    with mpmath.workdps(digits):
        values = [mpmath.mpf(int(v.p)) / int(v.q) for v in point.values()]
        return mpmath.mpmathify(function(expr, tuple(point), backend="mpmath", dps=digits)(*values))


def short(value: Any) -> str:
    """A ball as short decimal text."""
    if value.imag == 0:
        return value.real.str(12, radius=False)
    return value.str(12, radius=False)


def as_text(point: Mapping[Any, Any], **more: Any) -> dict[str, str]:
    """A witness: names and values as text."""
    return {**{str(key): str(value) for key, value in point.items()}, **{k: str(v) for k, v in more.items()}}
