"""The hub's door for nodes: their connections, which begin as requests at the hub's own address.

A node whose connection is in use keeps its place: another one with the same secret is refused,
whoever it is. To refuse a node that was removed: ``await link.close()``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from typing import cast

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from mograder.auth.node_tokens import secret_hash
from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.sandbox.nodes.transports import CONTROL, DOOR, LINK, SESSION
from mograder.sessions.nodes.node_link import NodeLink, NodeLinks
from mograder.store.hub.nodes import Nodes
from mograder.web.context import context_of
from mograder.web.hub.core.audit import LoginThrottle
from mograder.web.serving import HAND_OVER, HandOver

_log = get_logger(__name__)

_IN_USE_SECONDS = 3.0
"""A node that was heard within this time is at work: it sends its status twice as often."""
_KEY_BYTES = 16
_LINK = LINK.lower().encode()


class NodeDoor:
    def __init__(self, nodes: Nodes, clock: Clock, links: NodeLinks) -> None:
        self._nodes = nodes
        self._throttle = LoginThrottle(clock)
        self._links = links

    def serves(self, raw_path: bytes) -> bool:
        return raw_path == DOOR.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            refusal = await self._let_in(scope)
        except MograderError as error:
            refusal = PlainTextResponse(f"{error}\n", 503)
        except ConnectionResetError:
            return
        if refusal is not None:
            refusal.headers["Cache-Control"] = "no-store"
            await refusal(scope, receive, send)

    async def _let_in(self, scope: Scope) -> Response | None:
        """Take the connection over, or return the refusal. Raises: ConnectionResetError."""
        hand_over: HandOver | None = (scope.get("extensions") or {}).get(HAND_OVER)
        known = secret_hash(_header(scope, b"authorization").removeprefix("Bearer "))
        if hand_over is not None and _header(scope, b"upgrade").lower() == SESSION:
            # Without the database: each request of a session may need a new connection.
            wanted = known, secret_hash(_header(scope, _LINK))
            links = self._links.by_name.values()
            link = next((e for e in links if (e.secret_hash, e.key_hash) == wanted), None)
            if link is None:
                return self._refused(scope)
            link.park(*hand_over(_switch(SESSION)))
            return None
        row = await asyncio.to_thread(self._nodes.known_by, known)
        if row is None:
            return self._refused(scope)
        if hand_over is None:
            return Response(status_code=204)
        return await self._connect(scope, hand_over, row.name, known)

    def _refused(self, scope: Scope) -> Response:
        address = context_of(scope).address
        if self._throttle.failed(address):
            _log.warning(
                "a node at %s is refused: its secret is not known, was removed, or is that of a "
                "node with another connection",
                address,
            )
            return PlainTextResponse("This node is not known.\n", 401)
        return PlainTextResponse("Too many attempts.\n", 429, {"Retry-After": "60"})

    async def _connect(
        self, scope: Scope, hand_over: HandOver, name: str, known: str
    ) -> Response | None:
        address, attempt = context_of(scope).address, _header(scope, _LINK)
        now = asyncio.get_running_loop().time()
        while (earlier := self._links.by_name.get(name)) is not None:
            if earlier.alive and now - earlier.heard < _IN_USE_SECONDS:
                if not attempt or attempt != earlier.attempt:
                    _log.warning(
                        "the node %s connects from %s while its connection from %s is in use, and "
                        "is refused: if another machine has its secret, remove the node",
                        name,
                        address,
                        earlier.address,
                    )
                return PlainTextResponse("This node is connected already.\n", 409)
            await self._links.end(earlier)
        key = secrets.token_urlsafe(_KEY_BYTES)
        transport, received = hand_over(_switch(CONTROL, f"{LINK}: {key}"))
        link = NodeLink(
            name,
            known,
            key_hash=secret_hash(key),
            address=address,
            attempt=attempt,
            transport=transport,
            received=received,
        )
        self._links.begin(link)
        return None


def _switch(protocol: str, *more: str) -> bytes:
    head = ("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {protocol}")
    return "\r\n".join((*head, *more, "Cache-Control: no-store", "", "")).encode()


def _header(scope: Scope, name: bytes) -> str:
    """Return a header's text, "" unless it was sent once."""
    headers = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
    values = [value for key, value in headers if key == name]
    return values[0].decode("latin-1").strip() if len(values) == 1 else ""
