"""Whether a matrix word expression vanishes: normal form for the proof, exact matrices for the witness."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import count, islice
from typing import Any

import numpy as np
from sympy import Expr, Rational, S, Symbol, sympify

from derivations.decide import zero
from derivations.decision import Decision
from derivations.rewriting import Rule, normal
from derivations.witness import as_text, points
from derivations.word_algebra import Expression, Letter, Matrix, Trace, Word, expression, letters

Model = Callable[[random.Random], Mapping[Letter, Any]]
ATTEMPTS = 6


def vanishes(formula: Matrix | Trace, rules: Sequence[Rule] = (), model: Model | None = None) -> Decision:
    """Decide formula = 0 for all matrices that satisfy the rules.

    Proved when the normal form is empty; refuted with exact matrices where the value is not zero; otherwise
    undecided.  With rules the model supplies the matrices, which are checked against the rules.

    >>> a, b = Letter("A", "n", "n"), Letter("B", "n", "n")
    >>> vanishes(a * b - b * a).outcome, vanishes((a * b).T - b.T * a.T).outcome
    ('refuted', 'proved')
    """
    whole = formula if isinstance(formula, Trace) else expression(formula)
    reduced: Expression | Trace = normal(whole, rules)
    left = [word for c, word in reduced.terms if c.is_Rational or not zero(c).proved]
    if not left:
        how = f"normal form of matrix words under {len(rules)} rules is 0" if rules else "equal words cancel"
        return Decision("proved", f"{how}, for all sizes")
    if rules and model is None:
        return Decision("undecided", f"the normal form keeps {len(left)} words, no model of the rules is given")
    generator = random.Random(0)
    for attempt in range(ATTEMPTS):
        if model is None:
            values = _free_values(whole, generator, attempt)
        else:
            values = _model_values(whole, rules, model(generator))
        witness = _witness(whole, values, attempt)
        if witness is not None:
            return Decision("refuted", "exact matrices with a value that is not zero", witness)
    return Decision("undecided", f"the normal form keeps {len(left)} words, no instance separates them")


def _free_values(formula: Expression | Trace, generator: random.Random, attempt: int) -> dict[Any, Any]:
    """Random integer matrices; all sizes different in the first attempts, then small and equal ones."""
    used = sorted(letters(formula), key=str)
    sizes = _size_symbols(formula, used)
    names = islice(count(2), len(sizes)) if attempt < 3 else [2 + generator.randrange(2) for _ in sizes]
    numbers: dict[Any, int] = dict(zip(sizes, names, strict=True))
    values: dict[Any, Any] = dict(numbers)
    for letter in used:
        shape = tuple(int(size.subs(numbers)) for size in letter.shape)
        entries = np.array([[generator.randint(-3, 3) for _ in range(shape[1])] for _ in range(shape[0])], dtype=object)
        values[letter] = entries + entries.T if letter.symmetric else entries
    return values


def _size_symbols(formula: Expression | Trace, used: Sequence[Letter]) -> list[Symbol]:
    shapes = [size for letter in used for size in letter.shape]
    if isinstance(formula, Expression):
        shapes += formula.shape
    return sorted(set().union(*(size.free_symbols for size in shapes)), key=str)


def _model_values(formula: Expression | Trace, rules: Sequence[Rule], given: Mapping[Any, Any]) -> dict[Any, Any]:
    """The matrices of a model with the sizes they imply; ValueError unless they satisfy every rule."""
    values = {key: _exact(v) if isinstance(key, Letter) else sympify(v) for key, v in given.items()}
    for letter, array in [(k, v) for k, v in values.items() if isinstance(k, Letter)]:
        for size, length in zip(letter.shape, array.shape, strict=True):
            expected = int(size) if size.is_Integer else values.setdefault(size, length)
            if expected != length:
                raise ValueError(f"model: {letter} has shape {array.shape}, but {size} = {expected}")
        if letter.symmetric and (array != array.T).any():
            raise ValueError(f"model: {letter} is not symmetric")
    for r in rules:
        difference = Expression(((S.One, r.lhs),), *r.rhs.shape) - r.rhs
        if all(letter in values for letter in letters(difference)) and _nonzero(_value(difference, values)):
            raise ValueError(f"model: does not satisfy the rule {r}")
    missing = [str(letter) for letter in letters(formula) if letter not in values]
    if missing:
        raise ValueError(f"model: no matrix for {', '.join(sorted(missing))}")
    return values


def _exact(matrix: Any) -> np.ndarray:
    rows = matrix.tolist() if hasattr(matrix, "tolist") else matrix
    return np.array([[_number(entry) for entry in row] for row in rows], dtype=object)


def _number(entry: Any) -> Any:
    if isinstance(entry, (float, np.floating)):
        raise ValueError(f"model: the entry {entry!r} given, allowed: exact numbers")
    value = sympify(entry)
    if value.is_Integer:
        return int(value)
    return Fraction(int(value.p), int(value.q)) if isinstance(value, Rational) else value


def _value(formula: Expression | Trace, values: Mapping[Any, Any]) -> Any:
    """The exact value as object array (a 1 x 1 array for traces)."""
    scalars = {k: v for k, v in values.items() if isinstance(k, Symbol)}
    total: Any = 0
    for coefficient, word in formula.terms:
        c = _number(coefficient.xreplace({k: sympify(v) for k, v in scalars.items()}))
        if isinstance(formula, Trace):
            total = total + c * (sum(np.diagonal(_matrix(word, values))) if word else 1)
        else:
            size = int(formula.rows.subs(scalars))
            total = total + c * (_matrix(word, values) if word else np.eye(size, dtype=int).astype(object))
    return np.atleast_2d(total)


def _matrix(word: Word, values: Mapping[Any, Any]) -> np.ndarray:
    factors = [values[letter].T if flipped else values[letter] for letter, flipped in word]
    result = factors[0]
    for factor in factors[1:]:
        result = result.dot(factor)
    return result


def _nonzero(value: np.ndarray) -> Any:
    """A non-zero entry, or None."""
    for entry in value.ravel():
        if isinstance(entry, Expr):
            if zero(entry).refuted:
                return entry
        elif entry != 0:
            return entry
    return None


def _witness(formula: Expression | Trace, values: dict[Any, Any], attempt: int) -> dict[str, str] | None:
    unbound = {s for c, _ in formula.terms for s in c.free_symbols if s not in values}
    point = next(points(unbound, 1, seed=attempt), None)
    entry = None if point is None else _nonzero(_value(formula, {**values, **point}))
    if entry is None or point is None:
        return None
    shown = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in {**values, **point}.items()}
    return as_text({k: v for k, v in shown.items() if not getattr(k, "is_Integer", False)}, value=entry)
