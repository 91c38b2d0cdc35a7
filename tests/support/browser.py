"""The system's Chromium, driven by Playwright: one fresh profile per person."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Frame,
    Page,
    async_playwright,
    expect,
)

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",  # tests also run as root, where Chromium's own sandbox refuses to
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_TIMEOUT_MS = 60_000
expect.set_options(timeout=_TIMEOUT_MS)
BUILT_WITHIN = 200_000
"""Milliseconds until a session is there whose environment may have to be built first."""

ONE_PROCESS = ("--disable-features=IsolateSandboxedIframes", "--disable-site-isolation-trials")
"""Flags: all frames share their page's process, so the page's traffic is theirs too."""


@dataclass  # no slots: Playwright keeps a mark on the owner of a listener
class Person:
    """A person with a fresh browser profile; ``notes`` holds the pages' console errors."""

    name: str
    context: BrowserContext
    notes: list[str] = field(default_factory=list)

    async def open(self, url: str) -> Page:
        """Open a new tab on a URL and wait until its document is there."""
        page = await self.context.new_page()
        await page.goto(url, wait_until="domcontentloaded")
        return page

    def _listen(self, page: Page) -> None:
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.notes.append(f"error: {error}"))
        page.on(
            "requestfailed",
            lambda request: self.notes.append(f"failed: {request.url} {request.failure}"),
        )

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.notes.append(f"console {message.type}: {message.text}")


class People:
    """Opens profiles, and leaves screenshots and notes of all of them when a test fails."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._everybody: list[Person] = []

    async def person(
        self,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        javascript: bool = True,
    ) -> Person:
        """A new person with an empty profile; ``headers`` are added to every request."""
        context = await self._browser.new_context(
            extra_http_headers=dict(headers or {}),
            java_script_enabled=javascript,
            viewport={"width": 1280, "height": 900},
            accept_downloads=True,
        )
        context.set_default_timeout(_TIMEOUT_MS)
        person = Person(name, context)
        context.on("page", person._listen)
        self._everybody.append(person)
        return person

    async def leave_evidence(self, directory: Path) -> None:
        """Write a screenshot of every open tab, and the pages' console errors."""
        for person in self._everybody:
            stem = re.sub(r"\W+", "-", person.name)
            for number, page in enumerate(person.context.pages):
                await page.screenshot(path=directory / f"{stem}-{number}.png")
            (directory / f"{stem}.txt").write_text(
                "\n".join([*(page.url for page in person.context.pages), *person.notes])
            )

    async def close(self) -> None:
        for person in self._everybody:
            await person.context.close()


_FOCUSED = """() => {
  const { textContent } = document.activeElement;
  return [textContent, getComputedStyle(document.activeElement).outlineStyle];
}"""


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until the link or button with this text has the focus, which must be visible."""
    await page.wait_for_load_state("load")  # what is left while it loads is told as failed
    for _ in range(200):
        await page.keyboard.press("Tab")
        text, outline = await page.evaluate(_FOCUSED)
        if " ".join(text.split()) == name:
            assert outline != "none"
            return
    raise AssertionError(f"the keyboard never reaches {name!r}")


async def notebook(page: Page) -> Frame:
    """Return marimo's page, a frame below the hub's bar; a reload creates a new frame."""
    handle = await page.locator("iframe#notebook").element_handle()
    assert handle is not None
    frame = await handle.content_frame()
    assert frame is not None
    await frame.wait_for_load_state("domcontentloaded")
    return frame


_PASTE = """text => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  const kind = { clipboardData, bubbles: true, cancelable: true };
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", kind));
}"""


async def saved_on_disk(file: Path, text: str) -> None:
    """Wait until a notebook on disk has a text: marimo saves a second after each change."""
    async with asyncio.timeout(60):
        while text not in await asyncio.to_thread(file.read_text, "utf-8"):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.05)


async def wait_in_page(page: Page | Frame, condition: str) -> None:
    """Wait at most 60 s until an expression is true in a page of the hub, which may load again.

    The policy of these pages refuses the text that Playwright's ``wait_for_function`` evaluates.
    """
    async with asyncio.timeout(60):
        while not await _is_true(page, condition):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _is_true(page: Page | Frame, condition: str) -> bool:
    try:
        return bool(await page.evaluate(condition))
    except Error as error:
        if "context was destroyed" not in str(error):
            raise
        return False


async def insert(frame: Frame, text: str) -> None:
    """Paste text where the cursor is. The keyboard's own way ends at the border of a frame."""
    await frame.evaluate(_PASTE, text)


async def type_over(frame: Frame, old: str, new: str) -> None:
    """Replace the code of the cell that holds this, key by key, and run it."""
    await frame.locator(".cm-content", has_text=old).click()
    keyboard = frame.page.keyboard
    await keyboard.press("ControlOrMeta+a")
    await keyboard.type(new)
    await keyboard.press("Control+Enter")


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """Run the system's Chromium for as long as the context lasts, with more flags if any."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable(), headless=True, args=[*FLAGS, *flags]
        )
        try:
            yield browser
        finally:
            await browser.close()


def executable() -> str:
    """Where the system's Chromium is; the tests need one and do not skip without it."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found, "Chromium is needed: run scripts/setup, or install the package 'chromium'."
    return found
