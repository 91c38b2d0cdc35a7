"""The page around a session's page: a bar of the hub's own origin, and marimo's page in a frame.

A notebook's page runs its author's JavaScript, so it is in a sandboxed frame, with an opaque origin
or one of ``[hub] session_url``. The page with the bar is the hub's: its policy allows that one
frame and our own files, and nothing else. ``static/frame.js`` defines what the frame may ask of it
(security.md, "The page around the notebook").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.web_origin import SessionUrl
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import LiveSession
from mograder.web.app import policy_source, security_headers
from mograder.web.context import RequestContext
from mograder.web.hub.core.capabilities import Capability, label_of
from mograder.web.hub.proxy.headers import SANDBOX_POLICY, HeaderList
from mograder.web.pages import Pages, Viewer

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
        """Return the address of marimo's page for a capability, with a slash at its end."""
        origin = self.url.origin(label_of(capability)) if self.url else ""
        return f"{origin}{context.prefix}/s/{cap}/"

    def restricted(self, who: Identity, context: RequestContext) -> str:
        """Return the page for a person who is not on the course's list (B38, B39).

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
        """Return the page's HTML and its headers.

        ``root`` is the address of marimo's page. ``helps`` is whether the viewer works in the
        notebook together with its owner.
        """
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


def _policy(ours: bytes, root: str, context: RequestContext) -> bytes:
    """Return our own pages' policy plus the frame's address; its path limits it to this session."""
    frame = root if "://" in root else policy_source(context, root)
    return ours + f"; frame-src {frame}".encode("ascii")
