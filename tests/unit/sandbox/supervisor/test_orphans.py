"""Processes with a session's socket open are ended, and no others."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.sandbox.supervisor.config import end_strays


@pytest.fixture
def sockets() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp") as directory:
        yield Path(directory)


def listener(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


def sleeper(*keep: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], pass_fds=[each.fileno() for each in keep])


@pytest.mark.full
def test_only_what_holds_a_sessions_socket_is_ended(sockets: Path) -> None:
    (sockets / "s").mkdir()
    with listener(sockets / "s" / "a.sock") as ours, listener(sockets / "other.sock") as other:
        stray, bystander, stranger = sleeper(ours), sleeper(), sleeper(other)
        (sockets / "s" / "a.sock").unlink()  # also when its name has gone
    try:
        assert end_strays(sockets / "s") == 1
        assert stray.wait(10) == -9
        assert bystander.poll() is None
        assert stranger.poll() is None
    finally:
        for process in (stray, bystander, stranger):
            process.kill()
            process.wait()


def test_who_asks_is_never_ended(sockets: Path) -> None:
    with listener(sockets / "a.sock"):
        assert end_strays(sockets) == 0
    assert os.getpid()


def test_nothing_there_is_nothing_to_do(sockets: Path) -> None:
    assert end_strays(sockets / "nowhere") == 0
