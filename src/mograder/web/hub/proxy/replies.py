"""The session proxy's own responses, sent without a request to any session's server.

The page around a session's page (:class:`FramePages`) is a bar of the hub's own origin, and
marimo's page in a frame: it runs its author's JavaScript, so it is sandboxed, with an opaque origin
or one of ``[hub] session_url``. ``static/frame.js`` defines what the frame may ask of the page
around it (security.md, "The page around the notebook").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.types import Scope

from mograder.auth.credentials import Role
from mograder.auth.csrf import browser_marks
from mograder.auth.identity import Identity
from mograder.core.web_origin import SessionUrl
from mograder.hub.capabilities import Capability, label_of
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import LiveSession, SessionKey
from mograder.web.app import policy_source, security_headers
from mograder.web.context import RequestContext
from mograder.web.hub.proxy.answer_rules import Visit
from mograder.web.hub.proxy.headers import (
    SANDBOX_POLICY,
    Header,
    HeaderList,
    header,
    location_header,
)
from mograder.web.hub.proxy.http_relay import METHODS
from mograder.web.pages import Pages, Viewer, path_segment, with_outcome

GONE: Header = (b"x-mograder-session", b"gone")
"""Reports to a page's script that the session has ended or may not be used."""

ENDED = "What was saved is safe. This session has ended."
_FLAGS = SANDBOX_POLICY.removeprefix("sandbox ")
_FEATURES = "clipboard-write; fullscreen"

_FEATURES_OF_OWNERS = f"{_FEATURES}; clipboard-read; camera; microphone"
"""Permissions that the frame may ask the browser for. The last three are for owners only, since the
browser remembers a permission for the hub's whole origin.
"""

_OWN_HEADERS = {
    # A popup of a notebook keeps its opener, as it did before the notebook was in a frame.
    b"cross-origin-opener-policy": b"same-origin-allow-popups",
    b"permissions-policy": b"geolocation=(), payment=(), usb=()",
}


class ProxyReply(Exception):
    def __init__(self, status: int, text: str = "", headers: Sequence[Header] = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


@dataclass(frozen=True, slots=True)
class FramePages:
    """Renders the pages around sessions.

    ``collects`` is whether notebooks are submitted on this hub, ``offline`` whether sessions have
    no network; ``url`` builds the sessions' own origins, None if they have none. ``item_title``
    returns an item's title, "" without one.
    """

    pages: Pages
    course: str
    collects: bool = False
    offline: bool = True
    url: SessionUrl | None = None
    item_title: Callable[[str], str] = lambda _: ""

    def root(self, cap: str, capability: Capability, context: RequestContext) -> str:
        origin = self.url.origin(label_of(capability)) if self.url else ""
        return f"{origin}{context.prefix}/s/{cap}/"

    def restricted(self, who: Identity, context: RequestContext) -> str:
        """Return the page for a person who is not on the access list (B38, B39).

        It offers no way to sign out: it has an opaque origin, from which the hub takes no form.
        """
        viewer = Viewer(who.username, can_sign_out=False)
        return self.pages.render(
            "restricted.html", context.prefix, course=self.course, viewer=viewer
        )

    def render(
        self,
        session: LiveSession,
        viewer: Identity,
        root: str,
        query: str,
        context: RequestContext,
        *,
        helps: bool = False,
    ) -> tuple[str, HeaderList]:
        """Return the page's HTML and its headers; ``helps`` is whether the viewer is a helper."""
        opaque = self.url is None
        key, prefix = session.key, context.prefix
        copy = f"{quote(key.user, safe='')}/{quote(key.item, safe='')}"
        mine = viewer.username == key.user
        asked = {"mode": key.mode, "session": session.id}
        if helps:
            asked["together"] = "yes"
        html = self.pages.render(
            "frame.html",
            prefix,
            course=self.course,
            key=key,
            title=self.item_title(key.item),
            edits=key.mode is Mode.EDIT,
            mine=mine,
            helps=helps,
            instructs=viewer.role is Role.INSTRUCTOR,
            submits=mine and self.collects and key.mode is Mode.EDIT,
            copy=copy,
            events=context.events,
            standing=f"{prefix}/standing/{copy}?{urlencode(asked)}",
            offline=self.offline,
            node=bool(session.endpoint.node),
            root=root,
            query=query,
            flags=_FLAGS if opaque else f"{_FLAGS} allow-same-origin",
            features=_FEATURES_OF_OWNERS if mine else _FEATURES,
            opaque=opaque,
        )
        own = {**dict(security_headers(context)), **_OWN_HEADERS}
        own[b"content-security-policy"] = _policy(own[b"content-security-policy"], root, context)
        return html, [(b"content-type", b"text/html; charset=utf-8"), *own.items()]


def ended() -> ProxyReply:
    return ProxyReply(404, ENDED, (GONE,))


def see_other(location: str) -> ProxyReply:
    return ProxyReply(303, "", (location_header(location),))


def away_from(key: SessionKey, role: Role, context: RequestContext) -> ProxyReply:
    """Return where a tab of staff goes that is not in another person's session any more."""
    if role is Role.INSTRUCTOR:
        path = with_outcome(f"/course/students/{path_segment(key.user)}", "not-open", key.item)
    else:
        path = with_outcome(f"/board/{path_segment(key.item)}", "not-open", key.user)
    return see_other(context.prefix + path)


def to_slash(scope: Scope, context: RequestContext) -> ProxyReply:
    raw = context.raw_path.decode("latin-1")
    location = f"{context.prefix}{raw}/{query_of(scope)}"
    return ProxyReply(307, "", (location_header(location),))


def preflight() -> ProxyReply:
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
    return context.prefix + context.raw_path.decode("latin-1") + query_of(scope)


def query_of(scope: Scope) -> str:
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

    Otherwise a page in an opaque origin could act with the browser's cookie (tried: frames, forms
    and fetches of a hostile notebook).
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


def _policy(ours: bytes, root: str, context: RequestContext) -> bytes:
    """Return our own pages' policy plus the frame's address; its path limits it to this session."""
    frame = root if "://" in root else policy_source(context, root)
    return ours + f"; frame-src {frame}".encode("ascii")
