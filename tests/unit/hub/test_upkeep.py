"""The environments of published items while a hub serves."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import cast

from mograder.core.settings import load_settings
from mograder.hub.startup import upkeep
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.builder import Environment, Environments
from mograder.store.hub.hub_state import HubState
from mograder.store.releases.releases import Release, Releases
from tests.support.hub_app import NOTEBOOK, FakeEnvironments
from tests.support.releases import publish


class Share(Releases):
    """Releases on a share that does not answer the first time."""

    asked = 0

    def all(self) -> list[Release]:
        self.asked += 1
        if self.asked == 1:
            raise OSError(errno.ESTALE, "Stale file handle")
        return super().all()


class Builds(FakeEnvironments):
    """Environments of which none is built anew; ``prepared`` is set once one is there."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared = asyncio.Event()

    async def prepare(self, script: Script, progress: Callable[[str], None]) -> Environment:
        self.prepared.set()
        return await super().prepare(script, progress)

    async def next_build(self) -> None:
        await asyncio.Event().wait()


async def test_b96_items_that_cannot_be_listed_at_the_start_are_prepared_later(
    tmp_path: Path,
) -> None:
    releases, builds = Share(tmp_path / "releases"), Builds()
    publish(releases, {"A1.py": NOTEBOOK.encode()}, "A1")
    loaded, environments = load_settings(tmp_path, environ={}), cast(Environments, builds)
    state = cast(HubState, None)
    async with upkeep(loaded, releases, environments, state, again_seconds=0), asyncio.timeout(10):
        await builds.prepared.wait()
