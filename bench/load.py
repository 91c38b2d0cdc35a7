"""A small load generator: keep-alive HTTP on raw streams, cheap enough not to be the bottleneck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 1 << 20


class LoadFailed(RuntimeError):
    """Raised for an answer other than 200, which makes the measurement invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go: a loopback port or a Unix socket, a path, and headers."""

    path: str
    port: int = 0
    socket: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> bytes:
        lines = [f"GET {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port or 80}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def requests_per_second(target: Target, *, connections: int, seconds: float) -> float:
    """Send requests continuously over a few connections, and count the answers."""
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask_until(target, until)) for _ in range(connections)]
    return sum(task.result() for task in tasks) / seconds


async def seconds_of_one(target: Target) -> tuple[float, int]:
    """Time one request on a fresh connection; returns the seconds and the size of the body."""
    started = time.perf_counter()
    reader, writer = await connect(target)
    try:
        size = await _ask(reader, writer, target.request())
        return time.perf_counter() - started, size
    finally:
        writer.close()
        await writer.wait_closed()


async def _ask_until(target: Target, until: float) -> int:
    request, answered = target.request(), 0
    reader, writer = await connect(target)
    try:
        while time.perf_counter() < until:
            await _ask(reader, writer, request)
            answered += 1
    finally:
        writer.close()
        await writer.wait_closed()
    return answered


async def connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.socket is not None:
        return await asyncio.open_unix_connection(str(target.socket), limit=_CHUNK)
    return await asyncio.open_connection("127.0.0.1", target.port, limit=_CHUNK)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise LoadFailed(head.decode("latin-1"))
    fields = head.lower()
    if b"\r\ntransfer-encoding: chunked" in fields:
        return len(await read_chunked(reader))
    length = int(fields.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
    await _skip(reader, length)
    return length


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:size]
    await reader.readline()
    return bytes(body)


async def _skip(reader: asyncio.StreamReader, length: int) -> None:
    while length:
        piece = await reader.read(min(length, _CHUNK))
        if not piece:
            raise LoadFailed("the answer ended early")
        length -= len(piece)
