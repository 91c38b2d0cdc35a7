"""The page of late work: forms with a preview, the record, refusals, and what others wrote."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from mograder.web.marking.extension_pages import typed_dates
from tests.support.graded_courses import DUE, SETTINGS, grades, put
from tests.support.grader_app import proxied_grader
from tests.support.page_reader import hidden_field

OK, SEEN, FORBIDDEN = httpx.codes.OK, httpx.codes.SEE_OTHER, httpx.codes.FORBIDDEN
LATE = "/marking/A1/late"
UNTIL = f"{DUE + timedelta(days=2):%Y-%m-%dT%H:%M}"
ADD = {"action": "add", "student": "alice", "exempt": "0", "until": UNTIL, "timezone": "UTC"}


@pytest.fixture
def course(tmp_path: Path) -> Path:
    (tmp_path / "mograder.toml").write_text(SETTINGS)
    put(tmp_path, "alice", timedelta(hours=15))
    put(tmp_path, "bob", timedelta(hours=-1))
    return tmp_path


@pytest.fixture
async def client(course: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An instructor's, at the grader."""
    async with (
        proxied_grader(course, "ina", "mia") as grader,
        grader.through_proxy("ina") as client,
    ):
        yield client


async def record(client: httpx.AsyncClient, fields: dict[str, str]) -> str:
    """Look at the preview of a change and record it; return the preview."""
    seen = await client.post(f"{LATE}/preview", data=fields)
    assert seen.status_code == OK
    saved = await client.post(LATE, data={**fields, "version": hidden_field(seen.text, "version")})
    assert (saved.status_code, saved.headers["location"]) == (SEEN, f"{LATE}?done=late")
    return seen.text


async def test_extensions_of_the_assignment_server_are_named_beside_those_given_here(
    client: httpx.AsyncClient, course: Path
) -> None:
    entry = {"name": "A1", "extensions": {"dora": "2027-01-01T18:00:00Z"}}
    (course / "A1").mkdir()
    (course / "assignments.json").write_text(json.dumps([entry]))
    assert "<code>assignments.json</code>: dora." in (await client.get(LATE)).text
    await record(client, ADD | {"student": "dora"})
    assert "<code>assignments.json</code>: dora" not in (await client.get(LATE)).text


@pytest.mark.parametrize(
    ("typed", "due"),
    [("02T22:59", "02T22:59:59"), ("01T20:59", "01T20:59:59"), ("02T18:00", "02T18:00:00")],
)
def test_a_form_moves_the_end_of_a_day_to_the_end_of_another(typed: str, due: str) -> None:
    """It shows no seconds, and the hour of the reader's zone, here London."""
    end = datetime.fromisoformat("2026-12-01T22:59:59Z")  # of the day in Berlin
    fields = {"due": f"2026-12-{typed}", "due-shown": end.isoformat(), "timezone": "Europe/London"}
    moved = datetime.fromisoformat(f"2026-12-{due}Z")
    assert typed_dates("A1", fields, {"due": end}) == {"due": moved}


async def test_a_change_is_previewed_then_recorded(client: httpx.AsyncClient, course: Path) -> None:
    first = (await client.get(LATE)).text
    assert "67.5 − 5 % (1 day late after 5 min grace; due" in first
    assert "None yet." in first
    assert "by an extension" in (await client.post(f"{LATE}/preview", data=ADD)).text
    assert "None yet." in (await client.get(LATE)).text
    seen = await record(client, ADD)
    assert "1 of 2 marks change." in seen
    page = (await client.get(f"{LATE}?done=late")).text
    assert "The change was recorded." in page
    assert "by ina" in page
    assert grades(course)["alice"].final == 67.5
    again = await client.post(LATE, data={**ADD, "version": hidden_field(seen, "version")})
    assert again.status_code == httpx.codes.CONFLICT
    await record(client, {"action": "remove", "student": "alice"})
    assert grades(course)["alice"].final == 64.1


async def test_the_assignments_page_has_the_marks_after_the_deduction(
    client: httpx.AsyncClient,
) -> None:
    assert "64.1 as late" in (await client.get("/marking/A1")).text
    await record(client, ADD)
    assert "as late" not in (await client.get("/marking/A1")).text


async def test_a_csv_file_in_another_encoding_is_refused(client: httpx.AsyncClient) -> None:
    text = f"student,until,reason\nalice,{UNTIL},fièvre\n"
    for data, status in ((text.encode(), OK), (text.encode("cp1252"), httpx.codes.BAD_REQUEST)):
        file = {"file": ("x.csv", data, "text/csv")}
        seen = await client.post(f"{LATE}/preview", files=file)
        assert seen.status_code == status
        assert ("not UTF-8" in seen.text) == (status != OK)


