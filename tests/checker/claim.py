"""A claim: what is said, where, under which assumptions, what would be wrong, why it is true, does it happen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.checker.figure import Figure

Case = Mapping[str, Any]
Grid = tuple[Case, ...]


def grid(**axes: Iterable[Any]) -> Grid:
    """The Cartesian product of named axes, as a tuple of cases; ``grid(...) + grid(...)`` joins two."""
    names = tuple(axes)
    return tuple(dict(zip(names, point, strict=True)) for point in itertools.product(*map(tuple, axes.values())))


@dataclass(frozen=True, slots=True)
class Assumption:
    """A condition with a name, a sentence and, where it can be measured, a test on the subject of a check."""

    name: str
    says: str
    holds: Callable[[Any], bool] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Check:
    """One way to confront a formula with numbers; ``drops`` names the assumption that its cases violate.

    ``data`` names the data set that it needs; where that is not on the machine, committed evidence is kept.
    """

    name: str
    run: Callable[..., Any]
    cases: Grid
    network: bool = True
    slow: bool = False
    gpu: bool = False
    drops: Assumption | None = None
    data: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure of a claim; a slow one, or one on a data set that is not here, stays as it was committed."""

    draw: Callable[[Any], Figure]
    slow: bool = False
    gpu: bool = False
    data: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """A derivation run on a formula; generic in symbols, or for the listed instances."""

    name: str
    run: Callable[[Any], Any]
    generic_in: str = ""
    instances: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """One statement with its formula, falsifiers, proofs and checks.

    ``formula``, ``control`` and every falsifier are functions without arguments that return what is asserted: a SymPy
    expression or relation, a matrix expression of ``derivations.words``, or a tuple or mapping of these. ``control``
    is the corrected formula where ``formula`` is a printed statement that turned out wrong: the checks must accept
    it, falsifiers and mutants are made from it, and ``corrected_by`` names the claim that asserts it. ``conditions``
    are assumptions that the printed statement lacks; each needs a check declared with ``without``. ``equivalent``
    tells whether a mutant says the same as the formula under the claim's assumptions.
    """

    id: str
    source: str
    says: str
    formula: Callable[[], Any]
    falsifiers: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    near_misses: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    given: tuple[Assumption, ...] = ()
    conditions: tuple[Assumption, ...] = ()
    uses: tuple[str, ...] = ()
    control: Callable[[], Any] | None = None
    corrected_by: tuple[str, ...] = ()
    lhs: Any = None
    relation: str = "="
    remark: str = ""
    about_networks: bool = True
    mutate: bool = True
    equivalent: Callable[[Any, Any], bool] | None = None
    proofs: list[Proof] = field(default_factory=list, init=False)
    checks: list[Check] = field(default_factory=list, init=False)
    figures: list[Drawing] = field(default_factory=list, init=False)

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def wrong(self) -> dict[str, Callable[[], Any]]:
        """All hand-written wrong formulas by name, near misses first."""
        return {**self.near_misses, **self.falsifiers}

    def check(
        self, cases: Sequence[Case], *, network: bool = True, slow: bool = False, gpu: bool = False, data: str = ""
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare ``run(formula, **case) -> Evidence`` over a grid; ``network=False`` if no full network takes part.

        ``run`` may also ask for ``seed`` (drawn from claim id and case), ``device`` and ``accuracy`` (1, or 0.01 when
        a contradiction is re-examined with every error source tightened).
        """

        def declare(run: Callable[..., Any]) -> Callable[..., Any]:
            self.checks.append(Check(run.__name__, run, tuple(cases), network, slow, gpu, data=data))
            return run

        return declare

    def without(
        self, assumption: Assumption, cases: Sequence[Case], *, network: bool = True, slow: bool = False
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a check on cases that violate ``assumption``: it must contradict, or the assumption is not needed."""

        def declare(run: Callable[..., Any]) -> Callable[..., Any]:
            self.checks.append(Check(run.__name__, run, tuple(cases), network, slow, False, assumption))
            return run

        return declare

    def proof(
        self, *, generic_in: str = "", instances: str = ""
    ) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        """Declare ``run(formula) -> Decision``, generic in the named symbols or for the named instances."""

        def declare(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
            self.proofs.append(Proof(run.__name__, run, generic_in, instances))
            return run

        return declare

    def figure(
        self, draw: Callable[[Any], Figure] | None = None, *, slow: bool = False, data: str = ""
    ) -> Callable[..., Any]:
        """Declare ``draw(formula) -> Figure``: theory from the formula, dots from simulated networks."""

        def declare(draw: Callable[[Any], Figure]) -> Callable[[Any], Figure]:
            self.figures.append(Drawing(draw, slow, data=data))
            return draw

        return declare if draw is None else declare(draw)
