"""No saved work is lost: hubs that crash, stop and start again, and culled sessions.

files.md, "How files are written"; decision 3; B54, B65, B69, B72, B77, B109, B131. The hub, its
supervisor, marimo and bubblewrap are real.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, student
from tests.support.marimo import MarimoClient, open_editor
from tests.support.processes import processes_now
from tests.support.shared_hub import (
    TALK,
    TINY,
    SharedCaches,
    editor,
    module_hub,
    servers_of,
    start,
    until,
    workspace,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

_NAVIGATION = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
_TTL = 10


@contextmanager
def own_hub(name: str, caches: SharedCaches, **settings: object) -> Iterator[HubProcess]:
    """A hub that one test may kill."""
    with module_hub(f"durability-{name}", caches, settings=settings) as hub:
        yield hub


def text_on_disk(hub: HubProcess, user: str) -> str:
    return (workspace(hub, user) / f"{TINY}.py").read_text("utf-8")


async def ask(tab: MarimoClient, code: str) -> str:
    """Run code in the first cell; returns what it shows, without the markup."""
    return re.sub(r"<[^>]*>", "", (await tab.edit(0, code)).data)


def mounted() -> str:
    """All mounts that this process sees."""
    return Path("/proc/self/mountinfo").read_text()


def supervisor_of(hub: HubProcess) -> psutil.Process:
    """Return the process that owns this hub's sessions, whatever its parent is."""
    mark = str(hub.course)
    for process in processes_now("cmdline"):
        words = process.info["cmdline"] or []
        if "mograder.sandbox.supervisor.server" in words and any(mark in word for word in words):
            return process
    raise AssertionError("there is no supervisor")


@pytest.mark.journey
async def test_a_hub_that_is_killed_finds_sessions_logins_and_pages_as_they_were(
    caches: SharedCaches,
) -> None:
    with own_hub("killed", caches) as hub:
        path = start(hub, "alice")
        with hub.client() as browser:
            page = browser.get(path, headers={**from_proxy("alice"), **_NAVIGATION})
            cap = page.text.partition("<iframe ")[2].partition(' src="')[2].partition('"')[0]
            assert "mograder_session" in browser.cookies
            async with open_editor(editor(hub, "alice")) as tab:
                await tab.edit(0, "remembered = 4242")
                await tab.save()
            server, supervisor = servers_of("alice")[0].pid, supervisor_of(hub).pid

            hub.kill()
            assert "remembered = 4242" in text_on_disk(hub, "alice")
            assert psutil.pid_exists(server)
            hub.restart()

            assert supervisor_of(hub).pid == supervisor, "the same supervisor serves on"
            assert [process.pid for process in servers_of("alice")] == [server]
            assert browser.get(f"{cap}health").status_code == 200, "the open page goes on"
            rows = browser.get("/sessions").json()
            assert [(row["username"], row["assignment"]) for row in rows] == [("alice", TINY)]
        assert start(hub, "alice") == path
        assert [process.pid for process in servers_of("alice")] == [server]
        async with open_editor(editor(hub, "alice"), run=False) as tab:
            cells = tab.cells.ids
            assert len(cells) == 1
            await tab.post("/api/kernel/run", {"cellIds": ["probe"], "codes": ["remembered + 1"]})
            await tab.until(lambda: "4243" in str(tab.progress.outputs))


async def test_a_hub_that_is_stopped_ends_its_sessions_and_leaves_nothing_behind(
    caches: SharedCaches,
) -> None:
    with own_hub("stopped", caches) as hub:
        start(hub, "alice")
        start(hub, "bob")
        with hub.client(student("bob")) as client:
            client.post(f"/start-run/{TALK}").raise_for_status()
        async with open_editor(editor(hub, "alice")) as tab:
            await tab.edit(0, "last = 'words'")
            await tab.save()
            below = psutil.Process(hub.pid).children(recursive=True)
            assert len(below) >= 7, "a supervisor, and for each session a monitor and a server"
            assert await asyncio.to_thread(hub.stop) == 0
        alive = psutil.wait_procs(below, timeout=30)[1]
        assert [process.pid for process in alive] == []
        runtime = hub.course.parent / "run"
        assert [path for path in runtime.rglob("*") if path.is_socket()] == []
        assert str(hub.course.parent) not in mounted()
        assert "last = 'words'" in text_on_disk(hub, "alice")


async def test_stopping_a_hub_in_the_middle_of_saves_loses_none_that_was_acknowledged(
    caches: SharedCaches,
) -> None:
    """marimo writes in place, so it is given the time to finish."""
    with own_hub("saving", caches) as hub:
        start(hub, "alice")
        async with open_editor(editor(hub, "alice")) as tab:
            acknowledged, stopping = await _save_until_stopped(hub, tab)
            assert await stopping == 0
        text = text_on_disk(hub, "alice")
        found = re.search(r"count = (\d+)", text)
        assert found is not None
        assert int(found[1]) >= acknowledged >= 5
        assert "# line 2999" in text, "the whole file is there"
        assert text.rstrip().endswith("app.run()")


