"""The student's own dashboard in real Chromium, over a real assignment server.

Register → fetch → edit → validate → submit → receipt → grade and feedback appear (B139-B151); by
mouse, by keyboard, and without scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.test_journey import until
from tests.support.browser import People, Person
from tests.support.looks import faults_at, violations
from tests.support.shared_hub import SharedCaches
from tests.support.student_dashboard import (
    CODE,
    COFFEE,
    PI,
    RELEASED,
    DashboardSetup,
    fill_in,
    register,
    served_course,
)
from tests.support.work_elsewhere import save_in_browser

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


CHECKED = {"notebook", "file_mtime", "checks", "export_ok", "export_error", "cell_errors"}


@pytest.fixture(scope="module")
def scene(caches: SharedCaches) -> Iterator[DashboardSetup]:
    with served_course("student", caches) as scene:
        scene.build()
        yield scene


@pytest.mark.journey
async def test_b141_a_student_goes_from_the_code_to_the_grade_by_mouse(
    scene: DashboardSetup, people: People, artifacts: Path, tmp_path: Path
) -> None:
    """Also B148-B151: the token is kept, files are fetched, the work is handed in and graded."""
    with scene.dashboard("alice") as dashboard:
        alice = await people.person("alice")
        page = await register(alice, dashboard, "alice")
        await page.screenshot(path=artifacts / "list.png", full_page=True)
        await page.get_by_role("button", name=f"Download {PI}").click()
        await expect(page.get_by_text(f"{PI} is yours now.")).to_be_visible()
        async with alice.context.expect_page() as opened:
            await page.get_by_role("link", name=f"Edit {PI}").click()
        notebook = dashboard.folder / PI / f"{PI}.py"
        await estimate(await opened.value, notebook, "3.14159")
        await page.reload()
        await expect(row(page, PI).get_by_text("edited", exact=False).first).to_be_visible()
        await page.get_by_role("button", name=f"Validate {PI}").click()
        await expect(page.get_by_text("Everything passes.", exact=True)).to_be_visible()
        await page.screenshot(path=artifacts / "validated.png", full_page=True)
        await page.get_by_role("button", name=f"Submit {PI}").click()
        await expect(page.get_by_role("heading", name=f"{PI} is submitted")).to_be_visible()
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="Download the receipt").click()
        kept = tmp_path / "receipt.json"
        await (await downloading.value).save_as(kept)
        with scene.server.instructor() as teacher:
            said = teacher.verify_receipt(kept.read_text("utf-8"))
        assert (said.valid, said.stored, said.counts) == (True, True, True)
        assert json.loads(kept.read_text("utf-8"))["user"] == "alice"
        await page.get_by_role("link", name="Back to the assignments").click()
        await expect(row(page, PI).get_by_text("submitted", exact=True)).to_be_visible()
        await page.get_by_role("button", name=f"Stop {PI}").click()
        await expect(page.get_by_role("button", name=f"Stop {PI}")).to_have_count(0)

        remembered = dashboard.folder / ".mograder"
        checked = json.loads((remembered / "check_cache" / f"{PI}.json").read_text("utf-8"))
        assert checked.keys() >= CHECKED, "compat.md 5"
        assert checked["checks"][0]["status"] == "success"
        sent = json.loads((remembered / "submissions" / f"{PI}.json").read_text("utf-8"))
        assert sent["file_mtime"] == notebook.stat().st_mtime
        scene.server.grade(PI, "alice", tmp_path)
        await read_what_came_back(page, artifacts)


async def read_what_came_back(page: Page, artifacts: Path) -> None:
    """Ask the server, and look at the grade and at the page of feedback."""
    await page.get_by_role("button", name="Ask the server again").click()
    await expect(row(page, PI).get_by_text("Grade 9.5")).to_be_visible()
    await page.screenshot(path=artifacts / "graded.png", full_page=True)
    await page.get_by_role("link", name=f"Grade and feedback on {PI}").click()
    await expect(page.get_by_text("Well estimated.", exact=True)).to_be_visible()
    paper = page.frame_locator("iframe.paper")
    await expect(paper.get_by_text("Well estimated, alice.")).to_be_visible()
    await expect(paper.get_by_text("no script has run")).to_be_visible()
    await page.screenshot(path=artifacts / "feedback.png", full_page=True)
    await page.get_by_role("link", name="Show it with its scripts").click()
    await expect(paper.get_by_text("a script has run")).to_be_visible()
    assert "stolen" not in await page.title(), "it cannot reach the page around it"


@pytest.mark.long
async def test_the_same_by_keyboard(scene: DashboardSetup, people: People, tmp_path: Path) -> None:
    with scene.dashboard("bob") as dashboard:
        bob = await people.person("bob")
        page = await bob.open(dashboard.link)
        await page.get_by_label("User name").focus()
        await page.keyboard.type("bob")
        await page.keyboard.press("Tab")
        await page.keyboard.type(CODE)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Your assignments")).to_be_visible()
        await press(page, f"Download {PI}")
        await expect(page.get_by_text(f"{PI} is yours now.")).to_be_visible()
        async with bob.context.expect_page() as opened:
            await page.get_by_role("link", name=f"Edit {PI}").press("Enter")
        await estimate(await opened.value, dashboard.folder / PI / f"{PI}.py", "5")
        await press(page, f"Validate {PI}")
        await expect(page.get_by_text("It lies between 3 and 4.")).to_be_visible()
        await press(page, "Close this report")
        await expect(page.get_by_text("It lies between 3 and 4.")).to_have_count(0)
        await press(page, f"Submit {PI}")
        await expect(page.get_by_role("heading", name=f"{PI} is submitted")).to_be_visible()
        scene.server.grade(PI, "bob", tmp_path)
        await page.get_by_role("link", name="Back to the assignments").press("Enter")
        await press(page, "Ask the server again")
        await page.get_by_role("link", name=f"Grade and feedback on {PI}").press("Enter")
        await expect(page.get_by_text("Well estimated.", exact=True)).to_be_visible()


@pytest.mark.long
async def test_the_journey_of_pages_works_without_scripts(
    scene: DashboardSetup, people: People
) -> None:
    with scene.dashboard("carol") as dashboard:
        carol = await people.person("carol", javascript=False)
        page = await register(carol, dashboard, "carol")
        await page.get_by_role("button", name=f"Download {PI}").click()
        await expect(page.get_by_text(f"{PI} is yours now.")).to_be_visible()
        await page.get_by_role("button", name=f"Validate {PI}").click()
        await expect(page.get_by_role("heading", name=f"Validation of {PI}")).to_be_visible()
        await expect(page.get_by_text("Not there yet.", exact=True)).to_be_visible()
        await page.get_by_role("link", name="Back", exact=True).click()
        await page.get_by_role("button", name=f"Submit {PI}").click()
        await expect(page.get_by_role("heading", name=f"{PI} is submitted")).to_be_visible()
        await page.get_by_role("link", name="Back to the assignments").click()
        await page.get_by_role("link", name=f"Download again {PI}").click()
        await page.get_by_role("button", name="Keep mine aside and download").click()
        await expect(page.get_by_text(f"{PI} is yours now.")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in to your course")).to_be_visible()


@pytest.mark.long
async def test_every_page_passes_axe_wide_on_a_phone_and_in_the_dark(
    people: People, artifacts: Path, tmp_path: Path, caches: SharedCaches
) -> None:
    with (
        served_course("student-pages", caches) as scene,
        scene.dashboard("dora") as dashboard,
    ):
        dora, stranger = await people.person("dora"), await people.person("stranger")
        wrong: list[str] = []

        async def look(person: Person, path: str, name: str) -> None:
            tab = await person.context.new_page()
            wrong.extend(await faults_at(tab, dashboard.url + path, artifacts, name))
            await tab.close()

        await look(stranger, "/", "closed")
        page = await dora.open(dashboard.link)
        await look(dora, "/sign-in", "sign-in")
        page = await fill_in(page, "dora")
        await look(dora, "/", "new")
        await live_through(page, scene, tmp_path)
        for name, path in PAGES.items():
            await look(dora, path, name)
        await page.goto(f"{dashboard.url}/")
        await page.get_by_role("button", name=f"Send it now {COFFEE}").click()
        await expect(page.get_by_role("heading", name=f"{COFFEE} is submitted")).to_be_visible()
        wrong += await violations(page, "receipt after waiting")
    usual = re.compile(
        r"404 \(Not Found\)|403 \(Forbidden\)|frame is sandboxed"
        r"|/(?:validate|fetch|submit|send|sync)\S* net::ERR_ABORTED"
    )
    notes = [*dora.notes, *stranger.notes]
    assert wrong + [note for note in notes if not usual.search(note)] == []


async def live_through(page: Page, scene: DashboardSetup, work: Path) -> None:
    """One assignment is graded, the other waits for a server that was down and is back."""
    for item in (PI, COFFEE):
        await page.get_by_role("button", name=f"Download {item}").click()
        await expect(page.get_by_text(f"{item} is yours now.")).to_be_visible()
    await page.get_by_role("button", name=f"Submit {PI}").click()
    await expect(page.get_by_role("heading", name=f"{PI} is submitted")).to_be_visible()
    scene.server.grade(PI, "dora", work)
    save_in_browser(scene.server.url, scene.server.token("dora"), PI, f"{RELEASED}# there\n")
    await page.get_by_role("link", name="Back to the assignments").click()
    await page.get_by_role("button", name=f"Validate {PI}").click()
    await expect(page.get_by_text("Not there yet.", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Ask the server again").click()
    await expect(row(page, PI).get_by_text("Grade 9.5")).to_be_visible()
    scene.server.stop()
    await page.get_by_role("button", name=f"Submit {COFFEE}").click()
    await expect(page.get_by_text(f"{COFFEE} is not submitted yet.")).to_be_visible()
    scene.server.start()


PAGES = {
    "list": f"/?done=waits&item={COFFEE}",
    "signed-in": "/sign-in",
    "validation": f"/validation/{PI}",
    "replace": f"/replace/{PI}",
    "late": f"/late/{PI}",
    "newer": f"/newer/{PI}",
    "receipt": f"/receipt/{PI}",
    "feedback": f"/feedback/{PI}",
    "no-editor": f"/editor/{PI}",
    "nothing": "/validation/no-such-item",
}


def row(page: Page, item: str) -> Locator:
    """The line of an assignment in the list."""
    part = page.locator("#assignments")
    return part.get_by_role("listitem").filter(has=page.get_by_role("heading", name=item))


async def press(page: Page, name: str) -> None:
    """Press a button by keyboard."""
    button = page.get_by_role("button", name=name)
    await button.focus()
    await page.keyboard.press("Enter")


async def estimate(editor: Page, notebook: Path, value: str) -> None:
    """Type another value into the cell of the real editor, run it, and wait until it is saved."""
    cell = editor.locator(".cm-content", has_text="estimate = 0")
    await expect(cell).to_be_visible(timeout=90_000)
    await cell.click()
    await editor.keyboard.press("ControlOrMeta+a")
    await editor.keyboard.insert_text(f"estimate = {value}")
    await editor.keyboard.press("Control+Enter")
    await until(lambda: f"estimate = {value}" in notebook.read_text("utf-8"))
    await editor.close()
