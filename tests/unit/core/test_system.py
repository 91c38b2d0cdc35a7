"""The system that this process runs on."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from mograder.core.operating_system import (
    allow_open_files,
    ending_signals,
    is_another_user,
    system_of,
    tcp_sockets,
)
from tests.support.process import hang_up


@pytest.mark.parametrize(
    ("platform", "system"),
    [("linux", "linux"), ("darwin", "macos"), ("win32", "windows"), ("freebsd14", "macos")],
)
def test_a_platform_of_python_is_one_of_three_systems(platform: str, system: str) -> None:
    assert system_of(platform) == system


SERVER, PEER = 2718, 40_000
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def row(local: int, remote: int, state: str, uid: int) -> str:
    zeros = "00000000:00000000 00:00000000 00000000"
    return f"   0: 0100007F:{local:04X} 0100007F:{remote:04X} {state} {zeros} {uid:5d} 0 1\n"


USERS = (1000, 0)
LISTENS = row(SERVER, 0, "0A", 1000)
SERVES = row(SERVER, PEER, "01", 1000)


@pytest.mark.parametrize(
    ("rows", "foreign"),
    [
        ("", False),
        (LISTENS + SERVES + row(PEER, SERVER, "01", 1000), False),
        (LISTENS + SERVES + row(PEER, SERVER, "01", 0), False),
        (LISTENS + SERVES + row(PEER, SERVER, "01", 65_534), True),
        (LISTENS + SERVES + row(PEER, SERVER, "04", 0), True),
        (LISTENS + SERVES, False),
        (LISTENS + row(PEER, 1, "01", 1000), True),
    ],
    ids=["no-table", "own", "root", "stranger", "closed", "outside", "gone"],
)
def test_a_connection_of_another_user_is_told(tmp_path: Path, rows: str, foreign: bool) -> None:
    """A closed connection has no owner: what was sent before would count as root's."""
    (tmp_path / "tcp").write_text(HEADER + rows)
    assert is_another_user(tcp_sockets(tmp_path / "tcp"), SERVER, PEER, USERS) is foreign


def test_a_server_may_open_as_many_files_as_its_hard_limit_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, wanted), hard))
    try:
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_higher_limit_of_open_files_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100_000, 200_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    allow_open_files()
    assert set_to == []


@pytest.mark.parametrize(("how", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_the_end_of_its_terminal_ends_a_server_except_below_nohup(
    how: signal.Handlers, ends: bool
) -> None:
    with hang_up(how):
        assert (signal.SIGHUP in ending_signals()) == ends
