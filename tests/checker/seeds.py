"""Seeds from claim id and case alone, so that any case can be rerun by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def text_of(case: Mapping[str, Any]) -> str:
    """A case as canonical text, independent of the order of its axes."""
    return ", ".join(f"{name}={case[name]}" for name in sorted(case))


def seed_of(claim_id: str, case: Mapping[str, Any]) -> int:
    """A 63-bit seed: the first bytes of sha256 of claim id and case."""
    digest = hashlib.sha256(f"{claim_id}|{text_of(case)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rank_of(claim_id: str, name: str) -> str:
    """A fixed pseudo-random sorting key, for the sample of mutants."""
    return hashlib.sha256(f"{claim_id}|{name}".encode()).hexdigest()
