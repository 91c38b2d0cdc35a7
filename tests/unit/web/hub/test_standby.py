"""A hub that waits answers on the socket that it is to serve later; a start can be stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.core.systemd import NO_SERVICE
from mograder.web.hub import server
from mograder.web.hub.server import serve_hub, standing_by
from mograder.web.serving import LOOPBACK, bind

_LONGEST_AT = 28
"""Where ``tcp_info`` has the length of a listening socket's queue (``tcpi_sacked``)."""


def queue_length(listener: socket.socket) -> int:
    """Return how many connections the kernel holds until they are accepted."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    length: int = struct.unpack_from("I", info, _LONGEST_AT)[0]
    return length


async def test_as_many_connections_as_before_wait_for_the_hub_that_takes_over() -> None:
    with contextlib.closing(bind(LOOPBACK, 0)) as listener:
        before = queue_length(listener)
        async with standing_by(listener, NO_SERVICE):
            assert queue_length(listener) == before
        assert queue_length(listener) == before


@pytest.mark.parametrize(
    ("header", "begin"),
    [("X-Mograder-Standby: close", b""), ("X-Other: close", b"HTTP/1.1 503 ")],
)
async def test_a_hub_that_waits_gives_no_answer_to_the_written_nginx(
    header: str, begin: bytes
) -> None:
    with contextlib.closing(bind(LOOPBACK, 0)) as listener:
        async with standing_by(listener, NO_SERVICE):
            reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            with contextlib.closing(writer):
                writer.write(f"POST / HTTP/1.1\r\nHost: hub\r\n{header}\r\n\r\n".encode())
                answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(begin)
    assert bool(answer) == bool(begin)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_is_stopped_closes_what_it_opened_and_says_so(
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = []

    @contextlib.asynccontextmanager
    async def opening(*_: object, **__: object) -> AsyncIterator[None]:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(5)
            yield
        finally:
            os.kill(os.getpid(), number)  # the cleanup is not broken off
            await asyncio.sleep(0.05)
            closed.append(number)

    monkeypatch.setattr(server, "open_services", opening)
    monkeypatch.setattr(server, "configure_logging", lambda **_: None)
    with caplog.at_level("INFO"):
        serve_hub(load_settings(tmp_path, overrides={"hub.port": 0}), dev=True, headless=True)
    assert closed == [number]
    assert "stopped before the start was complete" in caplog.text
