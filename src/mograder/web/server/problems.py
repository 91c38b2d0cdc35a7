"""How a failure looks on this server's wire: ``{"error": sentence}``.

See compatibility-0.3.16.md 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from starlette.responses import JSONResponse

from mograder.core.errors import Busy, InvalidInput, MograderError, NotAuthenticated
from mograder.web.problems import HTTP_STATUS, headers_of, status_of


class TooManyAttempts(Busy):
    """Somebody guesses, or asks more often than people do."""


class TooSlow(InvalidInput):
    """A body of which nothing more came."""


class WrongMethod(InvalidInput):
    """There is something at this address, but not for this verb."""

    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__("Method not allowed")
        self.allowed = allowed


STATUS: Mapping[type[MograderError], int] = MappingProxyType(
    {**HTTP_STATUS, TooManyAttempts: 429, TooSlow: 408, WrongMethod: 405}
)
"""Family of failure → HTTP status."""


def answer_problem(error: MograderError) -> JSONResponse:
    """Tell a failure in the shape that 0.3.16's clients read."""
    headers = headers_of(error)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, WrongMethod):
        headers["Allow"] = ", ".join(sorted(error.allowed | {"OPTIONS"}))
    if isinstance(error, TooSlow):
        headers["Connection"] = "close"
    return JSONResponse({"error": str(error)}, status_of(error, STATUS), headers)
