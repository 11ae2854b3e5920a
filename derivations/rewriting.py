"""Rewriting rules on sub-words (orthogonality, Penrose, commutation, definitions) and normal forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, overload

from sympy import Expr, S

from derivations.word_algebra import (
    Expression,
    Letter,
    Matrix,
    Scalar,
    Trace,
    Word,
    canonical,
    collect,
    expression,
    identity,
    trace_of_terms,
    transposed,
    word_key,
    word_shape,
    word_text,
    zeros,
)

Terms: TypeAlias = list[tuple[Expr, Word]]
STEP_LIMIT = 5000


@dataclass(frozen=True, slots=True)
class Rule:
    """The equation lhs = rhs, used from left to right on sub-words."""

    lhs: Word
    rhs: Expression

    def __str__(self) -> str:
        return f"{word_text(self.lhs)} -> {self.rhs}"


def rule(lhs: Matrix, rhs: Matrix | Scalar) -> Rule:
    """The rule lhs -> rhs; lhs is one word, a scalar rhs stands for that multiple of the identity.

    >>> q = Letter("Q", "n", "n")
    >>> str(normal(q.T * q * q.T, [rule(q.T * q, 1)]))
    'Q.T'
    """
    left = expression(lhs)
    if len(left.terms) != 1 or not left.terms[0][1]:
        raise ValueError(f"lhs: {left} given, allowed: a single non-empty word")
    ((coefficient, word),) = left.terms
    if isinstance(rhs, (Letter, Expression)):
        right = expression(rhs)
    else:
        right = zeros(*left.shape) if rhs == 0 else identity(left.rows) * rhs
    if right.shape != left.shape:
        raise ValueError(f"rhs: shape {right.shape} given, allowed: the shape {left.shape} of {left}")
    return Rule(word, right / coefficient)


@overload
def normal(formula: Trace, rules: Sequence[Rule] = ()) -> Trace: ...


@overload
def normal(formula: Matrix, rules: Sequence[Rule] = ()) -> Expression: ...


def normal(formula: Matrix | Trace, rules: Sequence[Rule] = ()) -> Expression | Trace:
    """The normal form under the rules and their transposes; in a trace rules also act across the cyclic seam.

    ValueError when no normal form is reached within the step limit, which means that the rules loop.
    """
    oriented = _with_transposes(rules)
    if isinstance(formula, Trace):
        return _reduce_trace(formula, oriented)
    matrix = expression(formula)
    return collect(_reduce(list(matrix.terms), oriented), matrix.rows, matrix.cols)


def _with_transposes(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    # A commutation rule of symmetric letters is inverted by its own transpose: keep one direction only.
    mirrored = [Rule(transposed(r.lhs), r.rhs.T) for r in rules]
    inverses = {reverse for r in rules if (reverse := _reversed(r)) is not None}
    return tuple(dict.fromkeys([*rules, *(m for m in mirrored if m not in inverses)]))


def _reversed(r: Rule) -> Rule | None:
    """The inverse of a rule that only reorders factors, None for all others."""
    if len(r.rhs.terms) != 1:
        return None
    coefficient, word = r.rhs.terms[0]
    if coefficient != 1 or Counter(word) != Counter(r.lhs):
        return None
    return Rule(word, collect([(S.One, r.lhs)], *r.rhs.shape))


def _rewrite(word: Word, start: int, r: Rule) -> list[tuple[Expr, Word]]:
    stop = start + len(r.lhs)
    return [(c, word[:start] + middle + word[stop:]) for c, middle in r.rhs.terms]


def _matches(word: Word, rules: Sequence[Rule]) -> Iterator[tuple[int, Rule]]:
    for start in range(len(word)):
        for r in rules:
            if word[start : start + len(r.lhs)] == r.lhs:
                yield start, r


def _reduce(terms: Terms, rules: Sequence[Rule]) -> Terms:
    done: Terms = []
    todo = list(terms)
    for _ in range(STEP_LIMIT):
        if not todo:
            return done
        coefficient, word = todo.pop()
        match = next(_matches(word, rules), None)
        if match is None:
            done.append((coefficient, word))
        else:
            todo.extend((coefficient * c, w) for c, w in _rewrite(word, *match))
    raise ValueError(f"rules: no normal form within {STEP_LIMIT} steps, the rules loop: {_text(rules)}")


def _reduce_trace(formula: Trace, rules: Sequence[Rule]) -> Trace:
    inverses = [_reversed(r) for r in rules]
    reductions = [r for r, inverse in zip(rules, inverses, strict=True) if inverse is None]
    # Around a trace a reordering has no direction: collect whole classes and take the least member.
    reorderings = [r for pair in zip(rules, inverses, strict=True) if pair[1] is not None for r in pair if r]
    done: Terms = []
    todo = list(formula.terms)
    for _ in range(STEP_LIMIT):
        if not todo:
            return trace_of_terms(done, S.One)
        coefficient, word = todo.pop()
        members = _class_of(word, reorderings)
        turned = (member[i:] + member[:i] for member in members for i in range(len(member)))
        found = next(((w, *match) for w in turned for match in _matches(w, reductions)), None)
        if found is None:
            done.append((coefficient, min(members, key=word_key, default=())))
        else:
            reduced = trace_of_terms(_rewrite(*found), word_shape(found[0])[0])
            todo.extend((coefficient * c, w) for c, w in reduced.terms)
    raise ValueError(f"rules: no normal form within {STEP_LIMIT} steps, the rules loop: {_text(rules)}")


def _class_of(word: Word, reorderings: Sequence[Rule]) -> list[Word]:
    """The canonical cyclic words that reorderings reach from a canonical cyclic word."""
    members, known = [word], {word}
    for member in members:
        for i in range(len(member)):
            turned = member[i:] + member[:i]
            for match in _matches(turned, reorderings):
                ((_, new),) = _rewrite(turned, *match)
                if (new := canonical(new)) not in known:
                    known.add(new)
                    members.append(new)
        if len(members) > STEP_LIMIT:
            raise ValueError(f"rules: more than {STEP_LIMIT} reorderings of tr({word_text(word)})")
    return members


def _text(rules: Sequence[Rule]) -> str:
    return "; ".join(map(str, rules))
