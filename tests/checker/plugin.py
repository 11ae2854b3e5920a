"""pytest as a claim checker: one item a claim, options, the closing table, and `--accept`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from reports import ledger
from reports.verdict import Word
from tests.checker.examine import SAMPLE, Options
from tests.checker.registry import load

_PROPERTY = "claim"
_COLUMNS = tuple(str(word) for word in Word)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the claim checker."""
    group = parser.getgroup("lemmata", "claim checker")
    group.addoption("--accept", action="store_true", help="rewrite the lock lines of the claims that ran")
    group.addoption("--device", default="cpu", help="where networks are simulated: cpu, cuda or auto")
    group.addoption("--mutants", default=str(SAMPLE), help="automatic mutants tried per claim: a number, or all")
    group.addoption("--all", action="store_true", dest="all_checks", help="run the slow checks too")


def options_of(config: pytest.Config) -> Options:
    """The examination options that the command line asks for; a usage error names the option."""
    from numerics.device import resolve

    wanted = config.getoption("--mutants")
    if wanted != "all" and not wanted.isdigit():
        raise pytest.UsageError(f"--mutants: {wanted} given, allowed: a number >= 0, or all")
    try:
        device = str(resolve(config.getoption("--device")))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    marks = config.getoption("markexpr", "") or ""
    slow = bool(config.getoption("all_checks")) or ("slow" in marks and "not slow" not in marks)
    return Options(device, None if wanted == "all" else int(wanted), slow)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse bad options before anything is collected; keep torch at one thread for repeatable sums."""
    import torch

    torch.set_num_threads(1)
    options_of(config)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(ClosingTable(config), "lemmata-closing-table")


def claim_parameters() -> list[Any]:
    """One pytest parameter a claim, marked slow or gpu where it has such checks."""
    found = []
    for name, claim in load().items():
        marks = [pytest.mark.slow] if any(check.slow for check in claim.checks) else []
        marks += [pytest.mark.gpu] if any(check.gpu for check in claim.checks) else []
        found.append(pytest.param(claim, id=name, marks=marks))
    return found


class ClosingTable:
    """Collects the records of the claims that ran, prints the table by family, and rewrites the lock on `--accept`."""

    def __init__(self, config: pytest.Config) -> None:
        self.accept: bool = config.getoption("--accept")
        self.ran: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which claims ran; properties travel with the report, also between processes."""
        if report.when == "call":
            self.ran.update(value for name, value in report.user_properties if name == _PROPERTY)

    def _words(self) -> dict[str, str]:
        have = ledger.working()
        verdicts = ledger.resolve({name: have[name] for name in load() if name in have}, ledger.read_lock())
        return {name: str(verdict.word) for name, verdict in verdicts.items() if name in self.ran}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the accepted verdicts of the claims that ran; lines of vanished claims go."""
        if self.accept and self.ran:
            kept = {name: word for name, word in ledger.read_lock().items() if name in load()}
            ledger.write_lock({**kept, **self._words()})

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The closing table by family, and a line for each claim that is not plainly proved."""
        if not self.ran:
            return
        words, say = self._words(), terminalreporter.write_line
        families = sorted({name.partition(".")[0] for name in words})
        terminalreporter.section("claims by family")
        wide = max(len(name) for name in (*families, "all families"))
        say(f"{'':{wide}}  claims  " + "  ".join(_COLUMNS))
        for family in (*families, "all families"):
            mine = [w for name, w in words.items() if family in (name.partition(".")[0], "all families")]
            count = Counter(mine)
            cells = "  ".join(f"{count[column] or '':>{len(column)}}" for column in _COLUMNS)
            say(f"{family:{wide}}  {len(mine):6}  {cells}")
        have = ledger.working()
        verdicts = ledger.resolve({name: have[name] for name in load() if name in have}, ledger.read_lock())
        for name in sorted(words, key=lambda one: (_COLUMNS.index(words[one]), one)):
            if words[name] != Word.PROVED:
                say(f"{words[name]:22}{name}  {'; '.join(verdicts[name].reasons)[:150]}")
