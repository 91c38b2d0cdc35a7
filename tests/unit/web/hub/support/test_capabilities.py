"""Issuing, resolving and revoking capabilities, with a list for the database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from bench.support.session_proxy import FakeCapabilityTable
from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.sessions.session import LiveSession
from mograder.web.hub.support.capabilities import Capabilities
from tests.support.clock import ManualClock


def who(username: str, login_id: str = "login") -> Identity:
    return Identity(username, Role.STUDENT, Method.COOKIE, login_id, None)


def test_a_viewer_keeps_one_per_login_and_session() -> None:
    capabilities = Capabilities(FakeCapabilityTable(), ManualClock())
    first = capabilities.issue("s1", who("alice"))
    assert capabilities.issue("s1", who("alice")) == first
    assert capabilities.known("s1", who("alice")) == first
    others = {
        capabilities.issue("s2", who("alice")),
        capabilities.issue("s1", who("bob")),
        capabilities.issue("s1", who("alice", "another")),
    }
    assert len({first, *others}) == 4
    assert len(first) >= 22  # 128 bits and more, url-safe


def test_the_database_holds_hashes_and_open_pages_survive_a_restart() -> None:
    table = FakeCapabilityTable()
    cap = Capabilities(table, ManualClock()).issue("s1", who("alice"))
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
    kept, gone = before.issue("kept", who("alice")), before.issue("gone", who("bob"))
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
    mine = capabilities.issue("s1", who("alice"))
    other = capabilities.issue("s2", who("alice", "phone"))
    capabilities.forget_session("s1")
    assert capabilities.resolve(mine) is None
    assert capabilities.known("s1", who("alice")) is None
    assert capabilities.resolve(other) is not None
    capabilities.revoke_login("")
    assert capabilities.resolve(other) is not None
    capabilities.revoke_login("phone")
    assert capabilities.resolve(other) is None
    assert {row.session_id for row in table.rows} == {"s1"}, "these go with the session's own row"


async def test_who_holds_something_open_is_told_from_any_thread() -> None:
    capabilities = Capabilities(FakeCapabilityTable(), ManualClock())
    capability = capabilities.resolve(capabilities.issue("s1", who("alice")))
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


def test_nonsense_resolves_to_nothing() -> None:
    capabilities = Capabilities(FakeCapabilityTable(), ManualClock())
    for text in ("", "x" * 32, "x" * 10_000, "\ud800", "é"):
        assert capabilities.resolve(text) is None
