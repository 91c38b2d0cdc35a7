"""A course in memory whose server keeps drafts, and folders of its student on several computers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mograder.clients.course_server import (
    Acknowledgement,
    DraftChanged,
    RemoteAssignment,
    RemoteDraft,
    WorkState,
    WorkStatus,
)
from mograder.core.errors import MograderError, NotFound
from mograder.core.tasks import Progress
from mograder.exchange.student.course import StudentCourse
from mograder.exchange.student.drafts import Elsewhere, unseen
from mograder.store.copies.student_folder import StudentFolder
from mograder.store.submissions.receipts import UNSIGNED, Receipt, moment, sign_receipt
from tests.support.clock import ManualClock
from tests.support.fake_course import START, FakeCourse
from tests.support.progress import quiet

RELEASE, MINE, OTHER = b"x = 0\n", b"x = 1  # here\n", b"x = 2  # there\n"


@dataclass
class DraftCourse(FakeCourse):
    """A course whose server keeps drafts; every change is a second after the one before."""

    text: bytes | None = None
    version: int = 0
    changes: int = 0
    saved: int = 0
    handed: int = 0
    broken_drafts: MograderError | None = None

    def edit(self, text: bytes) -> None:
        """Save a draft from a browser, whatever was there."""
        self.changes += 1
        self.text, self.version, self.saved = text, self.version + 1, self.changes

    def submit_elsewhere(self, text: bytes) -> None:
        """Submit by a program that saves no drafts."""
        self.changes += 1
        self.handed_in["hw1", self.user], self.handed = text, self.changes

    def facts(self) -> RemoteDraft:
        """The draft, without its text."""
        if self.text is None:
            return RemoteDraft()
        at = START + timedelta(seconds=self.saved)
        return RemoteDraft(f"v{self.version}", at, hashlib.sha256(self.text).hexdigest())

    def work_status(self, assignment: RemoteAssignment) -> WorkStatus:
        data = self.handed_in.get((assignment.name, self.user))
        if data is None:
            return WorkStatus(WorkState.NEW, draft=self.facts())
        return WorkStatus(
            WorkState.SUBMITTED,
            submitted_at=START + timedelta(seconds=self.handed),
            sha256=hashlib.sha256(data).hexdigest(),
            draft=self.facts(),
        )

    def submit(
        self, assignment: RemoteAssignment, file: Path, progress: Progress, *, late: bool = False
    ) -> Acknowledgement:
        data = file.read_bytes()
        self.submit_elsewhere(data)
        received = START + timedelta(seconds=self.handed)
        unsigned = Receipt(
            assignment=assignment.name,
            user=self.user,
            filename=f"{self.user}.py",
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            received=moment(received),
            sequence=self.handed,
            late=False,
            signature=UNSIGNED,
        )
        receipt = sign_receipt("s" * 32, unsigned)
        return Acknowledgement(f"{self.user}.py", received, receipt=receipt.model_dump_json())

    def draft(self, assignment: RemoteAssignment) -> tuple[RemoteDraft, bytes]:
        if self.text is None:
            raise NotFound("The server has no draft of yours.")
        return self.facts(), self.text

    def save_draft(self, assignment: RemoteAssignment, text: bytes, over: str) -> RemoteDraft:
        if self.broken_drafts:
            raise self.broken_drafts
        if text != self.text:
            if over != self.facts().tag:
                raise DraftChanged("Another version was saved meanwhile.")
            self.edit(text)
        return self.facts()


@dataclass
class Folder:
    """A folder on a computer of the student's, with the fetched assignment."""

    course: DraftCourse
    root: Path
    clock: ManualClock

    @property
    def assignment(self) -> RemoteAssignment:
        return self.course.assignment("hw1")

    @property
    def notebook(self) -> Path:
        return self.root / "hw1" / "hw1.py"

    @property
    def student(self) -> StudentCourse:
        return StudentCourse(StudentFolder(self.root), self.clock)

    def begin(self, text: bytes | None = MINE) -> None:
        """Fetch the assignment and edit the notebook."""
        self.student.sync(self.course, "http://server.test", quiet)
        self.student.fetch(self.course, "hw1", quiet)
        if text is not None:
            self.notebook.write_bytes(text)

    def news(self) -> Elsewhere | None:
        status = self.course.work_status(self.assignment)
        return unseen(status, self.assignment, self.notebook.parent, self.notebook.read_bytes())

    def submit(self, text: bytes, agreed: str = "") -> None:
        self.notebook.write_bytes(text)
        done = self.student.submit(self.course, "hw1", quiet, agreed=agreed)
        assert done.handed is not None

    def aside(self) -> list[bytes]:
        """The texts that are kept beside the notebook."""
        return sorted(path.read_bytes() for path in (self.root / "hw1").glob("hw1.bak.*.py"))
