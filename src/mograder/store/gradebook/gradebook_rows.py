"""One student's marks for one assignment: a row of ``gradebook.db`` converted to a dataclass.

Private to ``store.gradebook.gradebook``. 0.3.16 stores lists as JSON text and times as ISO text. A
value that is empty or malformed must not prevent a gradebook from being opened.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:  # authors read `CheckResult` where SQLAlchemy is not installed
    from sqlalchemy import Row, RowMapping

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check of a notebook; ``hidden`` ones are not shown to students."""

    label: str
    status: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """One student's marks for one assignment; None for a mark not yet given. Times are ISO text."""

    assignment: str
    student: str
    auto_mark: float | None = None
    manual_mark: float | None = None
    total_mark: float | None = None
    feedback: str = ""
    cell_errors: int = 0
    tampered: tuple[str, ...] = ()
    check_results: tuple[CheckResult, ...] = ()
    graded_at: str = ""
    autograded_at: str = ""
    updated_at: str = ""
    penalty_pct: float | None = None
    penalised_mark: float | None = None
    submitted_at: str = ""

    @property
    def final(self) -> float | None:
        """The mark that counts: after the penalty for lateness if there is one, else the total."""
        return self.total_mark if self.penalised_mark is None else self.penalised_mark


@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """An assignment as 0.3.16 records it.

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
        return self.max_mark - sum(told[key] for key in told if key in self.automatic)


def assignment_from_row(row: RowMapping) -> AssignmentRow:
    """Return a row of the table ``assignments``."""
    marks = _json(row["marks_metadata"])
    keys = _json(row["auto_check_keys"])
    known = (
        {str(key): number_or_none(mark) for key, mark in marks.items()} if _is_table(marks) else {}
    )
    found = {key: mark for key, mark in known.items() if mark is not None}
    maximum = number_or_none(row["max_mark"])
    return AssignmentRow(
        str(row["name"]),
        100.0 if maximum is None else maximum,
        found or None,
        frozenset(map(str, keys)) if isinstance(keys, list) else frozenset(found),
    )


def _is_table(value: object) -> TypeGuard[dict[object, object]]:
    return isinstance(value, dict)


def unix_time(text: str) -> float | None:
    """Return a time of submission in Unix seconds: 0.3.16 writes these, other programs ISO text."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()  # a time without a zone is local
    except ValueError:
        return None


def by_student(rows: Iterable[Row[Any]], made: Callable[..., _T]) -> defaultdict[str, list[_T]]:
    """Return records by student, made of the columns after the first."""
    found: defaultdict[str, list[_T]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(made(*row[1:]))
    return found


SHORT_COLUMNS = (
    "student",
    "auto_mark",
    "manual_mark",
    "total_mark",
    "feedback",
    "graded_at",
    "autograded_at",
)
"""The columns of ``submissions`` that decide which mark counts."""


def short_from_row(assignment: str, row: Row[Any]) -> Marks:
    """Return the marks of a row with :data:`SHORT_COLUMNS`, which has no lists to parse."""
    return Marks(
        assignment,
        str(row.student),
        number_or_none(row.auto_mark),
        number_or_none(row.manual_mark),
        number_or_none(row.total_mark),
        _text(row.feedback),
        graded_at=_text(row.graded_at),
        autograded_at=_text(row.autograded_at),
    )


PENALTY_COLUMNS = ("student", "total_mark", "penalty_pct", "penalised_mark", "submitted_at")
"""The columns of ``submissions`` that tell a mark and its penalty."""


def penalty_from_row(assignment: str, row: Row[Any]) -> Marks:
    """Return the marks of a row with :data:`PENALTY_COLUMNS`."""
    return Marks(
        assignment,
        str(row.student),
        total_mark=number_or_none(row.total_mark),
        penalty_pct=number_or_none(row.penalty_pct),
        penalised_mark=number_or_none(row.penalised_mark),
        submitted_at=_text(row.submitted_at),
    )


def from_row(row: RowMapping) -> Marks:
    """Return a row of the table ``submissions`` as marks."""
    return Marks(
        assignment=str(row["assignment"]),
        student=str(row["student"]),
        auto_mark=number_or_none(row["auto_mark"]),
        manual_mark=number_or_none(row["manual_mark"]),
        total_mark=number_or_none(row["total_mark"]),
        feedback=_text(row["feedback"]),
        cell_errors=int(number_or_none(row["cell_errors"]) or 0),
        tampered=tuple(str(each) for each in _list(row["tampered"])),
        check_results=tuple(
            CheckResult(
                _text(each.get("label")), _text(each.get("status")), bool(each.get("hidden"))
            )
            for each in _list(row["check_results"])
            if isinstance(each, dict)
        ),
        graded_at=_text(row["graded_at"]),
        autograded_at=_text(row["autograded_at"]),
        updated_at=_text(row["updated_at"]),
        penalty_pct=number_or_none(row["penalty_pct"]),
        penalised_mark=number_or_none(row["penalised_mark"]),
        submitted_at=_text(row["submitted_at"]),
    )


def number_or_none(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, int | float) else float(str(value))
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _list(value: object) -> list[object]:
    """Return a list stored as JSON text; empty if the text is not a JSON list."""
    found = _json(value)
    return found if isinstance(found, list) else []


def _json(value: object) -> object:
    """Return the value of a JSON text; None if it is empty or damaged."""
    try:
        return json.loads(str(value)) if value else None
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row whose ``column`` has a text that 0.3.16 cannot read.

    ``student`` is empty for a row about an assignment.
    """

    assignment: str
    student: str
    column: str


def damaged_json(
    row: RowMapping, columns: Mapping[str, type], *, needed: bool = False
) -> tuple[str, ...]:
    """Return the columns of a row whose text is no JSON of its type.

    ``needed``: it must not be empty either.
    """
    return tuple(
        name
        for name, kind in columns.items()
        if (row[name] or needed) and not isinstance(_json(row[name]), kind)
    )
