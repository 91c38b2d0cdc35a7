"""An assignment and a student's work in ``gradebook.db``, converted to dataclasses.

Lists are stored as JSON text. One that is malformed must not prevent a gradebook from being opened.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from mograder.marks import sum_of_marks

if TYPE_CHECKING:  # authors read `CheckResult` where SQLAlchemy is not installed
    from sqlalchemy import Row

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check of a notebook; ``hidden`` ones are not shown to students."""

    label: str
    status: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One student's work for an assignment, beside its marks.

    Attributes:
        total: The mark before deductions, as it was computed after the last change.
        received: When the work that explains the marks was submitted, ISO 8601; "" if unknown.
        receipt: The number of its receipt.
        earlier_auto: The marks of the questions with checks, as 0.3.16 graded them.
        earlier_pct: The deduction that 0.3.16 made, in per cent; None if it made none.
        earlier_mark: The mark after it.
        earlier_submitted: The time of submission that 0.3.16 recorded; Unix seconds, or ISO 8601.
        cell_errors: The number of cells that failed, as the two lists of the last grading.
    """

    total: float | None = None
    received: str = ""
    receipt: int | None = None
    earlier_auto: float | None = None
    earlier_pct: float | None = None
    earlier_mark: float | None = None
    earlier_submitted: str = ""
    cell_errors: int = 0
    tampered: tuple[str, ...] = ()
    checks: tuple[CheckResult, ...] = ()


NO_WORK = Work()


def texts_of(text: object) -> tuple[str, ...]:
    """Return the texts of a JSON list."""
    return tuple(map(str, list_of(text)))


def checks_of(text: object) -> tuple[CheckResult, ...]:
    """Return the checks of a JSON text, without damaged ones."""
    return tuple(
        CheckResult(
            text_of(each.get("label")), text_of(each.get("status")), bool(each.get("hidden"))
        )
        for each in list_of(text)
        if isinstance(each, dict)
    )


def checks_json(checks: Iterable[CheckResult]) -> str:
    """Return checks as JSON, in the words of 0.3.16."""
    return json.dumps([asdict(each) for each in checks])


@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """An assignment.

    ``marks`` are those of each question by key in the source's order, None without a table of
    marks. ``automatic`` are the keys of questions with checks.
    """

    name: str
    max_mark: float = 100.0
    marks: Mapping[str, float] | None = None
    automatic: frozenset[str] = frozenset()

    @property
    def manual_available(self) -> float:
        """The marks of the questions without checks: what 0.3.16's percentage is a part of."""
        told = self.marks or {}
        return sum_of_marks([self.max_mark, *(-told[key] for key in told if key in self.automatic)])


def assignment_of(name: str, max_mark: object, marks: object, automatic: object) -> AssignmentRow:
    """Return an assignment; ``marks`` and ``automatic`` are JSON texts.

    Without keys of checks, all questions with marks count as automatic: 0.3.16 does so.
    """
    told, keys = json_of(marks), json_of(automatic)
    known = {str(key): number_or_none(told[key]) for key in told} if _is_table(told) else {}
    found = {key: mark for key, mark in known.items() if mark is not None}
    maximum = number_or_none(max_mark)
    return AssignmentRow(
        name,
        100.0 if maximum is None else maximum,
        found or None,
        frozenset(map(str, keys)) if isinstance(keys, list) else frozenset(found),
    )


def _is_table(value: object) -> TypeGuard[dict[object, object]]:
    return isinstance(value, dict)


def unix_time(text: str) -> float | None:
    """Return a time in Unix seconds of such a number, which 0.3.16 writes, or of ISO 8601."""
    try:
        if text[4:5] != "-":
            return number_or_none(text)
        return datetime.fromisoformat(text).timestamp()  # a time without a zone is local
    except ValueError:
        return None


def by_student(rows: Iterable[Row[Any]], made: Callable[..., _T]) -> defaultdict[str, list[_T]]:
    """Return records by student, made of the columns after the first."""
    found: defaultdict[str, list[_T]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(made(*row[1:]))
    return found


def number_or_none(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, int | float) else float(str(value))
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def text_of(value: object) -> str:
    return "" if value is None else str(value)


def list_of(value: object) -> list[object]:
    """Return a list stored as JSON text; empty if the text is not a JSON list."""
    found = json_of(value)
    return found if isinstance(found, list) else []


def json_of(value: object) -> object:
    """Return the value of a JSON text; None if it is empty or damaged."""
    try:
        return json.loads(str(value)) if value else None
    except (ValueError, RecursionError):
        return None
