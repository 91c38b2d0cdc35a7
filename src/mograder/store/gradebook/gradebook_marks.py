"""Results of grading, marks by question, and students' work: tables of ``gradebook.db``.

Private to the gradebook and to the modules of marking, which open the transactions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Select, Table, case, func, select
from sqlalchemy.sql.elements import ColumnElement

from mograder.core.clock import utc_iso
from mograder.store.database.database import add_row, upsert
from mograder.store.gradebook.gradebook_rows import (
    SHORT_COLUMNS,
    WORK_COLUMNS,
    AssignmentRow,
    Work,
    assignment_of,
    by_student,
    work_columns,
    work_from_row,
)
from mograder.store.gradebook.gradebook_tables import (
    grading_runs,
    marked_assignments,
    question_marks,
    student_names,
    student_work,
)
from mograder.store.gradebook.grading_records import (
    MACHINE,
    MANUAL,
    NEEDS_ATTENTION,
    REMOVED,
    GradingRun,
    RecordedMark,
    RecordedRun,
    RunQuestion,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import (
    RunFacts,
    StudentRows,
    grade_of,
    latest_by_question,
    short_grade,
)

_Students: TypeAlias = str | Collection[str] | None
_NEWER = 1_000_000_000_000
"""More than the number of runs: a run with marks counts before any that needs attention."""

_RUN_COLUMNS = (
    "assignment",
    "student",
    "submission_sha256",
    "problem",
    "result",
    "signature",
)
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

_ASSIGNMENTS = select(
    *(marked_assignments.c[name] for name in ("name", "max_mark", "marks", "automatic"))
)


def read_assignment(connection: Connection, name: str) -> AssignmentRow | None:
    """Return an assignment, None if the gradebook does not have it."""
    row = connection.execute(_ASSIGNMENTS.where(marked_assignments.c.name == name)).first()
    return None if row is None else assignment_of(*row)


def read_assignments(connection: Connection) -> tuple[AssignmentRow, ...]:
    """Return all assignments, also those of which there is only work, in alphabetical order."""
    known = {row.name: assignment_of(*row) for row in connection.execute(_ASSIGNMENTS)}
    for name in connection.execute(select(student_work.c.assignment).distinct()).scalars():
        known.setdefault(name, AssignmentRow(name))
    return tuple(known[name] for name in sorted(known))


def read_rows(
    connection: Connection,
    assignment: str,
    student: _Students = None,
    *,
    question: str | None = None,
) -> tuple[StudentRows, ...]:
    """Return what is known of all students, of some or of one, ordered by username.

    With ``question``, only what :func:`question_grade` needs of it: the marks of grading for other
    questions are left out, which are most of a large course's.
    """
    known = read_assignment(connection, assignment) or AssignmentRow(assignment)
    own = _where(student_work, assignment, student)
    held = connection.execute(_selected(student_work, WORK_COLUMNS).where(own))
    works = {row.student: work_from_row(row) for row in held}
    own = _where(question_marks, assignment, student)
    if question is not None:
        own &= (question_marks.c.question == question) | (question_marks.c.marker != MACHINE)
    marks = by_student(_columns(connection, question_marks, MARK_COLUMNS, own), RecordedMark)
    own = _where(grading_runs, assignment, student)
    runs = by_student(_columns(connection, grading_runs, _RUN_FACTS, own), RunFacts)
    return tuple(
        StudentRows(known, each, works.get(each), marks.get(each, ()), runs.get(each, ()))
        for each in sorted(works.keys() | marks.keys() | runs.keys(), key=str.casefold)
    )


def read_short_grades(
    connection: Connection, assignments: Collection[str], students: Collection[str] | None
) -> Iterable[tuple[StudentGrade, Work]]:
    """Yield marks without their questions, and the works, ordered by username."""
    held, runs = student_work.c, grading_runs.c
    newest = (
        select(func.max(runs.id))
        .where((runs.assignment == held.assignment) & (runs.student == held.student))
        .scalar_subquery()
    )
    wanted = select(held.assignment, newest, *(held[name] for name in SHORT_COLUMNS)).where(
        held.assignment.in_(assignments)
    )
    if students is not None:
        wanted = wanted.where(held.student.in_(students))
    rows = connection.execute(wanted).all()
    for name, run, student, *fields in sorted(rows, key=lambda row: str.casefold(row[2])):
        work = Work(*fields)
        yield short_grade(name, student, work, run), work


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
    return tuple(
        RecordedRun(*row)
        for row in connection.execute(
            select(grading_runs)
            .where(_where(grading_runs, assignment, student))
            .order_by(grading_runs.c.id)
        )
    )


def read_run(
    connection: Connection, assignment: str, student: str, number: int | None = None
) -> RecordedRun | None:
    """Return a grading run of a student's submissions, the newest if no number is given."""
    own = _where(grading_runs, assignment, student)
    if number is not None:
        own &= grading_runs.c.id == number
    wanted = select(grading_runs).where(own).order_by(grading_runs.c.id.desc()).limit(1)
    row = connection.execute(wanted).first()
    return None if row is None else RecordedRun(*row)


