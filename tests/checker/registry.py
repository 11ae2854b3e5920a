"""All claims, found in the modules of ``tests.claims`` and checked against the rules before anything runs."""

from __future__ import annotations

import importlib
import pkgutil
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from tests.checker.claim import Claim

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*")
STATEMENTS = Path(__file__).parent.parent / "claims" / "statements.toml"


class DeclarationError(ValueError):
    """A claim or a statement is declared against the rules; the text says which and what to do."""


def _demand(condition: object, text: str) -> None:
    if not condition:
        raise DeclarationError(text)


def _well_declared(claim: Claim, known: Mapping[str, Claim]) -> None:
    name = f"claim {claim.id}"
    _demand(_ID.fullmatch(claim.id), f"{name}: ids read family.fact[-qualifier] in lower case")
    _demand(claim.near_misses, f"{name}: give at least one near miss")
    _demand(len(claim.wrong) >= 2, f"{name}: {len(claim.wrong)} wrong formula given, at least two are needed")
    _demand(len(claim.wrong) == len(claim.near_misses) + len(claim.falsifiers), f"{name}: a falsifier is named twice")
    for used in (*claim.uses, *claim.corrected_by):
        _demand(used in known, f"{name}: names {used}, which is no claim")
    _demand(claim.checks or claim.proofs, f"{name}: declare a proof or a check")
    main = [check for check in claim.checks if check.drops is None]
    names = [part.name for part in (*claim.checks, *claim.proofs)]
    _demand(len(names) == len(set(names)), f"{name}: two checks or proofs share a name")
    _demand(
        not claim.about_networks or any(check.network for check in main),
        f"{name}: speaks of networks, but no check runs on a full network",
    )
    for check in claim.checks:
        _demand(check.cases, f"{name}: check {check.name} has an empty grid")
    for proof in claim.proofs:
        _demand(
            bool(proof.generic_in) != bool(proof.instances), f"{name}: proof {proof.name} is generic or has instances"
        )
    dropped = {check.drops.name for check in claim.checks if check.drops}
    for condition in claim.conditions:
        _demand(
            condition.name in dropped, f"{name}: condition {condition.name!r} needs a check declared with `without`"
        )


def order(claims: Mapping[str, Claim]) -> tuple[str, ...]:
    """Claim ids with every claim after the claims it uses; raises ``DeclarationError`` on a cycle."""
    try:
        return tuple(TopologicalSorter({one.id: one.uses for one in claims.values()}).static_order())
    except CycleError as error:
        raise DeclarationError(f"claims use each other in a circle: {' -> '.join(error.args[1])}") from None


def collect(modules: Iterable[ModuleType]) -> Mapping[str, Claim]:
    """The frozen registry of the claims in ``modules``; raises ``DeclarationError`` with the rule that is broken."""
    known: dict[str, Claim] = {}
    for module in modules:
        for thing in vars(module).values():
            if isinstance(thing, Claim) and known.get(thing.id) is not thing:
                _demand(thing.id not in known, f"claim {thing.id}: declared twice")
                known[thing.id] = thing
    for claim in known.values():
        _well_declared(claim, known)
    return MappingProxyType({name: known[name] for name in order(known)})


@cache
def load() -> Mapping[str, Claim]:
    """The registry of the suite; imports every module of ``tests.claims`` once."""
    package = importlib.import_module("tests.claims")
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    return collect(importlib.import_module(f"tests.claims.{name}") for name in names)


def statements(path: Path = STATEMENTS, known: Mapping[str, Claim] | None = None) -> dict[str, dict[str, Any]]:
    """The labels of the papers with their claims; raises ``DeclarationError`` on unknown claims or a silent gap."""
    claims = load() if known is None else known
    table = tomllib.loads(path.read_text())
    for label, entry in table.items():
        _demand("where" in entry and "says" in entry, f"statement {label}: give `where` and `says`")
        for name in entry.get("claims", ()):
            _demand(name in claims, f"statement {label}: {name} is no claim")
        _demand(entry.get("claims") or entry.get("reason"), f"statement {label}: give `claims`, or a `reason` why not")
    return table


def labels_of(claim_id: str, table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The labels of the statements that a claim settles, in the order of the inventory."""
    return [label for label, entry in table.items() if claim_id in entry.get("claims", ())]
