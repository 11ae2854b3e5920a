"""SymPy expressions as cached callables: NumPy float64, mpmath at any precision, balls.

Arguments broadcast; constants take the common shape.  NaN stays NaN: the caller judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
from scipy import special
from sympy import Expr, Symbol, lambdify, sympify

from derivations.balls import ball


@lru_cache(maxsize=4096)
def _numpy_callable(expr: Expr, args: tuple[Symbol, ...]) -> Callable[..., Any]:
    return lambdify(args, expr, modules=[{"hyper": _hypergeometric}, "scipy", "numpy"], cse=True)


def _hypergeometric(upper: Sequence[Any], lower: Sequence[Any], z: Any) -> Any:
    """The generalised hypergeometric functions that SciPy has: 0F1, 1F1, 2F1."""
    known = {(0, 1): special.hyp0f1, (1, 1): special.hyp1f1, (2, 1): special.hyp2f1}
    shape = len(upper), len(lower)
    if shape not in known:
        raise ValueError(f"hyper: {shape[0]}F{shape[1]} given, allowed: 0F1, 1F1, 2F1")
    return known[shape](*upper, *lower, z)


@lru_cache(maxsize=1024)
def _mpmath_callable(expr: Expr, args: tuple[Symbol, ...]) -> Callable[..., Any]:
    return lambdify(args, expr, modules="mpmath", cse=True)


def function(expr: Expr, args: Sequence[Symbol], *, backend: str = "numpy", dps: int = 30) -> Callable[..., Any]:
    """The callable args -> expr; backend "numpy" (arrays), "mpmath" or "arb" (balls), both at dps digits.

    >>> from sympy import symbols
    >>> x, y = symbols("x y")
    >>> function(x * y + 1, (x, y))(2.0, 3.0)
    array(7.)
    """
    expr, names = sympify(expr), tuple(args)
    missing = expr.free_symbols - set(names)
    if missing:
        raise ValueError(f"args: no value for {', '.join(sorted(map(str, missing)))} in {expr}")
    if backend == "numpy":
        return _on_arrays(_numpy_callable(expr, names))
    if backend == "mpmath":
        return _at_precision(_mpmath_callable(expr, names), dps)
    if backend == "arb":
        return lambda *values: ball(expr, dict(zip(names, values, strict=True)), digits=dps)
    raise ValueError(f"backend: {backend!r} given, allowed: numpy, mpmath, arb")


def _on_arrays(compiled: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def call(*values: Any) -> np.ndarray:
        arrays = [np.asarray(value, dtype=complex if np.iscomplexobj(value) else float) for value in values]
        with np.errstate(all="ignore"):
            result = np.asarray(compiled(*arrays))
        if np.iscomplexobj(result) and not any(map(np.iscomplexobj, arrays)) and not result.imag.any():
            result = result.real
        return np.array(np.broadcast_to(result, np.broadcast_shapes(result.shape, *(a.shape for a in arrays))))

    return call


def _at_precision(compiled: Callable[..., Any], dps: int) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        with mpmath.workdps(dps):
            return compiled(*(mpmath.mpmathify(value) for value in values))

    return call


def bind(expr: Expr, values: Mapping[Symbol | str, Any]) -> dict[Symbol, Any]:
    """The values of the free symbols, looked up by symbol or by name; ValueError names a missing one."""
    bound = {}
    for symbol in sorted(expr.free_symbols, key=str):
        key = symbol if symbol in values else str(symbol)
        if key not in values:
            raise ValueError(f"values: no value for {symbol} in {expr}")
        bound[symbol] = values[key]
    return bound


def evaluate(expr: Expr, values: Mapping[Symbol | str, Any] | None = None, **named: Any) -> np.ndarray:
    """expr at float64 arrays, broadcast; values keyed by symbol or name.

    >>> from sympy import exp, symbols
    >>> s, t = symbols("s t")
    >>> evaluate(s * exp(-t), {s: [1.0, 2.0], "t": 0.0})
    array([1., 2.])
    """
    exact, given = sympify(expr), {**(values or {}), **named}
    bound = bind(exact, given)
    used = set(bound) | {str(symbol) for symbol in bound}
    shape = np.broadcast_shapes(*(np.shape(v) for k, v in given.items() if k in used))
    result = function(exact, tuple(bound))(*bound.values())
    return np.array(np.broadcast_to(result, np.broadcast_shapes(result.shape, shape)))


def rounding_of(expr: Expr, values: Mapping[Symbol | str, Any], *, points: int = 5, dps: int = 30) -> float:
    """max |float64 value - dps-digit value| over up to `points` points spread over the broadcast values."""
    exact = sympify(expr)
    bound = bind(exact, values)
    symbols = tuple(bound)
    shape = np.broadcast_shapes(*(np.shape(v) for v in bound.values()))
    flat = [np.broadcast_to(np.asarray(v, dtype=float), shape).ravel() for v in bound.values()]
    size = flat[0].size if flat else 1
    fast, slow = function(exact, symbols), function(exact, symbols, backend="mpmath", dps=dps)
    errors = []
    for k in np.unique(np.linspace(0, size - 1, min(points, size)).astype(int)):
        point = [float(column[k]) for column in flat]
        errors.append(float(abs(mpmath.mpmathify(complex(fast(*point))) - slow(*point))))
    return float(np.max(errors))
