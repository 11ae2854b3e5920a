"""Typed matrix words: sums of products of matrix letters and their transposes, with symbolic sizes.

The free algebra with transposition.  Every `Expression` is kept in normal form (like words collected, terms
sorted), so `==` is equality in the free algebra, for matrices of all sizes.  A `Trace` keeps the least word
among all cyclic rotations of a word and of its transpose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Rational as ExactNumber
from typing import TypeAlias, Union

from sympy import Expr, Float, Integer, S, Symbol, expand, sympify

Factor: TypeAlias = tuple["Letter", bool]  # (letter, transposed)
Word: TypeAlias = tuple[Factor, ...]
Scalar: TypeAlias = int | ExactNumber | Expr
Matrix: TypeAlias = Union["Letter", "Expression"]


def scalar(value: Scalar) -> Expr:
    """An exact scalar as SymPy expression; ValueError for floats and anything that is not a scalar."""
    if not isinstance(value, (Expr, ExactNumber)) or isinstance(value, bool):
        raise ValueError(f"scalar: {value!r} given, allowed: integers, rationals, SymPy expressions")
    exact = sympify(value)
    if exact.has(Float):
        raise ValueError(f"scalar: {exact} contains a floating-point number, allowed: exact expressions")
    return exact


def _size(value: int | str | Expr) -> Expr:
    return Symbol(value, integer=True, positive=True) if isinstance(value, str) else sympify(value)


def _sum(left: Matrix, right: Matrix) -> Expression:
    if not isinstance(right, (Letter, Expression)):
        return NotImplemented
    a, b = expression(left), expression(right)
    if a.shape != b.shape:
        raise ValueError(f"sum: shapes {_shape(a)} and {_shape(b)} differ in ({a}) + ({b})")
    return collect(a.terms + b.terms, a.rows, a.cols)


def _added_to(right: Matrix, left: int) -> Expression:
    # sum() starts at the number 0, which stands for the zero matrix of any shape.
    return expression(right) if isinstance(left, int) and left == 0 else NotImplemented


def _difference(left: Matrix, right: Matrix) -> Expression:
    if not isinstance(right, (Letter, Expression)):
        return NotImplemented
    return _sum(left, _negative(right))


def _negative(matrix: Matrix) -> Expression:
    return _scaled(matrix, S.NegativeOne)


def _scaled(matrix: Matrix, factor: Scalar) -> Expression:
    if not isinstance(factor, (Expr, ExactNumber, float)):
        return NotImplemented
    a, c = expression(matrix), scalar(factor)
    return collect([(c * k, word) for k, word in a.terms], a.rows, a.cols)


def _product(left: Matrix, right: Matrix | Scalar) -> Expression:
    if not isinstance(right, (Letter, Expression)):
        return _scaled(left, right)
    a, b = expression(left), expression(right)
    if a.cols != b.rows:
        raise ValueError(f"product: shapes {_shape(a)} and {_shape(b)} do not fit in ({a}) * ({b})")
    return collect([(c * k, v + w) for c, v in a.terms for k, w in b.terms], a.rows, b.cols)


def _quotient(matrix: Matrix, divisor: Scalar) -> Expression:
    return _scaled(matrix, S.One / scalar(divisor))


def _power(matrix: Matrix, exponent: int) -> Expression:
    if not isinstance(exponent, int) or exponent < 0:
        raise ValueError(f"exponent: {exponent!r} given, allowed: integers >= 0")
    result = identity(expression(matrix).rows)
    for _ in range(exponent):
        result = result * matrix
    return result


@dataclass(frozen=True, slots=True)
class Letter:
    """A matrix letter of symbolic or integer size; `symmetric` letters absorb the transpose.

    >>> w = Letter("w", "n", "m")
    >>> (w * w.T).shape
    (n, n)
    """

    name: str
    rows: Expr
    cols: Expr
    symmetric: bool = field(default=False, kw_only=True)
    latex: str | None = field(default=None, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", _size(self.rows))
        object.__setattr__(self, "cols", _size(self.cols))
        if self.symmetric and self.rows != self.cols:
            raise ValueError(f"{self.name}: a symmetric letter of shape {_shape(self)} given, allowed: square")

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """(rows, columns)."""
        return self.rows, self.cols

    @property
    def T(self) -> Expression:  # noqa: N802
        """The transpose."""
        return expression(self).T

    def __str__(self) -> str:
        return self.name

    __add__, __radd__, __sub__, __neg__ = _sum, _added_to, _difference, _negative
    __mul__, __rmul__, __truediv__, __pow__ = _product, _scaled, _quotient, _power


@dataclass(frozen=True, slots=True)
class Expression:
    """A sum of coefficient * word of one shape, collected and sorted; build it with letters and operators."""

    terms: tuple[tuple[Expr, Word], ...]
    rows: Expr
    cols: Expr

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """(rows, columns)."""
        return self.rows, self.cols

    @property
    def T(self) -> Expression:  # noqa: N802
        """The transpose: words reversed, each factor transposed."""
        return collect([(c, transposed(word)) for c, word in self.terms], self.cols, self.rows)

    def __str__(self) -> str:
        return " + ".join(_term_text(c, word) for c, word in self.terms) or "0"

    __add__, __radd__, __sub__, __neg__ = _sum, _added_to, _difference, _negative
    __mul__, __rmul__, __truediv__, __pow__ = _product, _scaled, _quotient, _power


@dataclass(frozen=True, slots=True)
class Trace:
    """A sum of coefficient * tr(word) with canonical cyclic words; the empty word stands for the number 1."""

    terms: tuple[tuple[Expr, Word], ...]

    def __add__(self, other: Trace | Scalar) -> Trace:
        more = other.terms if isinstance(other, Trace) else ((scalar(other), ()),)
        return Trace(_collected(self.terms + more))

    def __neg__(self) -> Trace:
        return self * S.NegativeOne

    def __sub__(self, other: Trace | Scalar) -> Trace:
        return self + (-other)

    def __mul__(self, factor: Scalar) -> Trace:
        if not isinstance(factor, (Expr, ExactNumber, float)):
            return NotImplemented
        return Trace(_collected([(scalar(factor) * c, word) for c, word in self.terms]))

    def __truediv__(self, divisor: Scalar) -> Trace:
        return self * (S.One / scalar(divisor))

    def __str__(self) -> str:
        return " + ".join(_term_text(c, word, "tr({})") for c, word in self.terms) or "0"

    __radd__, __rmul__ = __add__, __mul__


def expression(matrix: Matrix) -> Expression:
    """A letter or expression as expression."""
    if isinstance(matrix, Letter):
        return Expression(((S.One, ((matrix, False),)),), matrix.rows, matrix.cols)
    if isinstance(matrix, Expression):
        return matrix
    raise ValueError(f"matrix: {matrix!r} given, allowed: Letter or Expression")


def identity(size: int | str | Expr) -> Expression:
    """The identity matrix: the empty word."""
    return Expression(((S.One, ()),), _size(size), _size(size))


def zeros(rows: int | str | Expr, cols: int | str | Expr) -> Expression:
    """The zero matrix: the empty sum."""
    return Expression((), _size(rows), _size(cols))


def trace(matrix: Matrix) -> Trace:
    """tr(matrix), canonical under rotation and transposition; ValueError unless square.

    >>> a, b = Letter("A", "n", "m"), Letter("B", "m", "n")
    >>> trace(a * b) == trace(b * a) == trace(b.T * a.T)
    True
    """
    square = expression(matrix)
    if square.rows != square.cols:
        raise ValueError(f"trace: shape {_shape(square)} of {square} given, allowed: square")
    return trace_of_terms(square.terms, square.rows)


def trace_of_terms(terms: Iterable[tuple[Expr, Word]], size: Expr) -> Trace:
    """The sum of coefficient * tr(word); `size` is the trace of the empty word."""
    return Trace(_collected([(c, canonical(word)) if word else (c * size, ()) for c, word in terms]))


def collect(terms: Iterable[tuple[Expr, Word]], rows: Expr, cols: Expr) -> Expression:
    """Collect like words and sort; the only way expressions are made."""
    return Expression(_collected(terms), rows, cols)


def transposed(word: Word) -> Word:
    """The word of the transpose."""
    return tuple((letter, not flipped and not letter.symmetric) for letter, flipped in reversed(word))


@lru_cache(maxsize=65536)
def canonical(word: Word) -> Word:
    """The least word among the rotations of `word` and of its transpose."""
    turns = [w[i:] + w[:i] for w in (word, transposed(word)) for i in range(len(word))]
    return min(turns, key=word_key, default=())


def word_shape(word: Word) -> tuple[Expr, Expr]:
    """(rows, columns) of a non-empty word."""
    (first, a), (last, b) = word[0], word[-1]
    return first.cols if a else first.rows, last.rows if b else last.cols


def _collected(terms: Iterable[tuple[Expr, Word]]) -> tuple[tuple[Expr, Word], ...]:
    sums: dict[Word, Expr] = {}
    for coefficient, word in terms:
        sums[word] = sums.get(word, S.Zero) + coefficient
    expanded = {w: c if isinstance(c, Integer) else expand(c) for w, c in sums.items()}
    return tuple((expanded[w], w) for w in sorted(expanded, key=word_key) if expanded[w] != 0)


@lru_cache(maxsize=65536)
def word_key(word: Word) -> tuple:
    """The order of words: by length, then by letters."""
    return len(word), tuple((a.name, flipped, str(a.rows), str(a.cols)) for a, flipped in word)


def word_text(word: Word) -> str:
    """Plain text of a word, for messages."""
    return "*".join(letter.name + (".T" if flipped else "") for letter, flipped in word) or "1"


def _term_text(coefficient: Expr, word: Word, frame: str = "{}") -> str:
    text = frame.format(word_text(word)) if word else "1"
    return text if coefficient == 1 else f"({coefficient})*{text}"


def _shape(matrix: Matrix) -> str:
    return f"{matrix.rows} x {matrix.cols}"


def letters(formula: Matrix | Trace) -> frozenset[Letter]:
    """The letters that occur."""
    terms = formula.terms if isinstance(formula, Trace) else expression(formula).terms
    return frozenset(letter for _, word in terms for letter, _ in word)
