"""Relays one WebSocket between a client and a session: text and binary, both ways, until one ends.

There is no idle limit. A message is held in memory, so the sessions of one person have a limited
number of WebSockets, and each further one gets a smaller share of the largest message that a server
may send: all together some four of these. A message is read when the one before has been passed on,
so a slow reader slows the sender down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass

import aiohttp

from mograder.core.log import get_logger
from mograder.core.rate_limit import RateLimit
from mograder.sessions.manager import SessionManager
from mograder.web.hub.core.metrics import ProxyCounters
from mograder.web.hub.proxy.answer_rules import Visit
from mograder.web.hub.proxy.headers import upstream_headers
from mograder.web.hub.proxy.http_relay import Exchange, Limits
from mograder.web.hub.proxy.replies import ENDED
from mograder.web.hub.proxy.upstream import Upgraded, Upstream

POLICY = 1008
"""Close code of a refusal (compatibility-0.3.16.md 2.3)."""

MOST_SOCKETS = 32
"""Open WebSockets of all sessions of one person; a page has one or two."""

CLIENT_MESSAGE_BYTES = 2**24
"""The largest message of a client; uvicorn's default, which marimo does not change."""

SERVER_MESSAGE_BYTES = 2**26
"""The largest message of a session's server; marimo sends outputs of 8 MB unless set otherwise."""

_GOING_AWAY = 1001
_NORMAL = 1000
_FAILED = 1011
_TOO_BIG = 1009
_CLOSE_SECONDS = 2.0
_REASON_BYTES = 123
_DATA = frozenset((aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY))
_CONTROL = frozenset((aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG))
_log = get_logger("mograder.web.hub.proxy.websocket_relay")


@dataclass(frozen=True, slots=True)
class Close:
    code: int
    reason: str = ""


def legal_close(code: int | None, reason: str = "", *, otherwise: int) -> Close:
    """Return a close that may be sent; 1005 and 1006 only mean that no code was received."""
    sendable = code is not None and (
        1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    )
    chosen = code if sendable and code is not None else otherwise
    return Close(
        chosen, reason.encode("utf-8", "replace")[:_REASON_BYTES].decode("utf-8", "ignore")
    )


async def refuse_websocket(exchange: Exchange, status: int, text: str) -> None:
    """Refuse a WebSocket before it is accepted, with a status where the server supports one.

    Without the extension, and for 403, it is a close with 1008, which servers turn into 403.
    """
    extensions = exchange.scope.get("extensions") or {}
    if status == 403 or "websocket.http.response" not in extensions:
        await exchange.send({"type": "websocket.close", "code": POLICY, "reason": text})
        return
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
    ]
    start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
    await exchange.send(start)
    await exchange.send({"type": "websocket.http.response.body", "body": text.encode()})


async def relay_websocket(
    visit: Visit,
    exchange: Exchange,
    upstream: Upstream,
    limits: Limits,
    pool: SessionManager,
    traffic: ProxyCounters,
) -> None:
    """Open the session's WebSocket, then the client's, and relay messages until one side ends.

    Messages count as use of the session, pings do not.
    """
    with upstream.counting() as sockets:
        if sockets > MOST_SOCKETS:
            await refuse_websocket(exchange, 503, "Too many pages of notebooks are open.")
            return
        largest = SERVER_MESSAGE_BYTES // sockets
        socket = await _opened(visit, exchange, upstream, limits, largest)
        if socket is None:
            return
        try:
            traffic.open_websockets += 1
            with pool.connected(visit.session):
                await _Relay(visit, exchange, socket, pool, traffic).run(upstream)
        finally:
            traffic.open_websockets -= 1
            if not socket.closed:
                await socket.close(code=_GOING_AWAY)


async def _opened(
    visit: Visit, exchange: Exchange, upstream: Upstream, limits: Limits, largest: int
) -> Upgraded | None:
    protocols = tuple(exchange.scope.get("subprotocols") or ())
    headers = upstream_headers(exchange.scope["headers"], whole=False)
    try:
        async with asyncio.timeout(limits.answer_seconds):
            return await upstream.websocket(visit.target, headers, protocols, largest)
    except TimeoutError:
        await refuse_websocket(exchange, 504, f"{visit.noun} did not answer in time")
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
        _log.info("session %s refused a WebSocket: %r", visit.session.id, error)
        await refuse_websocket(exchange, 502, f"{visit.noun} unavailable")
    return None


