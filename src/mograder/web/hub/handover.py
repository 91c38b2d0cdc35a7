"""How a viewer gets from the hub to the origin of one session, with a one-time code in a POST.

The code is worth something for a minute, once, and only at that origin. There it becomes a cookie
that no other origin gets, siblings of the same domain included.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass

from mograder.core.clock import Clock
from mograder.core.session_url import SessionUrl
from mograder.web.context import RequestContext
from mograder.web.hub.capabilities import Capability
from mograder.web.hub.refusals import Refusal
from mograder.web.templating import Pages

ENTRANCE = "/_mograder/enter"
"""Where the code is handed in, at every origin of a session."""

_SECONDS = 60.0
_MOST = 10_000
_CODE_BYTES = 24


@dataclass(frozen=True, slots=True)
class Passage:
    """What a code stands for: this capability, whose page is at ``path`` of its own origin."""

    cap: str
    label: str
    path: str
    until: float


def label_of(capability: Capability) -> str:
    """Return a capability's label: as random as the capability, and no help in guessing it.

    It is seen by name servers and on the wire, so it opens nothing by itself.
    """
    digest = hashlib.sha256(b"label of " + capability.hash.encode()).digest()
    return base64.b32encode(digest[:20]).decode().lower()


class Handovers:
    """Issues codes and takes each back once. Mutable state: ``_open``, by the codes' hashes."""

    def __init__(self, url: SessionUrl, clock: Clock, pages: Pages, course: str) -> None:
        self._url = url
        self._clock = clock
        self._pages = pages
        self._course = course
        self._open: dict[str, Passage] = {}

    def send(
        self, cap: str, capability: Capability, path: str, item: str, context: RequestContext
    ) -> Refusal:
        """Answer with the page that goes on to the session's own origin."""
        label = label_of(capability)
        code = self._issue(Passage(cap, label, path, self._clock.steady() + _SECONDS))
        origin = self._url.origin(label)
        page = self._pages.render(
            "handover.html",
            context.prefix,
            course=self._course,
            viewer=None,
            item=item,
            action=f"{origin}{context.prefix}{ENTRANCE}",
            code=code,
        )
        static = f"{context.scheme}://{context.host}{context.prefix}/static/"
        policy = (
            f"default-src 'none'; script-src {static}; style-src {static}; img-src {static}; "
            f"form-action {origin}; base-uri 'none'; frame-ancestors 'none'"
        )
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            # The other origin has to see that the form is ours; with "no-referrer" it would not.
            "referrer-policy": "origin",
        }
        raw = [(name.encode(), value.encode("ascii")) for name, value in headers.items()]
        return Refusal(200, page, raw, fenced=False)

    def take(self, code: str, label: str) -> Passage | None:
        """Return what a code stands for at this label, the first time; else None."""
        passage = self._open.pop(_hash(code), None)
        if passage is None or passage.label != label or passage.until < self._clock.steady():
            return None
        return passage

    def _issue(self, passage: Passage) -> str:
        now = self._clock.steady()
        if len(self._open) >= _MOST:
            self._open = {key: each for key, each in self._open.items() if each.until > now}
        while len(self._open) >= _MOST:
            self._open.pop(next(iter(self._open)))
        code = secrets.token_urlsafe(_CODE_BYTES)
        self._open[_hash(code)] = passage
        return code


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
