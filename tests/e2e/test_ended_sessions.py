"""The message of an open notebook when its session ends, with the real parts and Chromium.

The words and ways of every ending are in ``test_frame.py``. Screenshots of what is shown are left
as artefacts for people to look at.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import WebSocket, expect

from tests.support.browser import BUILT_WITHIN, People, insert, notebook
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults
from tests.support.shared_hub import TINY
from tests.support.shared_hub import notebook as tiny_notebook
from tests.support.supervisors import until

pytestmark = pytest.mark.full

_ITEM = "A1-Measuring-Pi"


@pytest.mark.timeout(400)
async def test_marimos_page_outlives_a_restart_of_the_hub_and_then_tells_its_end(
    people: People, artifacts: Path, start_hub: Callable[..., HubProcess], run_directory: Path
) -> None:
    """The real hub, supervisor and marimo: a killed hub is no end, and a Stop elsewhere is one."""
    hub = start_hub(settings={"hub.runtime_dir": tempfile.mkdtemp(prefix="r-", dir=run_directory)})
    release = hub.course / "release" / _ITEM
    shutil.copytree(release, hub.course / "hub-release" / _ITEM)
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{hub.url}/edit/{_ITEM}")
    # The first start builds the environment.
    await page.wait_for_url(f"**/edit/user/alice/{_ITEM}/", timeout=BUILT_WITHIN)
    await expect((await notebook(page)).locator(".cm-content").first).to_be_visible(timeout=60_000)
    sockets: list[WebSocket] = []

    def note(opened: WebSocket) -> None:
        sockets.append(opened)

    page.on("websocket", note)

    hub.kill()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(hub.restart)
    await until(lambda: any(not each.is_closed() for each in sockets))
    assert await page.get_by_role("alert").count() == 0

    with hub.client(from_proxy("alice")) as client:
        assert client.post(f"/stop-edit/alice/{_ITEM}").json()["terminated"]
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("The notebook was stopped.", timeout=90_000)
    assert await faults(page, artifacts, "marimo", EVERY_LOOK, whole=False, axe=False) == []
    await page.get_by_role("link", name="Open it again").click()
    await page.wait_for_url(f"**/edit/user/alice/{_ITEM}/")
    await expect((await notebook(page)).locator(".cm-content").first).to_be_visible(timeout=60_000)
    assert await page.get_by_role("alert").count() == 0


_SLOW = """\
import pathlib, time
print("FIRST", 6 * 7)
while not pathlib.Path("go").exists():
    time.sleep(0.1)
print("SECOND", 6 * 8)
pathlib.Path("said").touch()
6 * 9"""


@pytest.mark.timeout(400)
async def test_what_a_cell_said_while_the_page_was_away_is_there_when_it_has_connected_again(
    people: People, start_hub: Callable[..., HubProcess], run_directory: Path
) -> None:
    """marimo alone sends no page again what it has missed: the cell would seem to run for ever."""
    hub = start_hub(settings={"hub.runtime_dir": tempfile.mkdtemp(prefix="r-", dir=run_directory)})
    put_release(hub.course, TINY, tiny_notebook(""))
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{hub.url}/edit/{TINY}")
    await page.wait_for_url(f"**/edit/user/alice/{TINY}/", timeout=BUILT_WITHIN)
    frame = await notebook(page)
    await frame.locator(".cm-content").first.click()
    await page.keyboard.press("Control+A")
    await insert(frame, _SLOW)
    async with page.expect_response("**/api/kernel/run"):
        await page.keyboard.press("Control+Enter")
    await expect(frame.get_by_text("FIRST 42")).to_be_visible()
    hub.kill()
    copy = hub.course / "hub-notebooks" / "alice" / TINY
    (copy / "go").touch()
    await until((copy / "said").exists)
    await asyncio.to_thread(hub.restart)
    await expect(frame.get_by_text(re.compile(r"^\s*FIRST 42\s+SECOND 48\s*$"))).to_be_visible()
    await expect(frame.get_by_text("54", exact=True)).to_be_visible()
