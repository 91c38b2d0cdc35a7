"""A hub with one session whose page is the test's own, for tests of the page around it.

The app is the real one with its real stores, served by uvicorn (``hub_app``); the session's server
is the test's, so its page can be small, or hostile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Frame, Locator, Page, expect
from starlette.types import Receive, Scope, Send

from mograder.sandbox.protocol import Mode
from tests.support.browser import People, Person, notebook
from tests.support.hub_app import FakeSession, Hub, make_hub
from tests.support.hub_pages import FOUND, GRADED, serving
from tests.support.identity import from_proxy
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import served_on_unix

ITEM, LECTURE = "A1", "L1"
SETTINGS = """title = "Numerical Experiments"
[hub]
instructors = ["prof"]
collect = true
"""
PAGE = """<!doctype html><html lang="en"><head><title>A1.py</title></head><body>
<button id="first">first</button>
<div id="cell-a" data-cell-id="a" data-cell-name="_">
  <div class="cm-content" tabindex="0">1</div></div>
<div style="height: 3000px"></div>
<div id="cell-b" data-cell-id="b" data-cell-name="area">
  <div class="cm-content" tabindex="0">2</div></div>
<div id="cell-c" data-cell-id="c" data-cell-name="_">
  <div class="cm-content" tabindex="0">3</div></div>
<a id="lecture" href="../../../../run/L1/">the lecture</a> <a id="part" href="#part">the part</a>
<script>
window.line = new WebSocket(new URL("ws", document.baseURI));
window.print = () => { window.printed = true; };
</script>
</body></html>"""
"""As much of marimo's page as the bar has to do with."""


class OwnPage(Upstream):
    """A session's server that serves the test's page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.page.encode()})


@dataclass
class Framed:
    """A served hub at ``address`` with a session of alice's, whose server listens at ``socket``."""

    hub: Hub
    address: str
    session: FakeSession
    socket: Path
    people: People

    async def open(self, user: str = "alice", query: str = "") -> Tab:
        """Open the notebook in a new tab of a person's browser."""
        person = await self.people.person(user, headers=from_proxy(user))
        return await self.show(person, f"/edit/user/alice/{ITEM}/{query}")

    async def show(self, person: Person, path: str) -> Tab:
        """Open a session's page in a new tab."""
        page = await person.open(f"{self.address}{path}")
        return Tab(person, page, await frame_at_work(page))


async def frame_at_work(page: Page) -> Frame:
    """Return the session's page in the frame, once it and the bar hear of one another."""
    frame = await notebook(page)
    await frame.wait_for_function("window.line?.readyState === 1")
    await expect(page.locator("#fold[aria-expanded]")).to_be_visible()  # the bar is at work
    await page.wait_for_load_state("load")  # the bar has greeted the frame
    return frame


@dataclass
class Tab:
    """A tab with the bar, and the frame below it."""

    person: Person
    page: Page
    frame: Frame

    @property
    def ended(self) -> Locator:
        """The message that replaces the notebook when its session has ended."""
        return self.page.get_by_role("alert")

    @property
    def said(self) -> Locator:
        """The bar's place for messages."""
        return self.page.locator("#said")

    async def press(self, target: Locator, key: str) -> None:
        """Press a key on a part of the bar, as soon as the browser sends keys to it.

        The frame has a process of its own, which Chromium takes the keyboard from a moment later;
        not at all, if the bar gave it to the frame just before: then it is taken once more.
        """
        await target.focus()
        async with asyncio.timeout(60):
            while await self.frame.evaluate("document.hasFocus()"):
                await asyncio.sleep(0.1)
                await target.blur()
                await target.focus()
        await self.page.keyboard.press(key)

    async def click(self, target: Locator) -> None:
        """Click a part of the bar that has just appeared.

        Not at its place: Chromium sends clicks there to the frame until it has heard that the bar
        has moved the frame down.
        """
        await target.dispatch_event("click")

    async def active(self) -> str:
        """The id of what has the keyboard in the hub's page."""
        return str(await self.page.evaluate("document.activeElement.id"))


@pytest_asyncio.fixture(loop_scope="session")
async def scene(tmp_path: Path, people: People) -> AsyncIterator[Framed]:
    async with framed(tmp_path, people) as opened:
        yield opened


@asynccontextmanager
async def framed(
    place: Path, people: People, page: str = PAGE, *, settings: str = ""
) -> AsyncIterator[Framed]:
    """Serve the hub; alice has the notebook open and a lecture. ``settings`` of ``[hub]`` more."""
    hub = make_hub(place / "course", SETTINGS + settings)
    hub.publish(ITEM)
    hub.runs.result = FOUND
    copy = hub.course / "hub-notebooks" / "alice" / ITEM
    copy.mkdir(parents=True)
    (copy / f"{ITEM}.py").write_text(GRADED)
    (hub.course / "hub-release" / ITEM / f"{ITEM}.py").write_text(GRADED)
    async with served_on_unix(OwnPage(page)) as socket, serving(hub) as address:
        session = hub.start("alice", ITEM, server=socket)
        hub.start("alice", LECTURE, Mode.RUN, server=socket)
        yield Framed(hub, address, session, socket, people)
    hub.close()
