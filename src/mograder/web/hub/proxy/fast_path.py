"""The requests of a session's page that a reverse proxy may carry by itself. Pure.

Only those that the built-in proxy would stream unchanged. Requests that it would answer itself,
write into, record, or read twice go through the hub: documents, frames, files of ``public/``,
saves, and every unusual address or header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from starlette.types import Scope

from mograder.core.session_header_policy import (
    CARRIED_BY_FRONT,
    REMOVED_BY_FRONT,
    REMOVED_BY_FRONT_PREFIXES,
    TO_SESSION,
)
from mograder.sessions.session import LiveSession
from mograder.web.hub.proxy.answer_rules import FRAMES, Visit
from mograder.web.hub.proxy.headers import header
from mograder.web.hub.proxy.http_relay import METHODS
from mograder.web.hub.support.capabilities import Capability

S = TypeVar("S", bound=LiveSession)

SAVE = "api/kernel/save"
"""The dashboard is notified of each save, so the hub must see its end."""

_PUBLIC = "public/"
_LONGEST = 2000
"""Maximum bytes of a target; a proxy keeps the hub's response in a memory page."""

_SEGMENT = r"[A-Za-z0-9_@~+=,:-][A-Za-z0-9._@~+=,:-]*"
_PLAIN = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*/?")
"""No percent sign, dot segment or double slash, which two programs might read differently."""

_QUERY = re.compile(r"(?:\?[!-~]*)?")
_SOCKET = re.compile(r"/[A-Za-z0-9._/-]+")
_BODILESS = frozenset({"GET", "HEAD"})
_KNOWN = frozenset(name.encode() for name in (*TO_SESSION, *CARRIED_BY_FRONT, *REMOVED_BY_FRONT))
_KNOWN_PREFIXES = tuple(name.encode() for name in REMOVED_BY_FRONT_PREFIXES)


@dataclass(frozen=True, slots=True)
class FastPath(Generic[S]):
    """One authorised request, and the session that it goes to."""

    visit: Visit
    session: S
    capability: Capability


def may_use_fast_path(visit: Visit, scope: Scope, request_bytes: int) -> bool:
    """Return whether a reverse proxy may carry this request, which the hub has authorised."""
    plain = _PLAIN.fullmatch(visit.rest) and _QUERY.fullmatch(visit.query)
    socket = _SOCKET.fullmatch(str(visit.session.endpoint.socket))
    if not plain or not socket or len(visit.target) > _LONGEST:
        return False
    if not all(_known(name) for name, _ in scope["headers"]):
        return False
    if scope["type"] == "websocket":
        return True
    if visit.as_document or visit.destination in FRAMES or visit.rest.startswith(_PUBLIC):
        return False
    if scope["method"] not in METHODS or visit.rest == SAVE:
        return False
    return scope["method"] in _BODILESS or _fits(scope, request_bytes)


def _fits(scope: Scope, most: int) -> bool:
    length = header(scope["headers"], b"content-length")
    return length.isdigit() and len(length) < 19 and int(length) <= most


@lru_cache(maxsize=1024)
def _known(name: bytes) -> bool:
    return name in _KNOWN or name.startswith(_KNOWN_PREFIXES)
