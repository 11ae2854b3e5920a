"""Ball arithmetic: rigorous enclosures of SymPy expressions at points and on boxes (python-flint)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import flint
import sympy
from flint import acb, arb, fmpq
from sympy import Expr, Symbol

_FUNCTIONS: dict[type, Callable[[acb], acb]] = {
    sympy.exp: acb.exp,
    sympy.log: acb.log,
    sympy.sin: acb.sin,
    sympy.cos: acb.cos,
    sympy.tan: acb.tan,
    sympy.sinh: acb.sinh,
    sympy.cosh: acb.cosh,
    sympy.tanh: acb.tanh,
    sympy.coth: acb.coth,
    sympy.sech: acb.sech,
    sympy.csch: acb.csch,
    sympy.asin: acb.asin,
    sympy.acos: acb.acos,
    sympy.atan: acb.atan,
    sympy.asinh: acb.asinh,
    sympy.acosh: acb.acosh,
    sympy.atanh: acb.atanh,
    sympy.erf: acb.erf,
    sympy.erfc: acb.erfc,
    sympy.erfi: acb.erfi,
    sympy.gamma: acb.gamma,
    sympy.loggamma: acb.lgamma,
    sympy.Abs: lambda z: acb(abs(z)),
    sympy.re: lambda z: acb(z.real),
    sympy.im: lambda z: acb(z.imag),
    sympy.conjugate: lambda z: z.conjugate(),
    sympy.LambertW: lambda z: z.lambertw(),
}


class NotEnclosable(ValueError):  # noqa: N818
    """The expression contains something that has no ball version."""


def ball(expr: Expr, values: Mapping[Symbol, Any], *, digits: int = 50) -> acb:
    """A ball that contains expr at the given values (exact rationals, balls or pairs (low, high)).

    ValueError (NotEnclosable) for functions without a ball version and for symbols without a value.

    >>> x = sympy.Symbol("x")
    >>> value = ball(sympy.exp(x) - 1, {x: (0, 1)}, digits=20).real
    >>> bool(value > -1), bool(value < 2), bool(value > 0)
    (True, True, False)
    """
    before = flint.ctx.prec
    flint.ctx.prec = int(3.33 * digits) + 10
    try:
        return _walk(sympy.sympify(expr), {symbol: as_ball(value) for symbol, value in values.items()}, {})
    finally:
        flint.ctx.prec = before


def as_ball(value: Any) -> acb:
    """A number, an interval (low, high) or a ball as complex ball at the current precision."""
    if isinstance(value, acb):
        return value
    if isinstance(value, tuple):
        low, high = as_ball(value[0]).real, as_ball(value[1]).real
        return acb(low.union(high))
    if isinstance(value, (sympy.Rational, int)):
        exact = sympy.Rational(value)
        return acb(arb(fmpq(int(exact.p), int(exact.q))))
    if isinstance(value, Expr):
        return _walk(value, {}, {})
    return acb(arb(value))


def _walk(expr: Expr, values: Mapping[Symbol, acb], seen: dict[Expr, acb]) -> acb:
    if expr not in seen:
        seen[expr] = _node(expr, values, seen)
    return seen[expr]


def _node(expr: Expr, values: Mapping[Symbol, acb], seen: dict[Expr, acb]) -> acb:
    if expr in values:
        return values[expr]
    if expr.is_Rational:
        return as_ball(expr)
    if expr is sympy.I:
        return acb(0, 1)
    if expr is sympy.pi:
        return acb(arb.pi())
    if expr is sympy.E:
        return acb(1).exp()
    if expr is sympy.EulerGamma:
        return acb(arb.const_euler())
    inner = [_walk(argument, values, seen) for argument in expr.args] if expr.args else []
    if expr.is_Add:
        return sum(inner[1:], inner[0])
    if expr.is_Mul:
        product = inner[0]
        for factor in inner[1:]:
            product = product * factor
        return product
    if expr.is_Pow:
        return inner[0] ** int(expr.exp) if expr.exp.is_Integer else _power(expr.base, inner[0], inner[1])
    if isinstance(expr, (sympy.Max, sympy.Min)):
        choose = arb.max if isinstance(expr, sympy.Max) else arb.min
        return acb(reduce(choose, [_real(value, expr) for value in inner]))
    if isinstance(expr, sympy.sign):
        return acb(_real(inner[0], expr).sgn())
    known = _FUNCTIONS.get(expr.func)
    if known is not None and len(inner) == 1:
        return known(inner[0])
    raise NotEnclosable(f"expr: no ball arithmetic for {expr}")


def _real(value: acb, expr: Expr) -> arb:
    if value.imag != 0:
        raise NotEnclosable(f"expr: {expr} of something that may not be real")
    return value.real


def _power(symbolic_base: Expr, base: acb, exponent: acb) -> acb:
    if base == 0 and exponent.real > 0:
        return acb(0)
    if symbolic_base is sympy.E:
        return exponent.exp()
    return base**exponent
