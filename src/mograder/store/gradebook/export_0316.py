"""Export of our marks into the tables of 0.3.16's gradebook, with the meanings that it expects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, func, inspect, select

from mograder.store.database.database import upsert
from mograder.store.gradebook.gradebook_0316 import (
    Exchanged,
    Outcome,
    Row0316,
    Told,
    assignments,
    local_iso,
    metadata,
    newest_given,
    read_exchanged,
    read_gradebook,
    students,
    submissions,
)
from mograder.store.gradebook.gradebook_marks import put, read_assignments, read_rows
from mograder.store.gradebook.gradebook_tables import grading_runs, student_names
from mograder.store.gradebook.grading_records import (
    AssignmentRow,
    Penalty,
    Work,
    checks_json,
    text_of,
)
from mograder.store.gradebook.mark_counting import (
    StudentRows,
    grade_of,
    manual_percent,
    only_earlier,
)

Deductions = Mapping[tuple[str, str], Penalty]
"""The deductions for lateness that count, by assignment and student."""


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
    names = {row.username: row.full_name for row in connection.execute(select(student_names))}
    return Export(known, names, rows, exchanged)


def compare_export(file: Connection, export: Export, *, replaces: bool = False) -> Difference:
    """Compare an export with the tables in ``file``.

    A row that 0.3.16 has changed since the last exchange is left as it is, unless ``replaces``.
    """
    found = read_gradebook(file)
    there = {row.key: (row, updated) for row, updated in found.submissions}
    told: list[Told] = []
    news: list[tuple[Exchanged, str | None]] = []
    agreed: list[tuple[Exchanged, str]] = []
    for each in export.rows:
        key, last = each.row.key, export.last.get(each.row.key)
        row, updated = there.get(key, (None, None))
        if row == each.row:
            agreed += [(each, updated or "")] if last != each else []
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
    """Write what differs into the tables in ``file``; return the rows that both sides agree on.

    A row that 0.3.16 has written since the comparison is left to the next export.
    """
    metadata.create_all(file)
    for table in metadata.sorted_tables:  # an older program did not have all columns
        present = {column["name"] for column in inspect(file).get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                kind = column.type.compile(file.dialect)
                file.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
    for assignment in found.export.assignments:
        put(file, assignments, {"name": assignment.name, **_assignment_columns(assignment)})
    for username, full_name in found.names.items():
        put(file, students, {"username": username, "full_name": full_name})
    stamps = select(submissions.c.assignment, submissions.c.student, submissions.c.updated_at)
    now = {(row[0], row[1]): text_of(row[2]) for row in file.execute(stamps)}
    news = [each for each, updated in found.rows if now.get(each.row.key) == updated]
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


def _assignment_columns(assignment: AssignmentRow) -> dict[str, object]:
    keys, told = sorted(assignment.automatic), assignment.marks or {}
    # 0.3.16 writes whole marks without a fraction.
    marks = {key: int(mark) if mark == int(mark) else mark for key, mark in told.items()}
    return {
        "max_mark": assignment.max_mark,
        "marks_metadata": json.dumps(marks) if marks else None,
        "auto_check_keys": json.dumps(keys) if keys else None,
    }


def _mark_of(row: Row0316) -> str:
    mark = row.total_mark if row.penalised_mark is None else row.penalised_mark
    return "no total yet" if mark is None else f"mark {mark:g}"


def _graded_at(connection: Connection, assignment: str) -> Mapping[str, str]:
    """Return when each student's work was graded last, as 0.3.16 writes times."""
    runs = grading_runs.c
    wanted = select(runs.student, func.max(runs.at)).where(runs.assignment == assignment)
    found = connection.execute(wanted.group_by(runs.student))
    return {student: local_iso(datetime.fromisoformat(at)) for student, at in found}
