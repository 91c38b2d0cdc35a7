"""Nodes that take starts and do not carry them out: the others carry them out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from mograder.core.errors import MograderError, RemoteFailed
from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.protocol import (
    Call,
    Done,
    Ended,
    Endpoint,
    Failed,
    ListSessions,
    Measured,
    Mode,
    SessionInfo,
    StartSession,
    StopSession,
)
from mograder.sessions.launch_spec import Spawner
from mograder.sessions.manager import SessionManager
from mograder.sessions.nodes.node_link import NodeLink
from mograder.sessions.nodes.node_registry import node_capacity
from mograder.sessions.session import LiveSession, SessionKey
from tests.support.fake_node import MEGABYTE, FakeNode
from tests.support.node_rig import KEY, NodeRig
from tests.support.session_pools import Pages, PlainSpawner, ignore_progress
from tests.support.supervisors import until

ENVIRONMENT = "abc"
"""The environment of all sessions."""


@dataclass
class NodePool:
    """A pool of sessions, and the rig with the nodes on which they run."""

    rig: NodeRig
    pool: SessionManager

    async def connect(self, node: FakeNode, *, join: bool = True) -> NodeLink:
        """Connect a node that has the environment."""
        node.environments.add(ENVIRONMENT)
        return await self.rig.connect(node, join=join)

    async def open(self, user: str) -> LiveSession:
        key = SessionKey(user, "A1", Mode.EDIT)
        return await self.pool.get_or_start(key, ignore_progress)

    def opening(self, user: str) -> asyncio.Task[LiveSession]:
        return asyncio.create_task(self.open(user))


@asynccontextmanager
async def pool_on(
    rig: NodeRig, serves: Callable[[Endpoint], bool] = lambda _: True
) -> AsyncIterator[NodePool]:
    """A pool over the nodes of a rig; ``serves`` is whether a session's server ever answers."""

    async def probe(endpoint: Endpoint, base_url: str) -> bool:
        del base_url
        if not serves(endpoint):
            await asyncio.Event().wait()
        return True

    limits = LimitsSettings(start_timeout=40)
    pool = SessionManager(
        launcher=rig.launcher,
        spawner=cast(Spawner, PlainSpawner()),
        rows=rig.rows,
        clock=rig.clock,
        probe=probe,
        census=Pages(),
        is_dead=lambda _: False,
        limits=node_capacity(3600, limits, rig.registry),
    )
    await pool.open()
    try:
        yield NodePool(rig, pool)
    finally:
        await pool.close()


class Attractive(FakeNode):
    """A node that all starts are tried on first, in a way that a test chooses.

    ``orphan`` is a session that it lists and nobody knows.
    """

    family = "RemoteFailed"
    says_ended = False
    orphan = ""
    obeys = True
    """Whether it answers when it is told to stop a session."""
    refuses_stops = False
    asked = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.zygotes |= {KEY, ENVIRONMENT}
        self.memory_mb, self.starts = 1 << 24, 1 << 12

    async def _do(self, call: Call) -> Done | Failed:
        operation = call.operation
        if isinstance(operation, StartSession):
            self.asked += 1
            if self.says_ended:
                self.tell(Ended(session_id=operation.session_id, status=1, log_tail="no"))
            return Failed(id=call.id, family=self.family, message="no")
        if isinstance(operation, StopSession) and not self.obeys:
            await asyncio.Event().wait()
        if isinstance(operation, StopSession) and self.refuses_stops:
            return Failed(id=call.id, family="RemoteFailed", message="no")
        if isinstance(operation, ListSessions) and self.orphan:
            info = SessionInfo(session_id=self.orphan, socket=Path("/x"))
            return Done(id=call.id, sessions=(info,))
        return await super()._do(call)


def is_failing(rig: NodeRig, name: str) -> bool:
    """Whether a start on a node has failed just before."""
    load = rig.node(name).load()
    return load is not None and load.failing


