"""Results of grading and marks by question: two tables of ``gradebook.db``, and 0.3.16's row.

Private to ``store.gradebook.gradebook``, which opens the transactions. After every change the row
of ``submissions`` is written again from the marks that count, so that 0.3.16 shows the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, RowMapping, Select, Table, case, func, insert, select
from sqlalchemy.sql.elements import ColumnElement

from mograder.core.clock import utc_iso
from mograder.store.database.database import upsert
from mograder.store.gradebook.gradebook_rows import (
    PENALTY_COLUMNS,
    AssignmentRow,
    DamagedRow,
    Marks,
    assignment_from_row,
    by_student,
    damaged_json,
    from_row,
    number_or_none,
    penalty_from_row,
)
from mograder.store.gradebook.gradebook_tables import (
    assignments,
    grading_runs,
    mirrored,
    question_marks,
    students,
    submissions,
)
from mograder.store.gradebook.grading_records import (
    MACHINE,
    MANUAL,
    NEEDS_ATTENTION,
    REMOVED,
    WHOLE,
    FinalMark,
    GradingRun,
    Penalty,
    RecordedMark,
    RecordedRun,
    RunQuestion,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import (
    Mirrored,
    RunFacts,
    StudentRows,
    grade_of,
    is_stale,
    latest_by_question,
    manual_percent,
    mark_after,
    marked_by_earlier,
    short_grade,
)

_Students: TypeAlias = str | Collection[str] | None
_NEWER = 1_000_000_000_000
"""More than the number of runs: a run with marks counts before any that needs attention."""

_RUN_FACTS = ("student", "id", "submission_sha256", "state", "problem")
MARK_COLUMNS = (
    "student",
    "id",
    "question",
    "points",
    "available",
    "state",
    "comment",
    "marker",
    "run",
    "at",
)
"""The student, and what :class:`RecordedMark` is made of."""


@dataclass(frozen=True, slots=True)
class RowStamp:
    """When a row was last written, as 0.3.16 writes times, and whether that was us."""

    updated: str
    is_ours: bool


def read_assignment(connection: Connection, name: str) -> AssignmentRow | None:
    """Return an assignment, None if the gradebook does not have it."""
    wanted = select(assignments).where(assignments.c.name == name)
    row = connection.execute(wanted).mappings().first()
    return None if row is None else assignment_from_row(row)


def read_assignments(connection: Connection) -> tuple[AssignmentRow, ...]:
    """Return all assignments, also those that only submissions name, in alphabetical order."""
    rows = map(assignment_from_row, connection.execute(select(assignments)).mappings())
    known = {row.name: row for row in rows}
    for name in connection.execute(select(submissions.c.assignment).distinct()).scalars():
        known.setdefault(name, AssignmentRow(name))
    return tuple(known[name] for name in sorted(known))


def read_rows(
    connection: Connection, assignment: str, student: _Students = None
) -> tuple[StudentRows, ...]:
    """Return what is known of all students, of some or of one, ordered by username."""
    known = read_assignment(connection, assignment) or AssignmentRow(assignment)
    rows = {
        each["student"]: from_row(each)
        for each in _of(connection, submissions, assignment, student)
    }
    written = {
        each["student"]: Mirrored(
            each["updated_at"], each["auto_mark"], each["manual_mark"], each["graded_at"]
        )
        for each in _of(connection, mirrored, assignment, student)
    }
    own = _where(question_marks, assignment, student)
    marks = by_student(_columns(connection, question_marks, MARK_COLUMNS, own), RecordedMark)
    own = _where(grading_runs, assignment, student)
    runs = by_student(_columns(connection, grading_runs, _RUN_FACTS, own), RunFacts)
    return tuple(
        StudentRows(
            known,
            each,
            rows.get(each),
            written.get(each),
            marks.get(each, ()),
            runs.get(each, ()),
        )
        for each in sorted(rows.keys() | marks.keys() | runs.keys(), key=str.casefold)
    )


def read_stamps(
    connection: Connection, names: Collection[str], students: Collection[str] | None
) -> Mapping[tuple[str, str], RowStamp]:
    """Return the states of rows, by assignment and student."""
    rows, ours = submissions.c, mirrored.c
    same = (ours.assignment == rows.assignment) & (ours.student == rows.student)
    wanted = (
        select(rows.assignment, rows.student, rows.updated_at, ours.updated_at.label("ours"))
        .select_from(submissions.outerjoin(mirrored, same))
        .where(rows.assignment.in_(names))
    )
    if students is not None:
        wanted = wanted.where(rows.student.in_(students))
    return {
        (row.assignment, row.student): RowStamp(row.updated_at or "", row.updated_at == row.ours)
        for row in connection.execute(wanted)
    }


def read_short_grades(
    connection: Connection, assignment: str, students: Collection[str] | None
) -> tuple[StudentGrade, ...]:
    """Return marks without their questions, as the rows have them that 0.3.16 reads."""
    runs = grading_runs.c
    graded = select(runs.student, func.max(runs.id)).where(runs.assignment == assignment)
    newest = {row[0]: row[1] for row in connection.execute(graded.group_by(runs.student))}
    own = _where(submissions, assignment, students)
    columns = (submissions.c[name] for name in PENALTY_COLUMNS)
    return tuple(
        short_grade(penalty_from_row(assignment, row), newest.get(row.student))
        for row in connection.execute(select(*columns).where(own))
    )


def read_finals(connection: Connection, student: str | None) -> Iterable[FinalMark]:
    """Yield the marks of all assignments that count, as the rows have them that 0.3.16 reads."""
    c = submissions.c
    columns = (c.assignment, c.student, c.total_mark, c.penalty_pct, c.penalised_mark)
    wanted = select(*columns) if student is None else select(*columns).where(c.student == student)
    for assignment, name, *marks in connection.execute(wanted).all():
        total, percent, penalised = map(number_or_none, marks)
        final = total
        if total is not None and percent is not None:
            final = None if is_stale(total, percent, penalised) else penalised
        yield FinalMark(assignment, name, final)


def read_student(connection: Connection, assignment: str, student: str) -> StudentRows:
    """Return what is known of one student; empty records for a student without any."""
    for rows in read_rows(connection, assignment, student):
        return rows
    known = read_assignment(connection, assignment) or AssignmentRow(assignment)
    return StudentRows(known, student)


def read_runs(
    connection: Connection, assignment: str, student: str | None
) -> tuple[RecordedRun, ...]:
    """Return the grading runs of a student's submissions, or of all, oldest first."""
    return tuple(map(_run, _of(connection, grading_runs, assignment, student)))


