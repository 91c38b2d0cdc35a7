"""Authorization of a reverse proxy's requests to sessions: the hub's part of the fast path.

The proxy sends the request's own address and method next to its headers, and trusts only the
response: 200 with the session's socket and the address to request there, or 403, "let the hub
answer it". So the address is parsed once, here, and no mistake of a proxy leads to another session;
at worst the request goes to the hub, which decides again (security.md, decision 0034).
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
"""Socket paths that every proxy reads alike: in Caddy a colon starts a port."""
_log = get_logger(__name__)


class Ends(Protocol):
    """Reports ended capabilities; :class:`~mograder.web.hub.support.capabilities.Capabilities`."""

    def on_revoke(
        self, capability: Capability, callback: Callable[[], None]
    ) -> Callable[[], None]: ...


class FastPaths(Protocol):
    """Decides which requests may use the fast path; :class:`~.session_proxy.SessionProxy`."""

    async def fast_path(self, scope: Scope) -> FastPath[LiveSession] | None: ...


class Cuts:
    """Cuts the connections to a session when a capability ends under which one was opened.

    With a supervisor that cannot do this, WebSockets go through the hub after the first failure.
    Mutable state: ``_watched``, hashes of the capabilities with such a connection, and
    ``_cutting``.
    """

    def __init__(
        self,
        ends: Ends,
        hang_up: Callable[[str], Awaitable[bool]],
        lives: Callable[[str], bool],
    ) -> None:
        """Store the callbacks; ``lives`` returns whether a session still runs."""
        self._ends = ends
        self._lives = lives
        self._hang_up = hang_up
        self._able = True
        self._watched: set[str] = set()
        self._cutting: set[asyncio.Task[None]] = set()

    def watch(self, capability: Capability) -> bool:
        """Register a connection; return False if it could not be cut when the capability ends."""
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
            # Again, for a proxy that got the session's address just before and connects only now.
            await asyncio.sleep(_ON_THE_WAY_SECONDS)
            cut = await self._hang_up(capability.session_id) and cut
        except MograderError as error:
            _log.warning("%s", error)
            cut = False
        if not cut and self._lives(capability.session_id):
            self._able = False
            _log.error("fast-path WebSockets cannot be cut here: new ones go through the hub")


class FrontAuthorizer:
    """The ASGI app at :data:`~mograder.core.session_header_policy.FRONT_DOOR`.

    ``cuts`` ends the WebSockets that are allowed here, which bypass the hub; ``reaches`` returns
    whether a proxy can connect to a session's socket.
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
        """Answer one authorization request of a reverse proxy."""
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
    """Return whether a socket has group access for a proxy; an older supervisor's has not."""
    try:
        return socket.stat().st_mode & _GROUP == _GROUP
    except OSError:
        return False


def asked_for(scope: Scope, context: RequestContext) -> Scope | None:
    """Return the request that a proxy asks about, as if sent here; None if it is malformed."""
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
