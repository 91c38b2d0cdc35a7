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

from tests.support.course import put_release
from tests.support.identity import instructor, student
from tests.support.marimo import open_editor
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
_TURNS = 5
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
        return self.one if name == "one" else self.two


@pytest.fixture(scope="module")
def rig(caches: SharedCaches) -> Iterator[Rig]:
    with ExitStack() as stack:
        nodes = stack.enter_context(nodes_hub("nodes", caches, _prepare))
        one = stack.enter_context(nodes.node("one"))
        two = stack.enter_context(nodes.node("two"))
        # Both build the environment, and a node that is warm is chosen before one that is not.
        until(lambda: nodes.warm() == {"one", "two"}, 300)
        yield Rig(nodes, one, two)


def begin(rig: Rig, *users: str) -> dict[str, str]:
    """Start sessions at the same time; return their nodes."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda user: start(rig.nodes.hub, user), users))
    places = rig.nodes.places()
    return {user: places[user] for user in users}


def spread(rig: Rig, stem: str, count: int) -> dict[str, str]:
    """Start sessions at the same time, which are shared equally; return their nodes.

    Both nodes tell the load of this one machine, each at its own moments. If it changed between
    them, one seems to be less loaded and rightly gets more: then they are started once more.
    """
    for turn in range(_TURNS):
        users = [f"{stem}-{turn}-{number}" for number in range(count)]
        places = begin(rig, *users)
        if sorted(places.values()) == sorted(["one", "two"] * (count // 2)):
            return places
        print(f"not spread: {places}")
        for user in users:
            stop(rig.nodes.hub, user)
        until(lambda: not any(map(servers_of, users)))  # noqa: B023
    raise AssertionError("the sessions are not spread over the nodes")


def test_sessions_are_spread_over_the_nodes(rig: Rig) -> None:
    places = spread(rig, "spread", 4)
    users = list(places)
    until(lambda: all(servers_of(user) for user in users))  # a new one may not show its words yet
    for user in users:
        (server,) = servers_of(user)
        assert server in rig.node(places[user]).processes()
        assert stop(rig.nodes.hub, user)
    until(lambda: not any(servers_of(user) for user in users))


async def test_a_page_and_its_websocket_go_through_the_hub(rig: Rig) -> None:
    for user in spread(rig, "page", 2):
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
    assert [each["status"] for each in answer.json()["checks"]] == ["danger"], answer.text
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
    grades = {each["student"]: each["mark"] for each in told["students"]}
    assert grades == {"right": 4, "wrong": 0}, told
    assert not list((hub.course / "hub-runs").glob("*/grading/workers/*")), "copies are removed"


def test_the_sessions_of_a_node_that_is_killed_start_elsewhere(rig: Rig) -> None:
    """They have ended before the lease is over."""
    hub = rig.nodes.hub
    start(hub, "kept")
    with rig.nodes.extra("three", rig.one) as three:
        with rig.nodes.only("three"):
            start(hub, "lost")
        assert rig.nodes.places()["lost"] == "three"
        until(lambda: bool(servers_of("lost")))
        (old,) = servers_of("lost")
        killed = time.monotonic()
        three.kill()
        until(lambda: "lost" not in rig.nodes.places(), 30)
        assert not old.is_running(), "it has ended before another one may start"
        assert "three" not in rig.nodes.held()
        assert time.monotonic() - killed < 25
        start(hub, "lost")
        assert rig.nodes.places()["lost"] in ("one", "two")
    with hub.client(student("kept")) as client:
        assert [each["assignment"] for each in client.get("/sessions").json()] == [TINY]
    for user in ("kept", "lost"):
        assert stop(hub, user)


def test_a_node_that_is_stopped_tells_its_students_to_open_again(rig: Rig) -> None:
    hub = rig.nodes.hub
    with rig.nodes.extra("four", rig.one) as four:
        with rig.nodes.only("four"):
            start(hub, "moving")
        assert rig.nodes.places()["moving"] == "four"
        assert four.stop(seconds=60) == 0
        until(lambda: "moving" not in rig.nodes.places())
    with hub.client(student("moving")) as client:
        shown = client.get("/", headers={"Accept": "text/html"}).text
    assert "its machine is being serviced" in shown
    start(hub, "moving")
    assert rig.nodes.places()["moving"] in ("one", "two")
    assert stop(hub, "moving")
