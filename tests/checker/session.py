"""Run many claims: in processes, resumable, every finished claim on disk before the next one starts."""

from __future__ import annotations

import ast
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from reports import ledger
from reports.verdict import Verdict
from tests.checker.examine import SAMPLE, Options, environment, examine
from tests.checker.registry import load, statements

_TREES = ("derivations", "numerics", "tests/checker", "tests/claims")


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one claim; ``done`` of ``total`` claims are finished."""

    claim_id: str
    family: str
    state: Literal["started", "reused", "finished"]
    verdict: str
    seconds: float
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The verdicts of a run, how many records were reused, and which verdicts differ from the lock."""

    verdicts: Mapping[str, Verdict]
    reused: int
    changed: Mapping[str, tuple[str, str]]


@cache
def _sources() -> Mapping[str, str]:
    """Digests of all sources that evidence rests on, by path."""
    found = {}
    for tree in _TREES:
        for path in sorted((ledger.ROOT / tree).rglob("*.py")):
            found[path.relative_to(ledger.ROOT).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def fingerprint(claim_id: str, options: Options) -> str:
    """A digest of everything a record depends on: libraries, engine, the claim's module with its imports, versions.

    Modules of ``tests.claims`` that the claim's module does not reach are left out, so that editing one topic does
    not rerun the rest.
    """
    reached = _reached(_module_of(claim_id))
    here = f"{_TREES[-1]}/"
    parts = [f"{path} {digest}" for path, digest in _sources().items() if not path.startswith(here) or path in reached]
    text = "\n".join([*parts, str(sorted(asdict(options).items())), str(environment(options.device))])
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _reached(path: str) -> frozenset[str]:
    """The modules of ``tests.claims`` that a module imports, directly or not, itself included."""
    found, due = {path}, [path]
    while due:
        tree = ast.parse((ledger.ROOT / due.pop()).read_text(encoding="utf-8"))
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        new = {name.replace(".", "/") + ".py" for name in names if name.startswith("tests.claims.")} - found
        found |= new
        due += new
    return frozenset(found)


def _module_of(claim_id: str) -> str:
    claim = load()[claim_id]
    parts = [part.run.__module__ for part in (*claim.checks, *claim.proofs)]
    return parts[0].replace(".", "/") + ".py"


def examine_and_record(claim_id: str, options: Options, folder: Path | None = None) -> dict[str, Any]:
    """Examine one claim and store the record; returns it."""
    start = time.perf_counter()
    entry = examine(load()[claim_id], options)
    entry["seconds"] = round(time.perf_counter() - start, 3)
    entry["fingerprint"] = fingerprint(claim_id, options)
    ledger.record(entry, folder or ledger.WORKING)
    return entry


def select(expression: str | None) -> list[str]:
    """Claim ids that contain one of the words of ``expression``; raises ``ValueError`` if there is none."""
    known = list(load())
    if not expression:
        return known
    wanted = [name for name in known if any(word in name for word in expression.replace(",", " ").split())]
    if not wanted:
        raise ValueError(f"-k: {expression!r} given, allowed: part of a claim id, see `lemmata list`")
    return wanted


def run(
    expression: str | None = None,
    *,
    device: str = "cpu",
    mutants: int | None = SAMPLE,
    slow: bool = False,
    fresh: bool = False,
    jobs: int = 1,
    notify: Callable[[Event], None] = lambda event: None,
) -> Summary:
    """Bring the working ledger up to date for the selected claims and resolve their verdicts.

    Records whose fingerprint still holds are reused unless ``fresh``. ``KeyboardInterrupt`` passes through; every
    claim finished before it is on disk.
    """
    options = Options(device, mutants, slow)
    names, registry, have = select(expression), load(), ledger.working()
    lock = ledger.read_lock()
    done = 0

    def tell(name: str, state: Literal["started", "reused", "finished"], entry: Mapping[str, Any] | None) -> None:
        word = str(ledger.resolve({**have, name: entry}, lock)[name].word) if entry else ""
        seconds = float(entry["seconds"]) if entry else 0.0
        notify(Event(name, registry[name].family, state, word, seconds, done, len(names)))

    due = []
    for name in names:
        if not fresh and name in have and have[name].get("fingerprint") == fingerprint(name, options):
            done += 1
            tell(name, "reused", have[name])
        else:
            due.append(name)
    for name, entry in _examined(due, options, jobs, lambda name: tell(name, "started", None)):
        done += 1
        have[name] = entry
        tell(name, "finished", entry)
    verdicts = ledger.resolve({name: have[name] for name in registry if name in have}, lock)
    changed = {
        name: (lock.get(name, "nothing"), str(verdicts[name].word))
        for name in names
        if lock.get(name) != str(verdicts[name].word)
    }
    return Summary({name: verdicts[name] for name in names}, len(names) - len(due), changed)


def _examined(due: list[str], options: Options, jobs: int, started: Callable[[str], None]) -> Any:
    """Yield (claim id, record) as they finish, one process a job; a single job stays in this process."""
    if jobs <= 1 or len(due) <= 1:
        for name in due:
            started(name)
            yield name, examine_and_record(name, options)
        return
    pool = ProcessPoolExecutor(min(jobs, len(due)), mp_context=get_context("spawn"), initializer=_one_thread)
    waiting: dict[Future[dict[str, Any]], str] = {}
    queue = list(due)
    try:
        while queue or waiting:
            while queue and len(waiting) < jobs:
                name = queue.pop(0)
                started(name)
                with _deaf_children():
                    waiting[pool.submit(examine_and_record, name, options)] = name
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield waiting.pop(future), future.result()
    except BaseException:
        for process in (pool._processes or {}).values():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C from their first instruction on; the parent hears it again afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _one_thread() -> None:
    """One thread a process: results do not depend on how sums are split, and pools do not fight for cores."""
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def publish() -> dict[str, Any]:
    """Write the committed ledger from the working one."""
    return ledger.publish(ledger.working(), statements(), load())
