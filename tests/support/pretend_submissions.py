"""Pretend students' notebooks for ``A3-Counting-Bicycles``, and the marks that each must get.

A notebook is made from the release as a student would make it: answers stand where it says YOUR
CODE HERE, and nothing else is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent, indent

ITEM = "A3-Counting-Bicycles"
DUE = datetime(2026, 11, 20, 12, tzinfo=UTC)
AVAILABLE: Mapping[str, float] = {"Q1": 10.0, "Q2": 10.0, "Q3": 15.0}
"""Marks of the questions with checks; people give the 15 of the written answer."""
WRITTEN = "Analysis"

_BLANK = re.compile(r"(?:^ *\w+ = \.\.\.\n)?^( *)# YOUR CODE HERE\n *pass\n", re.MULTILINE)
_PLACEHOLDER = "*Write your answer here.*"
_ESSAY = "On Sundays, since half as many people cross the bridge. I would divide by the weekday."

_DAYS = """\
days = bicycles.dropna(subset=["count"])
days = days.assign(weekday=days["date"].dt.day_of_week)
"""
_PATTERN = 'pattern = days.groupby("weekday")["count"].mean()\n'
_UPDATE = """\
if self.level is None:
    self.level = value
else:
    self.level += self.weight * (value - self.level)
"""
_FORECAST = "forecast = self.level\n"
_RIGHT = (_DAYS, _PATTERN, _UPDATE, _FORECAST)


@dataclass(frozen=True, slots=True)
class PretendSubmission:
    """A student's notebook, the marks of its questions, and how late it came."""

    student: str
    text: str
    marks: Mapping[str, float]
    late: timedelta = field(default=-timedelta(hours=1))

    @property
    def received(self) -> datetime:
        return DUE + self.late

    @property
    def auto_mark(self) -> float:
        """The sum of the marks."""
        return sum(self.marks.values())


def pretend_submissions(release: str) -> tuple[PretendSubmission, ...]:
    """Return notebooks of every kind, in the order of their students' names.

    ``release`` is the text of the released notebook.
    """
    nothing = dict.fromkeys(AVAILABLE, 0.0)
    weekday_from_one = _DAYS.replace("day_of_week)", "day_of_week + 1)")
    unsorted = _PATTERN.replace("mean()", "mean().sort_index(ascending=False)")
    forgets_zero = _UPDATE.replace("self.level is None", "not self.level")
    wrong_name = _DAYS.replace("bicycles.dropna", "bicycle.dropna")
    return (
        PretendSubmission("alice", answered(release, _RIGHT, _ESSAY), AVAILABLE),
        PretendSubmission(  # partial: Q2 and Q3 lose what only hidden tests ask for
            "bob",
            answered(release, (weekday_from_one, unsorted, forgets_zero, _FORECAST)),
            {"Q1": 6.0, "Q2": 6.0, "Q3": 10.0},
        ),
        PretendSubmission(  # one cell fails, and the cells that need its name do not run
            "carol",
            answered(release, (wrong_name, *_RIGHT[1:])),
            {**AVAILABLE, "Q1": 0.0},
        ),
        PretendSubmission("dan", "def unfinished(:\n", nothing),
        PretendSubmission("erin", release, nothing),
        PretendSubmission(
            "frank", answered(release, _RIGHT, _ESSAY), AVAILABLE, timedelta(hours=30)
        ),
    )


def answered(release: str, answers: Sequence[str], essay: str = _PLACEHOLDER) -> str:
    """Return a release with answers in its places, one after the other, and a written answer."""
    waiting = list(answers)

    def answer(place: re.Match[str]) -> str:
        return indent(dedent(waiting.pop(0)), place.group(1))

    text = _BLANK.sub(answer, release)
    if waiting or _PLACEHOLDER not in text:
        raise AssertionError(f"the release has no place for {waiting or 'a written answer'}")
    return text.replace(_PLACEHOLDER, essay)


def hand_in(course: Path, submissions: Sequence[PretendSubmission]) -> Path:
    """Write submissions as the collecting commands do; return the directory."""
    directory = course / "submitted" / ITEM
    directory.mkdir(parents=True)
    for each in submissions:
        (directory / f"{each.student}.py").write_text(each.text, "utf-8")
    times = {each.student: int(each.received.timestamp()) for each in submissions}
    (directory / ".fetch_metadata.json").write_text(json.dumps(times, indent=2) + "\n")
    return directory
