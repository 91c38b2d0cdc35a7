"""Failures in this server's format: ``{"error": sentence}``.

See compatibility-0.3.16.md 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from starlette.responses import JSONResponse

from mograder.core.errors import InvalidInput, MograderError, NotAuthenticated
from mograder.web.problems import HTTP_STATUS, headers_of, status_of


class WrongMethod(InvalidInput):
    """Raised when there is a route at this address, but not for this method."""

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__("Method not allowed")
        self.allowed = ", ".join(sorted({*allowed, "OPTIONS"}))


STATUS: Mapping[type[MograderError], int] = MappingProxyType({**HTTP_STATUS, WrongMethod: 405})
"""Error family → HTTP status."""


def answer_problem(error: MograderError) -> JSONResponse:
    """Return the response to a failure, in the format of 0.3.16's clients."""
    headers = headers_of(error)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, WrongMethod):
        headers["Allow"] = error.allowed
    return JSONResponse({"error": str(error)}, status_of(error, STATUS), headers)
