"""Delays responses until the request's body has arrived, and sends head and body in one write.

A reverse proxy written in Go (Caddy) closes its connection to us when it has forwarded the head of
a response before it has read the request's body to its end; the rest of the response is lost, and a
client sees 200 with an empty body (golang/go issue 40747). So a request that is refused early gets
its response only after its body has arrived, and a short response is sent in one write. A long one,
such as the progress of a publication, waits 0.25 s: the proxy may have sent the last of the body
without having checked yet whether more follows.

Of a large or slow body only the first part is read. The refusal then has ``Connection: close``, and
``web.uvicorn_protocol`` closes the connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import Message, Receive, Scope, Send

_DRAINED_BYTES = 2**20
"""Bytes read of a body that is refused; transferring more would be a waste."""
_DRAIN_SECONDS = 2.0
_SHORT_BYTES = 2**16
_FRONT_SECONDS = 0.25
"""Time for a proxy to notice the end of a body; measured at a load of 12 on two processors."""
_REFUSED = 400
_CLOSE = (b"connection", b"close")
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


def brings_body(scope: Scope) -> bool:
    """Whether this request has a body."""
    if scope["type"] != "http" or scope["method"] in _BODILESS:
        return False
    return any(
        (name == b"content-length" and value.strip() != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


class DrainBeforeReply:
    """The ``receive`` and ``send`` of one request that :func:`brings_body`.

    Mutable state: whether the app has read from the body, whether it is reading at the moment (a
    proxy does, while it answers), whether the body has ended, and the head that is held back until
    the body of the response follows (in the same turn of the loop, so in one write).
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._asked = False
        self._asking = False
        self._ended = False
        self._head: Message | None = None
        # A client that waits for 100-continue is not asked to send a body that is not read.
        self._waits = any(name == b"expect" for name, _ in scope["headers"])

    async def receive(self) -> Message:
        """Return the next message of the request's body."""
        self._asked = self._asking = True
        try:
            message = await self._receive()
        finally:
            self._asking = False
        self._ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response; its head waits for the request's body or its own body."""
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
        """Whether this is a response after which the app reads no more of the body."""
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
            if not message.get("more_body", False):  # the body's end or a disconnect
                self._ended = True
                return
            left -= len(message["body"])


def _is_short(start: Message) -> bool:
    for name, value in start.get("headers", ()):
        if name == b"content-length":
            return bool(value.isdigit()) and int(value) <= _SHORT_BYTES
    return False
