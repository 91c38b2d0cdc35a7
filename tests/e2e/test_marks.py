"""The tutorial from an assignment to its marks and back, by the real parts and in real Chromium.

``mograder new``, ``generate`` and ``hub publish``; a student solves and submits in the browser;
``autograde``, ``gradebook`` and ``feedback``; the uploads, and the student reads the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import FrameLocator, Page, expect

from tests.support.browser import People, Person
from tests.support.hub import HubProcess, write_settings
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults
from tests.support.shared_hub import SharedCaches, module_hub
from tests.support.student_dashboard import CODE, ServeProcess, StudentProcess
from tests.support.tutorial_course import (
    COMMENT,
    ITEM,
    MIDDLE,
    author,
    command,
    mark,
    publish,
    solve_and_submit,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    """A hub that takes submissions, with the assignment that ``mograder new`` writes."""

    settings = {"hub.collect": True}
    with module_hub("marks", caches, prepare=author(caches.uv_cache), settings=settings) as hub:
        publish(hub)
        yield hub


async def test_from_a_submission_to_the_page_that_tells_its_marks(
    hub: HubProcess,
    people: People,
    fresh_name: Callable[[str], str],
    artifacts: Path,
    work_directory: Path,
) -> None:
    name = fresh_name("alice")
    alice = await people.person(name, headers=from_proxy(name))
    editor = await alice.open(f"{hub.url}/edit/{ITEM}")
    await editor.wait_for_url(f"**/edit/user/{name}/{ITEM}/")
    await solve_and_submit(editor, hub, name)
    submitted = hub.course / "submitted" / ITEM / f"{name}.py"
    assert MIDDLE.splitlines()[1].strip() in submitted.read_text()
    mark(hub.course, name)
    page = hub.course / "feedback" / ITEM / f"{name}.html"
    await look_at(alice, page, artifacts)
    await read_on_the_dashboard(people, name, hub.course, work_directory, artifacts)


async def look_at(student: Person, file: Path, artifacts: Path) -> None:
    """Open the file of feedback as it is, in every look."""
    page = await student.open(file.as_uri())
    assert await faults(page, artifacts, "feedback", EVERY_LOOK, axe=False) == []
    await tells_the_mark(page)
    await page.close()


async def tells_the_mark(page: Page | FrameLocator) -> None:
    """Expect the sum, the comment, and the marks of the question that lost some."""
    await expect(page.get_by_text("15.5 of 20 marks")).to_be_visible()
    await expect(page.get_by_text(COMMENT)).to_be_visible()
    await expect(page.get_by_text("2.5 of 5 marks").first).to_be_visible()


async def read_on_the_dashboard(
    people: People, name: str, course: Path, place: Path, artifacts: Path
) -> None:
    """Send marks and page to an assignment server; the student's dashboard shows them."""
    root = place / "served"
    files = root / ITEM / "files"
    files.mkdir(parents=True)
    (files / f"{ITEM}.py").write_text((course / "release" / ITEM / f"{ITEM}.py").read_text())
    with ServeProcess(root, artifacts / "serve.log") as server:
        folder = place / "student"
        folder.mkdir()
        write_settings(folder, {"transport": "https", "https.url": server.url})
        with StudentProcess(folder, place / "home", artifacts / "student.log") as dashboard:
            person = await people.person(f"{name}-at-home")
            page = await person.open(dashboard.link)
            await page.get_by_label("User name").fill(name)
            await page.get_by_label("Enrollment code").fill(CODE)
            await page.get_by_role("button", name="Register").click()
            await expect(page.get_by_role("heading", name=ITEM)).to_be_visible()
            for what in ("upload-grades", "upload-feedback"):
                where = ("--url", server.url, "--token", server.token("prof"))
                command(course, "https", what, ITEM, *where)
            await page.get_by_role("button", name="Ask the server again").click()
            await page.get_by_role("link", name=f"Grade and feedback on {ITEM}").click()
            await expect(page.get_by_text("15.5").first).to_be_visible()
            await tells_the_mark(page.frame_locator("iframe.paper"))
            await page.screenshot(path=artifacts / "dashboard.png", full_page=True)
