"""A course with signed results in its gradebook, of which some marks wait for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mograder.core.settings import LoadedSettings, load_settings
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import Released, release
from mograder.grading.submissions.autograde import run_of
from mograder.grading.submissions.grading_result import (
    GradedQuestion,
    GradingResult,
    GradingState,
    grading_key,
)
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry
from tests.support.gradebooks import AT
from tests.support.graded_results import graded_result

ESSAY = GradedQuestion(key="Essay", available=10.0, earned=None, state=GradingState.MANUAL)


@dataclass(frozen=True, slots=True)
class ReleasedCourse:
    """A course whose item has Q1 (10 marks, 7.5 by checks) and Essay (10 marks, by people)."""

    loaded: LoadedSettings
    key: bytes
    book: Gradebook
    assignment: str = "A1"

    def feedback(self, minutes: float = 0) -> CourseFeedback:
        """Return the feedback on the item, some minutes after :data:`AT`."""
        return CourseFeedback(self.loaded, self.book, self.assignment, self.key, later(minutes))

    def result(self, student: str, **changes: object) -> GradingResult:
        question = graded_result().questions[0]
        values: dict[str, object] = {
            "assignment": self.assignment,
            "student": student,
            "filename": f"{student}.py",
            "questions": (question, ESSAY),
            "max_mark": 20.0,
            "at": AT.isoformat(),
        }
        return graded_result(**(values | changes))

    def grade(self, student: str, **changes: object) -> None:
        self.book.record_run(run_of(self.result(student, **changes), self.key))

    def grade_hidden(self, *students: str, **changes: object) -> None:
        (check,) = self.result(students[0]).checks
        labels = tuple(each.model_copy(update={"hidden": True}) for each in check.labels)
        hidden = check.model_copy(update={"labels": labels, "hidden": True})
        for student in students:
            self.grade(student, checks=(hidden,), **changes)

    def mark(self, student: str, points: float, marker: str = "mia") -> None:
        """Mark the essay of a student."""
        marks = {"Essay": MarkEntry(points, "Essay is fair.")}
        self.book.record_marks(self.assignment, student, marks, marker=marker, at=AT)

    def release(self, *students: str, minutes: float = 0, at: datetime | None = None) -> Released:
        """Release marks, of all without names."""
        return release(self.feedback(minutes), students or None, at=at, by="prof")


def later(minutes: float) -> datetime:
    """Return a time some minutes after :data:`AT`."""
    return AT + timedelta(minutes=minutes)


@contextmanager
def open_released_course(
    course: Path,
    toml: str = "",
    assignment: str = "A1",
    students: tuple[str, str, str] = ("alice", "bob", "carol"),
) -> Iterator[ReleasedCourse]:
    """Make the course: the first two students are marked, the Essay of the third is not."""
    course.mkdir(parents=True, exist_ok=True)
    if toml or not (course / "mograder.toml").exists():
        (course / "mograder.toml").write_text(toml)
    loaded = load_settings(course, environ={})
    with Gradebook(loaded.gradebook_path) as book:
        made = ReleasedCourse(loaded, grading_key(loaded), book, assignment)
        for student in students:
            made.grade(student)
        made.mark(students[0], 6)
        made.mark(students[1], 9, marker="max")
        yield made
