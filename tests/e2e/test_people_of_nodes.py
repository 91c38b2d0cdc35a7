"""What people see of nodes that come, are drained and fail: a real hub, nodes without sandboxes."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx
import pytest

from mograder.store.database.database import database_url, open_engine
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import SessionRow
from mograder.store.hub.nodes import NodeRow, Nodes
from tests.support.fake_node_processes import fake_nodes
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import instructor, student
from tests.support.process import ServerProcess
from tests.support.shared_hub import TINY, notebook, start, stop, until

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

LEASE_SECONDS = 12
"""Longer than a busy machine stops a hub or a node for a moment."""


@dataclass
class Rig:
    """A hub and its nodes, by name."""

    hub: HubProcess
    nodes: dict[str, ServerProcess]

    def command(self, *arguments: str) -> str:
        """Run a command about nodes."""
        done = run_mograder("hub", "nodes", *arguments, cwd=self.hub.course)
        assert done.status == 0, done.errors
        return done.output

    def listed(self) -> dict[str, dict[str, object]]:
        """The nodes as the API lists them, by name."""
        with self.hub.client(instructor()) as client:
            return {each["name"]: each for each in client.get("/nodes").json()}

    def row(self, user: str) -> SessionRow:
        engine = open_engine(database_url("", self.hub.course))
        rows = HubState(engine).sessions()
        engine.dispose()
        return next(row for row in rows if row.username == user)

    def follow(self, name: str) -> None:
        """Wait until the hub has read a node's row, as it does at each renewal of the lease."""
        for _ in range(2):  # the first one may have been under way
            before = self._node(name).lease_until
            until(partial(self._has_changed, name, before))

    def _has_changed(self, name: str, before: datetime | None) -> bool:
        return self._node(name).lease_until != before

    def _node(self, name: str) -> NodeRow:
        engine = open_engine(database_url("", self.hub.course))
        found = Nodes(engine).find(name)
        engine.dispose()
        assert found is not None
        return found

    def standing(self, row: SessionRow) -> dict[str, object]:
        """What the bar above a session's notebook is told."""
        with self.hub.client(student(row.username)) as client:
            path = f"/standing/{row.username}/{TINY}"
            found: dict[str, object] = client.get(path, params={"session": row.session_id}).json()
            return found


@pytest.fixture
def rig(start_hub: Callable[..., HubProcess]) -> Iterator[Rig]:
    settings = {"nodes.enabled": True, "nodes.lease_seconds": LEASE_SECONDS}
    hub = start_hub(settings=settings)
    release = hub.course / "hub-release" / TINY
    release.mkdir(parents=True)
    (release / f"{TINY}.py").write_text(notebook())
    with (
        tempfile.TemporaryDirectory(prefix="mgn-", dir="/tmp") as place,
        fake_nodes(hub, 2, Path(place)) as nodes,
    ):
        rig = Rig(hub, nodes)
        until(lambda: [each["state"] for each in rig.listed().values()] == ["ready"] * 2, 60)
        start(hub, "first")
        # A node that is warm is chosen before one that has not said so yet.
        until(lambda: all(each["warm"] for each in rig.listed().values()), 60)
        stop(hub, "first")
        yield rig


def test_the_door_of_nodes_is_closed_to_people(rig: Rig) -> None:
    """To an outsider, a student and an instructor, whatever they show."""
    before = rig.listed()
    protocols = ("mograder-node", "mograder-session")
    upgrades = [{}, *({"Upgrade": each, "Connection": "Upgrade"} for each in protocols)]
    for shown, upgrade in itertools.product(({}, student("mallory"), instructor()), upgrades):
        headers = {**shown, **upgrade}
        answer = httpx.get(f"{rig.hub.url}/nodes/connect", headers=headers, trust_env=False)
        assert answer.status_code == 401, headers
    assert rig.listed().keys() == before.keys()


def test_nodes_come_are_drained_and_fail(rig: Rig) -> None:
    for user in ("alice", "bob", "carol", "dave"):
        start(rig.hub, user)
    rows = {user: rig.row(user) for user in ("alice", "bob", "carol", "dave")}
    assert {row.node for row in rows.values()} == {"node-1", "node-2"}
    until(lambda: sum(int(str(each["sessions"])) for each in rig.listed().values()) == 4)
    told = json.loads(rig.command("--json"))
    assert [(each["name"], each["state"]) for each in told] == [
        ("node-1", "ready"),
        ("node-2", "ready"),
    ]
    on = {row.node: row for row in rows.values()}
    stays = {"state": "running", "machine": {"leaving": False, "seconds": None, "elsewhere": False}}
    assert stays.items() <= rig.standing(on["node-1"]).items()

    rig.command("drain", "node-1")
    until(lambda: rig.standing(on["node-1"]).get("machine") != stays["machine"])
    moves = {"leaving": True, "seconds": None, "elsewhere": True}
    assert rig.standing(on["node-1"])["machine"] == moves
    assert stays.items() <= rig.standing(on["node-2"]).items()
    rig.follow("node-1")
    start(rig.hub, "erin")
    assert rig.row("erin").node == "node-2"
    rig.command("undrain", "node-1")
    until(lambda: rig.listed()["node-1"]["state"] == "ready")
    assert stays.items() <= rig.standing(on["node-1"]).items()

    rig.nodes["node-2"].kill()
    until(lambda: rig.standing(on["node-2"])["state"] == "ended", 4 * LEASE_SECONDS)
    assert "machine" in str(rig.standing(on["node-2"])["title"])
    assert "Open it again" in str(rig.standing(on["node-2"])["text"])
    until(lambda: rig.listed()["node-2"]["state"] == "away")
    with rig.hub.client(student("erin")) as client:
        assert "machine that ran your notebook failed" in client.get("/").text
    start(rig.hub, "erin")
    assert rig.row("erin").node == "node-1"

    rig.command("remove", "node-1")
    until(lambda: "node-1" not in rig.listed(), 4 * LEASE_SECONDS)
    until(lambda: rig.standing(on["node-1"])["state"] == "ended", 4 * LEASE_SECONDS)
