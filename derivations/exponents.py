"""Exponents of one base over a rational basis, so that all its powers are monomials in few atoms."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import lcm

import sympy
from sympy import Dummy, Expr, Matrix, Poly, S, Symbol, expand, factorrat, fraction, together


@dataclass(slots=True)
class Basis:
    """The exponents 1, e_1, e_2, ... independent over the rationals; atom_i stands for base^(e_i / scale_i).

    >>> q = sympy.Symbol("q")
    >>> Basis.of([2 / q, 1 - 2 / q, sympy.Rational(1, 3)])
    Basis(vectors=[1, 2/q], scales=[3, 1], atoms=[])
    """

    vectors: list[Expr]
    scales: list[int]
    atoms: list[Symbol] = field(default_factory=list)

    @classmethod
    def of(cls, exponents: list[Expr]) -> Basis:
        """The basis of the span of 1 and the exponents, with scales that make all coordinates integers."""
        vectors = [S.One]
        for exponent in exponents:
            if _solve(vectors, exponent) is None:
                vectors.append(exponent)
        basis = cls(vectors, [1] * len(vectors))
        rows = [basis.coordinates(exponent) for exponent in exponents]
        return cls(vectors, [lcm(1, *(int(row[i].q) for row in rows)) for i in range(len(vectors))])

    def coordinates(self, exponent: Expr) -> list[Expr]:
        """Rational c with exponent = sum c_i vector_i; ValueError outside the span."""
        found = _solve(self.vectors, exponent)
        if found is None:
            raise ValueError(f"exponent: {exponent} given, allowed: rational combinations of {self.vectors}")
        return found

    def monomial(self, exponent: Expr) -> Expr:
        """base^exponent in the atoms."""
        powers = zip(self.atoms, self.coordinates(exponent), self.scales, strict=True)
        return sympy.Mul(*[atom ** (c * scale) for atom, c, scale in powers])


def number_factors(base: Expr, exponent: Expr) -> list[tuple[Expr, Expr]]:
    """Powers of rationals as powers of primes and -1; SymPy merges them again whenever it multiplies."""
    if not base.is_Rational:
        return [(base, exponent)]
    return [(sympy.Integer(p), expand(n * exponent)) for p, n in factorrat(base).items()]


def opaque(exponent: Expr, names: dict[Expr, Symbol]) -> Expr:
    """An exponent as rational function of symbols and of names for everything else."""
    if exponent.is_Symbol or exponent.is_Rational:
        return exponent
    if exponent.is_Add or exponent.is_Mul or (exponent.is_Pow and exponent.exp.is_Integer):
        return exponent.func(*[opaque(a, names) for a in exponent.args])
    return names.setdefault(exponent, Dummy(f"e{len(names)}"))


def _solve(vectors: list[Expr], target: Expr) -> list[Expr] | None:
    """Rational c with target = sum c_i vectors_i as rational functions, or None."""
    if target.is_Rational:
        return [target, *[S.Zero] * (len(vectors) - 1)]
    columns = _coefficients([*vectors, target])
    monomials = sorted(set().union(*columns))
    table = Matrix([[column.get(m, S.Zero) for column in columns] for m in monomials])
    reduced, pivots = table.rref()
    return None if len(vectors) in pivots else [reduced[i, -1] for i in range(len(vectors))]


def _coefficients(functions: list[Expr]) -> list[dict]:
    """The numerators over one common denominator, as monomial -> coefficient."""
    symbols = sorted(set().union(*(f.free_symbols for f in functions)), key=lambda s: s.sort_key())
    fractions = [fraction(together(f)) for f in functions]
    common = sympy.lcm_list([bottom for _, bottom in fractions])
    return [dict(Poly(top * sympy.cancel(common / bottom), *symbols).terms()) for top, bottom in fractions]
