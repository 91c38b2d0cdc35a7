"""Exchange with 0.3.16's gradebook: import of what it has changed, and export of our marks into it.

Imported rows become rows of our history. A mark that 0.3.16 gave is one for all questions without
checks together, by the marker ``mograder 0.3.16``. Its grading counts only for work that was never
graded here. Exported rows have the meanings that 0.3.16 expects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, func, inspect, select

from mograder.marks import sum_of_marks
from mograder.store.database.database import upsert
from mograder.store.gradebook.gradebook_0316 import (
    Exchanged,
    Gradebook0316,
    Outcome,
    Row0316,
    Told,
    assignments,
    local_iso,
    metadata,
    newest_given,
    put_exchanged,
    read_exchanged,
    read_gradebook,
    students,
    submissions,
)
from mograder.store.gradebook.gradebook_marks import (
    insert_mark,
    put,
    put_assignment,
    put_work,
    read_assignment,
    read_assignments,
    read_rows,
)
from mograder.store.gradebook.gradebook_tables import grading_runs, student_names
from mograder.store.gradebook.grading_records import (
    DOUBTFUL,
    EARLIER_MARKER,
    IMPORTED,
    MANUAL,
    WHOLE,
    AssignmentRow,
    Penalty,
    RecordedMark,
    StudentGrade,
    Work,
    checks_json,
    checks_of,
    text_of,
    texts_of,
    utc_iso,
)
from mograder.store.gradebook.mark_counting import (
    CLOSE,
    StudentRows,
    available_to_people,
    grade_of,
    manual_percent,
    only_earlier,
    row_for_comment,
)

_PERCENT = 100.0
Deductions = Mapping[tuple[str, str], Penalty]
"""The deductions for lateness that count, by assignment and student."""


@dataclass(frozen=True, slots=True)
class _Step:
    """The import of one row: what is known of the student then, what to say, and a mark to add."""

    row: Row0316
    updated: str
    rows: StudentRows
    told: Told | None = None
    mark: RecordedMark | None = None


def import_gradebook(
    connection: Connection,
    found: Gradebook0316,
    at: datetime,
    *,
    replaces: bool = False,
) -> tuple[Told, ...]:
    """Take over what 0.3.16 has changed; return what there is to say about the rows.

    Where people have marked the work here since the last exchange, too, nothing is taken, unless
    ``replaces``: then the mark of 0.3.16 counts, and those of here stay in the history.
    """
    names = sorted({row.assignment for row, _ in found.submissions})
    steps: list[_Step] = []
    for name in names:
        steps += _steps(connection, name, found, at, replaces=replaces)
    for each in steps:
        if each.told is None or each.told.outcome is not Outcome.CONFLICT:
            _take(connection, each, found.place)
    for name in names:
        put_exchanged(connection, _written_again(connection, name, found), found.place)
    graded = set(connection.execute(select(grading_runs.c.assignment).distinct()).scalars())
    for name, assignment in found.assignments.items():
        if name not in graded or read_assignment(connection, name) is None:
            put_assignment(connection, assignment)
    known = _names(connection)
    for username, full_name in found.names.items():
        if not known.get(username):
            put(connection, student_names, {"username": username, "full_name": full_name})
    return tuple(each.told for each in steps if each.told is not None)


def _steps(
    connection: Connection, name: str, found: Gradebook0316, at: datetime, *, replaces: bool
) -> Iterator[_Step]:
    known = {each.student: each for each in read_rows(connection, name)}
    exchanged = read_exchanged(connection, name, found.place)
    theirs = found.assignment(name)
    for row, updated in found.submissions:
        last = exchanged.get(row.student)
        if row.assignment != name or (last is not None and last.row == row):
            continue
        rows = known.get(row.student) or StudentRows(theirs, row.student)
        if not rows.runs:
            rows = replace(rows, assignment=theirs)
        yield _step(_Step(row, updated, rows), theirs, last, at, replaces=replaces)


def _written_again(
    connection: Connection, name: str, found: Gradebook0316
) -> Iterator[tuple[Exchanged, str]]:
    """Yield the rows of which 0.3.16 has changed nothing but ``updated_at`` since the exchange.

    Its ``feedback`` and ``autograde`` do so. Unrecorded, such a row would be told as changed.
    """
    exchanged = read_exchanged(connection, name, found.place)
    for row, updated in found.submissions:
        last = exchanged.get(row.student) if row.assignment == name else None
        if last is not None and last.row == row and last.updated_at != updated:
            yield last, updated


def _step(
    step: _Step, theirs: AssignmentRow, last: Exchanged | None, at: datetime, *, replaces: bool
) -> _Step:
    row, rows, held = step.row, step.rows, last.row if last is not None else None
    grade = grade_of(rows)
    given = _given(row, theirs, rows, held)
    is_said = row.feedback != (held.feedback if held is not None else "")
    percent = manual_percent(rows.assignment, grade.manual)
    agrees = row.feedback == grade.comment and (
        given is None or _is_same_percent(row.manual_mark, percent)
    )
    after = replace(step, rows=replace(rows, work=_work(row, rows, held)))
    if agrees or not (given or is_said):
        return replace(after, told=_noted(row, rows, held))
    if not replaces and newest_given(rows) > (last.mark if last is not None else 0):
        return replace(step, told=Told(*row.key, Outcome.CONFLICT, _both(row, grade)))
    if last is None and not rows.runs:  # else from now, as the marks before it count until then
        with suppress(ValueError, OverflowError):  # the latter for a time before the year 1 in UTC
            at = datetime.fromisoformat(row.graded_at).astimezone(UTC)
    mark = replace(
        given or row_for_comment(rows),
        comment=row.feedback,
        marker=EARLIER_MARKER,
        at=utc_iso(at),
    )
    what = "a comment"
    earlier = held.total_mark if held is not None else None
    if not rows.runs and row.total_mark not in (None, earlier):
        what = f"total {row.total_mark:g}, a comment"
    if given is not None:
        what = f"{mark.points:g} of {mark.available:g} marks by a person, total {row.total_mark:g}"
    return replace(after, told=Told(*row.key, Outcome.DONE, what), mark=mark)


def _given(
    row: Row0316, theirs: AssignmentRow, rows: StudentRows, held: Row0316 | None
) -> RecordedMark | None:
    """Return the mark that a person gave with 0.3.16 since the last exchange; None without one.

    A mark without a new time of marking was read from the text of a notebook, which may be the
    student's own: it does not count for work that was graded or exchanged before.
    """
    if row.manual_mark is None or row.total_mark is None:
        return None
    if held is not None and _is_same_percent(row.manual_mark, held.manual_mark):
        return None
    is_known = bool(rows.runs) or held is not None
    if is_known and row.graded_at in ("", held.graded_at if held is not None else ""):
        return None
    if row.auto_mark is not None and theirs.manual_available <= 0:
        return None  # 0.3.16 saves its slider as the total although there is nothing to mark
    doubtful = is_doubtful(row, theirs)
    state = DOUBTFUL if doubtful else MANUAL if row.graded_at else IMPORTED
    points, available = _points(row, theirs), available_to_people(theirs)
    run = rows.runs[-1].number if rows.runs else None
    return RecordedMark(0, WHOLE, points, available, state, run=run)


def _points(row: Row0316, assignment: AssignmentRow) -> float:
    """Return the points of 0.3.16's mark; its total tells them, which has lost auto's fraction."""
    total, percent = row.total_mark or 0.0, row.manual_mark or 0.0
    if row.auto_mark is None:
        return total
    scaled = round(percent / _PERCENT * assignment.manual_available)
    if is_doubtful(row, assignment) or _is_close(total, math.trunc(row.auto_mark) + scaled):
        return float(scaled)
    return sum_of_marks([total, -row.auto_mark])


def is_doubtful(row: Row0316, assignment: AssignmentRow) -> bool:
    """Return whether 0.3.16 has graded again and added its percentage to the total as points."""
    if row.manual_mark is None or row.auto_mark is None or row.total_mark is None:
        return False
    again = bool(row.graded_at) and row.graded_at < row.autograded_at
    added = _is_close(row.total_mark, row.auto_mark + row.manual_mark)
    percentage = not _is_close(assignment.manual_available, _PERCENT)
    return again and added and percentage and row.manual_mark > 0


def _work(row: Row0316, rows: StudentRows, held: Row0316 | None) -> Work:
    """Return the student's work after the import of a row.

    Work that was graded here and never exchanged may have a deduction in its row that an earlier
    version of this program wrote: that one is not taken. As 0.3.16 itself, it reads a mark after a
    deduction only beside a percentage.
    """
    work = rows.work or Work()
    if not rows.runs:
        work = replace(
            work,
            total=row.total_mark,
            earlier_auto=row.auto_mark,
            earlier_submitted=row.submitted_at,
            cell_errors=int(row.cell_errors),
            tampered=texts_of(row.tampered),
            checks=checks_of(row.check_results),
        )
    before = (held.penalty_pct, held.penalised_mark) if held is not None else (None, None)
    news = row.penalty_pct, row.penalised_mark
    if news != before and (held is not None or not rows.runs):
        mark = None if row.penalty_pct is None else row.penalised_mark
        work = replace(work, earlier_pct=row.penalty_pct, earlier_mark=mark)
    return work


def _noted(row: Row0316, rows: StudentRows, held: Row0316 | None) -> Told | None:
    if rows.runs and held is not None and row.auto_mark != held.auto_mark:
        text = "mograder 0.3.16 graded this again; its result does not count here"
        return Told(*row.key, Outcome.NOTED, text)
    if held is None and not rows.runs and not rows.marks:
        total = "no mark yet" if row.total_mark is None else f"total {row.total_mark:g}"
        return Told(*row.key, Outcome.DONE, total)
    return None


def _both(row: Row0316, grade: StudentGrade) -> str:
    theirs = "no mark" if row.total_mark is None else f"{row.total_mark:g}"
    ours = "no total yet" if grade.total is None else f"{grade.total:g}"
    also = "" if row.feedback == grade.comment else ", and the comments differ"
    return f"marked here and by mograder 0.3.16: the total is {ours} here and {theirs} there{also}"


def _take(connection: Connection, step: _Step, place: str) -> None:
    rows = step.rows
    if step.mark is not None:
        rows = insert_mark(connection, rows, step.mark)
    put_work(connection, rows)
    put_exchanged(connection, [(Exchanged(step.row, newest_given(rows)), step.updated)], place)


def _names(connection: Connection) -> Mapping[str, str]:
    return {row.username: row.full_name for row in connection.execute(select(student_names))}


def _is_same_percent(theirs: float | None, ours: float | None) -> bool:
    """Return whether a percentage is ours, perhaps without its fraction.

    0.3.16's page saves the whole percentage when one goes on to the next student.
    """
    if theirs is None or ours is None:
        return theirs is ours
    return _is_close(theirs, ours) or theirs == math.trunc(ours)


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=CLOSE)


@dataclass(frozen=True, slots=True)
class Export:
    """Everything that follows from our marks, and the last exchanges by assignment and student.

    ``rows`` have the number of the student's newest mark by a person; ``names`` are by username.
    """

    assignments: tuple[AssignmentRow, ...]
    names: Mapping[str, str]
    rows: Sequence[Exchanged]
    last: Mapping[tuple[str, str], Exchanged]


@dataclass(frozen=True, slots=True)
class Difference:
    """The rows and names that an export has to write, and the sentences about them.

    ``rows`` have the ``updated_at`` of the row in their place, None without one. ``agreed`` are
    rows with ``updated_at`` that are the same on both sides, which is not recorded yet.
    """

    export: Export
    told: Sequence[Told]
    names: Mapping[str, str]
    rows: Sequence[tuple[Exchanged, str | None]]
    agreed: Sequence[tuple[Exchanged, str]]


def prepare_export(
    connection: Connection, deductions: Deductions, at: datetime, place: str
) -> Export:
    """Return the rows that follow from our marks, for a place (:func:`place_of`)."""
    rows: list[Exchanged] = []
    exchanged: dict[tuple[str, str], Exchanged] = {}
    known = read_assignments(connection)
    for assignment in known:
        last = read_exchanged(connection, assignment.name, place)
        exchanged |= {each.row.key: each for each in last.values()}
        graded = _graded_at(connection, assignment.name)
        for each in read_rows(connection, assignment.name):
            held = last[each.student].row if each.student in last else None
            deduction = deductions.get((assignment.name, each.student)) or Penalty(None, None)
            row = _row_of(each, held, deduction)
            when = graded.get(each.student) or row.autograded_at or local_iso(at)
            rows.append(Exchanged(replace(row, autograded_at=when), newest_given(each)))
    return Export(known, _names(connection), rows, exchanged)


def compare_export(file: Connection, export: Export, *, replaces: bool = False) -> Difference:
    """Compare an export with ``file``; what 0.3.16 changed is left, unless ``replaces``."""
    found = read_gradebook(file)
    there = {row.key: (row, updated) for row, updated in found.submissions}
    told: list[Told] = []
    news: list[tuple[Exchanged, str | None]] = []
    agreed: list[tuple[Exchanged, str]] = []
    for each in export.rows:
        key, last = each.row.key, export.last.get(each.row.key)
        row, updated = there.get(key, (None, None))
        if row == each.row:
            is_recorded = last == each and last.updated_at == updated
            agreed += [] if is_recorded else [(each, updated or "")]
        elif row is None or replaces or (last is not None and row == last.row):
            news.append((each, updated))
            told.append(Told(*key, Outcome.DONE, _mark_of(each.row)))
        else:
            text = f"mograder 0.3.16 has changed this row ({_mark_of(row)}), which is not imported"
            told.append(Told(*key, Outcome.CONFLICT, text))
    names = {user: name for user, name in export.names.items() if found.names.get(user) != name}
    return Difference(export, told, names, news, agreed)


def write_export(
    file: Connection, found: Difference, at: datetime
) -> Sequence[tuple[Exchanged, str]]:
    """Write what still differs as compared; return the rows that both sides agree on."""
    metadata.create_all(file)
    for table in metadata.sorted_tables:  # an older program did not have all columns
        present = {column["name"] for column in inspect(file).get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                kind = column.type.compile(file.dialect)
                file.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
    stamps = select(submissions.c.assignment, submissions.c.student, submissions.c.updated_at)
    now = {(row[0], row[1]): text_of(row[2]) for row in file.execute(stamps)}
    news = [each for each, updated in found.rows if now.get(each.row.key) == updated]
    # Another assignment's marks may have been changed there since.
    written = {each.row.assignment for each in news}
    for assignment in (each for each in found.export.assignments if each.name in written):
        keys, told = sorted(assignment.automatic), assignment.marks or {}
        # 0.3.16 writes whole marks without a fraction.
        marks = {key: int(mark) if mark == int(mark) else mark for key, mark in told.items()}
        row = {
            "name": assignment.name,
            "max_mark": assignment.max_mark,
            "marks_metadata": json.dumps(marks) if marks else None,
            "auto_check_keys": json.dumps(keys) if keys else None,
        }
        put(file, assignments, row)
    for username, full_name in found.names.items():
        put(file, students, {"username": username, "full_name": full_name})
    updated_at = local_iso(at)
    values = [{**each.row.columns(), "updated_at": updated_at} for each in news]
    if values:
        file.execute(upsert(file, submissions, values[0]), values)
    return [*found.agreed, *((each, updated_at) for each in news)]


def _row_of(rows: StudentRows, held: Row0316 | None, deduction: Penalty) -> Row0316:
    """Return a student's row; of work that only 0.3.16 has graded and marked, with its columns."""
    grade, work = grade_of(rows), rows.work or Work()
    submitted = grade.submitted_at if deduction.submitted_at is None else deduction.submitted_at
    marked = grade.graded_at and local_iso(datetime.fromisoformat(grade.graded_at))
    if held is None or not only_earlier(rows):
        held = replace(
            held or Row0316(rows.assignment.name, rows.student),
            auto_mark=grade.auto,
            manual_mark=manual_percent(rows.assignment, grade.manual),
            total_mark=grade.total,
            cell_errors=work.cell_errors,
            feedback=grade.comment,
            tampered=json.dumps(list(work.tampered)),
            check_results=checks_json(work.checks),
            graded_at=marked,
        )
    return replace(
        held,
        penalty_pct=deduction.percent,
        penalised_mark=deduction.mark,
        submitted_at="" if submitted is None else str(int(submitted)),
    )


def _mark_of(row: Row0316) -> str:
    mark = row.total_mark if row.penalised_mark is None else row.penalised_mark
    return "no total yet" if mark is None else f"mark {mark:g}"


def _graded_at(connection: Connection, assignment: str) -> Mapping[str, str]:
    runs = grading_runs.c
    wanted = select(runs.student, func.max(runs.at)).where(runs.assignment == assignment)
    found = connection.execute(wanted.group_by(runs.student))
    return {student: local_iso(datetime.fromisoformat(at)) for student, at in found}
