"""A client that announces a huge body, sends it slowly, and never reads a refusal as an end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

ANNOUNCED = 10 * 2**30
_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Refused:
    """Return a server's answer up to its close, and the number of bytes sent."""

    answer: bytes
    sent: int

    @property
    def status(self) -> int:
        return int(self.answer.split(b" ", 2)[1])

    @property
    def headers(self) -> bytes:
        """The head of the answer, in lower case."""
        return self.answer.partition(b"\r\n\r\n")[0].lower()


async def refused_body(
    host: str,
    port: int,
    path: str,
    headers: Mapping[str, str],
    *,
    announced: int | None = ANNOUNCED,
    piece: int = 1024,
) -> Refused:
    """Post until the server closes the connection; a test's own timeout is the only bound.

    ``announced`` None sends the body in chunks of ``piece`` bytes, without an end.
    """
    reader, writer = await asyncio.open_connection(host, port)
    length = "Transfer-Encoding: chunked" if announced is None else f"Content-Length: {announced}"
    data = b"x" * piece
    if announced is None:
        data = b"%x\r\n%b\r\n" % (piece, data)
    lines = [f"POST {path} HTTP/1.1", length]
    lines += [f"{name}: {value}" for name, value in {"Host": "127.0.0.1", **headers}.items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = asyncio.create_task(_all(reader))
    sent = 0
    with suppress(ConnectionError):
        while sent < (announced or ANNOUNCED):
            writer.write(data)
            await writer.drain()
            sent += piece
            await asyncio.sleep(_PAUSE)
    refused = Refused(await answer, sent)
    writer.close()
    return refused


async def _all(reader: asyncio.StreamReader) -> bytes:
    found = b""
    with suppress(ConnectionError):
        while piece := await reader.read(2**16):
            found += piece
    return found
