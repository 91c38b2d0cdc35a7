"""The instructors' settings of the course (B30, B35-B44; compatibility-0.3.16.md 2.3)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity, Method
from mograder.core.errors import Busy
from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import SessionKey
from mograder.store.hub.hub_state import SessionRow, SessionState
from mograder.web.hub import people
from tests.support.hub_app import Hub
from tests.support.hub_copies import ask
from tests.support.supervisors import until

_AT = datetime(2026, 9, 1, tzinfo=UTC)
_REST = ("edit", SessionState.RUNNING, "/s", "v", "e", _AT)
HEADING = "# Allowed users — managed by mograder sync-users\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hubs see in a moment what was changed beside them."""
    monkeypatch.setattr(people, "_LOOK_SECONDS", 0.02)


async def prof(hub: Hub, method: str, path: str, **more: Any) -> httpx.Response:
    """One request of an instructor."""
    return await ask(hub, method, path, user="prof", **more)


def allowed(hub: Hub) -> Path:
    """The access list."""
    return hub.course / "allowed_users.txt"


# ---- who may come in ----


async def test_b35_the_list_is_replaced_sorted_and_without_doubles(hub: Hub) -> None:
    users = ["bob", " alice ", "", "bob"]
    response = await prof(hub, "POST", "/sync-users", json={"users": users})
    assert response.json() == {"status": "ok", "count": 2}
    assert allowed(hub).read_text() == f"{HEADING}alice\nbob\n"
    assert ("prof", "sync users", "2 users", "ok") in hub.audit()


async def test_b38_b43_the_new_list_counts_from_the_next_request_on(hub: Hub) -> None:
    assert (await ask(hub, "GET", "/assignments")).status_code == 200
    await prof(hub, "POST", "/sync-users", json={"users": ["bob"]})
    assert (await ask(hub, "GET", "/assignments")).status_code == 403
    assert (await ask(hub, "GET", "/assignments", user="bob")).status_code == 200
    await prof(hub, "POST", "/sync-users", json={"users": ["alice"]})
    assert (await ask(hub, "GET", "/assignments")).status_code == 200


async def test_b41_b42_with_an_empty_list_only_instructors_come_in(hub: Hub) -> None:
    await prof(hub, "POST", "/sync-users", json={"users": []})
    assert (await ask(hub, "GET", "/assignments")).status_code == 403
    assert (await prof(hub, "GET", "/assignments")).status_code == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"users": "alice"}, "'users' must be a list"),
        ({"users": [1]}, "'users' must be a list"),
        ({}, "'users' must be a list"),
        ([], "should be an object"),
        ({"users": ["a/b"]}, "username"),
        ({"users": ["# alice"]}, "username"),
        ({"users": ["alice\nmallory"]}, "username"),
        ({"users": ["__instructor__"]}, "username"),
    ],
)
async def test_b35_what_is_no_list_of_names_changes_nothing(
    hub: Hub, body: object, says: str
) -> None:
    response = await prof(hub, "POST", "/sync-users", json=body)
    assert response.status_code == 400
    assert says in response.json()["detail"]
    assert not allowed(hub).exists()


async def test_a_list_without_end_is_refused(hub: Hub) -> None:
    response = await prof(hub, "POST", "/sync-users", content=b'{"users":["' + b"a" * (5 << 20))
    assert response.status_code == 413


async def test_a_student_who_is_taken_off_in_mid_session_loses_it_and_reads_why(hub: Hub) -> None:
    hub.start("alice", "A1")
    hub.start("bob", "L01", Mode.RUN)
    for staff in ("prof", "marta"):
        hub.start(staff, "A1")
    await prof(hub, "POST", "/sync-users", json={"users": ["bob"]})
    assert {live.key.user for live in hub.pool.all()} == {"bob", "prof", "marta"}
    ending = hub.pool.of_key(SessionKey("alice", "A1", Mode.EDIT))
    assert ending is not None
    assert ending.reason is EndReason.REMOVED


async def test_a_student_who_may_enter_again_is_not_told_to_have_no_access(hub: Hub) -> None:
    hub.start("alice", "A1")
    hub.end("alice", "A1", EndReason.REMOVED)
    allowed(hub).write_text("bob\n")
    for path in ("/", "/edit/A1", "/standing/alice/A1?session=alice-A1"):
        assert (await ask(hub, "GET", path)).status_code == 403
    allowed(hub).unlink()
    for path in ("/", "/edit/A1", "/standing/alice/A1?session=alice-A1"):
        text = (await ask(hub, "GET", path)).text
        assert "The notebook was closed while you had no access to the course." in text
        assert "You have access again." in text


async def test_b43_a_list_that_is_edited_by_hand_ends_sessions_too(hub: Hub) -> None:
    hub.start("alice", "A1")
    allowed(hub).write_text("bob\n")
    await until(lambda: hub.pool.all() == [])


