"""Feedback on an assignment: deductions for lateness into the gradebook, a page for each student.

Deductions are computed anew at every run, from the stored times: they follow a due date that was
moved, also back to none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core.clock import from_unix_or_none
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.names import FileName
from mograder.core.settings_model import Settings
from mograder.grading.feedback.disclosure import Disclosure
from mograder.grading.feedback.feedback_page import ShownNotebook, render_feedback_page
from mograder.grading.feedback.feedback_view import GradedWork
from mograder.grading.late.due_dates import DueDates
from mograder.grading.late.late_policy import Lateness, LatePolicy, lateness, mark_after
from mograder.grading.pages.notebook_page import cells_of_page, view_code
from mograder.grading.results.grading_result import GradingResult
from mograder.grading.results.recorded_result import LastResult, last_result
from mograder.notebook.graders_cells import GRADERS_CELLS
from mograder.store.course import read_notebook
from mograder.store.files import atomic_write, entry_named
from mograder.store.gradebook import Gradebook
from mograder.store.grading_records import Penalty, StudentGrade

_MODE = 0o600
_MOST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class FeedbackRequest:
    """An assignment to write feedback on.

    ``autograded`` has the copies of its submissions, ``output`` gets the pages. ``received`` are
    times of submission in Unix seconds, used where a result has none. ``penalties`` is whether
    deductions are made. ``key`` verifies results.
    """

    assignment: str
    autograded: Path
    output: Path
    settings: Settings
    key: bytes
    now: datetime
    due: DueDates
    received: Mapping[str, float]
    penalties: bool = True


@dataclass(frozen=True, slots=True)
class StudentWork:
    """What explains a student's marks, and the recorded result that ``work`` was made from."""

    work: GradedWork
    recorded: LastResult


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page of feedback; ``problem`` says why it was not written."""

    student: str
    path: Path
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Deductions:
    """What became of deductions: the numbers of late submissions, and of those taken back.

    ``unknown`` are students whose time of submission is not known; theirs stay as they are.
    """

    late: int = 0
    withdrawn: int = 0
    unknown: tuple[str, ...] = ()


def works_of(
    request: FeedbackRequest, book: Gradebook, grades: Iterable[StudentGrade]
) -> tuple[StudentWork, ...]:
    """Return the marks of students with what explains them."""
    return tuple(_work(request, book, grade) for grade in grades)


def record_deductions(
    request: FeedbackRequest, book: Gradebook, works: Iterable[StudentWork]
) -> Deductions:
    """Record the deductions for lateness in the gradebook.

    Raises:
        Busy: The gradebook is locked, or the disk is full.
    """
    late, withdrawn = 0, 0
    unknown: list[str] = []
    for each in works:
        work = each.work
        if not work.grade.version:  # there is no row in the gradebook
            continue
        penalty = _penalty(request, work)
        late += bool(penalty.percent)
        withdrawn += penalty.percent is None and work.grade.penalty_pct is not None
        if request.penalties and work.due is not None and work.received is None:
            unknown.append(work.grade.student)
        held = Penalty(work.grade.penalty_pct, work.grade.penalised, work.grade.submitted_at)
        if penalty != held:
            book.record_penalty(request.assignment, work.grade.student, penalty, at=request.now)
    return Deductions(late, withdrawn, tuple(unknown))


def write_pages(request: FeedbackRequest, works: Iterable[StudentWork]) -> Iterator[WrittenPage]:
    """Write the pages, and yield each as it is done; an error concerns one student only."""
    disclosure = Disclosure.of(
        request.settings, request.assignment, due=request.due.last, now=request.now
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


def _work(request: FeedbackRequest, book: Gradebook, grade: StudentGrade) -> StudentWork:
    last = last_result(request.key, book.runs(request.assignment, grade.student))
    due = request.due.of(grade.student)
    received = _received(request, grade, last.result)
    late = None
    if request.penalties and due is not None and received is not None:
        late = lateness(LatePolicy.of(request.settings.penalties), due, received)
    return StudentWork(GradedWork(grade, last.result, late, due, received), last)


def _received(
    request: FeedbackRequest, grade: StudentGrade, result: GradingResult | None
) -> datetime | None:
    """Return when the graded work was submitted; None if that is not known."""
    if result is not None and result.received:
        return datetime.fromisoformat(result.received)
    return from_unix_or_none(request.received.get(grade.student, grade.submitted_at))


def _penalty(request: FeedbackRequest, work: GradedWork) -> Penalty:
    """Return the deduction; an earlier one stays where a time is not known that it came from."""
    grade = work.grade
    at = grade.submitted_at if work.received is None else float(int(work.received.timestamp()))
    if not request.penalties:
        return Penalty(None, None, at)
    unknown = work.due is None or work.received is None
    percent = grade.penalty_pct if unknown else _percent(work.late)
    if percent is None:
        return Penalty(None, None, at)
    return Penalty(percent, None if grade.total is None else mark_after(grade.total, percent), at)


def _percent(late: Lateness | None) -> float | None:
    return None if late is None else late.percent


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
