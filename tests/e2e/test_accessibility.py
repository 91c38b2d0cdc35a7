"""Every page and state, looked at by axe: wide, on a phone, in the dark (WCAG 2.2 AA).

Screenshots are left as artefacts for people to look at.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from tests.support.browser import People
from tests.support.hub_pages import course, live_through, serving
from tests.support.identity import from_proxy
from tests.support.looks import MOST_SHIFT, SHIFT, SMALL_PHONE, faults, faults_at

pytestmark = pytest.mark.full

A1, A3 = "alice/A1-Measuring-Pi", "alice/A3-Random-Walks"
ALICE = {
    "home": "/",
    "done": "/?done=reset&item=A1-Measuring-Pi",
    "reset": f"/reset/{A1}",
    "validation": f"/validation/{A1}",
    "unvalidated": "/validation/alice/A2-Cooling-Coffee",
    "versions": "/versions/alice/A2-Cooling-Coffee",
    "no-versions": f"/versions/{A1}",
    "look": f"/look/{A1}",
    "submissions": f"/submissions/{A3}",
    "submission": f"/submissions/{A3}/1",
    "submission-now": f"/submissions/{A3}/1?to=now",
    "calendar": "/calendar",
    "client": "/client",
    "problem": "/reset/alice/no-such-item",
    "login": "/login",
}
PROF = {
    "home": "/",
    "preview": "/?as=student&at=2099-10-05T09:00",
    "today": "/course/today",
    "gradebook": "/course/gradebook",
    "gradebook-found": "/course/gradebook?state=late&item=A1-Measuring-Pi&sort=total",
    "items": "/course/items",
    "boards": "/board",
    "board": "/board/A1-Measuring-Pi",
    "board-sent": "/board/A1-Measuring-Pi?done=message",
    "board-nameless": "/board/A1-Measuring-Pi?names=no",
    "board-empty": "/board/A4-Exam",
    "graded": "/course/items/A1-Measuring-Pi?done=grading&item=A1-Measuring-Pi",
    "ungraded": "/course/items/A3-Random-Walks",
    "grading": "/course/items/A2-Cooling-Coffee",
    "grading-failed": "/course/items/A4-Exam",
    "lecture": "/course/items/L01-Random-Numbers",
    "sessions": "/course/sessions",
    "sessions-last": "/course/sessions?page=2&order=memory",
    "students": "/course/students",
    "students-none": "/course/students?q=nobody-at-all",
    "student": "/course/students/alice",
    "nobody": "/course/students/student059",
    "people": "/course/people",
    "problems": "/course/problems",
    "log": "/course/log",
    "look": f"/look/{A1}",
    "look-check": f"/look/{A1}?check=Q1: the estimate",
    "reset": f"/reset/{A1}",
    "validation": f"/validation/{A1}",
    "marking": "/marking?done=opened&item=A1-Measuring-Pi",
    "marking-item": "/marking/A1-Measuring-Pi",
    "marking-names": "/marking/A1-Measuring-Pi?names=1&page=2",
    "marking-ungraded": "/marking/A4-Exam",
    "late": "/marking/A1-Measuring-Pi/late",
    "submissions": f"/submissions/{A3}",
}
MARTA = {
    "board": "/board/A1-Measuring-Pi",
    "look": "/look/student002/A1-Measuring-Pi",
    "marking": "/marking",
    "marking-item": "/marking/A1-Measuring-Pi",
    "marking-closed": "/marking/A2-Cooling-Coffee",
}
PAGES = {"alice": ALICE, "prof": PROF, "marta": MARTA}


@pytest_asyncio.fixture(loop_scope="session")
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A course in mid-term."""
    hub = await course(tmp_path / "course")
    async with serving(hub) as address:
        await live_through(hub, address)
        yield address
    hub.close()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("who", PAGES)
