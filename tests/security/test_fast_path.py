"""The fast path with real sandboxes: access to a session's socket, and its duration.

security.md, "The page is theirs as well"; decision 0034. What nginx lets pass is in
``tests/contract/test_fronts.py``.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from bench.support.fronts import OWN_GROUP, Place, shipped
from bench.support.hub import HubProcess
from bench.support.identity import token
from bench.support.process import free_port
from tests.support.shared_hub import TINY, SharedCaches, module_hub, start

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

NAVIGATION = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
NULL = websockets.Origin("null")


@pytest.fixture(scope="module")
def hub(uv_cache: Path, run_directory: Path) -> Iterator[HubProcess]:
    settings = {"hub.front_group": OWN_GROUP, "hub.instructors": ["prof"]}
    shared = SharedCaches(uv_cache, run_directory)
    with module_hub("fast-path", shared, settings=settings) as hub:
        yield hub


@pytest.fixture(scope="module")
def place(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(port=free_port(), hub_port=hub.port, fast=True, request_mb=256)
    with shipped("nginx", place, tmp_path_factory.mktemp("front")):
        yield place


class Viewer:
    """A person signed in at the front, with a page of one session."""

    def __init__(self, place: Place, name: str) -> None:
        self.http = httpx.Client(base_url=place.url, timeout=150, trust_env=False)
        self.http.post("/login", data={"token": token(name), "next": ""})
        self._socket = place.url.replace("http", "ws", 1)

    def open(self, owner: str) -> str:
        """Open a session's document; the capability path of its page."""
        page = self.http.get(f"/edit/user/{owner}/{TINY}/", headers=NAVIGATION).text
        found = re.search(r' src="(/s/[\w-]+/)"', page)
        assert found, page[:300]
        return found[1]

    def connect_websocket(self, cap: str, session: str) -> connect:
        """The page's WebSocket."""
        return connect(f"{self._socket}{cap}ws?session_id={session}", origin=NULL, proxy=None)


@contextmanager
def viewing(place: Place, name: str) -> Iterator[Viewer]:
    """A person for the length of a block."""
    viewer = Viewer(place, name)
    try:
        yield viewer
    finally:
        viewer.http.close()


async def _closed(line: ClientConnection) -> None:
    async with asyncio.timeout(30):
        await line.wait_closed()


async def test_signing_out_cuts_a_socket_that_the_hub_has_no_part_in(
    hub: HubProcess, place: Place
) -> None:
    """security.md: sign-out and stop revoke a capability and close its sockets."""
    start(hub, "alice")
    with viewing(place, "alice") as viewer:
        cap = viewer.open("alice")
        assert viewer.http.get(cap + "health").status_code == 200
        async with viewer.connect_websocket(cap, "s_fast01") as line:
            assert await asyncio.wait_for(line.recv(), 30)
            viewer.http.post("/logout", headers={"Origin": place.url})
            await _closed(line)
        gone = viewer.http.get(cap + "health")
        assert (gone.status_code, gone.headers["x-mograder-session"]) == (404, "gone")
    with viewing(place, "alice") as again:
        health = again.http.get(again.open("alice") + "health")
        assert health.status_code == 200, "the session goes on"


async def test_an_instructors_sign_out_leaves_the_students_page_its_session(
    hub: HubProcess, place: Place
) -> None:
    """All connections of the session are cut; a student who may come back does."""
    start(hub, "bob")
    with viewing(place, "bob") as student, viewing(place, "prof") as prof:
        own, other = student.open("bob"), prof.open("bob")
        assert own != other
        async with prof.connect_websocket(other, "s_fast02") as line:
            assert await asyncio.wait_for(line.recv(), 30)
            prof.http.post("/logout", headers={"Origin": place.url})
            await _closed(line)
        with pytest.raises(websockets.InvalidStatus):
            await prof.connect_websocket(other, "s_fast02")
        async with student.connect_websocket(own, "s_fast03") as line:
            assert await asyncio.wait_for(line.recv(), 30)


def test_only_the_group_reaches_the_sockets(hub: HubProcess, place: Place) -> None:
    """Reachable for a group of their own, not for everybody, and nobody lists them."""
    start(hub, "carol")
    runtime = hub.course.parent / "run"
    found = [path for path in runtime.rglob("*.sock") if path.parent.name == "s"]
    assert found
    for path in found:
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert status.st_gid == os.getegid()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o710
    for supervisor in runtime.rglob("supervisor.sock"):
        assert stat.S_IMODE(supervisor.stat().st_mode) == 0o600
