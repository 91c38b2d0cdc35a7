"""Late work in the gradebook: changes of extensions and policies, and times of submission.

Changes are only added. Deductions are not stored: ``grading.late`` computes them from these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, func, select

from mograder.core.clock import utc_iso
from mograder.core.errors import Conflict, InvalidInput
from mograder.store.database.database import add_row
from mograder.store.database.row_tables import columns_of, values_of
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import (
    read_assignments,
    read_rows,
    read_short_grades,
)
from mograder.store.gradebook.gradebook_tables import extensions, group_members, late_policies
from mograder.store.gradebook.grading_records import StudentGrade, Work
from mograder.store.gradebook.late_facts import (
    Change,
    Extension,
    LateFacts,
    Membership,
    PolicyChange,
    StoredPolicy,
)
from mograder.store.gradebook.mark_counting import grade_of


@dataclass(frozen=True, slots=True)
class LateRecords:
    """Everything in the gradebook that deductions are computed from.

    Attributes:
        facts: The changes of extensions, groups and policies, applied.
        grades: Students' marks by assignment; those of most assignments only what deductions need.
        works: The works by assignment and student, with their times and 0.3.16's deductions.
    """

    facts: LateFacts
    grades: Mapping[str, tuple[StudentGrade, ...]]
    works: Mapping[tuple[str, str], Work]


_EXTENSIONS = select(*columns_of(extensions, Extension)).order_by(extensions.c.id)
_MEMBERS = select(*columns_of(group_members, Membership), group_members.c.at).order_by(
    group_members.c.id
)
_POLICIES = TypeAdapter(StoredPolicy)


class LateWork:
    """The tables of late work in a gradebook. Thread-safe.

    All that reads policies raises :class:`InvalidInput` when a stored one is damaged.
    """

    def __init__(self, book: Gradebook) -> None:
        self._book = book

    def facts(self) -> LateFacts:
        """Return the extensions, groups and policies in force."""
        with self._book.reading() as connection:
            return _facts(connection)

    def changes(self) -> tuple[tuple[datetime, Change], ...]:
        """Return every change ever recorded with its time, oldest first."""
        with self._book.reading() as connection:
            return tuple(sorted(_changes(connection), key=itemgetter(0)))

    def history(self) -> tuple[Extension, ...]:
        """Return all extensions ever recorded, also withdrawn ones, oldest first."""
        return tuple(each for _, each in self.changes() if isinstance(each, Extension))

    def read(
        self,
        assignments: Sequence[str] | None,
        students: Collection[str] | None = None,
        whole: Collection[str] = (),
    ) -> LateRecords:
        """Return what deductions are computed from, for some assignments and students or all.

        The marks are complete for the assignments ``whole``. Of others the questions are left out,
        which takes a twentieth of the time.
        """
        with self._book.reading() as connection:
            return _read(connection, assignments, students, whole)

    def record(
        self,
        changes: Iterable[Change],
        *,
        by: str,
        at: datetime,
        version: str | None = None,
        also: Callable[[], object] = lambda: None,
    ) -> None:
        """Record changes, all or none; none either if ``also``, called before the end, raises.

        Raises:
            Conflict: Another change was recorded since ``version``.
        """
        with self._book.writing() as connection:
            if version is not None and version != _version(connection):
                raise Conflict(
                    "The extensions or policies were changed meanwhile.",
                    hint="Look at the preview again.",
                )
            for change in changes:
                _insert(connection, change, by, at)
            also()


def _read(
    connection: Connection,
    assignments: Sequence[str] | None,
    students: Collection[str] | None,
    whole: Collection[str],
) -> LateRecords:
    names = assignments
    if names is None:
        names = [each.name for each in read_assignments(connection)]
    short: dict[str, list[StudentGrade]] = {name: [] for name in names}
    works: dict[tuple[str, str], Work] = {}
    for grade, work in read_short_grades(connection, names, students):
        works[grade.assignment, grade.student] = work
        short[grade.assignment].append(grade)
    grades = {
        name: tuple(map(grade_of, read_rows(connection, name, students)))
        if name in whole
        else tuple(found)
        for name, found in short.items()
    }
    return LateRecords(_facts(connection), grades, works)


def _version(connection: Connection) -> str:
    tables = (extensions, group_members, late_policies)
    newest = (connection.execute(select(func.max(table.c.id))).scalar() for table in tables)
    return ".".join(str(each or 0) for each in newest)


def _facts(connection: Connection) -> LateFacts:
    facts = LateFacts(version=_version(connection))
    return facts.after(change for _, change in _changes(connection))


def _changes(connection: Connection) -> Iterable[tuple[datetime, Change]]:
    for row in connection.execute(_EXTENSIONS):
        yield datetime.fromisoformat(row.at), Extension(*row)
    for *values, at in connection.execute(_MEMBERS):
        yield datetime.fromisoformat(at), Membership(*values)
    for row in connection.execute(select(late_policies).order_by(late_policies.c.id)):
        changed = PolicyChange(row.assignment, _policy(row.assignment, row.policy))
        yield datetime.fromisoformat(row.at), changed


def _policy(assignment: str, text: str | None) -> StoredPolicy:
    try:
        return _POLICIES.validate_json(text or "{}")
    except ValidationError as error:
        raise InvalidInput(
            f"The stored late policy of {assignment or 'the course'} is damaged.",
            hint="Store another one: mograder extension policy",
        ) from error


def _insert(connection: Connection, change: Change, by: str, at: datetime) -> None:
    made = {"by": by, "at": utc_iso(at)}
    match change:
        case Extension():
            add_row(connection, extensions, **values_of(change) | made)
        case Membership():
            add_row(connection, group_members, **values_of(change), **made)
        case PolicyChange():
            text = _POLICIES.dump_json(change.policy, exclude_defaults=True).decode()
            policy = None if text == "{}" else text
            values = {"assignment": change.assignment, "policy": policy}
            add_row(connection, late_policies, **values, **made)
