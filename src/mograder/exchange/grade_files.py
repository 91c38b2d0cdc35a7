"""Marks in files: those of the gradebook as CSV and JSON, and the CSV that uploads read; pure.

The gradebook's marks are written by question or by assignment. All files of one assignment have the
same mark in the column that the uploads read: the one after the penalty, and none while a question
waits for a person. People fill marks into a file by question, which is read again.

Uploads read person, mark and comment, in columns as ``mograder feedback --grades-csv`` of 0.3.16
writes them (compatibility-0.3.16.md 9: student, mark, auto_mark, feedback, penalty_pct,
penalised_mark); username, userid and grade are accepted too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mograder.clients.assignment_server.client import GradeRow
from mograder.clients.moodle.texts import Scale, comment_html, parse_mark
from mograder.core.csv_table import (
    Row,
    Table,
    number_text,
    read_table,
    refuse,
    text_read_back,
    write_table,
)
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.names import nfc
from mograder.marks import sum_of_marks
from mograder.store.gradebook.grading_records import (
    MANUAL,
    WHOLE,
    MarkEntry,
    QuestionGrade,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import waiting_for

_PERSON = ("student", "username")
_COMMENT = "feedback"
_VERSION = "version"
"""The column with ``StudentGrade.version``: the state of the marks that a row was written from."""

_Cell = str | float | None

Earlier = Callable[[str, int], StudentGrade]
"""Returns a student's marks as they counted at an earlier version."""

_FIXED = ("student", "mark", "auto_mark", "feedback", "penalty_pct", "penalised_mark")
"""compatibility-0.3.16.md 9: the columns of `mograder feedback --grades-csv`."""

_OPTIONAL = frozenset({"auto_mark", "penalty_pct", "penalised_mark"})
_PERSON_COLUMNS = (
    "student",
    "username",
    "userid",
    "user_id",
    "email",
    "idnumber",
    "participant",
    "identifier",
)
_USER_ID_COLUMNS = ("userid", "user_id")

_MARK = ("penalised_mark", "mark", "grade", "total_mark")
"""The first filled one of these counts: the mark after a penalty before the one without."""

_COMMENT_COLUMNS = ("feedback", "comment", "comments", "feedback comments")
_FORMAT = "feedback_format"
_PENALTY, _RAW = "penalty_pct", "mark"
_FORMATS = {"": False, "text": False, "html": True}

_ON_SERVER = {
    "username": ("username", "student", "user"),
    "userid": ("userid",),
    "grade": ("grade", *_MARK),
    "feedback": _COMMENT_COLUMNS,
}
"""Columns of an assignment server, each with the columns that its value may be taken from."""

_CLEARED = frozenset(("grade", "feedback"))
"""Columns of a server that a row with empty cells clears; else the old mark would stay there."""

COLUMNS = frozenset(
    (
        *_PERSON_COLUMNS,
        _PENALTY,
        _FORMAT,
        *(each for names in _ON_SERVER.values() for each in names),
    )
)
"""The columns that the uploads read."""

_ONLY_LATE = re.compile(r"(<p>)?Late penalty: -[\d.,]+%\. Raw mark: [\d.,]+\.(</p>)?")
_NOBODY = "the row names nobody."
_FILL_IN = "Fill in its username."


def assignment_csv(grades: Sequence[StudentGrade], *, filled: bool = False) -> str:
    """Return the marks of one assignment, as 0.3.16 writes them.

    With ``filled``, the optional columns are there only if a student has a value.
    """
    rows = list(map(_fixed, grades))
    empty = {
        at
        for at, name in enumerate(_FIXED)
        if filled and name in _OPTIONAL and all(row[at] is None for row in rows)
    }
    kept = [at for at in range(len(_FIXED)) if at not in empty]
    return write_table([_FIXED[at] for at in kept], ([row[at] for at in kept] for row in rows))


