"""Rows of measurements with their budgets, and their output as a table and as a history."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from mograder import __version__

_WHY_CHARACTERS = 500
_BEGUN = time.monotonic()


def say(text: str) -> None:
    """Print a message on standard error, with the seconds since the run began."""
    print(f"[{time.monotonic() - _BEGUN:5.0f} s] {text}", file=sys.stderr, flush=True)


class Verdict(StrEnum):
    """The result of comparing a ratio with its budget."""

    HOLDS = "holds"
    FAILS = "FAILS"
    MISSED = "goal missed"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound on the ratio of ours to the reference, medians compared.

    ``at_most`` or else at least. With a ``unit`` it bounds our own median instead. A ``goal`` is
    reported, and missing it fails no run.
    """

    bound: float
    at_most: bool = True
    unit: str = "×"
    goal: bool = False

    def judge(self, ours: float, ratio: float | None) -> Verdict:
        """Return whether the median, or its ratio to the reference, is within the budget."""
        value = ours if self.unit != "×" else ratio
        if value is not None and (value <= self.bound if self.at_most else value >= self.bound):
            return Verdict.HOLDS
        return Verdict.MISSED if self.goal else Verdict.FAILS

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:.4g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: samples of both sides in the same unit, and the budget if any.

    Without samples of the reference there is no ratio, and the budget needs a unit.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    budget: Budget | None
    note: str = ""
    reference: str = ""
    theirs: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Ours to theirs, by medians; none without a reference."""
        if not self.theirs:
            return None
        theirs = statistics.median(self.theirs)
        return statistics.median(self.ours) / theirs if theirs else None

    @property
    def verdict(self) -> Verdict:
        if self.budget is None:
            return Verdict.NONE
        return self.budget.judge(statistics.median(self.ours), self.ratio)


def broken(name: str, error: Exception) -> Row:
    """Return the row of a measurement that raised; its verdict is a failure."""
    why = f"{type(error).__name__}: {error}"[:_WHY_CHARACTERS]
    return Row(f"{name}: could not be measured", "", (1,), Budget(0, unit="errors"), why)


_HEADINGS = ("what", "unit", "ours min/med", "reference min/med", "ratio", "budget", "")


def render(rows: Sequence[Row]) -> str:
    """Return the table as text, aligned, with the notes below it."""
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("─" * width for width in widths))
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([*text, "", *notes])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.unit,
        _pair(row.ours),
        f"{_pair(row.theirs)} {row.reference}".strip(),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        str(row.budget or ""),
        row.verdict,
    )


def _pair(samples: Sequence[float]) -> str:
    """Format minimum and median, or the one sample."""
    if len(samples) < 2:
        return "".join(map(_short, samples))
    return f"{_short(min(samples))}/{_short(statistics.median(samples))}"


def _short(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"


def append_history(rows: Sequence[Row], load: float, path: Path) -> None:
    """Append one line of JSON for each row to a file that is kept in git.

    ``load`` is the machine's load before the run. A row has the number of samples, and their
    minimum and median of both sides; of a reference that was not measured they are null.
    """
    run = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "load": round(load, 1),
    }
    with path.open("a", encoding="utf-8") as history:
        for row in rows:
            measured = {
                "row": row.name,
                "unit": row.unit,
                "ours": _summary(row.ours),
                "reference": row.reference,
                "theirs": _summary(row.theirs),
                "ratio": _rounded(row.ratio),
                "budget": str(row.budget or ""),
                "verdict": row.verdict,
            }
            history.write(json.dumps({**run, **measured}, ensure_ascii=False) + "\n")


def _summary(samples: Sequence[float]) -> dict[str, float | int | None] | None:
    if not samples:
        return None
    smallest, median = _rounded(min(samples)), _rounded(statistics.median(samples))
    return {"samples": len(samples), "min": smallest, "median": median}


def _rounded(number: float | None) -> float | None:
    """Return four significant digits, None for infinity, which JSON does not have."""
    return None if number is None or math.isinf(number) else float(f"{number:.4g}")
