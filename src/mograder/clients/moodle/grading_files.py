"""The files that Moodle gives and takes for grading by hand: the worksheet, and zips of files.

The worksheet of an assignment is read, filled in with marks, and written. Zips have the person of
each file: those of submissions are read, those of feedback written. See compatibility-0.3.16.md 9.

Pure: bytes in, bytes out. The worksheet's columns depend on the site and on the assignment, so all
except Identifier, Grade and "Last modified (grade)", which Moodle's import needs, may be missing.
Nothing is written here under a name from a zip; callers must validate the name first.
"""

from __future__ import annotations

import csv
import html
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import PurePosixPath

from mograder.clients.moodle.texts import comment_html, mark_text, parse_mark, same_comment
from mograder.core.errors import InvalidInput, MograderError, TooLarge
from mograder.core.files.zips import opened_zip, read_entry

IDENTIFIER = "Identifier"
GRADE = "Grade"
MAXIMUM = "Maximum grade"
GRADED = "Last modified (grade)"
COMMENTS = "Feedback comments"
NEEDED = (IDENTIFIER, GRADE, GRADED)
"""The required columns; without one of them, Moodle cannot read the worksheet."""

_LOCKED = "Grade can be changed"
_SCALE = "Scale"
"""The column in place of the maximum where the grade is an item of a scale."""
_PARTICIPANT = re.compile(r"(?:.*\D)?(\d{1,18})")
_LINE_END = re.compile(r"</p>|[\r\n]")
_TAG = re.compile(r"<[^>]*>")
_BEFORE_QUOTE = re.compile(r'\\(?="|\Z)')
"""Backslashes after which PHP, unlike CSV, takes a quotation mark for a part of the cell."""
_MOST_BYTES = 50_000_000
_MOST_ROWS = 100_000
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_HINT = (
    "Download it again from the assignment's page in Moodle (Submissions, Actions, Download "
    "grading worksheet), with English as your language there, and do not reorder its columns."
)

FILE = "file"
_ENTRY = re.compile(
    r"(?P<person>.+?)(?:_(?P<number>\d{1,18}))?_assignsubmission_"
    r"(?P<plugin>[a-z](?:(?!_assignsubmission_)[a-z0-9_])*?)(?:_?/(?P<path>.+)|_(?P<flat>[^/]+))",
    re.DOTALL,
)

_DATED = (2025, 1, 1, 0, 0, 0)
"""A fixed date, so that the same feedback gives the same zip."""

_MOST_ENTRIES = 100_000
_MOST_ZIP_BYTES = 4_000_000_000
_MOST_OF_ONE = 500_000_000
_NOT_IN_A_FOLDER = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|'`]")


@dataclass(frozen=True, slots=True)
class WorksheetRow:
    """One student's line, all ``cells`` unchanged; ``participant`` is the identifier's number."""

    participant: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Worksheet:
    columns: tuple[str, ...]
    rows: tuple[WorksheetRow, ...]
    delimiter: str = ","

    def cell(self, row: WorksheetRow, column: str) -> str:
        return row.cells[self.columns.index(column)] if column in self.columns else ""

    def mark(self, row: WorksheetRow) -> Decimal | None:
        """Return None if the cell is empty; raises InvalidInput if it is not a number."""
        try:
            return parse_mark(self.cell(row, GRADE))
        except InvalidInput as error:
            raise InvalidInput(f"{self.cell(row, IDENTIFIER)}: {error.message}") from error

    def maximum(self, row: WorksheetRow) -> Decimal | None:
        return parse_mark(self.cell(row, MAXIMUM))

    def changeable(self, row: WorksheetRow) -> bool:
        """Whether Moodle accepts a new grade for this row."""
        return self.cell(row, _LOCKED).strip().lower() not in {"no", "non", "nein", "0"}


@dataclass(frozen=True, slots=True)
class Entry:
    """The new values of a row; None leaves the old one. The comment is HTML."""

    mark: Decimal | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """The worksheet to upload: which rows changed, and which could not and why.

    It has only those that change. Moodle writes comments as text without their lines, and takes
    them back as HTML: a row that nothing is changed in would damage its comment. Where no comment
    changes, the column is left out.
    """

    sheet: Worksheet
    changed: tuple[int, ...]
    unchanged: tuple[int, ...]
    skipped: Mapping[int, str]
    erased: Mapping[int, str]


