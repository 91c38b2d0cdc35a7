"""The released marks of an assignment, for the commands that send marks to students."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.shared.console import plain
from mograder.core.clock import SystemClock
from mograder.core.name_lookup import listed
from mograder.core.operating_system import SYSTEM
from mograder.core.settings import LoadedSettings
from mograder.exchange.grade_files import reservations
from mograder.grading.course_late import CourseLate
from mograder.grading.late_work import moment
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import ReleasedMarks, differ
from mograder.grading.release.student_marks import (
    released_marks,
    telling,
    untold_students,
    write_released_pages,
)
from mograder.grading.submissions.grading_result import grading_key
from mograder.store.gradebook.gradebook import viewed_gradebook
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.mark_release import MarkReleases

unreleased_option = click.option(
    "--unreleased",
    is_flag=True,
    help="Send the present marks, whether they are released or not.  [default: only released "
    "marks, once some of the assignment were released]",
)
"""Add ``--unreleased``, for the present marks of an assignment whose marks are released."""


@dataclass(frozen=True, slots=True)
class ReleasedCourseMarks:
    """The marks of an assignment that students may see, by username, and how they are explained.

    ``held_back`` are the other students with work here.
    """

    loaded: LoadedSettings
    assignment: str
    marks: Mapping[str, ReleasedMarks]
    held_back: frozenset[str] = frozenset()

    @property
    def grades(self) -> tuple[StudentGrade, ...]:
        return tuple(self.marks[each].grade for each in sorted(self.marks, key=str.casefold))

    def write_pages(self, directory: Path) -> None:
        with viewed_gradebook(self.loaded.gradebook_path) as book:
            now, key = SystemClock().now(), grading_key(self.loaded)
            feedback = CourseFeedback(self.loaded, book, self.assignment, key, now)
            for student, why in write_released_pages(feedback, self.marks.values(), directory):
                (directory / f"{student}.html").unlink(missing_ok=True)
                click.echo(plain(f"Warning: no page for {student}: {why}"), err=True)


def released_of(
    loaded: LoadedSettings, assignment: str, *, unreleased: bool = False, from_file: bool = False
) -> ReleasedCourseMarks | None:
    """Return the released marks of an assignment; None if all present marks are to be sent.

    That is so if none was ever released, as with mograder 0.3.16, and with ``unreleased``. Marks
    that tell results of hidden tests wait for the same moment as on students' pages. Prints to
    stderr whose marks are held back. ``from_file``: the marks to send are those of a file.
    """
    path = loaded.gradebook_path
    if unreleased or not path.is_file():
        return None
    now = SystemClock().now()
    with viewed_gradebook(path) as book:
        if not MarkReleases(book).rows(assignment):
            return None
        feedback = CourseFeedback(loaded, book, assignment, grading_key(loaded), now)
        tells = telling(feedback)
        untold = untold_students(feedback, tells)
        found = released_marks(feedback) or {}
        present = feedback.grades()
    told = {each: marks for each, marks in found.items() if each not in untold}
    if untold and tells.ahead.later is not None:
        until = moment(tells.ahead.later, tells.ahead.zone)
        why = f"Held back until {until}, as they tell results of hidden tests: {listed(untold)}."
        click.echo(plain(why), err=True)
    due = [each for each in present if each.student not in untold]
    _tell_held_back(told, due, "the file's marks are" if from_file else "what was released is")
    held_back = frozenset(each.student for each in present) - told.keys()
    return ReleasedCourseMarks(loaded, assignment, told, held_back)


def grades_to_send(
    loaded: LoadedSettings, assignment: str, released: ReleasedCourseMarks | None
) -> tuple[StudentGrade, ...]:
    """Return the released marks, else the gradebook's after a warning about what they lack."""
    if released is not None:
        return released.grades
    if not loaded.gradebook_path.is_file():
        return ()
    with viewed_gradebook(loaded.gradebook_path) as book:
        grades = CourseLate(loaded).grades(book, assignment)
    warn_of_reservations(assignment, grades)
    return grades


def released_files(released: ReleasedCourseMarks | None, given: Path | None, usual: Path) -> Path:
    """Return the directory of feedback to send, with the files of the students that get marks.

    If some are released, it is a temporary one, which is removed when the command ends. Its pages
    are written from the released marks, unless the option ``given`` names a directory with pages.
    """
    if released is None:
        return given or usual
    made = tempfile.TemporaryDirectory(prefix="mograder-feedback-")
    place = Path(click.get_current_context().with_resource(made))
    _put_files(given or usual, place, released.marks)
    if given is None:
        released.write_pages(place)
    return place


def _tell_held_back(
    released: Mapping[str, ReleasedMarks], present: Sequence[StudentGrade], sent: str
) -> None:
    """Print students who are held back, and those whose marks changed since the release."""
    graded = [each for each in present if each.final is not None]
    held = [each.student for each in graded if each.student not in released]
    older = [
        each.student
        for each in graded
        if each.student in released and differ(released[each.student].grade, each)
    ]
    if held:
        click.echo(plain(f"Held back, as they are not released: {listed(held)}."), err=True)
    if older:
        told = f"Changed since the release; {sent} sent: {listed(older)}."
        click.echo(plain(told), err=True)


def _put_files(source: Path, target: Path, students: Collection[str]) -> None:
    """Link the files of some students; on Windows, where administrators alone may, copy them."""
    if not source.is_dir():
        return
    for entry in source.iterdir():
        name = entry.name if entry.is_dir() else entry.stem
        if name in students and not entry.name.startswith("."):
            place = target / entry.name
            if SYSTEM != "windows":
                place.symlink_to(entry.absolute())
            elif entry.is_dir():
                shutil.copytree(entry, place)
            else:
                shutil.copy2(entry, place)


def warn_of_reservations(assignment: str, grades: Sequence[StudentGrade]) -> None:
    """Print to stderr which students have no mark, and whose marks need a look."""
    for sentence in reservations(grades):
        click.echo(plain(f"Warning: {assignment}: {sentence}"), err=True)
