"""Answers to requests with a body: not before it has come, and head and body in one piece.

A front that is written in Go (Caddy) closes its connection to us when it has passed the head of an
answer on before it has read the request's body to its end; of the answer, what it has not read by
then is lost, and a client sees 200 and nothing (golang/go issue 40747). So a request that is
refused early gets its answer only when its body has come, and a short answer leaves as one write. A
long one, such as the progress of a publication, waits a moment: the front may have sent us the last
of the body and not have looked yet whether more follows.

Of a large or slow body only a little is waited for. The refusal then says ``Connection: close``,
and ``web.uvicorn_protocol`` closes the connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import Message, Receive, Scope, Send

_DRAINED_BYTES = 2**20
"""More than this is not worth its transfer only to be refused."""
_DRAIN_SECONDS = 2.0
_SHORT_BYTES = 2**16
_FRONT_SECONDS = 0.25
"""For a front to note the end of a body; measured under a load of 12 on two processors."""
_REFUSED = 400
_CLOSE = (b"connection", b"close")
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


def brings_body(scope: Scope) -> bool:
    """Whether a body comes with this request."""
    if scope["type"] != "http" or scope["method"] in _BODILESS:
        return False
    return any(
        (name == b"content-length" and value.strip() != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


class DrainBeforeReply:
    """The ``receive`` and ``send`` of one request that :func:`brings_body`.

    Mutable state: whether the app has asked for the body, whether it is asking at the moment (a
    proxy does, while it answers), whether the body has ended, and the head that is held back until
    the body of the answer follows (in the same turn of the loop, so in one write).
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._asked = False
        self._asking = False
        self._ended = False
        self._head: Message | None = None
        # A client that waits for 100-continue is not told to send a body that nothing reads.
        self._waits = any(name == b"expect" for name, _ in scope["headers"])

    async def receive(self) -> Message:
        """Give the app a piece of the body."""
        self._asked = self._asking = True
        try:
            message = await self._receive()
        finally:
            self._asking = False
        self._ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on: its head once the body has come, or with its own body."""
        if message["type"] == "http.response.start":
            if not self._ended and self._refuses(message):
                await self._drain()
            if not self._ended and message["status"] >= _REFUSED:
                others = [each for each in message.get("headers", ()) if each[0] != _CLOSE[0]]
                message = {**message, "headers": [*others, _CLOSE]}
            if _is_short(message):
                self._head = message
                return
            if self._asked and self._ended and message["status"] < _REFUSED:
                await asyncio.sleep(_FRONT_SECONDS)
        elif self._head is not None:
            head, self._head = self._head, None
            await self._send(head)
        await self._send(message)

    def _refuses(self, start: Message) -> bool:
        """Whether this is an answer after which the app reads no more of the body."""
        if not self._asked:
            return not self._waits
        return not self._asking and start["status"] >= _REFUSED

    async def _drain(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._drain_some()

    async def _drain_some(self) -> None:
        left = _DRAINED_BYTES
        while left > 0:
            message = await self._receive()
            if not message.get("more_body", False):  # its end, or nobody is there any more
                self._ended = True
                return
            left -= len(message["body"])


def _is_short(start: Message) -> bool:
    for name, value in start.get("headers", ()):
        if name == b"content-length":
            return bool(value.isdigit()) and 0 < int(value) <= _SHORT_BYTES
    return False
