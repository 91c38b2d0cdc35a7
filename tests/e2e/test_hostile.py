"""Hostile sessions side by side, and one ordinary student.

The ordinary student's time is measured and printed here; ``bench/`` has its budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from tests.support import bombs
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.marimo import open_editor
from tests.support.sandbox_processes import remains
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    editor,
    module_hub,
    servers_of,
    until,
    workspace,
)
from tests.support.student_workers import CUT, Worker, soon
from tests.support.uids import owned_by, uid_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="what is whose is told apart by uids"),
]

LIMITS = {"memory_mb": 600, "processes": 100, "workspace_mb": 100, "file_size_mb": 64}
ENDED_FOR = {"forker": "processes", "leaver": "processes", "eater": "memory", "filler": "folder"}
"""Bombs that must be ended, and a word of the explanation. The others are slowed."""

_SLACK = 2.0
"""A watchdog looks about once a second: so much more than a limit may be there for a moment."""

_ROUNDS = 3
_LOG_BYTES = 8 << 20


@pytest.fixture(params=["cold", "warm"])
def hub(request: pytest.FixtureRequest, caches: SharedCaches) -> Iterator[HubProcess]:
    settings: dict[str, object] = {f"limits.{name}": value for name, value in LIMITS.items()}
    settings["limits.warm_environments"] = 8 if request.param == "warm" else 0
    with module_hub(f"hostile-{request.param}", caches, settings=settings) as hub:
        if request.param == "warm":
            log = hub.course / ".mograder" / "supervisor.log"
            until(lambda: "is ready" in log.read_text())
        yield hub
        hub.stop()
        assert remains(hub) == {}


async def test_hostile_sessions_side_by_side_leave_a_student_in_peace(hub: HubProcess) -> None:
    sixth = Worker(hub, "sixth")
    alone = await _best_time(sixth)
    async with contextlib.AsyncExitStack() as open_tabs:
        for user, code in bombs.ALL.items():
            await open_tabs.enter_async_context(_let_go(hub, user, code))
        beside = await _best_time(sixth)
        excess = _excess(hub)
        print(f"alone {alone:.2f} s, beside the hostile {beside:.2f} s: {beside / alone:.1f} times")
        assert hub.healthy()
        assert os.getpriority(os.PRIO_PROCESS, hub.pid) < 0, "the hub goes before all sessions"
        assert excess == {}, "everybody is within limits"
        for user in ENDED_FOR:
            await _is_ended(user)
        again = await _best_time(sixth)
        print(f"and once those were ended: {again:.2f} s: {again / alone:.1f} times")
    for user, word in ENDED_FOR.items():
        assert word in _dashboard(hub, user), user
    for user in ("flooder", "spinner"):
        await Worker(hub, user).stop()
        await _is_gone(hub, user)
    supervisor_log = (hub.course / ".mograder" / "supervisor.log").read_text()
    assert "does not collect" not in supervisor_log, "no zygote is blamed for who is slow to die"
    logs = [*hub.course.glob(".mograder/*.log"), hub.log]
    assert all(log.stat().st_size < _LOG_BYTES for log in logs), "the flood is in no log"


@pytest.mark.parametrize("user", ENDED_FOR)
async def test_one_hostile_session_is_ended_with_its_reason_and_can_start_again(
    hub: HubProcess, user: str
) -> None:
    neighbour = Worker(hub, "neighbour")
    await neighbour.begin()
    async with _let_go(hub, user, bombs.ALL[user]):
        await _is_ended(user)
        await _is_gone(hub, user)
    await neighbour.computes()
    assert ENDED_FOR[user] in _dashboard(hub, user)
    if user == "filler":
        _remove_what_fills(hub, user)
    worker = Worker(hub, user)
    await worker.begin()
    await worker.computes()


@contextlib.asynccontextmanager
async def _let_go(hub: HubProcess, user: str, code: str) -> AsyncIterator[None]:
    """Start a session and run this code in its cell, without waiting for the result."""
    await Worker(hub, user).begin()
    with contextlib.suppress(*CUT):
        async with open_editor(editor(hub, user), run=False) as tab:
            running = asyncio.create_task(tab.edit(0, code))
            try:
                yield
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


async def _is_ended(user: str) -> None:
    await soon(lambda: not servers_of(user), lambda: f"{user} runs on")


async def _is_gone(hub: HubProcess, user: str) -> None:
    await soon(
        lambda: not owned_by(uid_of(hub, user, TINY)), lambda: f"the bomb of {user} lives on"
    )


async def _best_time(worker: Worker) -> float:
    """The quickest of some starts with a cell run: what the machine can do."""
    times = []
    for _ in range(_ROUNDS):
        begun = time.monotonic()
        await worker.begin()
        await worker.computes()
        times.append(time.monotonic() - begun)
        await worker.stop()
    return min(times)


def _excess(hub: HubProcess) -> dict[str, str]:
    """Return the sessions that exceed a limit, with their usage.

    Files are not among them: between two looks a fast disk takes gigabytes. That the session is
    ended for them is checked afterwards.
    """
    found = {}
    for user in bombs.ALL:
        processes = owned_by(uid_of(hub, user, TINY))
        memory = sum(map(_memory, processes)) >> 20
        bounds = (LIMITS["processes"], LIMITS["memory_mb"])
        has = (len(processes), memory)
        if any(have > _SLACK * bound for have, bound in zip(has, bounds, strict=True)):
            found[user] = f"processes, memory: {has}"
    return found


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def _dashboard(hub: HubProcess, user: str) -> str:
    """Return the text of the student's first page, without markup."""
    with hub.client(from_proxy(user)) as client:
        return re.sub(r"<[^>]*>", " ", client.get("/").text)


def _remove_what_fills(hub: HubProcess, user: str) -> None:
    for path in workspace(hub, user).glob("fill-*"):
        path.unlink()
