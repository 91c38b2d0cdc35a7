"""Feedback on an assignment: a page for each student, and its rendering."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.names import FileName
from mograder.core.sections.settings_model import Settings
from mograder.grading.feedback.disclosure import Disclosure
from mograder.grading.feedback.feedback_view import GradedWork, view_feedback
from mograder.grading.late.course_late import CountedGrade
from mograder.grading.late.explanation import moment
from mograder.grading.pages.notebook_page import NotebookView, cells_of_page, view_code
from mograder.grading.pages.page_templates import render_page, styled
from mograder.grading.results.recorded_results import LastResult, last_results
from mograder.notebook.integrity.guarded_cells import GRADERS_CELLS
from mograder.store.course.course import read_notebook
from mograder.store.filesystem.files import atomic_write, entry_named
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.marking.mark_reasons import MarkReasons, read_mark_reasons

_SHORT = 16


@dataclass(frozen=True, slots=True)
class ShownNotebook:
    """The notebook of a page of feedback.

    ``markup`` are the cells of a page that :func:`render_notebook_page` wrote, or else ``view`` is
    the notebook's code. Without either, the page says that there is none.
    """

    markup: str = ""
    view: NotebookView | None = None


def render_feedback_page(
    work: GradedWork, disclosure: Disclosure, notebook: ShownNotebook, signature: str = ""
) -> str:
    """Return a student's page; ``signature`` is that of the result, if there is one."""
    return render_page(
        "feedback.html.j2",
        feedback=view_feedback(work, disclosure),
        notebook=notebook.view,
        markup=notebook.markup,
        result=work.result,
        signature=signature[:_SHORT],
        graded=_graded(work),
        styled=styled,
    )


def _graded(work: GradedWork) -> str:
    """Return when the submission was graded, in words; "" if that is not known."""
    return "" if work.result is None else moment(datetime.fromisoformat(work.result.at))


_MODE = 0o600
_MOST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class FeedbackRequest:
    """An assignment to write feedback on.

    ``autograded`` has the copies of its submissions, ``output`` gets the pages. ``last_due`` is the
    last due date of any student, None without. ``key`` verifies results.
    """

    assignment: str
    autograded: Path
    output: Path
    settings: Settings
    key: bytes
    now: datetime
    last_due: datetime | None


@dataclass(frozen=True, slots=True)
class StudentWork:
    """A student's marks with their explanation, and the recorded result behind ``work``."""

    work: GradedWork
    recorded: LastResult


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page of feedback; ``problem`` says why it was not written."""

    student: str
    path: Path
    problem: str = ""


def works_of(
    request: FeedbackRequest, book: Gradebook, counted: Iterable[CountedGrade]
) -> tuple[StudentWork, ...]:
    """Return the marks of students with what explains them."""
    grades = tuple(counted)
    students = [each.grade.student for each in grades]
    reasons = read_mark_reasons(book, request.assignment)
    results = last_results(request.key, book, request.assignment, students)
    return tuple(
        _work(each, results.get(each.grade.student, LastResult()), reasons) for each in grades
    )


def write_pages(request: FeedbackRequest, works: Iterable[StudentWork]) -> Iterator[WrittenPage]:
    """Write the pages, and yield each as it is done; an error concerns one student only."""
    disclosure = Disclosure.of(
        request.settings, request.assignment, due=request.last_due, now=request.now
    )
    for each in works:
        student = each.work.grade.student
        path = request.output / f"{student}.html"
        try:
            _write(request, each, disclosure)
        except MograderError as error:
            yield WrittenPage(student, path, error.message)
        else:
            yield WrittenPage(student, path)


def _work(
    counted: CountedGrade,
    last: LastResult,
    reasons: Mapping[str, Mapping[str, MarkReasons]],
) -> StudentWork:
    said = reasons.get(counted.grade.student, {})
    return StudentWork(GradedWork(counted.grade, last.result, counted.deduction, said), last)


def _write(request: FeedbackRequest, each: StudentWork, disclosure: Disclosure) -> None:
    student = each.work.grade.student
    name = page_name(student)
    if each.recorded.problem:
        raise InvalidInput(f"{each.recorded.problem}. Grade the submission again.")
    page = render_feedback_page(
        each.work, disclosure, shown_notebook(request.autograded, student), each.recorded.signature
    )
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        atomic_write(request.output / name, page.encode("utf-8", "replace"), _MODE)
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