def read_run(
    connection: Connection, assignment: str, student: str, number: int
) -> RecordedRun | None:
    """Return a grading run of a student's submissions, None without it."""
    own = _where(grading_runs, assignment, student) & (grading_runs.c.id == number)
    row = connection.execute(select(grading_runs).where(own)).mappings().first()
    return None if row is None else _run(row)


def read_run_facts(connection: Connection, assignment: str, student: str) -> Sequence[RunFacts]:
    """Return the grading runs of a student's submissions without their results, oldest first."""
    own = _where(grading_runs, assignment, student)
    runs = by_student(_columns(connection, grading_runs, _RUN_FACTS, own), RunFacts)
    return runs.get(student, ())


def explaining_runs(assignments: Collection[str], students: _Students) -> Select[Any]:
    """Select the number of each student's run that explains the marks.

    It is the newest one with marks, else the newest (``grading.results.grading_result``).
    """
    runs = grading_runs.c
    order = case((runs.state != NEEDS_ATTENTION, _NEWER), else_=0) + runs.id
    own: ColumnElement[bool] = runs.assignment.in_(assignments)
    if students is not None:
        own &= runs.student.in_([students] if isinstance(students, str) else students)
    newest = select(func.max(order).label("newest")).where(own)
    grouped = newest.group_by(runs.assignment, runs.student).subquery()
    return select(grouped.c.newest % _NEWER)


def read_explaining_runs(
    connection: Connection, assignment: str, students: _Students
) -> tuple[RecordedRun, ...]:
    """Return the run that explains each student's marks, of all students or of some."""
    numbers = explaining_runs([assignment], students)
    wanted = select(grading_runs).where(grading_runs.c.id.in_(numbers))
    return tuple(map(_run, connection.execute(wanted).mappings()))


def _run(row: RowMapping) -> RecordedRun:
    return RecordedRun(
        row["id"],
        row["assignment"],
        row["student"],
        row["submission_sha256"],
        row["state"],
        row["problem"],
        row["result"],
        row["signature"],
        row["at"],
    )


def students_with_runs(connection: Connection, assignment: str) -> tuple[str, ...]:
    """Return the students with grading runs, sorted."""
    wanted = select(grading_runs.c.student).where(grading_runs.c.assignment == assignment)
    return tuple(sorted(connection.execute(wanted.distinct()).scalars()))


def known_students(connection: Connection) -> frozenset[str]:
    """Return the students of all tables."""
    named = students.c.username
    others = (table.c.student for table in (submissions, question_marks, grading_runs))
    found = (connection.execute(select(each).distinct()).scalars() for each in (named, *others))
    return frozenset(student for names in found for student in names)