async def test_a_session_that_does_not_end_keeps_no_other_running(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "END_SECONDS", 0.05)
    stop, go_on = hub.pool.stop, asyncio.Event()

    async def hang_for_alice(key: SessionKey, reason: EndReason) -> bool:
        if key.user == "alice":
            await go_on.wait()
        return await stop(key, reason)

    monkeypatch.setattr(hub.pool, "stop", hang_for_alice)
    try:
        for user, listed in (("bob", "carol"), ("carol", "dave")):
            for each in ("alice", user):
                hub.start(each, "A1")
            allowed(hub).write_text(f"{listed}\n")
            await until(lambda: [live.key.user for live in hub.pool.all()] == ["alice"])
    finally:
        go_on.set()


async def test_a_list_that_is_being_written_ends_no_session(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor empties the file first, and a look falls before what it writes then."""
    allowed(hub).write_text("alice\n")
    hub.start("alice", "A1")
    looked, version = list[int](), hub.services.roster.version

    def look() -> object:
        if len(looked) < 2:
            allowed(hub).write_text(("", "alice\nbob\n")[len(looked)])
        looked.append(1)
        return version()

    monkeypatch.setattr(hub.services.roster, "version", look)
    await until(lambda: len(looked) > 5)
    assert [live.key.user for live in hub.pool.all()] == ["alice"]


async def test_b44_without_the_file_everybody_is_allowed(hub: Hub) -> None:
    allowed(hub).write_text("bob\n")
    assert (await ask(hub, "GET", "/assignments")).status_code == 403
    allowed(hub).unlink()
    assert (await ask(hub, "GET", "/assignments")).status_code == 200


async def test_a_session_that_an_instructor_looks_at_goes_on(hub: Hub) -> None:
    """Who was taken off may have left something that has to be looked at."""
    hub.start("alice", "A1")
    row = SessionRow("alice-A1", "alice", "A1", *_REST)
    hub.services.state.add_session(row)
    looking = Identity("prof", Role.INSTRUCTOR, Method.COOKIE, "login", None)
    hub.services.capabilities.issue(
        hub.services.capabilities.visit(row.session_id, row.username, looking)
    )
    await prof(hub, "POST", "/sync-users", json={"users": ["bob"]})
    assert [live.key.user for live in hub.pool.all()] == ["alice"]
    hub.services.capabilities.revoke_user("prof")
    assert hub.services.state.capabilities() == ()
    allowed(hub).write_text("carol\n")
    await until(lambda: hub.pool.all() == [])


@pytest.mark.parametrize("call", ["revoked_logins", "remove_capabilities", "stop"])
async def test_a_change_is_followed_though_the_hub_fails_in_it_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The list is edited and tokens are revoked beside the hub."""
    hub.start("alice", "A1")
    services = hub.services
    for user in ("bob", "carol"):
        services.state.add_session(SessionRow(f"{user}-A1", user, "A1", *_REST))
        viewer = Identity(user, Role.STUDENT, Method.COOKIE, f"login of {user}", None)
        services.capabilities.issue(services.capabilities.visit(f"{user}-A1", user, viewer))
    place: object = hub.pool if call == "stop" else services.state
    whole, failed = getattr(place, call), asyncio.Event()

    def fail_once(*_: object, **__: object) -> None:
        monkeypatch.setattr(place, call, whole)
        failed.set()
        raise Busy("The database does not answer.")

    monkeypatch.setattr(place, call, fail_once)
    for user in ("bob", "carol"):
        services.state.bump_epoch(user)
    allowed(hub).write_text("bob\ncarol\n")
    await until(lambda: failed.is_set() and hub.pool.all() == [])
    await until(lambda: services.capabilities.all() == ())
    await until(lambda: services.state.capabilities() == ())


async def test_a_dashboard_of_0316_may_load(hub: Hub) -> None:
    told = {"status": "ok", "mode": "run", "sessions": 0}
    assert (await ask(hub, "GET", "/api/status")).json() == told


# ---- what shows ----


@pytest.mark.parametrize("path", ["/visibility", "/revoke-token/alice"])
async def test_what_takes_no_time_has_no_stream_of_progress(hub: Hub, path: str) -> None:
    """Refusals have their status, too: nothing is on its way yet when they are found."""
    stream = {"Accept": "application/x-ndjson"}
    told = await prof(hub, "POST", path, json={}, headers=stream)
    assert (told.status_code, told.headers["content-type"]) == (200, "application/json")
    refused = await prof(hub, "POST", "/revoke-token/..%5c", headers=stream)
    assert refused.status_code == 400


async def test_visibility_is_set_told_and_removed(hub: Hub) -> None:
    moment = "2030-01-01T09:00:00+00:00"
    rules = {"A1": {"visible_from": moment}, "A2": {"hidden": True}}
    response = await prof(hub, "POST", "/visibility", json={"items": rules})
    assert response.json() == rules
    assert (await prof(hub, "GET", "/visibility")).json() == rules
    assert ("prof", "set visibility", "A1, A2", "ok") in hub.audit()
    names = [each["name"] for each in (await ask(hub, "GET", "/assignments")).json()]
    assert names == ["L01"]
    response = await prof(hub, "POST", "/visibility", json={"items": {"A1": {}}})
    assert response.json() == {"A2": {"hidden": True}}
    response = await prof(hub, "POST", "/visibility", json={"items": {}, "replace": True})
    assert response.json() == {}


@pytest.mark.parametrize(
    ("items", "detail"),
    [
        ({"user": {}}, "Invalid name: user"),
        ({"a/b": {}}, "Invalid name: a/b"),
        ({".x": {}}, "Invalid name: .x"),
        ({"A1": {"visible_from": "soon"}}, "Bad datetime for A1"),
        (
            {"A1": {"visible_from": "2030-01-01T09:00:00"}},
            "visible_from for A1 needs a UTC offset",
        ),
    ],
)
async def test_a_rule_that_cannot_be_meant_changes_nothing(
    hub: Hub, items: dict[str, object], detail: str
) -> None:
    response = await prof(hub, "POST", "/visibility", json={"items": items})
    assert (response.status_code, response.json()) == (400, {"detail": detail})
    assert not (hub.course / "hub-release" / ".visibility.json").exists()


async def test_rules_that_cannot_be_read_are_told_and_can_be_replaced(hub: Hub) -> None:
    path = hub.course / "hub-release" / ".visibility.json"
    path.write_text("{")
    assert (await prof(hub, "GET", "/visibility")).status_code == 409
    assert (await prof(hub, "POST", "/visibility", json={"items": {}})).status_code == 409
    response = await prof(hub, "POST", "/visibility", json={"items": {}, "replace": True})
    assert response.json() == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "zz"},
        {"state": "from", "visible_from": "x"},
        {"state": "from", "visible_from": "2030-07-01T09:00", "timezone": "../etc"},
    ],
)
async def test_a_form_that_cannot_be_meant_is_refused(hub: Hub, fields: dict[str, str]) -> None:
    response = await prof(hub, "POST", "/visibility", data={"name": "A1", **fields})
    assert response.status_code == 400


