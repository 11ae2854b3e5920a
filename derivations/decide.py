"""Decision procedures: identities, signs and strict inequalities, with proofs, witnesses and honest doubt.

`zero` answers "proved" only through an exact reduction and "refuted" only with a point of certified non-zero
value; whatever remains is "undecided".  Identities are decided at points of general position: denominators
and bases of powers differ from 0.
"""

from __future__ import annotations

import sympy
from sympy import (
    Eq,
    Expr,
    Float,
    Indexed,
    IndexedBase,
    MatrixBase,
    S,
    Symbol,
    expand,
    expand_log,
    powsimp,
    sympify,
)
from sympy.concrete.expr_with_limits import ExprWithLimits
from sympy.core.function import AppliedUndef

from derivations.decision import Decision, Outcome, Step, all_of, step
from derivations.enclosures import enclosed
from derivations.generic import free_values, separated
from derivations.ring import VanishingDenominator, numerator
from derivations.signs import nonnegative, positive
from derivations.witness import as_text, nonzero_at, points

__all__ = [
    "Decision",
    "Outcome",
    "Step",
    "all_of",
    "enclosed",
    "equal",
    "nonnegative",
    "positive",
    "step",
    "zero",
]

ATTEMPTS = 30


def zero(expr: Expr | MatrixBase, *, positive_powers: bool = True) -> Decision:
    """Decide expr = 0 identically in its symbols, within their assumptions; matrices entry by entry.

    positive_powers lets powers and logarithms of products split where SymPy knows the factors to be positive.
    ValueError for floats, NaN and infinities.

    >>> x, q = sympy.symbols("x q", positive=True)
    >>> zero((x ** (1 / q)) ** 2 * x ** (1 - 2 / q) - x).outcome
    'proved'
    >>> zero(sympy.sqrt(x**2 + 1) - x).outcome
    'refuted'
    """
    if isinstance(expr, MatrixBase):
        return all_of(*(zero(entry, positive_powers=positive_powers) for entry in expr))
    exact = exact_expression(expr)
    if exact == 0:
        return Decision("proved", "zero as written")
    for reduce in (_in_atoms, _by_powers, _algebraic_number):
        how = reduce(exact, positive_powers)
        if how is not None:
            return Decision("proved", how)
    return _witness(exact)


def equal(left: Expr, right: Expr, *, positive_powers: bool = True) -> Decision:
    """Decide left = right, the zero of the difference.

    >>> t = sympy.Symbol("t", real=True)
    >>> equal(sympy.cosh(t) ** 2, 1 + sympy.sinh(t) ** 2).outcome
    'proved'
    """
    return zero(sympify(left) - sympify(right), positive_powers=positive_powers)


def exact_expression(expr: Expr) -> Expr:
    """A scalar SymPy expression without floats, NaN and infinities, or ValueError."""
    exact = sympify(expr)
    if isinstance(exact, Eq):
        exact = exact.lhs - exact.rhs
    if not isinstance(exact, Expr) or getattr(exact, "is_Matrix", False):
        raise ValueError(f"expr: {type(exact).__name__} given, allowed: a scalar expression")
    if exact.has(Float):
        raise ValueError(f"expr: {exact} contains a floating-point number, allowed: exact expressions")
    if _without_limits(exact).has(S.NaN, S.ComplexInfinity, S.Infinity, S.NegativeInfinity):
        raise ValueError(f"expr: {exact} contains NaN or an infinity, allowed: finite expressions")
    return exact


def _without_limits(expr: Expr) -> Expr:
    """Infinite limits of sums and integrals are fine: these are opaque."""
    return expr.xreplace({node: node.function for node in expr.atoms(ExprWithLimits)})


def _in_atoms(expr: Expr, positive_powers: bool) -> str | None:
    try:
        reduced = numerator(expr, positive_powers=positive_powers)
    except (sympy.PolynomialError, VanishingDenominator):
        return None
    return "rational function in independent atoms: the numerator is 0" if reduced == 0 else None


def _by_powers(expr: Expr, positive_powers: bool) -> str | None:
    if not positive_powers:
        return None
    split = expand_log(expr)
    for candidate in (expand(split), powsimp(expand(split)), expand(powsimp(split))):
        if candidate == 0:
            return "expansion of powers and logarithms"
    return None


def _algebraic_number(expr: Expr, positive_powers: bool) -> str | None:
    if not (expr.is_number and expr.is_algebraic):
        return None
    x = Symbol("x")
    try:
        return "its minimal polynomial is x" if sympy.minimal_polynomial(expr, x) == x else None
    except (sympy.polys.polyerrors.NotAlgebraic, NotImplementedError):
        return None


def _witness(expr: Expr) -> Decision:
    functions = free_values(expr)
    plain = expr.xreplace(functions)
    back = {dummy: f for f, dummy in functions.items()}
    if plain.has(AppliedUndef, Indexed):
        return Decision("undecided", "values under a sum or an integral have no certified number")
    labels = {node.label for node in expr.atoms(IndexedBase)}
    symbols = {s for e in (plain, *functions) for s in e.free_symbols if s.is_Symbol and s not in labels} | set(back)
    for point in points(symbols, ATTEMPTS):
        found = nonzero_at(plain, {s: v for s, v in point.items() if s in plain.free_symbols})
        if found is not None and separated(functions, point):
            named = {back.get(symbol, symbol): value for symbol, value in point.items()}
            return Decision("refuted", found[1], as_text(named, value=found[0]))
    return Decision("undecided", "neither a reduction to zero nor a point with certified non-zero value")