@pytest.mark.parametrize("family", ["Conflict", "NotFound", "Busy", "SandboxUnavailable"])
async def test_a_start_goes_on_elsewhere_whatever_a_node_calls_its_failure(
    rig: NodeRig, family: str
) -> None:
    hostile, sound = Attractive("hostile"), FakeNode("sound")
    hostile.family = family
    for node in (hostile, sound):
        await rig.connect(node)
    assert await rig.start("a") == "sound"
    assert hostile.asked == 1
    assert is_failing(rig, "hostile")
    assert await rig.start("b") == "sound"
    assert hostile.asked == 1


async def test_a_node_cannot_say_that_a_session_is_not_to_be_started(rig: NodeRig) -> None:
    hostile = Attractive("hostile")
    hostile.family = "Conflict"
    await rig.connect(hostile)
    with pytest.raises(RemoteFailed):
        await rig.start("a")


async def test_the_end_of_a_session_counts_only_where_it_is_started(rig: NodeRig) -> None:
    async with pool_on(rig) as hub:
        hostile, sound = Attractive("hostile"), FakeNode("sound")
        hostile.says_ended = True
        for node in (hostile, sound):
            await hub.connect(node)
        live = await hub.open("alice")
        assert live.endpoint.node == "sound"
        assert hostile.asked == 1
        hostile.tell(Ended(session_id=live.id, status=1, log_tail="no"))
        hostile.report()
        seen = len(hostile.grants)
        await hostile.until(lambda: len(hostile.grants) > seen)
        assert hub.pool.by_id(live.id) is live


async def test_the_end_of_a_session_that_starts_is_heard_from_its_node(rig: NodeRig) -> None:
    async with pool_on(rig, serves=lambda _: False) as hub:
        node = FakeNode("one")
        await hub.connect(node)
        opening = hub.opening("alice")
        await until(lambda: bool(node.sessions))
        node.end(next(iter(node.sessions)))
        with pytest.raises(MograderError, match="ended while it was starting"):
            await opening


async def test_an_orphan_that_its_node_does_not_stop_keeps_no_other_node_waiting(
    rig: NodeRig,
) -> None:
    async with pool_on(rig) as hub:
        sound = FakeNode("sound", zygotes={ENVIRONMENT})
        await hub.connect(sound)
        live = await hub.open("alice")
        hostile = Attractive("hostile")
        await hub.connect(hostile)  # without a lease, none of its sessions can be running
        await rig.lose(hostile)
        hostile.orphan, hostile.obeys, hostile.status_seconds = "orphan-12345678", False, 1.0
        await hub.connect(hostile, join=False)
        await hostile.until(lambda: any(isinstance(each, StopSession) for each in hostile.calls))
        await rig.lose(sound)
        sound.sessions.clear()
        await hub.connect(sound, join=False)
        await until(lambda: hub.pool.by_id(live.id) is None)


async def test_a_node_that_stops_nothing_is_cut_off_and_the_start_goes_on_elsewhere(
    rig: NodeRig,
) -> None:
    hostile, sound = Attractive("hostile"), FakeNode("sound")
    hostile.refuses_stops = True
    for node in (hostile, sound):
        await rig.connect(node)
    starting = asyncio.create_task(rig.start("a"))
    await hostile.until(lambda: any(isinstance(each, StopSession) for each in hostile.calls))
    rig.clock.advance(50)
    sound.report()
    await until(lambda: rig.registry.find("hostile") is None)
    seen = len(hostile.grants)
    await rig.link(hostile)
    hostile.report()
    await until(lambda: rig.node("hostile").status is not None)
    rig.lapse("hostile")
    assert await starting == "sound"
    assert len(hostile.grants) == seen, "it got no lease meanwhile"
    await rig.connect(hostile, join=False)


