"""Formulas as numbers: SymPy expressions, matrix words, and tuples or mappings of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derivations import words
from derivations.compiled import bind, evaluate, function, rounding_of
from derivations.word_algebra import Expression, Letter, Trace
from derivations.word_values import LayerSum

__all__ = ["bind", "evaluate", "function", "rounding_of", "value"]


def value(formula: Any, values: Mapping[Any, Any] | Sequence[Mapping[Any, Any]]) -> Any:
    """The numerical value of any formula; tuples, lists and mappings of formulas keep their structure.

    >>> from sympy import Symbol
    >>> value((Symbol("x") ** 2, Symbol("x") + 1), {"x": 3.0})
    (array(9.), array(4.))
    """
    if isinstance(formula, (Letter, Expression, Trace, LayerSum)):
        return words.evaluate(formula, values)
    if isinstance(formula, Mapping):
        return {key: value(entry, values) for key, entry in formula.items()}
    if isinstance(formula, (tuple, list)):
        return type(formula)(value(entry, values) for entry in formula)
    if not isinstance(values, Mapping):
        raise ValueError(f"values: {type(values).__name__} given, allowed: a mapping")
    return evaluate(formula, {key: v for key, v in values.items() if not isinstance(key, Letter)})
