"""Comparators: from two sets of numbers and an error budget to evidence. NaN and Inf contradict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from tests.checker.evidence import Bound, Evidence, Outcome

_SIGHT = 0.1


def _array(values: Any) -> np.ndarray:
    """Any numbers (torch tensors, lists, complex-free arrays) as float64 numpy."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if np.iscomplexobj(array):
        return np.full(array.shape, np.nan) if np.any(array.imag != 0) else array.real.astype(float)
    return array.astype(float)


def _sample(array: np.ndarray, size: int = 48) -> tuple[float, ...]:
    flat = array.ravel()
    if flat.size > size:
        flat = flat[np.linspace(0, flat.size - 1, size).round().astype(int)]
    return tuple(float(x) for x in flat)


def _blind(bound: Bound, scale: float) -> str:
    return f"budget {bound.total:.1e} is more than {_SIGHT:g} of the scale {scale:.1e}: nothing could be seen"


def agree(observed: Any, predicted: Any, *, bound: Bound, scale: float | None = None, axis: Any = ()) -> Evidence:
    """Supports iff ``max |observed - predicted| <= bound``; shapes must be equal.

    ``scale`` is the size of a deviation that would matter; by default the largest observed or predicted magnitude.
    A budget above a tenth of it is blind, and the answer is undecided.
    """
    a, b = _array(observed), _array(predicted)
    if a.shape != b.shape:
        try:
            b = np.broadcast_to(b, a.shape)
        except ValueError:
            return Evidence(
                Outcome.CONTRADICTS, float("inf"), bound.total, bound.parts, f"shapes {a.shape} and {b.shape}"
            )
    if a.size == 0:
        return Evidence(Outcome.UNDECIDED, 0.0, bound.total, bound.parts, "nothing to compare")
    error = float(np.max(np.abs(a - b)))
    size = float(max(np.max(np.abs(a)), np.max(np.abs(b)))) if scale is None else float(scale)
    common = (bound.total, bound.parts)
    samples = {"observed": _sample(a), "predicted": _sample(b), "axis": _sample(_array(axis))}
    if not np.isfinite(error):
        return Evidence(Outcome.CONTRADICTS, float("inf"), *common, "not a number, or infinite", **samples)
    if bound.total > _SIGHT * size:
        outcome = Outcome.UNDECIDED if error <= bound.total else Outcome.CONTRADICTS
        return Evidence(outcome, error, *common, _blind(bound, size), **samples)
    return Evidence(Outcome.SUPPORTS if error <= bound.total else Outcome.CONTRADICTS, error, *common, **samples)


def vanishes(values: Any, *, bound: Bound, scale: float) -> Evidence:
    """Supports iff ``max |values| <= bound``; ``scale`` is the size that a violation would have."""
    array = _array(values)
    return agree(array, np.zeros_like(array), bound=bound, scale=scale)


def differs(first: Any, second: Any, *, at_least: float, bound: Bound) -> Evidence:
    """Supports iff ``max |first - second|`` exceeds ``at_least`` by more than the budget; contradicts below it."""
    a, b = _array(first), _array(second)
    gap = float(np.max(np.abs(a - b)))
    samples = {"observed": _sample(a), "predicted": _sample(np.broadcast_to(b, a.shape))}
    if not np.isfinite(gap):
        return Evidence(Outcome.CONTRADICTS, float("inf"), bound.total, bound.parts, "not a number", **samples)
    shortfall = at_least - gap
    outcome = Outcome.SUPPORTS if shortfall <= -bound.total else Outcome.CONTRADICTS
    return Evidence(outcome, max(shortfall, 0.0), bound.total, bound.parts, f"gap {gap:.3g}", **samples)


