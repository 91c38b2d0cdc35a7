"""Work that the notebook's page could not save, in real Chromium: kept, sent, told, put back.

The session's page is the test's own (``framed_session``), except in the last test, whose marimo is
real: from the state of its page comes what was typed and never sent.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from bench.support.browser import People, insert, notebook
from bench.support.hub import HubProcess
from bench.support.identity import from_proxy
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.store.versions.versions import Origin
from tests.e2e.test_accessibility import violations
from tests.support.framed_session import ITEM, Framed, Tab, framed

pytestmark = pytest.mark.full

_STORED = "Object.entries(localStorage).filter(([name]) => name.startsWith('mograder-unsaved:'))"
_SAVE = """([body, status]) => fetch(`api/kernel/save?${status}`, {method: "POST", body})
    .then((answer) => answer.status)"""
_KEY = SessionKey("alice", ITEM, Mode.EDIT)


@pytest_asyncio.fixture(loop_scope="session")
async def scene(tmp_path: Path, people: People) -> AsyncIterator[Framed]:
    async with framed(tmp_path, people) as opened:
        yield opened


def saved(code: str) -> str:
    """The body of a save by marimo's page."""
    return json.dumps({"codes": [code], "names": ["_"], "configs": [{}], "cellIds": ["a"]})


async def save(tab: Tab, code: str, status: int) -> None:
    """Save as marimo's page does; the session's server answers with this status."""
    assert await tab.frame.evaluate(_SAVE, [saved(code), status]) == status


def kept(scene: Framed) -> list[str]:
    """The texts in alice's timeline that could not be saved."""
    versions = scene.hub.services.recorder.versions
    found = versions.all("alice", ITEM)
    return [
        versions.text("alice", ITEM, each.number).decode()
        for each in found
        if each.origin is Origin.UNSAVED
    ]


async def stored(tab: Tab, count: int) -> None:
    """Wait until the browser keeps so many pieces of work."""
    # The page's policy refuses the string that Playwright's own waiting evaluates.
    async with asyncio.timeout(20):
        while await tab.page.evaluate(f"{_STORED}.length") != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_work_that_was_not_saved_when_the_session_ended_is_kept_and_told(
    scene: Framed, artifacts: Path
) -> None:
    copy = scene.hub.course / "hub-notebooks" / "alice" / ITEM / f"{ITEM}.py"
    before = copy.read_text()
    tab = await scene.open()
    await save(tab, "mine = 4711", 503)
    await stored(tab, 1)
    await scene.hub.pool.stop(_KEY)
    told = tab.page.locator("#kept")
    await expect(told).to_contain_text("kept as a version. It is not in your notebook.")
    [text] = kept(scene)
    assert "mine = 4711" in text
    assert copy.read_text() == before
    await stored(tab, 0)
    wrong = []
    for width, scheme in ((1280, "light"), (390, "dark")):
        await tab.page.set_viewport_size({"width": width, "height": 800})
        await tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await tab.page.screenshot(path=artifacts / f"unsaved-{width}-{scheme}.png")
        wrong += await violations(tab.page, f"unsaved-{width}-{scheme}")
    assert wrong == []
    async with tab.person.context.expect_page() as opened:
        await tab.page.get_by_role("link", name="Look at it, or put it back").press("Enter")
    changes = await opened.value
    await expect(changes.get_by_text("mine = 4711")).to_be_visible()
    await changes.get_by_role("button", name="Put this whole version back").press("Enter")
    await expect(changes.get_by_role("status")).to_contain_text("is back.")
    assert "mine = 4711" in copy.read_text()


async def test_work_of_a_page_that_was_left_is_sent_when_the_notebook_is_opened_again(
    scene: Framed,
) -> None:
    tab = await scene.open()
    await save(tab, "first = 1", 503)
    await save(tab, "second = 2", 502)
    await stored(tab, 1)
    await tab.page.goto("about:blank")
    assert kept(scene) == []
    again = await scene.show(tab.person, f"/edit/user/alice/{ITEM}/")
    await expect(again.page.locator("#kept")).to_be_visible()
    [text] = kept(scene)
    assert "second = 2" in text
    await again.page.reload()
    await expect(again.page.locator("#saved")).to_contain_text("Saved")
    await expect(again.page.locator("#kept")).to_have_count(0)
    assert len(kept(scene)) == 1


