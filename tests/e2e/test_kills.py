"""kill -9 of any part at any moment: other sessions run on, nothing is lost or left behind.

The moments are random; ``make test-long`` prints the seed, so that a round that fails can be run
again with ``MOGRADER_TEST_SEED``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.e2e.test_durability import supervisor_of
from tests.support.hub import HubProcess
from tests.support.sandbox_processes import parts_of, remains, zygotes
from tests.support.shared_hub import TINY, SharedCaches, module_hub
from tests.support.student_workers import CUT, Worker, at_work, soon
from tests.support.uids import owned_by, uid_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="the parts are told apart by their uids"),
]

PARTS = ("first process", "monitor", "server", "kernel")
HUB, ZYGOTE, SUPERVISOR = "hub", "zygote", "supervisor"
_ROUNDS = 200


@pytest.fixture(params=["cold", "warm"])
def hub(request: pytest.FixtureRequest, caches: SharedCaches) -> Iterator[HubProcess]:
    settings = {"limits.warm_environments": 8 if request.param == "warm" else 0}
    with module_hub(f"kills-{request.param}", caches, settings=settings) as hub:
        yield hub
        hub.stop()
        assert remains(hub) == {}


async def test_a_kill_of_any_part_at_any_moment_disturbs_and_loses_nothing(
    hub: HubProcess, chance: random.Random
) -> None:
    others = [Worker(hub, "alice"), Worker(hub, "bob")]
    for other in others:
        await other.begin()
    field = Field(hub, others, Worker(hub, "victim"), chance)
    kinds = [*PARTS, HUB, ZYGOTE, SUPERVISOR] if zygotes() else [*PARTS, HUB]
    async with at_work(*others):
        for number in range(_ROUNDS):
            # Each comes about as often as the others; the supervisor's end ends all, so rarely.
            kind = kinds[number % len(kinds)]
            await field.round(kind)
    print([other.told() for other in others])


class Field:
    """Two students who work, one whose processes are killed, and the hub."""

    def __init__(
        self,
        hub: HubProcess,
        others: list[Worker],
        victim: Worker,
        chance: random.Random,
    ) -> None:
        self._hub = hub
        self._others = others
        self._victim = victim
        self._chance = chance

    async def round(self, kind: str) -> None:
        """Let the victim work, kill one part, and see what everybody has afterwards."""
        for other in self._others:
            await other.goes_on()
        before = [(list(other.kernels), other.cuts) for other in self._others]
        using = asyncio.create_task(self._use())
        try:
            await self._kill(kind)
        finally:
            await _ended(using, kind)
        if kind == SUPERVISOR:
            await self._all_gone()
            for other in self._others:
                await other.begin()
        for other in self._others:
            await other.goes_on()
        if kind not in (HUB, SUPERVISOR):
            now = [(other.kernels, other.cuts) for other in self._others]
            assert now == before, f"killing a {kind} cut off: {self._others}"
        if kind == HUB:
            kernels = [other.kernels for other in self._others]
            assert kernels == [kernels for kernels, _ in before], "sessions outlive the hub"
        await self._comes_back(kind)
        self._nothing_was_lost()

    async def _use(self) -> None:
        """Start and work until interrupted; an interrupted start must fail with a message."""
        answer = await self._victim.start()
        if answer.status_code == httpx.codes.OK:
            await self._victim.use()
        assert answer.status_code in (502, 503, 504), answer.text
        assert answer.json()["detail"]

    async def _kill(self, kind: str) -> None:
        if kind == HUB:
            await asyncio.sleep(self._chance.uniform(0, 1.5))
            await asyncio.to_thread(self._hub.kill)
            await asyncio.to_thread(self._hub.restart)
            return
        if kind in PARTS:
            await soon(lambda: kind in self._parts(), lambda: f"no {kind}: {self._parts()}")
        if kind == ZYGOTE:
            await soon(lambda: bool(zygotes()), lambda: "no zygote")
        await asyncio.sleep(self._chance.uniform(0, 0.8))
        with contextlib.suppress(psutil.NoSuchProcess, KeyError, IndexError):
            self._target(kind).kill()

    def _target(self, kind: str) -> psutil.Process:
        if kind == ZYGOTE:
            return zygotes()[0]
        return supervisor_of(self._hub) if kind == SUPERVISOR else self._parts()[kind]

    def _parts(self) -> dict[str, psutil.Process]:
        try:
            return parts_of(uid_of(self._hub, self._victim.name, TINY))
        except FileNotFoundError:  # not even a workspace yet
            return {}

    async def _all_gone(self) -> None:
        """A supervisor takes everything along that it started; the next one starts anew."""
        uids = [uid_of(self._hub, other.name, TINY) for other in self._others]
        await soon(
            lambda: not any(map(owned_by, uids)),
            lambda: f"what a killed supervisor started lives on: {list(map(owned_by, uids))}",
        )
        for other in self._others:
            other.kernels.clear()

    async def _comes_back(self, kind: str) -> None:
        """The next start works, and stopping it leaves nothing."""
        await self._victim.begin()
        try:
            await self._victim.computes()
        except CUT as cut:
            raise AssertionError(f"after killing a {kind}, the next start fails: {cut}") from cut
        await self._victim.stop()
        uid = uid_of(self._hub, self._victim.name, TINY)
        await soon(lambda: not owned_by(uid), lambda: f"left of a {kind}: {owned_by(uid)}")

    def _nothing_was_lost(self) -> None:
        for worker in (*self._others, self._victim):
            assert worker.saved() >= worker.acknowledged, worker.told()


async def _ended(using: asyncio.Task[None], kind: str) -> None:
    """Wait for the end of the victim's tab; what is still open after a while is closed."""
    await asyncio.wait({using}, timeout=1 if kind in (ZYGOTE, "kernel") else 40)
    using.cancel()
    with contextlib.suppress(asyncio.CancelledError, *CUT):
        await using
