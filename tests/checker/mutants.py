"""Wrong versions of a formula, made by walking its tree; the checks must reject all that differ from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import sympy as sp

from derivations import words
from derivations.decide import zero

Mutant = tuple[str, Any]


def mutants(formula: Any) -> list[Mutant]:
    """Named single-place mutations of a formula or of the parts of a tuple or mapping, duplicates dropped."""
    seen, found = {_key(formula)}, []
    for name, wrong in _mutate(formula):
        key = _key(wrong)
        if key not in seen:
            seen.add(key)
            found.append((name, wrong))
    return found


def _key(formula: Any) -> str:
    if isinstance(formula, Mapping):
        return str({name: _key(part) for name, part in formula.items()})
    if isinstance(formula, tuple):
        return str([_key(part) for part in formula])
    return sp.srepr(formula) if isinstance(formula, sp.Basic) else repr(formula)


def _mutate(formula: Any) -> Iterator[Mutant]:
    if isinstance(formula, Mapping):
        for name, part in formula.items():
            for text, wrong in _mutate(part):
                yield f"{name}: {text}", {**formula, name: wrong}
    elif isinstance(formula, tuple):
        for place, part in enumerate(formula):
            for text, wrong in _mutate(part):
                yield f"part {place + 1}: {text}", (*formula[:place], wrong, *formula[place + 1 :])
    elif isinstance(formula, words.LayerSum):
        for text, wrong in _mutate(formula.summand):
            yield f"summand: {text}", words.layer_sum(wrong)
    elif isinstance(formula, words.Expression | words.Trace):
        yield from _mutate_words(formula)
    elif isinstance(formula, sp.Basic):
        for text, wrong in (*_mutate_tree(formula), *_swap_symbols(formula)):
            if not wrong.has(sp.nan, sp.zoo):
                yield text, wrong


def _mutate_tree(node: sp.Basic) -> Iterator[Mutant]:
    """Mutations at this node, then at each child with the rest rebuilt around it."""
    yield from _mutate_node(node)
    if isinstance(node, sp.Symbol | sp.Number):
        return
    for place, child in enumerate(node.args):
        if isinstance(node, sp.Pow) and place == 1 and child.is_Number:
            continue
        for text, wrong in _mutate_tree(child):
            try:
                yield text, node.func(*node.args[:place], wrong, *node.args[place + 1 :])
            except (TypeError, ValueError, ZeroDivisionError):
                continue


def _mutate_node(node: sp.Basic) -> Iterator[Mutant]:
    if isinstance(node, sp.Add):
        for term in node.args:
            yield f"sign of {term} flipped", node - 2 * term
            yield f"term {term} dropped", node - term
    elif isinstance(node, sp.Mul):
        for factor in node.args:
            if not factor.is_Number:
                yield f"factor {factor} dropped", node.func(*[other for other in node.args if other != factor])
    elif isinstance(node, sp.Pow):
        base, exponent = node.args
        yield f"exponent {exponent} raised by 1", sp.Pow(base, exponent + 1)
        yield f"exponent {exponent} halved", sp.Pow(base, exponent / 2)
        if exponent != -1:
            yield f"exponent {exponent} negated", sp.Pow(base, -exponent)
    elif isinstance(node, sp.Rational) and node not in (0, 1, -1):
        yield f"constant {node} doubled", 2 * node
        yield f"constant {node} raised by 1", node + 1


def _swap_symbols(formula: sp.Basic) -> Iterator[Mutant]:
    """Pairs of symbols of the same kind (equal assumptions) exchanged throughout, and the whole sign flipped."""
    symbols = sorted(formula.free_symbols, key=str)
    for place, first in enumerate(symbols):
        for second in symbols[place + 1 :]:
            if isinstance(first, sp.Symbol) and first.assumptions0 == second.assumptions0:
                swap = {first: second, second: first}
                yield f"{first} and {second} exchanged", formula.xreplace(swap)
    if isinstance(formula, sp.Expr):
        yield "sign of the whole flipped", -formula
        yield "the whole scaled by 1 + 1/1000", sp.Rational(1001, 1000) * formula


def _mutate_words(formula: words.Expression | words.Trace) -> Iterator[Mutant]:
    for place, (coefficient, word) in enumerate(formula.terms):
        term, rest = _split(formula, place)
        label = f"term {place + 1}"
        yield f"sign of {label} flipped", rest - term
        yield f"{label} dropped", rest
        yield f"coefficient of {label} doubled", formula + term
        for text, wrong in _respelled(word):
            try:
                yield f"{label}: {text}", rest + _spelled(formula, wrong) * coefficient
            except ValueError:
                continue
    yield "the whole scaled by 1 + 1/1000", formula * sp.Rational(1001, 1000)


def _split(formula: Any, place: int) -> tuple[Any, Any]:
    """One term and the rest of a matrix expression or trace."""
    term, rest = formula.terms[place : place + 1], formula.terms[:place] + formula.terms[place + 1 :]
    return replace(formula, terms=term), replace(formula, terms=rest)


def _spelled(formula: Any, word: tuple[Any, ...]) -> Any:
    """The product of a word's factors, traced if the formula is a trace; raises ``ValueError`` if ill-typed."""
    factors = [letter.T if flipped else words.expression(letter) for letter, flipped in word]
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return words.trace(product) if isinstance(formula, words.Trace) else product


