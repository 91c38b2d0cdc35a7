"""A hub with two nodes as processes of this machine: placement, pages, runs, a death, a drain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bench.support.course import put_release
from bench.support.identity import instructor, student
from bench.support.marimo import open_editor
from tests.support.node_processes import NodeProcess, NodesHub, nodes_hub
from tests.support.shared_hub import (
    SharedCaches,
    editor,
    notebook,
    servers_of,
    start,
    stop,
    until,
    workspace,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

CHECKED = "V1-Validate"
TINY = "T1-Tiny"
_CELLS = """from mograder.runtime import Grader
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 4}
    check = Grader(_marks).check
    return (check,)


@app.cell
def _():
    ### BEGIN SOLUTION
    x = 1
    ### END SOLUTION
    return (x,)


@app.cell
def _(check, x):
    check("Q1: one", [(x == 1, "not one")])
    return

"""
SOURCE = notebook("").replace("    return\n", f"    {_CELLS}", 1)
RELEASED = SOURCE.replace(
    "    ### BEGIN SOLUTION\n    x = 1\n    ### END SOLUTION\n", "    # YOUR CODE HERE\n    x = 2\n"
)


def _prepare(course: Path) -> None:
    put_release(course, TINY, notebook())
    put_release(course, CHECKED, RELEASED)


@dataclass
class Rig:
    """The hub and its two nodes."""

    nodes: NodesHub
    one: NodeProcess
    two: NodeProcess

    def node(self, name: str) -> NodeProcess:
        """The node of a name."""
        return self.one if name == "one" else self.two

    def other(self, name: str) -> str:
        """The name of the other node."""
        return "two" if name == "one" else "one"


@pytest.fixture(scope="module")
def rig(uv_cache: Path, run_directory: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        caches = SharedCaches(uv_cache, run_directory)
        nodes = stack.enter_context(nodes_hub("nodes", caches, _prepare))
        one = stack.enter_context(nodes.node("one"))
        two = stack.enter_context(nodes.node("two"))
        for _ in range(2):  # the environment is built on both nodes
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda user: start(nodes.hub, user), ("first", "second")))
        until(lambda: len(set(nodes.places().values())) == 2)
        for user in ("first", "second"):
            stop(nodes.hub, user)
        yield Rig(nodes, one, two)


def begin(rig: Rig, *users: str) -> dict[str, str]:
    """Start sessions at the same time; return their nodes."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda user: start(rig.nodes.hub, user), users))
    places = rig.nodes.places()
    return {user: places[user] for user in users}


def test_sessions_are_spread_over_the_nodes(rig: Rig) -> None:
    users = [f"spread-{number}" for number in range(4)]
    places = begin(rig, *users)
    assert sorted(places.values()) == ["one", "one", "two", "two"]
    for user in users:
        (server,) = servers_of(user)
        assert server in rig.node(places[user]).processes()
        assert stop(rig.nodes.hub, user)
        until(lambda user=user: not servers_of(user))


async def test_a_page_and_its_websocket_go_through_the_hub(rig: Rig) -> None:
    users = ("page-1", "page-2")
    assert set(begin(rig, *users).values()) == {"one", "two"}
    for user in users:
        async with open_editor(editor(rig.nodes.hub, user)) as tab:
            shown = await tab.edit(0, "'x' * 3_000_000 and 20 + 22")
            assert "42" in shown.data
            await tab.save()
        saved = workspace(rig.nodes.hub, user) / f"{TINY}.py"
        assert "20 + 22" in saved.read_text()
        stop(rig.nodes.hub, user)


def test_notebooks_are_validated_and_judged_on_nodes(rig: Rig) -> None:
    hub = rig.nodes.hub
    start(hub, "val", CHECKED)
    with hub.client(student("val")) as client:
        answer = client.post(f"/validate/val/{CHECKED}")
    assert answer.status_code == httpx.codes.OK, answer.text
    assert [each["status"] for each in answer.json()["checks"]] == ["fail"], answer.text
    stop(hub, "val", CHECKED)
    submitted = hub.course / "submitted" / CHECKED
    submitted.mkdir(parents=True)
    (submitted / "right.py").write_text(RELEASED.replace("x = 2", "x = 1"))
    (submitted / "wrong.py").write_text(RELEASED)
    with hub.client(instructor()) as client:
        sent = client.put(
            f"/source/{CHECKED}", files=[("files", (f"{CHECKED}.py", SOURCE.encode()))]
        )
        assert sent.status_code == httpx.codes.OK, sent.text
        assert client.post(f"/autograde/{CHECKED}").is_success

        def ended() -> bool:
            state = client.get(f"/autograde/{CHECKED}").json()["job"]["state"]
            return state not in ("queued", "running")

        until(ended, 120)
        told = client.get(f"/autograde/{CHECKED}").json()
    assert told["job"]["state"] == "done", told
    assert not list((hub.course / "hub-runs").glob("*/grading/*/*")), "copies are removed"


def test_a_dead_node_ends_its_sessions_and_they_start_elsewhere(rig: Rig) -> None:
    """Only the agent is killed: its supervisor ends the sandboxes by itself."""
    hub, users = rig.nodes.hub, ("dead-1", "dead-2")
    places = begin(rig, *users)
    user = users[0]
    lost, kept = places[user], rig.other(places[user])
    bystander = next(each for each in users if places[each] == kept)
    (old,) = servers_of(user)
    killed = time.monotonic()
    rig.node(lost).kill()
    try:
        until(lambda: user not in rig.nodes.places(), 30)
        assert not old.is_running(), "it has ended before another one may start"
        assert lost not in rig.nodes.held()
        with hub.client(student(user)) as client:
            told = client.get(f"/session-ended/edit/{TINY}")
        del told
        opened = time.monotonic()
        start(hub, user)
        assert time.monotonic() - opened < 15
        assert time.monotonic() - killed < 30
        assert rig.nodes.places() == {user: kept, bystander: kept}
        for each in users:
            stop(hub, each)
    finally:
        rig.node(lost).stop()
        rig.node(lost).start()


def test_an_opening_right_after_the_death_is_served_within_fifteen_seconds(rig: Rig) -> None:
    hub, user = rig.nodes.hub, "quick"
    lost = begin(rig, user)[user]
    (old,) = servers_of(user)
    rig.node(lost).kill()
    try:
        opened = time.monotonic()
        until(lambda: user not in rig.nodes.places(), 20)
        start(hub, user)
        assert time.monotonic() - opened < 15
        assert rig.nodes.places()[user] == rig.other(lost)
        assert not old.is_running()
        stop(hub, user)
    finally:
        rig.node(lost).stop()
        rig.node(lost).start()


def test_a_node_that_is_stopped_moves_its_sessions(rig: Rig) -> None:
    hub, user = rig.nodes.hub, "moving"
    left = begin(rig, user)[user]
    try:
        rig.node(left).stop(seconds=30)
        until(lambda: user not in rig.nodes.places(), 20)
        start(hub, user)
        assert rig.nodes.places()[user] == rig.other(left)
        stop(hub, user)
    finally:
        rig.node(left).start()
