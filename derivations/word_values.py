"""Numerical values of matrix words: NumPy matrix products with leading batch dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derivations.compiled import evaluate as evaluate_scalar
from derivations.word_algebra import Expression, Letter, Matrix, Trace, Word, expression, letters


@dataclass(frozen=True, slots=True)
class LayerSum:
    """The sum over the layers i = 1..d of a summand in the letters of one layer."""

    summand: Expression | Trace


def layer_sum(summand: Matrix | Trace) -> LayerSum:
    """The sum over layers of the summand; evaluated with one mapping of values per layer."""
    return LayerSum(summand if isinstance(summand, Trace) else expression(summand))


Values = Mapping[Any, Any]


def evaluate(formula: Matrix | Trace | LayerSum, values: Values | Sequence[Values]) -> np.ndarray:
    """The value at matrices keyed by letter or name, shapes (*S, rows, cols); traces give shape (*S).

    Scalar symbols of the coefficients are looked up by symbol or name, sizes are read off the matrices.
    A LayerSum takes a list of mappings, one per layer.  ValueError names a missing or misshapen letter.

    >>> w = Letter("w", "n", "m")
    >>> evaluate(w * w.T, {"w": np.array([[1.0, 2.0]])})
    array([[5.]])
    """
    if isinstance(formula, LayerSum):
        if isinstance(values, Mapping) or not values:
            raise ValueError(f"values: {type(values).__name__} given, allowed: a non-empty list, one mapping per layer")
        return reduce(np.add, [evaluate(formula.summand, layer) for layer in values])
    if not isinstance(values, Mapping):
        raise ValueError(f"values: {type(values).__name__} given, allowed: a mapping")
    used = letters(formula)
    arrays = {letter: _array(letter, values) for letter in sorted(used, key=str)}
    sizes = _sizes(arrays, values)
    scalars = {**values, **sizes}
    if isinstance(formula, Trace):
        parts = [_coefficient(c, scalars) * _trace(word, arrays) for c, word in formula.terms]
        return np.asarray(sum(parts[1:], parts[0])) if parts else np.zeros(())
    matrix = expression(formula)
    terms = [
        _coefficient(c, scalars)[..., None, None] * _matrix(word, arrays, matrix, scalars) for c, word in matrix.terms
    ]
    return reduce(np.add, terms) if terms else np.zeros((_number(matrix.rows, scalars), _number(matrix.cols, scalars)))


def _array(letter: Letter, values: Values) -> np.ndarray:
    key = letter if letter in values else letter.name
    if key not in values:
        raise ValueError(f"values: no value for the letter {letter.name} of shape {letter.rows} x {letter.cols}")
    array = np.asarray(values[key])
    if array.ndim < 2:
        raise ValueError(f"values[{letter.name}]: shape {array.shape} given, allowed: (..., rows, cols)")
    return array


def _sizes(arrays: Mapping[Letter, np.ndarray], values: Values) -> dict[Any, int]:
    """Instance sizes read off the matrices; ValueError when two letters disagree."""
    sizes: dict[Any, int] = {}
    known = {**{key: np.asarray(v) for key, v in values.items() if isinstance(key, Letter)}, **arrays}
    for letter, array in known.items():
        for size, length in zip(letter.shape, array.shape[-2:], strict=True):
            expected = int(size) if isinstance(size, Integer) else sizes.setdefault(size, length)
            if expected != length:
                raise ValueError(f"values[{letter.name}]: shape {array.shape} given, but {size} = {expected}")
    return sizes


def _number(size: Expr, scalars: Values) -> int:
    return int(evaluate_scalar(size, scalars))


def _coefficient(coefficient: Expr, scalars: Values) -> np.ndarray:
    if coefficient.is_Integer:
        return np.asarray(int(coefficient))
    return evaluate_scalar(coefficient, {k: v for k, v in scalars.items() if not isinstance(k, Letter)})


def _product(word: Word, arrays: Mapping[Letter, np.ndarray]) -> np.ndarray:
    return reduce(np.matmul, [np.swapaxes(arrays[a], -1, -2) if flipped else arrays[a] for a, flipped in word])


def _matrix(word: Word, arrays: Mapping[Letter, np.ndarray], whole: Expression, scalars: Values) -> np.ndarray:
    return _product(word, arrays) if word else np.eye(_number(whole.rows, scalars))


def _trace(word: Word, arrays: Mapping[Letter, np.ndarray]) -> np.ndarray:
    return np.trace(_product(word, arrays), axis1=-2, axis2=-1) if word else np.asarray(1)
