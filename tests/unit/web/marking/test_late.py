"""The page of late work: forms with a preview, the record, refusals, and what others wrote."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.graded_courses import DUE, SETTINGS, grades, put
from tests.support.grader_app import proxied_grader

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


@asynccontextmanager
async def as_user(course: Path, user: str = "ina") -> AsyncIterator[httpx.AsyncClient]:
    async with (
        proxied_grader(course, "ina", "mia") as grader,
        grader.through_proxy(user) as client,
    ):
        yield client


def version(page: str) -> str:
    found = re.search(r'name="version" value="([^"]*)"', page)
    assert found is not None
    return found[1]


async def test_a_change_is_previewed_then_recorded(course: Path) -> None:
    async with as_user(course) as client:
        first = (await client.get(LATE)).text
        assert "67.5 − 5 % (1 day late after 5 min grace; due" in first
        assert "None yet." in first
        seen = await client.post(f"{LATE}/preview", data=ADD)
        assert seen.status_code == OK
        assert "1 of 2 marks change." in seen.text
        assert "by an extension" in seen.text
        assert "None yet." in (await client.get(LATE)).text
        saved = await client.post(LATE, data={**ADD, "version": version(seen.text)})
        assert (saved.status_code, saved.headers["location"]) == (SEEN, f"{LATE}?done=late")
        page = (await client.get(f"{LATE}?done=late")).text
        assert "The change was recorded." in page
        assert "by ina" in page
        assert grades(course)["alice"].final == 67.5
        again = await client.post(LATE, data={**ADD, "version": version(seen.text)})
        assert again.status_code == httpx.codes.CONFLICT
        removed = {"action": "remove", "student": "alice"}
        seen = await client.post(f"{LATE}/preview", data=removed)
        await client.post(LATE, data={**removed, "version": version(seen.text)})
        assert grades(course)["alice"].final == 64.1


async def test_what_may_be_a_mistake_is_told_in_the_preview(course: Path) -> None:
    early = f"{DUE - timedelta(days=2):%Y-%m-%dT%H:%M}"
    async with as_user(course) as client:
        text = (await client.post(f"{LATE}/preview", data={**ADD, "until": early})).text
        assert "is not after the due date, <time" in text
        mistyped = {**ADD, "student": "", "group": "Lap"}
        text = (await client.post(f"{LATE}/preview", data=mistyped)).text
        assert "The gradebook does not know the group Lap yet." in text
        text = (await client.post(f"{LATE}/preview", data=ADD)).text
        assert "does not know" not in text
        assert "is not after" not in text


async def test_the_rule_groups_and_files_have_previews_too(course: Path) -> None:
    async with as_user(course) as client:
        rule = {"action": "policy", "of": "item", "per_day": "20", "max": ""}
        seen = await client.post(f"{LATE}/preview", data=rule)
        assert "<strong>54</strong>" in seen.text
        await client.post(LATE, data={**rule, "version": version(seen.text)})
        assert "In force: 20 (stored for the assignment)" in (await client.get(LATE)).text
        member = {"action": "member", "group": "B", "student": "alice", "leaves": "0"}
        seen = await client.post(f"{LATE}/preview", data=member)
        await client.post(LATE, data={**member, "version": version(seen.text)})
        text = f"group,until\nB,{UNTIL}\n"
        file = {"file": ("x.csv", text.encode(), "text/csv")}
        seen = await client.post(f"{LATE}/preview", files=file)
        assert "1 of 2 marks change." in seen.text
        fields = {"action": "csv", "csv": text, "version": version(seen.text)}
        assert (await client.post(LATE, data=fields)).status_code == SEEN
    assert grades(course)["alice"].final == 67.5


@pytest.mark.parametrize(
    "fields",
    [
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
    ],
)
async def test_fields_that_cannot_be_used_are_refused(course: Path, fields: dict[str, str]) -> None:
    async with as_user(course) as client:
        assert (await client.post(f"{LATE}/preview", data=fields)).status_code == 400
        data = {**fields, "version": "0.0.0"}
        assert (await client.post(LATE, data=data)).status_code == 400


async def test_what_people_wrote_is_shown_as_text(course: Path) -> None:
    evil = "<script>alert(1)</script>"
    async with as_user(course) as client:
        data = {**ADD, "student": evil, "reason": evil}
        seen = await client.post(f"{LATE}/preview", data=data)
        await client.post(LATE, data={**data, "version": version(seen.text)})
        page = (await client.get(LATE)).text
        assert evil not in seen.text + page
        assert "&lt;script&gt;alert(1)" in page


async def test_the_due_date_is_set_by_the_form_and_the_page_says_where_it_comes_from(
    course: Path,
) -> None:
    fields = {"action": "dates", "due": "2026-12-24T12:00", "closes": "", "timezone": "UTC"}
    async with as_user(course) as client:
        assert "(Moodle)" in (await client.get(LATE)).text
        seen = await client.post(f"{LATE}/preview", data=fields)
        assert "1 of 2 marks change." in seen.text
        assert f'action="{LATE}"' in seen.text
        await client.post(LATE, data={**fields, "version": version(seen.text)})
        page = (await client.get(LATE)).text
        assert "2026-12-24T12:00:00+00:00" in page
        assert "(set by an instructor)" in page
        early = {**fields, "closes": "2026-12-01T12:00"}
        refused = await client.post(f"{LATE}/preview", data=early)
        assert refused.status_code == httpx.codes.BAD_REQUEST
        assert "A1 closes before it is due." in refused.text