def question_csv(grades: Sequence[StudentGrade]) -> str:
    """Return the marks of one assignment with a column for each question.

    The uploads read this file, too.
    """
    keys = question_keys(grades)
    points = [{question.key: question.points for question in each.questions} for each in grades]
    rows = (
        [*_fixed(each), *map(own.get, keys), each.version]
        for each, own in zip(grades, points, strict=True)
    )
    return write_table([*_FIXED, *map(question_title, keys), _VERSION], rows)


def moodle_csv(grades: Sequence[StudentGrade]) -> str:
    """Return the columns that ``mograder moodle upload-feedback`` and ``export`` need."""
    rows = ((each.student, each.final, _moodle_comment(each)) for each in grades)
    return write_table(("student", "mark", "feedback"), rows)


def server_csv(grades: Sequence[StudentGrade]) -> str:
    """Return the columns that ``mograder https upload-grades`` needs, for students with a mark."""
    rows = ((each.student, each.final, each.comment) for each in grades if each.final is not None)
    return write_table(("username", "grade", "feedback"), rows)


def course_csv(course: Mapping[str, Sequence[StudentGrade]]) -> str:
    """Return the final marks with a column for each assignment; ``course`` has them by name."""
    return write_table(("student", *course), course_rows(course))


def course_rows(course: Mapping[str, Sequence[StudentGrade]]) -> Iterable[Sequence[_Cell]]:
    """Yield the students of a course with their final mark for each assignment."""
    marks = {name: {each.student: each.final for each in grades} for name, grades in course.items()}
    for student in sorted({student for found in marks.values() for student in found}):
        yield [student, *(found.get(student) for found in marks.values())]


def question_keys(grades: Iterable[StudentGrade]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(q.key for each in grades for q in each.questions))


def question_title(key: str) -> str:
    """Return the name of a question's column; uploads read no column of this name."""
    return f"question {key}" if key.lower() in {*_FIXED, *COLUMNS, _VERSION} else key


def as_json(grade: StudentGrade, *, questions: bool = True) -> dict[str, object]:
    told: dict[str, object] = {
        "assignment": grade.assignment,
        "student": grade.student,
        "auto_mark": grade.auto,
        "manual_mark": grade.manual,
        "total_mark": grade.total,
        "max_mark": grade.max_mark,
        "penalty_pct": grade.penalty_pct,
        "penalised_mark": grade.penalised,
        "mark": grade.final,
        "feedback": grade.comment,
        "state": grade.state,
        "cell_errors": grade.cell_errors,
        "tampered": list(grade.tampered),
        "submitted_at": grade.submitted_at,
        "graded_at": grade.graded_at,
        "flags": list(grade.flags),
    }
    if questions:
        told["questions"] = list(map(_question_json, grade.questions))
        told["whole"] = _question_json(grade.whole) if grade.whole else None
    return told


def _question_json(question: QuestionGrade) -> dict[str, object]:
    return {
        "question": question.key,
        "points": question.points,
        "available": question.available,
        "state": question.state,
        "reason": question.reason,
        "graded": question.graded,
        "marker": question.marker,
        "comment": question.comment,
        "at": question.at,
        "open": question.open,
        "look_again": question.look_again,
    }


def _fixed(grade: StudentGrade) -> list[_Cell]:
    penalised = grade.final if grade.penalty_pct is not None else None
    mark = None if grade.final is None else grade.total
    return [grade.student, mark, grade.auto, grade.comment, grade.penalty_pct, penalised]


@dataclass(frozen=True, slots=True)
class FilledMarks:
    """The changes of a row for a student; ``comment`` is None where it stays.

    ``has_other_sum``: its ``mark`` differs from the student's total, and is not read.
    """

    grade: StudentGrade
    marks: Mapping[str, MarkEntry]
    comment: str | None
    has_other_sum: bool = False

    @property
    def changes(self) -> bool:
        return bool(self.marks) or self.comment is not None


