"""Progress of file transfers and of long runs: bars on a terminal, lines in logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from mograder.cli.shared.result import wants_json
from mograder.clients.downloads import Meter

_WORTH_A_BAR = 1 << 17
"""Bytes; smaller transfers are over too soon for a bar."""


@dataclass(frozen=True, slots=True)
class Transfers:
    """Callbacks: ``say`` prints a sentence, ``meter`` shows a file's progress in bytes."""

    say: Callable[[str], None]
    meter: Meter


@contextmanager
def transferring() -> Iterator[Transfers]:
    """Yield callbacks that show transfers on stderr, so that stdout has results only.

    With ``--json`` nothing is shown.
    """
    quiet = wants_json()
    console = Console(stderr=True, quiet=quiet, highlight=False)
    columns = (TextColumn("  {task.description}", markup=False), BarColumn(), DownloadColumn())
    shown = console.is_terminal and not quiet
    with Progress(*columns, console=console, transient=True, disable=not shown) as bars:
        rows: dict[str, TaskID] = {}

        def say(message: str) -> None:
            if not shown:
                console.print(f"  {message}", markup=False, soft_wrap=True)

        def meter(name: str, done: int, total: int | None, /) -> None:
            if name not in rows and (total or done) >= _WORTH_A_BAR:
                rows[name] = bars.add_task(name, total=total)
            if name in rows:
                bars.update(rows[name], completed=done, total=total)

        yield Transfers(say, meter)


@contextmanager
def counting(total: int, description: str, *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Yield a function to call for each of ``total`` things that are done.

    On a terminal a bar on stderr shows how many are, and the time left; elsewhere, and with
    ``--json``, nothing is shown.
    """
    quiet = quiet or wants_json()
    console = Console(stderr=True, quiet=quiet, highlight=False)
    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    shown = console.is_terminal and not quiet
    with Progress(*columns, console=console, transient=True, disable=not shown) as bars:
        task = bars.add_task(description, total=total)
        yield lambda: bars.advance(task)
