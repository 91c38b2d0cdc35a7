"""Where a course lives, as one person sees it: the port between our journeys and other servers.

An HTTPS assignment server and a Moodle keep assignments, take submissions and give grades back,
each in its own words. What they have in common is here; what only one of them can do is a method
of its own class. All calls block, and may be made from any one thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from mograder.core.errors import Conflict
from mograder.core.single_flight import Progress


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that the server offers; ``size`` in bytes and ``digest`` are None where untold.

    ``address`` is what the transport needs to get it, and means nothing to anybody else.
    """

    name: str
    address: str
    size: int | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteAssignment:
    """An assignment on the server; dates are aware, None where there is none.

    ``key`` is the server's own name for it (a Moodle number as text), ``name`` what people see.
    """

    key: str
    name: str
    files: tuple[RemoteFile, ...] = ()
    number: int | None = None
    opens: datetime | None = None
    due: datetime | None = None
    cutoff: datetime | None = None


class WorkState(StrEnum):
    """How far one person's work is."""

    NEW = "new"
    DRAFT = "draft"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the server holds of one person's work on one assignment.

    ``grade`` is as the server shows it, ``feedback`` a text, ``feedback_available`` whether there
    is a document to open. ``can_submit`` is False where the server would refuse now, and
    ``why_not`` then says why in words for a student. ``graded_attempt`` is the number of an
    earlier attempt, counted from 1, that grade and feedback are for; 0: they are for this one.
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


@dataclass(frozen=True, slots=True)
class Handed:
    """A submission that the server has acknowledged.

    ``receipt`` is the signed receipt as JSON text, empty where the server gives none.
    ``repeated``: the server held these very bytes already.
    """

    filename: str
    submitted_at: datetime | None = None
    late: bool = False
    repeated: bool = False
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of feedback: a file name and its bytes."""

    name: str
    content: bytes


class WouldReplaceOnTime(Conflict):
    """A late submission has arrived, and would replace one that was on time: ask the person.

    ``receipt`` is that of the late one, as JSON text, where the server has kept it; submitting
    again with ``late`` lets it count.
    """

    def __init__(self, message: str, *, hint: str = "", receipt: str = "") -> None:
        super().__init__(message, hint=hint)
        self.receipt = receipt


class Transport(Protocol):
    """One person's connection to a course on another server.

    Every method raises a :class:`~mograder.core.errors.MograderError` that says what to do:
    RemoteFailed (unreachable, or an answer that makes no sense), NotAuthenticated, Forbidden,
    NotFound, Conflict (WouldReplaceOnTime: by a late one; or the time is over), Busy.
    """

    @property
    def user(self) -> str:
        """Who is signed in, as the server names them."""
        ...

    def list_assignments(self) -> tuple[RemoteAssignment, ...]:
        """Return what this person may see, in the server's order."""
        ...

    def download(self, file: RemoteFile, to: Path, progress: Progress) -> None:
        """Write a file's bytes to ``to``, whole and verified or not at all; resumes if it can."""
        ...

    def standing(self, assignment: RemoteAssignment) -> Standing:
        """Return where this person's work stands."""
        ...

    def submit(
        self, assignment: RemoteAssignment, file: Path, progress: Progress, *, late: bool = False
    ) -> Handed:
        """Hand a notebook in; ``late`` agrees to replace an on-time submission by a late one."""
        ...

    def feedback(self, assignment: RemoteAssignment) -> tuple[Document, ...]:
        """Return the documents of feedback on this person's work; empty when there are none."""
        ...

    def close(self) -> None:
        """Let the connections go."""
        ...
