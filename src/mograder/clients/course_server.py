"""The port between one person's commands and the server of a course.

An HTTPS assignment server and a Moodle both keep assignments, accept submissions and return grades.
Their common operations are here; an operation that only one of them has is a method of its class.
All calls block; an instance may be used from any thread, but from one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from mograder.core.errors import Conflict
from mograder.core.tasks import Progress


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that the server offers; ``size`` in bytes and ``digest`` are None if not given.

    ``address`` is for the transport only, and ``modified`` for comparison: a Unix time or None.
    """

    name: str
    address: str
    size: int | None = None
    digest: str | None = None
    modified: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteAssignment:
    """An assignment on the server; dates have a time zone, and are None if not set.

    ``key`` is the server's own identifier (a Moodle number as text), ``name`` the displayed one.
    """

    key: str
    name: str
    files: tuple[RemoteFile, ...] = ()
    number: int | None = None
    opens: datetime | None = None
    due: datetime | None = None
    cutoff: datetime | None = None


@dataclass(frozen=True, slots=True)
class RemoteDraft:
    """The newest text of a person's notebook on the server, besides what they submitted.

    A browser saves it while they work there. ``tag`` names its version; all fields are empty before
    the first one. ``sha256`` is that of the text in UTF-8.
    """

    tag: str = ""
    saved: datetime | None = None
    sha256: str = ""


class WorkState(StrEnum):
    """The progress of one person's work."""

    NEW = "new"
    DRAFT = "draft"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class WorkStatus:
    """The server's record of one person's work on one assignment.

    ``grade`` is as the server shows it, ``feedback`` a text, ``feedback_available`` whether there
    is a document to open. ``can_submit`` is False if the server would refuse now, and ``why_not``
    is then the reason in words for a student. ``graded_attempt`` is the number of an earlier
    attempt, counted from 1, that grade and feedback are for; 0: they are for this one.
    ``sha256`` is that of the submission that counts, "" if not given. ``draft`` is None if the
    server keeps none. ``extended_to`` is an extension of this person that the assignment's dates do
    not have.
    """

    state: WorkState
    graded: bool = False
    grade: str | None = None
    feedback: str = ""
    feedback_available: bool = False
    submitted_at: datetime | None = None
    late: bool = False
    can_submit: bool = True
    why_not: str = ""
    graded_attempt: int = 0
    sha256: str = ""
    draft: RemoteDraft | None = None
    extended_to: datetime | None = None

    def due(self, assignment: RemoteAssignment) -> datetime | None:
        return max(filter(None, (assignment.due, self.extended_to)), default=None)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A submission that the server has acknowledged.

    ``receipt`` is the signed receipt as JSON text, empty if the server gives none. ``repeated``:
    the server held these very bytes already.
    """

    filename: str
    submitted_at: datetime | None = None
    late: bool = False
    repeated: bool = False
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    name: str
    content: bytes


class NeedsDecision(Conflict):
    """A submission that is sent only if the student agrees to what it replaces."""


class WouldReplaceOnTime(NeedsDecision):
    """A late submission would replace one that was on time: ``late`` makes it count.

    ``receipt`` is that of the late one, as JSON text, if the server has kept it.
    """

    def __init__(self, message: str, *, hint: str = "", receipt: str = "") -> None:
        super().__init__(message, hint=hint)
        self.receipt = receipt


class DraftChanged(Conflict):
    """The draft on the server is not the version that was to be replaced; nothing changed."""


class Transport(Protocol):
    """One person's connection to a course on another server.

    Every method raises a :class:`~mograder.core.errors.MograderError` with a remedy: RemoteFailed
    (unreachable, or an invalid answer), NotAuthenticated, Forbidden, NotFound, Conflict
    (WouldReplaceOnTime: by a late one; or the deadline has passed), Busy.
    """

    @property
    def user(self) -> str:
        """The signed-in user, by the server's name for them."""

    def list_assignments(self) -> tuple[RemoteAssignment, ...]:
        """Return the assignments that this person may see, in the server's order."""

    def download(self, file: RemoteFile, to: Path, progress: Progress) -> None:
        """Write a file's bytes to ``to``, complete and verified or not at all; may resume."""

    def work_status(self, assignment: RemoteAssignment) -> WorkStatus:
        """Return the status of this person's work."""

    def submit(
        self, assignment: RemoteAssignment, file: Path, progress: Progress, *, late: bool = False
    ) -> Acknowledgement:
        """Submit a notebook; ``late`` allows a late one to replace a submission on time."""

    def feedback(self, assignment: RemoteAssignment) -> tuple[Document, ...]:
        """Return the feedback documents on this person's work; empty if there are none."""

    def close(self) -> None:
        """Close all connections."""


@runtime_checkable
class KeepsDrafts(Protocol):
    """A connection to a server that keeps drafts, as :attr:`WorkStatus.draft` tells."""

    def draft(self, assignment: RemoteAssignment) -> tuple[RemoteDraft, bytes]:
        """Return this person's draft and its text. Raises: NotFound before the first one."""

    def save_draft(self, assignment: RemoteAssignment, text: bytes, over: str) -> RemoteDraft:
        """Save a draft over the version with the tag ``over``, "" for the first one.

        Raises:
            DraftChanged: It is another version; nothing changed.
        """
