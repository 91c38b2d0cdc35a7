"""A hub that restarts under a class at work, its supervisor a service of its own.

sessions.md, "Its life".
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.e2e.test_durability import supervisor_of
from tests.support.disconnect import hang_up
from tests.support.hub import HubProcess
from tests.support.identity import instructor
from tests.support.process import ServerProcess
from tests.support.shared_hub import SharedCaches, module_hub, servers_of
from tests.support.shipped_hub import shipped_hub
from tests.support.student_workers import Worker, at_work, soon

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

_CLASS = 20
_BREAKS = 12
_ATTEMPTS = 200
"""A page of marimo's goes on trying for longer than this many of our clients' attempts take."""


@pytest.fixture(params=["cold", "warm"])
def hub(request: pytest.FixtureRequest, caches: SharedCaches) -> Iterator[HubProcess]:
    kept = {"limits.warm_environments": 8 if request.param == "warm" else 0}
    with shipped_hub(f"restart-{request.param}", caches, kept) as (
        hub,
        _,
    ):
        yield hub


@pytest.fixture
def own_hub(caches: SharedCaches) -> Iterator[HubProcess]:
    """A hub that started its supervisor itself."""
    settings = {"limits.warm_environments": 8}
    with module_hub("broken-connection", caches, settings=settings) as hub:
        yield hub


@pytest.mark.parametrize("ending", [ServerProcess.stop, ServerProcess.kill], ids=["stop", "kill"])
async def test_a_class_at_work_loses_no_session_when_the_hub_restarts(
    hub: HubProcess, ending: Callable[[ServerProcess], object]
) -> None:
    """SIGTERM, as an upgrade does, and SIGKILL, as a crash."""
    workers = [Worker(hub, f"student-{number}", breath=1.0) for number in range(_CLASS)]
    await _start_all(workers)
    async with at_work(*workers):
        await asyncio.gather(*(worker.goes_on() for worker in workers))
        kernels = {worker.name: list(worker.kernels) for worker in workers}
        sessions = _sessions(hub)
        assert len(sessions) == _CLASS
        await asyncio.to_thread(ending, hub)
        begun, steps = time.monotonic(), {worker.name: worker.steps for worker in workers}
        await asyncio.to_thread(hub.restart)
        healthy = time.monotonic() - begun
        await soon(
            lambda: all(worker.steps > steps[worker.name] for worker in workers),
            lambda: str([worker.told() for worker in workers]),
        )
        print(f"restarted in {healthy:.2f} s, all at work after {time.monotonic() - begun:.2f} s")
    assert {worker.name: worker.kernels for worker in workers} == kernels, "the same kernels"
    assert _sessions(hub) == sessions
    for worker in workers:
        assert 1 <= worker.cuts <= _ATTEMPTS, worker.told()
        assert worker.saved() >= worker.acknowledged, worker.told()


async def test_a_class_at_work_loses_no_session_when_the_supervisors_connection_breaks(
    own_hub: HubProcess, chance: random.Random
) -> None:
    """Cut, and cut while the supervisor is stopped, at random moments."""
    hub = own_hub
    workers = [Worker(hub, f"student-{number}", breath=1.0) for number in range(_CLASS)]
    await _start_all(workers)
    supervisor = supervisor_of(hub)
    socket = str(hub.course.parent / "run" / "supervisor.sock")
    async with at_work(*workers):
        await asyncio.gather(*(worker.goes_on() for worker in workers))
        kernels = {worker.name: list(worker.kernels) for worker in workers}
        sessions = _sessions(hub)
        assert len(sessions) == _CLASS
        passing = [Worker(hub, f"passing-{number}") for number in range(_BREAKS)]
        for number, visitor in enumerate(passing):
            coming = asyncio.create_task(visitor.start())
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(_break, supervisor, socket, stopped=number % 2 == 1)
            await coming
            await visitor.stop()
        await asyncio.gather(*(worker.goes_on() for worker in workers))
    assert supervisor.is_running()
    assert {worker.name: worker.kernels for worker in workers} == kernels, "the same kernels"
    assert [worker.told() for worker in workers if worker.cuts] == [], "no page noticed"
    await soon(lambda: _sessions(hub) == sessions, lambda: f"{_sessions(hub)}")
    for worker in workers:
        assert worker.saved() >= worker.acknowledged, worker.told()


def _break(supervisor: psutil.Process, socket: str, *, stopped: bool) -> None:
    """Cut what the supervisor has accepted; ``stopped``: while it does nothing for a moment."""
    if stopped:
        supervisor.suspend()
    try:
        assert hang_up([supervisor.pid], socket)
    finally:
        if stopped:
            supervisor.resume()


async def _start_all(workers: list[Worker]) -> None:
    turns = asyncio.Semaphore(4)

    async def begin(worker: Worker) -> None:
        async with turns:
            await worker.begin()

    await asyncio.gather(*map(begin, workers))


def _sessions(hub: HubProcess) -> set[tuple[str, int]]:
    """Return the sessions that the hub lists, with their processes."""
    with hub.client(instructor()) as client:
        names = [row["username"] for row in client.get("/sessions").json()]
    return {(name, server.pid) for name in names for server in servers_of(name)}
