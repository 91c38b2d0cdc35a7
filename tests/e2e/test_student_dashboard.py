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
from tests.support.page_input import Keyboard, Mouse, PageInput
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


HANDS = (
    pytest.param(Mouse(), id="mouse"),
    pytest.param(Keyboard(), marks=pytest.mark.long, id="keyboard"),
)


@pytest.mark.parametrize("hands", HANDS)
async def test_b141_a_student_goes_from_the_code_to_the_grade(
    scene: DashboardSetup, people: People, artifacts: Path, tmp_path: Path, hands: PageInput
) -> None:
    """Also B148-B151: the token is kept, files are fetched, the work is handed in and graded."""
    name = type(hands).__name__.lower()
    with scene.dashboard(name) as dashboard:
        person = await people.person(name)
        page = await person.open(dashboard.link)
        await hands.write(page, page.get_by_label("User name"), name)
        await hands.write(page, page.get_by_label("Enrollment code"), CODE)
        await hands.press(page, button(page, "Register"))
        await expect(page.get_by_role("heading", name="Your assignments")).to_be_visible()
        await page.screenshot(path=artifacts / "list.png", full_page=True)
        await hands.press(page, button(page, f"Download {PI}"))
        await expect(page.get_by_text(f"{PI} is yours now.")).to_be_visible()
        async with person.context.expect_page() as opened:
            await hands.press(page, link(page, f"Edit {PI}"))
        notebook = dashboard.folder / PI / f"{PI}.py"
        await estimate(await opened.value, notebook, "3.14159")
        await page.bring_to_front()
        await page.reload()
        await expect(row(page, PI).get_by_text("edited", exact=False).first).to_be_visible()
        await hands.press(page, button(page, f"Validate {PI}"))
        await expect(page.get_by_text("Everything passes.", exact=True)).to_be_visible()
        await page.screenshot(path=artifacts / "validated.png", full_page=True)
        await hands.press(page, button(page, "Close this report"))
        await expect(page.get_by_text("Everything passes.", exact=True)).to_have_count(0)
        await hands.press(page, button(page, f"Submit {PI}"))
        await expect(page.get_by_role("heading", name=f"{PI} is submitted")).to_be_visible()
        async with page.expect_download() as downloading:
            await hands.press(page, link(page, "Download the receipt"))
        kept = tmp_path / "receipt.json"
        await (await downloading.value).save_as(kept)
        with scene.server.instructor() as teacher:
            said = teacher.verify_receipt(kept.read_text("utf-8"))
        assert (said.valid, said.stored, said.counts) == (True, True, True)
        assert json.loads(kept.read_text("utf-8"))["user"] == name
        await hands.press(page, link(page, "Back to the assignments"))
        await expect(row(page, PI).get_by_text("submitted", exact=True)).to_be_visible()
        await hands.press(page, button(page, f"Stop {PI}"))
        await expect(button(page, f"Stop {PI}")).to_have_count(0)
        remembers(dashboard.folder / ".mograder", notebook)
        scene.server.grade(PI, name, tmp_path)
        await read_what_came_back(page, hands, artifacts)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name)


def link(page: Page, name: str) -> Locator:
    return page.get_by_role("link", name=name)


def remembers(state: Path, notebook: Path) -> None:
    """What was checked and sent is in the files that 0.3.16 reads, too."""
    checked = json.loads((state / "check_cache" / f"{PI}.py.json").read_text("utf-8"))
    assert checked.keys() >= CHECKED, "compatibility-0.3.16.md 5"
    assert checked["checks"][0]["status"] == "success"
    sent = json.loads((state / "submissions" / f"{PI}.py.json").read_text("utf-8"))
    assert sent["file_mtime"] == notebook.stat().st_mtime


async def read_what_came_back(page: Page, hands: PageInput, artifacts: Path) -> None:
    """Ask the server, and look at the grade and at the page of feedback."""
    await hands.press(page, button(page, "Ask the server again"))
    await expect(row(page, PI).get_by_text("Grade 9.5")).to_be_visible()
    await page.screenshot(path=artifacts / "graded.png", full_page=True)
    await hands.press(page, link(page, f"Grade and feedback on {PI}"))
    await expect(page.get_by_text("Well estimated.", exact=True)).to_be_visible()
    paper = page.frame_locator("iframe.paper")
    await expect(paper.get_by_text("Well estimated, alice.")).to_be_visible()
    await expect(paper.get_by_text("no script has run")).to_be_visible()
    await page.screenshot(path=artifacts / "feedback.png", full_page=True)
    await hands.press(page, link(page, "Show it with its scripts"))
    await expect(paper.get_by_text("a script has run")).to_be_visible()
    assert "stolen" not in await page.title(), "it cannot reach the page around it"


async def test_a_dashboard_that_is_not_there_any_more_is_told_as_such(
    scene: DashboardSetup, people: People
) -> None:
    with scene.dashboard("gone") as dashboard:
        page = await register(await people.person("gone"), dashboard, "gone")
        await page.route("**/sync", lambda route: route.abort())
        await button(page, "Ask the server again").click()
        told = "The dashboard does not answer. Is its window still open?"
        await expect(page.get_by_text(told)).to_be_visible()


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
        await page.get_by_role("link", name="Sign out").click()
        await expect(page.get_by_text(re.compile("^carol:[0-9a-f]{20}"))).to_be_visible()
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
    "sign-out": "/sign-out",
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
