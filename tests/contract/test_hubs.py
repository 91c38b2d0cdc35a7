"""Hubs as members of a course: heartbeats, leases and news, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Engine

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.core.clock import SystemClock
from mograder.grading.validation.report_json import ValidationAnswer, ValidationResult
from mograder.store.hub.hubs import Hubs, may_be_several
from mograder.store.hub.validation_results import KeptResults
from mograder.web.hub.support.hub_membership import HubMembership, own_directory
from mograder.web.hub.support.hub_news import HubNewsExchange
from mograder.web.hub.support.notifier import Notifier, Part
from mograder.web.hub.support.validation_results import ValidationResults
from tests.support.threads import at_once

SECONDS = 60.0
OVER = -1.0
"""A time that is over when it is written."""


@pytest.fixture
def hubs(engine: Engine) -> Hubs:
    """The tables, empty."""
    return Hubs(engine)


def ids(hubs: Hubs) -> list[str]:
    """The hubs that are alive, the oldest first."""
    return [each.hub_id for each in hubs.alive()]


# Heartbeats --------------------------------------------------------------------------------


def test_a_hub_is_alive_until_its_time_is_over_or_it_leaves(hubs: Hubs) -> None:
    hubs.beat("one", "one:8442", SECONDS)
    alive = hubs.beat("two", "two:8442", SECONDS)
    assert [(each.hub_id, each.address) for each in alive] == [
        ("one", "one:8442"),
        ("two", "two:8442"),
    ]
    assert hubs.addresses() == ("one:8442", "two:8442")
    hubs.beat("one", "one:8442", OVER)
    assert ids(hubs) == ["two"]
    hubs.beat("one", "moved:8442", SECONDS)
    assert hubs.addresses() == ("moved:8442", "two:8442"), "it was not replaced by another one"
    hubs.leave("one")
    assert ids(hubs) == ["two"]


def test_a_hub_that_is_alone_for_certain_removes_those_that_were_killed(hubs: Hubs) -> None:
    hubs.beat("killed", "", SECONDS)
    assert hubs.lease("grading jobs", "killed", SECONDS)
    hubs.leave("mine", only=True)
    assert ids(hubs) == []
    assert hubs.lease("grading jobs", "mine", SECONDS)


def test_only_a_server_serves_several() -> None:
    assert may_be_several("postgresql+psycopg://someone@/there")
    assert not may_be_several("sqlite:////course/.mograder/hub.db")


def test_a_member_lives_by_its_heartbeat_and_leaves_when_it_closes(hubs: Hubs) -> None:
    one = HubMembership(hubs, "one:8442", only=False, beat_seconds=0.05)
    one.open()
    two = HubMembership(hubs, "two:8442", only=False, beat_seconds=0.05)
    two.open()
    assert (one.alone, two.alone) == (True, False)
    assert two.others == {one.hub_id}
    one.close()
    assert ids(hubs) == [two.hub_id]
    two.close()
    assert ids(hubs) == []


def test_each_hub_has_copies_of_its_own_and_those_of_dead_ones_are_removed(
    hubs: Hubs, tmp_path: Path
) -> None:
    root = tmp_path / "copies"
    (root / "dead" / "alice").mkdir(parents=True)
    member = HubMembership(hubs, "", only=False)
    member.open()
    other = HubMembership(hubs, "", only=False)
    other.open()
    try:
        (own_directory(root, other) / "bob").mkdir(parents=True)
        assert own_directory(root, member) == root / member.hub_id
        assert [each.name for each in root.iterdir()] == [other.hub_id]
    finally:
        member.close()
        other.close()


# Leases ------------------------------------------------------------------------------------


def test_a_task_is_one_hubs_until_its_lease_is_over(hubs: Hubs) -> None:
    assert hubs.lease("grading jobs", "one", SECONDS)
    assert hubs.lease("grading jobs", "one", SECONDS)
    assert not hubs.lease("grading jobs", "two", SECONDS)
    assert hubs.lease("another task", "two", SECONDS)
    assert hubs.lease("grading jobs", "one", OVER)
    assert hubs.lease("grading jobs", "two", SECONDS)
    assert not hubs.lease("grading jobs", "one", SECONDS)


def test_a_task_that_is_given_back_may_be_done_by_another(hubs: Hubs) -> None:
    assert hubs.lease("rehearsal", "one", SECONDS)
    hubs.release("rehearsal", "two")
    assert not hubs.lease("rehearsal", "two", SECONDS)
    hubs.release("rehearsal", "one")
    assert hubs.lease("rehearsal", "two", SECONDS)


def test_the_heartbeat_keeps_the_lease_and_leaving_ends_it(hubs: Hubs) -> None:
    hubs.beat("one", "", SECONDS)
    assert hubs.lease("grading jobs", "one", OVER)
    hubs.beat("one", "", SECONDS)
    assert not hubs.lease("grading jobs", "two", SECONDS)
    hubs.leave("one")
    assert hubs.lease("grading jobs", "two", SECONDS)


def test_of_hubs_that_take_a_task_at_once_one_gets_it(hubs: Hubs) -> None:
    taken = at_once(6, lambda number: hubs.lease("grading jobs", f"hub {number}", SECONDS))
    assert taken.count(True) == 1


# News --------------------------------------------------------------------------------------


def test_news_reach_the_others_only(hubs: Hubs) -> None:
    hubs.tell("one", "first")
    hubs.tell("two", "second")
    hubs.tell("one", "third")
    assert [each.text for each in hubs.news("two")] == ["first", "third"]
    assert [(each.hub_id, each.text) for each in hubs.news("one")] == [("two", "second")]


ANSWER = ValidationAnswer(
    file="A1.py",
    ok=True,
    summary="All checks passed.",
    outcome="done",
    checks=(),
    cell_errors=0,
    errors=(),
    export_ok=True,
    export_error="",
    html_available=False,
    integrity_level="source",
    integrity_warnings=(),
    seconds=1.0,
)


class Member:
    """What the exchange of news uses of a membership."""

    def __init__(self, hubs: Hubs, hub_id: str) -> None:
        self.hubs = hubs
        self.hub_id = hub_id


class HubAtNews:
    """A hub with pages and results."""

    def __init__(self, engine: Engine, hub_id: str) -> None:
        self.notifier = Notifier()
        self.results = ValidationResults(KeptResults(engine))
        self.launched: list[tuple[str, str]] = []
        member = cast(HubMembership, Member(Hubs(engine), hub_id))
        clock = SystemClock()
        self.news = HubNewsExchange(member, clock, self.notifier, self.results.reload)
        self.news.on_launch = lambda user, course: self.launched.append((user, course))
        self.results.on_change, self.results.shared = self.news.tell_result, True


@pytest.fixture
def two(engine: Engine) -> tuple[HubAtNews, HubAtNews]:
    """Two hubs."""
    return HubAtNews(engine, "one"), HubAtNews(engine, "two")


PEOPLE: list[tuple[str, Role, Callable[[Notifier], None], set[Part]]] = [
    ("alice", Role.STUDENT, lambda n: n.notify("alice", Part.COPIES), {Part.COPIES}),
    ("bob", Role.STUDENT, lambda n: n.notify("alice", Part.COPIES), set()),
    ("prof", Role.INSTRUCTOR, lambda n: n.notify("alice", Part.COPIES), {Part.COPIES}),
    ("alice", Role.STUDENT, lambda n: n.notify_instructors(Part.MARKS), set()),
    ("prof", Role.INSTRUCTOR, lambda n: n.notify_instructors(Part.MARKS), {Part.MARKS}),
    ("bob", Role.STUDENT, Notifier.notify_all, {Part.COURSE}),
    ("bob", Role.STUDENT, lambda n: n.notify("bob", Part.SESSIONS), set()),
]


@pytest.mark.parametrize(("user", "role", "happens", "noticed"), PEOPLE)
async def test_pages_at_the_other_hub_hear_of_changes(
    two: tuple[HubAtNews, HubAtNews],
    user: str,
    role: Role,
    happens: Callable[[Notifier], None],
    noticed: set[Part],
) -> None:
    one, other = two
    identity = Identity(user, role, Method.COOKIE, "login", None)
    with other.notifier.listening(identity) as subscriber:
        happens(one.notifier)
        await one.news.exchange()
        await other.news.exchange()
        assert await subscriber.news(0.05) == noticed
        await other.news.exchange()
        assert not await subscriber.news(0.05), "once"


async def test_a_result_is_known_and_gone_at_the_other_hub(
    two: tuple[HubAtNews, HubAtNews],
) -> None:
    one, other = two
    result = ValidationResult(SystemClock().now(), ANSWER)
    await one.results.put("alice", "A1", result)
    assert other.results.of("alice", "A1") is None
    await one.news.exchange()
    await other.news.catch_up()
    found = other.results.of("alice", "A1")
    assert found is not None
    assert found.at == result.at
    await other.results.forget("alice", "A1")
    await other.news.exchange()
    await one.news.exchange()
    assert one.results.of("alice", "A1") is None


async def test_a_person_whom_a_platform_sent_to_one_hub_is_a_member_at_the_other_at_once(
    two: tuple[HubAtNews, HubAtNews],
) -> None:
    one, other = two
    course = json.dumps(["https://platform", "client", "course"])
    await one.news.tell_launch("alice", course)
    await asyncio.gather(*(other.news.catch_up() for _ in range(20)))
    assert other.launched == [("alice", course)]


async def test_what_was_told_before_a_hub_came_does_not_concern_it(engine: Engine) -> None:
    one = HubAtNews(engine, "one")
    one.notifier.notify_all()
    await one.news.exchange()
    late, stop = HubAtNews(engine, "late"), asyncio.Event()
    identity = Identity("bob", Role.STUDENT, Method.COOKIE, "login", None)
    with late.notifier.listening(identity) as subscriber:
        stop.set()
        await late.news.run(stop)
        await late.news.exchange()
        assert not await subscriber.news(0.05)
