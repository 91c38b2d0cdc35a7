"""Messages from and to a service manager."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.settings import read_environ
from mograder.core.systemd import NO_SERVICE, READY, Service


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's end of the conversation."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        yield heard


def test_the_manager_hears_that_the_service_is_ready(manager: socket.socket) -> None:
    Service(notify_socket=manager.getsockname()).tell(READY, "STATUS=Serving")
    assert manager.recv(100) == b"READY=1\nSTATUS=Serving"


def test_a_manager_whose_socket_has_no_file_hears_it_too() -> None:
    name = f"mograder-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        heard.settimeout(10)
        Service(notify_socket=f"@{name}").tell(READY)
        assert heard.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    Service(notify_socket=str(tmp_path / "gone")).tell(READY)


async def test_signs_of_life_come_from_the_loop_for_as_long_as_the_block_lasts(
    manager: socket.socket,
) -> None:
    manager.setblocking(False)
    loop = asyncio.get_running_loop()
    service = Service(notify_socket=manager.getsockname(), watchdog_seconds=0.03)
    async with service.kept_alive():
        for _ in range(3):
            assert await asyncio.wait_for(loop.sock_recv(manager, 100), 10) == b"WATCHDOG=1"
    while True:
        try:
            manager.recv(100)
        except BlockingIOError:
            break
    assert len(asyncio.all_tasks()) == 1, "nothing of it is left"


def test_what_is_meant_for_another_process_counts_as_absent() -> None:
    other, own = str(os.getpid() + 1), str(os.getpid())
    theirs = {"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": other, "LISTEN_FDS": "1"}
    assert Service.found_in({**theirs, "LISTEN_PID": other}) == NO_SERVICE
    ours = Service.found_in({**theirs, "WATCHDOG_PID": own, "LISTEN_PID": own})
    assert (ours.watchdog_seconds, ours.sockets) == (6.0, 1)


def test_b13_started_by_hand_or_by_a_plain_unit_there_is_no_manager() -> None:
    """B13: Type=simple, none of systemd's variables."""
    assert Service.found_in({}) == NO_SERVICE
    NO_SERVICE.tell(READY)
    assert NO_SERVICE.listeners() == ()


def test_standard_error_is_the_journals_only_while_it_is_the_same_file(tmp_path: Path) -> None:
    """A redirected service must not write priorities into a file."""
    with (tmp_path / "log").open("w") as log:
        status = os.fstat(log.fileno())
        stream = f"{status.st_dev}:{status.st_ino}"
        before, sys.stderr = sys.stderr, log
        try:
            assert Service.found_in({"JOURNAL_STREAM": stream}).journal
            assert not Service.found_in({"JOURNAL_STREAM": f"{stream}1"}).journal
            assert not Service.found_in({}).journal
        finally:
            sys.stderr = before


@pytest.mark.parametrize(
    ("name", "variable", "other"),
    [
        ("hub_secret", "MOGRADER_HUB_SECRET", "oidc_secret"),
        ("oidc_secret", "MOGRADER_OIDC_SECRET", "hub_secret"),
    ],
)
def test_b11_a_secret_comes_from_systemds_credential_of_its_own(
    tmp_path: Path, name: str, variable: str, other: str
) -> None:
    """B11: LoadCredential=hub-secret:/etc/mograder/hub-secret; the variable (B15) wins."""
    (tmp_path / name.replace("_", "-")).write_text("from the file\n")
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    found = read_environ(credentials)
    assert getattr(found, name).get_secret_value() == "from the file"
    assert getattr(found, other) is None
    both = read_environ({**credentials, variable: "from the variable"})
    assert getattr(both, name).get_secret_value() == "from the variable"


def test_a_credential_that_is_missing_or_empty_is_no_secret(tmp_path: Path) -> None:
    assert read_environ({"CREDENTIALS_DIRECTORY": str(tmp_path)}).hub_secret is None
    (tmp_path / "hub-secret").write_text("\n")
    assert read_environ({"CREDENTIALS_DIRECTORY": str(tmp_path)}).hub_secret is None
