"""Sessions resume, publish without timings, and lose no finished claim when they are interrupted."""

from __future__ import annotations

import json

import pytest

from reports import ledger
from tests.checker import session, trial
from tests.checker.examine import Options

CLAIM = "modes.fractional-rate"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working ledger of its own."""
    monkeypatch.setattr(ledger, "WORKING", tmp_path / "ledger")
    monkeypatch.setattr(ledger.working, "__defaults__", (tmp_path / "ledger",))
    return tmp_path / "ledger"


def states(**options) -> list[str]:
    """Run one claim and tell what happened to it."""
    seen: list[str] = []
    session.run(CLAIM, mutants=1, notify=lambda event: seen.append(event.state), **options)
    return seen


def test_a_run_is_resumed_from_its_records(folder):
    assert states() == ["started", "finished"]
    assert states() == ["reused"]
    assert states(fresh=True) == ["started", "finished"]
    assert session.fingerprint(CLAIM, Options(mutants=1)) != session.fingerprint(CLAIM, Options(mutants=2))


def test_interruption_keeps_finished_claims(folder, monkeypatch):
    names = session.select(CLAIM)

    def interrupted(claim_id, options):
        if claim_id == "modes.interrupted":
            raise KeyboardInterrupt
        return real(claim_id, options)

    real = session.examine_and_record
    monkeypatch.setattr(session, "examine_and_record", interrupted)
    monkeypatch.setattr(session, "select", lambda expression: [*names, "modes.interrupted"])
    monkeypatch.setattr(session, "fingerprint", lambda name, options: "same")
    registry = dict(session.load())
    registry["modes.interrupted"] = registry[CLAIM]
    monkeypatch.setattr(session, "load", lambda: registry)
    with pytest.raises(KeyboardInterrupt):
        session.run(mutants=1)
    assert list(ledger.working(folder)) == [CLAIM]


def test_damaged_records_count_as_absent(folder):
    folder.mkdir()
    (folder / "half.json").write_text('{"id": "half", "ver')
    assert ledger.working(folder) == {}


def test_published_ledger_is_repeatable_and_without_timings(folder, tmp_path):
    session.run(CLAIM, mutants=1)
    table = {"C1-34": {"where": "eq. 14", "says": "x", "claims": [CLAIM]}}
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    ledger.publish(ledger.working(folder), table, [CLAIM], first)
    session.run(CLAIM, mutants=1, fresh=True)
    ledger.publish(ledger.working(folder), table, [CLAIM], second)
    assert first.read_bytes() == second.read_bytes()
    entry = json.loads(first.read_text())["claims"][CLAIM]
    assert entry["labels"] == ["C1-34"] and "seconds" not in entry and "fingerprint" not in entry
    ledger.publish({}, table, [CLAIM], first)
    assert json.loads(first.read_text())["claims"][CLAIM] == entry
    with pytest.raises(ledger.LedgerError, match="no record of"):
        ledger.publish({}, table, [CLAIM], tmp_path / "none.json")


def test_a_trial_compares_theory_with_simulation():
    rows = trial.attempt(CLAIM, {"depth": "6", "q": "1.7"})
    assert [row.outcome for row in rows] == ["supports"] and rows[0].case["depth"] == 6
    assert len(rows[0].observed) == len(rows[0].predicted) > 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"q": "0.5"}, "q: 0.5 given, allowed: q >= 1, or oo"),
        ({"depth": "-3"}, "depth: -3 given, allowed: an integer from 1 to 64"),
        ({"depth": "3", "widths": "4,4"}, "widths: 2 sizes given, allowed: depth . 1 = 4 sizes"),
        ({"widths": "round"}, "widths: round given, allowed: depth . 1 sizes"),
        ({"colour": "red"}, f"colour: no parameter of {CLAIM}, allowed: depth, q, seed, widths"),
        ({"q": "nan"}, "q: nan given"),
    ],
)
def test_bad_parameters_are_one_line(settings, text):
    with pytest.raises(ValueError, match=text) as caught:
        trial.attempt(CLAIM, settings)
    assert "\n" not in str(caught.value)


def test_unknown_claims_are_answered_with_close_ones():
    with pytest.raises(ValueError, match="did you mean modes.fractional-rate"):
        trial.attempt("modes.fractional-rates", {})


def test_fingerprints_follow_imports():
    reached = session._reached("tests/claims/closed_forms.py")
    assert {"tests/claims/closed_forms.py", "tests/claims/maps.py", "tests/claims/settings.py"} <= reached
    assert "tests/claims/loss.py" not in reached
