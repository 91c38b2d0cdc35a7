"""The timeline of a notebook in real Chromium: seen, compared and put back by the keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from mograder.core.names import ItemName, Username
from mograder.store.submissions.submissions import Submissions
from mograder.store.versions.versions import Origin
from tests.support.browser import People, wait_in_page
from tests.support.framed_session import ITEM, Framed, framed
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults_at
from tests.support.timeline import STATES, copy_of, live_through

pytestmark = pytest.mark.full

_HIDDEN = """() => {
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
_HEARD = """() => {
    window.heard = [];
    addEventListener("message", ({ data }) => heard.push(data.mograder));
}"""
_ASKED = """() => {
    const cell = { mark: "m", index: 0, before: "1", after: "2" };
    for (const mograder of ["put-cell", "hand-over"]) {
        frames[0].postMessage({ mograder, ...cell }, "*");
    }
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def scene(tmp_path: Path, people: People) -> AsyncIterator[Framed]:
    """Alice's notebook after some saves."""
    async with framed(tmp_path, people) as opened:
        live_through(opened)
        yield opened


async def test_pages_of_the_timeline_pass_axe_wide_on_a_phone_and_in_the_dark(
    scene: Framed, people: People, artifacts: Path
) -> None:
    (copy_of(scene).parent / f"{ITEM}.bak.20260901T090000.py").write_text(STATES[0])
    wrong = []
    for user in ("alice", "prof"):
        person = await people.person(user, headers=from_proxy(user))
        for name, path in (
            ("versions", f"/versions/alice/{ITEM}"),
            ("changes", f"/versions/alice/{ITEM}/4"),
            ("version-changes", f"/versions/alice/{ITEM}/2?to=now"),
            ("first", f"/versions/alice/{ITEM}/1"),
            ("look", f"/look/alice/{ITEM}/2"),
        ):
            page = await person.context.new_page()
            wrong += await faults_at(page, scene.address + path, artifacts, f"{user}-{name}")
    assert wrong == []


async def test_the_first_page_leads_to_work_without_a_release_or_a_notebook(
    scene: Framed, people: People, artifacts: Path
) -> None:
    """A1 is not published any more; the notebook of A2 was removed from its folder."""
    hub = scene.hub
    hub.publish("A2")
    record = hub.services.recorder.versions.record
    record("alice", "A2", STATES[0].encode(), Origin.EDITOR, hub.clock.now())
    Submissions(hub.course / "submitted").add(
        Username("alice"), ItemName(ITEM), STATES[1].encode(), hub.clock.now()
    )
    shutil.rmtree(hub.course / "hub-release" / ITEM)
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.context.new_page()
    assert await faults_at(page, f"{scene.address}/", artifacts, "no-longer", EVERY_LOOK) == []
    await expect(page.get_by_role("heading", name="No longer published")).to_be_visible()
    await expect(page.get_by_text("What you had is under Versions")).to_be_visible()
    for item in (ITEM, "A2"):
        await page.goto(f"{scene.address}/")
        await page.get_by_role("link", name=f"Versions of {item}").press("Enter")
        await expect(page.get_by_role("heading", name=f"Versions of {item}")).to_be_visible()
    opening = await alice.open(f"{scene.address}/edit/{ITEM}")
    await expect(opening.get_by_role("alert")).to_contain_text(f"{ITEM} is not published any more")
    await opening.screenshot(path=artifacts / "no-longer-opening.png")


async def test_a_deleted_cell_is_put_back_by_the_keyboard(scene: Framed, people: People) -> None:
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{scene.address}/versions/alice/{ITEM}")
    await expect(page.get_by_role("heading", name="Versions of A1")).to_be_visible()
    await expect(page.get_by_text("as it is now")).to_have_count(1)
    await page.get_by_role("link", name="What changed since version 3").press("Enter")
    await expect(page.get_by_text("The notebook is open at the moment.")).to_be_visible()
    await expect(page.locator("ins").first).to_contain_text("import random, seed")
    await page.get_by_role("button", name=re.compile("Put this cell back.*estimate")).press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("The cell is back.")
    assert scene.session.key not in scene.hub.pool.running
    cells = copy_of(scene).read_text()
    assert "pi = 4 * inside / 1000" in cells
    assert "random, seed" in cells


async def test_a_notebook_in_a_hidden_tab_is_asked_to_put_a_cell_back(scene: Framed) -> None:
    scene.session.connections = 1
    tab = await scene.open()
    await expect(tab.page.locator("#saved")).to_contain_text("Saved ")
    await tab.page.evaluate(_HIDDEN)
    await tab.page.evaluate(_HEARD)
    page = await tab.person.open(f"{scene.address}/versions/alice/{ITEM}/2?to=now")
    await page.get_by_role("button", name=re.compile("Put this cell back.*imports")).click()
    await expect(page.get_by_role("status")).to_contain_text("The cell is back.")
    assert await tab.page.evaluate("heard.filter((kind) => kind === 'cell-put').length") == 1


async def test_a_page_without_a_kernel_leaves_the_answer_to_the_one_that_has_it(
    scene: Framed,
) -> None:
    tab = await scene.open()
    await tab.page.evaluate(_HEARD)
    for answers in (1, 0):
        await tab.page.evaluate("() => { heard.length = 0; }")
        await tab.page.evaluate(_ASKED)
        await wait_in_page(tab.page, "heard.includes('handed-over')")
        found = await tab.page.evaluate("heard.filter((kind) => kind === 'cell-put').length")
        assert found == answers
        await tab.frame.evaluate("line.close()")
        await tab.frame.wait_for_function("line.readyState === 3")


async def test_the_bar_of_the_editor_leads_to_the_timeline(scene: Framed) -> None:
    tab = await scene.open()
    async with tab.person.context.expect_page() as opened:
        await tab.press(tab.page.get_by_role("link", name="Versions"), "Enter")
    page = await opened.value
    await expect(page.get_by_role("heading", name="Versions of A1")).to_be_visible()


async def test_an_instructor_comes_from_the_students_page_and_changes_nothing(
    scene: Framed, people: People
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{scene.address}/course/students/alice")
    await page.get_by_role("link", name=f"Versions of {ITEM}").click()
    await expect(page.get_by_text("Only alice can put one back")).to_be_visible()
    await expect(page.locator("main form")).to_have_count(0)
    await page.get_by_role("link", name="What changed since version 2").click()
    await expect(page.locator("main form")).to_have_count(0)
