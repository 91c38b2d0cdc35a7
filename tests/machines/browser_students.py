"""Students with a real browser: they click "Open it again" when the page says that it ended."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from playwright.async_api import Error, Frame, Page, expect

from tests.machines.students import ITEM, STEP, Student
from tests.support.browser import Person, insert, notebook
from tests.support.marimo import EditorFailed

_ANSWER_SECONDS = 60.0
_PATIENCE_SECONDS = 10.0
"""After so long a person loads a page again that shows no notebook."""

_FIRST_KEY_SECONDS = 1.0
"""A person needs longer from the page to a cell's run: the page's own first request, which runs all
cells as they are, may still be on its way, and would come after the cell's.
"""

_PAGE_MS = 150_000
_SAVED_SECONDS = 30.0


@dataclass
class BrowserStudent(Student):
    """A student in Chromium; ``reopened`` counts from the click that opens the notebook again."""

    person: Person = field(kw_only=True)
    _page: Page | None = None

    async def _open(self, began: float) -> None:
        try:
            page = await self._arrive()
            self._note("the page is open")
            await self._compute(page)
            self._opened(began)
            while True:
                await asyncio.sleep(self.breath)
                await self._compute(page)
        except (Error, AssertionError) as error:
            raise EditorFailed(f"Chromium: {error}"[:300]) from error

    async def _arrive(self) -> Page:
        """Open the notebook, or open it again by the link of the page's message."""
        if self._page is None:  # one tab, also if it cannot open the notebook at first
            self._page = await self.person.context.new_page()
        page, place = self._page, f"**/edit/user/{self.name}/{ITEM}/**"
        again = page.get_by_role("alert").get_by_role("link", name="Open it again")
        # The page may have this address already.
        async with page.expect_navigation(url=place, timeout=_PAGE_MS):
            if await again.count():
                self._note("opens it by the link")
                await again.click()
            else:  # it is new, or no page of ours: the hub in front of it is away
                self._note("opens it by its address")
                await page.goto(f"{self.hub.url}/edit/{ITEM}", wait_until="commit")
        frame = await _frame_of(page)
        await expect(frame.locator(".cm-content").first).to_be_visible(
            timeout=1000 * _PATIENCE_SECONDS
        )
        await asyncio.sleep(_FIRST_KEY_SECONDS)
        return page

    async def _compute(self, page: Page) -> None:
        """Write the next version, run it, and wait for the answer and for the file."""
        self.sent += 1
        number = self.sent
        frame = await _frame_of(page)
        await _write(page, frame, STEP.format(number=number))
        said = frame.get_by_text(re.compile(rf"STEP {number} OF \S+"))
        ended = page.get_by_role("alert")
        begun = time.monotonic()
        while not await said.count():  # two frames: one locator cannot wait for both
            if await ended.count():
                raise EditorFailed((await ended.first.inner_text())[:200])
            if time.monotonic() - begun > _ANSWER_SECONDS:
                shown = await frame.locator("body").inner_text()
                raise EditorFailed(f"step {number} was not answered: {shown[-300:]}")
            await asyncio.sleep(0.1)
        self._answered(await said.first.inner_text(), number)
        async with asyncio.timeout(_SAVED_SECONDS):
            while await asyncio.to_thread(self.saved) < number:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.1)
        self.acknowledged = number


async def _frame_of(page: Page) -> Frame:
    """Return the notebook's frame. Raises: EditorFailed with the page's words if it has ended."""
    ended = page.get_by_role("alert")
    await expect(page.locator("iframe#notebook").or_(ended).first).to_be_attached()
    if await ended.count():
        raise EditorFailed((await ended.first.inner_text())[:200])
    return await notebook(page)


def prefer_browsers() -> None:
    """Give Chromium more processor time than the site: students have computers of their own.

    The kernel's group of its processes gets the priority (sched(7)), because Chromium resets that
    of each process.
    """
    found = psutil.Process().children(recursive=True)
    for process in [each for each in found if "chrom" in each.name()]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            Path(f"/proc/{process.pid}/autogroup").write_text("-10")


async def _write(page: Page, frame: Frame, code: str) -> None:
    """Replace the first cell and run it."""
    cell = frame.locator(".cm-content").first
    await cell.click()
    await page.keyboard.press("Control+A")
    await insert(frame, code)
    await page.keyboard.press("Control+Enter")