async def _save_until_stopped(
    hub: HubProcess, tab: MarimoClient
) -> tuple[int, asyncio.Future[int]]:
    """Save one version after another; stop the hub at the fifth."""
    padding = "\n".join(f"# line {number} " + "x" * 60 for number in range(3000))
    stopping: asyncio.Future[int] | None = None
    for number in range(10_000):
        tab.cells.codes[0] = f"count = {number}\n{padding}"
        try:
            await tab.save()
        except (AssertionError, httpx.TransportError):
            assert stopping is not None
            return number - 1, stopping
        if number == 5:
            stopping = asyncio.ensure_future(asyncio.to_thread(hub.stop))
    raise AssertionError("the hub never stopped")


async def test_an_active_editor_stays_and_an_idle_one_is_put_away(caches: SharedCaches) -> None:
    """B65, B77, B109: activity counts by HTTP and by WebSocket; what was saved stays."""
    with own_hub("culling", caches, **{"hub.session_ttl": _TTL}) as hub:
        start(hub, "idle")
        async with open_editor(editor(hub, "idle")) as tab:
            await tab.edit(0, "mine = 1")
            await tab.save()
        start(hub, "typing")
        async with open_editor(editor(hub, "typing")) as typing:
            # A cell that prints is a WebSocket at work, without any request of the client's.
            ticking = "import time\nfor tick in range(1200):\n    print(tick)\n    time.sleep(0.1)"
            cell = typing.cells.ids[0]
            await typing.post("/api/kernel/run", {"cellIds": [cell], "codes": [ticking]})
            # Not before: the other's start may take longer than the idle time.
            await asyncio.to_thread(start, hub, "asking")
            await asyncio.to_thread(_ask_until_others_are_gone, hub, "asking", "idle")
            assert len(servers_of("asking")) == 1
            assert len(servers_of("typing")) == 1
        assert "mine = 1" in text_on_disk(hub, "idle")
        with hub.client(student("idle")) as client:
            until(lambda: client.get("/sessions").json() == [])
        start(hub, "idle")
        assert len(servers_of("idle")) == 1


def _ask_until_others_are_gone(hub: HubProcess, user: str, idle: str) -> None:
    """Ask one's own session for twice the idle time, until the other's is put away."""
    begun = time.monotonic()
    with hub.client(student(user)) as client:
        while servers_of(idle) or time.monotonic() < begun + 2 * _TTL:
            client.get(f"/edit/user/{user}/{TINY}/health").raise_for_status()
            assert time.monotonic() < begun + 60, "the idle one was never put away"
            time.sleep(0.3)


async def test_what_was_saved_is_on_disk_byte_for_byte(caches: SharedCaches) -> None:
    with own_hub("bytes", caches) as hub:
        start(hub, "alice")
        code = "text = 'Größe ≤ 3 µm — 日本語 \U0001f40d'\nraw = r'\\n\\t'"
        async with open_editor(editor(hub, "alice")) as tab:
            await tab.edit(0, code)
            await tab.save()
            first = (workspace(hub, "alice") / f"{TINY}.py").read_bytes()
            await tab.save()
            assert (workspace(hub, "alice") / f"{TINY}.py").read_bytes() == first
        indented = "".join(f"    {line}\n" for line in code.splitlines())
        assert indented.encode() in first
        with ThreadPoolExecutor() as threads:
            paths = set(threads.map(lambda _: start(hub, "alice"), range(4)))
        assert len(paths) == 1
        assert (workspace(hub, "alice") / f"{TINY}.py").read_bytes() == first, (
            "B69: a copy is left as it is"
        )
        async with open_editor(editor(hub, "alice"), run=False) as again:
            assert again.cells.codes == [code]


def test_a_supervisor_that_dies_takes_its_sessions_and_the_hub_starts_another(
    caches: SharedCaches,
) -> None:
    with own_hub("bereaved", caches) as hub:
        start(hub, "alice")
        before = text_on_disk(hub, "alice")
        first = supervisor_of(hub)
        first.kill()
        until(lambda: servers_of("alice") == [])
        with hub.client(student("alice")) as client:
            until(lambda: client.get("/sessions").json() == [])
        start(hub, "alice")
        assert supervisor_of(hub).pid != first.pid
        assert len(servers_of("alice")) == 1
        assert text_on_disk(hub, "alice") == before


def test_a_hub_killed_while_a_session_starts_leaves_no_session_that_nobody_knows(
    caches: SharedCaches, fresh_name: Callable[[str], str]
) -> None:
    # Cold, since a warm start is over before its process has been looked up among all others.
    with own_hub("early", caches, **{"limits.warm_environments": 0}) as hub:
        for _ in range(10):
            user = fresh_name("early")
            early = _killed_during_its_start(hub, user)
            hub.restart()
            if early is not None:
                break
        else:
            pytest.fail("each session had started before its hub could be killed")
        until(lambda: early not in {process.pid for process in servers_of(user)})
        start(hub, user)
        assert len(servers_of(user)) == 1


def _killed_during_its_start(hub: HubProcess, user: str) -> int | None:
    """Return the process that was starting, or None when it was there before the kill."""
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(_start_in_vain, hub, user)
        until(lambda: len(servers_of(user)) == 1)
        early = servers_of(user)[0].pid
        hub.kill()
        return early if starting.result() else None


def _start_in_vain(hub: HubProcess, user: str) -> bool:
    with hub.client(student(user)) as client:
        try:
            client.post(f"/start-edit-deep/{TINY}")
        except httpx.TransportError:
            return True
    return False
