"""The watch of machines: what counts as a change, and who is notified of it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.operations.machines import NodesView
from mograder.store.hub.nodes import Nodes
from mograder.web.hub.core.notifier import Notifier, Part
from mograder.web.hub.machines import MachineWatch
from tests.support.clock import ManualClock
from tests.support.hub_app import HubOf
from tests.support.joined_nodes import LEASE_SECONDS, connected, lapse


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
