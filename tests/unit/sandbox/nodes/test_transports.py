"""The relay between a hub's connection and a session's socket: back-pressure and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mograder.sandbox.nodes.transports import Relay
from tests.support.supervisors import PATIENCE, short_directory


class Pipe(asyncio.Transport):
    """A hub's connection that only notes what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self._reading = False
        self.resumed = asyncio.Event()
        self.closed = ""
        self.written = b""
        self.protocol: asyncio.BaseProtocol = asyncio.Protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.resumed.set()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return bool(self.closed)

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        if not self.closed:
            self.closed = how
            assert isinstance(self.protocol, asyncio.Protocol)
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def received(self, data: bytes) -> None:
        assert isinstance(self.protocol, asyncio.Protocol)
        self.protocol.data_received(data)


Connection = tuple[Pipe, Relay, asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def relayed(first: bytes = b"") -> AsyncIterator[Connection]:
    """A hub's connection at a relay, and the end of a session's server, which reads nothing yet."""
    streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    pipe, relay = Pipe(), Relay()
    with short_directory() as directory:

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            streams.put_nowait((reader, writer))

        async with await asyncio.start_unix_server(serve, directory / "s"):
            await relay.start(pipe, first, directory / "s")
            reader, writer = await streams.get()
            yield pipe, relay, reader, writer
            relay.abort()
            writer.close()


async def test_a_session_that_does_not_read_stops_the_hub_from_sending() -> None:
    async with relayed(b"first") as (pipe, _, reader, _writer):
        assert await reader.readexactly(5) == b"first"
        assert pipe.is_reading()
        sent = 0
        while pipe.is_reading():
            pipe.received(b"x" * 2**16)
            sent += 2**16
        assert sent < 8 * 2**20
        pipe.resumed.clear()
        await reader.readexactly(sent)
        await asyncio.wait_for(pipe.resumed.wait(), PATIENCE)


async def test_a_hub_that_does_not_read_stops_the_session_from_sending() -> None:
    async with relayed() as (pipe, _, _reader, writer):
        assert isinstance(pipe.protocol, asyncio.Protocol)
        pipe.protocol.pause_writing()
        writer.write(b"x" * 2**23)
        for _ in range(20):
            await asyncio.sleep(0)
        assert pipe.written == b""
        pipe.protocol.resume_writing()
        await asyncio.wait_for(writer.drain(), PATIENCE)
        assert pipe.written.startswith(b"x")


async def test_the_end_of_the_session_is_passed_on_after_all_that_it_sent() -> None:
    async with relayed() as (pipe, relay, _, writer):
        writer.write(b"the end")
        writer.close()
        await asyncio.wait_for(relay.ended, PATIENCE)
        assert (pipe.written, pipe.closed) == (b"the end", "closed")


async def test_the_end_of_the_hubs_connection_is_passed_on() -> None:
    async with relayed(b"the end") as (pipe, _, reader, _writer):
        pipe.close()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"the end"


async def test_without_a_server_the_hubs_connection_is_closed() -> None:
    pipe, relay = Pipe(), Relay()
    await relay.start(pipe, b"", Path("/nowhere/s"))
    await asyncio.wait_for(relay.ended, PATIENCE)
    assert pipe.closed == "aborted"