async def test_what_is_saved_in_the_end_is_not_kept(scene: Framed) -> None:
    tab = await scene.open()
    await save(tab, "x = 1", 500)
    await stored(tab, 1)
    await save(tab, "x = 2", 200)
    await stored(tab, 0)
    await scene.hub.pool.stop(_KEY)
    await expect(tab.ended).to_be_visible()
    assert kept(scene) == []


async def test_a_hub_that_is_away_gets_it_when_it_is_back(scene: Framed) -> None:
    tab = await scene.open()
    await save(tab, "later = 1", 503)
    away = True

    async def refuse(route: Route) -> None:
        await (route.abort() if away else route.continue_())

    await tab.page.route("**/unsaved/**", refuse)
    async with tab.page.expect_request("**/unsaved/**"):
        await scene.hub.pool.stop(_KEY)
    away = False
    await expect(tab.page.locator("#kept")).to_be_visible()
    assert len(kept(scene)) == 1


@pytest.mark.parametrize("user", ["alice", "prof"])
async def test_a_hostile_frame_fills_nothing_and_reaches_no_other_copy(
    scene: Framed, user: str
) -> None:
    tab = await scene.open(user)
    await tab.frame.evaluate("""() => {
        const say = (body) => parent.postMessage({ mograder: "unsaved", body }, "*");
        for (const body of ["x".repeat(3000000), 7, null, {}, ["x"], undefined]) say(body);
    }""")
    await save(tab, "y = 1", 200)
    await stored(tab, 0)
    await tab.frame.evaluate("parent.postMessage({ mograder: 'unsaved', body: '{forged' }, '*')")
    await stored(tab, 1 if user == "alice" else 0)
    await scene.hub.pool.stop(_KEY)
    await expect(tab.ended).to_be_visible()
    if user == "alice":
        await expect(tab.page.locator("#kept")).to_contain_text("could not be kept")
        await stored(tab, 0)
    assert kept(scene) == []


async def test_marimos_page_hands_over_what_was_typed_and_never_saved(
    people: People,
    artifacts: Path,
    start_hub: Callable[..., HubProcess],
) -> None:
    """With the real hub, supervisor and marimo; the save is held until after the end."""
    hub, item = start_hub(), "A1-Measuring-Pi"
    shutil.copytree(hub.course / "release" / item, hub.course / "hub-release" / item)
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{hub.url}/edit/{item}")
    await page.wait_for_url(f"**/edit/user/alice/{item}/", timeout=200_000)
    frame = await notebook(page)
    await expect(frame.locator(".cm-content").first).to_be_visible(timeout=60_000)
    over = asyncio.Event()

    async def hold(route: Route) -> None:
        await over.wait()
        await route.abort()

    await page.route("**/api/kernel/save*", hold)
    answer = frame.locator(".cm-content", has_text="# YOUR CODE HERE").first
    await answer.focus()
    await insert(frame, "mine = 4711\n")
    await expect(answer).to_contain_text("mine = 4711")
    with hub.client(from_proxy("alice")) as client:
        assert client.post(f"/stop-edit/alice/{item}").json()["terminated"]
        await expect(page.locator("#kept")).to_contain_text("kept as a version")
        over.set()
        found = client.get(f"/timeline/alice/{item}").json()
        [number] = [each["number"] for each in found if each["origin"] == "unsaved"]
        text = client.get(f"/timeline/alice/{item}/{number}").text
        told = client.get(f"/timeline/alice/{item}/{number}/changes").json()
    await page.screenshot(path=artifacts / "marimo-unsaved.png")
    assert "mine = 4711" in text
    assert [each["change"] for each in told["cells"]] == ["changed"], told
    assert told["outside"] == []
