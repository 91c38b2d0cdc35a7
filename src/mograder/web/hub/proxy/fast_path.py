"""The requests of a session's page that nginx may carry by itself. Pure.

Only those that the built-in proxy would stream unchanged. Requests that it would answer itself,
write into, record, or read twice go through the hub: documents, frames, files of ``public/``,
saves, and every unusual address. nginx itself filters the headers.
"""

from __future__ import annotations

import re

from starlette.types import Scope

from mograder.web.hub.proxy.answer_rules import FRAMES, Visit
from mograder.web.hub.proxy.headers import header
from mograder.web.hub.proxy.http_relay import METHODS
from mograder.web.hub.proxy.save_recording import change_by

_PUBLIC = "public/"
_LONGEST = 2000
"""Maximum bytes of a target; nginx keeps the hub's response in a memory page."""

_SEGMENT = r"[A-Za-z0-9_@~+=,:-][A-Za-z0-9._@~+=,:-]*"
_PLAIN = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*/?")
"""No percent sign, dot segment or double slash, which two programs might read differently."""

_QUERY = re.compile(r"(?:\?[!-~]*)?")
_SOCKET = re.compile(r"/[A-Za-z0-9._/-]+")
"""Socket paths that nginx reads as they are: a colon would end the path."""

_BODILESS = frozenset({"GET", "HEAD"})


def may_use_fast_path(visit: Visit, scope: Scope, request_bytes: int) -> bool:
    """Return whether nginx may carry this request, which the hub has authorised."""
    if visit.session.endpoint.node:
        return False  # its socket is on another machine; here that path is any file
    plain = _PLAIN.fullmatch(visit.rest) and _QUERY.fullmatch(visit.query)
    socket = _SOCKET.fullmatch(str(visit.session.endpoint.socket))
    if not plain or not socket or len(visit.target) > _LONGEST:
        return False
    if scope["type"] == "websocket":
        return True
    if visit.as_document or visit.destination in FRAMES or visit.rest.startswith(_PUBLIC):
        return False
    if scope["method"] not in METHODS or change_by(visit.rest) is not None:
        return False
    return scope["method"] in _BODILESS or _fits(scope, request_bytes)


def _fits(scope: Scope, most: int) -> bool:
    length = header(scope["headers"], b"content-length")
    return length.isdigit() and len(length) < 19 and int(length) <= most
