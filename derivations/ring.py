"""Rational functions in atoms: the normal form in which identities of powers, exponentials and logarithms cancel.

Every power b^e with a symbolic or fractional exponent, every exponential and logarithm becomes a monomial in
atoms.  Exponents of one base are written over a rational basis that begins with 1, so that x^q and x^(2 q),
or a^(2/q) and a^(1-2/q), share an atom.  Roots and absolute values keep their algebraic relation.
Treating atoms as independent is sound for proving zero; a non-zero result proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import lcm

import sympy
from sympy import Abs, Dummy, Expr, I, Matrix, Poly, S, Symbol, expand, factor, factorint, fraction, log, sign, together

_HYPERBOLIC = (sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch)
_TRIGONOMETRIC = (sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc)
_FACTORIALS = (sympy.gamma, sympy.factorial, sympy.RisingFactorial, sympy.FallingFactorial, sympy.binomial)


def numerator(expr: Expr, *, positive_powers: bool = True) -> Expr:
    """The reduced numerator of expr in independent atoms; 0 proves expr = 0.

    ValueError when the denominator vanishes identically.

    >>> x, q = sympy.symbols("x q", positive=True)
    >>> numerator(x ** (2 * q) - (x**q) ** 2 + x ** (1 - 2 / q) * x ** (2 / q) - x)
    0
    """
    tower = Tower(positive_powers)
    prepared = tower.prepare(_rewritten(expr))
    tower.collect(prepared)
    top, bottom = fraction(together(tower.encode(prepared)))
    if tower.reduce(bottom) == 0:
        raise ValueError(f"expr: a denominator vanishes identically in {expr}")
    return tower.reduce(top)


def _rewritten(expr: Expr) -> Expr:
    if expr.has(*_HYPERBOLIC, *_TRIGONOMETRIC):
        expr = expr.rewrite(_HYPERBOLIC + _TRIGONOMETRIC, sympy.exp)
    if expr.has(*_FACTORIALS):
        expr = sympy.gammasimp(expr.rewrite(sympy.gamma))
    return expr


@dataclass(slots=True)
class Tower:
    """The atoms of one expression and the algebraic relations among them."""

    positive_powers: bool
    exponents: dict[Expr, list[Expr]] = field(default_factory=dict)
    bases: dict[Expr, Basis] = field(default_factory=dict)
    atoms: dict[Expr, Symbol] = field(default_factory=dict)
    relations: list[tuple[Symbol, int, Expr]] = field(default_factory=list)  # atom ** degree = expression

    # ---- first pass: canonical bases, exponents and logarithms

    def prepare(self, expr: Expr) -> Expr:
        """The same expression with split bases, expanded exponents and split logarithms."""
        if not expr.args:
            return expr
        if expr.is_Pow or isinstance(expr, sympy.exp):
            base, exponent = expr.as_base_exp()
            return self._prepare_power(base, exponent)
        arguments = [self.prepare(a) if isinstance(a, Expr) else a for a in expr.args]
        if expr.is_Add or expr.is_Mul:
            return expr.func(*arguments)
        if isinstance(expr, log) and len(arguments) == 1:
            return self._prepare_log(arguments[0])
        if isinstance(expr, sign) and arguments[0].is_extended_real:
            return arguments[0] / self._absolute(arguments[0])
        if isinstance(expr, Abs):
            return self._absolute(arguments[0])
        return expr.func(*[_tidy(a) if isinstance(a, Expr) else a for a in arguments])

    def _absolute(self, argument: Expr) -> Expr:
        return sympy.Mul(*[Abs(f) for f in sympy.Mul.make_args(factor(argument))])

    def _prepare_power(self, base: Expr, exponent: Expr) -> Expr:
        if exponent.is_Integer:
            return self.prepare(base) ** exponent
        power = expand(together(self.prepare(exponent)))
        if base is S.Exp1:
            return self._prepare_exponential(power)
        parts = self._split(self.prepare(base))
        return sympy.Mul(*[_held(b, n * power) for b, n in parts])

    def _prepare_exponential(self, power: Expr) -> Expr:
        factors, rest = [], []
        for term in sympy.Add.make_args(power):
            logs = [f for f in sympy.Mul.make_args(term) if isinstance(f, log)]
            if len(logs) == 1:
                factors.append(_held(logs[0].args[0], term / logs[0]))
            else:
                rest.append(term)
        return sympy.Mul(_held(S.Exp1, sympy.Add(*rest)), *factors)

    def _prepare_log(self, argument: Expr) -> Expr:
        if isinstance(argument, sympy.exp) and argument.args[0].is_extended_real:
            return argument.args[0]
        terms = []
        for b, n in self._split(argument):
            inner, exponent = b.as_base_exp()
            if inner.is_positive and exponent.is_real:
                terms.append(n * exponent * (log(inner) if inner is not S.Exp1 else 1))
            else:
                terms.append(n * log(b))
        return sympy.Add(*terms)

    def _split(self, base: Expr) -> list[tuple[Expr, Expr]]:
        """base as product of (factor, integer power) where (prod f^n)^e = prod f^(n e) holds."""
        base = _tidy(base)
        if not self.positive_powers:
            return [(base, S.One)]
        parts: list[tuple[Expr, Expr]] = []
        rest = S.One
        for f in sympy.Mul.make_args(base):
            if f.is_Rational:
                parts += [(sympy.Integer(p), sympy.Integer(n)) for p, n in factorint(abs(f)).items()]
                rest *= sign(f)
                continue
            inner, exponent = f.as_base_exp()
            if inner.is_positive and exponent.is_real:
                parts.append((inner, exponent))
            elif inner.is_extended_real and exponent.is_even:
                parts.append((self._absolute(inner), exponent))
            elif f.is_nonnegative:
                parts.append((f, S.One))
            else:
                rest *= f
        return parts if rest == 1 else [*parts, (rest, S.One)]

    # ---- second pass: exponents of each base over one rational basis

    def collect(self, expr: Expr) -> None:
        """Register the exponents of every base that occurs, at any depth."""
        for node in sympy.preorder_traversal(expr):
            if (isinstance(node, sympy.exp) or node.is_Pow) and not node.as_base_exp()[1].is_Integer:
                for base, exponent in _number_factors(*node.as_base_exp()):
                    self.exponents.setdefault(base, []).append(exponent)

    def encode(self, expr: Expr) -> Expr:
        """The expression as rational function of atoms."""
        if expr.is_Rational:
            return expr
        if expr.is_Add or expr.is_Mul:
            return expr.func(*[self.encode(a) for a in expr.args])
        if expr.is_Pow or isinstance(expr, sympy.exp):
            base, exponent = expr.as_base_exp()
            if exponent.is_Integer:
                return self.encode(base) ** exponent
            return sympy.Mul(*[self._power(b, e) for b, e in _number_factors(base, exponent)])
        if expr in self.exponents:
            return self._power(expr, S.One)
        if expr not in self.atoms:
            self.atoms[expr] = Dummy(f"a{len(self.atoms)}")
            self._relate(expr, self.atoms[expr], 1)
        return self.atoms[expr]

    def _relate(self, base: Expr, atom: Symbol, root: int) -> None:
        """The algebraic relation, if any, of an atom with atom ** root = base."""
        if base is I:
            self.relations.append((atom, 2 * root, S.NegativeOne))
        elif isinstance(base, Abs) and base.args[0].is_extended_real:
            self.relations.append((atom, 2 * root, self.encode(base.args[0]) ** 2))
        elif base.is_Add or base.is_Mul or base.is_Pow or base.is_Number:
            self.relations.append((atom, root, self.encode(base)))

    def _power(self, base: Expr, exponent: Expr) -> Expr:
        if base not in self.bases:
            basis = Basis.of([_opaque(e, self.atoms) for e in self.exponents[base]])
            basis.atoms = [Dummy("p") for _ in basis.scales]
            self._relate(base, basis.atoms[0], basis.scales[0])
            self.bases[base] = basis
        basis = self.bases[base]
        coordinates = basis.coordinates(_opaque(exponent, self.atoms))
        return sympy.Mul(*[a ** (c * n) for a, c, n in zip(basis.atoms, coordinates, basis.scales, strict=True)])

    # ---- reduction modulo the relations

    def reduce(self, polynomial: Expr) -> Expr:
        """The numerator modulo the relations, expanded."""
        for atom, degree, image in reversed(self.relations):
            polynomial = _reduced(polynomial, atom, degree, image)
        return expand(polynomial)


def _reduced(polynomial: Expr, atom: Symbol, degree: int, image: Expr) -> Expr:
    if not polynomial.has(atom):
        return polynomial
    top, bottom = fraction(together(image))
    terms = Poly(polynomial, atom).terms()
    highest = max(power // degree for (power,), _ in terms)
    return sympy.Add(
        *[c * atom ** (k % degree) * top ** (k // degree) * bottom ** (highest - k // degree) for (k,), c in terms]
    )


def _tidy(expr: Expr) -> Expr:
    return factor(together(expr))


def _held(base: Expr, exponent: Expr) -> Expr:
    return base**expand(exponent)


def _number_factors(base: Expr, exponent: Expr) -> list[tuple[Expr, Expr]]:
    """Powers of rationals as powers of primes and -1; SymPy merges them again when it multiplies."""
    if not base.is_Rational:
        return [(base, exponent)]
    return [(sympy.Integer(p), expand(n * exponent)) for p, n in factorint(base).items()]


def _opaque(exponent: Expr, atoms: dict[Expr, Symbol]) -> Expr:
    """An exponent as rational function of symbols and opaque names."""
    if exponent.is_Symbol or exponent.is_Rational:
        return exponent
    if exponent.is_Add or exponent.is_Mul or (exponent.is_Pow and exponent.exp.is_Integer):
        return exponent.func(*[_opaque(a, atoms) for a in exponent.args])
    return atoms.setdefault(exponent, Dummy(f"a{len(atoms)}"))


@dataclass(slots=True)
class Basis:
    """Exponents of one base over the rationals: 1, then independent exponents, each divided by its scale."""

    vectors: list[Expr]
    scales: list[int]
    atoms: list[Symbol] = field(default_factory=list)

    @classmethod
    def of(cls, exponents: list[Expr]) -> Basis:
        """The basis 1, e_1, e_2, ... of the span, with scales that make all coordinates integers."""
        vectors = [S.One]
        for e in exponents:
            if _coordinates(vectors, e) is None:
                vectors.append(e)
        rows = [_coordinates(vectors, e) for e in exponents]
        scales = [lcm(1, *(int(r[i].q) for r in rows if r is not None)) for i in range(len(vectors))]
        return cls(vectors, scales)

    def coordinates(self, exponent: Expr) -> list[Expr]:
        """Rational coordinates of an exponent in the span."""
        found = _coordinates(self.vectors, exponent)
        if found is None:
            raise ValueError(f"exponent: {exponent} is not in the span of {self.vectors}")
        return found


def _coordinates(vectors: list[Expr], target: Expr) -> list[Expr] | None:
    """Rational c with target = sum c_i vectors_i as rational functions of the atoms, or None."""
    symbols = sorted(set().union(*(v.free_symbols for v in [*vectors, target])), key=lambda s: s.sort_key())
    tops = [fraction(together(v)) for v in [*vectors, target]]
    common = sympy.lcm_list([bottom for _, bottom in tops])
    columns = [dict(Poly(sympy.cancel(top * common / bottom), *symbols).terms()) if symbols else {(): top * common / bottom}
               for top, bottom in tops]
    monomials = sorted(set().union(*columns))
    table = Matrix([[column.get(m, S.Zero) for column in columns] for m in monomials])
    reduced, pivots = table.rref()
    if len(vectors) in pivots:
        return None
    return [reduced[i, -1] for i in range(len(vectors))] if len(pivots) == len(vectors) else None
