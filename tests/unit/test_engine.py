"""Every rule of the engine is broken on purpose once, and must be noticed."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import sympy as sp

from derivations.compiled import evaluate
from derivations.decide import zero
from derivations.decision import Decision
from reports.ledger import read_lock, resolve, write_lock
from reports.verdict import Word
from tests.checker import registry
from tests.checker.bounds import rounding
from tests.checker.claim import Assumption, Claim, grid
from tests.checker.compare import agree, at_least, at_most, exact
from tests.checker.evidence import Bound, Evidence, Outcome
from tests.checker.examine import Options, examine
from tests.checker.seeds import seed_of

X = sp.Symbol("x", positive=True)
CASES = grid(x=[0.3, 1.0, 2.5])
POSITIVE = Assumption("positive", "x is positive", lambda x: x > 0)


def square(name: str = "toy.square", **changes) -> Claim:
    """A claim about x^2, complete but for proofs and checks."""
    fields = {
        "source": "A eq. 0",
        "says": "the square of x",
        "formula": lambda: X**2,
        "near_misses": {"cube": lambda: X**3},
        "falsifiers": {"doubled": lambda: 2 * X**2},
        "about_networks": False,
    }
    return Claim(name, **{**fields, **changes})


def measured(claim: Claim, cases=CASES, **options):
    """Give a claim the honest check."""

    @claim.check(cases, network=False, **options)
    def by_multiplication(formula, x):
        return agree(x * x, evaluate(formula, {X: x}), bound=rounding(x * x, 4)).on(x)

    return claim


def proved(claim: Claim, target: sp.Expr = X * X) -> Claim:
    """Give a claim the honest proof."""

    @claim.proof(generic_in="x")
    def by_definition(formula):
        return zero(formula - target)

    return claim


def verdict(claim: Claim, lock=None, **options):
    """The verdict on one claim from a fresh examination."""
    return resolve({claim.id: examine(claim, Options(**options))}, lock or {})[claim.id]


def module(*claims: Claim) -> ModuleType:
    """A module that declares claims."""
    made = ModuleType("made")
    for place, claim in enumerate(claims):
        setattr(made, f"claim_{place}", claim)
    return made


def test_honest_claims_get_their_words():
    assert verdict(proved(measured(square()))).word is Word.PROVED
    assert verdict(measured(square())).word is Word.CONFIRMED


def test_instances_are_not_generic():
    claim = measured(square())

    @claim.proof(instances="x = 2")
    def at_two(formula):
        return zero(formula.subs(X, 2) - 4)

    found = verdict(claim)
    assert found.word is Word.INSTANCES and found.reasons == ("x = 2",)


def test_check_that_cannot_fail_is_defective():
    claim = proved(measured(square()))

    @claim.check(CASES, network=False)
    def always_content(formula, x):
        return agree(x, x, bound=rounding(x, 1)).on(x)

    found = verdict(claim)
    assert found.word is Word.DEFECTIVE and "always_content: rejects no wrong formula" in "".join(found.reasons)


def test_surviving_falsifier_is_defective():
    claim = measured(square(falsifiers={"same at the cases": lambda: X**2 + (X - 1) * 0 + sp.Rational(1, 10**30)}))
    found = verdict(claim)
    assert found.word is Word.DEFECTIVE and "survives every check" in "".join(found.reasons)


def test_unsatisfied_assumption_is_defective():
    claim = measured(square(given=(POSITIVE,)), grid(x=[-1.0, -2.0]))
    found = verdict(claim)
    assert found.word is Word.DEFECTIVE and "no case satisfies the assumptions (positive)" in "".join(found.reasons)


def test_network_check_must_name_its_subject():
    claim = square(given=(POSITIVE,))

    @claim.check(CASES)
    def anonymous(formula, x):
        return agree(x * x, evaluate(formula, {X: x}), bound=rounding(x * x, 4))

    found = verdict(claim)
    assert found.word is Word.DEFECTIVE and ".on(...)" in "".join(found.reasons)


def test_undecided_proof_is_no_proof():
    claim = measured(square())

    @claim.proof(generic_in="x")
    def shrug(formula):
        return Decision("undecided", "no idea")

    assert verdict(claim).word is Word.CONFIRMED


def test_undecided_alone_is_undecided():
    claim = square()

    @claim.proof(generic_in="x")
    def picky(formula):
        return zero(formula - X * X) if formula != X**2 else Decision("undecided", "no idea")

    assert verdict(claim).word is Word.UNDECIDED


def test_proof_that_ignores_the_formula_is_defective():
    claim = measured(square())

    @claim.proof(generic_in="x")
    def of_something_else(formula):
        return zero(X - X)

    found = verdict(claim)
    assert found.word is Word.DEFECTIVE and "also proves" in "".join(found.reasons)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), complex(1.0, 1e-3)])
def test_nan_and_inf_contradict(value):
    found = agree(np.array([1.0, value]), np.array([1.0, 1.0]), bound=rounding(1.0, 4))
    assert found.outcome is Outcome.CONTRADICTS and found.ratio == float("inf")


def test_nan_evidence_never_supports_a_claim():
    claim = square()

    @claim.check(CASES, network=False)
    def broken(formula, x):
        return agree(float("nan"), evaluate(formula, {X: x}), bound=rounding(1.0, 4)).on(x)

    assert verdict(claim).word not in (Word.CONFIRMED, Word.PROVED)


def test_loose_budget_is_blind():
    found = agree(1.0, 1.05, bound=Bound((("guess", 0.2),)))
    assert found.outcome is Outcome.UNDECIDED and "nothing could be seen" in found.detail


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_budget_must_be_finite(value):
    with pytest.raises(ValueError, match="allowed: finite and >= 0"):
        Bound((("bad", value),))


def test_inequalities_know_their_sides():
    tight = rounding(1.0, 4)
    assert at_most(1.0, 2.0, bound=tight).outcome is Outcome.SUPPORTS
    assert at_most(2.0, 1.0, bound=tight).outcome is Outcome.CONTRADICTS
    short = at_least(1.0, 2.0, bound=tight)
    assert short.outcome is Outcome.CONTRADICTS and short.observed == (1.0,) and short.predicted == (2.0,)
    assert at_most(float("nan"), 1.0, bound=tight).outcome is Outcome.CONTRADICTS


def test_shapes_must_agree():
    assert agree(np.ones(3), np.ones(2), bound=rounding(1.0, 1)).outcome is Outcome.CONTRADICTS


def test_a_breaking_check_is_defective_and_keeps_the_rest():
    claim = proved(measured(square()))

    @claim.check(CASES, network=False)
    def breaking(formula, x):
        raise RuntimeError("out of luck")

    entry = examine(claim)
    assert "out of luck" in "".join(entry["errors"].values())
    assert entry["checks"]["by_multiplication"]["supports"] == len(CASES)
    assert resolve({claim.id: entry}, {})[claim.id].word is Word.DEFECTIVE


def test_refuted_needs_the_corrected_formula():
    wrong = {"formula": lambda: 3 * X**2}
    assert verdict(measured(square(**wrong))).word is Word.DEFECTIVE
    corrected = {**wrong, "control": lambda: X**2, "corrected_by": ("toy.square",)}
    found = verdict(measured(square("toy.printed", **corrected)))
    assert found.word is Word.REFUTED


def test_a_check_must_accept_the_corrected_formula():
    claim = square("toy.printed", formula=lambda: 3 * X**2, control=lambda: X**2, corrected_by=("toy.square",))

    @claim.check(CASES, network=False)
    def rejects_all(formula, x):
        return Evidence(Outcome.CONTRADICTS, 1.0, 1e-9).on(x)

    found = verdict(claim)
    assert found.word is Word.DEFECTIVE and "does not accept the corrected formula" in "".join(found.reasons)


def test_correction_without_refutation_is_defective():
    claim = measured(square(control=lambda: X**2, corrected_by=("toy.other",)))
    assert verdict(claim).word is Word.DEFECTIVE


def test_conditions_must_be_needed():
    root = {"formula": lambda: sp.sqrt(X**2), "near_misses": {"square": lambda: X**2}, "mutate": False}

    def rooted(cases_without) -> Claim:
        claim = square("toy.root", conditions=(POSITIVE,), **root)

        @claim.check(CASES, network=False)
        def inside(formula, x):
            return agree(x, evaluate(formula, {X: x}), bound=rounding(x, 4)).on(x)

        @claim.without(POSITIVE, cases_without, network=False)
        def outside(formula, x):
            return agree(x, evaluate(formula, {X: abs(x)}), bound=rounding(1.0, 4)).on(x)

        return claim

    assert verdict(rooted(grid(x=[-1.0]))).word is Word.CONDITIONAL
    assert verdict(rooted(grid(x=[1.0]))).word is Word.DEFECTIVE


def test_surviving_mutant_is_defective():
    claim = square(formula=lambda: X**2 + sp.Rational(1, 10**30) * X**4)

    @claim.check(CASES, network=False)
    def blunt(formula, x):
        return agree(x * x, evaluate(formula, {X: x}), bound=rounding(x * x, 4)).on(x)

    found = verdict(claim, mutants=None)
    assert found.word is Word.DEFECTIVE and "mutants survive" in "".join(found.reasons)


def test_weak_contradiction_is_undecided_not_refuted():
    claim = square(mutate=False)

    @claim.check(CASES, network=False)
    def nearly(formula, x):
        return agree(x * x * (1 + 1e-5), evaluate(formula, {X: x}), bound=Bound((("wobble", 9e-6 * x * x),))).on(x)

    assert verdict(claim).word is Word.UNDECIDED


def test_ancestors_carry_the_verdict():
    claim = proved(measured(square("toy.heir", uses=("toy.parent",))))
    assert verdict(claim, {"toy.parent": "proved"}).word is Word.PROVED
    assert verdict(claim, {"toy.parent": "confirmed"}).word is Word.CONFIRMED
    assert verdict(claim, {"toy.parent": "refuted"}).word is Word.DEFECTIVE
    assert verdict(claim).word is Word.DEFECTIVE


def test_registry_refuses_bad_declarations():
    good = measured(square())
    assert list(registry.collect([module(good)])) == ["toy.square"]
    bad = {
        "declared twice": [good, measured(square())],
        "ids read": [measured(square("Toy Square"))],
        "near miss": [measured(square(near_misses={}))],
        "at least two": [measured(square(falsifiers={}))],
        "which is no claim": [measured(square(uses=("toy.nowhere",)))],
        "declare a proof or a check": [square()],
        "in a circle": [measured(square("toy.a", uses=("toy.b",))), measured(square("toy.b", uses=("toy.a",)))],
        "empty grid": [measured(square(), ())],
        "no check runs on a full network": [measured(square(about_networks=True))],
        "needs a check declared with": [measured(square(conditions=(POSITIVE,)))],
    }
    for text, claims in bad.items():
        with pytest.raises(registry.DeclarationError, match=text):
            registry.collect([module(*claims)])


def test_statements_need_claims_or_a_reason(tmp_path):
    table = tmp_path / "statements.toml"
    known = registry.collect([module(measured(square()))])
    texts = {
        "give `claims`, or a `reason`": '["C-1"]\nwhere = "eq. 1"\nsays = "x"\n',
        "toy.nowhere is no claim": '["C-1"]\nwhere = "eq. 1"\nsays = "x"\nclaims = ["toy.nowhere"]\n',
        "give `where` and `says`": '["C-1"]\nclaims = ["toy.square"]\n',
    }
    for text, content in texts.items():
        table.write_text(content)
        with pytest.raises(registry.DeclarationError, match=text):
            registry.statements(table, known)


def test_lock_round_trip(tmp_path):
    path = tmp_path / "verdicts.lock"
    write_lock({"b.x": "proved", "a.x": "refuted"}, path)
    assert read_lock(path) == {"a.x": "refuted", "b.x": "proved"}
    assert path.read_text().splitlines()[1] == "a.x refuted"


def test_seeds_depend_on_claim_and_case_alone():
    assert seed_of("toy.a", {"q": 2, "d": 3}) == seed_of("toy.a", {"d": 3, "q": 2})
    assert seed_of("toy.a", {"q": 2}) != seed_of("toy.b", {"q": 2}) != seed_of("toy.b", {"q": 3})


def test_exact_decisions_become_evidence():
    assert exact(Decision("proved", "")).outcome is Outcome.SUPPORTS
    assert exact(Decision("refuted", "")).outcome is Outcome.CONTRADICTS
    assert exact(Decision("undecided", "")).outcome is Outcome.UNDECIDED
