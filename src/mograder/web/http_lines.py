"""HTTP connections that write the head of an answer together with what follows it.

uvicorn writes each in a system call of its own, and the loop sends each at once. Together they are
one segment: cheaper for both sides, and what a front needs that may close its connection when it
has seen the head (``web.whole_answers``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD = b"HTTP/1."


class HttpLine(HttpToolsProtocol):
    """uvicorn's protocol; ``uvicorn.Config(http=HttpLine)``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        super().connection_made(cast(asyncio.Transport, _HeadHolder(transport, self.loop)))

    def handle_websocket_upgrade(self) -> None:
        """Give the bare connection to the WebSocket, which writes whole messages."""
        self.transport = cast(_HeadHolder, self.transport).bare
        super().handle_websocket_upgrade()


class _HeadHolder:
    """A transport that holds an answer's head until more is written, or the loop's turn ends."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.bare = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self.bare.writelines((head, data))
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self.bare.write(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        self._flush()
        self.bare.writelines(parts)

    def close(self) -> None:
        self._flush()
        self.bare.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self.bare.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)
