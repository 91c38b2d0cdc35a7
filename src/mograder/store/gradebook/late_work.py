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

from mograder.core.clock import utc_iso
from mograder.core.errors import Busy, Conflict, InvalidInput
from mograder.core.sections.settings_model import CourseRule
from mograder.store.database.database import upsert
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import (
    RowStamp,
    explaining_runs,
    read_assignments,
    read_rows,
    read_short_grades,
    read_stamps,
    write_penalty,
)
from mograder.store.gradebook.gradebook_tables import (
    extensions,
    grading_runs,
    group_members,
    late_policies,
    mirrored_penalties,
    submissions,
)
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

_T = TypeVar("_T")
_AT_ONCE = 50
"""Rows of one transaction: the others who write wait for it, some 20 ms, 200 on a busy machine."""

_MOST_ROUNDS = 10
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
        grades: Students' marks by assignment; those of most assignments only what deductions need.
        times: Times of submission by assignment and student, where a result has one.
        written: The penalties that we last wrote, by assignment and student.
        stamps: The state of the row of an assignment and a student.
        version: It changes with every recorded change.
        last_run: The number of the newest result of any student.
    """

    facts: LateFacts
    grades: Mapping[str, tuple[StudentGrade, ...]]
    times: Mapping[tuple[str, str], RecordedTime]
    written: Mapping[tuple[str, str], WrittenPenalty]
    stamps: Mapping[tuple[str, str], RowStamp]
    version: str
    last_run: int

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
    set_due: AwareDatetime | None = None
    closes: AwareDatetime | None = None


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
        self,
        choose: ChooseAssignments,
        students: Collection[str] | None = None,
        whole: Collection[str] = (),
    ) -> LateRecords:
        """Return what deductions are computed from, for some assignments and students or all.

        The marks are complete for the assignments ``whole``. Of others the questions are left out,
        which takes a twentieth of the time.

        Raises:
            InvalidInput: A stored policy is damaged.
        """
        with self._book.reading() as connection:
            return _read(connection, choose, students, whole)

    def has_penalties(self, assignments: Collection[str] | None) -> bool:
        """Return whether an assignment, or any, has or had a penalty in its columns."""
        rows = submissions.c
        held = select(rows.student).where(rows.penalty_pct.is_not(None))
        ours = select(mirrored_penalties.c.student)
        if assignments is not None:
            held = held.where(rows.assignment.in_(assignments))
            ours = ours.where(mirrored_penalties.c.assignment.in_(assignments))
        with self._book.reading() as connection:
            return any(connection.execute(each.limit(1)).first() for each in (held, ours))

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
        students: Collection[str] | None = None,
    ) -> _T:
        """Write the penalty columns where they differ; return the first value of ``compute``.

        ``compute`` returns penalties by assignment and student. It runs without a lock, so that
        nobody waits for it: those of students whose records changed meanwhile are computed again.

        Raises:
            InvalidInput: A stored policy is damaged.
            Busy: The gradebook is locked, the disk is full, or others change it all the time.
        """
        records = self.read(choose, students)
        told, penalties = compute(records)
        for _ in range(_MOST_ROUNDS):
            late = self._put(records, penalties, at)
            if late is not None and not late:
                return told
            # After a change of extensions or policies all are another's.
            again = students if late is None else late
            records = self.read(choose, again)
            found, penalties = compute(records)
            told = found if late is None else told
        raise Busy("The gradebook is being changed all the time.", hint="Try again.")

    def _put(
        self,
        records: LateRecords,
        penalties: Mapping[tuple[str, str], Penalty],
        at: datetime,
    ) -> frozenset[str] | None:
        """Write penalties, some at a time; return the students whose records are others now.

        None if the extensions or policies are.
        """
        held = records.by_student()
        news = [
            each
            for key, penalty in penalties.items()
            if (each := _change_of(records, held[key], penalty)) is not None
        ]
        changed: set[str] = set()
        for first in range(0, len(news), _AT_ONCE):
            with self._book.writing() as connection:
                if records.version != _version(connection):
                    return None
                changed |= _write(connection, records, news[first : first + _AT_ONCE], at)
        return frozenset(changed)


@dataclass(frozen=True, slots=True)
class _Change:
    """New columns of a student's row, and of what we wrote there; None where they stay."""

    assignment: str
    student: str
    columns: Penalty | None
    written: WrittenPenalty | None

    @property
    def key(self) -> tuple[str, str]:
        """The assignment and the student."""
        return self.assignment, self.student


