"""The results of checks: one line each, as `mograder hub check` prints them.

See compatibility-0.3.16.md 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mograder.core.errors import MograderError


class Level(StrEnum):
    """The outcome of a check; the value is printed in brackets before the text."""

    OK = "ok"
    PROBLEM = "!!"
    NOTE = "--"
    PLAIN = ""
    """Information only, without an outcome."""


@dataclass(frozen=True, slots=True)
class Line:
    """One result; ``hint`` is the remedy, or empty. ``check`` identifies the check for programs."""

    check: str
    level: Level
    text: str
    hint: str = ""

    def __str__(self) -> str:
        mark = f"[{self.level.value}] " if self.level.value else ""
        return f"  {mark}{self.text}"


def ok(check: str, text: str) -> Line:
    return Line(check, Level.OK, text)


def problem(check: str, text: str, hint: str = "") -> Line:
    """Return a line for a fault that prevents a hub from running safely."""
    return Line(check, Level.PROBLEM, text, hint)


def note(check: str, text: str, hint: str = "") -> Line:
    return Line(check, Level.NOTE, text, hint)


def tried(
    check: str, what: str, examine: Callable[[], Line | Iterable[Line] | None]
) -> Iterator[Line]:
    """Yield the lines of ``examine``; its MograderError or ``OSError`` is a problem of ``what``."""
    try:
        found = examine()
        yield from [found] if isinstance(found, Line) else found or ()
    except MograderError as error:
        yield problem(check, f"{what}: {error.message}", error.hint)
    except OSError as error:
        yield problem(check, f"{what}: {error}")


def problems(lines: tuple[Line, ...]) -> int:
    return sum(line.level is Level.PROBLEM for line in lines)
