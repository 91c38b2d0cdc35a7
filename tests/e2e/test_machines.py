"""The page of machines and the messages about one, in real Chromium.

The app is the real one; the nodes are rows in its database, as a hub writes them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from mograder.sandbox.protocol import Endpoint
from mograder.sessions.end_reasons import EndReason
from mograder.store.hub.nodes import Nodes
from tests.support import joined_nodes
from tests.support.browser import People
from tests.support.framed_session import ITEM, Framed, framed
from tests.support.identity import from_proxy
from tests.support.joined_nodes import joined, lapse
from tests.support.looks import EVERY_LOOK, faults

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

LEASE_SECONDS = 300
"""No node renews these leases: a test with a browser may take longer than a usual one lasts."""

NODES = f"[nodes]\nenabled = true\nlease_seconds = {LEASE_SECONDS}\n"
PAGE = "/course/machines"

connected = partial(joined_nodes.connected, lease_seconds=LEASE_SECONDS)


@pytest_asyncio.fixture(loop_scope="session")
async def scene(tmp_path: Path, people: People) -> AsyncIterator[Framed]:
    """A hub with nodes; alice's session runs on n1."""
    async with framed(tmp_path, people, settings=NODES) as opened:
        opened.session.endpoint = Endpoint(opened.session.endpoint.socket, "n1")
        yield opened


def fill(scene: Framed) -> None:
    """Have machines in every state."""
    engine = scene.hub.engine
    connected(engine, "n1", version="1.4.0", sessions=tuple(f"s{each}" for each in range(47)))
    connected(engine, "compute-node-017.cluster.example.edu", version="1.4.0", runs=2, load=3.9)
    connected(engine, "n3", version="1.3.9", draining=True, drain_seconds=900.0)
    connected(engine, "n4", version="1.4.0", sessions=("one",))
    connected(engine, "n5", version="1.4.0")
    connected(engine, "n6", version="1.4.0")
    joined(engine, "n7")
    lapse(engine, "n5")
    Nodes(engine).drain("n4", draining=True)
    Nodes(engine).remove("n6")


async def test_the_page_in_all_its_states(scene: Framed, artifacts: Path) -> None:
    prof = await scene.people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{scene.address}{PAGE}")
    wrong = await faults(page, artifacts, "machines-none", EVERY_LOOK)
    joined(scene.hub.engine, "n7")
    await page.reload()
    wrong += await faults(page, artifacts, "machines-away", EVERY_LOOK)
    Nodes(scene.hub.engine).remove("n7")
    fill(scene)
    await page.reload()
    wrong += await faults(page, artifacts, "machines", EVERY_LOOK)
    await page.evaluate("document.querySelectorAll('main details').forEach(e => e.open = true)")
    wrong += await faults(page, artifacts, "machines-open", EVERY_LOOK)
    assert wrong == []


async def test_draining_and_removing_ask_first_and_go_by_keyboard(scene: Framed) -> None:
    connected(scene.hub.engine, "n1")
    prof = await scene.people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{scene.address}{PAGE}")
    await expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    drain = page.locator("summary", has_text="Drain")
    await drain.focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Drain now n1")).to_be_focused()
    await page.keyboard.press("Enter")
    said = page.get_by_role("status")
    await expect(said.filter(has_text="n1 takes no new sessions.")).to_be_visible()
    await expect(said.filter(has_text="All machines are draining")).to_be_visible()
    await page.get_by_role("button", name="Use again n1").click()
    await expect(said).to_contain_text("n1 takes sessions again.")
    await page.locator("summary", has_text="Remove").click()
    await expect(page.get_by_text("2 sessions that run there end")).to_be_visible()
    await page.get_by_role("button", name="Remove now n1").click()
    await expect(page.get_by_text("being removed")).to_be_visible()


async def test_the_page_follows_the_machines_without_a_reload(scene: Framed) -> None:
    prof = await scene.people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{scene.address}{PAGE}")
    async with page.expect_request("**/events?*"):
        await page.reload()
    connected(scene.hub.engine, "n1")
    await expect(page.get_by_text("at work")).to_be_visible()
    Nodes(scene.hub.engine).drain("n1", draining=True)
    await expect(page.get_by_text("draining", exact=True)).to_be_visible()


async def test_the_bar_tells_of_the_shutdown_and_moves_the_notebook(
    scene: Framed, artifacts: Path
) -> None:
    connected(scene.hub.engine, "n1")
    tab = await scene.open()
    notice = tab.page.locator("#machine")
    await expect(notice).to_have_count(0)
    connected(scene.hub.engine, "n1", draining=True, drain_seconds=1000.0)
    await expect(notice.get_by_role("status")).to_have_text(
        "This notebook's machine will be shut down in about 15 minutes. What is saved stays."
    )
    move = notice.get_by_role("button", name="Move now")
    await expect(move).to_have_count(0)  # it could not be opened again
    connected(scene.hub.engine, "n2")
    await expect(move).to_be_visible()
    assert await faults(tab.page, artifacts, "bar-leaving", EVERY_LOOK) == []
    stopped = tab.page.expect_request(f"**/stop-edit/alice/{ITEM}*")
    async with stopped, tab.page.expect_request(f"**/start-edit-deep/{ITEM}"):
        await tab.click(move)


async def test_news_leave_the_button_its_focus_and_the_reason_why_it_could_not_move(
    scene: Framed,
) -> None:
    connected(scene.hub.engine, "n1", draining=True, drain_seconds=1000.0)
    connected(scene.hub.engine, "n2")
    tab = await scene.open()
    notice = tab.page.locator("#machine")
    move = notice.get_by_role("button", name="Move now")
    await expect(move).to_be_visible()

    async def refuse(route: Route) -> None:
        await route.fulfill(status=503, json={"detail": "Not now."})

    await tab.page.route("**/stop-edit/**", refuse)
    await move.focus()
    await tab.click(move)
    await expect(notice).to_contain_text("It could not be moved: Not now.")
    async with tab.page.expect_response("**/standing/**"):
        await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await tab.page.wait_for_timeout(300)
    assert await tab.page.evaluate("document.activeElement.textContent") == "Move now"
    await expect(notice).to_contain_text("It could not be moved: Not now.")
    await expect(notice).to_contain_text("minutes")


async def test_the_message_goes_when_the_machine_stays(scene: Framed) -> None:
    connected(scene.hub.engine, "n1", draining=True)
    tab = await scene.open()
    notice = tab.page.locator("#machine")
    await expect(notice).to_contain_text("will be shut down soon")
    connected(scene.hub.engine, "n1")
    await expect(notice).to_have_count(0)


async def test_the_first_page_tells_of_the_shutdown(scene: Framed, artifacts: Path) -> None:
    connected(scene.hub.engine, "n1", draining=True, drain_seconds=1000.0)
    prof = await scene.people.person("prof", headers=from_proxy("prof"))
    await prof.open(f"{scene.address}{PAGE}")  # so that the hub has read its nodes
    alice = await scene.people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{scene.address}/")
    await expect(page.get_by_text("shut down in about 16 minutes")).to_be_visible()
    assert await faults(page, artifacts, "home-leaving", EVERY_LOOK) == []


async def test_a_notebook_whose_machine_failed_says_so(scene: Framed) -> None:
    connected(scene.hub.engine, "n1", draining=True)
    tab = await scene.open()
    await expect(tab.page.locator("#machine")).to_be_visible()
    scene.hub.end("alice", ITEM, EndReason.LOST)
    await expect(tab.ended).to_contain_text("Everything up to")
    await expect(tab.page.locator("#machine")).to_be_hidden()
