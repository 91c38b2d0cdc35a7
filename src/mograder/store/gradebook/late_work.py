"""Late work in the gradebook: changes of extensions and policies, and times of submission.

Changes are only added. The penalty columns that 0.3.16 reads are written from what is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection, case, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from mograder.core.clock import utc_iso
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.settings_model import CourseRule
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import (
    explaining_runs,
    read_assignments,
    read_rows,
    write_penalty,
)
from mograder.store.gradebook.gradebook_tables import grading_runs
from mograder.store.gradebook.grading_records import Penalty, StudentGrade
from mograder.store.gradebook.late_facts import (
    Change,
    Extension,
    LateFacts,
    Membership,
    PolicyChange,
    StoredPolicy,
)
from mograder.store.gradebook.mark_counting import grade_of
from mograder.store.gradebook.marking_tables import (
    extensions,
    group_members,
    late_policies,
    mirrored_penalties,
)

_T = TypeVar("_T")
ChooseAssignments = Callable[[LateFacts], Sequence[str] | None]
"""Returns the assignments to read, given what is in force; None for all."""


@dataclass(frozen=True, slots=True)
class RecordedTime:
    """When the graded work was submitted, from its result; ``receipt`` is the number of one."""

    received: datetime
    receipt: int | None = None


@dataclass(frozen=True, slots=True)
class WrittenPenalty:
    """The percentage that we last wrote, and the deduction of 0.3.16 that was there before."""

    percent: float | None
    earlier: Penalty


@dataclass(frozen=True, slots=True)
class LateRecords:
    """Everything in the gradebook that deductions are computed from.

    Attributes:
        facts: The changes of extensions, groups and policies, applied.
        grades: All students' marks by assignment.
        times: Times of submission by assignment and student, where a result has one.
        written: The penalties that we last wrote, by assignment and student.
        version: It changes with every recorded change.
    """

    facts: LateFacts
    grades: Mapping[str, tuple[StudentGrade, ...]]
    times: Mapping[tuple[str, str], RecordedTime]
    written: Mapping[tuple[str, str], WrittenPenalty]
    version: str

    def by_student(self) -> Mapping[tuple[str, str], StudentGrade]:
        """Return the marks by assignment and student."""
        return {
            (each.assignment, each.student): each
            for grades in self.grades.values()
            for each in grades
        }

    def earlier(self, grade: StudentGrade) -> Penalty | None:
        """Return the deduction that 0.3.16 made, None if it made none.

        It is in the columns, unless we wrote them.
        """
        held = Penalty(grade.penalty_pct, grade.penalised)
        ours = self.written.get((grade.assignment, grade.student))
        if ours is not None and ours.percent == held.percent:
            held = ours.earlier
        return None if held.percent is None else held


class _Policy(BaseModel):
    """The JSON of a stored policy."""

    model_config = ConfigDict(extra="forbid")

    rule: CourseRule | None = None
    due: AwareDatetime | None = None
    off: bool = False


class LateWork:
    """The tables of late work in a gradebook. Thread-safe."""

    def __init__(self, book: Gradebook) -> None:
        self._book = book

    def facts(self) -> LateFacts:
        """Return the extensions, groups and policies in force.

        Raises:
            InvalidInput: A stored policy is damaged.
        """
        with self._book.reading() as connection:
            return _facts(connection)

    def changes(self) -> tuple[tuple[datetime, Change], ...]:
        """Return every change ever recorded with its time, oldest first.

        Raises:
            InvalidInput: A stored policy is damaged.
        """
        with self._book.reading() as connection:
            return tuple(sorted(_changes(connection), key=itemgetter(0)))

    def history(self) -> tuple[Extension, ...]:
        """Return all extensions ever recorded, also withdrawn ones, oldest first."""
        with self._book.reading() as connection:
            return _extensions(connection)

    def read(
        self, choose: ChooseAssignments, students: Collection[str] | None = None
    ) -> LateRecords:
        """Return what deductions are computed from, for some assignments and students or all.

        Raises:
            InvalidInput: A stored policy is damaged.
        """
        with self._book.reading() as connection:
            return _read(connection, choose, students)

    def record(
        self, changes: Iterable[Change], *, by: str, at: datetime, version: str | None = None
    ) -> None:
        """Record changes, all or none.

        Raises:
            Conflict: Another change was recorded since ``version``.
            Busy: The gradebook is locked, or the disk is full.
        """
        with self._book.writing() as connection:
            if version is not None and version != _version(connection):
                raise Conflict(
                    "The extensions or policies were changed meanwhile.",
                    hint="Look at the preview again.",
                )
            for change in changes:
                _insert(connection, change, by, at)

    def write_penalties(
        self,
        compute: Callable[[LateRecords], tuple[_T, Mapping[tuple[str, str], Penalty]]],
        choose: ChooseAssignments,
        *,
        at: datetime,
    ) -> _T:
        """Write the penalty columns where they differ; return the first value of ``compute``.

        ``compute`` returns penalties by assignment and student. It reads in the same transaction,
        so that no change comes between.

        Raises:
            InvalidInput: A stored policy is damaged.
            Busy: The gradebook is locked, or the disk is full.
        """
        with self._book.writing() as connection:
            records = _read(connection, choose)
            told, penalties = compute(records)
            held = records.by_student()
            for key, penalty in penalties.items():
                _put(connection, records, held[key], penalty, at)
            return told


def _put(
    connection: Connection,
    records: LateRecords,
    grade: StudentGrade,
    penalty: Penalty,
    at: datetime,
) -> None:
    key = grade.assignment, grade.student
    held = Penalty(grade.penalty_pct, grade.penalised, grade.submitted_at)
    earlier = records.earlier(grade)
    if penalty != held:
        for rows in read_rows(connection, *key):
            write_penalty(connection, rows, penalty, at)
    if penalty.percent is None and earlier is None and key not in records.written:
        return
    news = WrittenPenalty(penalty.percent, earlier or Penalty(None, None))
    if news != records.written.get(key):
        values = {
            "penalty_pct": news.percent,
            "earlier_pct": news.earlier.percent,
            "earlier_mark": news.earlier.mark,
        }
        place = dict(zip(("assignment", "student"), key, strict=True))
        added = upsert(mirrored_penalties).values(**place, **values)
        connection.execute(added.on_conflict_do_update(list(place), set_=values))


def _read(
    connection: Connection, choose: ChooseAssignments, students: Collection[str] | None = None
) -> LateRecords:
    facts = _facts(connection)
    chosen = choose(facts)
    names = _names(connection) if chosen is None else chosen
    ours = select(mirrored_penalties).where(mirrored_penalties.c.assignment.in_(names))
    if students is not None:
        ours = ours.where(mirrored_penalties.c.student.in_(students))
    return LateRecords(
        facts,
        {name: tuple(map(grade_of, read_rows(connection, name, students))) for name in names},
        _times(connection, names, students),
        {
            (row.assignment, row.student): WrittenPenalty(
                row.penalty_pct, Penalty(row.earlier_pct, row.earlier_mark)
            )
            for row in connection.execute(ours)
        },
        _version(connection),
    )


def _names(connection: Connection) -> tuple[str, ...]:
    return tuple(each.name for each in read_assignments(connection))


def _times(
    connection: Connection, names: Sequence[str], students: Collection[str] | None
) -> Mapping[tuple[str, str], RecordedTime]:
    """Return the times in the results that explain the marks."""
    runs = grading_runs.c
    result = case((func.json_valid(runs.result) == 1, runs.result), else_="{}")
    wanted = select(
        runs.assignment,
        runs.student,
        func.json_extract(result, "$.received").label("received"),
        func.json_extract(result, "$.receipt").label("receipt"),
    ).where(runs.id.in_(explaining_runs(names, students)))
    found = {}
    for row in connection.execute(wanted):
        received = _moment(row.received)
        if received is not None:
            receipt = row.receipt if isinstance(row.receipt, int) else None
            found[row.assignment, row.student] = RecordedTime(received, receipt)
    return found


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _version(connection: Connection) -> str:
    tables = (extensions, group_members, late_policies)
    newest = (connection.execute(select(func.max(table.c.id))).scalar() for table in tables)
    return ".".join(str(each or 0) for each in newest)


def _facts(connection: Connection) -> LateFacts:
    return LateFacts().after(change for _, change in _changes(connection))


def _changes(connection: Connection) -> Iterable[tuple[datetime, Change]]:
    for each in _extensions(connection):
        yield datetime.fromisoformat(each.at), each
    for row in connection.execute(select(group_members).order_by(group_members.c.id)):
        yield (
            datetime.fromisoformat(row.at),
            Membership(row.student_group, row.student, row.removed),
        )
    for row in connection.execute(select(late_policies).order_by(late_policies.c.id)):
        changed = PolicyChange(row.assignment, _policy(row.assignment, row.policy))
        yield datetime.fromisoformat(row.at), changed


def _extensions(connection: Connection) -> tuple[Extension, ...]:
    return tuple(
        Extension(
            row.assignment,
            row.student,
            row.student_group,
            _moment(row.until),
            row.exempt,
            row.reason,
            row.removed,
            row.by,
            row.at,
        )
        for row in connection.execute(select(extensions).order_by(extensions.c.id))
    )


def _policy(assignment: str, text: str | None) -> StoredPolicy:
    try:
        told = _Policy.model_validate_json(text or "{}")
    except ValidationError as error:
        raise InvalidInput(
            f"The stored late policy of {assignment or 'the course'} is damaged.",
            hint="Store another one: mograder extension policy",
        ) from error
    return StoredPolicy(told.rule, told.due, told.off)


def _insert(connection: Connection, change: Change, by: str, at: datetime) -> None:
    made = {"by": by, "at": utc_iso(at)}
    match change:
        case Extension():
            row = insert(extensions).values(
                assignment=change.assignment,
                student=change.student,
                student_group=change.group,
                until=None if change.until is None else utc_iso(change.until),
                exempt=change.exempt,
                removed=change.removed,
                reason=change.reason,
                **made,
            )
        case Membership():
            row = insert(group_members).values(
                student_group=change.group,
                student=change.student,
                removed=change.removed,
                **made,
            )
        case PolicyChange():
            told = _Policy(
                rule=change.policy.rule, due=change.policy.due, off=change.policy.off
            ).model_dump_json(exclude_defaults=True)
            policy = None if told == "{}" else told
            row = insert(late_policies).values(assignment=change.assignment, policy=policy, **made)
    connection.execute(row)