async def test_the_only_node_is_not_cut_off(rig: NodeRig) -> None:
    """It would end all sessions, and none could start elsewhere; the share may be away."""
    node = Attractive("only")
    node.refuses_stops = True
    await rig.connect(node)
    starting = asyncio.create_task(rig.start("a"))
    stops = [StopSession(session_id="session-a")]
    await node.until(lambda: [e for e in node.calls if isinstance(e, StopSession)] == stops)
    rig.clock.advance(50)
    stops *= 3
    await node.until(lambda: [e for e in node.calls if isinstance(e, StopSession)] == stops)
    assert rig.registry.find("only") is not None
    starting.cancel()
    await asyncio.wait({starting})


class Mute(FakeNode):
    """A node that does not list its sessions."""

    async def _do(self, call: Call) -> Done | Failed:
        if isinstance(call.operation, ListSessions):
            await asyncio.Event().wait()
        return await super()._do(call)


@pytest.mark.full  # ten seconds, in which nothing happens
async def test_a_node_that_lists_no_sessions_delays_the_others_by_seconds(rig: NodeRig) -> None:
    async with pool_on(rig) as hub:
        sound = FakeNode("sound", zygotes={ENVIRONMENT})
        await hub.connect(sound)
        live = await hub.open("alice")
        mute = Mute("mute")
        await hub.connect(mute)
        await rig.lose(sound)
        sound.sessions.clear()
        await hub.connect(sound, join=False)
        await until(lambda: hub.pool.by_id(live.id) is None)
        asked = [each for each in mute.calls if isinstance(each, ListSessions)]
        await mute.until(
            lambda: len([e for e in mute.calls if isinstance(e, ListSessions)]) > len(asked)
        )


async def test_the_memory_of_a_node_that_fails_counts_for_nobody(rig: NodeRig) -> None:
    capacity = node_capacity(3600, LimitsSettings(), rig.registry)
    sound = FakeNode("sound", memory_mb=1000, session_mb=950)
    hostile = Attractive("hostile")
    await rig.connect(sound)
    assert await rig.start("a") == "sound"
    sound.report()
    await rig.connect(hostile)
    await until(lambda: 950 * MEGABYTE in [each.status.used for each in rig.registry.loads()])
    assert capacity.fits(150 * MEGABYTE)
    waiting = asyncio.create_task(rig.start("b"))
    await hostile.until(lambda: "session-b" in hostile.stopped)
    assert (capacity.memory, capacity.starts) == (1000 * MEGABYTE, 4)
    assert capacity.largest == 1000 * MEGABYTE
    assert not capacity.fits(150 * MEGABYTE)
    seen = len(sound.grants)
    sound.report()
    await sound.until(lambda: len(sound.grants) > seen)
    assert list(sound.sessions) == ["session-a"], "it waits for room"
    sound.end("session-a")
    sound.report()
    assert await waiting == "sound"
    sound.disconnect()
    await until(lambda: capacity.memory > 1000 * MEGABYTE)
    assert capacity.fits(150 * MEGABYTE), "one that fails is better than none"


async def counted(rig: NodeRig) -> None:
    """Wait for the next total that the hub makes of all nodes' numbers."""
    seen = len(rig.news)
    await until(lambda: any(isinstance(each, Measured) for each in rig.news[seen:]))


async def test_sessions_on_a_node_that_is_drained_take_nothing_of_the_others(
    rig: NodeRig,
) -> None:
    async with pool_on(rig) as hub:
        node = FakeNode("old", memory_mb=4000, session_mb=2000)
        await hub.connect(node)
        await hub.open("alice")
        await hub.connect(FakeNode("honest", memory_mb=16_000, starts=16, zygotes={ENVIRONMENT}))
        rig.clock.advance(30)
        for name in ("old", "honest"):
            rig.node(name).note_grant(draining=False)
        node.draining = True
        node.report()
        node.measure()
        await until(lambda: rig.registry.draining("old"))
        await counted(rig)
        node.measure()
        await counted(rig)
        assert hub.pool.admission.used() == 0
        assert hub.pool.admission.memory == 16_000 * MEGABYTE
