"""When an assignment is due, for each student; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from mograder.core.clock import from_unix_or_none
from mograder.core.name_lookup import nfc
from mograder.core.settings_model import Assignment as AssignmentSettings
from mograder.store.assignment_server.assignments import Assignment as ServedAssignment
from mograder.store.gradebook.late_facts import LateFacts


@dataclass(frozen=True, slots=True)
class DueDates:
    """The due date of an assignment, None if it has none, and the exceptions of students.

    ``extensions`` are later due dates, ``exempt`` the students without deductions.
    """

    general: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)
    exempt: frozenset[str] = frozenset()

    def of(self, student: str) -> datetime | None:
        """Return a student's due date; an extension never shortens it."""
        return self.general if self.general is None else self.not_before(student, self.general)

    def not_before(self, student: str, time: datetime) -> datetime:
        """Return a time, or the end of the student's extension where that is later."""
        return max(time, self.extensions.get(student, time))

    def is_extended(self, student: str) -> bool:
        """Return whether the student's due date is later than the general one."""
        return self.of(student) != self.general

    @property
    def last(self) -> datetime | None:
        """The due date after which no student may improve their work in time."""
        found = [*self.extensions.values(), *([self.general] if self.general else [])]
        return max(found, default=None)

    def with_facts(self, facts: LateFacts, assignment: str) -> DueDates:
        """Return the dates with the extensions and exemptions of the gradebook."""
        extensions = dict(self.extensions)
        exempt = set(self.exempt)
        for student, found in facts.by_student(assignment).items():
            exempt |= {student} if any(each.exempt for each in found) else set()
            until = [each.until for each in found if each.until is not None]
            if until:
                extensions[student] = max([*until, extensions.get(student, until[0])])
        return replace(self, extensions=extensions, exempt=frozenset(exempt))


def due_dates(
    name: str,
    listed: Iterable[AssignmentSettings],
    served: ServedAssignment | None = None,
    given: datetime | None = None,
) -> DueDates:
    """Return the due dates of an assignment by its directory's name.

    ``given`` is the one of `mograder feedback --due-date`, which counts before that of
    ``[[assignments]]``, found by name or ``dir``, which counts before that of the course's
    assignment server. Extensions are the server's.
    """
    extensions = {
        nfc(user): deadline.due
        for user, deadline in (served.extensions if served else {}).items()
        if deadline.due is not None
    }
    general = given or _listed(name, listed) or (served.deadline.due if served else None)
    return DueDates(general, extensions)


def _listed(name: str, listed: Iterable[AssignmentSettings]) -> datetime | None:
    for each in listed:
        names = (nfc(each.name), nfc(each.dir.rstrip("/").rpartition("/")[2]))
        if nfc(name) in names and each.duedate > 0:
            return from_unix_or_none(each.duedate)
    return None