async def test_what_may_be_a_mistake_is_told_in_the_preview(client: httpx.AsyncClient) -> None:
    early = f"{DUE - timedelta(days=2):%Y-%m-%dT%H:%M}"
    text = (await client.post(f"{LATE}/preview", data={**ADD, "until": early})).text
    assert "is not after the due date, <time" in text
    mistyped = {**ADD, "student": "", "group": "Lap"}
    text = (await client.post(f"{LATE}/preview", data=mistyped)).text
    assert "The gradebook does not know the group Lap yet." in text
    text = (await client.post(f"{LATE}/preview", data=ADD)).text
    assert "does not know" not in text
    assert "is not after" not in text


async def test_the_rule_groups_and_files_have_previews_too(
    client: httpx.AsyncClient, course: Path
) -> None:
    rule = {"action": "policy", "of": "item", "per_day": "20", "max": ""}
    assert "<strong>54</strong>" in await record(client, rule)
    assert "In force: 20 (stored for the assignment)" in (await client.get(LATE)).text
    await record(client, {"action": "member", "group": "B", "student": "alice", "leaves": "0"})
    text = f"group,until\nB,{UNTIL}\n"
    file = {"file": ("x.csv", text.encode(), "text/csv")}
    seen = await client.post(f"{LATE}/preview", files=file)
    assert "1 of 2 marks change." in seen.text
    fields = {"action": "csv", "csv": text, "version": hidden_field(seen.text, "version")}
    assert (await client.post(LATE, data=fields)).status_code == SEEN
    assert grades(course)["alice"].final == 67.5


@pytest.mark.parametrize(
    ("of", "title", "stored"), [("item", "A1", "assignment"), ("course", "the course", "course")]
)
async def test_the_form_of_a_rule_takes_no_key_back_that_another_stored_meanwhile(
    client: httpx.AsyncClient, of: str, title: str, stored: str
) -> None:
    page = (await client.get(LATE)).text
    form = page.split(f'aria-label="The rule of {title}"')[1].split("</form>")[0]
    opened = dict(re.findall(r'name="([^"]+)"\s+value="([^"]*)"', form))
    assert (opened["of"], opened["per_day"], opened["per_day-shown"]) == (of, "", "")
    await record(client, {"action": "policy", "of": of, "per_day": "20"})
    await record(client, opened | {"grace_minutes": "10"})
    page = (await client.get(LATE)).text
    assert f"In force: 20 (stored for the {stored})" in page
    assert f"In force: 10 (stored for the {stored})" in page


async def test_fields_that_cannot_be_used_are_refused(client: httpx.AsyncClient) -> None:
    wrong: tuple[dict[str, str], ...] = (
        {},
        {**ADD, "until": "soon"},
        {**ADD, "timezone": "Mars/Olympus"},
        {**ADD, "student": ""},
        {**ADD, "group": "B"},
        {**ADD, "exempt": "1"},
        {**ADD, "until": ""},
        {"action": "remove", "student": "bob"},
        {"action": "policy", "of": "item", "per_day": "-1"},
        {"action": "csv", "csv": "student,until\nalice,soon\n"},
    )
    for fields in wrong:
        assert (await client.post(f"{LATE}/preview", data=fields)).status_code == 400, fields
        data = {**fields, "version": "0.0.0"}
        assert (await client.post(LATE, data=data)).status_code == 400, fields


async def test_what_people_wrote_is_shown_as_text(client: httpx.AsyncClient) -> None:
    evil = "<script>alert(1)</script>"
    seen = await record(client, {**ADD, "student": evil, "reason": evil})
    page = (await client.get(LATE)).text
    assert evil not in seen + page
    assert "&lt;script&gt;alert(1)" in page


async def test_the_due_date_is_set_by_the_form_and_the_page_says_where_it_comes_from(
    client: httpx.AsyncClient,
) -> None:
    fields = {"action": "dates", "due": "2026-12-24T12:00", "closes": "", "timezone": "UTC"}
    assert "(Moodle)" in (await client.get(LATE)).text
    seen = await record(client, fields)
    assert "1 of 2 marks change." in seen
    assert f'action="{LATE}"' in seen
    page = (await client.get(LATE)).text
    assert "2026-12-24T12:00:00+00:00" in page
    assert "(set by an instructor)" in page
    early = {**fields, "closes": "2026-12-01T12:00"}
    refused = await client.post(f"{LATE}/preview", data=early)
    assert refused.status_code == httpx.codes.BAD_REQUEST
    assert "A1 closes before it is due." in refused.text
