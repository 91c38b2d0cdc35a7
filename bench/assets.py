"""Assets: what a browser fetches of marimo's files when a student opens a second assignment.

Real Chromium, twice: where a session's page has an origin of its own (``session_url``), and, as it
is by default, an opaque one, into which the page around it hands them (decision 56).
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import expect

from bench.options import Options
from bench.processes import MIB
from bench.report import Budget, Row
from bench.stage import CACHE, WARM_ENVIRONMENTS, Stage, notebook_text
from tests.support.browser import ONE_PROCESS, People, Person, chromium, notebook
from tests.support.course import put_release
from tests.support.hub import HubConfig, HubProcess
from tests.support.traffic import Traffic

_ITEMS = ("first", "second")
_EACH = "session_url"
_MODES: dict[str, dict[str, object]] = {
    "sandbox": {},
    _EACH: {
        "hub.public_url": "http://127.0.0.1:{port}",
        "hub.session_url": "http://{session}.sessions.localhost:{port}",
    },
}
_PATIENCE_MS = 180_000
_QUIET_SECONDS = 30


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open two assignments one after the other in a fresh profile, in each mode."""
    rows = []
    for mode, why in (
        (_EACH, "an origin for each session"),
        ("sandbox", "the default"),
    ):
        first, second = await _visit(stage, mode)
        note = f"{len(second.shared(second.fetched))} files of {len(first.shared(first.fetched))}"
        rows.append(
            Row(
                f"editor opened a second time, {mode}: asset bytes",
                "MiB",
                (second.bytes / MIB,),
                Budget(0, unit="MiB"),
                f"{note} fetched again; {why}",
                reference="first time",
                theirs=(first.bytes / MIB,),
            )
        )
        rows.append(
            Row(
                f"editor opened a second time, {mode}: all bytes",
                "kB",
                (second.total / 1000,),
                Budget(100, unit="kB"),
                "without what the WebSocket carries",
                reference="first time",
                theirs=(first.total / 1000,),
            )
        )
    return rows


async def _visit(stage: Stage, mode: str) -> tuple[Traffic, Traffic]:
    place = Path(tempfile.mkdtemp(dir=stage.directory))
    course = place / "course"
    course.mkdir()
    for item in _ITEMS:
        put_release(course, item, notebook_text())
    settings: dict[str, object] = {
        **_MODES[mode],
        "hub.uv_cache_dir": str(CACHE),
        "hub.runtime_dir": str(stage.runtime / mode[:3]),
        "hub.environments_dir": str(stage.hub.course / ".mograder" / "environments"),
        "limits.warm_environments": WARM_ENVIRONMENTS,
    }
    hub = HubProcess(course, place / "hub.log", HubConfig(settings=settings, dev=True))
    try:
        await asyncio.to_thread(hub.start)
        async with chromium(*ONE_PROCESS) as browser:
            people = People(browser)
            guest = await people.person("guest")
            first, second = [await _open(guest, f"{hub.url}/edit/{item}") for item in _ITEMS]
            await people.close()
    finally:
        await asyncio.to_thread(hub.stop, 60)
    return first, second


async def _open(guest: Person, url: str) -> Traffic:
    """Open an editor until its last cell has run and the network is quiet."""
    page = await guest.context.new_page()
    traffic = Traffic()
    await traffic.listen(page)
    await page.goto(url, wait_until="domcontentloaded")
    await page.wait_for_url("**/user/**", timeout=_PATIENCE_MS)
    shown = (await notebook(page)).locator("pre", has_text="9")
    await expect(shown.last).to_be_visible(timeout=_PATIENCE_MS)
    async with asyncio.timeout(_QUIET_SECONDS):
        await page.wait_for_load_state("networkidle")
    await page.close()
    return traffic
