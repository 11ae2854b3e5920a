"""Every claim of ``tests.claims`` as one item; red when evidence is defective or a verdict changed."""

from __future__ import annotations

import pytest

from reports import ledger
from tests.checker.claim import Claim
from tests.checker.plugin import claim_parameters, options_of
from tests.checker.registry import load, statements
from tests.checker.session import examine_and_record


@pytest.mark.parametrize("claim", claim_parameters())
def test_claim(claim: Claim, subtests, request, record_property):
    """Run proofs, checks, falsifiers and mutants; compare the verdict with the lock."""
    record_property("claim", claim.id)
    entry = examine_and_record(claim.id, options_of(request.config))
    for name, text in entry["errors"].items():
        with subtests.test(broke=name):
            pytest.fail(f"{claim.id}, {name}: {text}\n{entry['traces'].get(name, '')}")
    for name, proof in entry["proofs"].items():
        with subtests.test(proof=name):
            assert not proof["proves_wrong"], f"also proves {proof['proves_wrong']}: use the formula that is passed in"
    for name, check in entry["checks"].items():
        with subtests.test(check=name):
            assert check["rejects"] or check["skipped"], "rejects no wrong formula: add a falsifier it must notice"
    for name, killers in entry["falsifiers"].items():
        with subtests.test(falsifier=name):
            assert killers, "survives every check: sharpen a check or widen a grid"
    with subtests.test(mutants=entry["mutants"].get("tried", 0)):
        assert not entry["mutants"]["survivors"], "mutants survive: sharpen a check, or declare `equivalent`"
    with subtests.test("verdict"):
        lock = ledger.read_lock()
        if request.config.getoption("--accept"):
            lock = {**lock, **dict.fromkeys(claim.uses, "proved")}
        verdict = ledger.resolve({claim.id: entry}, lock)[claim.id]
        assert verdict.word != "defective", "; ".join(verdict.reasons)
        if not request.config.getoption("--accept"):
            accepted = lock.get(claim.id, "nothing")
            assert verdict.word == accepted, (
                f"{claim.id}: verdict {verdict.word}, accepted {accepted} ({'; '.join(verdict.reasons)}); "
                f"if the change is right: pytest -k {claim.id} --accept"
            )


def test_lock_has_no_stale_line():
    """A lock line without its claim means that evidence was thrown away unnoticed."""
    stale = sorted(set(ledger.read_lock()) - set(load()))
    assert not stale, f"locked, but no such claim: {stale}; restore it, or run pytest --accept"


def test_statements_are_covered():
    """Every label has its claims or a reason, and every claim is somebody's answer."""
    table = statements()
    named = {name for entry in table.values() for name in entry.get("claims", ())}
    helpers = {used for claim in load().values() for used in (*claim.uses, *claim.corrected_by)}
    orphans = sorted(set(load()) - named - helpers)
    assert not orphans, f"claims that answer no statement: {orphans}; name them in statements.toml"
