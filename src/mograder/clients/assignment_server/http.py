"""Requests to an assignment server, with retries, and checks of its answers.

Our server and that of 0.3.16 have the same protocol (compatibility-0.3.16.md 4). Refusals of the
server are converted to our own errors here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mograder.clients.assignment_server.answers import receipt_text
from mograder.clients.course_server import DraftChanged, WouldReplaceOnTime
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
from mograder.core.closing import Closing
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TimedOut,
)
from mograder.core.tasks import Progress

T = TypeVar("T")
Parts = Sequence[tuple[str, tuple[str, BinaryIO, str]]]
"""The files of a form: field name, then file name, content and media type."""

_SILENCE_SECONDS, _ANSWER_SECONDS = 60.0, 600.0
_LARGEST_ANSWER, _LARGEST_REFUSAL = 16_000_000, 64_000
_LATE, _CLOSED = "late-would-replace", "closed"
_FOR_TEACHERS = "Instructor access required."  # the server's words, in 0.3.16 too
_NOTHING_THERE = "Not found."  # the server's words at an address without a route
_ADDRESS = "Check the server's address, with its path; 0.3.16 does not know all commands."
_AS_TEACHER = "Give the instructor's token by --token or in MOGRADER_HTTPS_TOKEN."
SIGN_IN = "Sign in with `mograder https login` or `mograder https register`."


@dataclass(frozen=True, slots=True)
class Call:
    """One request; ``path`` begins with a slash and is encoded already."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    json: object = None
    content: bytes | None = None
    files: Callable[[], Parts] | None = None


class Connection(Closing):
    """One person's connection to one server.

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
        """Check the address before a secret is sent anywhere.

        Raises:
            InvalidInput: The URL is not valid or would send the token in the clear to another
                host; or the token is not valid.
        """
        # Without a token, a request has no secret.
        self.url = parse_hub_url(url, insecure=insecure or not token, what="server")
        if token:
            check_token(token, SIGN_IN)
        self.retry = retry or RetryPolicy()
        self._server = Server("the server", self.url)
        self._client = make_client(
            self.url, read=_SILENCE_SECONDS, token=token, transport=transport
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @contextmanager
    def sent(self, call: Call, progress: Progress = lambda _: None) -> Iterator[httpx.Response]:
        """Yield the answer to a call, whatever its status, its body unread.

        Raises:
            RemoteFailed: The server cannot be reached or does not answer.
        """
        with self._server.errors():
            response = send(self._client, lambda: self._request(call), self.retry, progress)
        with closing(response):
            yield response

    def ask(self, call: Call, shape: type[T], progress: Progress = lambda _: None) -> T:
        """Return the server's answer, validated as ``shape``."""
        body = self.read(call, _LARGEST_ANSWER, progress)
        try:
            return TypeAdapter(shape).validate_json(body)
        except ValidationError as error:
            raise self.no_server() from error

    def read(self, call: Call, limit: int, progress: Progress = lambda _: None) -> bytes:
        """Return the body of a successful answer, at most ``limit`` bytes."""
        with self.sent(call, progress) as response, self._server.errors():
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
        raise _refusal(status, _said(body), int(retry_after(response)))

    def no_server(self) -> RemoteFailed:
        """Return the error for an answer that is not an assignment server's."""
        return RemoteFailed(
            f"What answers at {self.url} is not a mograder assignment server.",
            hint="Check the address.",
        )

    def _request(self, call: Call) -> httpx.Request:
        return self._client.build_request(
            call.method,
            f"{self.url}{call.path}",
            params=call.params,
            headers=call.headers,
            content=call.content,
            json=call.json,
            files=call.files() if call.files else None,
        )


class _Refusal(BaseModel):
    """The body of a refusal: ``error``, or ``detail`` from a hub."""

    model_config = ConfigDict(extra="ignore")

    error: str = ""
    detail: str = ""
    hint: str = ""
    reason: str = ""
    receipt: dict[str, object] | None = None


def _refusal(status: int, said: _Refusal, wait: int) -> MograderError:
    """Return the error for a refusal's status; the server's words are kept."""
    words = _sentence(said.error or said.detail) or f"The server answered {status}."
    hint = one_line(said.hint)
    if status == HTTPStatus.FORBIDDEN and said.reason == _CLOSED:
        return Conflict(words, hint=hint)
    family = family_of(status)
    if family is Conflict:
        return _conflict(status, said, words, hint)
    if family is Busy:
        again = f"Try again in {wait} seconds." if wait else "Try again in a moment."
        return Busy(words, hint=hint or again, retry_after=wait or 10)
    remedies: dict[type[MograderError], str] = {
        NotAuthenticated: SIGN_IN,
        Forbidden: _AS_TEACHER if words == _FOR_TEACHERS else "",
        NotFound: _ADDRESS if words == _NOTHING_THERE else "",
        RemoteFailed: "The server's own log says more.",
        TimedOut: "Try again in a moment.",
    }
    return family(words, hint=hint or remedies.get(family, ""))


def _conflict(status: int, said: _Refusal, words: str, hint: str) -> Conflict:
    if status == HTTPStatus.PRECONDITION_FAILED:
        return DraftChanged(words, hint=hint)
    if said.reason == _LATE:
        return WouldReplaceOnTime(words, hint=hint, receipt=receipt_text(said.receipt))
    return Conflict(words, hint=hint)


def _said(body: bytes) -> _Refusal:
    try:
        return _Refusal.model_validate_json(body)
    except ValidationError:
        return _Refusal()


def _sentence(text: str) -> str:
    words = one_line(text)
    return words if not words or words.endswith((".", "!", "?")) else f"{words}."
