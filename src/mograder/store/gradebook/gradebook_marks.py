"""Results of grading, marks by question, and students' work: tables of ``gradebook.db``.

A mark that a person gives is refused out of its range, and where another person has changed the
mark meanwhile. Private to the gradebook and to the modules of marking, which open the transactions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from shlex import quote
from typing import TypeAlias

from sqlalchemy import Connection, Table, bindparam, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.store.database.database import add_row, columns_of, upsert, values_of
from mograder.store.gradebook.gradebook_tables import (
    grading_runs,
    mark_details,
    marked_assignments,
    question_marks,
    student_work,
)
from mograder.store.gradebook.grading_records import (
    MACHINE,
    MANUAL,
    REMOVED,
    WHOLE,
    AssignmentRow,
    GradingRun,
    MarkDetails,
    MarkEntry,
    RecordedMark,
    StudentGrade,
    Work,
    assignment_of,
    by_student,
    utc_iso,
)
from mograder.store.gradebook.mark_counting import (
    RunFacts,
    StudentRows,
    available_to_people,
    explaining_run,
    grade_of,
    kept_questions,
    latest_by_question,
    replaces_automatic,
    row_for_comment,
    submitted_at,
)

_Students: TypeAlias = str | Collection[str] | None
_WORK = (student_work.c.student, *columns_of(student_work, Work))
_SHORT_WORK = _WORK[:-3]
"""Those without the findings of the last grading, most of which must be parsed."""

MARKS = select(question_marks.c.student, *columns_of(question_marks, RecordedMark, number="id"))
"""The student, and the columns of :class:`RecordedMark`."""

_RUNS = select(grading_runs.c.student, *columns_of(grading_runs, RunFacts, number="id"))
_DETAILS = select(mark_details.c.mark, *columns_of(mark_details, MarkDetails))
_ASSIGNMENTS = select(marked_assignments)
_TOTAL = (
    update(student_work)
    .filter_by(assignment=bindparam("of"), student=bindparam("whose"))
    .values(total=bindparam("new"))
)
_LONGEST = 20_000
_AT_ONCE = 500
"""Marks whose details are read by one statement: SQLite bounds the number of its parameters."""


def read_assignment(connection: Connection, name: str) -> AssignmentRow | None:
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
    questions that people have not marked are left out, which are most of a large course's.
    """
    known = read_assignment(connection, assignment) or AssignmentRow(assignment)
    own = rows_of(student_work, assignment, student)
    works = {row[0]: Work(*row[1:]) for row in connection.execute(select(*_WORK).where(own))}
    own = rows_of(question_marks, assignment, student)
    if question is not None:
        c = question_marks.c
        given = select(c.question).where(c.assignment == assignment, c.marker != MACHINE)
        own &= (c.question == question) | c.question.in_(given)
    found = connection.execute(MARKS.where(own).order_by(question_marks.c.id))
    marks = by_student(found, RecordedMark)
    own = rows_of(grading_runs, assignment, student)
    runs = by_student(connection.execute(_RUNS.where(own).order_by(grading_runs.c.id)), RunFacts)
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
    wanted = select(held.assignment, newest, *_SHORT_WORK).where(held.assignment.in_(assignments))
    if students is not None:
        wanted = wanted.where(held.student.in_(students))
    rows = connection.execute(wanted).all()
    for name, run, student, *fields in sorted(rows, key=lambda row: str.casefold(row[2])):
        work = Work(*fields)
        at, total = submitted_at(work), work.total
        yield StudentGrade(name, student, total=total, final=total, run=run, submitted_at=at), work


def read_student(connection: Connection, assignment: str, student: str) -> StudentRows:
    """Return what is known of one student; empty records for a student without any."""
    for rows in read_rows(connection, assignment, student):
        return rows
    known = read_assignment(connection, assignment) or AssignmentRow(assignment)
    return StudentRows(known, student)


def insert_run(connection: Connection, run: GradingRun) -> int:
    if run.questions or read_assignment(connection, run.assignment) is None:
        keys = frozenset(each.question for each in run.questions if each.state != MANUAL)
        put_assignment(connection, AssignmentRow(run.assignment, run.max_mark, run.marks, keys))
    before = rows = read_student(connection, run.assignment, run.student)
    at = utc_iso(run.at)
    kept = {each.name: getattr(run, each.name) for each in grading_runs.c if each.name != "id"}
    number = add_row(connection, grading_runs, **kept | {"state": str(run.state), "at": at})
    for mark in _changed(before, run):
        rows = insert_mark(connection, rows, replace(mark, run=number, at=at))
    facts = RunFacts(number, run.submission_sha256, str(run.state), run.problem)
    rows, work = replace(rows, runs=(*rows.runs, facts)), before.work or Work()
    if run.questions or before.work is None:
        work = replace(work, cell_errors=run.cell_errors, tampered=run.tampered, checks=run.checks)
    if explaining_run(rows) is facts:  # else the time is that of an earlier one
        received = "" if run.received is None else utc_iso(run.received)
        work = replace(work, received=received, receipt=run.receipt)
    put_work(connection, replace(rows, work=work))
    return number


