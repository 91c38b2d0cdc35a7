"""The ports and signals of our servers, as each system has them."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from mograder.core.errors import Conflict, InvalidInput
from mograder.web import serving


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
