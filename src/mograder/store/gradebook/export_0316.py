"""Export of our marks into the tables of 0.3.16's gradebook, with the meanings that it expects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, func, inspect, select

from mograder.store.database.database import upsert
from mograder.store.gradebook.gradebook_0316 import (
    KEY,
    Exchanged,
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
from mograder.store.gradebook.gradebook_marks import put, read_assignments, read_rows
from mograder.store.gradebook.gradebook_rows import AssignmentRow, Work, checks_json
from mograder.store.gradebook.gradebook_tables import grading_runs, student_names
from mograder.store.gradebook.grading_records import Penalty
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
    """What an export writes: complete rows, and the names by username.

    ``rows`` have the number of the student's newest mark by a person. ``exchanged`` are those of
    the last exchange, by assignment and student.
    """

    assignments: tuple[AssignmentRow, ...]
    names: Mapping[str, str]
    rows: Sequence[Exchanged]
    exchanged: Mapping[tuple[str, str], Row0316]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written or left, and the rows with ``updated_at`` that both sides agree on now."""

    told: tuple[Told, ...]
    exchanged: Sequence[tuple[Exchanged, str]]

    def record(self, connection: Connection) -> None:
        """Record in our gradebook what was exchanged."""
        put_exchanged(connection, self.exchanged)


def prepare_export(connection: Connection, deductions: Deductions, at: datetime) -> Export:
    """Return the rows that follow from our marks."""
    rows: list[Exchanged] = []
    exchanged: dict[tuple[str, str], Row0316] = {}
    known = read_assignments(connection)
    for assignment in known:
        last = read_exchanged(connection, assignment.name)
        exchanged |= {each.row.key: each.row for each in last.values()}
        graded = _graded_at(connection, assignment.name)
        for each in read_rows(connection, assignment.name):
            key = assignment.name, each.student
            row = _row_of(each, exchanged.get(key), deductions.get(key) or Penalty(None, None))
            when = graded.get(each.student) or row.autograded_at or local_iso(at)
            rows.append(Exchanged(replace(row, autograded_at=when), newest_given(each)))
    names = {row.username: row.full_name for row in connection.execute(select(student_names))}
    return Export(known, names, rows, exchanged)


def write_export(
    file: Connection, export: Export, at: datetime, *, replaces: bool = False, dry_run: bool = False
) -> Exported:
    """Write the rows that differ into the tables in ``file``.

    A row that 0.3.16 has changed since the last exchange is left as it is, unless ``replaces``.
    """
    there = {row.key: (row, updated) for row, updated in read_gradebook(file).submissions}
    told: list[Told] = []
    news: list[Row0316] = []
    exchanged: list[tuple[Exchanged, str]] = []
    for each in export.rows:
        key = each.row.key
        row, updated = there.get(key, (None, ""))
        if row == each.row:
            exchanged.append((each, updated))
        elif row is None or replaces or row == export.exchanged.get(key):
            news.append(each.row)
            exchanged.append((each, local_iso(at)))
            told.append(Told(*key, Outcome.DONE, _mark_of(each.row)))
        else:
            text = f"mograder 0.3.16 has changed this row ({_mark_of(row)}), which is not imported"
            told.append(Told(*key, Outcome.CONFLICT, text))
    if not dry_run:
        _write(file, export, news, local_iso(at))
    return Exported(tuple(told), exchanged)


def _write(file: Connection, export: Export, rows: Sequence[Row0316], updated: str) -> None:
    metadata.create_all(file)
    for table in metadata.sorted_tables:  # an older program did not have all columns
        present = {column["name"] for column in inspect(file).get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                kind = column.type.compile(file.dialect)
                file.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
    for assignment in export.assignments:
        put(file, assignments, {"name": assignment.name}, _assignment_columns(assignment))
    for username, full_name in export.names.items():
        put(file, students, {"username": username}, {"full_name": full_name})
    if rows:
        values = [{**each.columns(), "updated_at": updated} for each in rows]
        file.execute(upsert(file, submissions, values[0], KEY), values)


def _row_of(rows: StudentRows, held: Row0316 | None, deduction: Penalty) -> Row0316:
    """Return a student's row; of work that only 0.3.16 has graded and marked, with its columns."""
    grade, work = grade_of(rows), rows.work or Work()
    submitted = grade.submitted_at if deduction.submitted_at is None else deduction.submitted_at
    marked = grade.graded_at and local_iso(datetime.fromisoformat(grade.graded_at))
    if held is None or not only_earlier(rows):
        held = Row0316(
            rows.assignment.name,
            rows.student,
            grade.auto,
            manual_percent(rows.assignment, grade.manual),
            grade.total,
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
