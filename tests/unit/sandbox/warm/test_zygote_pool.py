"""The zygotes that a supervisor keeps: none is lost sight of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.environments.record import RECORD
from mograder.sandbox.isolation.bwrap import BwrapRunner
from mograder.sandbox.isolation.policy import Host
from mograder.sandbox.warm import pool as pool_module
from mograder.sandbox.warm.pool import ZygotePool, identity_of
from tests.support.supervisors import shell_environment


class Group:
    """A zygote group without processes."""

    starting = 0
    template = None
    retired = False

    def __init__(self, _runner: object, _host: object, environment: Path, *_: object) -> None:
        self.environment = environment
        self._identity = identity_of(environment)
        made.append(self)

    def is_of(self, identity: tuple[int, ...]) -> bool:
        return identity == self._identity

    def memory(self) -> int:
        return 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        yield

    async def ready(self) -> bool:
        return True

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
