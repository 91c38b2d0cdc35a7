"""Pages that stay current while real sessions start, save and end.

B54, B55, B58, B134. The hub, its supervisor, marimo, bubblewrap and Chromium are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from tests.support.browser import People
from tests.support.framed_session import ITEM, framed
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, student
from tests.support.marimo import open_editor
from tests.support.shared_hub import TINY, editor, start

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub(shared_hub: HubProcess) -> HubProcess:
    return shared_hub


async def test_an_open_dashboard_shows_starts_saves_and_stops_without_a_reload(
    hub: HubProcess, people: People
) -> None:
    start(hub, "alice")
    with hub.client(student("alice")) as client:
        client.post(f"/stop-edit/alice/{TINY}").raise_for_status()
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{hub.url}/")
    await page.evaluate("window.stayed = true")
    stop = page.get_by_role("button", name=f"Stop {TINY}")
    await expect(stop).to_have_count(0)
    start(hub, "alice")
    await expect(stop).to_be_visible()
    async with open_editor(editor(hub, "alice")) as tab:
        await tab.edit(0, "mine = 4711")
        await tab.save()
        await expect(page.locator("#assignments .dot.edited")).to_have_count(1)
    with hub.client(student("alice")) as client:
        client.post(f"/stop-edit/alice/{TINY}").raise_for_status()
    await expect(stop).to_have_count(0)
    await page.route("**/validate/**", lambda route: route.abort())  # as if the hub were away
    await page.get_by_role("button", name=f"Validate {TINY}").press("Enter")
    told = f"{TINY} could not be validated: the hub does not answer."
    await expect(page.locator("#said")).to_contain_text(told)
    assert await page.evaluate("window.stayed") is True


async def test_a_stop_that_fails_is_told_below_its_button(tmp_path: Path, people: People) -> None:
    async with framed(tmp_path, people) as scene:
        alice = await people.person("alice", headers=from_proxy("alice"))
        page = await alice.open(f"{scene.address}/")
        await page.route("**/stop-edit/**", lambda route: route.abort())
        stop = page.get_by_role("button", name=f"Stop {ITEM}")
        await stop.click()
        told = page.get_by_text(f"{ITEM} could not be stopped: the hub does not answer.")
        await expect(told).to_be_visible()
        await page.unroute("**/stop-edit/**")
        await expect(stop).not_to_have_attribute("aria-disabled", "true")
        await stop.click()
        await expect(page.locator("#said")).to_contain_text(f"{ITEM} has stopped.")
        await expect(told).to_have_count(0)


async def test_a_page_shows_what_changed_before_it_listened(
    hub: HubProcess, people: People
) -> None:
    dana = await people.person("dana", headers=from_proxy("dana"))
    page = await dana.context.new_page()
    changed = asyncio.Event()

    async def hold(route: Route) -> None:
        await changed.wait()
        await route.continue_()

    await page.route("**/events?*", hold)
    await page.goto(f"{hub.url}/")
    stop = page.get_by_role("button", name=f"Stop {TINY}")
    await expect(stop).to_have_count(0)
    await asyncio.to_thread(start, hub, "dana")
    changed.set()
    await expect(stop).to_be_visible()
    with hub.client(student("dana")) as client:
        client.post(f"/stop-edit/dana/{TINY}").raise_for_status()


async def test_an_answer_that_comes_late_does_not_take_the_place_of_a_newer_one(
    tmp_path: Path, people: People
) -> None:
    async with framed(tmp_path, people) as scene:
        alice = await people.person("alice", headers=from_proxy("alice"))
        page = await alice.context.new_page()
        async with page.expect_response("**/events?*"):
            await page.goto(f"{scene.address}/")
        first, held, late = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def hold(route: Route) -> None:
            if first.is_set():
                return await route.continue_()
            first.set()
            answer = await route.fetch()
            held.set()
            await late.wait()
            return await route.fulfill(response=answer)

        await page.route(f"{scene.address}/", hold)
        stop = page.get_by_role("button", name=f"Stop {ITEM}")
        await expect(stop).to_be_visible()
        key = SessionKey("alice", ITEM, Mode.EDIT)
        scene.hub.pool.on_change(key)
        await held.wait()
        await scene.hub.pool.stop(key)
        await expect(stop).to_have_count(0)
        async with page.expect_response(f"{scene.address}/"):
            late.set()
        await page.wait_for_timeout(500)
        assert await stop.count() == 0


async def test_a_page_comes_back_to_the_next_hub_by_itself(
    start_hub: Callable[..., HubProcess], people: People
) -> None:
    """A stream of news does not keep a hub from ending, and is opened again when it is back."""
    hub = start_hub()
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.context.new_page()
    async with page.expect_response("**/events?*"):
        await page.goto(f"{hub.url}/")
    hub.stop()
    async with page.expect_response("**/events?*", timeout=90_000) as again:
        await asyncio.to_thread(hub.restart)
    assert (await again.value).ok
