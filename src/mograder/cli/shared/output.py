"""How commands talk while something takes time: a spinner for people, lines for logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

Report = Callable[[str], None]


@contextmanager
def reporting(*, quiet: bool = False) -> Iterator[Report]:
    """Yield a function that shows what is going on; saying the same again is no news.

    On a terminal the last sentence stands beside a spinner and every earlier one above it;
    elsewhere each is a line. It goes to stderr, so that stdout holds results only.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    last = ""
    with console.status("", spinner="dots") as status:

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
    """Keep a remote's words from being read as markup, and to one line of the spinner."""
    return message.partition("\n")[0].replace("[", r"\[")