@dataclass(frozen=True, slots=True)
class _Relay:
    visit: Visit
    exchange: Exchange
    socket: Upgraded
    pool: SessionManager
    traffic: ProxyCounters

    async def run(self, upstream: Upstream) -> None:
        cut: asyncio.Future[Close] = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not cut.done():
                cut.set_result(Close(POLICY, ENDED))

        undo = (upstream.on_close(end), self.visit.on_revoke(end))
        protocol = self.socket.protocol
        try:
            await self.exchange.receive()  # websocket.connect
            await self.exchange.send({"type": "websocket.accept", "subprotocol": protocol})
            self.pool.touch(self.visit.session)
            client_left, close = await _race(
                self._to_session(upstream.to_session), self._to_client(upstream.to_client), cut
            )
        finally:
            for each in undo:
                each()
        await self.socket.close(code=close.code, message=close.reason.encode())
        if not client_left:
            # A client that does not read could block this indefinitely.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    told = {"code": close.code, "reason": close.reason}
                    await self.exchange.send({"type": "websocket.close", **told})

    async def _to_session(self, rate_limit: RateLimit) -> Close:
        traffic, socket = self.traffic, self.socket
        while True:
            message = await self.exchange.receive()
            if message["type"] != "websocket.receive":
                return legal_close(
                    message.get("code"), message.get("reason") or "", otherwise=_GOING_AWAY
                )
            self.pool.touch(self.visit.session)
            text = message.get("text")
            size = size_of(message["bytes"] if text is None else text)
            traffic.messages_in += 1
            traffic.bytes_in += size
            try:
                if text is not None:
                    await socket.send_str(text)
                else:
                    await socket.send_bytes(message["bytes"])
            except (aiohttp.ClientError, OSError, UnicodeEncodeError):
                # The other direction returns how the server closed; this one only waits.
                return await asyncio.Future()
            await rate_limit.passed(size)

    async def _to_client(self, rate_limit: RateLimit) -> Close:
        traffic, socket = self.traffic, self.socket
        while True:
            message = await socket.receive()
            if message.type in _CONTROL:
                await self._answer(message)
                await rate_limit.passed(len(message.data))
                continue
            if message.type not in _DATA:
                if message.type is not aiohttp.WSMsgType.CLOSE:
                    return legal_close(socket.close_code, otherwise=_FAILED)
                # No code at all is a normal end (1005); a lost connection (1006) is not.
                return legal_close(message.data or None, message.extra or "", otherwise=_NORMAL)
            self.pool.heard(self.visit.session)
            kind = "text" if message.type is aiohttp.WSMsgType.TEXT else "bytes"
            try:
                await self.exchange.send({"type": "websocket.send", kind: message.data})
            except OSError:
                # The ASGI server raises this after the client has disconnected.
                return Close(_GOING_AWAY)
            size = size_of(message.data)
            traffic.messages_out += 1
            traffic.bytes_out += size
            await rate_limit.passed(size)

    async def _answer(self, control: aiohttp.WSMessage) -> None:
        """Answer a ping; the next read tells that the server has gone."""
        if control.type is aiohttp.WSMsgType.PING:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await self.socket.pong(control.data)


async def _race(
    to_session: Coroutine[None, None, Close],
    to_client: Coroutine[None, None, Close],
    cut: asyncio.Future[Close],
) -> tuple[bool, Close]:
    async with asyncio.TaskGroup() as group:
        inward, outward = group.create_task(to_session), group.create_task(to_client)
        ends: set[asyncio.Future[Close]] = {inward, outward, cut}
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        inward.cancel()
        outward.cancel()
    first = next(each for each in (inward, cut, outward) if each in done)
    return first is inward and first.result().code != _TOO_BIG, first.result()


def size_of(data: str | bytes) -> int:
    """Return a message's size on the wire in bytes, without encoding one that is ASCII."""
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode("utf-8", "replace"))
