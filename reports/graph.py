"""Who rests on whom: users, ancestors, Mermaid graphs of at most 25 nodes, and the tree behind ``lemmata why``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reports.markdown import plain
from reports.words import Ledger, families, plural, verdict

NODES = 25


def users(ledger: Ledger) -> dict[str, list[str]]:
    """For each claim the claims that use it, sorted."""
    found: dict[str, list[str]] = {claim_id: [] for claim_id in ledger["claims"]}
    for claim_id in sorted(ledger["claims"]):
        for used in ledger["claims"][claim_id]["uses"]:
            found.setdefault(used, []).append(claim_id)
    return found


def ancestors(ledger: Ledger, claim_id: str) -> list[str]:
    """Everything a claim rests on, nearest first, each once."""
    found: list[str] = []
    level = [claim_id]
    while level:
        level = [used for one in level if one in ledger["claims"] for used in ledger["claims"][one]["uses"]]
        level = [used for used in dict.fromkeys(level) if used not in found and used != claim_id]
        found += level
    return found


@dataclass(frozen=True, slots=True)
class Branch:
    """A claim in a dependency tree; ``again`` marks one whose own branches stand further up."""

    claim_id: str
    level: int
    again: bool


def tree(ledger: Ledger, claim_id: str) -> Iterator[Branch]:
    """The dependency tree of a claim in depth-first order; every claim unfolds only once, so cycles end."""
    unfolded: set[str] = set()

    def walk(one: str, level: int) -> Iterator[Branch]:
        below = ledger["claims"][one]["uses"] if one in ledger["claims"] else []
        again = one in unfolded and bool(below)
        yield Branch(one, level, again)
        unfolded.add(one)
        if not again:
            for used in below:
                yield from walk(used, level + 1)

    return walk(claim_id, 0)


def family_graph(ledger: Ledger) -> str:
    """A Mermaid graph of families: an arrow reads "is used by"; empty without any use across families."""
    arrows: Counter[tuple[str, str]] = Counter()
    for claim in ledger["claims"].values():
        for used in claim["uses"]:
            if used in ledger["claims"] and ledger["claims"][used]["family"] != claim["family"]:
                arrows[ledger["claims"][used]["family"], claim["family"]] += 1
    weight: Counter[str] = Counter()
    for (lower, upper), count in arrows.items():
        weight.update({lower: count, upper: count})
    kept = sorted(weight, key=lambda name: (-weight[name], name))[:NODES]
    sizes = families(ledger)
    names = {name: f"{name}<br/>{len(sizes[name])} {plural('claim', len(sizes[name]))}" for name in sorted(kept)}
    return mermaid(names, {edge: count for edge, count in sorted(arrows.items()) if set(edge) <= set(kept)})


def ancestry_graph(ledger: Ledger, claim_id: str) -> str:
    """A Mermaid graph of a claim and what it rests on; empty where a list of links says it all."""
    nearest = [claim_id, *ancestors(ledger, claim_id)][:NODES]
    if len(nearest) < 4:
        return ""
    claims = ledger["claims"]
    names = {one: f"{one}<br/>{verdict(claims[one]).lower()}" if one in claims else one for one in nearest}
    arrows = {(used, one): 0 for one in nearest if one in claims for used in claims[one]["uses"] if used in nearest}
    return mermaid(names, arrows)


def mermaid(names: Mapping[str, str], arrows: Mapping[tuple[str, str], int]) -> str:
    """A Mermaid fence; labels are quoted, a count above one stands on its arrow."""
    if not arrows:
        return ""
    keys = {name: f"n{place}" for place, name in enumerate(names)}
    lines = [f'  {keys[name]}["{"<br/>".join(map(plain, label.split("<br/>")))}"]' for name, label in names.items()]
    for (lower, upper), count in arrows.items():
        lines.append(f"  {keys[lower]} -->{f'|{count}|' if count > 1 else ''} {keys[upper]}")
    return "\n".join(["```mermaid", "graph LR", *lines, "```"])
