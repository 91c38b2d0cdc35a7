"""The calendar of due dates: one address a person, which tells dates and can be ended."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from mograder.auth.credentials import Role
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import Extension, LateWork
from mograder.store.hub.hub_state import HubState
from mograder.store.submissions.receipts import Verdict
from mograder.web.hub.copies import submissions
from tests.support.hub_app import Hub, HubOf, built_hub
from tests.support.hub_copies import FORM, ask, begin

TOML = """title = "Numbers; with, all"
[hub]
collect = true
[marking]
markers = ["marta"]
[items.A1]
due = 2026-09-10T18:00Z
closes = 2026-09-17T18:00Z
[items.Exam]
opens = 2026-09-20T09:00Z
due = 2026-09-20T11:00Z
"""


@pytest.fixture
def hub(hub_of: HubOf) -> Hub:
    return hub_of(TOML, "A1", "Exam")


async def turn(
    hub: Hub,
    action: str = "make",
    user: str = "alice",
    prefix: str = "",
    role: Role = Role.STUDENT,
) -> str:
    """Make or end an address; return its path, "" without one."""
    async with hub.client(user, role=role, browser=True) as client:
        await client.post(f"{prefix}/calendar", data={"action": action}, headers=FORM)
        text = (await client.get(f"{prefix}/calendar")).text
    found = re.search(r'value="(http[^"]+[.]ics)"', text)
    return urlsplit(found[1]).path if found else ""


async def fetch(hub: Hub, path: str) -> httpx.Response:
    """Ask as a calendar does, without a login."""
    return await ask(hub, "GET", path, "")


async def test_a_calendar_tells_what_is_due_with_extensions_and_nothing_hidden(hub: Hub) -> None:
    until = datetime(2026, 9, 12, 18, tzinfo=UTC)
    with Gradebook(hub.course / "gradebook.db") as book:
        LateWork(book).record([Extension("A1", "alice", until=until)], by="prof", at=until)
    answer = await fetch(hub, await turn(hub))
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    lines = answer.content.decode().split("\r\n")
    assert lines[0] == "BEGIN:VCALENDAR"
    assert lines[-2:] == ["END:VCALENDAR", ""]
    assert all(len(line.encode()) <= 75 for line in lines)
    assert r"X-WR-CALNAME:Numbers\; with\, all" in lines
    starts = [line for line in lines if line.startswith(("DTSTART", "SUMMARY"))]
    assert starts == [
        "DTSTART:20260912T180000Z",
        "SUMMARY:A1 is due",
        "DTSTART:20260917T180000Z",
        "SUMMARY:A1 closes",
    ]
    await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    assert "SUMMARY:A1 is due (handed in)" in (await fetch(hub, await turn(hub))).text


@pytest.mark.parametrize("user", ["dana", "__instructor__"])
async def test_an_instructor_by_a_token_has_one_though_not_on_the_list(hub: Hub, user: str) -> None:
    (hub.course / "allowed_users.txt").write_text("alice\n")
    address = await turn(hub, user=user, role=Role.INSTRUCTOR)
    assert "SUMMARY:A1 is due" in (await fetch(hub, address)).text
    hub.services.revocations.bump_epoch(user)
    assert (await fetch(hub, address)).status_code == 404


async def test_an_address_is_ended_by_a_new_one_by_hand_and_with_all_tokens(hub: Hub) -> None:
    first = await turn(hub)
    assert (await fetch(hub, first)).status_code == 200
    second = await turn(hub)
    assert (await fetch(hub, first)).status_code == 404
    assert (await fetch(hub, second)).status_code == 200
    assert await turn(hub, "end") == ""
    assert await turn(hub, "end") == ""
    assert (await fetch(hub, second)).status_code == 404
    third = await turn(hub)
    assert third not in (first, second)
    await ask(hub, "POST", "/revoke-token/alice", "prof")
    assert (await fetch(hub, third)).status_code == 404


async def test_few_requests_without_a_login_read_files_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no name by which they could be bounded, and the hub's threads are for everybody."""
    await begin(hub)
    receipt = (await ask(hub, "POST", "/submit/alice/A1")).json()["receipt"]
    running: list[str] = []
    at_once: list[int] = []

    def work() -> None:
        running.append("")
        at_once.append(len(running))
        time.sleep(0.05)
        running.pop()

    def verdict(*_: object) -> Verdict:
        work()
        return Verdict(valid=True, stored=True, counts=True, message="")

    def no_address(*_: object) -> int:
        work()
        return 0

    monkeypatch.setattr(submissions, "verdict_of", verdict)
    monkeypatch.setattr(HubState, "calendar_turn", no_address)
    async with hub.client() as nobody:
        answers = await asyncio.gather(
            *(nobody.post("/receipts/verify", json=receipt) for _ in range(4)),
            *(nobody.get("/calendar/alice/key.ics") for _ in range(4)),
        )
    assert {each.status_code for each in answers} == {200, 404}
    assert len(at_once) == 8
    assert max(at_once) <= 2


async def test_an_address_is_for_one_person_of_the_list(hub: Hub) -> None:
    own = await turn(hub)
    for forged in (own.replace("alice", "bob"), own.replace(own[-10:-4], "000000"), "/x.ics"):
        assert (await fetch(hub, forged)).status_code == 404
    (hub.course / "allowed_users.txt").write_text("bob\n")
    assert (await fetch(hub, own)).status_code == 404


async def test_a_marker_has_a_calendar_as_other_staff_without_being_on_the_list(hub: Hub) -> None:
    (hub.course / "allowed_users.txt").write_text("bob\n")
    assert (await fetch(hub, await turn(hub, user="marta"))).status_code == 200


async def test_two_courses_of_one_machine_have_events_of_their_own(tmp_path: Path) -> None:
    """A calendar program takes events with the same UID for one (RFC 5545, 3.8.4.7)."""
    found = set()
    for name in ("one", "two"):
        prefix = f'collect = true\nbase_url = "/{name}"'
        toml = TOML.replace("collect = true", prefix)
        with built_hub(tmp_path / name, toml, "A1") as hub:
            answer = await fetch(hub, await turn(hub, prefix=f"/{name}"))
        found |= {line for line in answer.text.split("\r\n") if line.startswith("UID:")}
    assert len(found) == 4, found
