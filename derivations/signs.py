"""Certificates for signs: squares, factors, Sturm sequences, discriminants; witnesses of violation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import sympy
from sympy import Dummy, Expr, Poly, S, Symbol, expand, factor_list, fraction, sympify, together

from derivations.decision import Decision
from derivations.ring import numerator
from derivations.witness import allowed, as_text, points, short, value_at

ATTEMPTS = 40
DEPTH = 3
MANY_SYMBOLS = 6  # beyond this the search over discriminants is hopeless; offer squares instead


def nonnegative(expr: Expr, *, squares: Sequence[tuple[Expr, Expr]] = ()) -> Decision:
    """Decide expr >= 0 within the assumptions of its symbols.

    `squares` offers a certificate: pairs (c, s) with expr = sum of c s^2, each c >= 0; it is checked.

    >>> a, b = sympy.symbols("a b", real=True)
    >>> nonnegative(a**2 - a * b + b**2).outcome, nonnegative(a**2 - 3 * a * b + b**2).outcome
    ('proved', 'refuted')
    """
    return _decide(sympify(expr), strict=False, squares=tuple(squares))


def positive(expr: Expr) -> Decision:
    """Decide expr > 0 within the assumptions of its symbols.

    >>> x = sympy.Symbol("x", positive=True)
    >>> positive(x**3 - x + 1).how
    'Sturm: no root where x is positive'
    """
    return _decide(sympify(expr), strict=True)


def _decide(expr: Expr, *, strict: bool, squares: tuple[tuple[Expr, Expr], ...] = ()) -> Decision:
    if expr.has(sympy.Float, S.NaN, S.ComplexInfinity):
        raise ValueError(f"expr: {expr} given, allowed: exact, finite expressions")
    if squares:
        how = _sum_of_squares(expr, squares)
    else:
        how = _certificate(expr, strict, DEPTH)
    if how is not None:
        return Decision("proved", how)
    for point in _sample(expr):
        violation = _violated(expr, point, strict)
        if violation is not None:
            return Decision("refuted", "a rational point where the inequality fails", as_text(point, value=violation))
    return Decision("undecided", "no certificate and no violation found")


def _sample(expr: Expr) -> Iterator[dict[Symbol, Expr]]:
    """General points, then the usual places of equality: an edge of the domain, all symbols equal."""
    symbols = expr.free_symbols
    yield from points(symbols, ATTEMPTS)
    for point in points(symbols, 1):
        yield from ({**point, s: edge} for s in symbols for edge in (S.Zero, S.One) if allowed(edge, s))
    for number in (S.One, S(2), S.Half, S.Zero, -S.One):
        if all(allowed(number, s) for s in symbols):
            yield dict.fromkeys(symbols, number)


def _sum_of_squares(expr: Expr, squares: Sequence[tuple[Expr, Expr]]) -> str | None:
    total = sum((c * s**2 for c, s in squares), S.Zero)
    real = all(sympify(s).is_real for _, s in squares)
    weights = all(_certificate(sympify(c), False, 1) for c, _ in squares)
    if not (real and weights) or numerator(expr - total) != 0:
        return None
    return f"sum of {len(squares)} squares"


def _violated(expr: Expr, point: dict[Symbol, Expr], strict: bool) -> str | None:
    exact = expr.xreplace(point)
    if exact.is_Rational:
        return str(exact) if exact < 0 or (strict and exact == 0) else None
    value = value_at(expr, point)
    if value is None or value.imag != 0 or not value.real < 0:
        return None
    return short(value)


def _certificate(expr: Expr, strict: bool, depth: int) -> str | None:
    if _manifest(expr, strict):
        return "manifest: sums and products of terms of known sign"
    top, bottom = fraction(together(expr))
    signed = top if _manifest(bottom, True) else -top if _manifest(-bottom, True) else None
    if signed is None:
        return None
    return _polynomial_certificate(_with_symbols(signed), strict, depth)


def _manifest(expr: Expr, strict: bool) -> bool:
    return _sign(expr, strict) == 1


def _sign(expr: Expr, strict: bool) -> int:
    """1, -1 when the sign follows from the signs of the parts alone (weakly unless strict), else 0."""
    if expr.is_Add:
        weak = {_sign(a, False) for a in expr.args}
        common = weak.pop() if len(weak) == 1 else 0
        return common if not strict or any(_sign(a, True) == common for a in expr.args) else 0
    if expr.is_Mul:
        return prod(_sign(a, strict) for a in expr.args)
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0:
        inner = _sign(expr.base, strict)
        return 1 if expr.exp % 2 == 0 and (inner or (expr.base.is_real and not strict)) else inner
    if expr.is_positive if strict else expr.is_nonnegative:
        return 1
    return -1 if (expr.is_negative if strict else expr.is_nonpositive) else 0


def _with_symbols(expr: Expr) -> Expr:
    """Transcendental generators as real symbols of the same sign, integers d >= 1 as 1 + nonnegative."""
    expanded = expand(expr)
    if not expanded.free_symbols:
        return expanded
    polynomial = Poly(expanded)
    return polynomial.as_expr(*[_plain(g, k) for k, g in enumerate(polynomial.gens)])


def _plain(generator: Expr, number: int) -> Expr:
    if generator.is_Symbol and generator.is_integer and generator.is_positive:
        return 1 + Dummy(str(generator), integer=True, nonnegative=True)
    if generator.is_Symbol or not generator.is_real:
        return generator
    return Dummy(f"g{number}", real=True, positive=generator.is_positive)


def _polynomial_certificate(polynomial: Expr, strict: bool, depth: int) -> str | None:
    if not polynomial.free_symbols:
        return "all symbols cancel" if _manifest(polynomial, strict) else None
    if not polynomial.is_polynomial(*polynomial.free_symbols):
        return None
    constant, factors = factor_list(polynomial)
    sign_, reasons = (1 if constant > 0 else -1), []
    for f, multiplicity in factors:
        if multiplicity % 2 == 0 and not strict:
            reasons.append("an even power")
            continue
        up, down = _factor_certificate(f, strict, depth), None
        if up is None:
            down = _factor_certificate(-f, strict, depth)
        if up is None and down is None:
            return None
        sign_ *= 1 if up is not None or multiplicity % 2 == 0 else -1
        reasons.append(up or down or "")
    return "; ".join(dict.fromkeys(reasons)) if sign_ > 0 else None


def _factor_certificate(polynomial: Expr, strict: bool, depth: int) -> str | None:
    polynomial = expand(polynomial)
    if _manifest(polynomial, strict):
        return "every term has the sign"
    symbols = sorted(polynomial.free_symbols, key=str)
    if len(symbols) == 1:
        return _sturm(Poly(polynomial, *symbols), symbols[0], strict)
    if depth > 0 and len(symbols) <= MANY_SYMBOLS:
        for x in symbols:
            if x.is_real and (how := _discriminant(Poly(polynomial, x), strict, depth)) is not None:
                return how
    return None


def _sturm(polynomial: Poly, x: Symbol, strict: bool) -> str | None:
    if not x.is_real or not polynomial.domain.is_QQ and not polynomial.domain.is_ZZ:
        return None
    half_line = bool(x.is_nonnegative or x.is_nonpositive)
    low, high = (S.Zero if x.is_nonnegative else None), (S.Zero if x.is_nonpositive else None)
    roots = polynomial.count_roots(low, high)
    if half_line and polynomial.eval(0) == 0 and (x.is_nonzero or not strict):
        roots -= 1
    if roots or polynomial.eval(S.One if high is None else S.NegativeOne) <= 0:
        return None
    where = f"{x} is {'negative' if x.is_nonpositive else 'positive'}" if half_line else f"{x} is real"
    return f"Sturm: no root where {where}"


def _discriminant(quadratic: Poly, strict: bool, depth: int) -> str | None:
    if quadratic.degree() != 2:
        return None
    a, b, c = quadratic.all_coeffs()
    leading = _certificate(a, True, depth - 1)
    rest = _certificate(expand(4 * a * c - b**2), strict, depth - 1) if leading else None
    return f"quadratic in {quadratic.gen}: leading coefficient and -discriminant have the sign" if rest else None
