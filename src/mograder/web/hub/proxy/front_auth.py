"""Tells a web server in front whose a request is, once for each: the hub's end of the fast path.

The front sends the request's own address and method beside its headers, and trusts nothing but
the answer: 200 with the session's socket and the address to ask there, or 403, "let the hub answer
it". So the address is parsed once, here, and no mistake of a front's reaches another session; at
worst the request goes by the hub, which decides again (security.md, decision 0034).
"""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from starlette.types import Receive, Scope, Send

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.session_header_policy import FROM_FRONT
from mograder.sessions.session import LiveSession
from mograder.web.context import CONTEXT, RequestContext, context_of
from mograder.web.hub.proxy.fast_path import FastPath
from mograder.web.hub.proxy.headers import HeaderList
from mograder.web.hub.support.capabilities import Capability

_OURS = FROM_FRONT.encode()
_URI, _METHOD = _OURS + b"uri", _OURS + b"method"
_UPGRADE, _LENGTH = _OURS + b"upgrade", _OURS + b"length"
_ASKED = frozenset({_URI, _METHOD, _UPGRADE, _LENGTH})
_LENGTH_NAME = b"content-length"
_ON_THE_WAY_SECONDS = 2.0
_GROUP = stat.S_IRGRP | stat.S_IWGRP
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
"""A socket that every front keeps apart from others: to Caddy, what follows a colon is a port."""
_log = get_logger(__name__)


class Ends(Protocol):
    """Knows when capabilities end; :class:`~mograder.web.hub.support.capabilities.Capabilities`."""

    def on_revoke(
        self, capability: Capability, callback: Callable[[], None]
    ) -> Callable[[], None]: ...


class FastPaths(Protocol):
    """Decides where requests may go; :class:`~.session_proxy.SessionProxy`."""

    async def fast_path(self, scope: Scope) -> FastPath[LiveSession] | None: ...


class Cuts:
    """Has the connections to a session cut when a capability ends by which one was opened.

    A supervisor that cannot gets no more of them: from then on WebSockets go by the hub. Mutable
    state: ``_watched``, the capabilities that have such a connection, and ``_cutting``.
    """

    def __init__(
        self,
        ends: Ends,
        hang_up: Callable[[str], Awaitable[bool]],
        lives: Callable[[str], bool],
    ) -> None:
        """``lives`` tells whether a session is still there."""
        self._ends = ends
        self._lives = lives
        self._hang_up = hang_up
        self._able = True
        self._watched: set[str] = set()
        self._cutting: set[asyncio.Task[None]] = set()

    def watch(self, capability: Capability) -> bool:
        """Take note of one more connection; false when its end could not be brought about."""
        if self._able and capability.hash not in self._watched:
            self._watched.add(capability.hash)
            self._ends.on_revoke(capability, lambda: self._revoked(capability))
        return self._able

    def _revoked(self, capability: Capability) -> None:
        self._watched.discard(capability.hash)
        task = asyncio.get_running_loop().create_task(self._cut(capability))
        self._cutting.add(task)
        task.add_done_callback(self._cutting.discard)

    async def _cut(self, capability: Capability) -> None:
        try:
            cut = await self._hang_up(capability.session_id)
            # Once more: a front may have been told the way just before, and be on it still.
            await asyncio.sleep(_ON_THE_WAY_SECONDS)
            cut = await self._hang_up(capability.session_id) and cut
        except MograderError as error:
            _log.warning("%s", error)
            cut = False
        if not cut and self._lives(capability.session_id):
            self._able = False
            _log.error("WebSockets of the fast path cannot be cut here: they go by the hub now")


class FrontAuthorizer:
    """The ASGI app at :data:`~mograder.core.session_header_policy.FRONT_DOOR`.

    ``cuts`` ends the WebSockets that pass here, of which the hub sees nothing again; ``reaches``
    tells whether a front can connect to a session's socket.
    """

    def __init__(
        self,
        paths: FastPaths,
        *,
        trusts: Callable[[str | None], bool],
        cuts: Cuts,
        reaches: Callable[[Path], bool],
    ) -> None:
        self._paths = paths
        self._trusts = trusts
        self._cuts = cuts
        self._reaches = reaches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question of a front's."""
        headers: HeaderList = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
        context = context_of(scope)
        asked = asked_for(scope, context) if self._trusts(context.client) else None
        way = None if asked is None else await self._paths.fast_path(asked)
        if way is not None and asked is not None and not self._may_go(way, asked):
            way = None
        if way is not None:
            headers += _directions(way)
        status = 403 if way is None else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _may_go(self, way: FastPath[LiveSession], asked: Scope) -> bool:
        socket = way.session.endpoint.socket
        if not (_PLAIN.fullmatch(str(socket)) and self._reaches(socket)):
            return False
        return asked["type"] != "websocket" or self._cuts.watch(way.capability)


def open_to_its_group(socket: Path) -> bool:
    """Tell whether a socket was made for a front: one of an older supervisor was not."""
    try:
        return socket.stat().st_mode & _GROUP == _GROUP
    except OSError:
        return False


def asked_for(scope: Scope, context: RequestContext) -> Scope | None:
    """Return the request that a front asks about, as if it had come here; None if it is none."""
    told: dict[bytes, bytes] = {}
    headers: HeaderList = []
    for name, value in scope["headers"]:
        if name in told:
            return None
        if name in _ASKED:
            told[name] = value
        elif name != _LENGTH_NAME and not name.startswith(_OURS):
            headers.append((name, value))
    path, _, query = told.get(_URI, b"").partition(b"?")
    prefix = context.prefix.encode()
    if not path.startswith(prefix + b"/s/"):
        return None
    if told.get(_LENGTH):
        headers.append((_LENGTH_NAME, told[_LENGTH]))
    upgrade = told.get(_UPGRADE, b"").lower()
    method = told.get(_METHOD, b"").decode("latin-1")
    if upgrade not in (b"", b"websocket") or (upgrade and method != "GET"):
        return None
    return {
        "type": "websocket" if upgrade else "http",
        "method": method,
        "headers": headers,
        "query_string": query,
        CONTEXT: replace(context, raw_path=path[len(prefix) :]),
    }


def _directions(way: FastPath[LiveSession]) -> HeaderList:
    visit = way.visit
    told = {
        "socket": str(way.session.endpoint.socket),
        "target": visit.target,
        "base": way.session.base_url,
        "root": visit.public_base,
    }
    return [(_OURS + name.encode(), value.encode("ascii")) for name, value in told.items()]
