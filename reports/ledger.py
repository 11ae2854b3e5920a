"""The ledger between checking and reporting: working records (one file a claim), the committed ledger, the lock."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reports.verdict import Verdict, judge

ROOT = Path(__file__).resolve().parent.parent
WORKING = ROOT / ".lemmata" / "ledger"
PUBLISHED = ROOT / "reports" / "ledger.json"
LOCK = ROOT / "reports" / "verdicts.lock"
SCHEMA = 1

_PRIVATE = ("id", "seconds", "fingerprint", "options", "errors", "traces", "control_given", "assumption_texts")


class LedgerError(ValueError):
    """A ledger file is missing or unreadable; the text says which, and what to run."""


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, so that an interruption never leaves half a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def record(entry: Mapping[str, Any], folder: Path = WORKING) -> None:
    """Store the findings on one claim in the working ledger."""
    write_atomically(folder / f"{entry['id']}.json", json.dumps(entry, indent=1, allow_nan=False))


def working(folder: Path = WORKING) -> dict[str, dict[str, Any]]:
    """All readable working records by claim id; a damaged file counts as absent."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            found[entry["id"]] = entry
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return found


def load(path: Path = PUBLISHED) -> dict[str, Any]:
    """The committed ledger; raises ``LedgerError`` if there is none or its schema is another."""
    if not path.exists():
        raise LedgerError(f"no ledger at {path.name}: run `python -m reports` first")
    ledger = json.loads(path.read_text(encoding="utf-8"))
    if ledger.get("schema") != SCHEMA:
        raise LedgerError(f"{path.name}: schema {ledger.get('schema')} given, allowed: {SCHEMA}")
    return ledger


def read_lock(path: Path = LOCK) -> dict[str, str]:
    """The accepted verdicts by claim id."""
    if not path.exists():
        return {}
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {line[0]: line[1] for line in lines if len(line) == 2 and not line[0].startswith("#")}


def write_lock(verdicts: Mapping[str, str], path: Path = LOCK) -> None:
    """Write the accepted verdicts, one line a claim, sorted."""
    head = "# Accepted verdicts; rewritten by `pytest --accept`, read by every run.\n"
    write_atomically(path, head + "".join(f"{name} {word}\n" for name, word in sorted(verdicts.items())))


def verdict_of(entry: Mapping[str, Any], words: Mapping[str, str], conditions: Mapping[str, Any]) -> Verdict:
    """The verdict on one record, given the verdict words and the conditions of the claims it uses."""
    found = {**entry, "conditions_of_ancestors": {name: conditions.get(name, ()) for name in entry["uses"]}}
    return judge(found, {name: words.get(name, "undecided") for name in entry["uses"]})


def resolve(entries: Mapping[str, Mapping[str, Any]], known: Mapping[str, str]) -> dict[str, Verdict]:
    """Verdicts of all records, ancestors first; ``known`` has the words of claims that are not among them."""
    verdicts: dict[str, Verdict] = {}
    conditions = {name: entry["conditions"] for name, entry in entries.items()}

    def settle(name: str) -> None:
        if name in verdicts or name not in entries:
            return
        for used in entries[name]["uses"]:
            settle(used)
        words = {**known, **{done: str(verdict.word) for done, verdict in verdicts.items()}}
        verdicts[name] = verdict_of(entries[name], words, conditions)

    for name in entries:
        settle(name)
    return verdicts


def _with_kept_checks(entry: dict[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Checks and figures that this run skipped stay those of the run that is committed, rejections included."""
    if not before:
        return entry
    checks, kept = dict(entry["checks"]), set()
    for name, check in checks.items():
        old = before.get("checks", {}).get(name)
        if check["skipped"] and old and old.get("supports", 0) + old.get("contradicts", 0) > 0:
            checks[name] = old
            kept.add(name)
    order = [*entry["proofs"], *checks]
    falsifiers = {
        wrong: sorted({*killers, *(kept & set(before["falsifiers"].get(wrong, ())))}, key=order.index)
        for wrong, killers in entry["falsifiers"].items()
    }
    old_figures = [*before.get("figures", ()), *[None] * len(entry["figures"])]
    figures = [now if now["panels"] else old or now for now, old in zip(entry["figures"], old_figures, strict=False)]
    return {**entry, "checks": checks, "falsifiers": falsifiers, "figures": figures}


def publish(
    entries: Mapping[str, dict[str, Any]],
    statements: Mapping[str, Mapping[str, Any]],
    order: Iterable[str],
    path: Path = PUBLISHED,
) -> dict[str, Any]:
    """Write the committed ledger from working records: verdicts resolved, labels added, nothing that times a run.

    ``order`` lists the claims to publish. A claim without a record keeps its committed entry; one with neither raises
    ``LedgerError``.
    """
    before = load(path)["claims"] if path.exists() else {}
    names = sorted(order)
    missing = [name for name in names if name not in entries and name not in before]
    if missing:
        raise LedgerError(f"no record of {missing[0]} ({len(missing)} in all): run `python -m reports` first")
    fresh = {name: _with_kept_checks(entries[name], before.get(name)) for name in names if name in entries}
    verdicts = resolve(fresh, {name: entry["verdict"] for name, entry in before.items()})
    labels: dict[str, list[str]] = {name: [] for name in names}
    for label, statement in statements.items():
        for name in statement.get("claims", ()):
            labels[name].append(label)
    claims = {
        name: {
            **(_public(fresh[name], verdicts[name]) if name in fresh else before[name]),
            "labels": labels[name],
        }
        for name in names
    }
    ledger = {"schema": SCHEMA, "claims": claims, "statements": {k: dict(v) for k, v in statements.items()}}
    write_atomically(path, json.dumps(ledger, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return ledger


def _public(entry: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """A working record as it is committed: with its verdict, without what belongs to one run."""
    texts = entry["assumption_texts"]
    proved = [proof for proof in entry["proofs"].values() if proof["outcome"] == "proved"]
    return {
        "source": entry["source"],
        "family": entry["family"],
        "labels": [],
        "verdict": str(verdict.word),
        "reasons": list(verdict.reasons),
        "generic_in": "; ".join(dict.fromkeys(p["generic_in"] for p in proved if p["generic_in"])),
        "instances": "; ".join(dict.fromkeys(p["instances"] for p in proved if p["instances"])),
        **{key: value for key, value in entry.items() if key not in (*_PRIVATE, "source", "family")},
        "given": [{"name": one, "says": texts[one]} for one in entry["given"]],
        "condition_texts": {one: texts[one] for one in entry["conditions"]},
    }
