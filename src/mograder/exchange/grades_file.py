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
from mograder.transports.moodle.marks import Scale, comment_html, parse_mark

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
_FORMAT = "feedback_format"
_FORMATS = {"": False, "text": False, "html": True}
_MOST_BYTES = 50_000_000
_MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class GradeLine:
    """The mark and comment for one person; ``comment`` is None where the file has no such column.

    The comment is text, or HTML where ``is_html``.
    """

    line: int
    who: str
    mark: Decimal | None
    comment: str | None
    is_html: bool = False


@dataclass(frozen=True, slots=True)
class _Columns:
    """The column numbers of a file, None for missing columns."""

    who: int
    marks: tuple[int, ...]
    comment: int | None
    format: int | None


def line_html(line: GradeLine, *, clear: bool) -> str | None:
    """Return a line's comment as HTML; None leaves the one on Moodle, empty erases it.

    ``clear``: an empty comment erases; a file without such a column never does.
    """
    if line.comment is None:
        return None
    text = comment_html(line.comment, is_html=line.is_html)
    return text or ("" if clear else None)


def parse_grades(
    data: bytes,
    name: str,
    *,
    scale: Scale | None = None,
    html_comments: bool = False,
) -> tuple[GradeLine, ...]:
    """Read a CSV of grades: commas, semicolons or tabs; points or decimal commas.

    With ``scale``, marks are items of that scale, by name or by number. ``html_comments``: all
    comments are HTML, not only those whose ``feedback_format`` says so.

    Raises: :class:`InvalidInput` with every line that cannot be used, so that nothing is sent
    before the file is right; :class:`TooLarge`.
    """
    if len(data) > _MOST_BYTES:
        raise TooLarge(f"{name} is larger than {_MOST_BYTES // 1_000_000} MB.")
    table = _table(data, name)
    columns = [cell.strip().lower() for cell in table[0]] if table else []
    places = _columns(columns, name)
    filled = [
        (number, [*cells, *[""] * (len(columns) - len(cells))])
        for number, cells in enumerate(table[1:], start=2)
        if any(cell.strip() for cell in cells)
    ]
    lines: list[GradeLine] = []
    problems: list[str] = []
    for number, cells in filled:
        try:
            lines.append(_line(number, cells, places, scale, html_comments=html_comments))
        except MograderError as error:
            problems.append(f"  line {number} ({cells[places.who].strip()}): {error.message}")
    _refuse(problems, name, scale)
    _refuse_twice(lines, name)
    return tuple(lines)


def _columns(columns: Sequence[str], name: str) -> _Columns:
    who = next((columns.index(each) for each in _WHO if each in columns), None)
    marks = tuple(columns.index(each) for each in _MARK if each in columns)
    words = next((columns.index(each) for each in _WORDS if each in columns), None)
    if who is None or not (marks or words is not None):
        raise InvalidInput(
            f"{name} is not a file of grades.",
            hint="Its first line names the columns: student, mark, feedback.",
        )
    return _Columns(who, marks, words, columns.index(_FORMAT) if _FORMAT in columns else None)


def _line(
    number: int,
    cells: Sequence[str],
    places: _Columns,
    scale: Scale | None,
    *,
    html_comments: bool,
) -> GradeLine:
    kind = "" if places.format is None else cells[places.format].strip().lower()
    if kind not in _FORMATS:
        raise InvalidInput(f"feedback_format is {kind[:20]!r}, and can be text or html.")
    return GradeLine(
        number,
        cells[places.who].strip(),
        _first_mark([cells[each] for each in places.marks], scale),
        None if places.comment is None else cells[places.comment],
        _FORMATS[kind] or (html_comments and not kind),
    )


def from_gradebook(rows: Sequence[Marks], *, scale: Scale | None = None) -> tuple[GradeLine, ...]:
    """Return the same from the gradebook: fractional marks, as they were given.

    Raises: :class:`InvalidInput` for a mark that is not the number of an item of ``scale``.
    """
    return tuple(
        GradeLine(
            number,
            row.student,
            _gradebook_mark(row, scale),
            row.feedback,
        )
        for number, row in enumerate(rows, start=1)
    )


def _gradebook_mark(row: Marks, scale: Scale | None) -> Decimal | None:
    if row.final is None:
        return None
    text = f"{row.final:.5f}".rstrip("0").rstrip(".")
    if scale is None:
        return parse_mark(text)
    try:
        return scale.parse(text)
    except InvalidInput as error:
        raise InvalidInput(
            f"The mark of {row.student} in the gradebook, {error.message}",
            hint=f"The items of the scale: {scale.listed()}.",
        ) from error


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


def _first_mark(cells: Sequence[str], scale: Scale | None) -> Decimal | None:
    marks = (parse_mark(cell) if scale is None else scale.parse(cell) for cell in cells)
    return next((mark for mark in marks if mark is not None), None)


def _refuse(problems: Sequence[str], name: str, scale: Scale | None) -> None:
    if not problems:
        return
    more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
    raise InvalidInput(
        f"{name} cannot be used; nothing was sent.\n" + "\n".join(problems[:20]) + more,
        hint="Write marks as numbers such as 71.5, or leave them empty."
        if scale is None
        else f"Write the items of the scale: {scale.listed()}.",
    )


def _refuse_twice(lines: Sequence[GradeLine], name: str) -> None:
    seen: dict[str, int] = {}
    for line in lines:
        first = seen.setdefault(line.who.casefold(), line.line)
        if first != line.line:
            raise InvalidInput(f"{name} has {line.who} twice: in lines {first} and {line.line}.")
