"""Starting a session never blocks the supervisor's loop, and leaves nothing where it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from mograder.core.errors import Conflict, SandboxUnavailable
from mograder.sandbox.isolation.bwrap import PlainRunner
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.limits.cgroup2 import SessionGroup, SessionGroups
from mograder.sandbox.protocol import Ended, Limits, Mode, News, NotebookRequest, StartSession
from mograder.sandbox.supervisor.sessions import HostLimits, SessionTable
from tests.support.supervisors import PATIENCE, shell_environment, short_directory, until


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
    (tmp_path / "A1.py").write_text("# a notebook\n")
    request = StartSession(
        session_id="session-a",
        mode=Mode.EDIT,
        directory=tmp_path,
        notebook="A1.py",
        environment=shell_environment(tmp_path / "environment", "exit"),
        base_url="/edit/user/alice/A1",
        uid_slot=1,
        limits=Limits(processes=64, open_files=256, file_size_mb=16, tmp_mb=32),
    )
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
