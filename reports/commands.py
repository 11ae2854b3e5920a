"""What the commands do. Those that only read never import the engine, so that they answer at once."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from reports import ledger as store
from reports import terminal
from reports.verdict import Word
from reports.words import Ledger, complete, families, tally_line

ROOT = store.ROOT


def _engine(name: str) -> ModuleType:
    """A module of the engine; raises ValueError where the package was installed without its checkout."""
    if not (ROOT / "tests" / "claims").is_dir():
        raise ValueError("no claims beside the package: lemmata runs from a checkout installed with `pip install -e .`")
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"tests.checker.{name}")


def _device(name: str) -> str:
    return str(importlib.import_module("numerics.device").resolve(name))


def _ledger(options: Namespace) -> Ledger:
    """The ledger that a command reads; raises ValueError in one line if it cannot be read."""
    if not options.ledger:
        return complete(store.load())
    path = Path(options.ledger)
    try:
        return complete(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"--ledger: {path} given, {(error.strerror or 'not readable').lower()}") from None
    except json.JSONDecodeError:
        raise ValueError(f"--ledger: {path} given, allowed: a ledger in JSON") from None


def close(name: str, known: Iterable[str]) -> str:
    """A hint at names that look like ``name``."""
    names = sorted(known)
    found = [one for one in names if name in one][:3] or difflib.get_close_matches(name, names, 3, 0.5)
    return f"did you mean {', '.join(found)}?" if found else "see `lemmata list`"


def _known(claim_id: str, ledger: Ledger, options: Namespace) -> str:
    if claim_id in ledger["claims"]:
        return claim_id
    if not options.ledger and claim_id in store.working():
        raise ValueError(f"claim: {claim_id} is checked but not published yet, run `lemmata build` first")
    raise ValueError(f"claim: {claim_id} given, allowed: a known id; {close(claim_id, ledger['claims'])}")


def everything(options: Namespace) -> int:
    """Check all claims, publish the ledger, write the pages, say where they are."""
    options.expression = None
    status = check(options)
    ledger = complete(_engine("session").publish())
    _write(ledger, ROOT / "reports", ROOT / "README.md")
    return status


def check(options: Namespace) -> int:
    """Bring the working ledger up to date and say what came out."""
    from rich.console import Console

    from reports.progress import Display

    session = _engine("session")
    device = _device(options.device)
    jobs = options.jobs or (1 if device.startswith("cuda") else min(os.cpu_count() or 1, 8))
    chosen = {} if options.mutants == -1 else {"mutants": options.mutants}
    with Display(Console(stderr=True)) as display:
        summary = session.run(
            options.expression,
            device=device,
            slow=options.all,
            fresh=options.fresh,
            jobs=jobs,
            notify=display.notify,
            **chosen,
        )
    words = {name: str(verdict.word) for name, verdict in summary.verdicts.items()}
    print(f"{len(words)} claims: {tally_line([{'verdict': word} for word in words.values()])}.")
    if summary.reused:
        print(f"{summary.reused} were up to date and not run again.")
    for name, verdict in summary.verdicts.items():
        if verdict.word == Word.DEFECTIVE:
            print(f"defective: {name}: {'; '.join(verdict.reasons)}")
    moved = {name: pair for name, pair in summary.changed.items() if pair[0] != "nothing"}
    for name, (before, now) in moved.items():
        print(f"changed: {name} was {before}, is {now}; `pytest -k {name} --accept` records it")
    return int(bool(moved) or Word.DEFECTIVE in words.values())


def interrupted(options: Namespace) -> str:
    """The last line after Ctrl-C."""
    if options.command not in (None, "check"):
        return "interrupted"
    return f"interrupted: {len(store.working())} claims kept, run again to continue"


def listing(options: Namespace) -> int:
    """List claims, as lines or as JSON."""
    ledger = _ledger(options)
    words = [str(word) for word in Word]
    if options.verdict and options.verdict not in words:
        raise ValueError(f"--verdict: {options.verdict} given, allowed: {', '.join(words)}")
    if options.family and options.family not in families(ledger):
        raise ValueError(f"--family: {options.family} given, allowed: {', '.join(families(ledger))}")
    chosen = {
        name: claim
        for name, claim in sorted(ledger["claims"].items())
        if options.verdict in (None, claim["verdict"]) and options.family in (None, claim["family"])
    }
    if options.json:
        keys = ("verdict", "family", "source", "labels", "says")
        rows = [{"id": name, **{key: claim[key] for key in keys}} for name, claim in chosen.items()]
        print(json.dumps({"schema": 1, "claims": rows}, indent=1, ensure_ascii=False))
        return 0
    terminal.listing(chosen)
    return 0


def show(options: Namespace) -> int:
    """Show one claim."""
    ledger = _ledger(options)
    terminal.show(ledger, _known(options.claim, ledger, options))
    return 0


def why(options: Namespace) -> int:
    """Show what a claim rests on."""
    ledger = _ledger(options)
    terminal.why(ledger, _known(options.claim, ledger, options))
    return 0


def trial(options: Namespace) -> int:
    """Run one claim at the user's parameters; theory beside simulation."""
    settings: dict[str, str] = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ValueError(f"--set: {text} given, allowed: name=value")
        settings[name] = value
    rows: list[Any] = _engine("trial").attempt(options.claim, settings, device=_device(options.device))
    terminal.trial(options.claim, rows)
    return 0


def build(options: Namespace) -> int:
    """Write the pages; a working ledger that is newer than the committed one is published first."""
    if options.ledger or options.into:
        folder = Path(options.into) if options.into else ROOT / "reports"
        _write(_ledger(options), folder, None if options.into else ROOT / "README.md")
        return 0
    if _is_newer():
        _engine("session").publish()
    _write(_ledger(options), ROOT / "reports", ROOT / "README.md")
    return 0


def data(options: Namespace) -> int:
    """List the data sets that are here, or bring CIFAR-10 into the data folder."""
    sets = importlib.import_module("numerics.data")
    if options.name is None:
        if options.source:
            raise ValueError("--from: give the name of the data set too, for example `lemmata data cifar10 --from .`")
        for name in sets.DATA_SETS:
            print(f"{name:8} {'here' if sets.available(name) else f'not in {sets.folder() / name}'}")
        return 0
    if options.name != "cifar10":
        known = ", ".join(sets.DATA_SETS)
        raise ValueError(f"name: {options.name} given, allowed: cifar10 (data sets are {known}; digits need no file)")
    place = importlib.import_module("numerics.cifar10").install(options.source)
    print(f"cifar10: six files with the published checksums in {place}")
    return 0


def _is_newer() -> bool:
    """Whether some claim was checked after the ledger was last published."""
    records = [path.stat().st_mtime for path in store.WORKING.glob("*.json")]
    published = store.PUBLISHED.stat().st_mtime if store.PUBLISHED.exists() else 0.0
    return max(records, default=0.0) > published


def _write(ledger: Ledger, folder: Path, readme: Path | None) -> None:
    from reports import pages

    count = pages.build(ledger, folder, readme=readme, notify=lambda line: print(line, file=sys.stderr))
    print(f"{len(ledger['claims'])} claims: {tally_line(ledger['claims'].values())}.")
    print(f"{count} files under {_shown(folder)}; start with {_shown(folder / 'index.md')}")


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
