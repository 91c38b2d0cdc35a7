"""One student's marks for one assignment: a row of ``gradebook.db`` converted to a dataclass.

Private to ``store.gradebook``. 0.3.16 stores lists as JSON text and times as ISO text. A value that
is empty or malformed must not prevent a gradebook from being opened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import RowMapping


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


def from_row(row: RowMapping) -> Marks:
    """Return a row of the table ``submissions`` as marks."""
    return Marks(
        assignment=str(row["assignment"]),
        student=str(row["student"]),
        auto_mark=_number(row["auto_mark"]),
        manual_mark=_number(row["manual_mark"]),
        total_mark=_number(row["total_mark"]),
        feedback=_text(row["feedback"]),
        cell_errors=int(_number(row["cell_errors"]) or 0),
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
        penalty_pct=_number(row["penalty_pct"]),
        penalised_mark=_number(row["penalised_mark"]),
        submitted_at=_text(row["submitted_at"]),
    )


def _number(value: object) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(str(value)) if value not in (None, "") else None
    except ValueError:
        return None


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _list(value: object) -> list[object]:
    """Return a list stored as JSON text; empty if the text is not a JSON list."""
    try:
        found = json.loads(str(value)) if value else []
    except ValueError:
        return []
    return found if isinstance(found, list) else []
