"""What a check says: one line each, as `mograder hub check` prints them.

See compatibility-0.3.16.md 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check came out; the text is what stands in its brackets."""

    OK = "ok"
    PROBLEM = "!!"
    NOTE = "--"
    PLAIN = ""
    """Told for orientation: neither good nor bad."""


@dataclass(frozen=True, slots=True)
class Line:
    """One finding; ``hint`` is the remedy, or empty. ``check`` is its name for programs."""

    check: str
    level: Level
    text: str
    hint: str = ""

    def __str__(self) -> str:
        mark = f"[{self.level.value}] " if self.level.value else ""
        return f"  {mark}{self.text}"


def ok(check: str, text: str) -> Line:
    """Say that something is as it should be."""
    return Line(check, Level.OK, text)


def problem(check: str, text: str, hint: str = "") -> Line:
    """Say that something keeps a hub from running safely."""
    return Line(check, Level.PROBLEM, text, hint)


def note(check: str, text: str, hint: str = "") -> Line:
    """Say something worth knowing that is no problem."""
    return Line(check, Level.NOTE, text, hint)


def problems(lines: tuple[Line, ...]) -> int:
    """Count the problems."""
    return sum(line.level is Level.PROBLEM for line in lines)
