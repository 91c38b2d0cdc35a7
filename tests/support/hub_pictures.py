"""The screenshots of a student's first page and of a notebook with two people in it.

``python -m tests.support.hub_pictures DIRECTORY`` writes them, as the script
``scripts.docs_screenshots`` does with ``--only hub``. The hub and marimo are real.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import Frame, Page, expect

from tests.support.browser import People, Person, chromium, insert, notebook
from tests.support.course import REPOSITORY
from tests.support.hub import HubConfig, HubProcess, write_settings
from tests.support.identity import from_proxy

_ITEM, _LECTURE = "A1-Measuring-Pi", "L01-Random-Numbers"
_DAYS = {_ITEM: 2, "A2-Cooling-Coffee": 9}
"""The assignments, and in how many days each is due."""

_ANSWER = "inside = (points ** 2).sum(axis=1) <= 1"
_SECONDS = 400_000  # milliseconds: the environment may have to be built


def _prepare(course: Path) -> None:
    """Lay out a part of the example course, with dates."""
    course.mkdir()
    example = REPOSITORY / "examples" / "course" / "release"
    for item in (*_DAYS, _LECTURE):
        released = course / "hub-release" / item
        shutil.copytree(example / item, released, ignore=shutil.ignore_patterns("__pycache__"))
        kind = "lecture" if item == _LECTURE else "assignment"
        files = [str(each.relative_to(released)) for each in released.rglob("*") if each.is_file()]
        (released / "files.json").write_text(json.dumps({"files": files, "type": kind}))
    (course / "mograder.toml").write_text('title = "Numerical Experiments"\n')
    write_settings(course, {"hub.uv_cache_dir": str(REPOSITORY / ".tools" / "test-uv-cache")})
    now = datetime.now(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
    dates = (f'\n[items."{item}"]\ndue = {now + timedelta(days)}\n' for item, days in _DAYS.items())
    with (course / "mograder.toml").open("a", encoding="utf-8") as file:
        file.write("".join(dates))


async def _opened(hub: HubProcess, student: Person) -> tuple[Page, Frame]:
    page = await student.open(f"{hub.url}/edit/{_ITEM}")
    await page.wait_for_url(f"**/edit/user/{student.name}/{_ITEM}/", timeout=_SECONDS)
    frame = await notebook(page)
    # The code of its cell has the same words.
    await expect(frame.locator("em", has_text="The picture appears here once")).to_be_visible()
    return page, frame


async def _take(hub: HubProcess, people: People, into: Path) -> None:
    alice, prof = [
        await people.person(each, headers=from_proxy(each)) for each in ("alice", "prof")
    ]
    page, _ = await _opened(hub, alice)
    home = await alice.open(f"{hub.url}/")
    await home.wait_for_load_state("load")
    await home.screenshot(path=into / "hub.png", animations="disabled")
    await page.get_by_role("button", name="Ask for help").click()
    await page.get_by_label("In a few words").press("Enter")
    await expect(page.get_by_text("You asked for help")).to_be_visible()
    board = await prof.open(f"{hub.url}/board/{_ITEM}")
    await board.get_by_role("button", name="Take the request of alice").click()
    async with prof.context.expect_page() as opened:
        await board.get_by_role("button", name="Work in it together").click()
    helper = await opened.value
    helping = await notebook(helper)
    await helping.locator(".cm-content", has_text="inside = ...").click()
    await helper.keyboard.press("ControlOrMeta+a")
    await insert(helping, _ANSWER)
    await helper.keyboard.press("Control+Enter")
    shared = await notebook(page)
    await expect(shared.get_by_text("all checks passed")).to_be_visible()
    answer = shared.locator(".cm-content", has_text="inside = (points")
    await expect(shared.locator(".loro-cursor")).not_to_have_count(0)
    await answer.evaluate("cell => cell.scrollIntoView({ block: 'center' })")
    await expect(answer).to_be_in_viewport()
    await page.screenshot(path=into / "together.png", animations="disabled")


async def take_pictures(into: Path) -> None:
    """Write the pictures into a directory."""
    with tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as place:
        course = Path(place) / "course"
        _prepare(course)
        config = HubConfig(settings={"hub.instructors": ["prof"], "hub.collect": True})
        with HubProcess(course, Path(place) / "hub.log", config) as hub:
            async with chromium() as browser:
                people = People(browser)
                await _take(hub, people, into)
                await people.close()


if __name__ == "__main__":
    asyncio.run(take_pictures(Path(sys.argv[1])))
