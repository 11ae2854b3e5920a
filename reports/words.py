"""The ledger in words: verdicts, strongest evidence, budgets, cases. Used by pages and command line alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from reports.markdown import number
from reports.verdict import Word

Claim = Mapping[str, Any]
Ledger = Mapping[str, Any]

VERDICTS = {
    Word.REFUTED: ("Refuted", "false as printed; a counterexample and a corrected statement are given"),
    Word.CONDITIONAL: ("Holds under conditions", "true only with conditions that the paper does not state"),
    Word.DEFECTIVE: ("Defective", "the evidence itself is flawed: nothing may be concluded"),
    Word.UNDECIDED: ("Undecided", "neither proved nor refuted, or the numbers cannot tell"),
    Word.CONFIRMED: ("Confirmed numerically", "no closing proof, but every simulation agrees within its error budget"),
    Word.INSTANCES: ("Proved for instances", "proved for the listed parameters, simulations agree"),
    Word.PROVED: ("Proved", "proved in general, simulations agree"),
}
AMISS = (Word.REFUTED, Word.CONDITIONAL)
OPEN = (Word.DEFECTIVE, Word.UNDECIDED)
PAPERS = {
    "A": ("curvature", "Curvature-corrected learning dynamics in deep linear neural networks"),
    "B": ("geometry", "Information geometry of orthogonal initializations and training"),
}


_NAMES = (
    "adam bernoulli cauchy cayley euler fisher frobenius fuss gauss gaussian gershgorin gram hessian jacobian jensen "
    "karakida kronecker lambert lagrangian lipschitz moore newton penrose price schatten schur schwarz stiefel student "
    "taylor weyl wishart"
)
_ACRONYMS = {"qr": "QR", "relu": "ReLU", "kl": "KL", "erf": "erf"}
_PROPER = re.compile(rf"\b({'|'.join((*_NAMES.split(), *_ACRONYMS))})\b")


def named(words: str) -> str:
    """Words with names capitalised and acronyms as they are written."""
    return _PROPER.sub(lambda found: _ACRONYMS.get(found[0], found[0].capitalize()), words)


def verdict(claim: Claim) -> str:
    """The verdict in words, capitalised."""
    return VERDICTS[Word(claim["verdict"])][0]


def title(claim_id: str) -> str:
    """A heading from the fact part of an id: ``modes.fractional-rate`` becomes ``Fractional rate``."""
    fact = claim_id.partition(".")[2] or claim_id
    words = named(fact.replace("-", " "))
    return words[:1].upper() + words[1:]


def heading(claim_id: str) -> str:
    """A heading that stands alone: ``closed-form.zero-start-as-printed`` is ``Closed form: zero start, as printed``."""
    family, _, fact = claim_id.rpartition(".")
    family, fact = named(family.replace("-", " ")), named(fact.replace("-", " "))
    fact = re.sub(r" (?=as printed$)", ", ", fact)
    if not family or family in fact:
        return fact[:1].upper() + fact[1:]
    return f"{family[:1].upper()}{family[1:]}: {fact}"


def paper_of(claim: Claim) -> str:
    """The letter of the paper that a claim is about, ``A`` unless its source names the other."""
    found = re.search(r"\b([AB])\b", claim["source"])
    return found[1] if found else "A"


def is_beyond(label: str) -> bool:
    """Whether a label is of a statement that the paper does not make."""
    return not label.startswith(("C", "igoi."))


def place(claim: Claim) -> str:
    """Where a statement stands, as the beginning of a heading: ``Section 3.1``, ``Abstract``, ``Eq. 21``."""
    where = re.sub(r"^[AB] | \(.*\)$", "", claim["source"])
    return where[:1].upper() + where[1:]


def spoken(name: str) -> str:
    """The name of a check or proof in words."""
    return named(name.replace("_", " "))


def natural(key: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts ``C1-9`` before ``C1-10``."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", key) if part)


def section_key(section: str) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    """A sort key for sections: abstract, numbered sections, appendices, everything else."""
    plain = section.lower().removeprefix("section").removeprefix("sec.").strip()
    if plain.startswith("abs"):
        rank = 0
    elif plain[:1].isdigit():
        rank = 1
    elif plain.startswith(("s.", "app", "supp")) or re.fullmatch(r"[a-z](\.\d+)*", plain):
        rank = 2
    else:
        rank = 3
    return rank, natural(plain)


def complete(ledger: Ledger) -> dict[str, Any]:
    """The ledger with the optional keys of statements filled in; raises ValueError on another schema.

    A statement without a section gets the one that its ``where`` begins with.
    """
    if not isinstance(ledger, Mapping) or ledger.get("schema") != 1 or "claims" not in ledger:
        given = ledger.get("schema") if isinstance(ledger, Mapping) else type(ledger).__name__
        raise ValueError(f"ledger: schema {given} given, allowed: 1")
    blank = {"paper": "A", "where": "", "says": "", "claims": [], "reason": ""}
    statements = {
        label: {**blank, "section": _section_in(said.get("where", "")), **said}
        for label, said in ledger.get("statements", {}).items()
    }
    return {**ledger, "statements": statements}


def _section_in(where: str) -> str:
    found = re.match(r"(?:section |sec\. )?(abstract|S\.I\.[\d.]*\d|\d+(?:\.\d+)*)\b", where)
    return found[1] if found else ""


def label_order(ledger: Ledger) -> dict[str, tuple[Any, ...]]:
    """Sort keys that put labels in the order of the papers: by paper, section, then as the ledger lists them."""
    statements = ledger["statements"].items()
    return {
        label: (said["paper"], section_key(said["section"]), place) for place, (label, said) in enumerate(statements)
    }


def in_paper_order(ledger: Ledger, claim_ids: Iterable[str]) -> list[str]:
    """Claims in the order of the papers; those without a label come last."""
    places, last = label_order(ledger), ("~",)
    claims = ledger["claims"]

    def key(claim_id: str) -> tuple[Any, ...]:
        found = min((places[label] for label in claims[claim_id]["labels"] if label in places), default=last)
        return (*found, natural(claim_id))

    return sorted(claim_ids, key=key)


def sees(claim: Claim) -> str:
    """The claim's detection limit: the smallest relative change of the formula that a check notices."""
    limits = [check["sees"] for check in claim["checks"].values() if check.get("sees")]
    return number(min(limits)) if limits else "—"


