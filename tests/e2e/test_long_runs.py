"""Load and faults for longer than a developer waits: `make test-long`.

Seeded, so that a run that fails can be run again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.hub import HubProcess
from tests.support.identity import student
from tests.support.marimo import open_editor
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    editor,
    module_hub,
    servers_of,
    start,
    stop,
    until,
    workspace,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

_KILLS = 20
_CLASS = 30
_ROUNDS = 40


@pytest.fixture
def hub(uv_cache: Path, run_directory: Path) -> Iterator[HubProcess]:
    with module_hub("long", SharedCaches(uv_cache, run_directory)) as hub:
        yield hub


async def test_twenty_kills_of_the_hub_at_random_moments_lose_no_session_and_no_save(
    hub: HubProcess, chance: random.Random
) -> None:
    start(hub, "alice")
    kernel = [process.pid for process in servers_of("alice")]
    for number in range(_KILLS):
        async with open_editor(editor(hub, "alice")) as tab:
            await tab.edit(0, f"saved = {number}")
            await tab.save()
        await asyncio.sleep(chance.uniform(0, 0.3))
        hub.kill()
        saved = (workspace(hub, "alice") / f"{TINY}.py").read_text("utf-8")
        assert f"saved = {number}" in saved
        hub.restart()
        start(hub, "alice")
        assert [process.pid for process in servers_of("alice")] == kernel


async def test_a_class_that_comes_at_once_is_served_to_the_last(hub: HubProcess) -> None:
    """Cold starts: slow on two cores, but nobody is refused and nobody gets another's notebook."""
    users = [f"student-{number}" for number in range(_CLASS)]

    async def come(user: str) -> None:
        async with httpx.AsyncClient(
            base_url=hub.url, headers=student(user), timeout=600, trust_env=False
        ) as client:
            answer = await client.post(f"/start-edit-deep/{TINY}")
        assert answer.status_code == httpx.codes.OK, answer.text
        assert answer.json()["url"] == f"edit/user/{user}/{TINY}/"

    await asyncio.gather(*map(come, users))
    assert all(len(servers_of(user)) == 1 for user in users)
    await asyncio.gather(*(asyncio.to_thread(stop, hub, user) for user in users))
    assert not any(servers_of(user) for user in users)


def test_starting_and_stopping_for_long_leaves_nothing_behind(hub: HubProcess) -> None:
    start(hub, "alice")
    stop(hub, "alice")
    process = psutil.Process(hub.pid)
    descriptors, below = process.num_fds(), _below(process)
    for _ in range(_ROUNDS):
        start(hub, "alice")
        assert stop(hub, "alice")
    # Fewer, if something was still going on after the first start.
    until(lambda: _below(process) <= below)
    assert process.num_fds() <= descriptors + 5


def _below(process: psutil.Process) -> int:
    """How many processes the hub has, its supervisor's among them."""
    return len(process.children(recursive=True))
