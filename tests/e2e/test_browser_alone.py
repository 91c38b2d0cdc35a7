"""A notebook in the browser alone: the exported page on a real assignment server, in Chromium.

Pyodide comes from its npm package, which is fetched once into ``.tools/``, and the other packages
from PyPI; so these are tests of `make test-long`. Python takes tens of seconds to start there.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.web.server.app import create_app
from mograder.web.server.services import ServerOptions, open_services
from tests.support.browser import People
from tests.support.browser_alone import (
    NOTEBOOK,
    START_MS,
    answer,
    exported,
    open_item,
    open_signed_in,
    runs,
    saved,
    served,
    sign_in,
)
from tests.support.looks import faults
from tests.support.served_course import CODE, Course, serving_app, token_of

__all__ = ["exported", "served"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


async def test_enrol_edit_run_check_submit_feedback_with_the_network_cut_and_the_tab_closed(
    served: Course, people: People
) -> None:
    person = await people.person("carol")
    hosts: set[str] = set()
    person.context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page = await open_item(person, served)
    await page.fill("#name", "carol")
    await page.fill("#code", CODE)
    await page.click("#sign-in button")
    await runs(page)
    assert hosts - {""} == {urlsplit(served.url).netloc}

    await answer(page, "mean = 3")
    await runs(page, "Checks: 0 of 1 passed")
    await saved(page, "in this browser and on the server")
    draft = served.root / ".mograder" / "drafts" / "hw1" / "carol.json"
    assert "mean = 3" in json.loads(draft.read_text())["text"]

    # The network is cut, the work goes on, and the tab is closed.
    await person.context.set_offline(True)
    await answer(page, "mean = 4")
    await runs(page, "Checks: 1 of 1 passed")
    await saved(page, "in this browser")
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("no connection")
    assert "mean = 3" in json.loads(draft.read_text())["text"]
    assert not (served.root / "submitted" / "hw1" / "carol.py").exists()
    await page.close()
    await person.context.set_offline(False)

    again = await open_item(person, served)
    await expect(again.locator("#said")).to_contain_text("Submitted", timeout=START_MS)
    handed = (served.root / "submitted" / "hw1" / "carol.py").read_text()
    assert "mean = 4" in handed
    assert handed.startswith(NOTEBOOK.partition("import marimo")[0])
    assert 'marimo.App(width="medium")' in handed
    await runs(again, "Checks: 1 of 1 passed")
    await saved(again, "in this browser and on the server")
    assert "mean = 4" in json.loads(draft.read_text())["text"]

    await _feedback_is_told(again, served)


async def _feedback_is_told(again: Page, served: Course) -> None:
    """Give a mark and a document, and look at them on the page."""
    (served.root / "hw1" / "grades.json").write_text(
        json.dumps([{"username": "carol", "grade": "9", "feedback": "Well done."}])
    )
    feedback = served.root / "hw1" / "feedback" / "carol.html"
    feedback.parent.mkdir(exist_ok=True)
    feedback.write_text("<p>Your feedback</p>")
    await again.click("#standing")
    panel = again.locator("#panel")
    for text in ("this text", "Mark: 9", "Well done."):
        await expect(panel).to_contain_text(text)
    async with again.expect_download() as download:
        await panel.get_by_text("Download the feedback").click()
    path = await (await download.value).path()
    assert path.read_text() == "<p>Your feedback</p>"


async def test_the_files_in_a_zip_are_beside_the_notebook_as_after_a_fetch(
    served: Course, people: People
) -> None:
    """`mograder generate` makes one, and a release with one is listed as the zip alone (B138)."""
    listed = 'Path("data.csv").read_text().startswith("x,y")'
    answered = f'mean = {listed} and int(Path("tables/mean.txt").read_text())'
    await _passes(people, served, "zoe", answered)


async def test_the_packages_of_an_extra_are_there_without_an_import(
    served: Course, people: People
) -> None:
    """Also where the header has a requirement that micropip cannot meet, such as ours."""
    await _passes(people, served, "wanda", 'mean = 4 * __import__("wcwidth").wcwidth("x")')


async def test_a_notebooks_own_form_which_asks_for_the_token_is_hidden_as_on_a_hub(
    served: Course, people: People
) -> None:
    answered = 'mean = int(__import__("os").environ.get("MOGRADER_DASHBOARD", "0")) * 4'
    await _passes(people, served, "yuri", answered)


async def _passes(people: People, served: Course, user: str, answered: str) -> None:
    """Open the page as a user, answer, and wait until the check passes."""
    page = await open_signed_in(await people.person(user), served, user)
    await answer(page, answered)
    await runs(page, "Checks: 1 of 1 passed")


async def test_the_newest_version_is_never_overwritten_in_silence(
    served: Course, people: People
) -> None:
    first, second = await people.person("dora-1"), await people.person("dora-2")
    one = await open_signed_in(first, served, "dora")
    two = await open_signed_in(second, served, "dora")
    await answer(one, "mean = 4")
    await saved(one, "in this browser and on the server")
    await answer(two, "mean = 5")
    await expect(two.locator("#choice")).to_be_visible(timeout=START_MS)
    draft = served.root / ".mograder" / "drafts" / "hw1" / "dora.json"
    assert "mean = 4" in json.loads(draft.read_text())["text"]
    await two.click("#keep-mine")
    await saved(two, "in this browser and on the server")
    assert "mean = 5" in json.loads(draft.read_text())["text"]
    await two.click("#standing")
    await expect(two.locator("#panel")).to_contain_text("Other versions of your work")


async def test_a_second_tab_of_a_browser_waits_until_the_first_is_closed(
    served: Course, people: People
) -> None:
    person = await people.person("erin")
    first = await open_signed_in(person, served, "erin")
    await answer(first, "mean = 4")
    await saved(first, "in this browser and on the server")
    second = await open_item(person, served)
    await expect(second.locator("#said")).to_contain_text("open in another tab")
    await expect(second.locator("iframe")).to_have_count(0)
    await first.close()
    await runs(second, "Checks: 1 of 1 passed")


async def test_it_works_by_keyboard_on_a_phone_in_the_dark_and_axe_finds_nothing(
    served: Course, people: People, artifacts: Path
) -> None:
    person = await people.person("gina")
    page = await person.context.new_page()
    wrong: list[str] = []

    async def look(state: str) -> None:
        wrong.extend(await faults(page, artifacts, f"browser-{state}", whole=False))

    await page.goto(f"{served.url}/web")
    await look("list")
    await page.get_by_role("link", name="hw1").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#token")).to_be_visible()
    await look("sign-in")
    await page.locator("#token").focus()
    await page.keyboard.type("gina:wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("#refused")).not_to_be_empty()
    await look("refused")
    await page.locator("#token").focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type(token_of("gina"))
    await page.keyboard.press("Enter")
    await runs(page)
    await look("runs")
    await page.locator("#submit").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_contain_text("Submitted", timeout=START_MS)
    await page.keyboard.press("Tab")
    await expect(page.locator("#standing")).to_be_focused()
    await page.keyboard.press("Enter")
    panel = page.locator("#panel")
    await expect(panel).to_contain_text("this text")
    await expect(panel).to_be_focused()
    await look("status")
    await page.get_by_role("button", name="Close").focus()
    await page.keyboard.press("Enter")
    await expect(panel).to_be_hidden()
    await expect(page.locator("#standing")).to_be_focused()
    await page.locator("#checks").focus()
    await page.keyboard.press("Enter")
    await expect(panel).to_be_focused()
    await look("checks")
    await page.keyboard.press("Escape")
    await expect(panel).to_be_hidden()
    assert wrong == []


async def test_a_second_visit_loads_almost_nothing(exported: Path, people: People) -> None:
    """No data either that are as they were."""
    (exported / "hw1" / "files" / "large.bin").write_bytes(os.urandom(3_000_000))
    services = open_services(ServerOptions(exported, web=True))
    counted = Counted(create_app(services))
    with serving_app(counted) as url:
        person = await people.person("nora")
        first, began = await person.open(f"{url}/web/items/hw1"), time.monotonic()
        await sign_in(first, "nora")
        await runs(first)
        seconds = time.monotonic() - began
        await answered_by_both_pythons(first)
        before, counted.sent = counted.sent, 0
        await first.close()
        began = time.monotonic()
        again = await person.open(f"{url}/web/items/hw1")
        await runs(again)
        later = time.monotonic() - began
        await answered_by_both_pythons(again, "mean = 6")
    # Shown by pytest -s, for the documentation.
    print(f"first: {before} bytes, {seconds:.0f} s; second: {counted.sent} bytes, {later:.0f} s")
    assert before > 5_000_000
    assert counted.sent <= before * 0.05


async def answered_by_both_pythons(page: Page, text: str = "mean = 5") -> None:
    """Wait until marimo has saved, for which it starts a Python of its own."""
    await answer(page, text)
    await saved(page, "in this browser and on the server")


class Counted:
    """An application, and how many bytes of bodies it has sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count(message: Message) -> None:
            self.sent += len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, count)
