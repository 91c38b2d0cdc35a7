"""Connections to a session's socket are cut from outside; every other socket is left alone."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import psutil
import pytest

from bench.support.fronts import OWN_GROUP
from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.supervisor import disconnect
from mograder.sandbox.supervisor.config import group_of, prepare_runtime
from mograder.sandbox.supervisor.disconnect import hang_up


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_what_was_accepted_there_is_cut_and_nothing_else(tmp_path: Path) -> None:
    """security.md: sign-out closes the sockets of a capability, also on a front's fast path."""
    mine, other = tmp_path / "mine.sock", tmp_path / "other.sock"
    with _listening(mine) as listener, _listening(other) as elsewhere:
        clients = []
        held = []
        for path, at in ((mine, listener), (mine, listener), (other, elsewhere)):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(40)
            client.connect(str(path))
            clients.append(client)
            held.append(at.accept()[0])
        assert hang_up([os.getpid()], str(mine))
        assert [client.recv(1) for client in clients[:2]] == [b"", b""]
        held[2].send(b"x")
        assert clients[2].recv(1) == b"x"
        again = socket.socket(socket.AF_UNIX)
        again.connect(str(mine))  # it still listens
        for each in (*clients, *held, again):
            each.close()


def test_a_number_that_is_another_file_by_then_leaves_no_descriptor_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student's code can close a socket and open a file between the look and the borrowing."""
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setattr(disconnect, "sockets_of", lambda _: {file.fileno(): "1"})
        before = psutil.Process().num_fds()
        for _ in range(5):
            assert hang_up([os.getpid()], str(tmp_path / "s.sock"))
        assert psutil.Process().num_fds() == before
        file.write("it is still open")


def test_a_process_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    assert hang_up([2**22 - 1], str(tmp_path / "s.sock"))


def test_the_group_may_pass_through_and_list_nothing(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    os.close(prepare_runtime(runtime, group_of(OWN_GROUP)))
    for directory in (runtime, runtime / "s"):
        status = directory.stat()
        assert status.st_gid == os.getegid()
        assert stat.S_IMODE(status.st_mode) & 0o066 == 0
        assert status.st_mode & stat.S_IXGRP


def test_without_a_group_nobody_else_may(tmp_path: Path) -> None:
    assert group_of("") is None
    os.close(prepare_runtime(tmp_path / "run"))
    assert stat.S_IMODE((tmp_path / "run" / "s").stat().st_mode) == 0o700


def test_a_group_that_is_not_there_is_told() -> None:
    with pytest.raises(SandboxUnavailable, match="no-such-group") as refused:
        group_of("no-such-group")
    assert "groupadd" in refused.value.hint
