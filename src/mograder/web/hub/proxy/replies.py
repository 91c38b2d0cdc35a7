"""The session proxy's own responses, sent without a request to any session's server.

What checks or redirects raises the response: :class:`ProxyReply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.types import Scope

from mograder.auth.csrf import browser_marks
from mograder.web.context import RequestContext
from mograder.web.hub.proxy.answer_rules import Visit
from mograder.web.hub.proxy.headers import Header, header, location_header
from mograder.web.hub.proxy.http_relay import METHODS

GONE: Header = (b"x-mograder-session", b"gone")
"""Reports to a page's script that the session has ended or may not be used."""

ENDED = "What was saved is safe. This session has ended."


class ProxyReply(Exception):
    """A response of the proxy's own."""

    def __init__(self, status: int, text: str = "", headers: Sequence[Header] = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


def ended() -> ProxyReply:
    """Return the response for a page whose session has ended."""
    return ProxyReply(404, ENDED, (GONE,))


def see_other(location: str) -> ProxyReply:
    """Return a redirect that the browser follows with GET."""
    return ProxyReply(303, "", (location_header(location),))


def to_slash(scope: Scope, context: RequestContext) -> ProxyReply:
    """Return a redirect to the address with a final slash, which the page's relative links need."""
    raw = context.raw_path.decode("latin-1")
    location = f"{context.prefix}{raw}/{query_of(scope)}"
    return ProxyReply(307, "", (location_header(location),))


def preflight() -> ProxyReply:
    """Return the CORS preflight response that allows a page in an opaque origin all methods."""
    return ProxyReply(
        204,
        "",
        (
            (b"access-control-allow-methods", ", ".join(sorted(METHODS)).encode()),
            (b"access-control-allow-headers", b"*"),
            (b"access-control-max-age", b"7200"),
        ),
    )


def navigates(scope: Scope) -> bool:
    """Return whether a browser's tab is navigating, so that a redirect helps more than a status."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    headers = scope["headers"]
    if browser_marks(headers):
        return header(headers, b"sec-fetch-dest") == "document"
    # Over plain HTTP browsers send no Sec-Fetch-* headers.
    return "text/html" in header(headers, b"accept")


def show_code(scope: Scope, context: RequestContext) -> None:
    """Open a lecture with its code visible (B62); marimo hides it unless the query asks for it."""
    query = scope["query_string"].decode("latin-1")
    if "show-code" not in query:
        wanted = f"?show-code=true&{query}".rstrip("&")
        raise see_other(context.prefix + context.raw_path.decode("latin-1") + wanted)


def here(scope: Scope, context: RequestContext) -> str:
    """Return the requested address, as the browser has it, without scheme and host."""
    return context.prefix + context.raw_path.decode("latin-1") + query_of(scope)


def query_of(scope: Scope) -> str:
    """Return the query with its question mark, or ""."""
    query = scope["query_string"].decode("latin-1")
    return f"?{query}" if query else ""


def check_page(visit: Visit, scope: Scope, context: RequestContext) -> None:
    """Refuse tabs and other sites' WebSockets on a capability path."""
    if scope["type"] == "websocket":
        origins = {value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"}
        if not origins <= {"null", *context.own_origins}:
            raise ProxyReply(403, "403 Forbidden")
        return
    if not visit.as_document:
        return
    if scope["method"] == "GET" and visit.is_file:
        return  # decided by the server's response
    raise see_other(visit.document_url)


def check_browser(scope: Scope) -> None:
    """Allow a browser only the document by login, for every user.

    Otherwise a page in an opaque origin could act with the cookie that the browser adds (tried:
    frames, forms and fetches of a hostile notebook).
    """
    headers = scope["headers"]
    if not browser_marks(headers):
        return
    if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
        destinations = {value for name, value in headers if name == b"sec-fetch-dest"}
        if destinations == {b"document"}:
            return
    raise ProxyReply(403, "Open this address in a tab of its own.")


def nobody(scope: Scope, context: RequestContext) -> ProxyReply:
    """Return a redirect to the login page for a tab without a login; refuse all else."""
    if not navigates(scope):
        return ProxyReply(403, "403 Forbidden")
    target = quote(here(scope, context), safe="/")
    return see_other(f"{context.prefix}/login?next={target}")
