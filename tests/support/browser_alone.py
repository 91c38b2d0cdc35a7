"""An assignment whose page for the browser alone is exported, and what a student does on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.async_api import Dialog, Page, expect

from mograder.core.names import ItemName
from mograder.publishing.browser_export import export_page, marimo_pyodide_version
from tests.support.browser import Person, insert, notebook
from tests.support.pyodide import unpacked_pyodide
from tests.support.served_course import Course, make_course, serving_course, token_of

START_MS = 240_000
"""For Python to start in a browser on a busy machine."""

NOTEBOOK = """\
# /// script
# dependencies = ["marimo", "mograder", "mograder-hub", "tabulate[widechars]"]
# ///

import marimo

app = marimo.App(width="medium")


@app.cell
def _():
    from pathlib import Path

    from mograder.runtime import check

    return Path, check


@app.cell
def _():
    mean = ...
    return (mean,)


@app.cell
def _(Path, check, mean):
    rows = len(Path("data.csv").read_text().splitlines())
    check("Q1: The mean", [] if mean is ... else [(mean == 4, f"the mean of {rows} rows is 4")])
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a course of one item with its page, and return its directory."""
    made = make_course(tmp_path_factory.mktemp("browser") / "course")
    file = made / "hw1" / "files" / "homework.py"
    file.write_text(NOTEBOOK)
    with ZipFile(file.with_name("hw1.zip"), "w") as archive:
        archive.writestr("data.csv", "not the one that is listed")
        archive.writestr("tables/mean.txt", "4")
    pyodide = unpacked_pyodide(marimo_pyodide_version())
    export_page(made, ItemName.parse("hw1"), file, pyodide, print)
    return made


@pytest.fixture(scope="module")
def served(exported: Path) -> Iterator[Course]:
    """The course, on a server that hands out pages for the browser alone."""
    with serving_course(exported, web=True) as course:
        yield course


def answering(page: Page, answer: Callable[[Dialog], Awaitable[None]]) -> list[str]:
    """Answer each question of a page, as by `Dialog.dismiss`; return the list of the questions."""
    asked: list[str] = []

    async def note(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await answer(dialog)

    page.on("dialog", note)
    return asked


async def open_item(person: Person, served: Course) -> Page:
    """Open the item's page in a new tab."""
    return await person.open(f"{served.url}/web/items/hw1")


async def sign_in(page: Page, user: str) -> None:
    """Sign in with a token."""
    await page.fill("#token", token_of(user))
    await page.click("#sign-in button")


async def open_signed_in(person: Person, served: Course, user: str) -> Page:
    """Open the item's page in a new tab, sign in, and wait until the notebook has run."""
    page = await open_item(person, served)
    await sign_in(page, user)
    await runs(page)
    return page


async def runs(page: Page, text: str = "Checks: 0 of 1 passed") -> None:
    """Wait until the notebook has run."""
    await expect(page.locator("#checks")).to_have_text(text, timeout=START_MS)


async def answer(page: Page, text: str, *, shown: str = "") -> None:
    """Replace the answer's cell and run it; of a long text, the editor has ``shown``."""
    frame = await notebook(page)
    cell = frame.locator(".cm-content").nth(1)
    await cell.click()
    await page.keyboard.press("Control+A")
    await insert(frame, text)
    await expect(cell).to_contain_text(shown or text)
    await page.keyboard.press("Control+Enter")


async def saved(page: Page, where: str) -> None:
    """Wait until the page says where the newest text is."""
    await expect(page.locator("#saved")).to_contain_text(f"Saved {where},", timeout=START_MS)