def cases(claim: Claim) -> tuple[int, int]:
    """How many cases support, and how many were examined within the assumptions."""
    ran = [check for check in claim["checks"].values() if not check.get("skipped")]
    return sum(check["supports"] for check in ran), sum(check["cases"] - check["outside"] for check in ran)


def largest_ratio(claim: Claim) -> float | None:
    """The largest error over bound among the checks that ran; None without any."""
    ratios = [check["largest_error_over_bound"] for check in claim["checks"].values() if not check.get("skipped")]
    return max((float(ratio) for ratio in ratios if ratio is not None), default=None)


def strongest(claim: Claim) -> str:
    """The strongest evidence in a phrase."""
    word = Word(claim["verdict"])
    if word in (Word.REFUTED, Word.CONDITIONAL, *OPEN):
        return "; ".join(reasons(claim)[:2]) or "no reason recorded"
    supports, _ = cases(claim)
    numbers = f"{supports} {plural('case', supports)}"
    ratio = largest_ratio(claim)
    if supports and ratio:
        numbers += f", error at most {against_bound(ratio)}"
    if word is Word.PROVED:
        return f"generic in {claim['generic_in']}; {numbers}"
    if word is Word.INSTANCES:
        return f"proved for {claim['instances']}; {numbers}"
    return numbers


def against_bound(ratio: float | str) -> str:
    """An error relative to its bound: ``0.03 of its bound``, or ``4e9 times its bound``."""
    return f"{number(ratio)} {'times' if float(ratio) > 1 else 'of'} its bound"


def reasons(claim: Claim) -> list[str]:
    """The reasons of the verdict, with checks and proofs named in words."""
    names = sorted({*claim["checks"], *claim["dropped"], *claim["proofs"]}, key=len, reverse=True)
    if not names:
        return list(claim["reasons"])
    named = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    return [named.sub(lambda found: f"“{spoken(found[0])}”", reason) for reason in claim["reasons"]]


def plural(noun: str, count: int) -> str:
    """The noun, with an s unless there is exactly one."""
    return noun if count == 1 else f"{noun}s"


def listing(items: Iterable[Any], limit: int = 8) -> str:
    """Values in a row, the middle left out when there are many."""
    values = [re.sub(r"\binf\b", "∞", item) if isinstance(item, str) else number(item) for item in items]
    if len(values) <= limit:
        return ", ".join(values)
    return f"{', '.join(values[: limit - 2])}, …, {values[-1]}"


def case(settings: Mapping[str, Any]) -> str:
    """A case in words: ``depth 3, q 1.5``."""
    pairs = ((name, value if isinstance(value, list | tuple) else [value]) for name, value in settings.items())
    return ", ".join(f"{name} {listing(value)}" for name, value in pairs)


def budget(parts: Iterable[Any]) -> str:
    """Where an error bound comes from: ``3e-15 from rounding, 1e-12 from integration``."""
    return ", ".join(f"{number(value)} from {_source(source)}" for source, value in parts)


def _source(name: str) -> str:
    kind, comma, detail = name.partition(", ")
    return f"{kind} ({detail})" if comma else kind


def tally(claims: Iterable[Claim]) -> dict[Word, int]:
    """How many claims have each verdict, worst first, none left out."""
    words = [Word(claim["verdict"]) for claim in claims]
    return {word: words.count(word) for word in VERDICTS}


def tally_line(claims: Iterable[Claim]) -> str:
    """The tally in one sentence, verdicts without claims left out."""
    counted = [f"{count} {VERDICTS[word][0].lower()}" for word, count in tally(claims).items() if count]
    return ", ".join(counted) if counted else "no claims"


def gaps(ledger: Ledger) -> list[str]:
    """Labels that have neither a claim nor a reason why not."""
    return [label for label, said in ledger["statements"].items() if not said["claims"] and not said["reason"]]


def families(ledger: Ledger) -> dict[str, list[str]]:
    """Claim ids by family, both in alphabetical order."""
    found: dict[str, list[str]] = {}
    for claim_id in sorted(ledger["claims"]):
        found.setdefault(ledger["claims"][claim_id]["family"], []).append(claim_id)
    return dict(sorted(found.items()))
