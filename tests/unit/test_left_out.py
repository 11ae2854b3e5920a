"""What does not count: crashes on wrong formulas, checks without their data set, figures that a run leaves out."""

from __future__ import annotations

import pytest

from derivations.compiled import evaluate
from reports.ledger import _with_kept_checks
from reports.verdict import Word
from tests.checker.bounds import rounding
from tests.checker.claim import Claim
from tests.checker.compare import agree
from tests.checker.examine import Options, examine
from tests.checker.figure import Figure, Panel, Series
from tests.unit.test_engine import CASES, X, measured, square, verdict


def crashing(error: Exception) -> Claim:
    """A claim whose only check breaks on every wrong formula."""
    claim = square("toy.crash")

    @claim.check(CASES, network=False)
    def breaks_on_others(formula, x):
        if formula != X**2:
            raise error
        return agree(x * x, evaluate(formula, {X: x}), bound=rounding(x * x, 4)).on(x)

    return claim


@pytest.mark.parametrize("error", [TypeError("no number"), KeyError("x"), AttributeError("none"), RuntimeError("size")])
def test_a_crash_on_a_wrong_formula_is_no_rejection(error):
    found = verdict(crashing(error))
    assert found.word is Word.DEFECTIVE and "survives every check" in "".join(found.reasons)


@pytest.mark.parametrize("error", [ValueError("shapes do not conform"), ZeroDivisionError("division by zero")])
def test_a_formula_that_says_nothing_is_rejected(error):
    assert verdict(crashing(error)).word is Word.CONFIRMED


def test_a_check_without_its_data_set_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    found = examine(measured(square("toy.data"), data="cifar10"))["checks"]["by_multiplication"]
    assert found["skipped"] and found["data"] == "cifar10" and found["supports"] == 0
    here = examine(measured(square("toy.digits"), data="digits"))["checks"]["by_multiplication"]
    assert not here["skipped"] and here["supports"] == len(CASES)


def test_a_slow_figure_stays_as_it_was_committed():
    claim = measured(square("toy.figure"))

    @claim.figure(slow=True)
    def parabola(formula):
        return Figure("A parabola.", (Panel("p", "x", "y", (Series("theory", [1, 2], [1, 4]),)),))

    full, quick = examine(claim, Options(slow=True)), examine(claim)
    assert full["figures"][0]["caption"] == "A parabola." and quick["figures"][0]["panels"] == []
    assert _with_kept_checks(quick, full)["figures"] == full["figures"]
    assert _with_kept_checks(full, quick)["figures"] == full["figures"]
    assert _with_kept_checks(quick, None)["figures"][0]["panels"] == []
