"""When an assignment is due and closes, for each student; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from mograder.core.clock import from_unix_or_none
from mograder.core.item_dates import written_dates
from mograder.core.name_lookup import nfc
from mograder.core.settings_model import Assignment as AssignmentSettings
from mograder.core.settings_model import Settings
from mograder.store.assignment_server.assignments import Assignment as ServedAssignment
from mograder.store.gradebook.late_facts import LateFacts, StoredPolicy

_NONE = StoredPolicy()


@dataclass(frozen=True, slots=True)
class DueDates:
    """The dates of an assignment, None for each that it does not have, and students' exceptions.

    ``extensions`` are later due dates, ``exempt`` the students without deductions. ``closes`` is
    when submissions end, ``closings`` when they end for students to whom ``assignments.json`` gives
    another time. ``due_from`` and ``closes_from`` say where the general dates come from.
    """

    general: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)
    exempt: frozenset[str] = frozenset()
    closes: datetime | None = None
    closings: Mapping[str, datetime] = field(default_factory=dict)
    due_from: str = ""
    closes_from: str = ""

    def closes_for(self, student: str) -> datetime | None:
        """Return when submissions of a student end; never before the end of an extension."""
        own = self.closings.get(student, self.closes)
        return None if own is None else self.not_before(student, own)

    def is_closed(self, student: str, now: datetime) -> bool:
        """Return whether a student's submissions have ended."""
        closes = self.closes_for(student)
        return closes is not None and now > closes

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
    settings: Settings,
    served: ServedAssignment | None = None,
    stored: StoredPolicy = _NONE,
) -> DueDates:
    """Return the dates of an assignment by its directory's name.

    Of several the first counts: that of `mograder feedback --due-date`, the one that an instructor
    stored, that in ``[items.NAME]``, Moodle's in ``[[assignments]]`` (found by name or ``dir``),
    the one in ``assignments.json``. Extensions there count besides those of the gradebook.
    """
    written = written_dates(settings, name)
    deadline = served.deadline if served else None
    extensions = served.extensions if served else {}
    due, due_from = _first(
        (stored.due, "mograder feedback --due-date"),
        (stored.set_due, "set by an instructor"),
        (written.due, f'[items."{name}"]'),
        (_listed(name, settings.assignments), "Moodle"),
        (deadline.due if deadline else None, "assignments.json"),
    )
    closes, closes_from = _first(
        (stored.closes, "set by an instructor"),
        (written.closes, f'[items."{name}"]'),
        (deadline.cutoff if deadline else None, "assignments.json"),
    )
    return DueDates(
        due,
        {nfc(user): each.due for user, each in extensions.items() if each.due is not None},
        closes=closes,
        closings={nfc(user): each.cutoff for user, each in extensions.items() if each.cutoff},
        due_from=due_from,
        closes_from=closes_from,
    )


def _first(*found: tuple[datetime | None, str]) -> tuple[datetime | None, str]:
    return next((each for each in found if each[0] is not None), (None, ""))


def _listed(name: str, listed: Iterable[AssignmentSettings]) -> datetime | None:
    for each in listed:
        names = (nfc(each.name), nfc(each.dir.rstrip("/").rpartition("/")[2]))
        if nfc(name) in names and each.duedate > 0:
            return from_unix_or_none(each.duedate)
    return None
