"""The relay between a hub's connection and a session's socket: back-pressure and ends."""

from __future__ import annotations

import asyncio
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


class Sink:
    """A session's server that reads when the test says so."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.streams.put((reader, writer))


async def test_a_session_that_does_not_read_stops_the_hub_from_sending() -> None:
    sink, pipe, relay = Sink(), Pipe(), Relay()
    with short_directory() as directory:
        async with await asyncio.start_unix_server(sink.serve, directory / "s"):
            await relay.start(pipe, b"first", directory / "s")
            reader, writer = await sink.streams.get()
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
            relay.abort()
            writer.close()


async def test_a_hub_that_does_not_read_stops_the_session_from_sending() -> None:
    sink, pipe, relay = Sink(), Pipe(), Relay()
    with short_directory() as directory:
        async with await asyncio.start_unix_server(sink.serve, directory / "s"):
            await relay.start(pipe, b"", directory / "s")
            _, writer = await sink.streams.get()
            assert isinstance(pipe.protocol, asyncio.Protocol)
            pipe.protocol.pause_writing()
            writer.write(b"x" * 2**23)
            for _ in range(20):
                await asyncio.sleep(0)
            assert pipe.written == b""
            pipe.protocol.resume_writing()
            await asyncio.wait_for(writer.drain(), PATIENCE)
            assert pipe.written.startswith(b"x")
            relay.abort()
            writer.close()


async def test_the_end_of_the_session_is_passed_on_after_all_that_it_sent() -> None:
    sink, pipe, relay = Sink(), Pipe(), Relay()
    with short_directory() as directory:
        async with await asyncio.start_unix_server(sink.serve, directory / "s"):
            await relay.start(pipe, b"", directory / "s")
            _, writer = await sink.streams.get()
            writer.write(b"the end")
            writer.close()
            await asyncio.wait_for(relay.ended, PATIENCE)
    assert (pipe.written, pipe.closed) == (b"the end", "closed")


async def test_the_end_of_the_hubs_connection_is_passed_on() -> None:
    sink, pipe, relay = Sink(), Pipe(), Relay()
    with short_directory() as directory:
        async with await asyncio.start_unix_server(sink.serve, directory / "s"):
            await relay.start(pipe, b"the end", directory / "s")
            reader, writer = await sink.streams.get()
            pipe.close()
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b"the end"
            writer.close()


async def test_without_a_server_the_hubs_connection_is_closed() -> None:
    pipe, relay = Pipe(), Relay()
    await relay.start(pipe, b"", Path("/nowhere/s"))
    await asyncio.wait_for(relay.ended, PATIENCE)
    assert pipe.closed == "aborted"
