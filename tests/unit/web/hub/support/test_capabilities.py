"""Issuing, resolving and revoking capabilities, with a list for the database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.sessions.session import LiveSession
from mograder.store.hub.hub_tables import CapabilityRow
from mograder.web.hub.support.capabilities import Capabilities, Capability, seal_key
from tests.support.clock import ManualClock
from tests.support.session_proxy import FakeCapabilityTable


def visit(session: str, username: str, login_id: str = "login", **more: object) -> Capability:
    viewer = Identity(username, Role.STUDENT, Method.COOKIE, login_id, None, **more)  # type: ignore[arg-type]
    return Capabilities(FakeCapabilityTable(), ManualClock()).visit(session, "alice", viewer)


def test_a_viewer_keeps_one_per_login_and_session() -> None:
    capabilities = Capabilities(FakeCapabilityTable(), ManualClock())
    first = capabilities.issue(visit("s1", "alice"))
    assert capabilities.issue(visit("s1", "alice")) == first
    assert capabilities.known(visit("s1", "alice")) == first
    others = {
        capabilities.issue(visit("s2", "alice")),
        capabilities.issue(visit("s1", "bob")),
        capabilities.issue(visit("s1", "alice", "another")),
    }
    assert len({first, *others}) == 4
    assert len(first) >= 22  # 128 bits and more, url-safe


def test_the_database_holds_hashes_and_open_pages_survive_a_restart() -> None:
    table = FakeCapabilityTable()
    cap = Capabilities(table, ManualClock()).issue(visit("s1", "alice"))
    assert [row.cap_hash for row in table.rows] == [hashlib.sha256(cap.encode()).hexdigest()]
    later = Capabilities(table, ManualClock())
    assert later.resolve(cap) is None
    later.load()
    found = later.resolve(cap)
    assert found is not None
    assert (found.session_id, found.username, found.login_id) == ("s1", "alice", "login")


@dataclass
class Adopted:
    """A session that a restarted hub found running."""

    id: str
    on_stop: list[Callable[[], None]] = field(default_factory=list)


def test_those_of_adopted_sessions_end_with_them_although_nobody_visits_them_again() -> None:
    table = FakeCapabilityTable()
    before = Capabilities(table, ManualClock())
    kept, gone = before.issue(visit("kept", "alice")), before.issue(visit("gone", "bob"))
    later = Capabilities(table, ManualClock())
    later.load()
    session = Adopted("kept")
    later.end_with([cast(LiveSession, session)])
    assert later.resolve(kept) is not None
    assert later.resolve(gone) is None, "its session ended while no hub was there"
    for callback in session.on_stop:
        callback()
    assert later.resolve(kept) is None


def test_revoking_ends_those_of_the_session_or_the_login_only() -> None:
    table = FakeCapabilityTable()
    capabilities = Capabilities(table, ManualClock())
    mine = capabilities.issue(visit("s1", "alice"))
    other = capabilities.issue(visit("s2", "alice", "phone"))
    capabilities.forget_session("s1")
    assert capabilities.resolve(mine) is None
    assert capabilities.known(visit("s1", "alice")) is None
    assert capabilities.resolve(other) is not None
    capabilities.revoke_login("")
    assert capabilities.resolve(other) is not None
    capabilities.revoke_login("phone")
    assert capabilities.resolve(other) is None
    assert {row.session_id for row in table.rows} == {"s1"}, "these go with the session's own row"


async def test_who_holds_something_open_is_told_from_any_thread() -> None:
    capabilities = Capabilities(FakeCapabilityTable(), ManualClock())
    capability = capabilities.resolve(capabilities.issue(visit("s1", "alice")))
    assert capability is not None
    told, untold = asyncio.Event(), asyncio.Event()
    capabilities.on_revoke(capability, told.set)
    undo = capabilities.on_revoke(capability, untold.set)
    undo()
    await asyncio.to_thread(capabilities.forget_session, "s1")
    await asyncio.wait_for(told.wait(), 5)
    assert not untold.is_set()
    late = asyncio.Event()
    capabilities.on_revoke(capability, late.set)
    await asyncio.wait_for(late.wait(), 5)


@pytest.mark.parametrize(
    "end",
    [
        lambda capabilities: capabilities.forget_session("s1"),
        lambda capabilities: capabilities.forget_visitor("s1", "bob"),
        lambda capabilities: capabilities.forget_user("bob"),
        lambda capabilities: capabilities.forget_login("login"),
        lambda capabilities: capabilities.revoke_login("login"),
        lambda capabilities: capabilities.revoke_user("bob"),
    ],
)
async def test_a_visit_without_a_capability_hears_of_every_end(
    end: Callable[[Capabilities], None],
) -> None:
    """Also of those at another hub, which are told to this one in memory."""
    capabilities = Capabilities(table := FakeCapabilityTable(), ManualClock(), seal_key("secret"))
    ended, other = asyncio.Event(), asyncio.Event()
    undo = capabilities.on_revoke(visit("s1", "bob"), ended.set)
    capabilities.on_revoke(visit("s2", "carol", "another"), other.set)
    assert len(capabilities.all()) == 2
    await asyncio.to_thread(end, capabilities)
    await asyncio.wait_for(ended.wait(), 5)
    assert not other.is_set()
    undo()
    assert [each.username for each in capabilities.all()] == ["carol"]
    assert table.rows == []


async def test_anothers_session_ends_with_the_login_and_ones_own_after_a_day() -> None:
    clock = ManualClock()
    capabilities = Capabilities(FakeCapabilityTable(), clock)
    since = int(clock.now().timestamp()) - 16 * 3600  # a platform's teacher's, dated back
    own = capabilities.issue(visit("s1", "alice", since=since))
    anothers = capabilities.issue(visit("s1", "bob", since=since))
    by_token = capabilities.issue(visit("s1", "carol", ""))
    clock.advance(8 * 3600 - 1)
    assert capabilities.resolve(anothers) is not None
    clock.advance(1)
    assert capabilities.resolve(anothers) is None
    assert capabilities.known(visit("s1", "bob", since=since)) is None
    clock.advance(16 * 3600 - 1)
    assert None not in (capabilities.resolve(own), capabilities.resolve(by_token))
    clock.advance(1)
    assert capabilities.resolve(own) is capabilities.resolve(by_token) is None


def test_nonsense_resolves_to_nothing() -> None:
    capabilities = Capabilities(FakeCapabilityTable(), ManualClock())
    for text in ("", "x" * 32, "x" * 10_000, "\ud800", "é"):
        assert capabilities.resolve(text) is None


# --- several hubs ---------------------------------------------------------------------------


class CountedTable(FakeCapabilityTable):
    """The table, which counts the look-ups; ``meanwhile`` is done after the row was read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def capability(self, cap_hash: str) -> CapabilityRow | None:
        self.asked += 1
        found = super().capability(cap_hash)
        self.meanwhile()
        return found


