"""The timeline of a notebook in real Chromium: seen, compared and put back by the keyboard."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.support.browser import People
from tests.support.framed_session import ITEM, Framed, framed
from tests.support.identity import from_proxy
from tests.support.looks import faults_at
from tests.support.timeline import STATES, copy_of, live_through

pytestmark = pytest.mark.full


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
