"""Failures over HTTP: the status of each error family, and the format that a client accepts.

A failure is looked up by its class ancestry, so a new family without its own entry gets its
parent's status (decision 12). The apps share this; each adds its own texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import JSONResponse

from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    SandboxUnavailable,
    TimedOut,
    TooLarge,
    Unsupported,
)


class TooSlow(InvalidInput):
    """Raised when the rest of a body does not arrive in time."""


class TooManyAttempts(Busy):
    """Raised when codes are guessed, or requests are more frequent than a person's."""


NDJSON = "application/x-ndjson"
"""The media type by which a client asks for progress, one JSON object per line."""

HTTP_STATUS: Mapping[type[MograderError], int] = {
    MograderError: 500,
    InvalidInput: 400,
    TooSlow: 408,
    TooLarge: 413,
    NotAuthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Busy: 503,
    TooManyAttempts: 429,
    TimedOut: 504,
    RemoteFailed: 502,
    SandboxUnavailable: 503,
    Unsupported: 501,
}

TITLES: Mapping[int, str] = {
    400: "That cannot be used",
    401: "Please sign in",
    403: "This is not open to you",
    404: "Not found",
    405: "That is not how this page works",
    409: "Something changed in between",
    413: "That is too large",
    429: "Too many attempts",
    500: "Something broke on our side",
    501: "Not possible on this computer",
    502: "Another server did not answer",
    503: "Not possible at the moment",
    504: "That took too long",
}
"""Status → the heading of the page about it."""


class Wants(StrEnum):
    """The format that a client accepts: JSON, a page, or JSON lines while it waits."""

    JSON = "json"
    PAGE = "page"
    PROGRESS = "progress"


def wanted(request: Request) -> Wants:
    """Return the format for the ``Accept`` header, as browsers and API clients really send it."""
    accept = request.headers.get("accept", "")
    if NDJSON in accept:
        return Wants.PROGRESS
    return Wants.PAGE if "text/html" in accept else Wants.JSON


def status_of(error: MograderError) -> int:
    return next(HTTP_STATUS[each] for each in type(error).__mro__ if each in HTTP_STATUS)


def headers_of(error: MograderError) -> dict[str, str]:
    """Return the headers that a failure adds, such as ``Retry-After`` for :class:`Busy`."""
    if isinstance(error, TooSlow):
        return {"Connection": "close"}
    return {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else {}


def problem_json(error: MograderError) -> JSONResponse:
    """Return a failure as ``{"detail": sentence and hint}`` (compatibility-0.3.16.md 2)."""
    return JSONResponse({"detail": str(error)}, status_of(error), headers_of(error))