def _change_of(records: LateRecords, grade: StudentGrade, penalty: Penalty) -> _Change | None:
    key = grade.assignment, grade.student
    held = Penalty(grade.penalty_pct, grade.penalised, grade.submitted_at)
    earlier, known = records.earlier(grade), records.written.get(key)
    columns = None if penalty == held else penalty
    written = None
    if penalty.percent is not None or earlier is not None or known is not None:
        news = WrittenPenalty(penalty.percent, earlier or Penalty(None, None))
        written = None if news == known else news
    if columns is None and written is None:
        return None
    return _Change(*key, columns, written)


def _write(
    connection: Connection, records: LateRecords, changes: Sequence[_Change], at: datetime
) -> set[str]:
    """Write what is still the result of the records; return the other students."""
    names = {each.assignment for each in changes}
    found = {each.student for each in changes}
    stamps = read_stamps(connection, names, found)
    changed = _newly_graded(connection, records.last_run) & found
    others = (each for each in changes if stamps.get(each.key) != records.stamps[each.key])
    changed |= {each.student for each in others}
    for each in changes:
        if each.student in changed:
            continue
        if each.columns is not None:
            write_penalty(connection, each.key, stamps[each.key], each.columns, at)
        if each.written is not None:
            _put_written(connection, each, each.written)
    return changed


def _put_written(connection: Connection, change: _Change, news: WrittenPenalty) -> None:
    values = {
        "assignment": change.assignment,
        "student": change.student,
        "penalty_pct": news.percent,
        "earlier_pct": news.earlier.percent,
        "earlier_mark": news.earlier.mark,
    }
    put = upsert(connection, mirrored_penalties, values, ("assignment", "student"))
    connection.execute(put, values)


def _newly_graded(connection: Connection, since: int) -> set[str]:
    wanted = select(grading_runs.c.student).where(grading_runs.c.id > since).distinct()
    return set(connection.execute(wanted).scalars())


def _read(
    connection: Connection,
    choose: ChooseAssignments,
    students: Collection[str] | None,
    whole: Collection[str],
) -> LateRecords:
    facts = _facts(connection)
    chosen = choose(facts)
    names = _names(connection) if chosen is None else chosen
    ours = select(mirrored_penalties).where(mirrored_penalties.c.assignment.in_(names))
    if students is not None:
        ours = ours.where(mirrored_penalties.c.student.in_(students))
    stamps = read_stamps(connection, names, students)
    return LateRecords(
        facts,
        {
            name: _whole(connection, name, students)
            if name in whole
            else _short(connection, name, students, stamps)
            for name in names
        },
        _times(connection, names, students),
        {
            (row.assignment, row.student): WrittenPenalty(
                row.penalty_pct, Penalty(row.earlier_pct, row.earlier_mark)
            )
            for row in connection.execute(ours)
        },
        stamps,
        _version(connection),
        connection.execute(select(func.max(grading_runs.c.id))).scalar() or 0,
    )


def _whole(
    connection: Connection, name: str, students: Collection[str] | None
) -> tuple[StudentGrade, ...]:
    return tuple(map(grade_of, read_rows(connection, name, students)))


def _short(
    connection: Connection,
    name: str,
    students: Collection[str] | None,
    stamps: Mapping[tuple[str, str], RowStamp],
) -> tuple[StudentGrade, ...]:
    """Return marks without questions, from the rows that we wrote last; whole ones of others."""
    others = [
        student
        for (assignment, student), stamp in stamps.items()
        if assignment == name and not stamp.is_ours
    ]
    found = {each.student: each for each in _whole(connection, name, others)} if others else {}
    for grade in read_short_grades(connection, name, students):
        found.setdefault(grade.student, grade)
    return tuple(found[each] for each in sorted(found, key=str.casefold))


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
    return StoredPolicy(told.rule, told.due, told.off, told.set_due, told.closes)


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
            told = _Policy.model_validate(change.policy, from_attributes=True)
            text = told.model_dump_json(exclude_defaults=True)
            policy = None if text == "{}" else text
            row = insert(late_policies).values(assignment=change.assignment, policy=policy, **made)
    connection.execute(row)
