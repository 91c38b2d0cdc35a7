"""The protocol of assignment servers: requests with retries, and answers as our own types.

Our server and that of 0.3.16 have the same protocol (compatibility-0.3.16.md 4). Refusals of the
server are converted to our own errors here. Answers are checked by pydantic: 0.3.16 leaves out the
fields that our server adds, and passes on an ``assignments.json`` as its teacher wrote it; so a
missing field is unknown, and one of another type is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import quote, unquote

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from mograder.clients.course_server import (
    Acknowledgement,
    DraftChanged,
    RemoteAssignment,
    RemoteDraft,
    RemoteFile,
    WorkState,
    WorkStatus,
    WouldReplaceOnTime,
)
from mograder.clients.http import (
    RetryPolicy,
    Server,
    bounded_body,
    check_token,
    family_of,
    make_client,
    one_line,
    retry_after,
    send,
)
from mograder.clients.server_url import parse_hub_url
from mograder.core.clock import from_unix_or_none, within_reach
from mograder.core.context_managers import Closing
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TimedOut,
)
from mograder.core.tasks import Progress

T = TypeVar("T")

_SILENCE_SECONDS, _ANSWER_SECONDS = 60.0, 600.0
_LARGEST_ANSWER, _LARGEST_REFUSAL = 16_000_000, 64_000
_LATE, _CLOSED = "late-would-replace", "closed"
_FOR_TEACHERS = "Instructor access required."  # the server's words, in 0.3.16 too
_RESERVED = "Reserved username."  # the server's words, in 0.3.16 too
_NOTHING_THERE = "Not found."  # the server's words at an address without a route
_ADDRESS = "Check the server's address, with its path; 0.3.16 does not know all commands."
_AS_TEACHER = "Give the instructor's token by --token or in MOGRADER_HTTPS_TOKEN."
_AS_STUDENT = (
    "Names that begin with __ are no student's, and the instructor's token has no work of its own: "
    "give a student's by --token, or read the class's by `mograder https fetch-submissions`."
)
SIGN_IN = "Sign in with `mograder https login` or `mograder https register`."
REFUSED = "The server does not take this token."
COPY_AGAIN = "Copy the whole line that you were given, or ask your instructor for a new one."


class Connection(Closing):
    """One person's connection to one server.

    ``request`` makes a request from a method and a path, which begins with a slash and is encoded.
    Every request raises :class:`~mograder.core.errors.MograderError` if the server refuses, cannot
    be reached, or is not an assignment server.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        insecure: bool = False,
        transport: httpx.BaseTransport | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Check the address before a secret is sent anywhere."""
        # Without a token, a request has no secret.
        self.url = parse_hub_url(url, insecure=insecure or not token, what="server")
        if token:
            check_token(token, SIGN_IN)
        self.retry = retry or RetryPolicy()
        self._server = Server("the server", self.url)
        self._client = make_client(
            self.url, read=_SILENCE_SECONDS, token=token, transport=transport
        )
        self.request = self._client.build_request

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def sent(
        self, request: httpx.Request, progress: Progress = lambda _: None
    ) -> Iterator[httpx.Response]:
        """Yield the answer, whatever its status, its body unread; raises RemoteFailed if none."""
        with self._server.errors():
            response = send(self._client, request, self.retry, progress)
        with closing(response):
            yield response

    def ask(self, request: httpx.Request, shape: type[T], progress: Progress = lambda _: None) -> T:
        body = self.read(request, _LARGEST_ANSWER, progress)
        try:
            return TypeAdapter(shape).validate_json(body)
        except ValidationError as error:
            raise RemoteFailed(
                f"What answers at {self.url} is not a mograder assignment server.",
                hint="Check the address.",
            ) from error

    def read(
        self, request: httpx.Request, limit: int, progress: Progress = lambda _: None
    ) -> bytes:
        with self.sent(request, progress) as response, self._server.errors():
            self.demand(response, HTTPStatus.OK)
            return bounded_body(response, limit, _ANSWER_SECONDS)

    def demand(self, response: httpx.Response, *wanted: HTTPStatus) -> None:
        """Raise the error for an answer unless its status is one of ``wanted``."""
        if response.status_code in wanted:
            return
        status = response.status_code
        self._server.refuse_redirect(response)
        with self._server.errors():
            body = bounded_body(response, _LARGEST_REFUSAL, _ANSWER_SECONDS, cut=True)
        try:
            said = _Refusal.model_validate_json(body)
        except ValidationError:
            said = _Refusal()
        raise _refusal(status, said, int(retry_after(response)))


class _Refusal(BaseModel):
    """The body of a refusal: ``error``, or ``detail`` from a hub."""

    model_config = ConfigDict(extra="ignore")

    error: str = ""
    detail: str = ""
    hint: str = ""
    reason: str = ""
    receipt: dict[str, object] | None = None


def _refusal(status: int, said: _Refusal, wait: int) -> MograderError:
    words = one_line(said.error or said.detail) or f"The server answered {status}"
    words += "" if words.endswith((".", "!", "?")) else "."
    hint = one_line(said.hint)
    if status == HTTPStatus.FORBIDDEN and said.reason == _CLOSED:
        return Conflict(words, hint=hint)
    family = family_of(status)
    if family is Conflict:
        if status == HTTPStatus.PRECONDITION_FAILED:
            return DraftChanged(words, hint=hint)
        if said.reason == _LATE:
            return WouldReplaceOnTime(words, hint=hint, receipt=_receipt_text(said.receipt))
        return Conflict(words, hint=hint)
    if family is Busy:
        again = f"Try again in {wait} seconds." if wait else "Try again in a moment."
        return Busy(words, hint=hint or again, retry_after=wait or 10)
    remedies: dict[type[MograderError], str] = {
        NotAuthenticated: SIGN_IN,
        InvalidInput: _AS_STUDENT if words == _RESERVED else "",
        Forbidden: _AS_TEACHER if words == _FOR_TEACHERS else "",
        NotFound: _ADDRESS if words == _NOTHING_THERE else "",
        RemoteFailed: "The server's own log says more.",
        TimedOut: "Try again in a moment.",
    }
    return family(words, hint=hint or remedies.get(family, ""))


@dataclass(frozen=True, slots=True)
class RemoteSubmission:
    """A person's latest submission as an instructor sees it; None and "" if not given."""

    username: str
    file: RemoteFile
    submitted_at: datetime | None = None
    late: bool = False


