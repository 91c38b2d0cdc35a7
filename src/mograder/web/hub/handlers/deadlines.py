"""An assignment's due date and page in Moodle, from the course's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mograder.core.clock import from_unix_or_none
from mograder.core.settings_model import Assignment, Settings


@dataclass(frozen=True, slots=True)
class HandIn:
    """An assignment's due date, or None, and its page in Moodle, "" where it is not known."""

    due: datetime | None = None
    url: str = ""

    def late(self, now: datetime) -> bool:
        """Return whether it was due before this moment."""
        return self.due is not None and self.due < now


NOWHERE = HandIn()
"""The value for an assignment that is not in the settings."""


def hand_ins(settings: Settings) -> Mapping[str, HandIn]:
    """Return due date and page by the item's name: ``dir`` of its table, else ``name``."""
    base = moodle_base(settings)
    return {
        (each.dir.rstrip("/").rpartition("/")[2] or each.name): _hand_in(each, base)
        for each in settings.assignments
    }


def course_page(settings: Settings) -> str:
    """Return the address of the course's page in Moodle, or ""."""
    base, course = moodle_base(settings), settings.moodle.course_id
    return f"{base}/course/view.php?id={course}" if base and course else base


def moodle_base(settings: Settings) -> str:
    """Return Moodle's address if it is an HTTP one, else ""."""
    url = settings.moodle.url.rstrip("/")
    return url if url.startswith(("https://", "http://")) else ""


def _hand_in(assignment: Assignment, base: str) -> HandIn:
    url = f"{base}/mod/assign/view.php?id={assignment.cmid}" if base and assignment.cmid else ""
    due = from_unix_or_none(assignment.duedate) if assignment.duedate > 0 else None
    return HandIn(due, url)
