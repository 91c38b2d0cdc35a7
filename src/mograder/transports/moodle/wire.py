"""One request to a Moodle and its answer: forms out, JSON in, refusals as our errors.

A token goes into the body only: addresses end up in logs, of proxies too. No redirect is followed,
since a POST that is followed loses its body. What reads is tried again when the network fails; what
changes something only if nothing was sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import BinaryIO

import httpx
from pydantic import ValidationError

from mograder.core.errors import InvalidInput, MograderError, RemoteFailed, TimedOut
from mograder.transports.hub_url import is_loopback
from mograder.transports.moodle.address import parse_moodle_url
from mograder.transports.moodle.errors import Door, Refusal, as_error, as_page_error
from mograder.transports.moodle.models import Refused
from mograder.transports.unreachable import remedy

Value = str | int | bool | Decimal
"""What a form field may hold; booleans travel as 0 and 1, "True" is refused by Moodle."""

Pause = Callable[[float], None]

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 120.0
_WRITE_SECONDS = 120.0
_TRIES = 3
_FIRST_PAUSE = 0.5
_PASSING = frozenset({429, 500, 502, 504})
"""Statuses of a proxy or of a server that failed or is busy: what only reads is tried again."""

_MAX_ANSWER = 64 << 20
_REST = "/webservice/rest/server.php"


class Broken(RemoteFailed):
    """A connection ended before the answer did; what arrived is good as far as it goes."""


@dataclass(frozen=True, slots=True)
class Form:
    """A request to one of Moodle's doors: ``asked`` names it in messages.

    ``safe``: repeating it changes nothing, so that it may be tried again.
    """

    path: str
    fields: Mapping[str, Value]
    door: Door
    asked: str
    safe: bool = False
    files: Sequence[tuple[str, BinaryIO]] = ()
    document: str = ""
    """The whole body instead of fields."""


class Wire:
    """The connections to one site; several threads may ask at once."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        """Check the address before anything goes there.

        Raises:
            InvalidInput: It is none.
        """
        self.url = parse_moodle_url(url)
        self._pause = pause
        self._client = httpx.Client(
            timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS, write=_WRITE_SECONDS),
            follow_redirects=False,
            # A session cookie would make Moodle ask for its sesskey, and mixes up accounts.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            trust_env=not is_loopback(httpx.URL(self.url).host),
            transport=transport,
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(self, function: str, token: str, fields: Mapping[str, Value], *, safe: bool) -> object:
        """Return what a web-service function answers; ``None`` is a success too.

        Raises:
            MograderError: Moodle refused, or could not be reached.
        """
        head = {"wstoken": token, "wsfunction": function, "moodlewsrestformat": "json"}
        return self.ask(Form(_REST, {**head, **fields}, Door.FUNCTION, function, safe=safe))

    def ask(self, form: Form) -> object:
        """Send a form and return the JSON of the answer.

        Raises:
            MograderError: Moodle refused, or could not be reached.
        """
        with self.sent(form) as response:
            if response.status_code != httpx.codes.OK:
                self.refuse(response, form)
            body = bounded(response, _MAX_ANSWER)
        return self._parsed(body, response, form)

    def ask_json(self, path: str, body: str, asked: str) -> object:
        """Send JSON to the one door that reads it: what a site tells before a sign-in.

        Raises:
            MograderError: Moodle refused, or could not be reached.
        """
        return self.ask(Form(path, {}, Door.LOGIN, asked, safe=True, document=body))

    @contextmanager
    def sent(
        self, form: Form, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Send a form and yield the answer before its body is read.

        Raises:
            MograderError: Moodle could not be reached, or broke off.
        """
        with self._errors(form):
            response = self._tried(form, headers or {})
            try:
                yield response
            finally:
                response.close()

    def refuse(self, response: httpx.Response, form: Form) -> None:
        """Raise what an answer other than 200 means."""
        body = bounded(response, _MAX_ANSWER)
        refused = _refusal(body)
        if refused is not None:
            raise _translated(refused, form)
        location = str(response.headers.get("location", "")).partition("?")[0]
        raise as_page_error(response.status_code, location[:200], self.url)

    def _parsed(self, body: bytes, response: httpx.Response, form: Form) -> object:
        try:
            answer: object = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise as_page_error(response.status_code, "", self.url) from error
        refused = _refusal(body) if isinstance(answer, dict) else None
        if refused is not None:
            raise _translated(refused, form)
        return answer

    def _tried(self, form: Form, headers: Mapping[str, str]) -> httpx.Response:
        """Send a form, again after a pause if that is safe and the failure may pass."""
        for turn in range(1, _TRIES):
            try:
                response = self._send(form, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                pass  # Nothing was sent, so it is safe to begin again.
            except httpx.TransportError:
                if not form.safe:
                    raise
            else:
                if not form.safe or response.status_code not in _PASSING:
                    return response
                response.close()
            self._pause(_FIRST_PAUSE * 4 ** (turn - 1))
        return self._send(form, headers)

    def _send(self, form: Form, headers: Mapping[str, str]) -> httpx.Response:
        for _, stream in form.files:
            stream.seek(0)
        if form.document:
            headers = {**headers, "content-type": "application/json"}
        request = self._client.build_request(
            "POST",
            f"{self.url}{form.path}",
            content=form.document or None,
            data=None
            if form.document
            else {name: written(value) for name, value in form.fields.items()},
            files=[(f"file_{n}", file) for n, file in enumerate(form.files, 1)] or None,
            headers=headers,
        )
        return self._client.send(request, stream=True)

    @contextmanager
    def _errors(self, form: Form) -> Iterator[None]:
        """Translate what httpx raises; its words never hold the body, where the token is."""
        unsure = "" if form.safe else " It may have been done all the same: look in Moodle first."
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise RemoteFailed(
                f"Moodle at {self.url} cannot be reached: {_cause(error, 'no answer')}.",
                hint=remedy(error, "Check the address and your network (some sites need a VPN)."),
            ) from error
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"Moodle at {self.url} did not answer in time ({form.asked}).",
                hint=f"Try again in a minute.{unsure}",
            ) from error
        except httpx.HTTPError as error:
            raise Broken(
                f"The connection to Moodle at {self.url} broke ({form.asked}): "
                f"{_cause(error, 'closed')}.",
                hint=f"Try again.{unsure}",
            ) from error


