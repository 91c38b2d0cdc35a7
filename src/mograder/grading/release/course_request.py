"""What feedback on an assignment of a course is made from."""

from __future__ import annotations

from datetime import datetime

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.settings import LoadedSettings
from mograder.grading.feedback.feedback import FeedbackRequest
from mograder.grading.late.due_dates import due_dates
from mograder.store.assignments import MANIFEST_FILE, Assignment, Catalogue
from mograder.store.fetched_times import read_numbers
from mograder.store.files import entry_named

_log = get_logger(__name__)


def course_request(
    loaded: LoadedSettings, assignment: str, *, key: bytes, now: datetime
) -> FeedbackRequest:
    """Return the request for an assignment by its name in the gradebook; blocks.

    ``key`` verifies results.
    """
    settings = loaded.settings
    submitted = entry_named(loaded.path(settings.dirs.submitted), assignment)
    return FeedbackRequest(
        assignment=assignment,
        autograded=entry_named(loaded.path(settings.dirs.autograded), assignment),
        output=loaded.path(settings.dirs.feedback) / assignment,
        settings=settings,
        key=key,
        now=now,
        due=due_dates(assignment, settings.assignments, _served(loaded, assignment)),
        received=read_numbers(submitted),
        penalties=settings.penalties.enabled,
    )


def _served(loaded: LoadedSettings, assignment: str) -> Assignment | None:
    """Return the assignment on the course's own assignment server, if it has one."""
    if not (loaded.course_dir / MANIFEST_FILE).is_file():
        return None
    try:
        return Catalogue(loaded.course_dir, None).find(assignment)
    except MograderError as error:
        _log.info("no due date of %s from %s: %s", assignment, MANIFEST_FILE, error.message)
        return None
