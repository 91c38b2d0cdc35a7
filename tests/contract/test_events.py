"""Server-sent events: their receivers, their duration and the number of connections."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity, Method
from mograder.core.errors import Busy
from mograder.hub import notifier
from mograder.hub.notifier import Notifier, Part
from mograder.web.hub import events
from tests.support.event_stream import listening
from tests.support.hub_app import Hub, HubOf, running
from tests.support.hub_copies import ask, begin, read

pytestmark = pytest.mark.usefixtures("no_pauses")


def somebody(name: str, role: Role = Role.STUDENT) -> Identity:
    return Identity(name, role, Method.COOKIE, "login", None)


async def test_a_page_hears_of_its_own_copies_and_of_nobody_elses(hub: Hub) -> None:
    async with listening(hub, "alice") as alice, listening(hub, "bob") as bob:
        await begin(hub)
        assert await alice.news() == ["copies"]
        assert bob.parts.empty()


async def test_a_page_hears_when_a_session_comes_and_goes(hub: Hub) -> None:
    async with listening(hub, "alice") as alice:
        await ask(hub, "POST", "/start-edit-deep/A1")
        assert "sessions" in await alice.news()
        await ask(hub, "POST", "/stop-edit/alice/A1")
        assert "sessions" in await alice.news()


async def test_an_instructor_hears_of_everybody_and_everybody_of_the_course(hub: Hub) -> None:
    async with listening(hub, "prof") as prof, listening(hub, "alice") as alice:
        await ask(hub, "POST", "/download/A1", user="bob")
        assert await prof.news() == ["copies"]
        rule = {"items": {"A2": {"hidden": True}}}
        await ask(hub, "POST", "/visibility", user="prof", json=rule)
        assert "course" in await alice.news()
        assert "course" in await prof.news()


async def test_a_page_hears_of_what_changed_while_it_was_on_its_way(hub: Hub) -> None:
    found = re.search(r'data-events="/events\?since=([0-9.]+)"', await read(hub, "/"))
    assert found
    await begin(hub)
    async with (
        listening(hub, "alice", f"since={found[1]}") as alice,
        listening(hub, "bob", f"since={found[1]}") as bob,
        listening(hub, "prof", f"since={found[1]}") as prof,
        listening(hub, "alice", f"since={time.time() + 1:.3f}") as later,
        listening(hub, "alice") as program,
    ):
        assert await alice.news() == ["copies"]
        assert await prof.news() == ["copies"]
        for quiet in (bob, later, program):
            assert quiet.parts.empty()


async def test_a_marker_hears_who_asks_for_help_and_nothing_else_of_others() -> None:
    made, marta = Notifier(), somebody("marta", Role.MARKER)
    with made.listening(marta) as before:
        for each in (Part.SESSIONS, Part.COPIES, Part.MARKS, Part.HELP):
            made.notify("alice", each)
        with made.listening(marta, 1) as after:
            for page in (before, after):
                assert await page.news(1) == {Part.HELP}


@pytest.mark.parametrize("since", ["-1", "nan", "inf", "noon"])
async def test_a_time_that_is_none_is_refused(hub: Hub, since: str) -> None:
    answer = await ask(hub, "GET", f"/events?since={since}")
    assert answer.status_code == 400
    assert "since" in answer.text


def test_changes_are_remembered_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    made = Notifier()
    made.notify("alice", Part.MARKS)
    now += 61
    made.notify("alice", Part.COPIES)
    with made.listening(somebody("alice"), 1) as subscriber:
        assert asyncio.run(subscriber.news(1)) == {Part.COPIES}


async def test_a_stream_ends_with_the_login_that_opened_it(hub: Hub) -> None:
    async with listening(hub, "alice") as alice:
        await ask(hub, "POST", "/revoke-token/alice", user="prof")
        await asyncio.wait_for(alice.ended.wait(), 60)


async def test_a_stream_ends_when_its_reader_is_taken_off_the_list(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.01)
    async with listening(hub, "alice") as alice:
        (hub.course / "allowed_users.txt").write_text("bob\n")
        await asyncio.wait_for(alice.ended.wait(), 60)


async def test_a_quiet_stream_gives_signs_of_life(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.01)
    async with listening(hub, "alice") as alice:
        assert await asyncio.wait_for(alice.parts.get(), 10) == b": still here\n\n"


async def test_a_program_that_asks_for_no_stream_gets_none(hub: Hub) -> None:
    assert (await ask(hub, "GET", "/events")).status_code == 400


async def test_a_reader_who_leaves_is_forgotten(hub: Hub) -> None:
    async with listening(hub, "alice"):
        pass
    assert "here now" not in await read(hub, "/course/students", "prof")


def test_the_first_of_too_many_pages_of_one_person_have_to_go() -> None:
    made = Notifier()
    subscribers = [made.listening(somebody("alice")) for _ in range(notifier.MOST_OF_ONE + 3)]
    found = [each.__enter__() for each in subscribers]
    assert [(each.closed, each.replaced) for each in found[:3]] == [(True, True)] * 3
    assert not any(each.closed for each in found[3:])
    for each in subscribers:
        each.__exit__(None, None, None)
    assert made.present() == frozenset()


def test_one_page_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MOST", 1)
    made = Notifier()
    made.demand_room()
    with made.listening(somebody("alice")), pytest.raises(Busy):
        made.demand_room()


async def test_news_that_come_faster_than_a_page_follows_melt_into_one() -> None:
    made = Notifier()
    with made.listening(somebody("alice")) as subscriber:
        for _ in range(1000):
            made.notify("alice", Part.COPIES)
            made.notify("alice", Part.SESSIONS)
        assert await subscriber.news(1) == {Part.COPIES, Part.SESSIONS}
        assert await subscriber.news(0) == frozenset()


async def test_a_hub_that_ends_ends_its_streams(hub_of: HubOf) -> None:
    made = hub_of()
    life = running(made.app)
    await life.__aenter__()
    async with listening(made, "alice") as alice:
        await life.__aexit__(None, None, None)
        await asyncio.wait_for(alice.ended.wait(), 60)