def filled_marks(
    data: bytes, name: str, grades: Sequence[StudentGrade], earlier: Earlier
) -> tuple[FilledMarks, ...]:
    """Return what a file changes in the marks of an assignment; empty cells change nothing.

    ``name`` is the file's name in messages. The columns are those of an export by question. A cell
    with the mark that was exported changes nothing either, although a newer mark counts; without
    the column of versions that is not known. A changed sum in the column ``mark`` gives the mark
    for the whole where people give such a mark; elsewhere, and beside changed questions, it is not
    read, and other sums never are. Rows without a change that have another sum are returned, too.

    Raises:
        InvalidInput: A row cannot be used, or changes what was changed since it was exported. All
            such rows are named.
        TooLarge: As :func:`~mograder.core.csv_table.read_table`.
    """
    table = read_table(data, name)
    person, version = table.column(*_PERSON), table.column(_VERSION)
    spelled = {title: column for column, title in enumerate(table.columns)}
    titles = {key: question_title(key) for key in question_keys(grades)}
    # The column with a title as it is spelled, else in any case; the last of two for one counts.
    columns = {key: spelled.get(it, table.column(it.lower())) for key, it in titles.items()}
    ordered = sorted(titles, key=lambda key: titles[key] in spelled)
    questions = {column: key for key in ordered if (column := columns[key]) is not None}
    comment, mark = table.column(_COMMENT), table.column(_RAW)
    has_whole = mark is not None and any(_most_of_whole(each) is not None for each in grades)
    if person is None or not (questions or comment is not None or has_whole):
        raise InvalidInput(
            f"{name} has no marks by question.",
            hint="Its first line names the columns: student, the questions, feedback.",
        )
    known = {each.student: each for each in grades}
    found: list[FilledMarks] = []
    problems: list[str] = []
    seen: set[str] = set()
    for row in table.rows:
        try:
            grade = _grade(row, person, known, seen)
            exported = _exported(row.cell(version), grade, earlier)
            filled = _filled(row, grade, exported, questions, comment, mark)
        except MograderError as error:
            problems.append(f"line {row.line} ({row.cell(person)}): {error.message}")
            continue
        if filled.changes or filled.has_other_sum:
            found.append(filled)
    problems += _unknown(table, questions, grades)
    refuse(f"{name} cannot be used; no mark was changed.", problems)
    return tuple(found)


def _grade(
    row: Row, person: int, known: Mapping[str, StudentGrade], seen: set[str]
) -> StudentGrade:
    student = nfc(row.cell(person))
    if student not in known:
        raise InvalidInput("the gradebook has no submission of this student.")
    if student in seen:
        raise InvalidInput("there is another row for this student.")
    seen.add(student)
    return known[student]


def _exported(version: str, grade: StudentGrade, earlier: Earlier) -> StudentGrade:
    """Return the marks of a version; those that count without one."""
    if not version:
        return grade
    if not re.fullmatch(r"[0-9]{1,18}", version):
        raise InvalidInput(f"version is {version[:20]!r}, and not the number of the export.")
    return grade if int(version) >= grade.version else earlier(grade.student, int(version))


def _refuse_newer(what: str, then: object, now: object) -> None:
    if then != now:
        raise InvalidInput(f"{what} was changed since the export: empty this cell or export again.")


def _marks(
    row: Row, grade: StudentGrade, exported: StudentGrade, questions: Mapping[int, str]
) -> Mapping[str, MarkEntry]:
    """Return the marks that differ from those that count, and from those exported."""
    held = {each.key: each for each in grade.questions}
    before = {each.key: number_text(each.points) for each in exported.questions}
    marks: dict[str, MarkEntry] = {}
    for column, key in questions.items():
        told = parse_mark(row.cell(column))
        question = held.get(key)
        if told is None:
            continue
        mark = float(told)  # as the marks available: 1.2 is more than a float of that
        now, then = number_text(question.points if question else None), before.get(key, "")
        if number_text(mark) in (now, then):
            continue
        if question is None or question.available is None:
            raise InvalidInput(f"{key} cannot be marked.")
        if not 0 <= mark <= question.available:
            raise InvalidInput(f"{key} can have 0 to {question.available:g} marks, not {told}.")
        _refuse_newer(f"{key} ({then or '-'} -> {now or '-'})", then, now)
        if question.state == MANUAL:
            wholes = [it.whole and it.whole.points for it in (exported, grade)]
            _refuse_newer(f"the mark for the whole, which {key} would replace,", *wholes)
        marks[key] = MarkEntry(mark, question.comment)
    return marks


