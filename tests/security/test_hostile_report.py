"""A report in a student's folder that their own code wrote, opened by an instructor in Chromium.

It may look like anything, but runs nothing and tells nobody (security.md, "Our own pages").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import expect

from tests.support.browser import People, Person
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.shared_hub import TINY, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

HOSTILE = """\
<!doctype html><html><head><title>quiet</title>
<meta http-equiv="Content-Security-Policy" content="default-src * 'unsafe-inline'">
<meta http-equiv="x-dns-prefetch-control" content="on">
<meta http-equiv="refresh" content="3;url=HOME/refresh">
<style>@import url("HOME/rule"); div { background: url("HOME/background"); }
@font-face { font-family: x; src: url("HOME/font"); } p { font-family: x, serif; }
li { list-style: url("HOME/list"); cursor: url("HOME/cursor"), auto; }
i::before { content: url("HOME/content"); }</style>
</head><body onload="document.title = 'ran'" background="HOME/body"><div>x</div><i>x</i>
<p style="background: url('HOME/inline')" onclick="document.title = 'ran'">An honest report</p>
<ul><li tabindex="0" autofocus onfocus="document.title = 'ran'">x</li></ul>
OTHERS
</body></html>
"""
"""All that elements of ours can be made to try."""

OTHERS = """\
<link rel="preconnect" href="HOME"><link rel="stylesheet" href="HOME/stylesheet">
<link rel="preload" as="image" href="HOME/preload"><link rel="prefetch" href="HOME/prefetch">
<script>fetch("HOME/fetch"); new Image().src = "HOME/made";</script>
<script src="HOME/script"></script><script type="module">import "HOME/import";</script>
<img src="HOME/image"><input type="image" src="HOME/input"><svg><image href="HOME/svg"/></svg>
<video src="HOME/video" poster="HOME/poster" autoplay></video>
<object data="HOME/object"></object><embed src="HOME/embed"><iframe src="HOME/frame"></iframe>
<iframe srcdoc="<iframe src='HOME/inner'></iframe>"></iframe>
"""
"""Elements that a policy stops from running, some of which still connect: ``preconnect``."""

LOUD = (
    "rule",
    "background",
    "font",
    "list",
    "content",
    "body",
    "inline",
    "image",
    "frame",
    "inner",
)
"""Requests of the same page without a policy."""


@dataclass
class Home:
    """The attacker's server: it serves the page, and records the requests."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, others: str = "") -> str:
        """The page, which is to call here."""
        return HOSTILE.replace("OTHERS", others).replace("HOME", self.url)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # a connection without a request counts as well
            head = b"GET /nothing "
        path = head.split()[1].decode()
        self.asked.append(path.lstrip("/"))
        body = self.page(OTHERS).encode() if path == "/page" else b""
        kind = b"text/html" if body else b"text/plain"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\nconnection: close\r\n\r\n" % kind
        writer.write(head + body)
        writer.close()


@asynccontextmanager
async def home() -> AsyncIterator[Home]:
    """One that is open for as long as the context lasts."""
    home = Home()
    server = await asyncio.start_server(home.answer, "127.0.0.1", 0)
    home.port = server.sockets[0].getsockname()[1]
    async with server:
        yield home


@pytest.fixture
def hub(start_hub: Callable[..., HubProcess]) -> HubProcess:
    """A hub on which mallory has a copy of an item."""
    hub = start_hub(settings={"hub.instructors": ["prof"]})
    put_release(hub.course, TINY, notebook(header=""))
    with hub.client(from_proxy("mallory")) as client:
        client.post(f"/download-release/mallory/{TINY}").raise_for_status()
    return hub


async def test_it_runs_nothing_and_tells_nobody_who_looked_at_it(
    hub: HubProcess, people: People
) -> None:
    async with home() as theirs, home() as control:
        prof = await people.person("prof", headers=from_proxy("prof"))
        write(hub, theirs.page())
        page = await prof.open(f"{hub.url}/validate-report/mallory/{TINY}")
        await expect(page.get_by_text("An honest report")).to_be_visible()
        await page.get_by_text("An honest report").click()
        write(hub, theirs.page(OTHERS))
        refused = await prof.open(f"{hub.url}/validate-report/mallory/{TINY}")
        await expect(refused.get_by_text("No validation report")).to_be_visible()
        await all_has_happened(prof, control)
        assert (theirs.connections, theirs.asked) == (0, [])
        assert await page.title() == "quiet"
        assert page.url.startswith(hub.url)


async def all_has_happened(person: Person, control: Home) -> None:
    """Open the same page where nothing confines it; it waits three seconds, then leads away."""
    page = await person.open(f"{control.url}/page")
    await expect(page).to_have_title("ran")
    await page.wait_for_url("**/refresh")
    assert set(LOUD) <= set(control.asked), control.asked


def write(hub: HubProcess, page: str) -> None:
    """The file that mallory's code writes in place of the report."""
    (hub.course / "hub-notebooks" / "mallory" / TINY / f"{TINY}.html").write_text(page)
