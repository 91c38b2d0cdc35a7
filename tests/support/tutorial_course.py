"""The tutorial's assignment, and what students and instructors do with it."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Frame, Page, expect

from tests.support.browser import insert, notebook
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import instructor_token
from tests.support.shared_hub import Prepare, until, workspace

ITEM = "A1-First-Steps"
MIDDLE = "def mean(numbers):\n    return sorted(numbers)[len(numbers) // 2]"
"""The visible conditions hold for the middle number; the hidden one does not."""
HIDDEN = "negative numbers count, too"
COMMENT = "A good example would help."


def author(uv_cache: Path) -> Prepare:
    """Return what makes the course of ``mograder new`` with its release."""

    def make(course: Path) -> None:
        command(course, "new", ".")
        told = command(course, "generate", "A1", env={"UV_CACHE_DIR": str(uv_cache)})
        assert "2 checks passed" in told, told

    return make


def publish(hub: HubProcess) -> None:
    """Publish the assignment on a hub that has this course."""
    where = ("--url", hub.url, "--token", instructor_token())
    command(hub.course, "hub", "publish", "A1", "--force", *where)


async def solve_and_submit(page: Page, hub: HubProcess, name: str) -> None:
    """Answer both questions in the open editor; then hand in on the first page."""
    editor = await notebook(page)
    await write(editor, "total = ...", "total = sum(range(1, 101))\ntotal")
    await write(editor, "def mean(numbers)", MIDDLE)
    for label in ("Q1: The sum", "Q2: The mean"):
        passed = editor.get_by_role("status").filter(has_text=f"{label} — all checks passed")
        await expect(passed).to_be_visible()
    saved = workspace(hub, name, ITEM) / f"{ITEM}.py"
    until(lambda: "len(numbers) // 2" in saved.read_text())
    home = await page.context.new_page()
    await home.goto(f"{hub.url}/")
    await home.get_by_role("button", name=f"Hand in {ITEM}").click()
    await home.get_by_role("button", name="Hand in all the same").click()
    await expect(home.get_by_text(f"{ITEM} was handed in")).to_be_visible()


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


def command(course: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Run an instructor's command in the course's directory; return its output."""
    done = run_mograder(*arguments, env=env, cwd=course)
    assert done.status == 0, done.output + done.errors
    return done.output
