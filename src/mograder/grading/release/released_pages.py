"""Released marks as a student sees them: parts of a page on the hub, and the page of feedback.

Both are made from the marks of the release, and from the result that explained them then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.grading.feedback.disclosure import Disclosure
from mograder.grading.feedback.feedback import (
    ShownNotebook,
    page_name,
    render_feedback_page,
    shown_notebook,
)
from mograder.grading.feedback.feedback_view import FeedbackView, view_feedback
from mograder.grading.release.course_feedback import CourseFeedback
from mograder.grading.release.released_marks import ReleasedMarks, parse_marks
from mograder.grading.release.telling import telling
from mograder.grading.results.recorded_results import NO_RESULT, LastResult, result_of_run
from mograder.store.filesystem.files import atomic_write
from mograder.store.gradebook.mark_release import MarkReleases, standing

_PRIVATE = 0o600


def view_marks(
    feedback: CourseFeedback, marks: ReleasedMarks, disclosure: Disclosure
) -> FeedbackView:
    """Return what a student's page says.

    Raises: :class:`InvalidInput` if the result that explains the marks is not to be used.
    """
    return view_feedback(marks.work(_explained(feedback, marks)), disclosure)


def render_marks_page(
    feedback: CourseFeedback, marks: ReleasedMarks, disclosure: Disclosure
) -> str:
    """Return the page of feedback with the notebook, if that is still the one of these marks.

    Raises: as :func:`view_marks`.
    """
    work, notebook = marks.work(_explained(feedback, marks)), ShownNotebook()
    student = marks.grade.student
    last = feedback.book.last_run(feedback.assignment, student)  # its files are there
    newest = None if last is None else last.number
    if marks.run is None or feedback.is_same_work(student, marks.run, newest):
        notebook = shown_notebook(feedback.autograded, student)
    return render_feedback_page(work, disclosure, notebook)


def released_marks(feedback: CourseFeedback) -> Mapping[str, ReleasedMarks] | None:
    """Return the marks of an assignment that students see now, by username.

    None if none of them was ever released.

    Raises: :class:`InvalidInput` if a release is damaged.
    """
    rows = MarkReleases(feedback.book).rows(feedback.assignment)
    found = {each: standing(rows[each], feedback.now).shown for each in rows}
    shown = {each: parse_marks(row.grade) for each, row in found.items() if row is not None}
    return shown if rows else None


def write_released_pages(
    feedback: CourseFeedback, released: Iterable[ReleasedMarks], directory: Path
) -> Iterator[tuple[str, str]]:
    """Write the page of each student's released marks as ``USER.html``.

    Yields the students whose page could not be written, with the reason.
    """
    tells, rows = telling(feedback), MarkReleases(feedback.book).rows(feedback.assignment)
    for marks in released:
        student = marks.grade.student
        try:
            path = directory / page_name(student)
            page = render_marks_page(feedback, marks, tells.of(rows.get(student, ())))
            atomic_write(path, page.encode("utf-8", "replace"), _PRIVATE)
        except (MograderError, OSError) as error:
            yield student, str(error)


def _explained(feedback: CourseFeedback, marks: ReleasedMarks) -> LastResult:
    if marks.run is None:
        return NO_RESULT
    grade = marks.grade
    run = feedback.book.run(grade.assignment, grade.student, marks.run)
    found = result_of_run(feedback.key, run)
    if found.problem:
        raise InvalidInput(
            f"The reasons for these marks cannot be shown: {found.problem}.",
            hint="Tell your instructor.",
        )
    return found