def insert_mark(connection: Connection, rows: StudentRows, mark: RecordedMark) -> StudentRows:
    """Add a row to a student's history of marks; return all that is known of the student then."""
    own = {"assignment": rows.assignment.name, "student": rows.student}
    number = add_row(connection, question_marks, **own, **values_of(mark, "number"))
    return replace(rows, marks=(*rows.marks, replace(mark, number=number)))


def put_work(connection: Connection, rows: StudentRows) -> StudentGrade:
    """Write the work with its total; ``rows`` is all that is known after the change."""
    grade = grade_of(rows)
    work = replace(rows.work or Work(), total=grade.total)
    key = {"assignment": rows.assignment.name, "student": rows.student}
    put(connection, student_work, key | values_of(work))
    return grade


def put_total(connection: Connection, rows: StudentRows) -> StudentGrade:
    """Write the total of work that is there already; ``rows`` is as for :func:`put_work`."""
    grade = grade_of(rows)
    if rows.work is not None and rows.work.total != grade.total:
        own = {"of": rows.assignment.name, "whose": rows.student, "new": grade.total}
        connection.execute(_TOTAL, own)
    return grade


def put_assignment(connection: Connection, assignment: AssignmentRow) -> None:
    """Insert or replace an assignment; with other questions, students have other totals."""
    before = read_assignment(connection, assignment.name)
    values = {
        "name": assignment.name,
        "max_mark": assignment.max_mark,
        "marks": json.dumps(assignment.marks) if assignment.marks else None,
        "automatic": json.dumps(sorted(assignment.automatic)),
    }
    put(connection, marked_assignments, values)
    if before is not None and before != assignment:
        for rows in read_rows(connection, assignment.name):
            put_total(connection, rows)


def _changed(before: StudentRows, run: GradingRun) -> Iterable[RecordedMark]:
    """Yield the marks that differ from those of an earlier run."""
    graded, _ = latest_by_question(before.marks)
    works = {each.number: each.submission_sha256 for each in before.runs}
    own = {
        key: mark
        for key, mark in graded.items()
        if mark.state != REMOVED and works.get(mark.run or 0) == run.submission_sha256
    }
    kept = kept_questions(run, {key: mark.state for key, mark in own.items()})
    said = attrgetter("points", "available", "state", "comment")
    for mark in run.questions:
        last = own.get(mark.question)
        if mark.question not in kept and (last is None or said(mark) != said(last)):
            yield mark
    if run.questions:
        keys = {mark.question for mark in run.questions}
        for key, mark in graded.items():
            if key not in keys and mark.state != REMOVED:
                yield RecordedMark(0, key, None, None, REMOVED)


def demand_work(connection: Connection, assignment: str, student: str) -> None:
    """Check that a student has graded work. Raises: :class:`NotFound`."""
    own = rows_of(student_work, assignment, student)
    if connection.execute(select(student_work.c.student).where(own)).first() is None:
        raise NotFound(f"The gradebook has no submission of this student for {assignment}.")


def rows_of(table: Table, assignment: str, student: _Students) -> ColumnElement[bool]:
    """Return the condition for the rows of an assignment, and of a student, of some or of all."""
    named: ColumnElement[bool] = table.c.assignment == assignment
    if student is None:
        return named
    one = isinstance(student, str)
    return named & (table.c.student == student if one else table.c.student.in_(student))


