"""The ports and signals of our servers, as each system has them."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mograder.core.errors import Conflict, InvalidInput
from mograder.web import serving
from tests.support.process import hang_up


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_a_server_without_a_stack_trace(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Neither of the app, whose end it does not await, nor of a request that is under way."""
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "filters", [])
    first = asyncio.Event()

    async def wait(_: Request) -> Response:
        os.kill(os.getpid(), number)
        await first.wait()
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()  # until it is cancelled
        return Response()

    async def serve(listener: socket.socket) -> None:
        app = Starlette(routes=[Route("/", wait)])
        server = serving.Server(serving.configuration(app, grace_seconds=1, lifespan="on"))
        with serving.until_signalled(server, first.set):
            await server.serve(sockets=[listener])
        assert server.force_exit

    with (
        hang_up(signal.SIG_DFL),
        serving.bind(serving.LOOPBACK, 0) as listener,
        socket.create_connection(listener.getsockname()) as client,
        asyncio.Runner() as runner,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        runner.run(serve(listener))
    assert "CancelledError" not in caplog.text


def refused(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let no port be bound."""

    def refuse(self: socket.socket, address: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refuse)


def test_a_port_that_windows_keeps_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(monkeypatch, errno.EACCES)
    with pytest.raises(InvalidInput, match=r"Ports below 1024 need root"):
        serving.bind(serving.LOOPBACK, 80)
    monkeypatch.setattr(serving, "SYSTEM", "windows")
    with pytest.raises(Conflict, match=r"--port"):
        serving.bind(serving.LOOPBACK, 2718)


@pytest.mark.parametrize("system", ["linux", "windows"])
def test_a_port_of_another_program_is_in_use(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    refused(monkeypatch, errno.EADDRINUSE)
    monkeypatch.setattr(serving, "SYSTEM", system)
    with pytest.raises(Conflict, match=r"in use"):
        serving.bind(serving.LOOPBACK, 2718)
