"""Authorization of nginx's requests to sessions: the hub's part of the fast path.

nginx sends the request's own address and method next to its headers, and trusts only the
response: 200 with the session's socket and the address to request there, or 403, "let the hub
answer it". So the address is parsed once, here, and no mistake of nginx leads to another session;
at worst the request goes to the hub, which decides again (security.md, decision 0034).
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from starlette.types import Receive, Scope, Send

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.web.context import CONTEXT, RequestContext, context_of
from mograder.web.hub.proxy.answer_rules import Visit
from mograder.web.hub.proxy.headers import HeaderList
from mograder.web.hub.proxy.session_proxy import SessionProxy
from mograder.web.hub.support.capabilities import Capabilities, Capability

_OURS = b"x-mograder-"
"""The prefix of the headers in nginx's requests to the hub and in the hub's responses."""

_URI, _METHOD = _OURS + b"uri", _OURS + b"method"
_UPGRADE, _LENGTH = _OURS + b"upgrade", _OURS + b"length"
_LENGTH_NAME = b"content-length"
_ON_THE_WAY_SECONDS = 2.0
_GROUP = stat.S_IRGRP | stat.S_IWGRP
_log = get_logger(__name__)


class FrontAuthorizer:
    """The ASGI app at :data:`~mograder.core.session_header_policy.FRONT_DOOR`.

    The WebSockets that are allowed here bypass the hub. ``hang_up`` cuts all connections to the
    session with this id when a capability ends under which one was opened. With a supervisor that
    cannot do this, WebSockets go through the hub after the first failure.

    Mutable state: ``_cuts_work``, ``_watched``, hashes of the capabilities with such a connection,
    and ``_cutting``.
    """

    def __init__(
        self,
        proxy: SessionProxy,
        capabilities: Capabilities,
        *,
        trusts: Callable[[str | None], bool],
        hang_up: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._proxy = proxy
        self._capabilities = capabilities
        self._trusts = trusts
        self._hang_up = hang_up
        self._cuts_work = True
        self._watched: set[str] = set()
        self._cutting: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one authorization request of nginx."""
        headers: HeaderList = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
        visit = await self._allowed(scope)
        if visit is not None:
            headers += _directions(visit)
        status = 403 if visit is None else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _allowed(self, scope: Scope) -> Visit | None:
        """Return the request that nginx asks about if nginx may carry it, else None."""
        context = context_of(scope)
        asked = asked_for(scope, context) if self._trusts(context.client) else None
        found = None if asked is None else await self._proxy.fast_path(asked)
        if asked is None or found is None:
            return None
        visit, capability = found
        if not open_to_its_group(visit.session.endpoint.socket):
            return None
        if asked["type"] == "websocket" and not self._watch(capability):
            return None
        return visit

    def _watch(self, capability: Capability) -> bool:
        """Register a WebSocket; return False if it could not be cut when the capability ends."""
        if self._cuts_work and capability.hash not in self._watched:
            self._watched.add(capability.hash)
            self._capabilities.on_revoke(capability, lambda: self._revoked(capability))
        return self._cuts_work

    def _revoked(self, capability: Capability) -> None:
        self._watched.discard(capability.hash)
        task = asyncio.get_running_loop().create_task(self._cut(capability))
        self._cutting.add(task)
        task.add_done_callback(self._cutting.discard)

    async def _cut(self, capability: Capability) -> None:
        try:
            cut = await self._hang_up(capability.session_id)
            # Again, for nginx that got the session's address just before and connects only now.
            await asyncio.sleep(_ON_THE_WAY_SECONDS)
            cut = await self._hang_up(capability.session_id) and cut
        except MograderError as error:
            _log.warning("%s", error)
            cut = False
        if not cut and self._proxy.runs(capability.session_id):
            self._cuts_work = False
            _log.error("fast-path WebSockets cannot be cut here: new ones go through the hub")


def open_to_its_group(socket: Path) -> bool:
    """Return whether a socket has group access for nginx; an older supervisor's has not."""
    try:
        return socket.stat().st_mode & _GROUP == _GROUP
    except OSError:
        return False


def asked_for(scope: Scope, context: RequestContext) -> Scope | None:
    """Return the request that nginx asks about, as if sent here; None if it is malformed."""
    told: dict[bytes, bytes] = {}
    headers: HeaderList = []
    for name, value in scope["headers"]:
        if name in told:
            return None
        if name.startswith(_OURS):
            told[name] = value
        elif name != _LENGTH_NAME:
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


def _directions(visit: Visit) -> HeaderList:
    told = {
        "socket": str(visit.session.endpoint.socket),
        "target": visit.target,
        "base": visit.session.base_url,
        "root": visit.public_base,
    }
    return [(_OURS + name.encode(), value.encode("ascii")) for name, value in told.items()]
