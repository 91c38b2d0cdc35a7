"""Progress output of commands: a spinner on a terminal, lines in logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Report = Callable[[str], None]


@contextmanager
def reporting(*, quiet: bool = False) -> Iterator[Report]:
    """Yield a function that prints progress; a repeated sentence is printed once.

    On a terminal the last sentence is shown with a spinner and the earlier ones above it; elsewhere
    each is a line. All goes to stderr, so that stdout has results only.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    last = ""
    # The usual spinner is of Braille patterns, which code pages do not have.
    spinner = "line" if console.options.ascii_only else "dots"
    with console.status("", spinner=spinner) as status:

        def report(message: str) -> None:
            nonlocal last
            if message == last:
                return
            if last and console.is_terminal:
                console.print(f"  {last}", markup=False)
            if not console.is_terminal:
                console.print(f"  {message}", markup=False, soft_wrap=True)
            last = message
            status.update(_plain(message))

        yield report


def _plain(message: str) -> str:
    """Escape markup in a remote's text, and join it to one line for the spinner."""
    return message.partition("\n")[0].replace("[", r"\[")