def parse_worksheet(data: bytes) -> Worksheet:
    """Read a worksheet: UTF-8 with or without BOM, separated by commas, semicolons or tabs."""
    if len(data) > _MOST_BYTES:
        raise TooLarge(f"The worksheet is larger than {_MOST_BYTES // 1_000_000} MB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            "The worksheet is not UTF-8 text.", hint="Save it as CSV UTF-8, or download it again."
        ) from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    csv.field_size_limit(_MOST_BYTES)  # of the whole process: an online text may be long
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InvalidInput(f"The worksheet is no CSV: {error}.", hint=_HINT) from error
    columns = tuple(name.strip() for name in table[0]) if table else ()
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise InvalidInput(f"The worksheet has no column {missing[0]!r}.", hint=_HINT)
    if len(set(columns)) != len(columns):
        raise InvalidInput("The worksheet has two columns of one name.", hint=_HINT)
    if len(table) > _MOST_ROWS:
        raise TooLarge(f"The worksheet has more than {_MOST_ROWS} rows.")
    lines = enumerate(table[1:], start=2)
    rows = tuple(_row(number, line, columns) for number, line in lines if any(line))
    for participant, count in Counter(row.participant for row in rows).items():
        if count > 1:
            raise InvalidInput(f"Participant {participant} is in the worksheet twice.")
    return Worksheet(columns, rows, delimiter)


def render_worksheet(sheet: Worksheet) -> bytes:
    """Write a worksheet as Moodle does: UTF-8 with BOM, all columns of the original.

    A backslash that would damage this row or the next is written as HTML, which comments are.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=sheet.delimiter, lineterminator="\n")
    writer.writerow(sheet.columns)
    for row in sheet.rows:
        writer.writerow(_BEFORE_QUOTE.sub("&#92;", cell) for cell in row.cells)
    return buffer.getvalue().encode("utf-8-sig")


def fill(sheet: Worksheet, entries: Mapping[int, Entry], now: datetime) -> Filled:
    """Put marks and comments into the rows of these participants.

    A row that changes gets ``now`` as its date, in the zone that it has, which should be Moodle's:
    Moodle skips a row whose date is older than the grade that it holds, so the same sheet could not
    be corrected twice. A mark that Moodle would silently skip is refused before.
    """
    rows: list[WorksheetRow] = []
    unchanged: list[int] = []
    skipped: dict[int, str] = {}
    for row in sheet.rows:
        entry = entries.get(row.participant)
        if entry is None:
            continue
        if not sheet.changeable(row):
            skipped[row.participant] = "Moodle says that its grade cannot be changed"
            continue
        filled = _filled(sheet, row, entry, now)
        if filled == row:
            unchanged.append(row.participant)
        else:
            rows.append(filled)
    for participant in entries.keys() - {row.participant for row in sheet.rows}:
        skipped[participant] = "not in the worksheet"
    held = {row.participant: sheet.cell(row, COMMENTS) for row in sheet.rows}
    erased = {
        row.participant: held[row.participant]
        for row in rows
        if held[row.participant] and not sheet.cell(row, COMMENTS)
    }
    changed = tuple(row.participant for row in rows)
    filled_sheet = replace(sheet, rows=tuple(rows))
    if all(entries[each].comment is None for each in changed):
        kept = [number for number, name in enumerate(sheet.columns) if name != COMMENTS]
        filled_sheet = replace(
            sheet,
            columns=tuple(sheet.columns[each] for each in kept),
            rows=tuple(replace(row, cells=tuple(row.cells[each] for each in kept)) for row in rows),
        )
    return Filled(filled_sheet, changed, tuple(unchanged), skipped, erased)


def moodle_date(moment: datetime) -> str:
    """Return a time in the format of Moodle's worksheet, whatever this machine's locale."""
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    hour = moment.hour % 12 or 12
    half = "AM" if moment.hour < 12 else "PM"
    return f"{day}, {moment.day} {month} {moment.year}, {hour}:{moment.minute:02} {half}"


def _filled(sheet: Worksheet, row: WorksheetRow, entry: Entry, now: datetime) -> WorksheetRow:
    news: dict[str, str] = {}
    if entry.mark is not None and _SCALE in sheet.columns:
        raise InvalidInput(
            "The assignment is graded by a scale: Moodle would skip the marks without a word.",
            hint="Type the items into the worksheet that you downloaded, or send the marks by "
            "`mograder moodle upload-feedback`.",
        )
    if entry.mark is not None and entry.mark != _mark_or_none(sheet, row):
        maximum = sheet.maximum(row)
        if maximum is not None and entry.mark > maximum:
            raise InvalidInput(
                f"{sheet.cell(row, IDENTIFIER)}: {mark_text(entry.mark)} is more than the maximum "
                f"of {mark_text(maximum)}.",
                hint="Correct the mark, or the maximum grade in Moodle.",
            )
        news[GRADE] = mark_text(entry.mark)
    held = sheet.cell(row, COMMENTS)
    comment = None if COMMENTS not in sheet.columns else entry.comment
    if comment is not None and not _is_held(comment, held):
        news[COMMENTS] = comment
    if not news:
        return row
    news[COMMENTS] = comment_html(html.unescape(held)) if comment is None else comment
    news[GRADED] = moodle_date(now)
    cells = (news.get(name, cell) for name, cell in zip(sheet.columns, row.cells, strict=True))
    return replace(row, cells=tuple(cells))


def _is_held(comment: str, held: str) -> bool:
    """Return whether a worksheet's comment is this one, as Moodle writes it or as we do."""
    text = _TAG.sub("", _LINE_END.sub("   ", comment))
    return html.unescape(text).split() == html.unescape(held).split() or same_comment(comment, held)


