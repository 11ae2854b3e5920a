"""Rational functions in atoms: the normal form in which identities of powers and exponentials cancel.

Every power b^e with a symbolic or fractional exponent, every exponential and every function becomes a
monomial in atoms.  Exponents of one base are written over a rational basis that begins with 1, so x^q and
x^(2 q), or a^(2/q) and a^(1-2/q), share atoms.  Roots and absolute values keep their algebraic relation.
Treating atoms as independent is sound for proving zero; a non-zero result proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy
from sympy import Abs, Dummy, Expr, I, Poly, S, Symbol, fraction, together

from derivations.exponents import Basis, number_factors, opaque
from derivations.powers import canonical_powers


class VanishingDenominator(ValueError):  # noqa: N818
    """A denominator is identically zero: the expression has no value anywhere."""


def numerator(expr: Expr, *, positive_powers: bool = True) -> Expr:
    """The reduced numerator of expr in independent atoms; 0 proves expr = 0.

    VanishingDenominator (a ValueError) when the denominator vanishes identically.

    >>> x, q = sympy.symbols("x q", positive=True)
    >>> numerator(x ** (2 * q) - (x**q) ** 2 + x ** (1 - 2 / q) * x ** (2 / q) - x)
    0
    """
    prepared = canonical_powers(expr, positive_powers=positive_powers)
    tower = _Tower(_exponents(prepared))
    encoded = tower.encode(prepared)
    # together() is by far the slowest step, and a polynomial does not need it.
    top, bottom = (encoded, S.One) if encoded.is_polynomial() else fraction(together(encoded))
    if tower.reduce(bottom) == 0:
        raise VanishingDenominator(f"expr: a denominator vanishes identically in {expr}")
    return tower.reduce(top)


def _exponents(expr: Expr) -> dict[Expr, list[Expr]]:
    """The exponents of every base that occurs, at any depth."""
    found: dict[Expr, list[Expr]] = {}
    for node in sympy.preorder_traversal(expr):
        if (isinstance(node, sympy.exp) or getattr(node, "is_Pow", False)) and not node.as_base_exp()[1].is_Integer:
            for base, exponent in number_factors(*node.as_base_exp()):
                found.setdefault(base, []).append(exponent)
    return found


@dataclass(slots=True)
class _Tower:
    """The atoms of one expression and the algebraic relations atom^degree = expression in earlier atoms."""

    exponents: dict[Expr, list[Expr]]
    bases: dict[Expr, Basis] = field(default_factory=dict)
    atoms: dict[Expr, Symbol] = field(default_factory=dict)
    names: dict[Expr, Symbol] = field(default_factory=dict)
    relations: list[tuple[Symbol, int, Expr]] = field(default_factory=list)

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
            return sympy.Mul(*[self._power(b, e) for b, e in number_factors(base, exponent)])
        if expr in self.exponents:
            return self._power(expr, S.One)
        if expr not in self.atoms:
            atom = Dummy(f"a{len(self.atoms)}")
            self._relate(expr, atom, 1)
            self.atoms[expr] = atom
        return self.atoms[expr]

    def _power(self, base: Expr, exponent: Expr) -> Expr:
        if base not in self.bases:
            basis = Basis.of([opaque(e, self.names) for e in self.exponents[base]])
            basis.atoms = [Dummy(f"b{len(self.bases)}_{k}") for k in range(len(basis.vectors))]
            self._relate(base, basis.atoms[0], basis.scales[0])
            self.bases[base] = basis
        return self.bases[base].monomial(opaque(exponent, self.names))

    def _relate(self, base: Expr, atom: Symbol, root: int) -> None:
        """The relation, if any, of an atom with atom^root = base."""
        if base is I:
            self.relations.append((atom, 2 * root, S.NegativeOne))
        elif isinstance(base, Abs) and base.args[0].is_extended_real:
            self.relations.append((atom, 2 * root, self.encode(base.args[0]) ** 2))
        elif base.is_Add or base.is_Mul or base.is_Pow or base.is_Rational:
            self.relations.append((atom, root, self.encode(base)))

    def reduce(self, polynomial: Expr) -> Expr:
        """The numerator modulo the relations, latest first, expanded."""
        for atom, degree, image in reversed(self.relations):
            polynomial = _remainder(polynomial, atom, degree, image)
        return _expanded(polynomial)


def _expanded(polynomial: Expr) -> Expr:
    symbols = sorted(polynomial.free_symbols, key=lambda s: s.sort_key())
    return sympy.ring(symbols, sympy.QQ)[0].from_expr(polynomial).as_expr() if symbols else polynomial


def _remainder(polynomial: Expr, atom: Symbol, degree: int, image: Expr) -> Expr:
    """The numerator of the polynomial after atom^degree = image."""
    if not polynomial.has(atom):
        return polynomial
    top, bottom = fraction(together(image))
    terms = [(power, c) for (power,), c in Poly(polynomial, atom).terms()]
    highest = max(power // degree for power, _ in terms)
    parts = [c * atom ** (k % degree) * top ** (k // degree) * bottom ** (highest - k // degree) for k, c in terms]
    return sympy.Add(*parts)
