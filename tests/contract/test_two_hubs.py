"""Two hub processes, PostgreSQL and two nodes as processes: one hub follows the other.

No session of the nodes is lost, and its pages go on through the other hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from mograder.store.hub.active_hub import LOST_STATUS
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, instructor, student
from tests.support.marimo import EditorFailed, open_editor
from tests.support.node_processes import NodeProcess
from tests.support.postgres import PostgresServer
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    editor,
    servers_of,
    start,
    stop,
    until,
)
from tests.support.two_hubs import TwoHubs, two_hubs, waits

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

DOCUMENT = {
    "Accept": "text/html",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}


@dataclass
class Rig:
    """The hubs and the nodes."""

    both: TwoHubs
    nodes: tuple[NodeProcess, NodeProcess]

    @property
    def one(self) -> HubProcess:
        return self.both.hubs[0]

    @property
    def two(self) -> HubProcess:
        return self.both.hubs[1]

    def running(self) -> dict[str, str]:
        """The sessions that run, by user."""
        rows = self.both.rows()
        return {row.username: row.session_id for row in rows if row.state == "running"}


@pytest.fixture(scope="module")
def rig(installed_postgres: PostgresServer, uv_cache: Path, run_directory: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        caches = SharedCaches(uv_cache, run_directory)
        both = stack.enter_context(two_hubs(installed_postgres, caches))
        nodes = (stack.enter_context(both.node("a")), stack.enter_context(both.node("b")))
        rig = Rig(both, nodes)
        until(lambda: built(both.hubs[0]), 300)  # both nodes build the environment
        start(rig.one, "first")
        stop(rig.one, "first")
        yield rig


def built(hub: HubProcess) -> bool:
    """Whether a session can be opened, for which a node has to build the environment first."""
    with hub.client(student("first")) as client, contextlib.suppress(httpx.ReadTimeout):
        return client.post(f"/start-edit-deep/{TINY}").is_success
    return False


def listed(hub: HubProcess) -> set[str]:
    """The users of the sessions that a hub lists."""
    with hub.client(instructor()) as client:
        return {each["username"] for each in client.get("/sessions").json()}


async def test_no_session_is_lost_with_a_hub_and_pages_go_on_through_the_other(rig: Rig) -> None:
    users = [f"kill-{number}" for number in range(3)]
    for user in users:
        await asyncio.to_thread(start, rig.one, user)
    before = rig.running()
    servers = {user: servers_of(user) for user in users}
    with rig.one.client({**from_proxy(users[0]), **DOCUMENT}) as client:
        page = client.get(f"/edit/user/{users[0]}/{TINY}/")
    found = re.search(r'src="(/s/[\w-]+/)"', page.text)
    assert found, page.text
    async with open_editor(editor(rig.one, users[0])) as tab:
        await tab.edit(0, "kept = 40 + 2")
        await tab.save()
        rig.one.kill()
        tab.vanish()
    try:
        await asyncio.to_thread(until, rig.two.healthy, 30)
        with rig.two.client({"Origin": "null"}) as client:
            await asyncio.to_thread(until, lambda: client.get(found[1] + "health").is_success, 30)
        for user in users:  # of whom some are on the other node, which may come back later
            await asyncio.wait_for(until_it_computes(rig.two, user), 30)
            await asyncio.to_thread(start, rig.two, user)
        assert rig.running() == before
        assert {user: servers_of(user) for user in users} == servers
        await asyncio.to_thread(start, rig.two, "later")
        await asyncio.to_thread(stop, rig.two, "later")
    finally:
        rig.one.stop()
    assert listed(rig.two) == set(users)
    for user in users:
        await asyncio.to_thread(until, partial(stop, rig.two, user), 30)


async def test_an_editor_of_a_hub_that_hangs_can_be_opened_through_the_other(rig: Rig) -> None:
    """Its connections stay open: beside an open editor another one may only read."""
    rig.one.launch(rig.one.command(), rig.one.environment(), rig.one.course)
    await asyncio.to_thread(until, lambda: waits(rig.one), 60)
    await asyncio.to_thread(start, rig.two, "stuck")
    session = rig.running()["stuck"]
    hanging = psutil.Process(rig.two.pid)
    supervisors = hanging.children(recursive=True)
    try:
        async with open_editor(editor(rig.two, "stuck")) as tab:
            await tab.edit(0, "1 + 1")
            hanging.suspend()
            await asyncio.to_thread(until, rig.one.healthy, 60)
            await asyncio.wait_for(until_it_computes(rig.one, "stuck"), 120)
            hanging.resume()
        assert rig.two.wait(30) == LOST_STATUS
        assert rig.running()["stuck"] == session
        assert len(servers_of("stuck")) == 1
        assert await asyncio.to_thread(stop, rig.one, "stuck")
    finally:  # the last test: no process of this one may be left
        with contextlib.suppress(psutil.NoSuchProcess):
            hanging.resume()
        rig.one.stop()
        for each in supervisors:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.terminate()
        psutil.wait_procs(supervisors, timeout=20)


async def until_it_computes(hub: HubProcess, user: str) -> None:
    """Open a user's editor until a cell can be run in it."""
    while not await computes(hub, user):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.5)


async def computes(hub: HubProcess, user: str) -> bool:
    """Open a user's editor through a hub, and return whether a cell can be run in it."""
    try:
        async with open_editor(editor(hub, user), run=False) as tab:
            return "42" in (await tab.edit(0, "40 + 2")).data
    except EditorFailed as refused:
        if not any(each in str(refused) for each in ("read-only", "502")):  # no node yet
            raise
        return False
