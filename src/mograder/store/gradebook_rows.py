"""One person's marks for one assignment, as a row of ``gradebook.db`` and as we use it.

Private to ``store.gradebook``. 0.3.16 keeps lists as JSON text and times as ISO text; what it left
empty, or wrote in another way, must not keep a gradebook from opening.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import RowMapping


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check of a notebook went; ``hidden`` ones are not shown to students."""

    label: str
    status: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """One person's marks for one assignment; None where there is none yet."""

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
        """The mark that counts: after the penalty for lateness where there was one."""
        return self.total_mark if self.penalised_mark is None else self.penalised_mark


def from_row(row: RowMapping) -> Marks:
    """Return the marks that a row holds."""
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
    """Return a list kept as JSON text; what is none counts as empty."""
    try:
        found = json.loads(str(value)) if value else []
    except ValueError:
        return []
    return found if isinstance(found, list) else []
