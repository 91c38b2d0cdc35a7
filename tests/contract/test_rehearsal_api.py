"""The routes of rehearsals and of warming, on a hub whose sessions are in memory.

The sessions' server is not there, so each student's cells fail; what a rehearsal does with real
ones is tested in tests/e2e/test_rehearsal.py.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import cast

import httpx
import pytest

from mograder.core.item_dates import Visibility
from mograder.core.names import is_rehearsal
from mograder.sandbox.protocol import Mode
from mograder.sessions.rehearsal import Pace
from mograder.store.releases.release_times import VisibilityRules, WarmTimes
from mograder.web.hub import rehearsal
from mograder.web.hub.items.warming import Warming
from mograder.web.hub.rehearsal import Rehearsals
from tests.support import hub_copies
from tests.support.event_stream import asking
from tests.support.hub_app import FakeEnvironments, Hub, events
from tests.support.supervisors import until

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and measure for a moment."""
    monkeypatch.setattr(rehearsal, "_PACE", Pace(look=0.01, settle=0.01, news=0.01))


async def ask(hub: Hub, method: str, path: str, body: object = None) -> httpx.Response:
    return await hub_copies.ask(hub, method, path, "prof", json=body)


def is_clear(hub: Hub) -> bool:
    """Whether nothing of a rehearsal is left."""
    notebooks = hub.course / "hub-notebooks"
    folders = list(notebooks.iterdir()) if notebooks.exists() else []
    users = [key.user for key in (*hub.pool.running, *hub.pool.ended)]
    return not any(map(is_rehearsal, [*users, *(each.name for each in folders)]))


async def test_an_estimate_says_how_many_fit_before_anything_starts(hub: Hub) -> None:
    answer = (await ask(hub, "GET", "/rehearsal/A1?students=80&within=30")).json()
    assert (answer["item"], answer["students"], answer["fits"]) == ("A1", 80, 80)
    assert answer["memory_each"] > 2**20
    assert answer["seconds"] >= 30
    assert not answer["running"]
    assert hub.pool.started == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/rehearsal/A9", {"students": 1}, 404),
        ("/rehearsal/A1", {"students": 0}, 400),
        ("/rehearsal/A1", {"students": 1001}, 400),
        ("/rehearsal/A1", {"students": "3"}, 400),
        ("/rehearsal/A1", {"within": -1}, 400),
        ("/rehearsal/A1", {"within": 1e9}, 400),
        ("/rehearsal/A1", {"who": "alice"}, 400),
        ("/warm", {"items": []}, 400),
        ("/warm", {"items": ["A9"]}, 404),
        ("/warm", {"items": ["A1"], "at": "tomorrow"}, 400),
        ("/warm", {"items": ["A1"], "at": "2026-10-05T09:00"}, 400),
        ("/warm", {"items": ["A1"], "at": "2026-10-05T09:00Z", "forget": True}, 400),
    ],
)
async def test_bad_requests_start_nothing(hub: Hub, path: str, body: object, status: int) -> None:
    assert (await ask(hub, "POST", path, body)).status_code == status
    assert hub.pool.started == []


async def test_a_rehearsal_reports_each_step_and_leaves_nothing(hub: Hub) -> None:
    body = {"students": 3, "within": 0}
    answer = await hub_copies.ask(hub, "POST", "/rehearsal/A1", "prof", json=body, headers=NDJSON)
    *lines, last = events(answer)
    assert all(line["students"] == 3 for line in lines)
    assert last["event"] == "done"
    assert (last["item"], last["failed"], last["finished"]) == ("A1", 3, 0)
    assert {key.user for key in hub.pool.started} == {f"__rehearsal-{n}" for n in (1, 2, 3)}
    assert {(key.item, key.mode) for key in hub.pool.started} == {("A1", Mode.EDIT)}
    assert is_clear(hub)
    assert ("prof", "rehearse", "A1: 3", "ok") in hub.audit()


async def test_there_is_one_at_a_time_and_it_can_be_cancelled(hub: Hub) -> None:
    hub.pool.hold = asyncio.Event()
    first = asyncio.create_task(ask(hub, "POST", "/rehearsal/L01", {"students": 2, "within": 0}))
    await until(lambda: sum(hub.pool.starting.values()) == 2)
    second = await ask(hub, "POST", "/rehearsal/A1", {"students": 1})
    assert (second.status_code, "runs already" in second.text) == (409, True)
    assert (await ask(hub, "GET", "/rehearsal/A1")).json()["running"]
    assert (await ask(hub, "DELETE", "/rehearsal/L01")).json()["cancelled"]
    assert (await first).status_code == 409
    assert is_clear(hub)
    assert not (await ask(hub, "DELETE", "/rehearsal/L01")).json()["cancelled"]
    assert [action for _, action, _, _ in hub.audit()][-1] == "cancel rehearsal"