def read_run_facts(connection: Connection, assignment: str, student: str) -> Sequence[RunFacts]:
    """Return the grading runs of a student's submissions without their results, oldest first."""
    own = _where(grading_runs, assignment, student)
    runs = by_student(_columns(connection, grading_runs, _RUN_FACTS, own), RunFacts)
    return runs.get(student, ())


def read_explaining_runs(
    connection: Connection, assignment: str, students: _Students
) -> tuple[RecordedRun, ...]:
    """Return the run that explains each student's marks, of all students or of some.

    It is the newest one with marks, else the newest (``grading.results.grading_result``).
    """
    runs = grading_runs.c
    order = case((runs.state != NEEDS_ATTENTION, _NEWER), else_=0) + runs.id
    newest = select(func.max(order).label("newest")).where(
        _where(grading_runs, assignment, students)
    )
    grouped = newest.group_by(runs.student).subquery()
    wanted = select(grading_runs).where(runs.id.in_(select(grouped.c.newest % _NEWER)))
    return tuple(RecordedRun(*row) for row in connection.execute(wanted))


def students_with_runs(connection: Connection, assignment: str) -> tuple[str, ...]:
    """Return the students with grading runs, sorted."""
    wanted = select(grading_runs.c.student).where(grading_runs.c.assignment == assignment)
    return tuple(sorted(connection.execute(wanted.distinct()).scalars()))


def known_students(connection: Connection) -> frozenset[str]:
    """Return the students of all tables."""
    named = student_names.c.username
    others = (table.c.student for table in (student_work, question_marks, grading_runs))
    found = (connection.execute(select(each).distinct()).scalars() for each in (named, *others))
    return frozenset(student for names in found for student in names)


def insert_run(connection: Connection, run: GradingRun) -> int:
    """Record a grading run with its marks; return its number."""
    if run.questions or read_assignment(connection, run.assignment) is None:
        _write_assignment(connection, run)
    before = read_student(connection, run.assignment, run.student)
    at = utc_iso(run.at)
    number = add_row(
        connection,
        grading_runs,
        **{name: getattr(run, name) for name in _RUN_COLUMNS},
        state=str(run.state),
        at=at,
    )
    for question in _changed(before, run):
        key, state = question.key, str(question.state)
        values = question.points, question.available, state, question.reason, MACHINE, number, at
        mark = RecordedMark(0, key, *values)
        insert_mark(connection, run.assignment, run.student, mark)
    _put_graded(connection, before, run)
    return number


def insert_mark(connection: Connection, assignment: str, student: str, mark: RecordedMark) -> int:
    """Add a row to the history of marks; return the number that the database gives it."""
    values = {name: getattr(mark, name) for name in MARK_COLUMNS[2:]}
    return add_row(connection, question_marks, assignment=assignment, student=student, **values)


def put_work(connection: Connection, rows: StudentRows) -> StudentGrade:
    """Write a student's work with its total; return the marks that count.

    ``rows`` is all that is known of the student after the change.
    """
    grade = grade_of(rows)
    work = replace(rows.work or Work(), total=grade.total)
    key = {"assignment": rows.assignment.name, "student": rows.student}
    put(connection, student_work, key, work_columns(work))
    return grade


def _write_assignment(connection: Connection, run: GradingRun) -> None:
    keys = frozenset(each.key for each in run.questions if each.state != MANUAL)
    put_assignment(connection, AssignmentRow(run.assignment, run.max_mark, run.marks, keys))


def put_assignment(connection: Connection, assignment: AssignmentRow) -> None:
    """Insert or replace an assignment; with other questions, students have other totals."""
    before = read_assignment(connection, assignment.name)
    values = {
        "max_mark": assignment.max_mark,
        "marks": json.dumps(assignment.marks) if assignment.marks else None,
        "automatic": json.dumps(sorted(assignment.automatic)),
    }
    put(connection, marked_assignments, {"name": assignment.name}, values)
    if before is not None and before != assignment:
        for rows in read_rows(connection, assignment.name):
            if rows.work is not None:
                put_work(connection, rows)


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


def _put_graded(connection: Connection, before: StudentRows, run: GradingRun) -> None:
    work = before.work or Work()
    if run.questions or before.work is None:
        work = replace(work, cell_errors=run.cell_errors, tampered=run.tampered, checks=run.checks)
    # The time belongs to the run that explains the marks, as `read_explaining_runs` selects it.
    if run.state != NEEDS_ATTENTION or all(each.state == NEEDS_ATTENTION for each in before.runs):
        received = "" if run.received is None else utc_iso(run.received)
        work = replace(work, received=received, receipt=run.receipt)
    rows = read_student(connection, run.assignment, run.student)
    put_work(connection, replace(rows, work=work))


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
    return connection.execute(_selected(table, names).where(where).order_by(table.c.id)).all()


def _selected(table: Table, names: Iterable[str]) -> Select[Any]:
    return select(*(table.c[name] for name in names))


def put(
    connection: Connection, table: Table, key: Mapping[str, str], values: Mapping[str, object]
) -> None:
    """Insert a row, or change these columns of the one with the key."""
    row = {**key, **values}
    connection.execute(upsert(connection, table, row, tuple(key)), row)
