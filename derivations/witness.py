"""Exact sample points that respect the assumptions of symbols, and certified values at them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import mpmath
from sympy import Expr, I, Rational, Symbol

from derivations.balls import NotEnclosable, ball
from derivations.compiled import function

DIGITS = 50
_FIRST = [Rational(text) for text in ("2", "3", "3/2", "5/2", "7/3", "5", "4/3", "9/4", "7", "11/5")]


def allowed(value: Expr, symbol: Symbol) -> bool:
    """Whether a number satisfies the assumptions of a symbol."""
    return all(getattr(value, f"is_{fact}") == truth for fact, truth in symbol.assumptions0.items())


def _draw(symbol: Symbol, early: bool, generator: random.Random) -> Expr | None:
    """A rational number (or a + b i for a complex symbol) within the assumptions of the symbol, or None."""
    for attempt in range(200):
        if early and attempt < len(_FIRST):
            value = generator.choice(_FIRST)
        else:
            value = Rational(generator.randint(1, 30 + attempt), generator.randint(1, 12))
        if symbol.is_integer:
            value = Rational(round(value))
        if not symbol.is_nonnegative and (symbol.is_nonpositive or generator.random() < 0.5):
            value = -value
        if symbol.is_extended_real is None and not early and generator.random() < 0.5:
            value += I * Rational(generator.randint(1, 30), generator.randint(1, 6))
        if allowed(value, symbol):
            return value
    return None


def points(symbols: Iterable[Symbol], count: int, seed: int = 0) -> Iterator[dict[Symbol, Expr]]:
    """Reproducible rational points, values different when possible; none if no value is allowed."""
    generator, ordered = random.Random(seed), sorted(symbols, key=lambda s: (str(s), s.sort_key()))
    for number in range(count):
        point: dict[Symbol, Expr] = {}
        for symbol in ordered:
            tries = [_draw(symbol, number < 2, generator) for _ in range(6)]
            value = next((v for v in tries if v not in point.values()), tries[0])
            if value is None:
                return
            point[symbol] = value
        yield point


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
    except Exception:  # unsupported functions fail in many ways; all of them mean "no value"
        return None
    if not mpmath.isfinite(high) or abs(high) < 1e-20 or abs(high - low) > 1e-30 * abs(high):
        return None
    return mpmath.nstr(high, 12), f"mpmath at {DIGITS} and {2 * DIGITS} digits"


def _mpmath_value(expr: Expr, point: Mapping[Symbol, Expr], digits: int) -> Any:
    with mpmath.workdps(digits):
        parts = [v.as_real_imag() for v in point.values()]
        values = [mpmath.mpc(_ratio(x), _ratio(y)) if y else _ratio(x) for x, y in parts]
        return mpmath.mpmathify(function(expr, tuple(point), backend="mpmath", dps=digits)(*values))


def _ratio(value: Expr) -> Any:
    return mpmath.mpf(int(value.p)) / int(value.q)


def short(value: Any) -> str:
    """A ball as short decimal text."""
    if value.imag == 0:
        return value.real.str(12, radius=False)
    return value.str(12, radius=False)


def as_text(point: Mapping[Any, Any], **more: Any) -> dict[str, str]:
    """A witness: names and values as text."""
    return {**{str(key): str(value) for key, value in point.items()}, **{k: str(v) for k, v in more.items()}}
