"""A page of feedback in Chromium: from a file, as the server sends it, and in a closed frame."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, Request, Route, expect

from mograder.grading.release.feedback_view import Level
from tests.support.browser import People, Person
from tests.support.feedback_pages import rich_notebook, rich_page
from tests.support.looks import SMALL_PHONE, faults

pytestmark = pytest.mark.full

_SITE = "http://course.example"
_SERVER = "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads"
_DASHBOARD = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
"""The policies with which the assignment server and the student's dashboard send the page."""

_FRAME = '<!doctype html><title>x</title><iframe sandbox="" src="/paper" width=900></iframe>'
_OPEN = "for (const each of document.querySelectorAll('details')) each.open = true"


async def _watched(people: People) -> tuple[Person, Page, list[str]]:
    """A person's page, and what it asks for besides the file itself."""
    alice = await people.person("alice")
    page = await alice.context.new_page()
    asked: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", f"{_SITE}/")):
            asked.append(request.url)

    page.on("request", note)
    return alice, page, asked


@pytest.mark.parametrize("what", ["feedback", "notebook"])
async def test_a_file_is_read_wide_on_a_phone_and_in_the_dark(
    what: str, people: People, tmp_path: Path, artifacts: Path
) -> None:
    file = tmp_path / f"{what}.html"
    file.write_text(rich_page(Level.FULL) if what == "feedback" else rich_notebook())
    alice, page, asked = await _watched(people)
    await page.goto(file.as_uri(), wait_until="load")
    await page.evaluate(_OPEN)
    assert await faults(page, artifacts, what, (*SMALL_PHONE, (360, "light"))) == []
    assert asked == []
    assert alice.notes == []


@pytest.mark.parametrize("policy", [_SERVER, _DASHBOARD], ids=["server", "dashboard"])
async def test_it_is_whole_where_students_open_it(policy: str, people: People) -> None:
    alice, page, asked = await _watched(people)
    framed = policy == _DASHBOARD

    async def answer(route: Route) -> None:
        if framed and route.request.url == f"{_SITE}/":
            await route.fulfill(body=_FRAME, content_type="text/html")
            return
        headers = {"content-security-policy": policy, "content-type": "text/html; charset=utf-8"}
        await route.fulfill(body=rich_page(), headers=headers)

    await page.route(f"{_SITE}/**", answer)
    await page.goto(f"{_SITE}/", wait_until="load")
    place = page.frame_locator("iframe") if framed else page.locator("html")
    await expect(place.get_by_text("68.9 of 100 marks")).to_be_visible()
    await expect(place.get_by_text("no <b>")).to_be_attached()
    images = place.get_by_role("img", name="Image in the output of cell 7")
    await expect(images).to_be_attached()
    assert asked == []
    assert alice.notes == []
