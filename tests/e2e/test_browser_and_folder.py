"""The same work in the browser alone and in a folder of the student's, one after the other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Dialog, Page, expect

from mograder.clients.assignment_server.client import HttpsTransport
from mograder.core.clock import SystemClock
from mograder.exchange.student.course import StudentCourse
from mograder.exchange.student.drafts import NewerElsewhere
from mograder.store.copies.student_folder import StudentFolder
from tests.support.browser import People
from tests.support.browser_alone import (
    NOTEBOOK,
    START_MS,
    answer,
    exported,
    open_signed_in,
    runs,
    saved,
    served,
)
from tests.support.served_course import Course, token_of
from tests.support.work_elsewhere import submit_without_draft

__all__ = ["exported", "served"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


class LocalFolder:
    """A folder of the student's, as `mograder student` works with it."""

    def __init__(self, root: Path, url: str, user: str) -> None:
        self.course = StudentCourse(StudentFolder(root), SystemClock())
        self.notebook = root / "hw1" / "homework.py"
        self._connect = partial(HttpsTransport, url, token_of(user))
        with self._connect() as transport:
            self.course.sync(transport, url, print)

    def take(self) -> str:
        """Take the newest text of the server; return it."""
        with self._connect() as transport:
            self.course.take(transport, "hw1", print)
        return self.notebook.read_text()

    def submit(self, text: str) -> None:
        """Edit the notebook and submit it, with the line ends of editors on Windows."""
        self.notebook.write_text(text, newline="\r\n")
        with self._connect() as transport:
            assert self.course.submit(transport, "hw1", print).handed


async def test_work_goes_on_in_a_local_folder_and_back(
    served: Course, people: People, artifacts: Path, tmp_path: Path
) -> None:
    person = await people.person("finn")
    page = await open_signed_in(person, served, "finn")
    await answer(page, "mean = 3")
    await saved(page, "in this browser and on the server")
    local = LocalFolder(tmp_path, served.url, "finn")
    text = local.take()
    assert "mean = 3" in text
    local.submit(text.replace("mean = 3", "mean = 4"))

    # Back at the page, before anything is typed there.
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#choice")).to_be_visible()
    await expect(page.locator("#versions")).to_contain_text("the server has a version submitted")
    await page.screenshot(path=artifacts / "browser-choice.png")
    await page.click("#keep-theirs")
    await runs(page, "Checks: 1 of 1 passed")
    await page.click("#standing")
    await expect(page.locator("#panel")).to_contain_text("this text")

    await answer(page, "mean = 4.0")
    await saved(page, "in this browser and on the server")
    with pytest.raises(NewerElsewhere):
        local.submit(text)
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("Submitted", timeout=START_MS)
    handed = served.root / "submitted" / "hw1" / "finn.py"
    assert "mean = 4.0" in handed.read_text()
    await _another_program_submits(page, served, tmp_path)


async def _another_program_submits(page: Page, served: Course, place: Path) -> None:
    """The page asks before it replaces a submission that was no draft."""
    other = place / "other.py"
    other.write_text(NOTEBOOK)
    submit_without_draft(served.url, token_of("finn"), "hw1", other)
    handed = served.root / "submitted" / "hw1" / "finn.py"
    asked: list[str] = []

    async def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await dialog.dismiss()

    page.once("dialog", refuse)
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("Not submitted")
    assert "Another version was submitted elsewhere" in asked[0]
    assert handed.read_text() == NOTEBOOK
    page.once("dialog", Dialog.accept)
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("Submitted")
    assert "mean = 4.0" in handed.read_text()
