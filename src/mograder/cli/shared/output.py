"""Progress output of commands: a spinner on a terminal, lines in logs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from mograder.cli.shared.options import VERBOSE
from mograder.cli.shared.result import wants_json
from mograder.core.name_lookup import counted

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


def _plain(message: str) -> str:
    """Escape markup in a remote's text, and join it to one line for the spinner."""
    return message.partition("\n")[0].replace("[", r"\[")
