"""``mograder grader`` and ``grader-asgi`` as processes, in real Chromium and by keyboard alone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.support.browser import People, tab_to
from tests.support.grader_process import GraderProcess
from tests.support.hub_pages import put_marks

pytestmark = pytest.mark.full

ITEM = "A1-Measuring-Pi"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A graded course without a hub."""
    place = tmp_path / "course"
    place.mkdir()
    (place / "mograder.toml").write_text('title = "Numerical Experiments"\n')
    put_marks(place)
    return place


async def test_a_teacher_opens_an_assignment_by_keyboard_on_the_own_machine(
    course: Path, people: People, tmp_path: Path, artifacts: Path
) -> None:
    with GraderProcess(course, tmp_path / "grader.log", "grader", "--headless") as grader:
        teacher, other = await people.person("teacher"), await people.person("other")
        page = await teacher.open(grader.link)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Marking")
        await tab_to(page, f"Close for markers: {ITEM}")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text(f"{ITEM} is closed for markers.")
        assert (course / "marking.json").read_text() == "[]\n"
        await tab_to(page, ITEM)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text(ITEM)
        await expect(page.get_by_role("link", name="Answer 1", exact=True)).to_be_visible()
        assert "student0" not in await page.content()
        await tab_to(page, "Show the names")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="student000")).to_be_visible()
        await page.screenshot(path=artifacts / "grader-item.png", full_page=True)
        shut = await other.open(f"{grader.url}/marking")
        await expect(shut.get_by_text("mograder grader").first).to_be_visible()
        assert "student0" not in await shut.content()
    assert grader.returncode == 0
    assert teacher.notes == []


def test_a_proxy_on_this_machine_names_the_people(course: Path, tmp_path: Path) -> None:
    options = ("--host", "127.0.0.1", "--base-url", "/live/grader", "--trust-local-proxy")
    people = ("--instructors", "prof", "--markers", "marta")
    log = tmp_path / "grader.log"

    def status(user: str, path: str) -> int:
        headers = {"X-Remote-User": user}
        address = f"{grader.url}/live/grader{path}"
        return httpx.get(address, headers=headers, trust_env=False, timeout=30).status_code

    with GraderProcess(course, log, "grader-asgi", *options, *people) as grader:
        found = {user: status(user, f"/marking/{ITEM}") for user in ("prof", "marta", "eve")}
        assert found == {"prof": 200, "marta": 200, "eve": 403}
        assert status("marta", "/marking/A2-Cooling-Coffee") == 403
    assert grader.returncode == 0
    assert "base-url: /live/grader" in log.read_text()
