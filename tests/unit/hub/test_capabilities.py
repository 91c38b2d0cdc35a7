"""Issuing, resolving and revoking capabilities, with a list for the database."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from mograder.auth.credentials import Login, Role
from mograder.auth.identity import Identity, Method
from mograder.core.errors import Busy
from mograder.hub import capabilities as capabilities_module
from mograder.hub.capabilities import Capabilities, Capability
from mograder.sessions.session import LiveSession
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import CapabilityRow
from tests.support.clock import ManualClock


class FakeCapabilityTable(HubState):
    """The database's table of capabilities, as a list."""

    def __init__(self) -> None:
        self.rows: list[CapabilityRow] = []
        self.written = threading.Event()
        """While it is clear, the database is locked."""
        self.written.set()
        self.writing = threading.Event()

    def add_capability(self, row: CapabilityRow) -> None:
        self.writing.set()
        self.written.wait()
        self.rows.append(row)

    def pass_on_capabilities(self, hashes: Collection[str], login_id: str, role: Role) -> None:
        self.rows = [
            replace(row, login_id=login_id, role=role) if row.cap_hash in hashes else row
            for row in self.rows
        ]

    def remove_capabilities(
        self,
        *,
        login_id: str | None = None,
        username: str | None = None,
    ) -> int:
        before = len(self.rows)
        self.rows = [row for row in self.rows if login_id != row.login_id]
        return before - len(self.rows)

    def capabilities(self) -> tuple[CapabilityRow, ...]:
        return tuple(self.rows)

    def capability(self, cap_hash: str) -> CapabilityRow | None:
        return next((row for row in self.rows if row.cap_hash == cap_hash), None)


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


def test_a_client_that_keeps_no_cookie_does_not_fill_the_hub() -> None:
    table = FakeCapabilityTable()
    capabilities = Capabilities(table, ManualClock())
    for number in range(1000):
        capabilities.issue(visit("s1", "alice", f"login {number}"))
    with pytest.raises(Busy, match="too many logins"):
        capabilities.issue(visit("s1", "alice", "one more"))
    assert len(table.rows) == 1000
    assert capabilities.issue(visit("s1", "alice", "login 0")), "open pages go on"
    assert capabilities.issue(visit("s2", "alice", "one more"))
    capabilities.forget_session("s1")
    assert capabilities.issue(visit("s1", "alice", "one more"))


async def test_pages_that_are_opened_while_the_database_is_locked_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would keep a thread for as long as all before it wait for the database."""
    monkeypatch.setattr(capabilities_module, "_ISSUE_SECONDS", 0.01)
    table = FakeCapabilityTable()
    capabilities = Capabilities(table, ManualClock())
    table.written.clear()
    first = asyncio.create_task(asyncio.to_thread(capabilities.issue, visit("s1", "alice")))
    try:
        assert await asyncio.to_thread(table.writing.wait, 5)
        with pytest.raises(Busy, match="does not answer"):
            await asyncio.to_thread(capabilities.issue, visit("s2", "bob"))
    finally:
        table.written.set()
    assert await first == capabilities.known(visit("s1", "alice"))
    assert capabilities.issue(visit("s2", "bob"))


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
        lambda capabilities: capabilities.revoke_login("login"),
        lambda capabilities: capabilities.revoke_user("bob"),
    ],
)
async def test_a_visit_without_a_capability_hears_of_every_end(
    end: Callable[[Capabilities], None],
) -> None:
    capabilities = Capabilities(table := FakeCapabilityTable(), ManualClock())
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


def following(login_id: str = "new", role: Role = Role.STUDENT) -> Login:
    """A login that alice gets in a browser that had one."""
    return Login("alice", role, login_id, 0, 0)


async def test_what_passes_on_keeps_its_address_and_ends_with_the_login_that_follows() -> None:
    capabilities = Capabilities(table := FakeCapabilityTable(), ManualClock())
    kept = capabilities.issue(visit("s1", "alice", "old"))
    others = capabilities.issue(visit("s1", "bob", "old"))
    before = capabilities.resolve(kept)
    assert before is not None
    ended, late, by_login = asyncio.Event(), asyncio.Event(), asyncio.Event()
    capabilities.on_revoke(before, ended.set)
    capabilities.on_revoke(visit("s2", "alice", "old"), by_login.set)
    assert capabilities.pass_on(
        "old", following(role=Role.MARKER), lambda each: each.username == "alice"
    )
    capabilities.on_revoke(before, late.set)  # found before, and watched only now
    now = replace(before, login_id="new", role=Role.MARKER)
    assert capabilities.resolve(kept) == now
    assert capabilities.known(visit("s1", "alice", "new")) == kept
    assert capabilities.known(visit("s1", "alice", "old")) is None
    capabilities.revoke_login("old")
    assert capabilities.resolve(others) is None
    assert capabilities.resolve(kept) == now
    later = Capabilities(table, ManualClock())
    later.load()
    assert later.resolve(kept) == now
    await asyncio.sleep(0)
    assert not any(event.is_set() for event in (ended, late, by_login))
    capabilities.revoke_login("new")
    assert capabilities.resolve(kept) is None
    for event in (ended, late, by_login):
        await asyncio.wait_for(event.wait(), 5)
    assert table.rows == []


def test_what_has_ended_in_memory_does_not_come_back_by_the_login_that_follows() -> None:
    capabilities = Capabilities(table := FakeCapabilityTable(), ManualClock())
    gone = capabilities.issue(visit("s1", "alice", "old"))
    kept = capabilities.issue(visit("s2", "alice", "old"))
    capabilities.forget_visitor("s1", "alice")
    assert capabilities.pass_on("old", following(), lambda _: True)
    assert capabilities.resolve(gone) is None
    capabilities.revoke_login("old")
    later = Capabilities(table, ManualClock())
    later.load()
    assert later.resolve(gone) is None
    assert later.resolve(kept) is not None


def test_what_belongs_to_no_login_passes_on_to_none() -> None:
    capabilities = Capabilities(FakeCapabilityTable(), ManualClock())
    by_token = capabilities.issue(visit("s1", "alice", ""))
    assert not capabilities.pass_on("", following(), lambda _: True)
    assert not capabilities.pass_on("another", following(), lambda _: True)
    found = capabilities.resolve(by_token)
    assert found is not None
    assert found.login_id == ""


async def test_one_that_is_being_written_passes_on_in_memory_and_in_the_table() -> None:
    capabilities = Capabilities(table := FakeCapabilityTable(), ManualClock())
    table.written.clear()
    issued = asyncio.create_task(asyncio.to_thread(capabilities.issue, visit("s1", "alice", "old")))
    try:
        assert await asyncio.to_thread(table.writing.wait, 5)
        passed = asyncio.create_task(
            asyncio.to_thread(capabilities.pass_on, "old", following(), lambda _: True)
        )
        await asyncio.wait({passed}, timeout=0.1)
    finally:
        table.written.set()
    assert await passed
    found = capabilities.resolve(await issued)
    assert found is not None
    assert [row.login_id for row in table.rows] == [found.login_id] == ["new"]


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
