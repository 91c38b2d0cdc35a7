"""False numbers of one node: they change nothing for the sessions of the others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from mograder.sandbox.message import Message
from mograder.sandbox.node_messages import NodeStatus
from mograder.sandbox.protocol import Measured, SessionUse
from mograder.sessions.session import LiveSession
from tests.support.fake_node import MEGABYTE, FakeNode
from tests.support.node_pools import ENVIRONMENT, NodePool, pool_on
from tests.support.node_rig import NodeRig, until

HUGE = 10**400


class Liar(FakeNode):
    """A node that says other numbers than it has."""

    said: Mapping[str, object] = {}

    def tell(self, message: Message) -> None:
        if isinstance(message, NodeStatus):
            message = message.model_copy(update=dict(self.said))
        super().tell(message)

    def say(self, **numbers: object) -> None:
        """Send a status with these numbers, and have it counted."""
        self.said = numbers
        self.report()
        self.tell(Measured())


def honest() -> FakeNode:
    """A node with much room, where sessions start warm."""
    return FakeNode("honest", memory_mb=16_000, starts=16, zygotes={ENVIRONMENT})


async def believed(rig: NodeRig) -> Measured:
    """Return the next total that the hub makes of all nodes' numbers."""
    seen = len(rig.news)
    await until(lambda: any(isinstance(each, Measured) for each in rig.news[seen:]))
    return next(each for each in reversed(rig.news) if isinstance(each, Measured))


def total(rig: NodeRig) -> int | None:
    """Return what the hub last took all nodes to use."""
    uses = (each.used for each in reversed(rig.news) if isinstance(each, Measured))
    return next(uses, None)


async def test_a_node_that_uses_more_than_it_has_keeps_no_start_waiting_and_ends_nobody(
    rig: NodeRig,
) -> None:
    async with pool_on(rig) as hub:
        await hub.connect(honest())
        idle = await hub.open("alice")
        idle.last_seen -= timedelta(minutes=20)  # it would be ended for others that wait
        liar = Liar("liar")
        await hub.connect(liar)
        liar.say(memory=0, used=1 << 44)
        await until(lambda: rig.registry.get("liar").status is not None)
        await until(lambda: rig.registry.get("liar").load().memory == 0)
        await believed(rig)
        assert (await hub.open("bob")).endpoint.node == "honest"
        assert hub.pool.by_id(idle.id) is idle


async def on_the_liar(hub: NodePool, liar: FakeNode) -> list[LiveSession]:
    """Open five notebooks on a node that has only then connected."""
    sessions = [await hub.open(f"student-{number}") for number in range(5)]
    assert {each.endpoint.node for each in sessions} == {liar.name}
    return sessions


@pytest.mark.parametrize("number", [HUGE, -HUGE], ids=["huge", "negative"])
async def test_numbers_of_a_session_stay_within_its_node(rig: NodeRig, number: int) -> None:
    async with pool_on(rig) as hub:
        liar = FakeNode("liar", memory_mb=4000)
        await hub.connect(liar)
        sessions = await on_the_liar(hub, liar)
        await hub.connect(honest())
        rig.clock.advance(30)  # none is young any more
        for node in ("liar", "honest"):
            rig.registry.get(node).note_grant(draining=False)
        uses = (
            SessionUse(
                session_id=each.id,
                memory=number,
                cpu=-1e300,
                processes=number,
                workspace=number,
            )
            for each in sessions
        )
        liar.tell(Measured(sessions=tuple(uses), overhead=number, runs=number))
        await believed(rig)
        for each in sessions:
            assert 0 <= each.usage.memory <= 4000 * MEGABYTE
            assert 0 <= each.usage.processes < 1 << 32
            assert each.usage.cpu == 0.0
        assert (await hub.open("bob")).endpoint.node == "honest"
        news = next(each for each in reversed(rig.news) if isinstance(each, Measured))
        assert 0 <= (news.used or 0) <= 20_000 * MEGABYTE
        assert 0 <= news.runs <= 4000 * MEGABYTE


async def test_sessions_that_are_invented_make_no_room(rig: NodeRig) -> None:
    """The hub counts what it knows to run; a node that is drained may have some, too."""
    async with pool_on(rig) as hub:
        node = honest()
        node.session_mb = 7000
        await hub.connect(node)
        for user in ("alice", "bob"):
            await hub.open(user)
        node.measure()
        node.report()
        await until(lambda: total(rig) == 14_000 * MEGABYTE)
        liar = Liar("liar")
        await hub.connect(liar)
        liar.draining = True
        liar.say(memory=1 << 44, used=1 << 44, sessions=("invented-1",), draining=True)
        await until(lambda: rig.registry.draining("liar"))
        use = SessionUse(session_id="invented-1", memory=1 << 44, cpu=0.0, processes=1)
        liar.tell(Measured(sessions=(use,)))
        await believed(rig)
        assert hub.pool.admission.used() == 14_000 * MEGABYTE


async def test_sessions_on_a_node_that_is_drained_take_nothing_of_the_others(
    rig: NodeRig,
) -> None:
    async with pool_on(rig) as hub:
        node = FakeNode("old", memory_mb=4000, session_mb=2000)
        await hub.connect(node)
        await hub.open("alice")
        await hub.connect(honest())
        rig.clock.advance(30)
        for name in ("old", "honest"):
            rig.registry.get(name).note_grant(draining=False)
        node.draining = True
        node.report()
        node.measure()
        await until(lambda: rig.registry.draining("old"))
        await believed(rig)
        node.measure()
        await believed(rig)
        assert hub.pool.admission.used() == 0
        assert hub.pool.admission.memory == 16_000 * MEGABYTE
