"""Two hub processes, PostgreSQL and two nodes as processes: any hub serves any session.

One hub is killed: no session is lost, and its pages go on through the other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, instructor, student
from tests.support.marimo import EditorFailed, open_editor
from tests.support.node_processes import NodeProcess
from tests.support.postgres import PostgresServer
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    editor,
    notebook,
    servers_of,
    start,
    stop,
    until,
)
from tests.support.two_hubs import TwoHubs, two_hubs

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

DOCUMENT = {
    "Accept": "text/html",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}


CHECKED = "C1-Checked"
CHECKS = """from mograder.runtime import Grader
    check = Grader({"Q1": 1}).check
    return (check,)


@app.cell
def _(check):
    check("Q1: one", [(False, "It is not.")])
    return

"""


def _prepare(share: Path) -> None:
    put_release(share, CHECKED, notebook("").replace("    return\n", f"    {CHECKS}", 1))


@dataclass
class Rig:
    """The hubs and the nodes."""

    both: TwoHubs
    nodes: tuple[NodeProcess, NodeProcess]

    @property
    def one(self) -> HubProcess:
        """The first hub."""
        return self.both.hubs[0]

    @property
    def two(self) -> HubProcess:
        """The second hub."""
        return self.both.hubs[1]

    def running(self) -> dict[str, str]:
        """The sessions that run, by user."""
        rows = self.both.rows()
        return {row.username: row.session_id for row in rows if row.state == "running"}


@pytest.fixture(scope="module")
def rig(installed_postgres: PostgresServer, uv_cache: Path, run_directory: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        caches = SharedCaches(uv_cache, run_directory)
        both = stack.enter_context(two_hubs(installed_postgres, caches, _prepare))
        nodes = (stack.enter_context(both.node("a")), stack.enter_context(both.node("b")))
        rig = Rig(both, nodes)
        until(lambda: built(both.hubs[0]), 300)  # both nodes build the environment
        for hub in both.hubs:
            start(hub, "first")
            stop(hub, "first")
        until(lambda: all(node.log_text().count("serving the hub at") >= 2 for node in nodes), 30)
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


def test_a_session_is_opened_once_when_both_hubs_are_asked(rig: Rig) -> None:
    users = [f"once-{number}" for number in range(4)]
    asked = [(hub, user) for user in users for hub in rig.both.hubs]
    with ThreadPoolExecutor(len(asked)) as pool:
        list(pool.map(lambda each: start(*each), asked))
    assert set(rig.running()) == set(users)
    for user in users:
        assert len(servers_of(user)) == 1
    for number, user in enumerate(users):  # each at a hub that may not have started it
        assert stop(rig.both.hubs[number % 2], user)
    until(lambda: not any(servers_of(user) for user in users))
    until(lambda: not listed(rig.one) and not listed(rig.two))


def test_a_page_is_not_told_that_its_session_ended_by_a_hub_that_does_not_know_it_yet(
    rig: Rig,
) -> None:
    """A front sends the page's questions to either hub."""
    for number in range(4):
        user = f"told-{number}"
        for _ in range(2):  # the second time the other hub may know the first session still
            start(rig.one, user)
            assert state_at(rig.two, user, rig.running()[user]) == "running"
            assert stop(rig.one, user)
    assert state_at(rig.two, "told-0", "no-session") == "ended"


def state_at(hub: HubProcess, user: str, session: str) -> str:
    """Return the state of a session in a hub's answer to the session's page."""
    with hub.client(student(user)) as client:
        answer = client.get(f"/standing/{user}/{TINY}", params={"session": session})
    return str(answer.raise_for_status().json()["state"])


async def test_a_page_opened_at_one_hub_works_at_the_other(rig: Rig) -> None:
    start(rig.one, "both")
    session = rig.running()["both"]
    async with open_editor(editor(rig.two, "both")) as tab:  # at once: it has to look it up
        assert "42" in (await tab.edit(0, "20 + 22")).data
        await tab.save()
    start(rig.two, "both")
    assert rig.running() == {"both": session}
    assert await asyncio.to_thread(stop, rig.two, "both")


def test_a_capability_of_one_hub_is_good_at_the_other_until_the_session_ends(rig: Rig) -> None:
    start(rig.one, "cap")
    with rig.one.client({**from_proxy("cap"), **DOCUMENT}) as client:
        page = client.get(f"/edit/user/cap/{TINY}/")
    assert page.status_code == httpx.codes.OK, page.text
    found = re.search(r'src="(/s/[\w-]+/)"', page.text)
    assert found, page.text
    with rig.two.client({"Origin": "null"}) as client:
        assert client.get(found[1] + "health").status_code == httpx.codes.OK
        forged = found[1][:-2] + ("A" if found[1][-2] != "A" else "B") + "/"
        assert client.get(forged + "health").status_code != httpx.codes.OK
        assert stop(rig.one, "cap")
        until(lambda: client.get(found[1] + "health").status_code != httpx.codes.OK, 5)
    assert not rig.running()


