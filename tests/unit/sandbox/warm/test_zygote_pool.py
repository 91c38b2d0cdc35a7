"""The zygotes that a supervisor keeps: none is lost sight of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.environments.record import RECORD
from mograder.sandbox.isolation.bwrap import BwrapRunner
from mograder.sandbox.isolation.bwrap_process import NotJoinedError
from mograder.sandbox.isolation.namespaces import Joined, Launch
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.warm import pool as pool_module
from mograder.sandbox.warm.pool import BOOT_SECONDS, ZygoteGroup, ZygotePool, identity_of
from tests.support.supervisors import shell_environment


class Group:
    """A zygote group without processes."""

    starting = 0
    can_fork = True
    template = None
    retired = False

    def __init__(self, _runner: object, _host: object, environment: Path, *_: object) -> None:
        self.environment = environment
        self.identity = identity_of(environment)
        made.append(self)

    def memory(self) -> int:
        return 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        yield

    async def arrival(self, seconds: float) -> None:
        pass

    def retire(self, on_end: Callable[[], None]) -> None:
        self.retired = True
        on_end()


made: list[Group] = []


async def test_the_zygote_of_an_environment_that_was_removed_ends_with_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "ZygoteGroup", Group)
    pool = ZygotePool(cast(BwrapRunner, None), cast(Host, None), kept=8, memory_mb=100)
    environment = shell_environment(tmp_path / "environment", "exit")
    assert await pool.warm(environment)
    (environment / RECORD).unlink()
    with pytest.raises(SandboxUnavailable, match="no finished environment"):
        await pool.warm(environment)
    await pool.close()
    assert [group.retired for group in made] == [True]


class SlowOnce:
    """A runner whose first group does not stand in time, on a machine that was just booted."""

    uid_base = None

    def __init__(self) -> None:
        self.founded: list[Founded] = []

    async def found(self, *_: object) -> Founded:
        self.founded.append(Founded(stands=bool(self.founded)))
        return self.founded[-1]


class Founded:
    holder = -1

    def __init__(self, *, stands: bool) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stands = stands

    async def stand(self) -> None:
        if not self._stands:
            raise NotJoinedError("sandbox")
        self.holder = 77

    def end(self) -> None:
        self.exited.set_result(0)


async def test_a_group_that_does_not_stand_in_time_is_ended_and_another_is_founded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next zygote would join nothing, and warm starts would be given up for minutes."""
    joined: list[object] = []

    def start(launch: Launch, *_: object, **__: object) -> None:
        joined.append(launch.place)
        raise PermissionError("enough is known")

    monkeypatch.setattr(pool_module, "ZygoteClient", start)
    host = Host(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, links=())
    runner = SlowOnce()
    environment = shell_environment(tmp_path / "environment", "exit")
    group = ZygoteGroup(cast(BwrapRunner, runner), host, environment)
    for _ in range(2):
        await group.arrival(BOOT_SECONDS)
        assert not group.can_fork
    first, second = runner.founded
    assert (first.exited.done(), second.exited.done()) == (True, False)
    assert [place.pidfd for place in joined if isinstance(place, Joined)] == [77]
