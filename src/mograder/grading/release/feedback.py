"""Feedback on an assignment: the marks as they count now, and a page of them for each student."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.names import FileName
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import CountedGrade, CourseLate
from mograder.grading.late_work import moment
from mograder.grading.pages.notebook_page import NotebookView, cells_of_page, view_code
from mograder.grading.pages.page_templates import render_page, styled
from mograder.grading.release.feedback_view import Disclosure, GradedWork, view_feedback
from mograder.grading.submissions.grading_result import NO_RESULT, last_results
from mograder.notebook.points import GRADERS_CELLS
from mograder.store.course.course import read_notebook
from mograder.store.filesystem.files import atomic_write, entry_named
from mograder.store.gradebook.gradebook import Gradebook, OneTransaction
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.marking.annotations import read_mark_reasons

_SHORT = 16
_MODE = 0o600
_MOST_BYTES = 64_000_000

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

        Raises: NotFound if the gradebook does not have one of them.
        """
        return tuple(each.grade for each in self._counted(students))

    def works(self, students: Collection[str] | None = None) -> tuple[GradedWork, ...]:
        """Return the present marks with what explains them, as :meth:`grades`; all at one time."""
        with self.book.reading() as connection:
            book = OneTransaction(connection)
            counted = replace(self, book=book)._counted(students)
            return works_of(self.key, book, self.assignment, counted)

    def is_same_work(self, student: str, one: int | None, other: int | None) -> bool:
        """Return whether two runs of a student, by their numbers, graded the same submission."""
        if one == other:
            return True
        runs = [self.book.run(self.assignment, student, each or 0) for each in (one, other)]
        works = {run.submission_sha256 for run in runs if run is not None}
        return None not in runs and len(works) == 1

    @property
    def autograded(self) -> Path:
        base = self.loaded.path(self.loaded.settings.dirs.autograded)
        return entry_named(base, self.assignment)

    def _counted(self, students: Collection[str] | None) -> tuple[CountedGrade, ...]:
        found = CourseLate(self.loaded).counted(self.book, self.assignment, students)
        known = {each.grade.student for each in found}
        missing = sorted(each[:100] for each in students or () if each not in known)
        if missing:
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            told = f"{', '.join(missing[:10])}{more}"
            raise NotFound(
                f"The gradebook has no marks for {self.assignment} of: {told}.",
                hint="Grade first, or correct the names.",
            )
        return found


@dataclass(frozen=True, slots=True)
class ShownNotebook:
    """The notebook of a page of feedback.

    ``markup`` are the cells of a page that :func:`render_notebook_page` wrote, or else ``view`` is
    the notebook's code. Without either, the page says that there is none.
    """

    markup: str = ""
    view: NotebookView | None = None


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page of feedback; ``problem`` says why it was not written."""

    student: str
    path: Path
    problem: str = ""


def works_of(
    key: bytes, book: Gradebook, assignment: str, counted: Sequence[CountedGrade]
) -> tuple[GradedWork, ...]:
    students = [each.grade.student for each in counted]
    reasons = read_mark_reasons(book, assignment)
    results = last_results(key, book, assignment, students)
    return tuple(
        GradedWork(
            each.grade, results.get(student, NO_RESULT), each.deduction, reasons.get(student, {})
        )
        for student, each in zip(students, counted, strict=True)
    )


def render_feedback_page(work: GradedWork, disclosure: Disclosure, notebook: ShownNotebook) -> str:
    result = work.last.result
    return render_page(
        "feedback.html.j2",
        feedback=view_feedback(work, disclosure),
        notebook=notebook.view,
        markup=notebook.markup,
        result=result,
        signature=work.last.signature[:_SHORT],
        graded="" if result is None else moment(datetime.fromisoformat(result.at), disclosure.zone),
        styled=styled,
    )


def write_pages(
    works: Iterable[GradedWork], disclosure: Disclosure, autograded: Path, output: Path
) -> Iterator[WrittenPage]:
    """Write the pages, and yield each as it is done; an error concerns one student only."""
    for work in works:
        student = work.grade.student
        path = output / f"{student}.html"
        try:
            name = page_name(student)
            if work.last.problem:
                raise InvalidInput(f"{work.last.problem}. Grade the submission again.")
            page = render_feedback_page(work, disclosure, shown_notebook(autograded, student))
            output.mkdir(parents=True, exist_ok=True)
            atomic_write(output / name, page.encode("utf-8", "replace"), _MODE)
        except MograderError as error:
            yield WrittenPage(student, path, error.message)
        except OSError as error:
            problem = f"the page cannot be written: {error.strerror}."
            yield WrittenPage(student, path, problem)
        else:
            yield WrittenPage(student, path)


def page_name(student: str) -> FileName:
    """Raise InvalidInput if the student's name is no name for a file."""
    name = FileName.valid(f"{student}.html")
    if name is None or name.startswith("."):
        raise InvalidInput(f"{student[:100]!r} is no name for a file.")
    return name


def shown_notebook(directory: Path, student: str) -> ShownNotebook:
    """Return the notebook from its page, else its code; nothing without files."""
    try:
        with entry_named(directory, f"{student}.html").open("rb") as file:
            page = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        page = ""
    if markup := cells_of_page(page):
        return ShownNotebook(markup)
    copy = entry_named(directory, f"{student}.py")
    try:
        text = read_notebook(copy)
    except MograderError:
        return ShownNotebook()
    return ShownNotebook(view=view_code(text, copy.name, without=GRADERS_CELLS))