async def test_every_page_passes_axe_wide_on_a_phone_and_in_the_dark(
    who: str, address: str, people: People, artifacts: Path
) -> None:
    person = await people.person(who, headers=from_proxy(who))
    wrong: list[str] = []
    for name, path in PAGES[who].items():
        page = await person.context.new_page()
        wrong += await faults_at(page, address + path, artifacts, f"{who}-{name}")
        await page.close()
    # The stream of news ends with its page; one page is not there, one not open for marking.
    usual = re.compile(r"/events\S* net::ERR_ABORTED|404 \(Not Found\)|403 \(Forbidden\)")
    wrong += [note for note in person.notes if not usual.search(note)]
    assert wrong == []


async def test_scripts_that_come_late_move_nothing(address: str, people: People) -> None:
    """Times are told in the reader's zone, in words of another length."""
    alice = await people.person("alice", headers=from_proxy("alice"))

    async def late(route: Route) -> None:
        await asyncio.sleep(0.3)
        await route.continue_()

    for path in ("/", f"/look/{A1}", f"/validation/{A1}"):
        page = await alice.context.new_page()
        await page.set_viewport_size({"width": 360, "height": 800})
        await page.route("**/*.js", late)
        await page.goto(address + path, wait_until="load")
        assert await page.evaluate(SHIFT) <= MOST_SHIFT, path
        await page.close()


async def test_a_validation_is_read_in_place_and_closed_by_keyboard(
    address: str, people: People, artifacts: Path
) -> None:
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{address}/")
    await page.get_by_role("button", name="Validate A1-Measuring-Pi").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Partial credit")).to_be_visible()
    await expect(page.get_by_text("2.5 of 5 marks")).to_be_visible()
    assert await faults(page, artifacts, "result-in-place", SMALL_PHONE) == []
    await page.get_by_role("button", name="Close this report").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Partial credit")).to_have_count(0)
    await expect(page.get_by_text("See why")).to_be_visible()


async def test_the_whole_student_journey_of_pages_works_without_scripts(
    address: str, people: People
) -> None:
    alice = await people.person("alice", headers=from_proxy("alice"), javascript=False)
    page = await alice.open(f"{address}/")
    await page.get_by_role("button", name="Validate A1-Measuring-Pi").click()
    await expect(page.get_by_role("heading", name="Validation of A1-Measuring-Pi")).to_be_visible()
    await page.get_by_role("link", name="Back", exact=True).click()
    await page.get_by_role("link", name="Reset A1-Measuring-Pi").click()
    await page.get_by_role("button", name="Keep mine aside and begin anew").click()
    await expect(page.get_by_role("status").filter(has_text="begins anew")).to_be_visible()
    await page.get_by_role("link", name="Versions of A1-Measuring-Pi").click()
    await page.get_by_role("button", name="Put back").first.click()
    await expect(
        page.get_by_text("The earlier version of A1-Measuring-Pi is back.")
    ).to_be_visible()
    await page.get_by_role("link", name="Back", exact=True).click()
    await page.get_by_role("button", name="Hand in again A1-Measuring-Pi").click()
    await page.get_by_role("button", name="Hand in all the same").click()
    await expect(page.get_by_text("A1-Measuring-Pi was handed in")).to_be_visible()


async def test_an_instructor_grades_by_keyboard_and_sees_the_progress_without_a_reload(
    address: str, people: People
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{address}/course/items/A3-Random-Walks")
    await page.get_by_role("button", name="Grade submissions").press("Enter")
    await expect(page.get_by_text("Waiting: another item is graded first.")).to_be_visible()
    other = await prof.open(f"{address}/course/items/A2-Cooling-Coffee")
    await other.get_by_role("button", name="Cancel").press("Enter")
    await expect(other.get_by_text("Grading A2-Cooling-Coffee was cancelled")).to_be_visible()
    await page.bring_to_front()
    await expect(page.get_by_text("1 of 2 graded.")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_be_visible()
