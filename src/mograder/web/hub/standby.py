"""The answers of a hub that is not at work: 503, with one sentence.

A hub that waits for the end of another one (:mod:`~mograder.web.hub.core.hub_at_work`) answers
each request so, also ``/health``, by which a front finds the hub at work. nginx has no health
check: its configuration asks for no answer at all, which it takes as a hub that is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.core.systemd import READY, Service

RETRY_SECONDS = 2
CLOSE_HEADER = b"x-mograder-standby: close"
"""A request with this header gets no answer: its connection is closed."""

_TEXT = "This hub waits: another one is at work on the course. Try again in a few seconds.\n"
_HEAD = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: {len(_TEXT)}\r\nRetry-After: {RETRY_SECONDS}\r\nCache-Control: no-store\r\n"
    "Connection: close\r\n\r\n"
)
_HEAD_SECONDS = 5.0
_REST_SECONDS = 2.0
_REST_BYTES = 1 << 20
_PIECE = 1 << 16


@contextlib.asynccontextmanager
async def standing_by(listener: socket.socket, service: Service) -> AsyncIterator[None]:
    """Answer all requests on ``listener`` with 503 during the block; SIGTERM and SIGINT cancel it.

    The listener stays open: what connects after the block waits for the hub.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:  # for the type checker: this is called from a task
        raise AssertionError
    server = await asyncio.start_server(_answer, sock=listener.dup(), limit=_PIECE)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    service.tell(READY, "STATUS=Waiting: another hub is at work")
    try:
        async with service.kept_alive():
            yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        if CLOSE_HEADER not in head.lower().split(b"\r\n"):
            writer.write((_HEAD if head.startswith(b"HEAD ") else _HEAD + _TEXT).encode())
            await writer.drain()
            writer.write_eof()
            await _drop_rest(reader)
    writer.close()


async def _drop_rest(reader: asyncio.StreamReader) -> None:
    """Read a body: closed with one unread, the kernel would reset the connection."""
    left = _REST_BYTES
    async with asyncio.timeout(_REST_SECONDS):
        while left > 0 and (piece := await reader.read(_PIECE)):
            left -= len(piece)


class WhileAtWork:
    """Passes requests on to the hub's app while this hub is certainly the one at work.

    A process that was stopped for a while goes on with what it had begun before it notices that
    another hub has taken its place.
    """

    def __init__(self, app: ASGIApp, at_work: Callable[[], bool]) -> None:
        self._app = app
        self._at_work = at_work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 if it is not certain."""
        if scope["type"] == "lifespan" or self._at_work():
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1012})
        else:
            headers = {"Retry-After": str(RETRY_SECONDS), "Cache-Control": "no-store"}
            await PlainTextResponse(_TEXT, 503, headers)(scope, receive, send)