async def test_it_ends_when_the_program_that_started_it_has_gone(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_ABSENT_SECONDS", 0.01)
    hub.pool.hold = asyncio.Event()
    body = b'{"students": 2, "within": 0}'
    async with asking(hub, "prof", "/rehearsal/A1", method="POST", body=body):
        await until(lambda: sum(hub.pool.starting.values()) == 2)
    await until(lambda: not hub.pool.starting.total())
    await until(lambda: is_clear(hub))


async def test_a_hub_removes_what_a_killed_one_left(hub: Hub) -> None:
    hub.start("__rehearsal-4", "A1")
    hub.start("alice", "A1")
    copy = hub.course / "hub-notebooks" / "__rehearsal-9" / "A1"
    copy.mkdir(parents=True)
    await Rehearsals(hub.services).sweep()
    assert is_clear(hub)
    assert [key.user for key in hub.pool.running] == ["alice"]


async def test_rehearsals_are_in_no_list_of_people_and_survive_the_roster(hub: Hub) -> None:
    hub.start("__rehearsal-4", "A1")
    hub.start("bob", "A1")
    await ask(hub, "POST", "/sync-users", {"users": ["alice"]})
    assert (await ask(hub, "GET", "/sessions")).json() == []
    people = await hub_copies.read(hub, "/course/students", "prof")
    sessions = await hub_copies.read(hub, "/course/sessions", "prof")
    assert "__rehearsal" not in people + sessions
    assert "1 session of a rehearsal" in sessions
    assert [key.user for key in hub.pool.running] == ["__rehearsal-4"]


# --- warming --------------------------------------------------------------------------------


async def test_items_are_warmed_now_with_the_error_of_each_that_cannot_be(hub: Hub) -> None:
    answer = (await ask(hub, "POST", "/warm", {"items": ["A1", "L01"]})).json()
    assert (answer["warmed"], answer["failed"]) == (["A1", "L01"], {})
    assert hub.audit()[-1] == ("prof", "warm", "A1, L01", "ok")
    assert len(cast(FakeEnvironments, hub.services.environments).announced) == 2


async def test_times_are_set_listed_and_removed(hub: Hub) -> None:
    at = hub.clock.now() + timedelta(days=3)
    body = {"items": ["A1"], "at": at.isoformat()}
    assert (await ask(hub, "POST", "/warm", body)).json()["planned"] == {"A1": [at.isoformat()]}
    assert (await ask(hub, "GET", "/warm")).json()["planned"] == {"A1": [at.isoformat()]}
    removed = await ask(hub, "POST", "/warm", {"items": ["A1"], "forget": True})
    assert removed.json()["planned"] == {}
    assert json.loads((hub.course / "hub-release" / ".warm.json").read_text()) == {}


async def test_a_time_that_is_over_is_neither_set_nor_listed(hub: Hub) -> None:
    at = hub.clock.now() + timedelta(minutes=5)
    body = {"items": ["A1"], "at": at.isoformat()}
    await ask(hub, "POST", "/warm", body)
    hub.clock.advance(3600)
    assert (await ask(hub, "GET", "/warm")).json()["planned"] == {"A1": [at.isoformat()]}
    hub.clock.advance(3600)
    assert (await ask(hub, "GET", "/warm")).json()["planned"] == {}
    refused = await ask(hub, "POST", "/warm", body)
    assert refused.status_code == 400
    assert "That time is over." in refused.text
    assert [line[1] for line in hub.audit()] == [f"warm for {at:%F %R %Z}"]


async def test_items_are_kept_warm_before_they_open_and_before_set_times(
    hub: Hub, tmp_path: Path
) -> None:
    rules = VisibilityRules(tmp_path / ".visibility.json")
    times, now = WarmTimes(tmp_path / ".warm.json"), hub.clock.now()
    warming = Warming(hub.services, rules, times)
    soon, later = now + timedelta(minutes=5), now + timedelta(hours=5)
    rules.change({"A1": Visibility(visible_from=soon), "A2": Visibility(visible_from=later)})
    times.add(["L01"], later, now)
    asked: list[list[str]] = []

    async def warm(items: frozenset[str], _: object) -> None:
        asked.append(sorted(items))

    warming.warm = warm  # type: ignore[method-assign,assignment]
    await warming.look()
    hub.clock.advance(5 * 3600)
    await warming.look()
    hub.clock.advance(3600)
    await warming.look()
    assert asked == [["A1"], ["A2", "L01"]]
