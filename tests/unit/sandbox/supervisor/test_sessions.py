"""Starting a session never blocks the supervisor's loop, and leaves nothing where it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from mograder.core.clock import boot_time
from mograder.core.errors import Conflict, SandboxUnavailable
from mograder.sandbox.isolation.bwrap import PlainRunner, Runner, Start
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.limits.cgroup2 import SessionGroup, SessionGroups
from mograder.sandbox.protocol import Ended, Limits, Mode, News, NotebookRequest, StartSession
from mograder.sandbox.supervisor.sessions import HostLimits, SessionTable
from tests.support.supervisors import (
    PATIENCE,
    lease_time,
    shell_environment,
    short_directory,
    until,
)


class SlowGroups:
    """Cgroups of a kernel that lets a mkdir wait, and then refuses it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answer = threading.Event()

    def make(self, session_id: str, limits: Limits) -> SessionGroup:
        del session_id, limits
        self.asked.set()
        assert self.answer.wait(PATIENCE)
        raise OSError("no room in the tree")


@pytest.fixture
def runtime() -> Iterator[Path]:
    with short_directory() as directory:
        (directory / "s").mkdir()
        yield directory


def _unheard(_: Ended | News) -> None:
    """Ignore the result."""


async def _as_it_is(_: NotebookRequest) -> dict[str, Path]:
    """Prepare nothing."""
    return {}


def _request(place: Path) -> StartSession:
    (place / "A1.py").write_text("# a notebook\n")
    return StartSession(
        session_id="session-a",
        mode=Mode.EDIT,
        directory=place,
        notebook="A1.py",
        environment=shell_environment(place / "environment", "exit"),
        base_url="/edit/user/alice/A1",
        uid_slot=1,
        limits=Limits(processes=64, open_files=256, file_size_mb=16, tmp_mb=32),
    )


async def test_a_cgroup_that_is_slow_to_make_blocks_nobody_else(
    runtime: Path, tmp_path: Path
) -> None:
    groups = SlowGroups()
    session_table = SessionTable(
        PlainRunner(None, None),
        cast(Host, None),  # no plan is ever made
        runtime,
        _unheard,
        _unheard,
        _as_it_is,
        bounds=HostLimits(groups=cast(SessionGroups, groups)),
    )
    request = _request(tmp_path)
    starting = asyncio.create_task(session_table.start(request))
    await until(groups.asked.is_set)  # the loop goes on meanwhile
    with pytest.raises(Conflict):
        await session_table.start(request)
    stopping = asyncio.create_task(session_table.stop(request.session_id))
    groups.answer.set()
    with pytest.raises(SandboxUnavailable, match="no room in the tree"):
        await starting
    assert await stopping is False
    assert list((runtime / "s").iterdir()) == []


class FakeSandbox:
    """A program that ends when it is told to, as marimo does at a SIGTERM."""

    def __init__(self) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end_gently(self) -> None:
        self.exited.set_result(143)

    def end(self) -> None:
        self.exited.set_result(137)


class FakeRunner:
    """Starts nothing."""

    kind = "fake"

    def start(self, start: Start) -> FakeSandbox:
        del start
        return FakeSandbox()

    def reach(self, path: Path) -> None:
        """Every path can be reached."""

    def give(self, directory: Path, uid_slot: int) -> None:
        """There is one user."""


class KeptTree(SessionGroups):
    """Cgroups in an ordinary directory, which is not removed."""

    def close(self) -> bool:
        return True


async def _ended_by(
    end: Callable[[SessionTable], Awaitable[object] | None],
    runtime: Path,
    place: Path,
    groups: SessionGroups | None = None,
) -> Ended:
    """Start a session, have it ended, and return how its end is told."""
    told: list[Ended] = []
    host = Host(place, place, place, place, place, links=())
    runner = cast(Runner, FakeRunner())
    bounds = HostLimits(groups)
    table = SessionTable(runner, host, runtime, told.append, _unheard, _as_it_is, bounds=bounds)
    await table.start(_request(place))
    if (ending := end(table)) is not None:
        await ending
    await until(lambda: bool(told))
    await table.end_all()
    (gone,) = told
    return gone


async def test_an_end_with_the_supervisor_is_told_as_that_and_as_no_crash(
    runtime: Path, tmp_path: Path
) -> None:
    """Students read that the server was restarted, as after ``systemctl restart``."""
    gone = await _ended_by(lambda table: table.end_all(), runtime, tmp_path)
    assert (gone.status, gone.asked, gone.reason) == (143, False, "lost")


async def test_an_end_with_the_lease_is_told_as_that_of_the_machine(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub hears of it if the node has connected again by then."""

    def lapse(table: SessionTable) -> None:
        table.lease.hold(boot_time() + 3600)
        lease_time(monkeypatch, 3600)

    gone = await _ended_by(lapse, runtime, tmp_path)
    assert (gone.status, gone.asked, gone.reason) == (137, False, "machine")


async def test_a_session_that_a_hub_stops_has_no_reason_of_ours(
    runtime: Path, tmp_path: Path
) -> None:
    gone = await _ended_by(lambda table: table.stop("session-a"), runtime, tmp_path)
    assert (gone.asked, gone.reason) == (True, "")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ("oom 0\noom_kill 0\n", ""),
        ("oom 1\noom_kill 1\n", "memory"),
        ("oom 0\noom_kill 1\n", "shortage"),
    ],
)
async def test_a_kill_by_the_kernel_is_told_as_what_ran_out_of_memory(
    runtime: Path, tmp_path: Path, events: str, reason: str
) -> None:
    leaf = tmp_path / "sessions-course/session-a"
    leaf.parent.mkdir()

    def kill(table: SessionTable) -> Awaitable[object]:
        (leaf / "memory.events").write_text(events)
        (leaf / "pids.events").write_text("max 0\n")
        return table.end("session-a")

    gone = await _ended_by(kill, runtime, tmp_path, KeptTree(tmp_path, "course"))
    assert gone.reason == reason
