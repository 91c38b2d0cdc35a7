"""The CSV that grading writes and that uploads read: who, which mark, what to say.

Pure. Columns as `mograder feedback --grades-csv` writes them (compat.md 9: student, mark,
auto_mark, feedback, penalty_pct, penalised_mark); username, userid and grade are understood too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from mograder.core.errors import InvalidInput, MograderError, TooLarge
from mograder.store.gradebook import Marks
from mograder.transports.moodle.marks import parse_mark

_WHO = (
    "student",
    "username",
    "userid",
    "user_id",
    "email",
    "idnumber",
    "participant",
    "identifier",
)
_MARK = ("penalised_mark", "mark", "grade", "total_mark")
"""The first of these that is filled counts: the mark after a penalty before the one without."""
_WORDS = ("feedback", "comment", "comments", "feedback comments")
_MOST_BYTES = 50_000_000
_MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class GradeLine:
    """What one person is to get; ``comment`` is None where the file has no such column."""

    line: int
    who: str
    mark: Decimal | None
    comment: str | None


def parse_grades(data: bytes, name: str) -> tuple[GradeLine, ...]:
    """Read a CSV of grades: commas, semicolons or tabs; points or decimal commas.

    Raises: :class:`InvalidInput` with every line that cannot be used, so that nothing is sent
    before the file is right; :class:`TooLarge`.
    """
    if len(data) > _MOST_BYTES:
        raise TooLarge(f"{name} is larger than {_MOST_BYTES // 1_000_000} MB.")
    table = _table(data, name)
    columns = [cell.strip().lower() for cell in table[0]] if table else []
    who = next((columns.index(each) for each in _WHO if each in columns), None)
    marks = [columns.index(each) for each in _MARK if each in columns]
    words = next((columns.index(each) for each in _WORDS if each in columns), None)
    if who is None or not (marks or words is not None):
        raise InvalidInput(
            f"{name} is not a file of grades.",
            hint="Its first line names the columns: student, mark, feedback.",
        )
    filled = [
        (number, [*cells, *[""] * (len(columns) - len(cells))])
        for number, cells in enumerate(table[1:], start=2)
        if any(cell.strip() for cell in cells)
    ]
    lines: list[GradeLine] = []
    problems: list[str] = []
    for number, cells in filled:
        comment = None if words is None else cells[words]
        try:
            mark = _first_mark([cells[each] for each in marks])
        except MograderError as error:
            problems.append(f"  line {number} ({cells[who].strip()}): {error.message}")
        else:
            lines.append(GradeLine(number, cells[who].strip(), mark, comment))
    _refuse(problems, name)
    _refuse_twice(lines, name)
    return tuple(lines)


def from_gradebook(rows: Sequence[Marks]) -> tuple[GradeLine, ...]:
    """Return the same from the gradebook: fractional marks, as they were given."""
    return tuple(
        GradeLine(
            number,
            row.student,
            None if row.final is None else parse_mark(f"{row.final:.5f}".rstrip("0").rstrip(".")),
            row.feedback or None,
        )
        for number, row in enumerate(rows, start=1)
    )


def _table(data: bytes, name: str) -> list[list[str]]:
    try:
        text = data.decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{name} is no CSV in UTF-8.", hint="Save it as CSV UTF-8.") from error
    if len(table) > _MOST_ROWS:
        raise TooLarge(f"{name} has more than {_MOST_ROWS} rows.")
    return table


def _first_mark(cells: Sequence[str]) -> Decimal | None:
    marks = (parse_mark(cell) for cell in cells)
    return next((mark for mark in marks if mark is not None), None)


def _refuse(problems: Sequence[str], name: str) -> None:
    if not problems:
        return
    more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
    raise InvalidInput(
        f"{name} cannot be used; nothing was sent.\n" + "\n".join(problems[:20]) + more,
        hint="Write marks as numbers such as 71.5, or leave them empty.",
    )


def _refuse_twice(lines: Sequence[GradeLine], name: str) -> None:
    seen: dict[str, int] = {}
    for line in lines:
        first = seen.setdefault(line.who.casefold(), line.line)
        if first != line.line:
            raise InvalidInput(f"{name} has {line.who} twice: in lines {first} and {line.line}.")
