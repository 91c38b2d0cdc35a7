"""Late work in the gradebook: extensions, groups and policies in force, and times of submission.

The gradebook keeps every change; a change replaces the one before of the same entry. A preview
applies changes that are not recorded. Deductions are not stored: ``grading.late_work`` computes
them from these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter
from typing import ClassVar

from pydantic import AwareDatetime, ConfigDict, TypeAdapter, ValidationError
from sqlalchemy import Connection, func, select

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.item_dates import NO_DATES, ItemDates
from mograder.core.sections.settings_model import CourseRule
from mograder.store.database.database import add_row, columns_of, values_of
from mograder.store.gradebook.gradebook import OfBook
from mograder.store.gradebook.gradebook_marks import (
    read_assignments,
    read_rows,
    read_short_grades,
)
from mograder.store.gradebook.gradebook_tables import extensions, group_members, late_policies
from mograder.store.gradebook.grading_records import StudentGrade, Work, utc_iso
from mograder.store.gradebook.mark_counting import grade_of

ALL_ASSIGNMENTS = ""
"""The assignment of an exemption, and of a policy, for the whole course."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A later due date of a student or of a group, or an exemption from deductions.

    Exactly one of ``student`` and ``group`` is not empty. ``until`` is None for an exemption.
    ``removed`` withdraws the entry. ``by`` and ``at`` are empty until it is recorded.
    """

    assignment: str
    student: str = ""
    group: str = ""
    until: datetime | None = None
    exempt: bool = False
    reason: str = ""
    removed: bool = False
    by: str = ""
    at: str = ""

    @property
    def entry(self) -> tuple[str, str, str]:
        """The assignment, student and group: a later extension for the same replaces it."""
        return self.assignment, self.student, self.group


@dataclass(frozen=True, slots=True)
class Membership:
    group: str
    student: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """The policy of late work in the gradebook, of an assignment or of the course.

    Attributes:
        rule: Keys that count before those of the settings; None for none.
        due: The due date that `mograder feedback --due-date` gave, None without.
        off: `mograder feedback --no-penalties` was the last run.
        set_due: The due date that an instructor set, None for the one in the settings.
        closes: When submissions end, as an instructor set it; None for the time in the settings.
        told: The dates that a learning platform told at the last launch by one of its instructors.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # it is stored as JSON

    rule: CourseRule | None = None
    due: AwareDatetime | None = None
    off: bool = False
    set_due: AwareDatetime | None = None
    closes: AwareDatetime | None = None
    told: ItemDates = NO_DATES


@dataclass(frozen=True, slots=True)
class PolicyChange:
    assignment: str
    policy: StoredPolicy


Change = Extension | Membership | PolicyChange