def damaged_rows(connection: Connection) -> Iterable[DamagedRow]:
    """Yield the rows with a text that should be JSON and is not."""
    for row in connection.execute(select(assignments)).mappings():
        for column in damaged_json(row, {"marks_metadata": dict, "auto_check_keys": list}):
            yield DamagedRow(str(row["name"]), "", column)
    for row in connection.execute(select(submissions)).mappings():
        for column in damaged_json(row, {"tampered": list, "check_results": list}, needed=True):
            yield DamagedRow(str(row["assignment"]), str(row["student"]), column)


def insert_run(connection: Connection, run: GradingRun) -> int:
    """Record a grading run with its marks; return its number."""
    # First, since 0.3.16's percentage is one of the marks that the assignment had so far.
    keep_earlier_mark(connection, read_student(connection, run.assignment, run.student), run.at)
    if run.questions or read_assignment(connection, run.assignment) is None:
        _write_assignment(connection, run)
    before = read_student(connection, run.assignment, run.student)
    number = _insert(
        connection,
        grading_runs,
        assignment=run.assignment,
        student=run.student,
        submission_sha256=run.submission_sha256,
        state=str(run.state),
        problem=run.problem,
        result=run.result,
        signature=run.signature,
        at=utc_iso(run.at),
    )
    for question in _changed(before, run):
        insert_mark(
            connection,
            run.assignment,
            run.student,
            RecordedMark(
                0,
                question.key,
                question.points,
                question.available,
                str(question.state),
                question.reason,
                MACHINE,
                number,
                utc_iso(run.at),
            ),
        )
    _mirror_run(connection, before, run)
    return number


def insert_mark(connection: Connection, assignment: str, student: str, mark: RecordedMark) -> int:
    """Add a row to the history of marks; return the number that the database gives it."""
    return _insert(
        connection,
        question_marks,
        assignment=assignment,
        student=student,
        question=mark.question,
        points=mark.points,
        available=mark.available,
        state=mark.state,
        comment=mark.comment,
        marker=mark.marker,
        run=mark.run,
        at=mark.at,
    )


def keep_earlier_mark(connection: Connection, rows: StudentRows, at: datetime) -> None:
    """Add a mark that 0.3.16 gave to our history, before its row is written again."""
    mark = marked_by_earlier(rows)
    if mark is None or rows.row is None:
        return
    run = rows.runs[-1].number if rows.runs else None
    when = _utc_of(rows.row.graded_at, at)
    news = RecordedMark(
        0,
        WHOLE,
        mark.points,
        mark.available,
        mark.state,
        rows.row.feedback,
        mark.marker,
        run,
        when,
    )
    insert_mark(connection, rows.assignment.name, rows.student, news)


def mirror(
    connection: Connection,
    assignment: str,
    student: str,
    at: datetime,
    changes: Mapping[str, object],
) -> StudentGrade:
    """Write the row that 0.3.16 reads from the marks that count; return these.

    ``changes`` are further columns of the row. The penalised mark follows the total; other work
    waits for a new penalty.
    """
    return mirror_rows(connection, read_student(connection, assignment, student), at, changes)


def mirror_rows(
    connection: Connection, rows: StudentRows, at: datetime, changes: Mapping[str, object]
) -> StudentGrade:
    """Do as :func:`mirror`, with all that was read of the student after the last change."""
    assignment, student = rows.assignment.name, rows.student
    # The row is compared with itself here: the changes of 0.3.16 were taken over before.
    held = rows.row or Marks(assignment, student)
    same = Mirrored(held.updated_at, held.auto_mark, held.manual_mark, held.graded_at)
    rows = replace(rows, mirrored=same)
    grade = grade_of(rows)
    updated = _later_than(held.updated_at, at)
    percent = manual_percent(rows.assignment, grade.manual)
    values: dict[str, object] = {
        "auto_mark": grade.auto,
        "manual_mark": percent,
        "total_mark": grade.total,
        "updated_at": updated,
        **changes,
    }
    if grade.total != held.total_mark and held.penalty_pct is not None:
        total, percent = grade.total, held.penalty_pct
        values.setdefault("penalised_mark", None if total is None else mark_after(total, percent))
    key = {"assignment": assignment, "student": student}
    _put(connection, submissions, key, values)
    stamp = {
        "updated_at": updated,
        "auto_mark": grade.auto,
        "manual_mark": percent,
        "graded_at": values.get("graded_at", held.graded_at),
    }
    _put(connection, mirrored, key, stamp)
    return grade


def write_penalty(
    connection: Connection, key: tuple[str, str], stamp: RowStamp, penalty: Penalty, at: datetime
) -> None:
    """Write the columns of a late submission, into the row of an assignment and a student."""
    updated = _later_than(stamp.updated, at)
    values: dict[str, object] = {
        "penalty_pct": penalty.percent,
        "penalised_mark": penalty.mark,
        "updated_at": updated,
    }
    if penalty.submitted_at is not None:
        values["submitted_at"] = _unix_text(penalty.submitted_at)
    place = dict(zip(("assignment", "student"), key, strict=True))
    _put(connection, submissions, place, values)
    if stamp.is_ours:
        _put(connection, mirrored, place, {"updated_at": updated})