def put(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Insert a row, or change these columns of the one with its key."""
    connection.execute(upsert(connection, table, row), row)


@dataclass(frozen=True, slots=True)
class GivenMarks:
    """As ``Gradebook.record_marks``; ``run`` is that of the answer looked at, None: newest."""

    marks: Mapping[str, MarkEntry]
    marker: str
    at: datetime
    comment: str | None = None
    version: int | None = None
    run: int | None = None


def record_given(connection: Connection, rows: StudentRows, given: GivenMarks) -> StudentGrade:
    """Record marks of a student; return all marks that count then."""
    if rows.work is None:
        raise NotFound(
            f"The gradebook has no submission of {rows.student} for {rows.assignment.name}.",
            hint=f"Grade it first: mograder autograde {quote(rows.assignment.name)}",
        )
    grade = grade_of(rows)
    known = markable(grade, rows.assignment)
    _refuse_invalid(given, grade, known)
    for key, entry in given.marks.items():
        if entry.details is not None:
            _demand_reason(grade, key, entry.points, entry.details)
    _refuse_changed(given, rows)
    run = given.run or (rows.runs[-1].number if rows.runs else None)
    chosen = dict(given.marks)
    if given.comment is not None:  # a comment alone is a row of the whole
        chosen[WHOLE] = MarkEntry(chosen.get(WHOLE, MarkEntry(None)).points, given.comment)
    # The mark for the whole comes first, so that those by question are the newer ones.
    entries = sorted(chosen.items(), key=lambda entry: entry[0] != WHOLE)
    held = _held_details(connection, rows, entries)
    for key, entry in entries:
        if key in given.marks:
            details, before = entry.details, held.get(key)
            if before is not None and before.saved and entry.points is not None:
                details = replace(details or MarkDetails(), saved=before.saved)
            mark = RecordedMark(0, key, entry.points, known.get(key), MANUAL, run=run)
        else:
            details = held.get(key) if grade.whole is not None else None
            mark = row_for_comment(rows)
        said = replace(mark, comment=entry.comment, marker=given.marker, at=utc_iso(given.at))
        rows = insert_mark(connection, rows, said)
        if details is not None:
            insert_details(connection, rows.marks[-1].number, details)
    return put_total(connection, rows)


def _held_details(
    connection: Connection, rows: StudentRows, entries: Iterable[tuple[str, MarkEntry]]
) -> Mapping[str, MarkDetails]:
    """Return the details of the marks before, by question, of which an entry may keep something."""
    last = latest_by_question(rows.marks)[1]
    keep = (key for key, entry in entries if entry.details is None or entry.keeps_saved)
    numbers = {key: last[key].number for key in keep if key in last}
    found = read_details(connection, numbers.values())
    return {key: found[number] for key, number in numbers.items() if number in found}


def insert_details(
    connection: Connection, mark: int, details: MarkDetails, *, takes_back: bool = False
) -> None:
    values = values_of(details) | {"mark": mark, "takes_back": takes_back}
    connection.execute(insert(mark_details), values)


def read_details(connection: Connection, marks: Iterable[int]) -> Mapping[int, MarkDetails]:
    """Return how marks came about, by their numbers; those without details are left out."""
    numbers = sorted(set(marks))
    found: dict[int, MarkDetails] = {}
    for begin in range(0, len(numbers), _AT_ONCE):
        some = mark_details.c.mark.in_(numbers[begin : begin + _AT_ONCE])
        found |= {row[0]: MarkDetails(*row[1:]) for row in connection.execute(_DETAILS.where(some))}
    return found


def _demand_reason(
    grade: StudentGrade, key: str, points: float | None, details: MarkDetails
) -> None:
    """Refuse another mark than grading's without a reason."""
    question = next((each for each in grade.questions if each.key == key), None)
    if question is None or points is None or details.reason.strip():
        return
    if replaces_automatic(question) and points != question.graded:
        raise InvalidInput(
            f"reason: grading gave {question.graded:g} marks for {key}.",
            hint="Say why the mark is another one.",
        )


def markable(grade: StudentGrade, assignment: AssignmentRow) -> Mapping[str, float]:
    """Return the marks available by key: of each question, and of the whole without checks."""
    whole = available_to_people(assignment)
    questions = {each.key: each.available for each in grade.questions if each.available is not None}
    return questions | ({WHOLE: whole} if whole > 0 else {})


def _refuse_invalid(given: GivenMarks, grade: StudentGrade, known: Mapping[str, float]) -> None:
    """Refuse marks that are out of their range, or of no question that can be marked."""
    if not given.marker.strip() or not given.marker.isprintable():
        raise InvalidInput("The marker has no name.")
    for key, entry in given.marks.items():
        if not known:
            # 0.3.16 counts all questions as automatic if the source's run made no check.
            raise InvalidInput(
                f"mograder 0.3.16 left no question of {grade.assignment} to people.",
                hint=f"Grade it again here: mograder autograde {quote(grade.assignment)}",
            )
        if key not in known:
            listed = ", ".join(filter(None, known)) or "none"
            told = f"{grade.assignment} has no question {key!r} that can be marked."
            if key == WHOLE:
                checked = f"Every question of {grade.assignment} has checks"
                told = f"{checked}, so that there is no mark for the whole."
            raise InvalidInput(told, hint=f"Its questions: {listed}.")
        if entry.points is not None and not 0 <= entry.points <= known[key]:
            raise InvalidInput(
                f"{key or 'The mark'} can have 0 to {known[key]:g} marks, not {entry.points:g}."
            )
    texts = (given.comment or "", *(each.comment for each in given.marks.values()))
    if any(len(text) > _LONGEST for text in texts):
        raise InvalidInput(f"A comment has at most {_LONGEST} characters.")


def _refuse_changed(given: GivenMarks, rows: StudentRows) -> None:
    """Refuse marks of questions that were marked since, and a comment if anything was."""
    if given.version is None:
        return
    newer = {mark.question for mark in rows.marks if mark.number > given.version}
    if given.marks.keys() & newer or (newer and given.comment is not None):
        raise Conflict(
            f"The marks of {rows.student} were changed meanwhile.",
            hint="Look at them, then give yours again.",
        )