def at_two_hubs(table: FakeCapabilityTable) -> tuple[Capabilities, Capabilities]:
    """The capabilities of two hubs with one database and one secret."""
    key = seal_key("the hubs' secret")
    return Capabilities(table, ManualClock(), key), Capabilities(table, ManualClock(), key)


def test_one_that_another_hub_issued_is_looked_up_once() -> None:
    one, other = at_two_hubs(table := CountedTable())
    cap = one.issue(visit("s1", "alice"))
    assert not one.may_be_elsewhere(cap)
    assert other.resolve(cap) is None
    assert other.may_be_elsewhere(cap)
    found = other.look_up(cap)
    assert found is not None
    assert (found.session_id, found.username) == ("s1", "alice")
    assert other.resolve(cap) == found
    assert not other.may_be_elsewhere(cap)
    assert table.asked == 1


def test_made_up_ones_cost_no_look_up_and_ended_ones_one() -> None:
    one, other = at_two_hubs(table := CountedTable())
    cap = one.issue(visit("s1", "alice"))
    other_seal = Capabilities(table, ManualClock(), seal_key("another secret"))
    forged = (
        *("", "x" * 32, "x" * 44, "x" * 10_000, "\ud800", "é" * 44, cap[:-1], cap[:32]),
        cap[:-1] + ("A" if cap[-1] != "A" else "B"),
        ("A" if cap[0] != "A" else "B") + cap[1:],
        other_seal.issue(visit("s1", "mallory")),
    )
    assert [text for text in forged if other.may_be_elsewhere(text)] == []
    table.rows.clear()
    assert other.look_up(cap) is None
    assert not other.may_be_elsewhere(cap)
    assert table.asked == 1


def test_a_single_hub_seals_nothing_and_looks_nothing_up() -> None:
    table = FakeCapabilityTable()
    alone = Capabilities(table, ManualClock())
    cap = Capabilities(table, ManualClock()).issue(visit("s1", "alice"))
    assert len(cap) == 32
    assert not alone.may_be_elsewhere(cap)


def test_one_that_is_revoked_while_it_is_looked_up_stays_revoked() -> None:
    one, other = at_two_hubs(table := CountedTable())
    cap = one.issue(visit("s1", "alice"))
    table.meanwhile = lambda: other.revoke_login("login")
    assert other.look_up(cap) is None
    assert other.resolve(cap) is None


async def test_a_login_that_ends_at_another_hub_ends_what_is_open_here() -> None:
    one, other = at_two_hubs(table := CountedTable())
    capability = other.look_up(one.issue(visit("s1", "alice")))
    assert capability is not None
    told = asyncio.Event()
    other.on_revoke(capability, told.set)
    rows = list(table.rows)
    other.forget_login("login")
    await asyncio.wait_for(told.wait(), 5)
    assert table.rows == rows, "the hub of the sign-out removes them"


def test_pages_of_instructors_at_other_hubs_count() -> None:
    one, other = at_two_hubs(CountedTable())
    one.issue(visit("s1", "prof", proven=Role.INSTRUCTOR))
    assert [(each.session_id, each.role) for each in other.all()] == [("s1", Role.INSTRUCTOR)]
