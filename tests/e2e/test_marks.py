"""The tutorial from an assignment to its marks and back, by the real parts and in real Chromium.

``mograder new``, ``generate`` and ``hub publish``; a student solves and submits in the browser;
``autograde``, ``gradebook`` and ``feedback``; the uploads, and the student reads the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Frame, FrameLocator, Page, expect

from bench.support.browser import People, Person, insert, notebook
from bench.support.hub import HubProcess, run_mograder, write_settings
from bench.support.identity import from_proxy, instructor_token
from tests.support.shared_hub import SharedCaches, module_hub, until, workspace
from tests.support.student_dashboard import CODE, ServeProcess, StudentProcess

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

ITEM = "A1-First-Steps"
MIDDLE = "def mean(numbers):\n    return sorted(numbers)[len(numbers) // 2]"
"""The visible conditions hold for the middle number; the hidden one does not."""
HIDDEN = "negative numbers count, too"
COMMENT = "A good example would help."
_LOOKS = (("wide", 1280, "light"), ("360", 360, "light"), ("dark", 1280, "dark"))


@pytest.fixture(scope="module")
def hub(uv_cache: Path, run_directory: Path) -> Iterator[HubProcess]:
    """A hub that takes submissions, with the assignment that ``mograder new`` writes."""

    def author(course: Path) -> None:
        command(course, "new", ".")
        command(course, "generate", "A1", env={"UV_CACHE_DIR": str(uv_cache)})

    shared = SharedCaches(uv_cache, run_directory)
    settings = {"hub.collect": True}
    with module_hub("marks", shared, prepare=author, settings=settings) as hub:
        command(
            *(hub.course, "hub", "publish", "A1", "--force"),
            *("--url", hub.url, "--token", instructor_token()),
        )
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
    await solve_and_submit(alice, hub)
    submitted = hub.course / "submitted" / ITEM / f"{name}.py"
    assert MIDDLE.splitlines()[1].strip() in submitted.read_text()
    mark(hub.course, name)
    page = hub.course / "feedback" / ITEM / f"{name}.html"
    await look_at(alice, page, artifacts)
    await read_on_the_dashboard(people, name, hub.course, work_directory, artifacts)


async def solve_and_submit(student: Person, hub: HubProcess) -> None:
    """Answer both questions in the editor; then press Submit."""
    page = await student.open(f"{hub.url}/edit/{ITEM}")
    await page.wait_for_url(f"**/edit/user/{student.name}/{ITEM}/")
    editor = await notebook(page)
    await write(editor, "total = ...", "total = sum(range(1, 101))\ntotal")
    await write(editor, "def mean(numbers)", MIDDLE)
    for label in ("Q1: The sum", "Q2: The mean"):
        passed = editor.get_by_role("status").filter(has_text=f"{label} — all checks passed")
        await expect(passed).to_be_visible()
    saved = workspace(hub, student.name, ITEM) / f"{ITEM}.py"
    until(lambda: "len(numbers) // 2" in saved.read_text())
    home = await student.open(f"{hub.url}/")
    await home.get_by_role("button", name=f"Submit {ITEM}").click()
    await expect(home.get_by_text(f"{ITEM} was submitted")).to_be_visible()


async def write(editor: Frame, old: str, code: str) -> None:
    """Write into the cell that holds this, and run it."""
    await editor.locator(".cm-content", has_text=old).click()
    await editor.page.keyboard.press("Control+a")
    await insert(editor, code)
    await editor.page.keyboard.press("Control+Enter")


def mark(course: Path, name: str) -> None:
    """Do what the instructor does, as the tutorial has it."""
    table = command(course, "autograde", "A1")
    row = rf"^{name}\s+PASS\s+PART\s+7\.5/20 \(10 wait\)\s+0"
    assert re.search(row, table, re.MULTILINE), table
    assert "up to date" in command(course, "autograde", "A1")
    why = command(course, "gradebook", "explain", "A1", name)
    assert re.search(rf"failed\s+2\s+{re.escape(HIDDEN)}", why), why
    command(course, "gradebook", "mark", "A1", name, "Analysis=8", "--comment", COMMENT)
    assert f"{name}: 15.5 of 20" in command(course, "gradebook", "explain", "A1", name)
    command(course, "feedback", "A1")
    assert HIDDEN not in (course / "feedback" / ITEM / f"{name}.html").read_text()


async def look_at(student: Person, file: Path, artifacts: Path) -> None:
    """Open the file of feedback as it is, in every look."""
    page = await student.open(file.as_uri())
    for look, width, scheme in _LOOKS:
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await page.screenshot(path=artifacts / f"feedback-{look}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
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


def command(course: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Run an instructor's command in the course's directory; return its output."""
    done = run_mograder(*arguments, env=env, cwd=course)
    assert done.status == 0, done.output + done.errors
    return done.output
