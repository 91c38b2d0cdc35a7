"""One request to a Moodle and its answer: forms sent, JSON received, refusals as our errors.

A token is sent in the body only: addresses are written to logs, of proxies too. A request that only
reads is retried when the network fails, one that changes something only if nothing was sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import BinaryIO

import httpx
from pydantic import ValidationError

from mograder.clients import http
from mograder.clients.http import (
    RetryPolicy,
    Server,
    bounded_body,
    make_client,
    redirect_target,
    send,
)
from mograder.clients.moodle.errors import as_error, as_page_error
from mograder.clients.moodle.models import Refused
from mograder.clients.server_url import parse_moodle_url
from mograder.core.closing import Closing
from mograder.core.errors import MograderError, TimedOut

Value = str | int | bool | Decimal
"""The value of a form field; booleans are sent as 0 and 1, as Moodle refuses "True"."""

Pause = Callable[[float], None]

_SILENCE_SECONDS, ANSWER_SECONDS = 120.0, 600.0
_MAX_ANSWER = 64_000_000
_REST = "/webservice/rest/server.php"

_READING = RetryPolicy(
    tries=3,
    factor=4.0,
    spread=0.0,
    failures=(httpx.TransportError,),
    # From a proxy, or a server that failed or is busy. Maintenance (503) takes longer.
    statuses=frozenset({429, 500, 502, 504}),
)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
"""Failures before the request was sent, after which any request may be sent again."""


@dataclass(frozen=True, slots=True)
class Form:
    """A request to one of Moodle's endpoints; ``asked`` is its name in messages.

    ``safe``: it changes nothing, so that it may be retried.
    """

    path: str
    fields: Mapping[str, Value]
    asked: str
    safe: bool = False
    files: Sequence[tuple[str, BinaryIO]] = ()
    document: str = ""
    """The whole body instead of fields."""


class Wire(Closing):
    """The connections to one site; may be used by several threads.

    Every request raises :class:`~mograder.core.errors.MograderError` if Moodle refuses, cannot be
    reached, or closes the connection.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        """Check the address before anything is sent.

        Raises:
            InvalidInput: The address is not valid.
        """
        self.url = parse_moodle_url(url)
        self.retry = replace(_READING, sleep=pause)
        self._server = Server(
            "Moodle",
            self.url,
            unreachable="Check the address and your network (some sites need a VPN).",
            silent="Try again in a minute.",
            timeout=TimedOut,
        )
        self._client = make_client(self.url, read=_SILENCE_SECONDS, transport=transport)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(self, function: str, token: str, fields: Mapping[str, Value], *, safe: bool) -> object:
        """Return a web-service function's answer; ``None`` is a success too."""
        head = {"wstoken": token, "wsfunction": function, "moodlewsrestformat": "json"}
        return self.ask(Form(_REST, {**head, **fields}, function, safe=safe))

    def ask(self, form: Form) -> object:
        """Send a form and return the JSON of the answer."""
        with self.sent(form) as response, self.errors(form):
            if response.status_code != httpx.codes.OK:
                self.refuse(response, form)
            body = bounded_body(response, _MAX_ANSWER, ANSWER_SECONDS)
        return self._parsed(body, response, form)

    @contextmanager
    def sent(
        self, form: Form, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Send a form and yield the answer, whatever its status, before its body is read."""
        retry = self.retry
        if not form.safe:
            retry = replace(retry, failures=_NOT_SENT, statuses=frozenset())
        with self.errors(form):
            response = send(self._client, lambda: self._request(form, headers or {}), retry)
        with closing(response):
            yield response

    def errors(self, form: Form) -> AbstractContextManager[None]:
        """Translate exceptions of httpx while the body of an answer to ``form`` is read."""
        unsure = "" if form.safe else "It may have been done all the same: look in Moodle first."
        return self._server.errors(form.asked, unsure)

    def refuse(self, response: httpx.Response, form: Form) -> None:
        """Raise the error for a status other than 200."""
        with self.errors(form):
            body = bounded_body(response, _MAX_ANSWER, ANSWER_SECONDS)
        refused = refusal_in(body, form)
        if refused is not None:
            raise refused
        raise as_page_error(response.status_code, redirect_target(response), self.url, body)

    def _parsed(self, body: bytes, response: httpx.Response, form: Form) -> object:
        try:
            answer: object = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise as_page_error(response.status_code, "", self.url) from error
        refused = refusal_in(body, form) if isinstance(answer, dict) else None
        if refused is not None:
            raise refused
        return answer

    def _request(self, form: Form, headers: Mapping[str, str]) -> httpx.Request:
        for _, stream in form.files:
            stream.seek(0)
        if form.document:
            headers = {**headers, "content-type": "application/json"}
        return self._client.build_request(
            "POST",
            f"{self.url}{form.path}",
            content=form.document or None,
            data=None
            if form.document
            else {name: written(value) for name, value in form.fields.items()},
            files=[(f"file_{n}", file) for n, file in enumerate(form.files, 1)] or None,
            headers=headers,
        )


def written(value: Value) -> str:
    """Return a form field in Moodle's format: 0 and 1 for booleans, a point in numbers."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def check_token(token: str) -> str:
    """Return the token if it is well-formed.

    Raises:
        InvalidInput: The token is empty or has characters that are not allowed.
    """
    return http.check_token(token, "Get one: `mograder moodle login`.")


def refusal_in(body: bytes, form: Form) -> MograderError | None:
    """Return the error that a body tells, None for other bodies: all endpoints give a code."""
    try:
        refused = Refused.model_validate_json(body)
    except ValidationError:
        return None
    code = refused.errorcode
    if not code or not (refused.exception or refused.error):
        return None
    message = refused.message or (refused.error if isinstance(refused.error, str) else "")
    if code == "missingparam" and form.files:
        # Above PHP's post_max_size the whole body is dropped, and the token with it.
        code = "fileoversized"
    return as_error(code, message, form.asked, refused.debuginfo)