@dataclass(frozen=True, slots=True)
class LateFacts:
    """The extensions, groups and policies in force after some changes.

    ``extensions`` are by entry, ``members`` are (group, student), ``policies`` by assignment.
    ``version`` is that of the recorded changes, for :meth:`LateWork.record` of one made from them.
    """

    extensions: Mapping[tuple[str, str, str], Extension] = field(default_factory=dict)
    members: frozenset[tuple[str, str]] = frozenset()
    policies: Mapping[str, StoredPolicy] = field(default_factory=dict)
    version: str = ""

    def after(self, changes: Iterable[Change]) -> LateFacts:
        extensions, policies = dict(self.extensions), dict(self.policies)
        members = set(self.members)
        for change in changes:
            match change:
                case Extension(removed=True):
                    extensions.pop(change.entry, None)
                case Extension():
                    extensions[change.entry] = change
                case Membership(removed=True):
                    members.discard((change.group, change.student))
                case Membership():
                    members.add((change.group, change.student))
                case PolicyChange():
                    policies[change.assignment] = change.policy
        return LateFacts(extensions, frozenset(members), policies, self.version)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = defaultdict(list)
        for group, student in sorted(self.members):
            found[group].append(student)
        return {group: tuple(students) for group, students in found.items()}

    def of_assignment(self, assignment: str) -> tuple[Extension, ...]:
        """Return what is in force for an assignment, with exemptions from all."""
        wanted = (assignment, ALL_ASSIGNMENTS)
        found = (each for each in self.extensions.values() if each.assignment in wanted)
        return tuple(sorted(found, key=lambda each: (each.group, each.student, each.assignment)))

    def by_student(self, assignment: str) -> Mapping[str, tuple[Extension, ...]]:
        """Return what concerns each student with an extension, in person or by a group."""
        in_force = self.of_assignment(assignment)
        members = self.groups() if any(each.group for each in in_force) else {}
        found: dict[str, tuple[Extension, ...]] = {}
        for each in in_force:
            for student in (each.student,) if each.student else members.get(each.group, ()):
                found[student] = (*found.get(student, ()), each)
        return found

    def policy(self, assignment: str) -> StoredPolicy:
        """Return the stored policy of an assignment, or of the course for an empty name."""
        return self.policies.get(assignment, StoredPolicy())

    def with_dates(self, assignment: str, given: Mapping[str, datetime | None]) -> PolicyChange:
        """Return the change by which dates are stored, given by ``due`` and ``closes``.

        None is for the one in the settings; a date that is not given stays. With a due date, that
        of an earlier `mograder feedback --due-date` does not count any more.
        """
        policy = self.policy(assignment)
        if "due" in given:
            policy = replace(policy, due=None, set_due=given["due"])
        if "closes" in given:
            policy = replace(policy, closes=given["closes"])
        return PolicyChange(assignment, policy)

    def with_told(self, assignment: str, told: ItemDates) -> PolicyChange:
        return PolicyChange(assignment, replace(self.policy(assignment), told=told))

    def with_rule(self, assignment: str, rule: CourseRule | None) -> PolicyChange:
        return PolicyChange(assignment, replace(self.policy(assignment), rule=rule))


@dataclass(frozen=True, slots=True)
class LateRecords:
    """Everything in the gradebook that deductions are computed from.

    ``grades`` are students' marks by assignment, of most assignments only what deductions need;
    ``works`` are by assignment and student, with their times and 0.3.16's deductions.
    """

    facts: LateFacts
    grades: Mapping[str, tuple[StudentGrade, ...]]
    works: Mapping[tuple[str, str], Work]


_EXTENSIONS = select(*columns_of(extensions, Extension)).order_by(extensions.c.id)
_MEMBERS = select(*columns_of(group_members, Membership), group_members.c.at)
_POLICIES = TypeAdapter(StoredPolicy)


class LateWork(OfBook):
    """Thread-safe. All that reads policies raises InvalidInput when a stored one is damaged."""

    def facts(self) -> LateFacts:
        with self._book.reading() as connection:
            return _facts(connection)

    def changes(self) -> tuple[tuple[datetime, Change], ...]:
        with self._book.reading() as connection:
            return tuple(sorted(_changes(connection), key=itemgetter(0)))

    def history(self) -> tuple[Extension, ...]:
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
        works: dict[tuple[str, str], Work] = {}
        with self._book.reading() as connection:
            if assignments is None:
                assignments = [each.name for each in read_assignments(connection)]
            short: dict[str, list[StudentGrade]] = {name: [] for name in assignments}
            for grade, work in read_short_grades(connection, assignments, students):
                works[grade.assignment, grade.student] = work
                short[grade.assignment].append(grade)
            grades = {
                name: tuple(map(grade_of, read_rows(connection, name, students)))
                if name in whole
                else tuple(found)
                for name, found in short.items()
            }
            return LateRecords(_facts(connection), grades, works)

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

        Raises: Conflict if another change was recorded since ``version``.
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
    for *values, at in connection.execute(_MEMBERS.order_by(group_members.c.id)):
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
