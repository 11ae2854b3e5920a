"""The command line: answers from a ledger alone, one-line errors, interruption, and what a run reports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reports import commands
from reports.__main__ import main
from reports.ledger import ROOT
from reports.plain_maths import readable
from reports.verdict import Verdict, Word
from tests.unit.sample_ledger import sample_ledger, undrawn_ledger


@pytest.fixture
def sample(tmp_path: Path) -> str:
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(undrawn_ledger()))
    return str(path)


def test_list_prints_a_line_a_claim(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--ledger", sample]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines == sorted(lines)
    assert main(["list", "--verdict", "refuted", "--ledger", sample]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["modes.faster"]
    assert main(["list", "--family", "damping", "--verdict", "proved", "--ledger", sample]) == 0
    assert capsys.readouterr().out == ""


def test_list_json_has_a_stable_shape(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json", "--family", "null-space", "--ledger", sample]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "claims": [
            {
                "id": "null-space.orbit",
                "verdict": "conditional",
                "family": "null-space",
                "source": "A section 2",
                "labels": ["C1-12"],
                "says": "the symmetries span the null space",
            }
        ],
    }


def test_show_gives_verdict_formula_and_evidence(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "modes.faster", "--ledger", sample]) == 0
    out = capsys.readouterr().out
    for expected in ("Refuted: “half time”: contradiction persists", "t_NGD ≤ t_SGD", "A section 5 (C1-44)",
                     "0.2298", "0.6831", "fails at sigma = 1/2", "4.5e9 times its bound",
                     "corrected by: modes.faster-corrected"):  # fmt: skip
        assert expected in out


@pytest.mark.parametrize("claim", sorted(sample_ledger()["claims"]))
def test_show_and_why_work_for_every_verdict(claim: str, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", claim, "--ledger", sample]) == 0
    assert main(["why", claim, "--ledger", sample]) == 0
    assert capsys.readouterr().out.count(claim) >= 2


def test_why_is_a_tree_with_verdicts(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "damping.square-root", "--ledger", sample]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("damping.square-root  confirmed numerically")
    assert second.startswith("└── modes.fractional-rate  proved")


def test_build_into_a_folder(sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--ledger", sample, "--into", str(tmp_path / "out")]) == 0
    assert "8 claims: 1 refuted" in capsys.readouterr().out
    assert (tmp_path / "out" / "index.md").exists() and (tmp_path / "out" / "claims" / "modes.faster.md").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "modes.fastr"], "modes.fastr given, allowed: a known id; did you mean modes.faster"),
        (["why", "zzz"], "zzz given, allowed: a known id; see `lemmata list`"),
        (["list", "--verdict", "true"], "--verdict: true given, allowed: proved, "),
        (["list", "--family", "mods"], "--family: mods given, allowed: damping, gradient, modes, null-space"),
    ],
)
def test_bad_names_are_one_line(
    arguments: list[str], said: str, sample: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--ledger", sample]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shw"], "invalid choice: 'shw'"),
        (["show"], "the following arguments are required: ID"),
        (["check", "-j", "0"], "0 given, allowed: a whole number >= 1"),
        (["check", "--mutants", "some"], "some given, allowed: a whole number >= 0, or all"),
        (["try", "modes.faster", "--set", "depth"], "--set: depth given, allowed: name=value"),
        (["list", "--ledger", "no/such/file.json"], "--ledger: no/such/file.json given, no such file"),
        (["list", "--ledger", "README-is-no-ledger"], "no such file"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 7, "claims": {}}'])
def test_a_file_that_is_no_ledger_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main(["list", "--ledger", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "lemmata try modes.fractional-rate --set depth=8 q=1.3" in capsys.readouterr().out


def test_reading_imports_no_engine(sample: str) -> None:
    """Torch, SymPy and matplotlib take seconds; a list must not wait for them."""
    script = (
        "import sys; from reports.__main__ import main; "
        f"status = [main([c, *a, '--ledger', {sample!r}]) for c, *a in "
        "(('list',), ('show', 'modes.faster'), ('why', 'modes.faster'))]; "
        "print(status, sorted({'torch', 'sympy', 'matplotlib', 'numpy', 'tests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0] []"


def test_no_traceback_on_an_error_in_a_process_of_its_own(sample: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reports", "show", "nothing", "--ledger", sample],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lemmata: claim: nothing given, allowed: a known id; see `lemmata list`\n"


@dataclass
class Engine:
    """A stand-in for the engine: what it was asked for, and the verdicts it gives back."""

    words: dict[str, Word]
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    interrupt: bool = False

    def run(self, expression: str | None, *, notify: Any, **options: Any) -> Any:
        self.asked = {"expression": expression, **options}
        for done, (name, word) in enumerate(self.words.items(), 1):
            event = {"claim_id": name, "family": "f", "verdict": str(word), "seconds": 0.25, "total": len(self.words)}
            notify(SimpleNamespace(**event, state="started", done=done - 1))
            if self.interrupt:
                raise KeyboardInterrupt
            notify(SimpleNamespace(**event, state="finished", done=done))
        return SimpleNamespace(
            verdicts={name: Verdict(word, ("a reason",)) for name, word in self.words.items()},
            reused=0,
            changed=self.changed,
        )

    def publish(self) -> dict[str, Any]:
        return undrawn_ledger()

    def attempt(self, claim_id: str, settings: dict[str, str], device: str) -> list[Any]:
        if "q" not in settings:
            raise ValueError("q: nothing given,\n allowed: q >= 1")
        return [SimpleNamespace(check="full_network", case={"q": 1.3}, observed=(1.0, 2.0), predicted=(1.0, 2.5),
                                error=0.5, bound=1e-12, outcome="contradicts", note="")]  # fmt: skip


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    stand_in = Engine({"f.a": Word.PROVED, "f.b": Word.REFUTED})
    monkeypatch.setattr(commands, "_engine", lambda name: stand_in)
    monkeypatch.setattr(commands, "_device", lambda name: name)
    return stand_in


def test_check_passes_the_options_on_and_counts(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-k", "modes", "--mutants", "all", "--all", "--fresh", "-j", "3"]) == 0
    wanted = {"expression": "modes", "device": "cpu", "mutants": None, "slow": True, "fresh": True, "jobs": 3}
    assert engine.asked == wanted
    captured = capsys.readouterr()
    assert captured.out == "2 claims: 1 refuted, 1 proved.\n"
    assert captured.err.splitlines() == ["1/2 f.a: proved, 0.2 s", "2/2 f.b: refuted, 0.2 s"]


def test_options_stand_before_or_after_the_command(engine: Engine) -> None:
    main(["--mutants", "3", "check"])
    assert engine.asked["mutants"] == 3
    main(["check"])
    assert "mutants" not in engine.asked


def test_a_defective_claim_or_a_changed_verdict_fails(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.changed = {"f.a": ("nothing", "proved")}
    assert main(["check"]) == 0, "a new claim is no change"
    engine.changed = {"f.a": ("confirmed", "proved")}
    assert main(["check"]) == 1
    assert "changed: f.a was confirmed, is proved" in capsys.readouterr().out
    engine.changed, engine.words["f.a"] = {}, Word.DEFECTIVE
    assert main(["check"]) == 1
    assert "defective: f.a: a reason" in capsys.readouterr().out


def test_without_a_command_everything_is_checked_and_written(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    assert main([]) == 0
    assert engine.asked["expression"] is None
    out = capsys.readouterr().out
    assert "8 claims: 1 refuted" in out and "index.md" in out
    assert (tmp_path / "reports" / "errata.md").exists()


def test_an_interruption_keeps_what_is_done(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.interrupt = True
    monkeypatch.setattr(commands.store, "working", lambda: {"f.a": {}, "f.b": {}})
    assert main([]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted: 2 claims kept, run again to continue"


def test_try_prints_theory_beside_simulation(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", "f.a", "--set", "depth=8", "q=1.3"]) == 0
    out = capsys.readouterr().out
    assert "full network at q 1.3: contradicts" in out and "error 0.5, bound 1e-12" in out
    assert ["2.5", "2"] in [line.split() for line in out.splitlines()]
    assert main(["try", "f.a"]) == 2
    assert capsys.readouterr().err == "lemmata: q: nothing given, allowed: q >= 1\n"


def test_away_from_a_checkout_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    assert main(["check"]) == 2
    assert capsys.readouterr().err.endswith("lemmata runs from a checkout installed with `pip install -e .`\n")


@pytest.mark.parametrize(
    ("latex", "line"),
    [
        (r"\dot{\sigma}_{i} = \frac{a+b}{2} A^{\mathsf{T}} \|x\|", "σ̇_i = (a+b)/2 Aᵀ ‖x‖"),
        (r"\sigma^{2 - \frac{2}{d}}", "σ^(2 - 2/d)"),
        (r"\begin{pmatrix} a \\ b \end{pmatrix}", "a; b"),
        (r"\left|j\right|^{2} \le \sqrt{x}", "|j|^2 ≤ √(x)"),
    ],
)
def test_formulas_read_as_text(latex: str, line: str) -> None:
    assert readable(latex) == line
