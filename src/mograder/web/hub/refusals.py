"""The answers that the session proxy gives by itself, before any session's server is asked."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel
from starlette.types import Scope

from mograder.auth.origin import browser_marks
from mograder.web.context import RequestContext
from mograder.web.hub.headers import Header, header
from mograder.web.hub.proxy_http import METHODS

GONE: Header = (b"x-mograder-session", b"gone")
"""Tells a page's script that there is no session any more, or none that it may use."""


class Refusal(Exception):
    """An answer of the proxy's own."""

    def __init__(self, status: int, text: str = "", headers: Sequence[Header] = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


def see_other(location: str) -> Refusal:
    """Send a browser on with a GET."""
    return Refusal(303, "", ((b"location", location.encode("ascii")),))


def to_slash(scope: Scope, context: RequestContext) -> Refusal:
    """Send on to the same address with its final slash, as the page's relative links need it."""
    raw = context.raw_path.decode("latin-1")
    location = f"{context.prefix}{raw}/{query_of(scope)}"
    return Refusal(307, "", ((b"location", location.encode("latin-1")),))


def preflight() -> Refusal:
    """Let a page in an opaque origin ask in whatever way a session understands."""
    return Refusal(
        204,
        "",
        (
            (b"access-control-allow-methods", ", ".join(sorted(METHODS)).encode()),
            (b"access-control-allow-headers", b"*"),
            (b"access-control-max-age", b"7200"),
        ),
    )


def told(answer: BaseModel) -> Refusal:
    """Answer a page's script in JSON."""
    return Refusal(200, answer.model_dump_json(), ((b"content-type", b"application/json"),))


def navigates(scope: Scope) -> bool:
    """Tell whether a browser's tab is asking, so that a redirect helps more than a status."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    headers = scope["headers"]
    if browser_marks(headers):
        return header(headers, b"sec-fetch-dest") == "document"
    # Over plain HTTP browsers send no Sec-Fetch-* headers.
    return "text/html" in header(headers, b"accept")


def show_code(scope: Scope, context: RequestContext) -> None:
    """Open a lecture with its code in sight (B62); marimo hides it unless the address asks.

    Raises: :class:`Refusal`, when it does not ask.
    """
    query = scope["query_string"].decode("latin-1")
    if "show-code" not in query:
        wanted = f"?show-code=true&{query}".rstrip("&")
        raise see_other(context.prefix + context.raw_path.decode("latin-1") + wanted)


def here(scope: Scope, context: RequestContext) -> str:
    """The address asked for, as the browser has it, without scheme and host."""
    return context.prefix + context.raw_path.decode("latin-1") + query_of(scope)


def query_of(scope: Scope) -> str:
    """The query with its question mark, or ""."""
    query = scope["query_string"].decode("latin-1")
    return f"?{query}" if query else ""
