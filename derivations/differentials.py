"""Differentials, gradients and substitution in matrix words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

from sympy import Expr, S

from derivations.word_algebra import (
    Expression,
    Letter,
    Matrix,
    Trace,
    Word,
    collect,
    expression,
    identity,
    trace,
    trace_of_terms,
    transposed,
    word_shape,
)


@overload
def differential(formula: Trace, changes: Mapping[Letter, Matrix]) -> Trace: ...


@overload
def differential(formula: Matrix, changes: Mapping[Letter, Matrix]) -> Expression: ...


def differential(formula: Matrix | Trace, changes: Mapping[Letter, Matrix]) -> Expression | Trace:
    """The Leibniz rule: the first-order change when each letter X changes by changes[X], all others fixed.

    >>> w, dw, b = Letter("w", "n", "m"), Letter("dw", "n", "m"), Letter("B", "m", "k")
    >>> str(differential(w * b, {w: dw}))
    'dw*B'
    """
    images = _checked(changes)
    if isinstance(formula, Trace):
        pieces = [_leibniz(c, word, images) for c, word in formula.terms if word]
        return sum((trace_of_terms(p.terms, p.rows) for p in pieces), Trace(()))
    matrix = expression(formula)
    terms = [term for c, word in matrix.terms if word for term in _leibniz(c, word, images).terms]
    return collect(terms, *matrix.shape)


def gradient(formula: Trace, letter: Letter) -> Expression:
    """The matrix G with d(formula) = tr(G^T dX) for X = letter; symmetric G for a symmetric letter.

    >>> x, a = Letter("X", "n", "m"), Letter("A", "m", "n")
    >>> gradient(trace(a * x), x) == a.T
    True
    """
    terms: list[tuple[Expr, Word]] = []
    for coefficient, word in formula.terms:
        for i, (candidate, flipped) in enumerate(word):
            if candidate == letter:
                rest = word[i + 1 :] + word[:i]
                terms.append((coefficient, rest if flipped else transposed(rest)))
    if letter.symmetric:
        terms = [(c * S.Half, w) for c, word in terms for w in (word, transposed(word))]
    return collect(terms, *letter.shape)


@overload
def substitute(formula: Trace, replacements: Mapping[Letter, Matrix]) -> Trace: ...


@overload
def substitute(formula: Matrix, replacements: Mapping[Letter, Matrix]) -> Expression: ...


def substitute(formula: Matrix | Trace, replacements: Mapping[Letter, Matrix]) -> Expression | Trace:
    """Replace letters by expressions of their shapes, all at once."""
    checked = _checked(replacements)
    if isinstance(formula, Trace):
        result = trace_of_terms([term for term in formula.terms if not term[1]], S.One)
        for coefficient, word in formula.terms:
            if word:
                result = result + coefficient * trace(_replace(word, checked))
        return result
    matrix = expression(formula)
    images = {word: _replace(word, checked) if word else identity(matrix.rows) for _, word in matrix.terms}
    return collect([(c * k, w) for c, word in matrix.terms for k, w in images[word].terms], *matrix.shape)


def _checked(images: Mapping[Letter, Matrix]) -> dict[Letter, Expression]:
    checked = {letter: expression(image) for letter, image in images.items()}
    for letter, image in checked.items():
        if image.shape != letter.shape:
            raise ValueError(f"{letter}: an image of shape {image.shape} given, allowed: {letter.shape}")
        if letter.symmetric and image.T != image:
            raise ValueError(f"{letter}: the image {image} is not symmetric, the letter is")
    return checked


def _replace(word: Word, images: Mapping[Letter, Expression]) -> Expression:
    result = identity(word_shape(word)[0])
    for letter, flipped in word:
        image = images.get(letter, expression(letter))
        result = result * (image.T if flipped else image)
    return result


def _leibniz(coefficient: Expr, word: Word, images: Mapping[Letter, Expression]) -> Expression:
    terms: list[tuple[Expr, Word]] = []
    for i, (letter, flipped) in enumerate(word):
        if letter in images:
            image = images[letter].T if flipped else images[letter]
            terms.extend((coefficient * c, word[:i] + middle + word[i + 1 :]) for c, middle in image.terms)
    return collect(terms, *word_shape(word))
