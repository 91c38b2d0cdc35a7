"""Answers of assignment servers: checked by pydantic, and converted to our own types.

0.3.16 leaves out the fields that our server adds, and passes on an ``assignments.json`` as its
teacher wrote it (compatibility-0.3.16.md 4); so a missing field is unknown, and one of another type
is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mograder.clients.course_server import (
    Acknowledgement,
    RemoteAssignment,
    RemoteDraft,
    RemoteFile,
    WorkState,
    WorkStatus,
)
from mograder.core.clock import from_unix, within_reach
from mograder.core.errors import RemoteFailed

_LATEST = 32_503_680_000
"""The end of the year 2999, in unix seconds."""


@dataclass(frozen=True, slots=True)
class RemoteSubmission:
    """A person's latest submission as an instructor sees it; None and "" if not given."""

    username: str
    file: RemoteFile
    submitted_at: datetime | None = None
    late: bool = False


def _moment(value: object) -> datetime | None:
    """Return the time in unix seconds or ISO text; None for 0 and invalid values, as in 0.3.16."""
    if isinstance(value, str) and value:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware if within_reach(aware) else None
    if isinstance(value, int | float) and 0 < value <= _LATEST:
        return from_unix(value)
    return None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value[:18])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, str | int | float) else ""


Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Number = Annotated[int | None, BeforeValidator(_number)]
Text = Annotated[str, BeforeValidator(_text)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class File(_Answer):
    """One file of an assignment."""

    filename: str
    url: Text = ""
    size: Number = None
    sha256: Text = ""


class Entry(_Answer):
    """One assignment of the list; ``duedate`` is 0.3.16's word for ``due``."""

    name: str
    id: Number = None
    files: tuple[File, ...] = ()
    duedate: Moment = None
    opens: Moment = None
    due: Moment = None
    cutoff: Moment = None


class DraftFacts(_Answer):
    """A person's draft without its text; its fields are null before the first one."""

    tag: Text = ""
    saved: Moment = None
    sha256: Text = ""


class Draft(DraftFacts):
    """A person's draft."""

    text: str | None = None


class Status(_Answer):
    """The state of one person's work on one assignment."""

    status: str
    graded: bool = False
    grade: Text = ""
    feedback: Text = ""
    feedback_available: bool = False
    receipt: dict[str, object] | None = None
    late: bool = False
    can_submit: bool = True
    why_not: Text = ""
    draft: DraftFacts | None = None


class Submitted(_Answer):
    """The acknowledgement of a submission; the receipt is kept unchanged."""

    status: str
    filename: Text = ""
    late: bool = False
    repeated: bool = False
    receipt: dict[str, object] | None = None


class Submission(_Answer):
    """One line of the instructor's list of submissions."""

    username: str
    filename: str
    url: Text = ""
    size: Number = None
    sha256: Text = ""
    received: Moment = None
    late: bool = False


class Counted(_Answer):
    """The number of grades that the server holds of an assignment now."""

    status: Text = ""
    count: int


class Stored(_Answer):
    """The names of the feedback files that the server has stored."""

    status: Text = ""
    files: tuple[str, ...]


class Registered(_Answer):
    """A new member of the course."""

    user: str
    token: str = Field(repr=False)


class Identity(_Answer):
    """The owner of the token; ``role`` is empty if the server does not give it (0.3.16)."""

    user: Text = ""
    role: Text = ""


class Verification(_Answer):
    """The server's statement on a receipt: signed by it, the file still held, and counted."""

    valid: bool
    stored: bool = False
    counts: bool = False
    message: Text = ""


def assignment_of(entry: Entry) -> RemoteAssignment:
    """Return an assignment in the form of :mod:`mograder.clients.course_server`.

    Raises:
        RemoteFailed: The URL of one of its files is on another server.
    """
    return RemoteAssignment(
        key=entry.name,
        name=entry.name,
        files=tuple(_file_of(entry.name, file) for file in entry.files),
        number=entry.id,
        opens=entry.opens,
        due=entry.due or entry.duedate,
        cutoff=entry.cutoff,
    )


def submission_of(assignment: str, answer: Submission) -> RemoteSubmission:
    """Return a submission in the form for instructors."""
    usual = path_of(assignment, "submissions", answer.filename)
    place = _address(answer.url, usual, f"/assignments/{assignment}/submissions/{answer.filename}")
    file = RemoteFile(answer.filename, place, answer.size, answer.sha256 or None)
    return RemoteSubmission(answer.username, file, answer.received, answer.late)


def work_status_of(status: Status) -> WorkStatus:
    """Return the status of one person's work; every state except ``submitted`` is new work."""
    state = WorkState.SUBMITTED if status.status == "submitted" else WorkState.NEW
    return WorkStatus(
        state=state,
        graded=status.graded,
        grade=status.grade or None,
        feedback=status.feedback,
        feedback_available=status.feedback_available,
        submitted_at=_received(status.receipt),
        late=status.late,
        can_submit=status.can_submit,
        why_not=status.why_not,
        sha256=_text((status.receipt or {}).get("sha256")),
        draft=None if status.draft is None else draft_of(status.draft),
    )


def draft_of(answer: DraftFacts) -> RemoteDraft:
    """Return the facts about a draft."""
    return RemoteDraft(answer.tag, answer.saved, answer.sha256)


def acknowledgement_of(answer: Submitted) -> Acknowledgement:
    """Return an acknowledgement, with the receipt as JSON text for storing unchanged."""
    when, receipt = _received(answer.receipt), receipt_text(answer.receipt)
    return Acknowledgement(answer.filename, when, answer.late, answer.repeated, receipt)


def receipt_text(receipt: Mapping[str, object] | None) -> str:
    """Return a receipt as JSON text, empty for None."""
    return json.dumps(receipt, indent=2, ensure_ascii=False) if receipt else ""


def _received(receipt: Mapping[str, object] | None) -> datetime | None:
    return _moment(receipt.get("received")) if receipt else None


def path_of(assignment: str, *steps: str) -> str:
    """Return the URL path of an assignment's resource, each step encoded separately.

    What a path may have as it is (RFC 3986, ``pchar``) stays: 0.3.16 does not decode paths.
    """
    encoded = (quote(step, safe="!$&'()*+,;=:@") for step in (assignment, *steps))
    return "/".join(["/assignments", *encoded])


def _file_of(assignment: str, file: File) -> RemoteFile:
    usual = path_of(assignment, "files", *file.filename.split("/"))
    place = _address(file.url, usual, f"/assignments/{assignment}/files/{file.filename}")
    return RemoteFile(file.filename, place, file.size, file.sha256 or None)


def _address(given: str, usual: str, plain: str) -> str:
    """Return the URL path that the server gives, if it is on this server.

    0.3.16 does not encode the addresses it gives; if the given one equals ``plain``, ``usual`` is
    returned.

    Raises:
        RemoteFailed: It is on another server, or leads up.
    """
    if not given or given == plain:
        return usual
    steps = unquote(given).split("/")
    if not given.startswith("/") or given.startswith("//") or {".", ".."} & set(steps):
        raise RemoteFailed(
            f"The server names a file that lies elsewhere: {given[:100]!r}.",
            hint="Tell your teacher; a token must not go to another server.",
        )
    return quote(given, safe="/%?=&")
