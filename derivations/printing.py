r"""LaTeX of everything that is shown: SymPy expressions, matrix words, tuples and mappings of them.

Safe inside GitHub's math fences: \mathrm instead of \operatorname, \lvert \rvert instead of a bare bar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sympy
from sympy import Basic, Expr, Symbol
from sympy.printing.latex import LatexPrinter

from derivations.word_algebra import Expression, Letter, Trace, Word
from derivations.word_values import LayerSum


class _Printer(LatexPrinter):
    def _print_Abs(self, expr: Any, exp: str | None = None) -> str:  # noqa: N802
        text = rf"\left\lvert {self._print(expr.args[0])} \right\rvert"
        return text if exp is None else f"{text}^{{{exp}}}"

    _print_Determinant = _print_Abs


def latex(obj: Any) -> str:
    r"""LaTeX for expressions, equations, words, traces, layer sums, tuples, lists and mappings.

    >>> w = Letter("w_i", "n", "m")
    >>> latex(w.T * w)
    'w_{i}^{\\mathsf{T}} w_{i}'
    >>> latex(sympy.Abs(sympy.Symbol("x", real=True)))
    '\\left\\lvert x \\right\\rvert'
    """
    if isinstance(obj, str):
        return obj
    if isinstance(obj, Letter):
        return _letter(obj)
    if isinstance(obj, (Expression, Trace)):
        return _terms(obj)
    if isinstance(obj, LayerSum):
        return rf"\sum_i {_grouped(obj.summand)}"
    if isinstance(obj, Mapping):
        return r",\quad ".join(f"{latex(key)} = {latex(value)}" for key, value in obj.items())
    if isinstance(obj, (tuple, list)):
        return r"\left(" + r",\; ".join(latex(entry) for entry in obj) + r"\right)"
    if isinstance(obj, (Basic, sympy.MatrixBase, int)):
        return _safe(_Printer({"fold_short_frac": False}).doprint(sympy.sympify(obj)))
    raise ValueError(f"obj: {type(obj).__name__} given, allowed: SymPy objects, words, tuples and mappings of them")


def _safe(text: str) -> str:
    text = text.replace(r"\operatorname", r"\mathrm")
    text = text.replace(r"\left|", r"\left\lvert").replace(r"\right|", r"\right\rvert")
    text = text.replace(r"\left\|", r"\left\lVert").replace(r"\right\|", r"\right\rVert")
    return re.sub(r"(?<!\\)\|", r"\\vert ", text)


def _letter(letter: Letter) -> str:
    return letter.latex or latex(Symbol(letter.name))


def _factor(letter: Letter, flipped: bool) -> str:
    text = _letter(letter)
    if not flipped:
        return text
    return (f"{{{text}}}" if "^" in text else text) + r"^{\mathsf{T}}"


def _word(word: Word) -> str:
    return " ".join(_factor(*factor) for factor in word)


def _term(coefficient: Expr, body: str) -> str:
    if not body:
        return latex(coefficient)
    if coefficient in (1, -1):
        return body if coefficient == 1 else f"- {body}"
    text = latex(coefficient)
    return rf"\left({text}\right) {body}" if coefficient.is_Add else f"{text} {body}"


def _terms(formula: Expression | Trace) -> str:
    parts = []
    for coefficient, word in formula.terms:
        if isinstance(formula, Trace):
            body = rf"\mathrm{{tr}}\left({_word(word)}\right)" if word else ""
        else:
            body = _word(word) or "I"
        parts.append(_term(coefficient, body))
    joined = " ".join(part if k == 0 or part.startswith("-") else f"+ {part}" for k, part in enumerate(parts))
    return joined or "0"


def _grouped(formula: Expression | Trace) -> str:
    text = _terms(formula)
    return rf"\left({text}\right)" if len(formula.terms) > 1 else text