def _mark_or_none(sheet: Worksheet, row: WorksheetRow) -> Decimal | None:
    """Return a row's mark, None if the cell, which is about to be replaced, is not a number."""
    try:
        return sheet.mark(row)
    except MograderError:
        return None


def _row(number: int, line: Sequence[str], columns: tuple[str, ...]) -> WorksheetRow:
    if len(line) != len(columns):
        raise InvalidInput(
            f"Row {number} of the worksheet has {len(line)} cells for {len(columns)} columns.",
            hint=_HINT,
        )
    identifier = line[columns.index(IDENTIFIER)]
    found = _PARTICIPANT.fullmatch(identifier.strip())
    if found is None:
        raise InvalidInput(
            f"Row {number} of the worksheet has the identifier {identifier[:40]!r}.",
            hint="It should read like “Participant 8”. " + _HINT,
        )
    return WorksheetRow(int(found[1]), tuple(line))


@dataclass(frozen=True, slots=True)
class Submitted:
    """One file of a zip of submissions.

    ``participant`` is the number that Moodle's identifier has for this assignment; ``person`` the
    name in the zip's spelling, without punctuation; ``path`` is the student's own file name. Of a
    team's work they are the number and the name of the team, the number 0 for those in no team.
    """

    participant: int
    person: str
    plugin: str
    path: PurePosixPath
    content: bytes


@dataclass(frozen=True, slots=True)
class FeedbackFile:
    participant: int
    full_name: str
    name: str
    content: bytes


def read_submissions(data: bytes) -> tuple[Submitted, ...]:
    if data[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise InvalidInput(
            "This is a web page, not a zip.",
            hint="Moodle answers so when nothing has been submitted, or you are signed out.",
        )
    told = "The zip of submissions is damaged, or it is no zip"
    with opened_zip(data, told, hint="Download it again.") as archive:
        return tuple(_submissions(archive))


def feedback_zip(files: Iterable[FeedbackFile]) -> bytes:
    """Return a zip that Moodle's "Upload feedback files in a zip" takes."""
    buffer = io.BytesIO()
    seen: set[tuple[int, str]] = set()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(files, key=lambda each: (each.participant, each.name)):
            if (file.participant, file.name) in seen:
                raise InvalidInput(f"{file.full_name} would get two files called {file.name}.")
            seen.add((file.participant, file.name))
            # Moodle takes what stands after the first underscore for the number.
            plain = file.full_name.replace("_", " ")
            person = _NOT_IN_A_FOLDER.sub("", plain).strip() or "Participant"
            folder = f"{person}_{file.participant}_assignsubmission_file_"
            entry = zipfile.ZipInfo(f"{folder}/{file.name}", _DATED)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.content)
    return buffer.getvalue()


def _submissions(archive: zipfile.ZipFile) -> Iterator[Submitted]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > _MOST_ENTRIES:
        raise TooLarge(f"The zip holds more than {_MOST_ENTRIES} files.")
    left = _MOST_ZIP_BYTES
    for entry in entries:
        found = _ENTRY.fullmatch(entry.filename)
        if found is None:
            raise InvalidInput(
                f"{entry.filename[:80]!r} does not look like a submission.",
                hint="Use the zip that Moodle makes with “Download all submissions”, unchanged.",
            )
        limit = min(left, _MOST_OF_ONE)
        too_much = f"{entry.filename[:80]} unpacks to more than {limit} bytes."
        content = read_entry(archive, entry, limit, too_much)
        left -= len(content)
        path = PurePosixPath(found["path"] or found["flat"])
        # In a zip without folders, a full name may look like another person's entry.
        is_ambiguous = "_assignsubmission_" in (found["flat"] or "")
        number = 0 if is_ambiguous else int(found["number"] or 0)
        yield Submitted(number, found["person"], found["plugin"], path, content)