def at_most(lower: Any, upper: Any, *, bound: Bound) -> Evidence:
    """Supports iff ``lower <= upper + bound`` everywhere; the error is the largest violation."""
    a, b = np.broadcast_arrays(_array(lower), _array(upper))
    violation = float(np.max(a - b))
    samples = {"observed": _sample(a), "predicted": _sample(b)}
    if not np.isfinite(violation):
        return Evidence(Outcome.CONTRADICTS, float("inf"), bound.total, bound.parts, "not a number", **samples)
    outcome = Outcome.SUPPORTS if violation <= bound.total else Outcome.CONTRADICTS
    return Evidence(outcome, max(violation, 0.0), bound.total, bound.parts, **samples)


def at_least(observed: Any, lower: Any, *, bound: Bound) -> Evidence:
    """Supports iff ``observed >= lower - bound`` everywhere; the error is the largest shortfall."""
    found = at_most(lower, observed, bound=bound)
    return replace(found, observed=found.predicted, predicted=found.observed)


def equal(observed: Any, predicted: Any) -> Evidence:
    """Supports iff two lists of exact values (integers, ranks, signs, words) are the same."""
    same = list(np.ravel(np.asarray(observed, dtype=object))) == list(np.ravel(np.asarray(predicted, dtype=object)))
    note = "" if same else f"observed {observed}, predicted {predicted}"
    numbers = {}
    if np.asarray(observed).dtype.kind in "biuf" and np.asarray(predicted).dtype.kind in "biuf":
        numbers = {"observed": _sample(_array(observed)), "predicted": _sample(_array(predicted))}
    return Evidence(Outcome.SUPPORTS if same else Outcome.CONTRADICTS, 0.0 if same else 1.0, 0.0, (), note, **numbers)


def slope(
    x: Sequence[float], y: Any, *, predicted: float, confidence: float = 0.999, systematic: float = 0.0
) -> Evidence:
    """Supports iff the log-log slope of ``y(x)`` agrees with ``predicted`` within its confidence interval.

    ``systematic`` is the declared bias of a finite range (for example of the next order); an interval wider than a
    tenth of the slope, or of 0.1 for a zero slope, is blind.
    """
    a, b = np.log(np.asarray(x, float)), np.log(np.abs(_array(y)))
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        return Evidence(Outcome.CONTRADICTS, float("inf"), 0.0, (), "not a number in a fitted slope")
    fit = stats.linregress(a, b)
    half = float(stats.t.ppf(0.5 + confidence / 2, len(a) - 2) * fit.stderr) if len(a) > 2 else float("inf")
    if not np.isfinite(half):
        return Evidence(Outcome.UNDECIDED, 0.0, 0.0, (), "a slope needs at least three points")
    bound = Bound(((f"slope at confidence {confidence:g}", half), ("finite range", float(systematic))))
    found = agree(fit.slope, float(predicted), bound=bound, scale=max(abs(float(predicted)), 1.0))
    return found.noting(f"slope {fit.slope:.5g} over {len(a)} points")


def spectra_match(observed: Any, predicted: Any, *, bound: Bound) -> Evidence:
    """Supports iff two spectra agree as multisets; the shorter one is padded with zeros."""
    a, b = _array(observed).ravel(), _array(predicted).ravel()
    size = max(a.size, b.size)
    return agree(np.sort(np.pad(a, (0, size - a.size))), np.sort(np.pad(b, (0, size - b.size))), bound=bound)


def exact(decision: Any) -> Evidence:
    """Evidence from a symbolic or exact decision: proved supports, refuted contradicts."""
    outcomes = {"proved": Outcome.SUPPORTS, "refuted": Outcome.CONTRADICTS}
    outcome = outcomes.get(decision.outcome, Outcome.UNDECIDED)
    return Evidence(outcome, float(outcome is Outcome.CONTRADICTS), 0.0, (), decision.how)


def both(*pieces: Evidence) -> Evidence:
    """Several findings as one: contradicts if any does, supports if all do; the worst ratio is kept."""
    ranks = {Outcome.CONTRADICTS: 2, Outcome.UNDECIDED: 1, Outcome.SUPPORTS: 0}
    return max(pieces, key=lambda piece: (ranks[piece.outcome], piece.ratio))
