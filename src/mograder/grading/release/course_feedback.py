"""The marks of an assignment as they count now, with what explains them to students."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core.errors import NotFound
from mograder.core.settings import LoadedSettings
from mograder.grading.feedback.feedback import works_of
from mograder.grading.feedback.feedback_view import GradedWork
from mograder.grading.late.course_late import CountedGrade, CourseLate
from mograder.store.filesystem.files import entry_named
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import StudentGrade

NO_KEY = b""
"""The key of feedback by which no result is verified."""


@dataclass(frozen=True, slots=True)
class CourseFeedback:
    """Feedback on an assignment of a course at a time.

    ``key`` verifies results. All methods block, and may raise the gradebook's errors.
    """

    loaded: LoadedSettings
    book: Gradebook
    assignment: str
    key: bytes
    now: datetime

    def grades(self, students: Collection[str] | None = None) -> tuple[StudentGrade, ...]:
        """Return the present marks of students, or of all, ordered by username.

        Raises:
            NotFound: The gradebook does not have one of them.
        """
        return tuple(each.grade for each in self._counted(students))

    def works(self, students: Collection[str] | None = None) -> tuple[GradedWork, ...]:
        """Return the present marks with what explains them, as :meth:`grades`."""
        return works_of(self.key, self.book, self.assignment, self._counted(students))

    def is_same_work(self, student: str, one: int | None, other: int | None) -> bool:
        """Return whether two runs of a student, by their numbers, graded the same submission."""
        if one == other:
            return True
        runs = [self.book.run(self.assignment, student, each or 0) for each in (one, other)]
        works = {run.submission_sha256 for run in runs if run is not None}
        return None not in runs and len(works) == 1

    @property
    def autograded(self) -> Path:
        """The directory of graded submissions."""
        base = self.loaded.path(self.loaded.settings.dirs.autograded)
        return entry_named(base, self.assignment)

    def _counted(self, students: Collection[str] | None) -> tuple[CountedGrade, ...]:
        found = CourseLate(self.loaded).counted(self.book, self.assignment, students)
        _demand(self.assignment, students, {each.grade.student for each in found})
        return found


def _demand(assignment: str, students: Collection[str] | None, known: Collection[str]) -> None:
    missing = sorted(each[:100] for each in students or () if each not in known)
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise NotFound(
            f"The gradebook has no marks for {assignment} of: {', '.join(missing[:10])}{more}.",
            hint="Grade first, or correct the names.",
        )