def _respelled(word: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Letters transposed, dropped, or exchanged with a neighbour; ill-typed spellings fail when the word is built."""
    for place, (letter, transposed) in enumerate(word):
        if not letter.symmetric:
            yield f"{letter.name} transposed", (*word[:place], (letter, not transposed), *word[place + 1 :])
        if len(word) > 1:
            yield f"{letter.name} dropped", (*word[:place], *word[place + 1 :])
        if place + 1 < len(word) and word[place] != word[place + 1]:
            swapped = (*word[:place], word[place + 1], word[place], *word[place + 2 :])
            yield f"{letter.name} exchanged with its right neighbour", swapped


def equivalent(formula: Any, wrong: Any) -> bool:
    """Whether ``decide`` proves that a mutant equals the formula (an undecided answer means: treat as different)."""
    if isinstance(formula, Mapping):
        return all(equivalent(part, wrong[name]) for name, part in formula.items())
    if isinstance(formula, tuple):
        return all(equivalent(a, b) for a, b in zip(formula, wrong, strict=True))
    if isinstance(formula, words.LayerSum):
        return equivalent(formula.summand, wrong.summand)
    if isinstance(formula, words.Expression | words.Trace):
        return formula == wrong
    if isinstance(formula, sp.Expr) and isinstance(wrong, sp.Expr):
        return zero(formula - wrong).proved
    if isinstance(formula, sp.Rel) and isinstance(wrong, sp.Rel) and formula.func == wrong.func:
        return zero(formula.lhs - formula.rhs - wrong.lhs + wrong.rhs).proved
    return formula == wrong


def nudges(formula: Any) -> list[Callable[[Fraction], Any]]:
    """Places where a relative nudge can be put: the last term (or the whole), and the first exponent that is no 1."""
    found: list[Callable[[Fraction], Any]] = []
    leaf, rebuild = _first_leaf(formula)
    if isinstance(leaf, words.Expression | words.Trace) and leaf.terms:
        last = _split(leaf, len(leaf.terms) - 1)[0]
        found.append(lambda size: rebuild(leaf + last * sp.Rational(size)))
    elif isinstance(leaf, sp.Expr) and not leaf.is_Number:
        last = leaf.args[-1] if isinstance(leaf, sp.Add) else leaf
        found.append(lambda size: rebuild(leaf + sp.Rational(size) * last))
        powers = sorted((p for p in leaf.atoms(sp.Pow) if p.exp != -1), key=sp.default_sort_key)
        if powers:
            power = powers[0]
            found.append(
                lambda size: rebuild(leaf.xreplace({power: power.base ** (power.exp * (1 + sp.Rational(size)))}))
            )
    elif isinstance(leaf, sp.Number) and leaf != 0:
        found.append(lambda size: rebuild(leaf * (1 + sp.Rational(size))))
    return found


def _first_leaf(formula: Any) -> tuple[Any, Callable[[Any], Any]]:
    if isinstance(formula, Mapping) and formula:
        name = next(iter(formula))
        leaf, rebuild = _first_leaf(formula[name])
        return leaf, lambda new: {**formula, name: rebuild(new)}
    if isinstance(formula, tuple) and formula:
        leaf, rebuild = _first_leaf(formula[0])
        return leaf, lambda new: (rebuild(new), *formula[1:])
    if isinstance(formula, words.LayerSum):
        leaf, rebuild = _first_leaf(formula.summand)
        return leaf, lambda new: words.layer_sum(rebuild(new))
    if isinstance(formula, sp.Rel):
        return formula.rhs, lambda new: formula.func(formula.lhs, new, evaluate=False)
    return formula, lambda new: new
