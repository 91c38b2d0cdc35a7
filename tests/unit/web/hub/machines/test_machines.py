"""The instructors' page of machines and its API, and the watch that notifies pages of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity, Method
from mograder.hub.notifier import Notifier, Part
from mograder.operations.machines import NodesView
from mograder.sandbox.protocol import Endpoint
from mograder.store.hub.nodes import NodeNote, Nodes
from mograder.web.hub.machines import ROUTES as MACHINE_ROUTES
from mograder.web.hub.machines import MachineWatch
from tests.support.clock import ManualClock
from tests.support.hub_app import Hub, HubOf, running_hub
from tests.support.hub_copies import ask, press, read
from tests.support.joined_nodes import LEASE_SECONDS, connected, joined, lapse, status

PAGE = "/course/machines"
SETTINGS = 'title = "Numerics"\n[hub]\ninstructors = ["prof"]\n[nodes]\nenabled = true\n'


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with running_hub(tmp_path / "course", SETTINGS, "A1") as made:
        yield made


async def see(hub: Hub, path: str = PAGE) -> str:
    return " ".join((await read(hub, path, "prof")).split())


async def change(hub: Hub, name: str, action: str) -> int:
    return (await ask(hub, "POST", f"/nodes/{name}/{action}", "prof")).status_code


async def states(hub: Hub) -> dict[str, str]:
    return {
        each["name"]: each["state"] for each in (await ask(hub, "GET", "/nodes", "prof")).json()
    }


async def test_without_nodes_the_page_says_how_one_comes(hub: Hub) -> None:
    text = await see(hub)
    assert "There is no node yet, so no notebook can be opened." in text
    assert "mograder hub node-token" in text
    assert "mograder node run" in text


async def test_a_node_is_told_with_its_load(hub: Hub) -> None:
    connected(hub.engine, "n1", version="1.4.0")
    text = await see(hub)
    assert "at work" in text
    assert "<span>2 sessions</span>" in text
    assert "3.0 GB of 16.0 GB memory" in text
    assert "load 1.2 on 4 processors" in text
    assert "3 environments, 1 warm" in text
    assert "mograder 1.4.0" in text
    assert "1 node is connected with 2 sessions" in text
    metrics = (await ask(hub, "GET", "/metrics", "prof")).text
    assert 'mograder_node_up{node="n1"} 1.0' in metrics


async def test_nodes_that_are_away_or_new_are_told_apart(hub: Hub) -> None:
    joined(hub.engine, "new")
    connected(hub.engine, "gone")
    lapse(hub.engine, "gone")
    assert await states(hub) == {"new": "new", "gone": "away"}
    text = await see(hub)
    assert "never connected" in text
    assert "not connected</span>" in text
    assert "No node is connected, so no notebook can be opened." in text
    assert "2 sessions" not in text  # they have ended with the lease
    assert "Its token counts no more" in text  # beside the button that removes one
    assert "certificate" not in text, "nodes have none"
    assert "[nodes]" not in text, "it has no address: nodes connect at the hub's own"


async def test_draining_is_asked_for_and_taken_back(hub: Hub) -> None:
    connected(hub.engine, "n1")
    assert await change(hub, "n1", "drain") == 200
    assert await states(hub) == {"n1": "draining"}
    row = Nodes(hub.engine).find("n1")
    assert row is not None
    assert row.draining
    assert await change(hub, "n1", "undrain") == 200
    assert await states(hub) == {"n1": "ready"}
    assert [each[:3] for each in hub.audit()] == [
        ("prof", "drain node", "n1"),
        ("prof", "undrain node", "n1"),
    ]


async def test_a_node_that_drains_by_itself_says_until_when(hub: Hub) -> None:
    connected(hub.engine, "n1", draining=True, drain_seconds=600.0)
    (entry,) = (await ask(hub, "GET", "/nodes", "prof")).json()
    assert entry["state"] == "draining"
    assert entry["ends"] == pytest.approx(hub.clock.now().timestamp() + 600, abs=1)
    text = await see(hub)
    assert "draining</span><span>until <time" in text
    assert "asked to drain on its own machine" in text


async def test_where_all_machines_drain_the_page_says_that_nothing_can_be_opened(hub: Hub) -> None:
    connected(hub.engine, "n1", draining=True, sessions=("one",))
    connected(hub.engine, "n2", sessions=("two", "three"))
    text = await see(hub)
    assert "2 nodes are connected with 3 sessions" in text
    assert "memory in use on the 1 node that takes new sessions." in text
    assert "All machines are draining" not in text
    await change(hub, "n2", "drain")
    text = await see(hub)
    assert "2 nodes are connected with 3 sessions." in text
    assert "All machines are draining, so no notebook can be opened." in text


async def test_a_removed_node_stays_until_its_lease_is_over(hub: Hub) -> None:
    connected(hub.engine, "n1")
    assert await change(hub, "n1", "remove") == 200
    assert await states(hub) == {"n1": "removed"}
    assert not Nodes(hub.engine).renew_leases({"n1": b"n1".hex()}, 12)
    assert "being removed" in await see(hub)
    lapse(hub.engine, "n1")
    assert await states(hub) == {}
    assert ("prof", "remove node", "n1", "ok") in hub.audit()


@pytest.mark.parametrize("name", ["n2", "%00", "n1%27%20OR%201", "x" * 3000])
@pytest.mark.parametrize("action", ["drain", "undrain", "remove"])
async def test_an_unknown_node_is_not_found(hub: Hub, name: str, action: str) -> None:
    connected(hub.engine, "n1")
    assert await change(hub, name, action) == 404
    assert await states(hub) == {"n1": "ready"}
    assert hub.audit() == []


async def test_the_forms_lead_back_to_the_page(hub: Hub) -> None:
    connected(hub.engine, "n1")
    answer = await press(hub, "/nodes/n1/drain", "prof")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{PAGE}?done=drain-node&item=n1"
    text = await see(hub, answer.headers["location"])
    assert "<strong>n1 takes no new sessions.</strong>" in text
    assert "Use again" in text


async def test_what_a_node_says_is_shown_as_text(hub: Hub) -> None:
    connected(hub.engine, "n1", version="<script>", sessions=("<script>",) * 3)
    connected(hub.engine, "n2")
    note = NodeNote("n2", "<script>", status().model_dump_json()[:-3])
    assert Nodes(hub.engine).renew_leases({"n2": b"n2".hex()}, 12, [note])
    assert "<script>" not in (await see(hub)).replace('<script type="module"', "")
    for path in ("/nodes", "/metrics"):
        assert (await ask(hub, "GET", path, "prof")).status_code == 200, path


async def test_students_are_told_that_a_machine_will_be_shut_down(hub: Hub) -> None:
    session = hub.start("alice", "A1")
    session.endpoint = Endpoint(Path("/nowhere"), "n1")
    connected(hub.engine, "n1")
    await see(hub)
    async with hub.client("alice", browser=True) as alice:
        ask, json = "/standing/alice/A1?session=alice-A1", {"Accept": "application/json"}
        state = (await alice.get(ask, headers=json)).json()
        assert state["machine"] == {"leaving": False, "seconds": None, "elsewhere": False}
        assert "will be shut down" not in (await alice.get("/")).text
        connected(hub.engine, "n1", draining=True, drain_seconds=620.0)
        await see(hub)
        state = (await alice.get(ask, headers=json)).json()
        assert state["machine"] == {"leaving": True, "seconds": 620, "elsewhere": False}
        text = "Its machine will be shut down in about 10 minutes. What is saved stays"
        assert f"{text}.</p>" in (await alice.get("/")).text
        connected(hub.engine, "n2")
        await see(hub)
        assert (await alice.get(ask, headers=json)).json()["machine"]["elsewhere"]
        assert f"{text}: stop it and open it again to move now." in (await alice.get("/")).text
        connected(hub.engine, "n1", draining=True, drain_seconds=20.0)
        await see(hub)
        assert "shut down in less than a minute" in (await alice.get("/")).text
        connected(hub.engine, "n1", draining=True, drain_seconds=None)
        await see(hub)
        assert "Its machine will be shut down soon" in (await alice.get("/")).text


async def test_a_hub_without_nodes_has_neither_page_nor_tab(hub_of: HubOf) -> None:
    made = hub_of('[hub]\ninstructors = ["prof"]\n')
    for route in MACHINE_ROUTES:
        path = route.path.replace("{name}", "n1")
        assert (await ask(made, route.method, path, "prof")).status_code == 404, path
    assert "Machines" not in await read(made, "/course/items", "prof")


# ---- the watch ----


@pytest.fixture
def engine(hub_of: HubOf) -> Engine:
    return hub_of().engine


def watch_of(engine: Engine, clock: ManualClock) -> MachineWatch:
    return MachineWatch(NodesView(Nodes(engine), LEASE_SECONDS), clock)


def test_a_change_of_state_counts_once_and_load_never(engine: Engine) -> None:
    watch = watch_of(engine, ManualClock())
    connected(engine, "n1")
    assert watch.changed() == {"n1"}
    connected(engine, "n1", load=3.0, sessions=("one",))
    assert watch.changed() == frozenset()
    assert watch.all()[0].load == 3.0
    connected(engine, "n1", draining=True, drain_seconds=600.0)
    watch.look()  # a look of a page takes no news away
    assert watch.changed() == {"n1"}
    assert watch.changed() == frozenset()
    lapse(engine, "n1")
    assert watch.changed() == {"n1"}
    Nodes(engine).remove("n1")
    assert watch.changed() == {"n1"}
    assert watch.all() == []


def test_the_end_of_a_drain_is_steady_while_the_node_counts_down(engine: Engine) -> None:
    clock = ManualClock()
    watch = watch_of(engine, clock)
    connected(engine, "n1", draining=True, drain_seconds=600.0)
    watch.changed()
    first = watch.leaving("n1")
    clock.advance(5)
    connected(engine, "n1", draining=True, drain_seconds=594.0)
    assert watch.changed() == frozenset()
    assert watch.leaving("n1") == first
    connected(engine, "n1", draining=True, drain_seconds=60.0)
    assert watch.changed() == {"n1"}
    left = watch.leaving("n1")
    assert left is not None
    assert (left.seconds(clock.now()), left.minutes(clock.now())) == (60, 1)


def test_pages_are_told_when_another_machine_could_take_their_notebook(engine: Engine) -> None:
    watch = watch_of(engine, ManualClock())
    connected(engine, "n1", draining=True)
    watch.changed()
    for ready in (True, False):
        connected(engine, "n2", draining=not ready)
        assert watch.changed() == {"n1", "n2"}
        left = watch.leaving("n1")
        assert left is not None
        assert left.elsewhere is ready
    connected(engine, "n3")
    assert watch.changed() == {"n1", "n2", "n3"}
    connected(engine, "n4")
    assert watch.changed() == {"n4"}


def test_pages_are_reminded_of_a_drain_once_a_minute(engine: Engine) -> None:
    clock = ManualClock()
    watch = watch_of(engine, clock)
    connected(engine, "n1", draining=True, drain_seconds=600.0)
    connected(engine, "n2")
    assert watch.changed() == {"n1", "n2"}
    clock.advance(59)
    assert watch.changed() == frozenset()
    clock.advance(1)
    assert watch.changed() == {"n1"}
    assert watch.changed() == frozenset()


async def test_users_on_a_machine_and_instructors_are_notified(engine: Engine) -> None:
    watch, notifier = watch_of(engine, ManualClock()), Notifier()
    connected(engine, "n1")
    users = {"n1": ["alice", "alice"], "n2": ["bob"]}
    with (
        notifier.listening(_someone("alice")) as alice,
        notifier.listening(_someone("bob")) as bob,
        notifier.listening(_someone("prof", Role.INSTRUCTOR)) as prof,
    ):
        await watch.tell(notifier, lambda name: users.get(name, []))
        assert await alice.news(20) == {Part.SESSIONS}
        assert await prof.news(20) == {Part.SESSIONS, Part.MACHINES}
        assert await bob.news(0) == frozenset()


def _someone(name: str, role: Role = Role.STUDENT) -> Identity:
    return Identity(name, role, Method.BEARER, "", None)
