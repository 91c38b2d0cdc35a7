"""The launcher over nodes: placement, what a node may say, and nodes that are lost."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.core.errors import Busy, Conflict, MograderError, RemoteFailed
from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.protocol import (
    Arrived,
    Checked,
    Ended,
    Execute,
    Failed,
    Measured,
    PrepareEnvironment,
    SessionUse,
    StartSession,
    StopSession,
    encode,
)
from mograder.sessions.capacity import MemoryLedger
from mograder.sessions.nodes.node_registry import node_capacity
from mograder.store.hub.nodes import NodeRow
from tests.support.fake_node import MEGABYTE, FakeNode, linked
from tests.support.node_rig import KEY, LEASE, NOW, NodeRig, spec
from tests.support.supervisors import PATIENCE, until

# --- where sessions start ---------------------------------------------------------------------


async def test_a_burst_is_spread_over_the_nodes(rig: NodeRig) -> None:
    one = await rig.joined("one", zygotes=(KEY,))
    two = await rig.joined("two", zygotes=(KEY,))
    places = await asyncio.gather(*(rig.start(f"n{number}") for number in range(6)))
    assert sorted(places) == ["one"] * 3 + ["two"] * 3, "not all that one takes at a time"
    assert len(one.sessions) == len(two.sessions) == 3


async def test_a_session_starts_where_the_memory_is_free_that_it_was_admitted_with(
    rig: NodeRig,
) -> None:
    warm = await rig.joined("warm", zygotes=(KEY,), memory_mb=1000, session_mb=500)
    ledger = MemoryLedger(rig.clock)
    rig.registry.expected = ledger.expected
    assert await rig.start("a") == "warm"
    warm.report()
    await until(lambda: rig.node("warm").session_ids == {"session-a"})
    await rig.joined("roomy")
    ledger.open("session-b", 900 * MEGABYTE)
    assert [await rig.start("b"), await rig.start("c")] == ["roomy", "warm"]


async def test_a_session_says_its_node_and_the_row_says_it_before_the_node_starts(
    rig: NodeRig,
) -> None:
    go_on = asyncio.Event()
    node = await rig.joined("one", hold=go_on)
    starting = asyncio.create_task(rig.start("a"))
    await node.until(lambda: any(isinstance(call, StartSession) for call in node.calls))
    assert [row.node for row in rig.rows.sessions()] == ["one"]
    go_on.set()
    assert await starting == "one"
    (info,) = await rig.launcher.sessions()
    assert (info.endpoint.node, info.endpoint.socket.stem) == ("one", "session-a")


async def test_a_start_without_a_row_is_not_sent_to_a_node(rig: NodeRig) -> None:
    node = await rig.joined("one")
    with pytest.raises(Conflict):
        await rig.launcher.start(spec("without-a-row"))
    assert not node.sessions
    assert [load.reserved for load in rig.registry.loads()] == [0]


async def test_a_draining_node_gets_no_session(rig: NodeRig) -> None:
    one = await rig.joined("one", zygotes=(KEY,))
    await rig.joined("two")
    one.draining = True
    one.report()
    await until(lambda: rig.registry.draining("one"))
    assert await rig.start("a") == "two"


async def test_the_administrators_wish_to_drain_reaches_the_node(rig: NodeRig) -> None:
    node = await rig.joined("one")
    rig.nodes.drain("one", draining=True)
    await asyncio.sleep(0)
    node.report()
    await node.until(lambda: node.grants[-1].draining)
    await until(lambda: rig.registry.draining("one"))
    assert not await rig.launcher.answers()


async def test_the_error_of_the_only_node_is_told(rig: NodeRig) -> None:
    broken = FakeNode("broken")
    broken.failure = Failed(id=0, family="SandboxUnavailable", message="no bubblewrap")
    await rig.connect(broken)
    with pytest.raises(MograderError, match="no bubblewrap"):
        await rig.start("a")


@pytest.mark.parametrize("family", ["NotFound", "Forbidden"])
async def test_a_node_without_the_share_names_no_directory_to_students(
    rig: NodeRig, family: str
) -> None:
    unmounted = FakeNode("unmounted")
    unmounted.failure = Failed(id=0, family=family, message="no directory /srv/x/alice")
    await rig.connect(unmounted)
    with pytest.raises(RemoteFailed, match="unmounted cannot reach the notebook's files") as caught:
        await rig.start("a")
    assert "/srv" not in str(caught.value)
    with pytest.raises(RemoteFailed, match="unmounted cannot reach the notebook's files") as caught:
        await rig.launcher.execute(run_of(rig.place), lambda _: None)
    assert "/srv" not in str(caught.value)
    assert all(load.reserved_memory == 0 for load in rig.registry.loads())


async def test_a_start_goes_on_elsewhere_when_its_node_is_lost(rig: NodeRig) -> None:
    """The first node might still start it, so the second one gets it after the lease."""
    one = FakeNode("one", zygotes={KEY}, hold=asyncio.Event())
    two = FakeNode("two")
    for node in (one, two):
        await rig.connect(node)
    starting = asyncio.create_task(rig.start("a"))
    await one.until(lambda: any(isinstance(call, StartSession) for call in one.calls))
    await rig.lose(one)
    assert not two.sessions
    rig.lapse("one")
    assert await starting == "two"
    assert not rig.ended, "a start that goes on is no end"


# --- stopping -----------------------------------------------------------------------------------


async def test_a_session_of_the_previous_hub_is_found_by_its_row(rig: NodeRig) -> None:
    node = await rig.joined("one")
    rig.add_row("session-a")
    rig.rows.place_session("session-a", "one")
    assert await rig.launcher.stop("session-a") is False
    assert "session-a" in node.stopped
    assert await rig.launcher.stop("session-unknown") is False


async def test_a_stop_on_a_node_that_is_away_waits_for_its_lease(rig: NodeRig) -> None:
    node = await rig.joined("one")
    await rig.start("a")
    await rig.lose(node)
    stopping = asyncio.create_task(rig.launcher.stop("session-a"))
    other = await rig.joined("two")
    await rig.start("b")
    await rig.lose(other)
    rig.lapse("two")
    await until(lambda: bool(rig.ended))  # the leases were looked at
    assert not stopping.done()
    rig.lapse("one")
    assert await stopping is False


async def test_a_stop_is_sent_again_when_the_node_is_back(rig: NodeRig) -> None:
    node = await rig.joined("one")
    await rig.start("a")
    await rig.lose(node)
    stopping = asyncio.create_task(rig.launcher.stop("session-a"))
    await rig.connect(node, join=False)
    assert await stopping is True


async def test_a_node_stays_cut_off_until_the_last_stop_that_waits_for_its_lease(
    rig: NodeRig,
) -> None:
    node = await rig.joined("one", stubborn=True)
    for name in ("a", "b"):
        await rig.start(name)
    two = await rig.joined("two")
    one, other = (
        asyncio.create_task(rig.launcher.stop(each)) for each in ("session-a", "session-b")
    )
    await node.until(lambda: sum(isinstance(each, StopSession) for each in node.calls) >= 2)
    rig.clock.advance(60)
    two.report()
    await until(lambda: "one" in rig.leases.refused)
    one.cancel()
    await asyncio.wait({one})
    assert rig.leases.refused == {"one"}, "else its lease would be renewed while b waits for it"
    rig.lapse("one")
    assert await other is False
    assert not rig.leases.refused


# --- lost nodes -----------------------------------------------------------------------------------


async def test_sessions_of_a_lost_node_end_with_its_lease_and_not_before(rig: NodeRig) -> None:
    node = await rig.joined("one")
    for name in ("a", "b"):
        await rig.start(name)
    node.silent = True
    await rig.lose(node)
    assert {each.session_id for each in await rig.launcher.sessions()} == {"session-a", "session-b"}
    assert not rig.ended
    rig.lapse("one")
    await until(lambda: len(rig.ended) == 2)
    assert {(each.session_id, each.reason) for each in rig.ended} == {
        ("session-a", "machine"),
        ("session-b", "machine"),
    }
    assert await rig.launcher.sessions() == ()


async def test_sessions_of_a_node_that_is_silent_end_though_its_connection_is_open(
    rig: NodeRig,
) -> None:
    node = FakeNode("one")
    link = await rig.connect(node)
    await rig.start("a")
    node.silent = True
    rig.lapse("one")
    rig.clock.advance(LEASE)
    async with asyncio.timeout(PATIENCE):
        await link.connection.wait_closed()
    assert [each.reason for each in rig.ended] == ["machine"]


async def test_a_new_hub_adopts_sessions_of_a_node_that_is_not_connected_yet(rig: NodeRig) -> None:
    rig.nodes.add(NodeRow("one", "f" * 64, NOW, NOW + timedelta(days=30)))
    rig.add_row("session-a")
    rig.rows.place_session("session-a", "one")
    rig.rows.session_runs("session-a", "")
    rig.nodes.renew_leases({"one": "f" * 64}, 60)
    (info,) = await rig.launcher.sessions()
    assert (info.session_id, info.node) == ("session-a", "one")
    rig.lapse("one")
    await until(lambda: bool(rig.ended))
    assert rig.ended[0].reason == "machine"


async def test_a_removed_node_is_disconnected_and_its_sessions_end_after_a_lease(
    rig: NodeRig,
) -> None:
    """Also where it sends no status, which would be answered by no lease."""
    link = await rig.connect(FakeNode("one"))
    await rig.start("a")
    other = await rig.connect(FakeNode("honest"))
    rig.nodes.remove("one")
    async with asyncio.timeout(PATIENCE):
        await link.connection.wait_closed()
    assert other.connection.alive
    assert {each.session_id for each in await rig.launcher.sessions()} == {"session-a"}
    rig.lapse("one")
    rig.clock.advance(LEASE)
    await until(lambda: bool(rig.ended))
    assert rig.ended[0].reason == "machine"


async def test_a_node_is_disconnected_when_another_key_has_joined_under_its_name(
    rig: NodeRig,
) -> None:
    link = await rig.connect(FakeNode("one"))
    rig.lapse("one")
    rig.nodes.add(NodeRow("one", "e" * 64, NOW, NOW + timedelta(days=30)))
    async with asyncio.timeout(PATIENCE):
        await link.connection.wait_closed()


async def test_news_that_come_before_the_first_status_count(rig: NodeRig) -> None:
    """A node tells of the use of its sessions once it is asked to, and later of changes only."""
    rig.nodes.add(NodeRow("one", "f" * 64, NOW, NOW + timedelta(days=30)))
    node = FakeNode("one", sessions={"session-a": spec("a")})
    link, serving = await linked(node)
    rig.launcher.came(link)
    await until(lambda: rig.compared == 1)
    node.measure()
    await until(lambda: any(isinstance(each, Measured) for each in rig.news))
    await link.close()
    await serving


async def test_a_node_that_connects_again_replaces_its_old_connection(rig: NodeRig) -> None:
    node = FakeNode("one")
    old = await rig.connect(node)
    await rig.start("a")
    again = FakeNode("one", sessions=node.sessions)
    await rig.connect(again, join=False)
    async with asyncio.timeout(PATIENCE):
        await old.connection.wait_closed()
    assert rig.registry.find("one") is not None
    assert {each.session_id for each in await rig.launcher.sessions()} == {"session-a"}
    assert not rig.ended


# --- what a node may say --------------------------------------------------------------------------


async def test_a_node_speaks_for_its_own_sessions_only(rig: NodeRig) -> None:
    honest = await rig.joined("honest", zygotes=(KEY,))
    liar = await rig.joined("liar")
    assert await rig.start("a") == "honest"
    use = SessionUse(session_id="session-a", memory=10**12, cpu=0, processes=1)
    liar.tell(Ended(session_id="session-a", status=0, log_tail=""))
    liar.tell(Arrived(session_id="session-a", warm=False, fallback="lies"))
    liar.tell(Measured(sessions=(use,)))
    liar.tell(Checked(node="honest"))
    liar.sessions["session-a"] = spec("a")
    liar.report()
    await until(lambda: "session-a" in rig.node("liar").session_ids)
    assert not rig.ended
    assert not any(isinstance(each, Arrived) for each in rig.news)
    assert all(not each.sessions for each in rig.news if isinstance(each, Measured))
    assert [each.node for each in rig.news if isinstance(each, Checked)] == ["liar"]
    assert [info.node for info in await rig.launcher.sessions()] == ["honest"]
    assert await rig.launcher.stop("session-a")
    assert not honest.sessions


async def test_a_version_that_no_database_takes_is_cleaned(rig: NodeRig) -> None:
    """All leases are renewed in one transaction, which PostgreSQL would refuse."""
    await rig.joined("one", version="1\0" + "x" * 100)
    await until(lambda: rig.nodes.all()[0].version != "")
    assert rig.nodes.all()[0].version == "1\N{REPLACEMENT CHARACTER}" + "x" * 47 + "…"


async def test_a_node_hides_no_use_of_another_nodes_session(rig: NodeRig) -> None:
    honest = await rig.joined("honest", zygotes=(KEY,))
    liar = await rig.joined("liar")
    assert await rig.start("a") == "honest"
    rig.news.clear()
    await until(lambda: bool(rig.news))  # from now on all is collected for a moment
    honest.measure()
    honest.report()
    await until(lambda: "session-a" in rig.node("honest").session_ids)
    use = SessionUse(session_id="session-a", memory=1, cpu=0, processes=1)
    liar.tell(Measured(sessions=(use,)))

    def told() -> list[int]:
        found = (each for each in rig.news if isinstance(each, Measured))
        return [use.memory for news in found for use in news.sessions]

    await until(lambda: bool(told()))
    assert set(told()) == {60 * MEGABYTE}


@pytest.mark.parametrize(
    "said",
    [
        {"memory": -1},
        {"used": 1 << 60},
        {"load": float("nan")},
        {"starts": 1 << 40},
        {"sessions": ["session-a"] * 10_001},
        {"environments": ["x" * 201]},
    ],
    ids="-".join,
)
async def test_a_node_that_says_what_no_machine_has_is_disconnected(
    rig: NodeRig, said: dict[str, object]
) -> None:
    """The types of the messages have the bounds; what passes them is believed."""
    node = await rig.joined("one")
    before = json.loads(encode(node.report()))
    node.say(json.dumps({**before, **said}).encode() + b"\n")
    await until(lambda: rig.registry.find("one") is None)


async def test_an_end_on_a_draining_node_is_a_move_unless_a_limit_was_exceeded(
    rig: NodeRig,
) -> None:
    node = await rig.joined("one")
    for name in ("a", "b", "c"):
        await rig.start(name)
    node.draining = True
    node.report()
    await until(lambda: rig.registry.draining("one"))
    node.end("session-a", status=-9)
    node.end("session-b", status=-9, reason="memory")
    node.end("session-c", status=0, reason="lost")  # with the node itself, when its time is over
    await until(lambda: len(rig.ended) == 3)
    assert [each.reason for each in rig.ended] == ["moved", "memory", "moved"]


# --- capacity, environments, runs -----------------------------------------------------------------


async def test_the_capacity_follows_the_nodes(rig: NodeRig) -> None:
    capacity = node_capacity(3600, LimitsSettings(), rig.registry)
    assert (capacity.memory, capacity.starts) == (0, 0)
    one = await rig.joined("one", memory_mb=1000, starts=4)
    await rig.joined("two", memory_mb=3000, starts=6)
    await until(lambda: capacity.starts == 10)
    assert capacity.memory == 4000 * MEGABYTE
    assert capacity.largest == 3000 * MEGABYTE
    one.disconnect()
    await until(lambda: capacity.starts == 6)
    assert capacity.memory == 3000 * MEGABYTE


async def test_all_nodes_are_counted_a_few_times_a_second_and_none_of_their_uses_is_left_out(
    rig: NodeRig,
) -> None:
    node = await rig.joined("one", memory_mb=1000)
    counts: list[int] = []
    rig.registry.on_change = lambda loads: counts.append(len(loads))
    rig.news.clear()
    for number in range(100):
        use = SessionUse(session_id=f"s{number % 10}", memory=number, cpu=1.0, processes=1)
        node.tell(Measured(sessions=(use,), overhead=0))
    told: dict[str, int] = {}

    def last_of_each_is_told() -> bool:
        found = (each for each in rig.news if isinstance(each, Measured))
        told.update({use.session_id: use.memory for news in found for use in news.sessions})
        return told == {f"s{number}": 90 + number for number in range(10)}

    await until(last_of_each_is_told)
    assert 1 <= len(counts) <= 4


async def test_a_start_without_nodes_fails_after_a_while(
    rig: NodeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mograder.sessions.nodes.node_machines._WAIT_SECONDS", 0.05)
    with pytest.raises(Busy, match="No machine is ready"):
        await rig.start("a")


async def test_a_start_waits_for_a_node_that_is_about_to_connect(rig: NodeRig) -> None:
    starting = asyncio.create_task(rig.start("a"))
    await rig.joined("one")
    assert await starting == "one"


async def test_a_node_builds_an_environment_before_the_first_session(rig: NodeRig) -> None:
    node = await rig.joined("one")
    environment = finished_environment(rig.place / "fresh-environment")
    rig.add_row("session-a")
    request = spec("a").model_copy(update={"environment": environment})
    told: list[str] = []
    await rig.launcher.start(request, told.append)
    assert told == ["The machine is getting the software of this notebook", "building on one"]
    kinds = [type(call) for call in node.calls]
    assert kinds.index(PrepareEnvironment) < kinds.index(StartSession)
    order = next(call for call in node.calls if isinstance(call, PrepareEnvironment))
    assert (order.key, order.python) == ("fresh-environment", "3.12.1")


async def test_a_node_that_cannot_build_an_environment_has_nothing_reserved_after_that(
    rig: NodeRig,
) -> None:
    node = FakeNode("one")
    node.build_failure = Failed(id=0, family="SandboxUnavailable", message="no index")
    await rig.connect(node)
    environment = finished_environment(rig.place / "fresh-environment")
    for name in ("a", "b"):
        rig.add_row(f"session-{name}")
        request = spec(name).model_copy(update={"environment": environment})
        with pytest.raises(MograderError, match="no index"):
            await rig.launcher.start(request)
    (load,) = rig.registry.loads()
    assert (load.reserved, load.reserved_memory) == (0, 0)


async def test_all_nodes_warm_an_environment_also_later_ones(rig: NodeRig) -> None:
    one, late = FakeNode("one"), FakeNode("late")
    await rig.connect(one)
    rig.environments.warm_later(finished_environment(rig.place / "fresh-environment"))
    await one.until(lambda: "fresh-environment" in one.zygotes)
    await rig.connect(late)
    await late.until(lambda: "fresh-environment" in late.zygotes)


async def test_a_run_goes_to_the_node_with_the_most_free_memory(rig: NodeRig) -> None:
    await rig.connect(FakeNode("small", memory_mb=1000, zygotes={KEY}))
    await rig.joined("large", memory_mb=8000)
    lines: list[str] = []
    executed = await rig.launcher.execute(run_of(rig.place), lines.append)
    assert (executed.status, lines) == (0, ["run on large"])
    assert all(load.reserved_memory == 0 for load in rig.registry.loads())


async def test_the_next_runs_go_elsewhere_when_one_has_failed_on_a_node(rig: NodeRig) -> None:
    away = Failed(id=0, family="NotFound", message="There is no notebook 'A1.py' to open.")
    await rig.joined("shareless", memory_mb=8000, failure=away)
    await rig.joined("small", memory_mb=1000)
    lines: list[str] = []
    with pytest.raises(RemoteFailed, match="shareless cannot reach"):
        await rig.launcher.execute(run_of(rig.place), lines.append)
    await rig.launcher.execute(run_of(rig.place), lines.append)
    assert lines == ["run on small"]


def run_of(directory: Path) -> Execute:
    return Execute(
        session_id="check-0001",
        directory=directory,
        notebook="A1.py",
        environment=Path("/environments") / KEY,
        uid_slot=1,
        limits=limits_of(LimitsSettings()),
        seconds=5,
    )


def finished_environment(path: Path) -> Path:
    """The files of an environment that orders to nodes are made of."""
    path.mkdir()
    (path / "lock.txt").write_text("marimo==0.25.2\n")
    (path / "pyproject.toml").write_text("")
    (path / "ours.whl").write_text("")
    record = {"key": path.name, "python": "3.12.1", "marimo": "0.25.2", "interpreter_roots": []}
    (path / "environment.json").write_text(json.dumps({**record, "wheel": "ours.whl"}))
    return path


async def test_a_flood_of_statuses_costs_few_renewals(rig: NodeRig) -> None:
    node = await rig.joined("one")
    before = len(node.grants)
    for _ in range(500):
        last = node.report().number
    await node.until(lambda: bool(node.grants) and node.grants[-1].number == last)
    assert len(node.grants) <= before + 4