def _most_of_whole(grade: StudentGrade) -> float | None:
    """Return the marks available for the whole; None where the total is one of questions only."""
    if grade.whole is not None:
        return None if any(each.open for each in grade.questions) else grade.whole.available
    is_by_question = any(each.available is not None for each in grade.questions)
    return None if is_by_question or grade.auto is not None else grade.max_mark


def _filled(
    row: Row,
    grade: StudentGrade,
    exported: StudentGrade,
    questions: Mapping[int, str],
    comment: int | None,
    mark: int | None,
) -> FilledMarks:
    """Return what a row changes; ``exported`` are the marks from which it was written."""
    marks = _marks(row, grade, exported, questions)
    said = _comment(row.cell(comment), exported, grade)
    total = parse_mark(row.cell(mark))
    same = {number_text(each.total) for each in (grade, exported)}
    if marks or total is None or number_text(float(total)) in same:
        return FilledMarks(grade, marks, said)
    most = _most_of_whole(grade)
    if most is None:
        return FilledMarks(grade, marks, said, has_other_sum=True)
    _refuse_newer(_RAW, (exported.total, exported.auto), (grade.total, grade.auto))
    return FilledMarks(grade, {WHOLE: _whole(grade, float(total), most)}, said)


def _whole(grade: StudentGrade, total: float, most: float) -> MarkEntry:
    """Return the mark for the whole that gives a total."""
    auto = grade.auto or 0.0
    points = sum_of_marks([total, -auto])
    if not 0 <= points <= most:
        limits = " to ".join(number_text(sum_of_marks([auto, each])) for each in (0.0, most))
        raise InvalidInput(f"mark can be {limits}, not {number_text(total)}.")
    return MarkEntry(points, grade.comment)


def _comment(text: str, exported: StudentGrade, grade: StudentGrade) -> str | None:
    then, now = (text_read_back(each.comment).strip() for each in (exported, grade))
    if not text or text.strip() in (then, now):
        return None
    _refuse_newer(_COMMENT, then, now)
    return text


def _unknown(
    table: Table, questions: Mapping[int, str], grades: Sequence[StudentGrade]
) -> Iterator[str]:
    """Yield the columns that may be misspelt questions."""
    keys = ", ".join(question_keys(grades)) or "none"
    for column, title in enumerate(table.columns):
        if column not in questions and question_title(title) == title and title:
            yield f"the column {title!r} is no question (these are: {keys})"


@dataclass(frozen=True, slots=True)
class GradeLine:
    """The mark and comment for one person; ``comment`` is None if the file has no such column.

    The comment is text, or HTML if ``is_html``. With ``from_here``, ``who`` is a name of this
    course's gradebook, else what a teacher wrote; with ``is_user_id`` in a column of user ids.
    ``is_reduced``: the mark has a deduction for lateness.
    """

    line: int
    who: str
    mark: Decimal | None
    comment: str | None
    is_html: bool = False
    from_here: bool = False
    is_user_id: bool = False
    is_reduced: bool = False


@dataclass(frozen=True, slots=True)
class _Columns:
    """The column indexes of a file; None for a column that it does not have."""

    person: tuple[int, ...]
    user_id: tuple[int, ...]
    marks: tuple[int, ...]
    comment: int | None
    format: int | None
    penalty: int | None
    raw: int | None