def _write_assignment(connection: Connection, run: GradingRun) -> None:
    keys = sorted(each.key for each in run.questions if each.state != MANUAL)
    values = {
        "max_mark": run.max_mark,
        "marks_metadata": _marks_json(run.marks) if run.marks else None,
        "auto_check_keys": json.dumps(keys) if keys else None,
    }
    _put(connection, assignments, {"name": run.assignment}, values)


def _marks_json(marks: Mapping[str, float]) -> str:
    """Return marks as 0.3.16 writes them: whole ones without a fraction."""
    whole = {key: int(mark) if mark == int(mark) else mark for key, mark in marks.items()}
    return json.dumps(whole)


def _changed(before: StudentRows, run: GradingRun) -> Iterable[RunQuestion]:
    """Yield the questions whose mark by grading is another one now."""
    graded, _ = latest_by_question(before.marks)
    works = {each.number: each.submission_sha256 for each in before.runs}
    for question in run.questions:
        last = graded.get(question.key)
        if last is None:
            yield question
            continue
        is_same_work = works.get(last.run or 0) == run.submission_sha256
        if question.state == NEEDS_ATTENTION and is_same_work and last.state != REMOVED:
            continue  # the mark of the same submission stays
        news = (question.points, question.available, question.state, question.reason)
        if not is_same_work or news != (last.points, last.available, last.state, last.comment):
            yield question
    if run.questions:
        keys = {question.key for question in run.questions}
        for key, mark in graded.items():
            if key not in keys and mark.state != REMOVED:
                yield RunQuestion(key, None, None, REMOVED)


def _mirror_run(connection: Connection, before: StudentRows, run: GradingRun) -> None:
    changes: dict[str, object] = {}
    if run.questions or before.row is None:
        listed = [
            {"label": each.label, "status": each.status, "hidden": each.hidden}
            for each in run.checks
        ]
        changes |= {
            "cell_errors": run.cell_errors,
            "tampered": json.dumps(list(run.tampered)),
            "check_results": json.dumps(listed),
            "autograded_at": local_iso(run.at),
        }
        is_new_work = bool(before.runs) and (
            before.runs[-1].submission_sha256 != run.submission_sha256
        )
        if is_new_work and before.row is not None and before.row.penalty_pct is not None:
            changes["penalised_mark"] = None  # it waits to be computed from the new time
        if run.received is not None:
            changes["submitted_at"] = _unix_text(run.received.timestamp())
    mirror(connection, run.assignment, run.student, run.at, changes)


def _of(
    connection: Connection, table: Table, assignment: str, student: _Students
) -> Iterable[RowMapping]:
    wanted = select(table).where(_where(table, assignment, student))
    order = table.c.id if "id" in table.c else table.c.student
    return connection.execute(wanted.order_by(order)).mappings()


def _where(table: Table, assignment: str, student: _Students) -> ColumnElement[bool]:
    named: ColumnElement[bool] = table.c.assignment == assignment
    if student is None:
        return named
    one = isinstance(student, str)
    return named & (table.c.student == student if one else table.c.student.in_(student))


def _columns(
    connection: Connection, table: Table, names: Iterable[str], where: ColumnElement[bool]
) -> Iterable[Row[Any]]:
    """Return columns of rows, oldest first; as tuples, since mappings take several times longer."""
    columns = (table.c[name] for name in names)
    return connection.execute(select(*columns).where(where).order_by(table.c.id)).all()


def _insert(connection: Connection, table: Table, **values: object) -> int:
    key = connection.execute(insert(table), values).inserted_primary_key
    return int(key[0]) if key else 0


def _put(
    connection: Connection,
    table: Table,
    key: Mapping[str, str],
    values: Mapping[str, object],
) -> None:
    row = {**key, **values}
    connection.execute(upsert(connection, table, row, tuple(key)), row)


def local_iso(at: datetime) -> str:
    """Return a time as 0.3.16 writes it: local, without a zone."""
    return at.astimezone().replace(tzinfo=None).isoformat()


def _later_than(last: str, at: datetime) -> str:
    """Return a time that differs from the row's last one, which 0.3.16 compares."""
    told = local_iso(at)
    return told if told != last else local_iso(at + timedelta(microseconds=1))


def _utc_of(local: str, otherwise: datetime) -> str:
    try:
        return utc_iso(datetime.fromisoformat(local))
    except ValueError:
        return utc_iso(otherwise)


def _unix_text(seconds: float) -> str:
    return str(int(seconds))
