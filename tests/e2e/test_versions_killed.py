"""kill -9 while copies are edited, reset and merged: each acknowledged save is in the timeline.

The moments are random; ``make test-long`` prints the seed, so that a run that fails can be repeated
with ``MOGRADER_TEST_SEED``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from mograder.store.database.database import open_engine
from mograder.store.versions.versions import Origin, Version, Versions
from tests.e2e.test_durability import supervisor_of
from tests.support.hub import HubProcess
from tests.support.identity import instructor, student
from tests.support.marimo import MarimoClient
from tests.support.sandbox_processes import parts_of
from tests.support.shared_hub import TINY, SharedCaches, module_hub, notebook
from tests.support.student_workers import CUT, Worker
from tests.support.uids import uid_of

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="the parts are told apart by their uids"),
]

HUB, SUPERVISOR, SERVER, KERNEL, RESET, MERGE, STOP = (
    "hub",
    "supervisor",
    "server",
    "kernel",
    "reset",
    "merge",
    "stop",
)
KINDS = (HUB, SERVER, RESET, KERNEL, MERGE, STOP, SERVER, RESET, SUPERVISOR, MERGE)
_SAVED = re.compile(rb"saved = (\d+)")


@pytest.fixture
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    with module_hub("versions-killed", caches) as hub:
        yield hub


@dataclass
class Saver(Worker):
    """A student who saves one state after another; ``confirmed`` are those that were answered."""

    confirmed: list[int] = field(default_factory=list)
    resets: int = 0

    async def step(self, tab: MarimoClient) -> None:
        await super().step(tab)
        self.confirmed.append(self.acknowledged)

    async def keep_on(self) -> None:
        """Start the session and save, again and again, until cancelled."""
        while True:
            with contextlib.suppress(*CUT):
                answer = await self.start()
                if answer.status_code == httpx.codes.OK:
                    await self.use()
            await asyncio.sleep(self.breath)

    async def reset(self) -> None:
        """Put the release in the copy's place, as the button does."""
        self.resets += await self._press("reset")
        self.clear_away()

    async def take_update(self) -> None:
        """Have the offered release merged into the copy, as the button does."""
        with contextlib.suppress(*CUT):
            await self._press("update")

    async def _press(self, button: str) -> bool:
        async with httpx.AsyncClient(
            base_url=self.hub.url, headers=student(self.name), timeout=60, trust_env=False
        ) as client:
            answer = await client.post(f"/{button}/{self.name}/{self.item}")
        return answer.status_code == httpx.codes.OK

    def clear_away(self) -> None:
        """Remove the earlier versions in the folder, which have a bound of their own."""
        for path in (self.hub.course / "hub-notebooks" / self.name / self.item).glob("*.bak.*"):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("rounds", [len(KINDS), pytest.param(200, marks=pytest.mark.long)])
async def test_each_acknowledged_save_is_in_the_timeline(
    hub: HubProcess, chance: random.Random, rounds: int
) -> None:
    saver = Saver(hub, "victim")
    saving = asyncio.create_task(saver.keep_on())
    try:
        for number in range(rounds):
            await _saves_again(saver, saving)
            await asyncio.sleep(chance.uniform(0, 1.2))
            await _strike(KINDS[number % len(KINDS)], saver, chance)
        await _saves_again(saver, saving)
    finally:
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
    await saver.stop()
    timeline = versions(hub, saver)
    recorded = {int(found[1]) for _, text in timeline for found in _SAVED.finditer(text)}
    lost = sorted(set(saver.confirmed) - recorded)
    assert lost == [], f"{len(lost)} of {len(saver.confirmed)} saves are not in the timeline"
    assert saver.resets > 0
    causes = {Origin.RELEASE, Origin.EDITOR, Origin.RESET, Origin.MERGE}
    assert {each.origin for each, _ in timeline} >= causes
    print(f"{len(saver.confirmed)} saves confirmed, {len(timeline)} versions")


def versions(hub: HubProcess, saver: Saver) -> list[tuple[Version, bytes]]:
    """The timeline, each text read back, the newest first."""
    engine = open_engine(f"sqlite:///{hub.course / '.mograder' / 'hub.db'}")
    try:
        kept = Versions(engine)
        found = kept.all(saver.name, saver.item)
        return [(each, kept.text(saver.name, saver.item, each.number)) for each in found]
    finally:
        engine.dispose()


async def _saves_again(saver: Saver, saving: asyncio.Task[None]) -> None:
    before = len(saver.confirmed)
    async with asyncio.timeout(120):
        while len(saver.confirmed) == before:
            assert not saving.done(), saving.exception()
            await asyncio.sleep(0.02)


def correct(hub: HubProcess) -> None:
    """Publish a corrected release, with a further cell, and offer it to those with a copy."""
    cell = f"@app.cell\ndef _():\n    'corrected at {time.monotonic_ns()}'\n    return\n\n\n"
    text = notebook().replace("if __name__ ==", f"{cell}if __name__ ==")
    with hub.client(instructor()) as client:
        files = [("files", (f"{TINY}.py", text.encode()))]
        published = client.post(f"/publish/{TINY}", params={"type": "assignment"}, files=files)
        assert published.json()["status"] == "ok"
        assert client.post(f"/updates/{TINY}").is_success


async def _kill_hub(hub: HubProcess) -> None:
    await asyncio.to_thread(hub.kill)
    await asyncio.to_thread(hub.restart)


async def _merge(saver: Saver, chance: random.Random) -> None:
    """Kill the hub while it merges a correction into the copy; the next start goes on with it."""
    await asyncio.to_thread(correct, saver.hub)
    taking = asyncio.create_task(saver.take_update())
    await asyncio.sleep(chance.uniform(0, 0.5))
    await _kill_hub(saver.hub)
    await taking


async def _strike(kind: str, saver: Saver, chance: random.Random) -> None:
    """Kill a part, or end the session in another way."""
    hub = saver.hub
    if kind == HUB:
        await _kill_hub(hub)
    elif kind == RESET:
        await saver.reset()
    elif kind == MERGE:
        await _merge(saver, chance)
    elif kind == STOP:
        await saver.stop()
    elif kind == SUPERVISOR:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor_of(hub).kill()
    else:
        with contextlib.suppress(psutil.NoSuchProcess, KeyError, FileNotFoundError):
            parts_of(uid_of(hub, saver.name, TINY))[kind].kill()