def line_html(line: GradeLine, *, clear: bool) -> str | None:
    """Return a line's comment as HTML; None keeps the one on Moodle, empty erases it.

    With ``clear``, an empty comment erases; a file without such a column never does.
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
    """Read a file of grades for Moodle: marks with points or decimal commas.

    With ``scale``, marks are items of that scale, by name or by number. ``html_comments``: all
    comments are HTML, not only those whose ``feedback_format`` says so.

    Raises:
        InvalidInput: A line cannot be used. All such lines are named, so that nothing is sent
            before the file is right.
        TooLarge: As :func:`~mograder.core.csv_table.read_table`.
    """
    table = read_table(data, name)
    columns = _Columns(
        table.columns_of(*_PERSON_COLUMNS),
        table.columns_of(*_USER_ID_COLUMNS),
        table.columns_of(*_MARK),
        table.column(*_COMMENT_COLUMNS),
        table.column(_FORMAT),
        table.column(_PENALTY),
        table.column(_RAW),
    )
    if not columns.person or not (columns.marks or columns.comment is not None):
        raise InvalidInput(
            f"{name} is not a file of grades.",
            hint="Its first line names the columns: student, mark, feedback.",
        )
    lines: list[GradeLine] = []
    problems: list[str] = []
    for row in table.rows:
        try:
            lines.append(_line(row, columns, scale, html_comments=html_comments))
        except MograderError as error:
            problems.append(f"line {row.line} ({_first(row, columns.person)}): {error.message}")
    hint = "Write marks as numbers such as 71.5, or leave them empty."
    if scale is not None:
        hint = f"Write the items of the scale: {scale.listed()}."
    refuse(f"{name} cannot be used; nothing was sent.", problems, hint)
    _refuse_twice(((line.line, line.who, nfc(line.who).casefold()) for line in lines), name)
    return tuple(lines)


def server_rows(data: bytes, name: str) -> tuple[GradeRow, ...]:
    """Read a file of grades for an assignment server (B154).

    The columns are sent unchanged. A server merges by ``username`` or ``userid`` and shows
    ``grade`` and ``feedback``; if one of these is empty, its value is taken from an equivalent
    column. If all of these are empty, it is cleared on the server.

    Raises:
        InvalidInput: There is no column with usernames, a row has no username, or two rows have the
            same one.
        TooLarge: As :func:`~mograder.core.csv_table.read_table`.
    """
    table = read_table(data, name)
    if table.column(*_ON_SERVER["username"], *_ON_SERVER["userid"]) is None:
        raise InvalidInput(
            f"{name} has no column 'username': {', '.join(table.columns) or 'it is empty'}.",
            hint="Its first line must name the columns, such as username,grade,feedback.",
        )
    places = {wanted: table.columns_of(*names) for wanted, names in _ON_SERVER.items()}
    rows: list[GradeRow] = []
    for row in table.rows:
        values = {column: row.cell(n) for n, column in enumerate(table.columns) if column}
        found = {wanted: _first(row, columns) for wanted, columns in places.items()}
        told = {n: value for n, value in found.items() if value or (n in _CLEARED and places[n])}
        rows.append(GradeRow(values | told))
        if not rows[-1].who:
            raise InvalidInput(f"{name}, line {row.line}: {_NOBODY}", hint=_FILL_IN)
    numbers = (row.line for row in table.rows)
    named = zip(numbers, (row.who for row in rows), strict=True)
    _refuse_twice(((line, who, who) for line, who in named), name)
    return tuple(rows)


def is_mark(text: str) -> bool:
    """Return whether a cell is a number or empty; a server takes any text."""
    try:
        parse_mark(text)
    except InvalidInput:
        return False
    return True


def _line(row: Row, columns: _Columns, scale: Scale | None, *, html_comments: bool) -> GradeLine:
    column = next((each for each in columns.person if row.cell(each)), None)
    if column is None:
        raise InvalidInput(_NOBODY, hint=_FILL_IN)
    kind = row.cell(columns.format).lower()
    if kind not in _FORMATS:
        raise InvalidInput(f"feedback_format is {kind[:20]!r}, and can be text or html.")
    is_html = _FORMATS[kind] or (html_comments and not kind)
    comment, percent, raw = map(row.cell, (columns.comment, columns.penalty, columns.raw))
    is_reduced = _is_percentage(percent)
    if raw and is_reduced:  # without a mark, the deduction may still change
        late = _late(percent, raw)
        comment = f"<p>{html.escape(late)}</p>{comment}" if is_html else f"{late}\n\n{comment}"
    parse = parse_mark if scale is None else scale.parse
    marks = (parse(row.cell(each)) for each in columns.marks)
    return GradeLine(
        row.line,
        row.cell(column),
        next((mark for mark in marks if mark is not None), None),
        None if columns.comment is None else comment.rstrip(),
        is_html,
        is_user_id=column in columns.user_id,
        is_reduced=is_reduced,
    )


def _is_percentage(text: str) -> bool:
    return bool(text.strip("0.,"))


def _first(row: Row, columns: Sequence[int]) -> str:
    return next((row.cell(each) for each in columns if row.cell(each)), "")


def from_gradebook(
    grades: Sequence[StudentGrade], *, scale: Scale | None = None
) -> tuple[GradeLine, ...]:
    """Return lines with unrounded marks; raises InvalidInput for one that is no item of a scale."""
    return tuple(
        GradeLine(
            number,
            each.student,
            _gradebook_mark(each, scale),
            _moodle_comment(each),
            from_here=True,
            is_reduced=bool(each.penalty_pct),
        )
        for number, each in enumerate(grades, start=1)
    )


def server_rows_of(grades: Sequence[StudentGrade]) -> tuple[GradeRow, ...]:
    """Return the rows for an assignment server of the students in the gradebook with a mark."""
    return tuple(
        GradeRow(
            {
                "username": each.student,
                "grade": number_text(each.final),
                "feedback": each.comment,
            }
        )
        for each in grades
        if each.final is not None
    )


def reservations(grades: Sequence[StudentGrade]) -> tuple[str, ...]:
    """Return a sentence for every mark that is missing, and for every one to look at first."""
    sentences: list[str] = []
    for each in grades:
        waiting = waiting_for(each)
        if each.final is None and (waiting or each.run is not None):
            why = f": {', '.join(waiting)}" if waiting else ""
            sentences.append(f"{each.student} has no mark{why}.")
        sentences += [f"{each.student}: {flag}." for flag in each.flags]
    return tuple(sentences)


def _moodle_comment(grade: StudentGrade) -> str:
    """Return the comment on a submission, after a line about the deduction for lateness, if any."""
    if not grade.penalty_pct or grade.total is None or grade.final is None:
        return grade.comment
    late = _late(number_text(grade.penalty_pct), number_text(grade.total))
    return f"{late}\n\n{grade.comment}".rstrip()


def _late(percent: str, raw: str) -> str:
    """Return the line about a deduction, as 0.3.16 words it; ``raw`` is the mark before it."""
    return f"Late penalty: -{percent}%. Raw mark: {raw}."


def is_only_late(comment: str) -> bool:
    """Return whether a comment on Moodle is our line about a deduction, and nothing else."""
    return _ONLY_LATE.fullmatch(comment.strip()) is not None


def _gradebook_mark(grade: StudentGrade, scale: Scale | None) -> Decimal | None:
    if grade.final is None:
        return None
    text = number_text(grade.final)
    try:
        return parse_mark(text) if scale is None else scale.parse(text)
    except InvalidInput as error:
        if scale is None:
            hint = "Give another mark: Moodle takes numbers from 0."
        else:
            hint = f"The items of the scale: {scale.listed()}."
        raise InvalidInput(
            f"The mark of {grade.student} in the gradebook: {error.message}", hint=hint
        ) from error


def _refuse_twice(people: Iterable[tuple[int, str, Hashable]], name: str) -> None:
    """Raise if two rows are for one person; ``people`` are line, name, and key of comparison."""
    seen: dict[Hashable, int] = {}
    for line, who, key in people:
        first = seen.setdefault(key, line)
        if first != line:
            raise InvalidInput(f"{name} has {who} twice: in lines {first} and {line}.")
