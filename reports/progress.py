"""Progress of a run: a live line with family, claim and time left, or plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reports.words import AMISS, OPEN


class Event(Protocol):
    """What a run tells about one claim; ``done`` of ``total`` claims are finished."""

    @property
    def claim_id(self) -> str: ...  # noqa: D102
    @property
    def family(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def verdict(self) -> str: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def done(self) -> int: ...  # noqa: D102
    @property
    def total(self) -> int: ...  # noqa: D102


class Display:
    """A context manager whose ``notify`` takes the events of a run; it counts what was finished and reused."""

    def __init__(self, console: Console) -> None:
        """Show progress on ``console``: live on a terminal, one line a claim elsewhere."""
        self.console = console
        self.finished = 0
        self.reused = 0
        self._live = Progress(
            TextColumn("{task.fields[family]}", style="dim"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task("", total=None, family="")

    def __enter__(self) -> Display:
        """Start the live line."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the live line, also after an interruption."""
        self._live.stop()

    def notify(self, event: Event) -> None:
        """Show one event."""
        self.finished += event.state == "finished"
        self.reused += event.state == "reused"
        self._live.update(
            self._task, description=event.claim_id, family=event.family, completed=event.done, total=event.total
        )
        notable = not self.console.is_terminal or event.verdict in (*AMISS, *OPEN)
        if event.state == "finished" and notable:
            line = f"{event.done}/{event.total} {event.claim_id}: {event.verdict}, {event.seconds:.1f} s"
            self.console.print(line, highlight=False)
