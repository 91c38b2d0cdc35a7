"""A session's server that floods: a thread of its own, so that it never waits for the hub's loop.

It accepts any WebSocket and sends one-byte messages as fast as the socket takes them, or another
block of bytes again and again. What was sent and received is counted, never timed.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGES = b"\x81\x01x" * 4096
PINGS, PONGS = b"\x89\x00" * 4096, b"\x8a\x00" * 4096


@dataclass
class Flood:
    """A listening flooder; ``sent`` counts bytes of its socket."""

    path: Path
    sent: int = 0


@contextmanager
def flooding(directory: Path, block: bytes = MESSAGES, head: bytes = b"") -> Iterator[Flood]:
    """Listen on a Unix socket in this directory until the end of the block.

    With ``head`` requests get this, instead of a WebSocket, before the first ``block``.
    """
    flood = Flood(directory / "flood.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(flood.path))
    listening.listen(4)
    over = threading.Event()
    thread = threading.Thread(target=_serve, args=(listening, flood, over, block, head))
    thread.start()
    try:
        yield flood
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        listening.close()


def _serve(
    listening: socket.socket, flood: Flood, over: threading.Event, block: bytes, head: bytes
) -> None:
    while not over.is_set():
        with suppress(OSError), listening.accept()[0] as connection:
            connection.settimeout(1)
            asked = _head(connection)
            connection.sendall(head or handshake(asked))
            _send(connection, flood, over, block)


def _send(connection: socket.socket, flood: Flood, over: threading.Event, block: bytes) -> None:
    while not over.is_set():
        with suppress(TimeoutError):
            flood.sent += connection.send(block)


def _head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    return head


def handshake(head: bytes) -> bytes:
    name = b"sec-websocket-key: "
    line = next(line for line in head.split(b"\r\n") if line.lower().startswith(name))
    key = line[len(name) :]
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


@dataclass
class Drain:
    """A client that reads as fast as it can, in a thread of its own; ``got`` counts bytes."""

    got: int = 0


@contextmanager
def draining(address: tuple[str, int], path: str, authorization: str) -> Iterator[Drain]:
    """Open a WebSocket through the hub and discard its messages until the end of the block."""
    drain, over = Drain(), threading.Event()
    connection = open_socket(address, path, authorization)
    thread = threading.Thread(target=_swallow, args=(connection, drain, over))
    thread.start()
    try:
        yield drain
    finally:
        over.set()
        thread.join(20)
        connection.close()


def open_socket(address: tuple[str, int], path: str, authorization: str) -> socket.socket:
    """A raw connection that has asked for a WebSocket; it reads nothing by itself."""
    connection = socket.create_connection(address, timeout=10)
    key = base64.b64encode(b"0123456789abcdef").decode()
    head = (
        f"GET {path} HTTP/1.1\r\nHost: hub.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Authorization: {authorization}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def _swallow(connection: socket.socket, drain: Drain, over: threading.Event) -> None:
    connection.settimeout(0.5)
    while not over.is_set():
        with suppress(TimeoutError):
            drain.got += len(connection.recv(1 << 20))