def test_a_session_is_stopped_at_the_other_hub_right_after_its_start(rig: Rig) -> None:
    start(rig.one, "brief")
    assert stop(rig.two, "brief")
    with rig.one.client(student("brief")) as client:
        health = f"/edit/user/brief/{TINY}/health"
        until(lambda: client.get(health).status_code != httpx.codes.OK, 5)
    start(rig.one, "brief")
    assert stop(rig.one, "brief")


async def test_both_hubs_show_the_same_board_and_requests_for_help(rig: Rig) -> None:
    await asyncio.to_thread(start, rig.one, "seen", CHECKED)
    with (
        rig.one.client(student("seen")) as seen,
        rig.two.client(instructor()) as prof,
    ):

        def board(words: str) -> bool:
            return words in prof.get(f"/board/{CHECKED}").text

        def is_asked(state: str) -> bool:
            found = seen.get(f"/help/seen/{CHECKED}").json()["asked"] or {"state": ""}
            return bool(found["state"] == state)

        async with open_editor(editor(rig.one, "seen", CHECKED)) as tab:
            await asyncio.to_thread(until, lambda: board('class="failed"'), 5)
            await tab.edit(1, "check('Q1: one', [(True, '')])")
            await asyncio.to_thread(until, lambda: board('class="passed"'), 5)
        answer = seen.post(f"/help/seen/{CHECKED}", json={"label": "Q1: one", "text": "<i>how</i>"})
        assert answer.is_success, answer.text
        assert is_asked("waiting")
        until(lambda: board("&lt;i&gt;how&lt;/i&gt;"), 5)
        for word, state in (("take", "taken"), ("together", "together")):
            assert prof.post(f"/board/{CHECKED}/help/seen/{word}").status_code < 400
            until(partial(is_asked, state), 5)
        assert prof.post(f"/board/{CHECKED}/help/seen/close").status_code < 400
        until(partial(is_asked, ""), 5)
    await asyncio.to_thread(stop, rig.one, "seen", CHECKED)


async def test_an_editor_of_a_hub_that_hangs_can_be_opened_through_the_other(rig: Rig) -> None:
    """Its connections stay open: beside an open editor another one may only read."""
    await asyncio.to_thread(start, rig.one, "stuck")
    session = rig.running()["stuck"]
    hanging = psutil.Process(rig.two.pid)
    async with open_editor(editor(rig.two, "stuck")) as tab:
        await tab.edit(0, "1 + 1")
        hanging.suspend()
        try:
            await asyncio.wait_for(until_it_computes(rig.one, "stuck"), 40)
        finally:
            hanging.resume()
    assert rig.running()["stuck"] == session
    await asyncio.to_thread(until, lambda: listed(rig.two) == {"stuck"}, 30)
    assert await asyncio.to_thread(stop, rig.one, "stuck")


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
        if "read-only" not in str(refused):
            raise
        return False


async def test_no_session_is_lost_with_a_hub_and_pages_go_on_through_the_other(rig: Rig) -> None:
    users = [f"kill-{number}" for number in range(3)]
    for user in users:
        await asyncio.to_thread(start, rig.one, user)
    before = rig.running()
    servers = {user: servers_of(user) for user in users}
    async with open_editor(editor(rig.one, users[0])) as tab:
        await tab.edit(0, "kept = 40 + 2")
        await tab.save()
        rig.one.kill()
        tab.vanish()
    try:
        for user in users:
            async with open_editor(editor(rig.two, user), run=False) as tab:
                assert "42" in (await tab.edit(0, "40 + 2")).data
            await asyncio.to_thread(start, rig.two, user)
        assert rig.running() == before
        assert {user: servers_of(user) for user in users} == servers
        await asyncio.to_thread(start, rig.two, "later")
        await asyncio.to_thread(stop, rig.two, "later")
    finally:
        rig.one.stop()
    try:
        rig.one.start()
        until(lambda: listed(rig.one) == set(users), 30)
        assert rig.running() == before
        for user in users:
            until(partial(stop, rig.one, user), 30)
    finally:  # the last test: no process of this one may be left
        rig.one.stop()
