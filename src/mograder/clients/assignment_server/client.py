"""One person's client of an assignment server: `mograder serve`, ours or that of 0.3.16.

The methods of the port are for students; the others are for instructors, and for features of this
kind of server only: submissions, grades, feedback, registration (compatibility-0.3.16.md 4,
B135-B158).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import httpx

from mograder.clients.assignment_server import protocol
from mograder.clients.assignment_server.protocol import (
    Connection,
    Identity,
    Registered,
    RemoteSubmission,
    Verification,
    path_of,
)
from mograder.clients.course_server import (
    Acknowledgement,
    Document,
    RemoteAssignment,
    RemoteDraft,
    RemoteFile,
    WorkStatus,
)
from mograder.clients.downloads import Downloader, Meter, no_meter
from mograder.clients.http import RetryPolicy
from mograder.clients.server_url import parse_hub_url
from mograder.clients.token_store import user_of
from mograder.core.errors import (
    InvalidInput,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TooLarge,
)
from mograder.core.name_lookup import counted
from mograder.core.portable_names import server_name
from mograder.core.tasks import Progress

LARGEST_SUBMISSION = 100_000_000
"""Largest submitted notebook in bytes; servers accept less."""

_LARGEST_FEEDBACK = 64_000_000
_DETAIL = {"detail": "1"}
"""Requests fields that 0.3.16 does not have; its server ignores the parameter."""

_PYTHON, _HTML = "text/x-python", "text/html"


@dataclass(frozen=True, slots=True)
class GradeRow:
    """One person's row of a grades file: a value for each column, as the teacher wrote it."""

    values: Mapping[str, str]

    @property
    def who(self) -> str:
        """The row's person, from either of the columns that servers merge by."""
        return self.values.get("username") or self.values.get("userid") or ""


