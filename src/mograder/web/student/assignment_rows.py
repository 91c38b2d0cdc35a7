"""The rows of the dashboard: each assignment as its student sees it, online or not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.clients.course_server import WorkState
from mograder.core.errors import MograderError
from mograder.core.item_dates import OwnDates
from mograder.exchange.student.course import Known, KnownItem
from mograder.exchange.student.drafts import Elsewhere, unseen
from mograder.grading.validation.report import ValidationResult
from mograder.store.copies.student_folder import Notebook, SentNotebook, Waiting
from mograder.web.student.student_app import StudentApp


@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """One assignment; ``state`` uses the terms of the hub's pages."""

    item: KnownItem
    notebook: Notebook | None
    state: str
    sent: SentNotebook | None
    waiting: Waiting | None
    result: ValidationResult | None
    stale: bool
    documents: tuple[Path, ...]
    editing: bool
    elsewhere: Elsewhere | None
    """Newer work, from a browser or another computer, that this folder has not seen."""

    @property
    def own(self) -> OwnDates:
        """The dates of this student, as the server told them."""
        assignment, standing = self.item.assignment, self.item.standing
        if standing is None or standing.extended_to is None:
            return OwnDates(assignment.due, assignment.cutoff)
        closes = assignment.cutoff and max(assignment.cutoff, standing.extended_to)
        due = standing.due(assignment)
        return OwnDates(due, closes, extended=due != assignment.due)

    @property
    def folder(self) -> str:
        """The folder of its files, which identifies it here."""
        return self.item.folder

    @property
    def name(self) -> str:
        """The name that pages show."""
        return self.item.assignment.name

    @property
    def handed_in(self) -> datetime | None:
        """The time at which the server received the submission that counts, if known."""
        standing = self.item.standing
        if standing is not None and standing.submitted_at is not None:
            return standing.submitted_at
        return self.sent.submitted_at if self.sent else None

    @property
    def is_late(self) -> bool:
        """Whether that submission is late: by the due date as it is now, where the server says."""
        standing = self.item.standing
        if standing is not None and standing.submitted_at is not None:
            return standing.late
        return self.sent is not None and self.sent.late

    @property
    def is_handed_in(self) -> bool:
        """Whether the server has a submission of this student."""
        standing = self.item.standing
        return self.sent is not None or (
            standing is not None and standing.state is WorkState.SUBMITTED
        )

    @property
    def has_feedback(self) -> bool:
        """Whether there is feedback on the student's work."""
        standing = self.item.standing
        reported = standing is not None and bool(standing.feedback or standing.feedback_available)
        return reported or bool(self.documents)


def row_of(app: StudentApp, item: KnownItem) -> AssignmentRow:
    """Return the row of one assignment; reads the disk."""
    folder = app.course.folder
    notebook = folder.notebook(item.folder)
    state = folder.state_of(notebook)
    return AssignmentRow(
        item=item,
        notebook=notebook,
        state=state.value if state else "not started",
        sent=folder.sent(notebook) if notebook else None,
        waiting=folder.waiting(item.folder),
        result=app.runner.result(notebook) if notebook else None,
        stale=app.runner.stale(notebook) if notebook else False,
        documents=folder.feedback(item.folder),
        editing=app.runner.editors.find(item.folder) is not None,
        elsewhere=_elsewhere(app, item, notebook),
    )


def _elsewhere(app: StudentApp, item: KnownItem, notebook: Notebook | None) -> Elsewhere | None:
    if item.standing is None:
        return None
    text: bytes | None = None
    with suppress(MograderError):  # one unreadable notebook must not break the whole list
        text = app.course.folder.read(notebook) if notebook else None
    directory = app.course.folder.directory(item.folder)
    return unseen(item.standing, item.assignment, directory, text)


def rows_of(app: StudentApp, known: Known | None) -> tuple[AssignmentRow, ...]:
    """Return the rows of all assignments, in the order of what is next; reads the disk."""
    rows = [row_of(app, item) for item in known.items] if known else []
    now = app.clock.now()
    return tuple(sorted(rows, key=lambda row: row.own.urgency(now, handed_in=row.is_handed_in)))
