"""What a supervisor tells hubs: news, of which no end of a session is left out, and output."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from mograder.sandbox.isolation.bwrap import PlainRunner, Runner, Start
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.protocol import Arrived, Ended, Measured, News, RunCommand, SessionUse
from mograder.sandbox.supervisor.server import Lines, Supervisor, _send_lines, tell
from tests.support.supervisors import make_config

MEASURED = Measured(
    sessions=tuple(
        SessionUse(session_id=f"s{number}", memory=1, cpu=1.0, processes=1)
        for number in range(1000)
    ),
    overhead=1,
)


@dataclass
class SlowHub:
    """``writer`` is the supervisor's to a hub, which reads only when told to."""

    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    own: asyncio.StreamWriter

    async def lines(self) -> list[bytes]:
        """Close the connection, and read all that was sent."""
        self.writer.close()
        transport = self.own.transport
        assert isinstance(transport, asyncio.Transport)
        transport.resume_reading()
        return (await self.reader.read()).splitlines()


@asynccontextmanager
async def a_hub(tmp_path: Path) -> AsyncIterator[SlowHub]:
    came: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set_result(writer)

    server = await asyncio.start_unix_server(greet, tmp_path / "s")
    reader, own = await asyncio.open_unix_connection(tmp_path / "s", limit=1 << 26)
    transport = own.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    writer = await came
    try:
        yield SlowHub(writer, reader, own)
    finally:
        for each in (writer, own):
            if not each.is_closing():
                each.transport.abort()
            with suppress(ConnectionError):
                await each.wait_closed()
        server.close()
        await server.wait_closed()


def tell_until(
    writer: asyncio.StreamWriter, make: Callable[[int], Ended | News], over: Callable[[], bool]
) -> int:
    for number in range(100_000):
        if over():
            return number
        tell((writer,), make(number))
    raise AssertionError("there is no bound")


async def test_a_hub_that_reads_slowly_misses_measurements_and_no_end(tmp_path: Path) -> None:
    async with a_hub(tmp_path) as hub:
        writer = hub.writer
        unread = writer.transport.get_write_buffer_size
        tell_until(writer, lambda _: MEASURED, lambda: unread() > 1 << 20)
        before = unread()
        tell((writer,), MEASURED)
        assert unread() == before
        tell((writer,), Ended(session_id="gone", status=0, log_tail=""))
        tell((writer,), Arrived(session_id="new", warm=True))
        assert not writer.transport.is_closing()
        lines = await hub.lines()
    assert b'"gone"' in lines[-2]
    assert b'"new"' in lines[-1]


async def test_a_hub_that_does_not_read_at_all_is_disconnected(tmp_path: Path) -> None:
    async with a_hub(tmp_path) as hub:
        writer = hub.writer
        unread, most = writer.transport.get_write_buffer_size, 0

        def gone() -> bool:
            nonlocal most
            most = max(most, unread())
            return writer.transport.is_closing()

        tell_until(writer, lambda n: Ended(session_id=f"s{n}", status=0, log_tail="x" * 1000), gone)
        assert most < 5 << 20
        tell((writer,), Arrived(session_id="new", warm=True))


async def test_a_hub_that_the_network_reaches_no_more_has_disconnected(tmp_path: Path) -> None:
    config = make_config(tmp_path, tmp_path, divide_cgroups=False, owned=False)
    supervisor = Supervisor(config, PlainRunner(None, None), cast(Host, None))
    async with a_hub(tmp_path) as hub:
        reader = asyncio.StreamReader()
        reader.set_exception(OSError(errno.EHOSTUNREACH, "No route to host"))
        await supervisor._converse(reader, hub.writer)
        assert hub.writer.is_closing()


class SlowEnd:
    """A build that ends some time after it was killed, as one with much memory does."""

    kind, uid_base = "none", None

    def __init__(self) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def reach(self, path: Path) -> None:
        """Every path can be reached."""

    def start(self, _: Start) -> SlowEnd:
        return self

    def end(self) -> None:
        asyncio.get_running_loop().call_later(0.2, self.exited.set_result, -9)


async def test_a_build_that_took_too_long_has_ended_when_that_is_told(tmp_path: Path) -> None:
    """Its directory is removed then, and must not be written to any more."""
    config = make_config(tmp_path, tmp_path, divide_cgroups=False, owned=False)
    build = SlowEnd()
    host = Host(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, links=())
    supervisor = Supervisor(config, cast(Runner, build), host)
    command = RunCommand(argv=("uv",), directory=tmp_path, timeout=0.1)
    async with a_hub(tmp_path) as hub:
        assert await supervisor._run(command, partial(_send_lines, hub.writer, 1)) == 124
        assert build.exited.done()


# --- a build's output as lines, bounded whatever it prints ------------------------------------


def test_lines_are_told_when_they_are_whole() -> None:
    lines = Lines()
    lines.feed(b"one\ntw")
    assert lines.take() == ["one"]
    assert lines.take() == []
    lines.feed(b"o\r\n\nthree")
    assert lines.take() == ["two", ""]
    assert lines.take(last=True) == ["three"]
    assert lines.take(last=True) == []


def test_a_character_may_come_in_two_pieces() -> None:
    lines = Lines()
    lines.feed("é".encode()[:1])
    assert lines.take() == []
    lines.feed("é".encode()[1:] + b"\n")
    assert lines.take() == ["é"]


def test_what_is_no_text_is_told_as_well_as_can_be() -> None:
    lines = Lines()
    lines.feed(b"\xff\0\n")
    assert lines.take() == ["\ufffd\0"]


def test_a_line_without_end_costs_no_memory_without_end() -> None:
    lines = Lines()
    for _ in range(100):
        lines.feed(b"x" * 65_536)
    assert lines.take() == []
    lines.feed(b"\nend\n")
    first, last = lines.take()
    assert len(first) == 4000
    assert last == "end"


def test_of_too_many_lines_the_last_are_told() -> None:
    lines = Lines()
    lines.feed(b"\n" * 200_000 + b"end\n")
    told = lines.take()
    assert len(told) <= 5000
    assert told[-1] == "end"