def _cause(error: Exception, otherwise: str) -> str:
    """Return the words of an error without the full stop that some end in."""
    return str(error).rstrip(". ") or otherwise


def written(value: Value) -> str:
    """Return a form field as Moodle reads it: 0 and 1 for booleans, a point in numbers."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def listed(name: str, values: Sequence[Value]) -> dict[str, Value]:
    """Return a list as Moodle's form fields: ``name[0]``, ``name[1]``."""
    return {f"{name}[{index}]": value for index, value in enumerate(values)}


def check_token(token: str) -> str:
    """Return a token that can be one.

    Raises:
        InvalidInput: It holds what no token holds.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput(
            "The Moodle token is empty or holds characters that no token has.",
            hint="Get one: `mograder moodle login`.",
        )
    return token


def bounded(response: httpx.Response, limit: int) -> bytes:
    """Return a body that is not too long to be an answer.

    Raises:
        RemoteFailed: It is longer.
    """
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > limit:
            raise RemoteFailed(
                "Moodle's answer is too long to be one.", hint="Check the address of the site."
            )
    return bytes(body)


def refusal_in(body: bytes, form: Form) -> MograderError | None:
    """Return the error in a body that should have been a file, or nothing."""
    refused = _refusal(body)
    return None if refused is None else _translated(refused, form)


def _refusal(body: bytes) -> Refused | None:
    """Return a refusal if this is one: all doors give ``errorcode``, with either word."""
    try:
        refused = Refused.model_validate_json(body)
    except ValidationError:
        return None
    told = refused.exception or refused.error
    return refused if refused.errorcode and told else None


def _translated(refused: Refused, form: Form) -> MograderError:
    message = refused.message or (refused.error if isinstance(refused.error, str) else "")
    detail = refused.debuginfo
    return as_error(Refusal(refused.errorcode, message, form.door, form.asked, detail))
