"""Feedback on an assignment: a page for each student, and its rendering."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.names import FileName
from mograder.grading.feedback.disclosure import Disclosure
from mograder.grading.feedback.feedback_view import GradedWork, view_feedback
from mograder.grading.late.course_late import CountedGrade
from mograder.grading.late.late_work import moment
from mograder.grading.pages.notebook_page import NotebookView, cells_of_page, view_code
from mograder.grading.pages.page_templates import render_page, styled
from mograder.grading.results.recorded_results import NO_RESULT, last_results
from mograder.notebook.integrity.guarded_cells import GRADERS_CELLS
from mograder.store.course.course import read_notebook
from mograder.store.filesystem.files import atomic_write, entry_named
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.marking.mark_reasons import read_mark_reasons

_SHORT = 16


@dataclass(frozen=True, slots=True)
class ShownNotebook:
    """The notebook of a page of feedback.

    ``markup`` are the cells of a page that :func:`render_notebook_page` wrote, or else ``view`` is
    the notebook's code. Without either, the page says that there is none.
    """

    markup: str = ""
    view: NotebookView | None = None


def render_feedback_page(work: GradedWork, disclosure: Disclosure, notebook: ShownNotebook) -> str:
    """Return a student's page."""
    result = work.last.result
    return render_page(
        "feedback.html.j2",
        feedback=view_feedback(work, disclosure),
        notebook=notebook.view,
        markup=notebook.markup,
        result=result,
        signature=work.last.signature[:_SHORT],
        graded="" if result is None else moment(datetime.fromisoformat(result.at)),
        styled=styled,
    )


_MODE = 0o600
_MOST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page of feedback; ``problem`` says why it was not written."""

    student: str
    path: Path
    problem: str = ""


def works_of(
    key: bytes, book: Gradebook, assignment: str, counted: Sequence[CountedGrade]
) -> tuple[GradedWork, ...]:
    """Return the marks of students with what explains them; ``key`` verifies results."""
    students = [each.grade.student for each in counted]
    reasons = read_mark_reasons(book, assignment)
    results = last_results(key, book, assignment, students)
    return tuple(
        GradedWork(
            each.grade, results.get(student, NO_RESULT), each.deduction, reasons.get(student, {})
        )
        for student, each in zip(students, counted, strict=True)
    )


def write_pages(
    works: Iterable[GradedWork], disclosure: Disclosure, autograded: Path, output: Path
) -> Iterator[WrittenPage]:
    """Write the pages, and yield each as it is done; an error concerns one student only.

    ``autograded`` has the copies of the submissions, ``output`` gets the pages.
    """
    for work in works:
        student = work.grade.student
        path = output / f"{student}.html"
        try:
            _write(work, disclosure, autograded, output)
        except MograderError as error:
            yield WrittenPage(student, path, error.message)
        else:
            yield WrittenPage(student, path)


def _write(work: GradedWork, disclosure: Disclosure, autograded: Path, output: Path) -> None:
    name = page_name(work.grade.student)
    if work.last.problem:
        raise InvalidInput(f"{work.last.problem}. Grade the submission again.")
    page = render_feedback_page(work, disclosure, shown_notebook(autograded, work.grade.student))
    try:
        output.mkdir(parents=True, exist_ok=True)
        atomic_write(output / name, page.encode("utf-8", "replace"), _MODE)
    except OSError as error:
        raise InvalidInput(f"the page cannot be written: {error.strerror}.") from error


def page_name(student: str) -> FileName:
    """Return the name of a student's page.

    Raises:
        InvalidInput: The student's name is no name for a file.
    """
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
