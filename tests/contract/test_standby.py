"""Two hub processes of one course on PostgreSQL: one is at work, the other one takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from mograder.store.database.database import database_url, open_engine
from mograder.store.hub.active_hub import CONFIRM_SECONDS, LOST_STATUS, RELEASE_SECONDS
from mograder.store.hub.hub_state import HubState, SessionRow
from tests.support.course import put_release, work_place
from tests.support.hub import HubConfig, HubProcess, write_settings
from tests.support.identity import instructor, student
from tests.support.marimo import open_editor
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
from tests.support.two_hubs import WaitingHub, waits

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@dataclass
class Pair:
    """The hubs of one course directory, by the same supervisor."""

    one: HubProcess
    two: WaitingHub
    postgres: PostgresServer
    database: str

    def rows(self) -> dict[str, SessionRow]:
        """The rows of all sessions, by user."""
        engine = open_engine(database_url(self.database, self.one.course))
        try:
            return {row.username: row for row in HubState(engine).sessions()}
        finally:
            engine.dispose()


@pytest.fixture
def pair(
    installed_postgres: PostgresServer, uv_cache: Path, run_directory: Path, artifacts: Path
) -> Iterator[Pair]:
    caches = SharedCaches(uv_cache, run_directory)
    database = installed_postgres.new_database()
    with ExitStack() as stack:
        place = stack.enter_context(work_place())
        course = place / "c"
        course.mkdir()
        put_release(course, TINY, notebook())
        settings = {
            **caches.settings(),
            "database.url": database,
            "hub.trusted_proxies": ["127.0.0.1"],
            "hub.runtime_dir": str(place / "run"),
        }
        config = HubConfig(settings=settings, start_seconds=120)
        one = stack.enter_context(HubProcess(course, artifacts / "one.log", config))
        two = stack.enter_context(WaitingHub(course, artifacts / "two.log", config))
        yield Pair(one, two, installed_postgres, database)


def test_a_hub_that_waits_says_so_to_everybody_and_changes_nothing(pair: Pair) -> None:
    for path in ("/health", "/ready", "/", "/start-edit-deep/x", "/s/aaaaaaaaaaaaaaaaaaaaaaaa/"):
        for method in ("GET", "POST"):
            answer = httpx.request(
                method, f"{pair.two.url}{path}", headers=instructor(), trust_env=False, timeout=60
            )
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert int(answer.headers["Retry-After"]) > 0
            assert "another one is at work" in answer.text
    with pytest.raises(httpx.RemoteProtocolError):  # as the configuration of nginx asks
        httpx.get(
            pair.two.url, headers={"X-Mograder-Standby": "close"}, trust_env=False, timeout=60
        )
    start(pair.one, "alice")
    with pair.two.client(student("alice")) as client:
        answer = client.post(f"/stop-edit/alice/{TINY}", content=b"x" * 3_000_000)
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert set(pair.rows()) == {"alice"}
    assert pair.two.stop() == 0
    assert stop(pair.one, "alice")
    assert pair.one.stop() == 0
    assert "told to stop" in pair.one.log_text()


async def test_when_the_hub_is_killed_the_other_serves_its_sessions(pair: Pair) -> None:
    users = [f"kill-{number}" for number in range(3)]
    for user in users:
        await asyncio.to_thread(start, pair.one, user)
    before = pair.rows()
    servers = {user: servers_of(user) for user in users}
    async with contextlib.AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(open_editor(editor(pair.one, u))) for u in users]
        await tabs[0].edit(0, "kept = 40 + 2")
        await tabs[0].save()
        killed = time.monotonic()
        pair.one.kill()
        for tab in tabs:
            tab.vanish()
    await asyncio.to_thread(until, pair.two.healthy, 30)
    assert time.monotonic() - killed < 15
    for user in users:
        async with open_editor(editor(pair.two, user), run=False) as tab:
            assert "42" in (await tab.edit(0, "40 + 2")).data
        await asyncio.to_thread(start, pair.two, user)
    after = pair.rows()
    assert {u: row.session_id for u, row in after.items()} == {
        u: row.session_id for u, row in before.items()
    }
    assert {user: servers_of(user) for user in users} == servers
    pair.one.launch(pair.one.command(), pair.one.environment(), pair.one.course)
    await asyncio.to_thread(until, lambda: waits(pair.one), 60)
    for user in users:
        assert await asyncio.to_thread(stop, pair.two, user)


class Watch(threading.Thread):
    """Asks a hub again and again; ``served`` has the statuses of the answers that it got."""

    def __init__(self, hub: HubProcess) -> None:
        super().__init__(daemon=True)
        self.hub = hub
        self.served: set[int] = set()
        self.over = threading.Event()

    def run(self) -> None:
        with self.hub.client(student("alice")) as client:
            while not self.over.is_set():
                with contextlib.suppress(httpx.TransportError):
                    self.served.add(client.post(f"/start-edit-deep/{TINY}", timeout=2).status_code)


def test_a_hub_that_was_stopped_for_a_while_serves_nothing_when_it_goes_on(pair: Pair) -> None:
    start(pair.one, "alice")
    session = pair.rows()["alice"].session_id
    hanging = psutil.Process(pair.one.pid)
    since = time.monotonic()  # a pause after it lengthens what is measured
    hanging.suspend()
    try:
        until(pair.two.healthy, RELEASE_SECONDS + 20)
        assert time.monotonic() - since >= RELEASE_SECONDS - 2
        start(pair.two, "alice")
        assert pair.rows()["alice"].session_id == session
        assert stop(pair.two, "alice")
        start(pair.two, "alice")
        watch = Watch(pair.one)
        watch.start()
        time.sleep(3)  # requests wait in the stopped hub
    finally:
        hanging.resume()
    assert pair.one.wait(30) == LOST_STATUS
    watch.over.set()
    watch.join(30)
    assert watch.served <= {httpx.codes.SERVICE_UNAVAILABLE}
    assert len(servers_of("alice")) == 1
    assert set(pair.rows()) == {"alice"}
    assert stop(pair.two, "alice")


def test_a_hub_whose_connection_to_the_database_breaks_ends(pair: Pair) -> None:
    start(pair.one, "alice")
    session = pair.rows()["alice"].session_id
    pair.postgres.disconnect_everybody()
    assert pair.one.wait(30) == LOST_STATUS
    until(lambda: pair.two.healthy() or pair.two.returncode is not None, 30)
    if pair.two.returncode is not None:  # it had the lock already when its connection was ended
        assert pair.two.returncode == LOST_STATUS
        pair.two.restart()
    start(pair.two, "alice")
    assert pair.rows()["alice"].session_id == session
    assert len(servers_of("alice")) == 1
    assert stop(pair.two, "alice")


def test_a_hub_that_gets_no_answer_from_the_database_ends(pair: Pair) -> None:
    start(pair.one, "alice")
    backends = pair.postgres.backends(pair.database)
    assert backends
    for each in backends:
        each.suspend()
    try:
        since = time.monotonic()
        assert pair.one.wait(30) == LOST_STATUS
        assert time.monotonic() - since < CONFIRM_SECONDS + 10
    finally:
        for each in backends:
            each.resume()
    until(pair.two.healthy, 60)
    assert stop(pair.two, "alice")


def test_a_hub_without_nodes_on_another_machine_does_not_wait(pair: Pair, tmp_path: Path) -> None:
    settings = {**pair.one.config.settings, "hub.runtime_dir": str(tmp_path / "run")}
    other = HubProcess(tmp_path / "c", tmp_path / "log", HubConfig(settings=settings))
    other.course.mkdir()
    write_settings(other.course, settings)
    other.launch(other.command(), other.environment(), other.course)
    assert other.wait(60) != 0
    assert "on another machine" in other.log_text()


def test_signals_end_a_hub_that_waits(pair: Pair) -> None:
    os.kill(pair.two.pid, signal.SIGINT)
    assert pair.two.wait(30) in (0, 130)
