"""Canonical powers, exponentials and logarithms: the first pass of the normal form of `ring`.

Bases are factored and split where (x y)^a = x^a y^a is true for principal values, exponents are expanded,
logarithms of positive products are sums, hyperbolic and trigonometric functions are exponentials.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy
from sympy import Abs, Add, Expr, LambertW, Mul, S, Sum, expand, factor, factorrat, log, sign, together

_HYPERBOLIC = (sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch)
_INVERSE = (sympy.asinh, sympy.acosh, sympy.atanh, sympy.acoth)
_TRIGONOMETRIC = (sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc)
_FACTORIALS = (sympy.gamma, sympy.factorial, sympy.RisingFactorial, sympy.FallingFactorial, sympy.binomial)


def canonical_powers(expr: Expr, *, positive_powers: bool = True) -> Expr:
    """The same function with canonical powers, exponentials and logarithms.

    >>> x, y, a = sympy.symbols("x y a", positive=True)
    >>> canonical_powers(log((x * y) ** a))
    a*log(x) + a*log(y)
    """
    if expr.has(*_INVERSE):
        expr = expr.rewrite(_INVERSE, log)
    if expr.has(*_HYPERBOLIC, *_TRIGONOMETRIC):
        expr = expr.rewrite(_HYPERBOLIC + _TRIGONOMETRIC, sympy.exp)
    if expr.has(*_FACTORIALS):
        expr = sympy.gammasimp(expr.rewrite(sympy.gamma))
    return _Pass(positive_powers).apply(expr)


@dataclass(frozen=True, slots=True)
class _Pass:
    split_products: bool

    def apply(self, expr: Expr) -> Expr:
        if not expr.args:
            return expr
        if expr.is_Pow or isinstance(expr, sympy.exp):
            return self._power(*expr.as_base_exp())
        if isinstance(expr, Sum):
            return self._sum(expr)
        arguments = [self.apply(a) if isinstance(a, Expr) else a for a in expr.args]
        if expr.is_Add or expr.is_Mul:
            return expr.func(*arguments)
        if isinstance(expr, log) and len(arguments) == 1:
            return self._log(arguments[0])
        if isinstance(expr, sign) and arguments[0].is_extended_real:
            return arguments[0] / _absolute(arguments[0])
        if isinstance(expr, Abs):
            return _absolute(arguments[0])
        return expr.func(*[_tidy(a) if isinstance(a, Expr) else a for a in arguments])

    def _power(self, base: Expr, exponent: Expr) -> Expr:
        if exponent.is_Integer:
            return self.apply(base) ** exponent
        power = expand(together(self.apply(exponent)))
        if base is S.Exp1:
            return self._exponential(power)
        return Mul(*[b ** expand(n * power) for b, n in self._split(self.apply(base))])

    def _exponential(self, power: Expr) -> Expr:
        """exp of a sum: exp(a log b) is b^a, exp(n W(x)) is (x / W(x))^n for integer n."""
        factors, rest = [], []
        for term in Add.make_args(power):
            logs = [f for f in Mul.make_args(term) if isinstance(f, log)]
            coefficient, core = term.as_coeff_Mul()
            if len(logs) == 1:
                factors.append(logs[0].args[0] ** expand(term / logs[0]))
            elif isinstance(core, LambertW) and coefficient.is_Integer:
                factors.append((core.args[0] / core) ** coefficient)
            else:
                rest.append(term)
        return Mul(sympy.exp(Add(*rest)), *factors)

    def _log(self, argument: Expr) -> Expr:
        terms = []
        for b, n in self._split(argument):
            inner, exponent = b.as_base_exp()
            if inner is S.Exp1 and exponent.is_extended_real:
                terms.append(n * exponent)
            elif inner.is_positive and exponent.is_extended_real:
                terms.append(n * exponent * log(inner))
            elif isinstance(b, LambertW) and len(b.args) == 1 and b.args[0].is_positive:
                terms.append(n * (self._log(b.args[0]) - b))
            else:
                terms.append(n * log(b))
        return Add(*terms)

    def _sum(self, expr: Sum) -> Expr:
        """A finite sum is linear: constants move out, summands are summed one by one."""
        index, low, high = expr.limits[0]
        if len(expr.limits) > 1 or S.Infinity in (low, high) or S.NegativeInfinity in (low, high):
            return expr
        result = S.Zero
        for term in Add.make_args(expand(self.apply(expr.function))):
            constant, inner = term.as_independent(index, as_Add=False)
            result += constant * (Sum(inner, expr.limits[0]) if inner != 1 else high - low + 1)
        return result

    def _split(self, base: Expr) -> list[tuple[Expr, Expr]]:
        """Base as product of factor^n with real n, where (prod f^n)^e = prod f^(n e) and the like for log."""
        base = _tidy(base)
        if not self.split_products:
            return [(base, S.One)]
        parts: list[tuple[Expr, Expr]] = []
        rest = S.One
        for f in Mul.make_args(base):
            inner, exponent = f.as_base_exp()
            if f.is_Rational:
                parts += [(sympy.Integer(p), sympy.Integer(n)) for p, n in factorrat(abs(f)).items()]
                rest *= sign(f)
            elif inner.is_positive and exponent.is_real:
                parts.append((inner, exponent))
            elif inner.is_extended_real and exponent.is_even:
                parts.append((_absolute(inner), exponent))
            elif f.is_nonnegative:
                parts.append((f, S.One))
            else:
                rest *= f
        return parts if rest == 1 else [*parts, (rest, S.One)]


def _absolute(argument: Expr) -> Expr:
    return Mul(*[Abs(f) for f in Mul.make_args(factor(argument))])


def _tidy(expr: Expr) -> Expr:
    return factor(together(expr))