class HttpsTransport(Connection):
    """One person's connection to an assignment server; use it as a context manager.

    Without a token it connects as ``user`` to a server that requires no token.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        user: str = "",
        insecure: bool = False,
        meter: Meter = no_meter,
        retry: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Check the address before the token is sent anywhere."""
        super().__init__(url, token, insecure=insecure, retry=retry, transport=transport)
        self.user = user or user_of(token)
        self._meter = meter

    def list_assignments(self) -> tuple[RemoteAssignment, ...]:
        request = self.request("GET", "/assignments", params=_DETAIL)
        listing = self.ask(request, tuple[protocol.Entry, ...])
        return tuple(protocol.assignment_of(entry) for entry in listing)

    def download(self, file: RemoteFile, to: Path, progress: Progress = lambda _: None) -> None:
        if not file.address:  # the other files of the course can be had
            raise RemoteFailed(
                f"The server names a file that lies elsewhere: {file.name[:100]!r}.",
                hint="Tell your teacher; a token must not go to another server.",
            )

        @contextmanager
        def ask(headers: Mapping[str, str]) -> Iterator[httpx.Response]:
            good = [HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT]
            if "Range" in headers:
                good.append(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            request = self.request("GET", file.address, headers=headers)
            with self.sent(request, progress) as got:
                self.demand(got, *good)
                yield got

        progress(f"Fetching {file.name}")
        Downloader(self.retry).download(ask, file, to, progress, self._meter)

    def work_status(self, assignment: RemoteAssignment) -> WorkStatus:
        path, params = path_of(assignment.key, "status"), {"user": self._who()} | _DETAIL
        request = self.request("GET", path, params=params)
        return protocol.work_status_of(self.ask(request, protocol.Status))

    def submit(
        self,
        assignment: RemoteAssignment,
        file: Path,
        progress: Progress = lambda _: None,
        *,
        late: bool = False,
    ) -> Acknowledgement:
        """Submit a notebook.

        If the connection breaks, the request is repeated: our server recognizes the same bytes, and
        that of 0.3.16 stores them twice.
        """
        data = _read(file)
        progress(f"Submitting {file.name}")
        params = {"user": self._who()} | ({"late": "replace"} if late else {})
        part = server_name(file.name), _Metered(file.name, data, self._meter), _PYTHON
        request = self.request(
            "POST", path_of(assignment.key, "submit"), params=params, files=[("file", part)]
        )
        answer = self.ask(request, protocol.Submitted, progress)
        return protocol.acknowledgement_of(answer)

    def feedback(self, assignment: RemoteAssignment) -> tuple[Document, ...]:
        path = path_of(assignment.key, "feedback", self._who())
        try:
            request = self.request("GET", path)
            content = self.read(request, _LARGEST_FEEDBACK)
        except NotFound:
            return ()
        return (Document(f"{self._who()}.html", content),)

    def draft(self, assignment: RemoteAssignment) -> tuple[RemoteDraft, bytes]:
        found = self.ask(self._draft_request("GET", assignment), protocol.Draft)
        if found.text is None:
            raise NotFound("The server has no draft of yours.")
        return protocol.draft_of(found), found.text.encode()

    def save_draft(self, assignment: RemoteAssignment, text: bytes, over: str) -> RemoteDraft:
        version = {"If-Match": f'"{over}"'} if over else {"If-None-Match": "*"}
        request = self._draft_request("PUT", assignment, headers=version, content=text)
        return protocol.draft_of(self.ask(request, protocol.Draft))

    def submissions(self, assignment: RemoteAssignment) -> tuple[RemoteSubmission, ...]:
        """Return the latest submission of every person (instructors; B147, B153)."""
        path = path_of(assignment.key, "submissions")
        request = self.request("GET", path, params=_DETAIL)
        listed = self.ask(request, tuple[protocol.Submission, ...])
        return tuple(protocol.submission_of(assignment.key, each) for each in listed)

    def upload_grades(self, assignment: RemoteAssignment, rows: Sequence[GradeRow]) -> int:
        """Merge grades into the server's; return how many it holds then (instructors; B154)."""
        body = {"grades": [dict(row.values) for row in rows]}
        request = self.request("POST", path_of(assignment.key, "grades"), json=body)
        return self.ask(request, protocol.Counted).count

    def upload_feedback(
        self, assignment: RemoteAssignment, pages: Sequence[Path], progress: Progress
    ) -> tuple[str, ...]:
        """Store feedback pages, one ``<user>.html`` each; return their names (instructors)."""
        contents = [(page.name, _read(page)) for page in pages]
        progress(f"Sending {counted(len(contents), 'page')} of feedback")
        parts = [
            ("files", (name, _Metered(name, data, self._meter), _HTML)) for name, data in contents
        ]
        path = path_of(assignment.key, "feedback")
        request = self.request("POST", path, files=parts)
        return self.ask(request, protocol.Stored, progress).files

    def who_am_i(self) -> Identity:
        """Return the token's identity; a server of 0.3.16 only confirms that the token is valid."""
        try:
            me = self.ask(self.request("GET", "/me"), protocol.Identity)
        except NotFound:
            self.list_assignments()
            return Identity(user=self.user)
        return Identity(user=me.user or self.user, role=me.role)

    def verify_receipt(self, receipt: str) -> Verification:
        """Ask the server whether it signed a receipt and holds its file; no token is needed."""
        content = receipt.encode()
        request = self.request("POST", "/receipts/verify", content=content)
        return self.ask(request, protocol.Verification)

    def reset_registration(self, user: str) -> None:
        """End a name's tokens and let it be registered again, after a loss (instructors)."""
        request = self.request("POST", f"/people/{quote(user, safe='')}/reset")
        self.ask(request, object)

    def _who(self) -> str:
        if not self.user:
            # Only a server that asks for no token has answered until here.
            raise NotAuthenticated(
                "Nobody is signed in to the server.",
                hint="It asks for no token, and knows no names: give yours by --token NAME:x.",
            )
        return self.user

    def _draft_request(
        self,
        method: str,
        assignment: RemoteAssignment,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Request:
        path, params = path_of(assignment.key, "draft"), {"user": self._who()}
        return self.request(method, path, params=params, headers=headers, content=content)


class _Metered(io.BytesIO):
    """A file in memory that reports how many of its bytes were sent."""

    def __init__(self, name: str, data: bytes, meter: Meter) -> None:
        super().__init__(data)
        self._name, self._size, self._meter = name, len(data), meter

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._meter(self._name, self.tell(), self._size)
        return data


def register(
    url: str,
    user: str,
    enrollment_code: str,
    *,
    retry_key: str,
    token: str = "",
    insecure: bool = False,
    retry: RetryPolicy | None = None,
    transport: httpx.BaseTransport | None = None,
) -> Registered:
    """Join a course with the enrollment code of its teacher; return the personal token (B141).

    Each name is given out once. The request can be repeated after a lost answer, with the same
    ``retry_key`` (:meth:`~mograder.clients.token_store.TokenStore.retry_key`), or the name's
    existing ``token``.
    """
    # The enrollment code is protected like a token.
    parse_hub_url(url, insecure=insecure, what="server")
    with Connection(url, token, insecure=True, retry=retry, transport=transport) as connection:
        body = {"user": user, "enrollment_code": enrollment_code, "retry_key": retry_key}
        request = connection.request("POST", "/register", json=body)
        return connection.ask(request, protocol.Registered)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_SUBMISSION + 1)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    if len(data) > LARGEST_SUBMISSION:
        raise TooLarge(f"{file} is larger than {LARGEST_SUBMISSION // 10**6} MB.")
    return data
