"""When an assignment is due, for each student; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mograder.core.clock import from_unix_or_none
from mograder.core.name_lookup import nfc
from mograder.core.settings_model import Assignment as AssignmentSettings
from mograder.store.assignments import Assignment as ServedAssignment


@dataclass(frozen=True, slots=True)
class DueDates:
    """The due date of an assignment, None if it has none, and those of single students."""

    general: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)

    def of(self, student: str) -> datetime | None:
        """Return a student's due date; an extension never shortens it."""
        found = [each for each in (self.general, self.extensions.get(student)) if each]
        return max(found, default=None)

    @property
    def last(self) -> datetime | None:
        """The due date after which no student may improve their work in time."""
        found = [*self.extensions.values(), *([self.general] if self.general else [])]
        return max(found, default=None)


def due_dates(
    name: str,
    listed: Iterable[AssignmentSettings],
    served: ServedAssignment | None = None,
    given: datetime | None = None,
) -> DueDates:
    """Return the due dates of an assignment by its directory's name.

    ``given`` is the command line's, which counts before that of ``[[assignments]]``, found by name
    or ``dir``, which counts before that of the course's assignment server. Extensions are the
    server's.
    """
    extensions = {
        user: deadline.due
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
