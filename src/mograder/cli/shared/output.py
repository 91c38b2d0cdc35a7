"""Progress output of commands: a spinner or bars on a terminal, lines in logs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from mograder.cli.shared.options import VERBOSE
from mograder.cli.shared.result import wants_json
from mograder.clients.downloads import Meter
from mograder.core.name_lookup import counted

_WORTH_A_BAR = 1 << 17
"""Bytes; smaller transfers are over too soon for a bar."""
_STOP = "mograder.stop_display"
Report = Callable[[str], None]
_UV = re.compile(
    r"(?:.*: )?(?:(?P<package>\+ \S+(?: \(from .*\))?)|- \S+==\S+"
    r"|Using C?Python .*|Activate with: .*|Creating (?:relocatable )?virtual environment .*"
    r"|(?:Downloading|Downloaded|Building|Built) \S+(?: .*[@)].*)?"
    r"|(?:Resolved|Prepared|Installed|Uninstalled|Audited|Checked|Bytecode compiled) .* in .+)"
)
"""A line of uv about packages, below the name of an item."""


@contextmanager
def reporting(*, quiet: bool = False) -> Iterator[Report]:
    """Yield a function that prints progress; a repeated sentence is printed once.

    On a terminal the last sentence is shown with a spinner and the earlier ones above it; elsewhere
    each is a line. All goes to stderr, so that stdout has results only. What uv says of packages
    becomes one line at its end, "35 packages, 7 s", unless the command has `verbose_option` set.
    With ``--json`` nothing is printed.
    """
    console = Console(stderr=True, quiet=quiet or wants_json(), highlight=False)
    ctx = click.get_current_context(silent=True)
    verbose = ctx is not None and bool(ctx.meta.get(VERBOSE))
    last, packages, since = "", 0, time.monotonic()
    # The usual spinner is of Braille patterns, which code pages do not have.
    spinner = "line" if console.options.ascii_only else "dots"
    with console.status("", spinner=spinner) as status:
        _before_questions(status.stop)

        def show(message: str) -> None:
            nonlocal last
            if message == last:
                return
            if last and console.is_terminal:
                console.print(f"  {last}", markup=False)
            if not console.is_terminal:
                console.print(f"  {message}", markup=False, soft_wrap=True)
            last = message
            status.update(_plain(message))

        def conclude() -> None:
            nonlocal packages, since
            if packages:
                show(f"{counted(packages, 'package')}, {time.monotonic() - since:.0f} s")
            packages, since = 0, time.monotonic()

        def report(message: str) -> None:
            nonlocal packages
            found = None if verbose else _UV.fullmatch(message)
            if found is None:
                conclude()
                show(message)
            else:
                packages += found["package"] is not None
                status.update(_plain(message))

        yield report
        conclude()


def clear_for_question() -> None:
    """Remove the spinner or the bars of the command that runs: they would overwrite a question."""
    stop = click.get_current_context().meta.get(_STOP)
    if stop is not None:
        stop()


def _before_questions(stop: Callable[[], None]) -> None:
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        ctx.meta[_STOP] = stop


def _plain(message: str) -> str:
    """Escape markup in a remote's text, and join it to one line for the spinner."""
    return message.partition("\n")[0].replace("[", r"\[")


@dataclass(frozen=True, slots=True)
class Transfers:
    """Callbacks: ``say`` prints a sentence, ``meter`` shows a file's progress in bytes."""

    say: Callable[[str], None]
    meter: Meter


@contextmanager
def transferring() -> Iterator[Transfers]:
    """Yield callbacks that show transfers on stderr; with ``--json`` nothing is shown."""
    with _bars(DownloadColumn(), quiet=wants_json()) as bars:
        console, shown = bars.console, not bars.disable
        if shown:
            _before_questions(bars.stop)
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

    A bar on a terminal's stderr shows how many are; nothing elsewhere, and with ``--json``.
    """
    columns = MofNCompleteColumn(), TimeRemainingColumn()
    with _bars(*columns, quiet=quiet or wants_json()) as bars:
        task = bars.add_task(description, total=total)
        yield lambda: bars.advance(task)


def _bars(*columns: ProgressColumn, quiet: bool) -> Progress:
    """Return bars that are shown on a terminal only, and not where the command is to be quiet."""
    console = Console(stderr=True, quiet=quiet, highlight=False)
    first = TextColumn("  {task.description}", markup=False), BarColumn()
    hidden = quiet or not console.is_terminal
    return Progress(*first, *columns, console=console, transient=True, disable=hidden)