def _moment(value: object) -> datetime | None:
    """Return the time in unix seconds or ISO text; None for 0 and invalid values, as in 0.3.16."""
    found: datetime | None = None
    if isinstance(value, str):
        with suppress(ValueError):
            found = datetime.fromisoformat(value)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
    elif isinstance(value, int | float) and value > 0:
        found = from_unix_or_none(value)
    return found if found and within_reach(found) else None


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
    status: str
    filename: Text = ""
    late: bool = False
    repeated: bool = False
    receipt: dict[str, object] | None = None


class Submission(File):
    """One line of the instructor's list of submissions."""

    username: str
    received: Moment = None
    late: bool = False


class Counted(_Answer):
    count: int


class Stored(_Answer):
    files: tuple[str, ...]


class Registered(_Answer):
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
    return RemoteAssignment(
        key=entry.name,
        name=entry.name,
        files=tuple(_remote_file(entry.name, "files", file) for file in entry.files),
        number=entry.id,
        opens=entry.opens,
        due=entry.due or entry.duedate,
        cutoff=entry.cutoff,
    )


def submission_of(assignment: str, answer: Submission) -> RemoteSubmission:
    file = _remote_file(assignment, "submissions", answer)
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
    return RemoteDraft(answer.tag, answer.saved, answer.sha256)


def acknowledgement_of(answer: Submitted) -> Acknowledgement:
    when, receipt = _received(answer.receipt), _receipt_text(answer.receipt)
    return Acknowledgement(answer.filename, when, answer.late, answer.repeated, receipt)


def _receipt_text(receipt: Mapping[str, object] | None) -> str:
    return json.dumps(receipt, indent=2, ensure_ascii=False) if receipt else ""


def _received(receipt: Mapping[str, object] | None) -> datetime | None:
    return _moment(receipt.get("received")) if receipt else None


def path_of(assignment: str, *steps: str) -> str:
    """Return the URL path of an assignment's resource, each step encoded separately.

    What a path may have as it is (RFC 3986, ``pchar``) stays: 0.3.16 does not decode paths.
    """
    encoded = (quote(step, safe="!$&'()*+,;=:@") for step in (assignment, *steps))
    return "/".join(["/assignments", *encoded])


def _remote_file(assignment: str, kind: str, file: File) -> RemoteFile:
    usual = path_of(assignment, kind, *file.filename.split("/"))
    place = _address(file.url, usual, f"/assignments/{assignment}/{kind}/{file.filename}")
    return RemoteFile(file.filename, place, file.size, file.sha256 or None)


def _address(given: str, usual: str, plain: str) -> str:
    """Return the URL path that the server gives; "" if it is elsewhere or leads up.

    0.3.16 does not encode the addresses it gives; for one that is ``plain`` it is ``usual``.
    """
    if not given or given == plain:
        return usual
    steps = unquote(given).split("/")
    if not given.startswith("/") or given.startswith("//") or {".", ".."} & set(steps):
        return ""
    return quote(given, safe="/%?=&")