async def test_two_changes_at_once_both_count(hub: Hub) -> None:
    await asyncio.gather(
        *(
            prof(hub, "POST", "/visibility", json={"items": {name: {"hidden": True}}})
            for name in ("A1", "A2", "L01")
        )
    )
    assert set((await prof(hub, "GET", "/visibility")).json()) == {"A1", "A2", "L01"}


# ---- tokens and the log ----


async def test_a_revoked_token_is_void_at_once(hub: Hub) -> None:
    response = await prof(hub, "POST", "/revoke-token/alice")
    assert response.json() == {"status": "ok", "epoch": 1, "known": False}
    again = await prof(hub, "POST", "/revoke-token/alice")
    assert again.json() == {"status": "ok", "epoch": 2, "known": True}
    assert (await ask(hub, "GET", "/assignments")).status_code == 403
    assert (await ask(hub, "GET", "/assignments", user="bob")).status_code == 200
    assert ("prof", "revoke token", "alice", "ok") in hub.audit()


async def test_what_the_command_line_revoked_counts_within_seconds(hub: Hub) -> None:
    hub.services.state.bump_epoch("alice")
    await until(lambda: hub.services.revocations.epoch("alice") == 1)
    assert (await ask(hub, "GET", "/assignments")).status_code == 403


async def test_b134_a_named_instructor_is_one_with_a_students_token(hub: Hub) -> None:
    async with hub.client("prof", role=Role.STUDENT) as client:
        assert (await client.get("/visibility")).status_code == 200


async def test_the_log_is_read_in_pages(hub: Hub) -> None:
    for user in ("alice", "bob", "carol"):
        await prof(hub, "POST", f"/revoke-token/{user}")
    first = (await prof(hub, "GET", "/audit?limit=2")).json()
    assert [(line["who"], line["what"], line["outcome"]) for line in first] == [
        ("prof", "carol", "ok"),
        ("prof", "bob", "ok"),
    ]
    rest = (await prof(hub, "GET", f"/audit?limit=2&before={first[-1]['number']}")).json()
    assert [line["what"] for line in rest] == ["alice"]
    assert (await prof(hub, "GET", "/audit?limit=0")).status_code == 400
    assert (await prof(hub, "GET", "/audit?limit=x")).status_code == 400
