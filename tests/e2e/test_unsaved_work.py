"""Work that the notebook's page could not save, in real Chromium: kept, sent, told, put back.

The session's page is the test's own (``framed_session``), except in the last tests, whose marimo is
real: from the state of its page comes what was typed and never sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Frame, Page, Route, WebSocketRoute, expect

from mograder.notebook.parsing import parse_marimo
from mograder.notebook.saved_cells import SavedCells, write_saved_cells
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.store.versions.versions import Origin
from tests.support.browser import BUILT_WITHIN, People, insert, notebook, wait_in_page
from tests.support.course import put_release
from tests.support.framed_session import ITEM, Framed, Tab, scene
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.looks import faults
from tests.support.marimo import MarimoClient, open_editor
from tests.support.shared_hub import TINY, editor, start
from tests.support.shared_hub import notebook as tiny_notebook
from tests.support.student_workers import CUT

__all__ = ["scene"]

pytestmark = pytest.mark.full

_STORED = "Object.entries(localStorage).filter(([name]) => name.startsWith('mograder-unsaved:'))"
_SAVE = """([body, status]) => fetch(`api/kernel/save?${status}`, {method: "POST", body})
    .then((answer) => answer.status)"""
_ANOTHER_HUB = """() => {
    localStorage.setItem("mograder-unsaved:/b/unsaved/alice/A1", "[]");
    const away = { key: "mograder-bye", newValue: "/b/standing/" };
    dispatchEvent(new StorageEvent("storage", away));
}"""
"""What another hub on this host keeps, and that it was signed out of."""
_KEY = SessionKey("alice", ITEM, Mode.EDIT)


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
    await wait_in_page(tab.page, f"{_STORED}.length === {count}")


def copy_of(scene: Framed, user: str = "alice") -> Path:
    """A student's notebook on the disk."""
    return scene.hub.course / "hub-notebooks" / user / ITEM / f"{ITEM}.py"


async def change(tab: Tab, text: str, code: str) -> bytes:
    """Change the last cell, which cannot be saved; return the text that would have been."""
    cells = [cell.code for cell in parse_marimo(text, ITEM).cells]
    for codes, status in ((cells, 200), ([*cells[:-1], code], 503)):
        body = {"codes": codes, "names": ["_"] * len(codes), "configs": [{}] * len(codes)}
        assert await tab.frame.evaluate(_SAVE, [json.dumps(body), status]) == status
    return write_saved_cells(SavedCells(json.dumps(body), text, ITEM)).text.encode()


async def test_work_that_was_not_saved_when_the_session_ended_is_told_and_put_back(
    scene: Framed, artifacts: Path
) -> None:
    copy = copy_of(scene)
    before = copy.read_bytes()
    tab = await scene.open()
    wanted = await change(tab, before.decode(), "mine = 4711")
    await expect(tab.page.locator("#saved")).to_have_text("Not saved yet")
    await scene.hub.pool.stop(_KEY)
    await expect(tab.ended).to_contain_text("Everything up to ")
    await expect(tab.ended).to_contain_text("What was typed after that is kept in this browser.")
    offer = tab.page.locator("#kept")
    await expect(offer).to_contain_text("3 lines that you changed were not saved (")
    assert kept(scene) == [wanted.decode()]
    assert copy.read_bytes() == before
    assert await faults(tab.page, artifacts, "unsaved", whole=False) == []
    async with tab.person.context.expect_page() as opened:
        await offer.get_by_role("link", name="Show").press("Enter")
    changes = await opened.value
    await expect(changes.get_by_text("mine = 4711")).to_be_visible()
    async with tab.page.expect_navigation():
        await offer.get_by_role("button", name="Put back").press("Enter")
    assert copy.read_bytes() == wanted
    await stored(tab, 0)


async def test_work_that_is_too_long_to_be_kept_is_told_and_not_promised(scene: Framed) -> None:
    tab = await scene.open()
    await save(tab, "x" * 2_000_000, 503)
    await expect(tab.page.locator("#saved")).to_have_text("Not saved yet")
    await scene.hub.pool.stop(_KEY)
    await expect(tab.ended).to_contain_text("Everything up to ")
    await expect(tab.ended).not_to_contain_text("is kept in this browser")
    assert kept(scene) == []


async def test_work_for_which_the_browser_has_no_room_is_sent_by_the_open_page(
    scene: Framed,
) -> None:
    tab = await scene.open()
    await tab.page.evaluate("""() => {
        Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
    }""")
    await save(tab, "mine = 4711", 503)
    await expect(tab.page.locator("#saved")).to_have_text("Not saved yet")
    await scene.hub.pool.stop(_KEY)
    await expect(tab.page.locator("#kept")).to_contain_text("not saved (")
    await expect(tab.ended).not_to_contain_text("is kept in this browser")
    [text] = kept(scene)
    assert "mine = 4711" in text
    await stored(tab, 0)


async def test_a_page_that_alone_has_unsaved_work_asks_before_it_is_closed(scene: Framed) -> None:
    tab = await scene.open()
    await tab.page.evaluate("""() => {
        Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
    }""")
    await tab.click(tab.page.locator("#fold"))  # browsers ask only where something was done
    await save(tab, "mine = 4711", 503)
    await expect(tab.page.locator("#saved")).to_have_text("Not saved yet")
    await wait_in_page(tab.page, "!dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    async with tab.page.expect_event("dialog") as asked:
        await tab.page.close(run_before_unload=True)
    assert (await asked.value).type == "beforeunload"
    await (await asked.value).dismiss()
    await save(tab, "mine = 4711", 200)
    await wait_in_page(tab.page, "dispatchEvent(new Event('beforeunload', { cancelable: true }))")


async def test_work_is_kept_where_the_connection_broke_before_anything_was_typed(
    scene: Framed,
) -> None:
    tab = await scene.open()
    await expect(tab.page.locator("link[href$='/frame-unsaved.css']")).to_have_count(1)
    await tab.person.context.set_offline(True)
    told = {"mograder": "unsaved", "body": saved("mine = 4711")}
    await tab.frame.evaluate("told => parent.postMessage(told, '*')", told)
    await stored(tab, 1)


async def test_a_page_that_alone_has_unsaved_work_is_not_loaded_again(scene: Framed) -> None:
    gone = "parent.postMessage({ mograder: 'gone' }, '*')"
    tab = await scene.open()
    await tab.page.evaluate("""() => {
        Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
    }""")
    await save(tab, "mine = 4711", 503)
    await expect(tab.page.locator("#saved")).to_have_text("Not saved yet")
    async with tab.page.expect_response("**/standing/**"):
        await tab.frame.evaluate(gone)
    await tab.frame.evaluate("document.title = 'heard'")
    await expect(tab.page).to_have_title("heard")
    await save(tab, "mine = 4711", 200)
    async with tab.page.expect_navigation():
        await tab.frame.evaluate(gone)


@contextlib.asynccontextmanager
async def typed_without_the_script(scene: Framed) -> AsyncIterator[Tab]:
    """Open a notebook whose page cannot load what keeps unsaved work, which it can afterwards."""
    person = await scene.people.person("alice", headers=from_proxy("alice"))
    script = re.compile(r"/frame-unsaved\.js")
    await person.context.route(script, lambda route: route.abort())
    tab = await scene.show(person, f"/edit/user/alice/{ITEM}/")
    async with tab.page.expect_event("requestfailed", lambda each: bool(script.search(each.url))):
        await save(tab, "mine = 4711", 503)
    yield tab
    await person.context.unroute(script)


async def test_what_could_not_be_kept_is_not_promised_and_is_sent_once_it_can(
    scene: Framed,
) -> None:
    async with typed_without_the_script(scene) as tab:
        await scene.hub.pool.stop(_KEY)
        await expect(tab.ended).to_contain_text("Everything up to ")
        await expect(tab.ended).not_to_contain_text("is kept in this browser")
    await expect(tab.page.locator("#kept")).to_contain_text("not saved (", timeout=60_000)
    [text] = kept(scene)
    assert "mine = 4711" in text


async def test_a_page_is_loaded_again_only_once_what_was_typed_in_it_is_kept(scene: Framed) -> None:
    gone = "parent.postMessage({ mograder: 'gone' }, '*')"
    async with typed_without_the_script(scene) as tab:
        async with tab.page.expect_response("**/standing/**"):
            await tab.frame.evaluate(gone)
        await tab.frame.evaluate("document.title = 'heard'")
        await expect(tab.page).to_have_title("heard")
    async with tab.page.expect_navigation():
        await tab.frame.evaluate(gone)
    await expect(tab.page.locator("#kept")).to_contain_text("not saved (")


async def test_work_of_a_page_that_was_left_is_offered_until_it_is_discarded(
    scene: Framed, artifacts: Path
) -> None:
    tab = await scene.open()
    await save(tab, "first = 1", 503)
    await save(tab, "second = 2", 502)
    await stored(tab, 1)
    await wait_in_page(tab.page, f"{_STORED}[0][1].includes('second = 2')")
    await tab.page.goto("about:blank")
    assert kept(scene) == []
    again = await scene.show(tab.person, f"/edit/user/alice/{ITEM}/")
    offer = again.page.locator("#kept")
    await expect(offer).to_be_visible()
    await again.page.reload()
    await expect(offer).to_contain_text("not saved (")
    [text] = kept(scene)
    assert "second = 2" in text
    await again.click(offer.get_by_role("button", name="Put back"))
    await expect(offer).to_contain_text("This closes the editor and opens it again")
    await again.page.screenshot(path=artifacts / "unsaved-ask.png")
    await again.click(offer.get_by_role("button", name="Later"))
    await again.click(offer.get_by_role("button", name="Discard"))
    await expect(offer).to_have_count(0)
    await again.page.reload()
    await expect(again.page.locator("#saved")).to_contain_text("Saved")
    await stored(again, 0)
    await expect(offer).to_have_count(0)
    assert len(kept(scene)) == 1, "it stays in the timeline"


async def test_work_takes_no_others_place(scene: Framed) -> None:
    copy = copy_of(scene)
    before = copy.read_text()
    tab = await scene.open()
    await change(tab, before, "mine = 4711")
    newer = before.replace("2", "3")
    copy.write_text(newer)
    await scene.hub.pool.stop(_KEY)
    offer = tab.page.locator("#kept")
    await offer.get_by_role("button", name="Put back").press("Enter")
    await expect(offer).to_contain_text("Your notebook was changed after you typed this")
    await expect(offer.get_by_role("link", name="Show")).to_be_visible()
    assert copy.read_text() == newer
    await stored(tab, 1)


async def test_handing_in_waits_for_the_save_and_says_when_there_is_none(scene: Framed) -> None:
    tab = await scene.open()
    asked: list[str] = []
    tab.page.on("request", lambda each: asked.append(each.url) if "/hand-in/" in each.url else None)
    hand_in = tab.page.get_by_role("button", name="Hand in", exact=True)
    panel = tab.page.get_by_role("complementary")
    typed = "What you typed last is not saved yet."
    await save(tab, "x = 1", 503)
    await hand_in.click()
    await expect(panel).to_contain_text(typed)
    await tab.click(panel.get_by_role("button", name="Not yet"))
    await expect(panel).to_be_hidden()
    await expect(tab.said).to_have_text("")
    assert asked == []
    await hand_in.click()
    await save(tab, "x = 2", 200)  # as marimo does a second after the last key
    await expect(panel).to_contain_text("It was not validated as it is now.")
    await expect(panel).not_to_contain_text(typed)
    assert len(asked) == 1


async def test_what_is_saved_in_the_end_is_not_offered(scene: Framed) -> None:
    tab = await scene.open()
    await save(tab, "x = 1", 500)
    await stored(tab, 1)
    await save(tab, "x = 2", 200)
    await stored(tab, 0)
    await expect(tab.page.locator("#saved")).to_contain_text("Saved ")
    await scene.hub.pool.stop(_KEY)
    await expect(tab.ended).to_be_visible()
    assert "kept" not in await tab.ended.inner_text()
    await expect(tab.page.locator("#kept")).to_have_count(0)
    assert kept(scene) == []


@pytest.mark.parametrize("status", [0, 408], ids=["the hub is away", "it came too slowly"])
async def test_work_that_the_hub_did_not_get_is_sent_again(scene: Framed, status: int) -> None:
    tab = await scene.open()
    await save(tab, "later = 1", 503)
    fails, failed = True, asyncio.Event()

    async def refuse(route: Route) -> None:
        if not fails:
            return await route.continue_()
        if status:
            told = {"detail": "This form came too slowly."}
            await route.fulfill(status=status, json=told, headers={"x-request-id": "1"})
        else:
            await route.abort()
        failed.set()
        return None

    await tab.page.route("**/unsaved/**", refuse)
    await scene.hub.pool.stop(_KEY)
    async with asyncio.timeout(60):
        await failed.wait()
    fails = False
    await expect(tab.page.locator("#kept")).to_contain_text("not saved (")
    assert len(kept(scene)) == 1


async def test_what_another_tab_saves_does_not_take_its_place(scene: Framed) -> None:
    tab = await scene.open()
    other = await scene.show(tab.person, f"/edit/user/alice/{ITEM}/")
    await save(tab, "first = 1", 503)
    await stored(tab, 1)
    await save(other, "second = 2", 503)
    await save(other, "second = 3", 200)
    await expect(other.page.locator("#saved")).to_contain_text("Saved ")
    await other.page.close()
    await scene.hub.pool.stop(_KEY)
    await expect(tab.page.locator("#kept")).to_contain_text("not saved (")
    [text] = kept(scene)
    assert "first = 1" in text


async def test_work_that_was_left_stays_until_the_hub_has_it(scene: Framed) -> None:
    tab = await scene.open()
    await save(tab, "first = 1", 503)
    await stored(tab, 1)
    await tab.page.goto("about:blank")
    away = True

    async def refuse(route: Route) -> None:
        await (route.abort() if away else route.continue_())

    await tab.person.context.route("**/unsaved/**", refuse)
    again = await scene.show(tab.person, f"/edit/user/alice/{ITEM}/")
    await save(again, "second = 2", 503)
    await save(again, "second = 3", 200)
    away = False
    offer = again.page.locator("#kept")
    await expect(offer).to_contain_text("not saved (")
    [text] = kept(scene)
    assert "first = 1" in text
    await again.click(offer.get_by_role("button", name="Discard"))
    await stored(again, 0)


async def test_work_of_which_no_version_can_be_made_keeps_back_none_of_another_page(
    scene: Framed,
) -> None:
    tab = await scene.open()
    await save(tab, "mine = 4711", 503)
    await stored(tab, 1)
    await tab.page.evaluate("""() => {
        const key = "mograder-unsaved:" + document.body.dataset.unsaved;
        const kept = [JSON.parse(localStorage.getItem(key))].flat();
        const broken = { page: "another", at: Date.now(), body: "{broken" };
        localStorage.setItem(key, JSON.stringify([broken, ...kept]));
    }""")
    await tab.page.reload()
    await expect(tab.page.locator("#kept")).to_contain_text("not saved (")
    [text] = kept(scene)
    assert "mine = 4711" in text


async def test_the_bar_says_when_it_is_not_connected_and_when_all_is_saved_again(
    scene: Framed, artifacts: Path
) -> None:
    tab = await scene.open()
    page, saved_at = tab.page, tab.page.locator("#saved")
    await expect(saved_at).to_contain_text("Saved ")

    async def refuse(route: Route) -> None:
        await route.abort()

    await page.route("**/standing/**", refuse)
    await tab.frame.evaluate("line.close()")
    await expect(saved_at).to_contain_text("Not connected · Saved ")
    await save(tab, "x = 1", 503)
    await expect(saved_at).to_have_text("Not connected, your last changes are not saved yet")
    for name in ("Validate", "Hand in", "Stop"):
        await expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()
    assert await faults(page, artifacts, "not-connected", whole=False) == []
    await page.unroute("**/standing/**")
    await expect(page.get_by_role("button", name="Validate")).to_be_enabled()
    await expect(saved_at).to_have_text("Not connected, your last changes are not saved yet")
    await tab.frame.evaluate("window.line = new WebSocket(line.url)")
    await expect(saved_at).to_have_text("Not saved yet")
    await save(tab, "x = 1", 200)
    await expect(saved_at).to_contain_text("Saved ")


async def test_the_bar_says_when_a_hub_that_hangs_saves_nothing(scene: Framed) -> None:
    tab = await scene.open()
    page, saved_at = tab.page, tab.page.locator("#saved")
    await expect(saved_at).to_contain_text("Saved ")
    goes_on = asyncio.Event()

    async def hang(route: Route) -> None:
        await goes_on.wait()
        await route.abort()

    await save(tab, "x = 1", 503)
    await page.route(re.compile("/standing/|/kernel/save"), hang)
    await tab.frame.evaluate(f"void ({_SAVE})({json.dumps([saved('x = 2'), 200])}).catch(() => 0)")
    await expect(saved_at).to_have_text("Not saved yet")
    told = "Not connected, your last changes are not saved yet"
    await expect(saved_at).to_have_text(told, timeout=30_000)
    goes_on.set()


async def test_a_bar_that_is_folded_away_comes_back_when_nothing_can_be_saved(
    scene: Framed, artifacts: Path
) -> None:
    tab = await scene.open()
    page, bar = tab.page, tab.page.get_by_role("banner")
    warns = page.get_by_text("Not connected, your last changes are not saved yet")
    await expect(page.locator("#saved")).to_contain_text("Saved ")
    await page.get_by_role("button", name="Bar").click()
    await expect(bar).to_be_hidden()
    await page.route("**/standing/**", lambda route: route.abort())
    await tab.frame.evaluate("line.close()")
    await save(tab, "x = 1", 503)
    await expect(warns).to_be_visible()
    assert await faults(page, artifacts, "not-connected-unfolded", whole=False) == []
    await page.get_by_role("button", name="Bar").click()
    await save(tab, "x = 2", 503)
    await tab.frame.evaluate("document.title = 'heard'")
    await expect(page).to_have_title("heard")
    await expect(bar).to_be_hidden()  # it was read


async def test_another_person_at_the_same_browser_is_shown_nothing_of_it(scene: Framed) -> None:
    tab = await scene.open()
    await save(tab, "mine = 4711", 503)
    await stored(tab, 1)
    await tab.page.goto("about:blank")
    copy_of(scene, "bob").parent.mkdir(parents=True)
    copy_of(scene, "bob").write_text(copy_of(scene).read_text())
    scene.hub.start("bob", ITEM, server=scene.socket)
    await tab.person.context.set_extra_http_headers(from_proxy("bob"))
    bobs = await scene.show(tab.person, f"/edit/user/bob/{ITEM}/")
    await expect(bobs.page.locator("#saved")).to_contain_text("Saved ")
    await expect(bobs.page.locator("#kept")).to_have_count(0)
    assert kept(scene) == []
    await stored(bobs, 1)


@pytest.mark.parametrize(("who", "left"), [("", 0), ("alice", 1)])
async def test_signing_out_removes_it_from_the_browser_and_a_link_to_that_page_does_not(
    scene: Framed, who: str, left: int
) -> None:
    tab = await scene.open()
    await save(tab, "mine = 4711", 503)
    await stored(tab, 1)
    if not who:
        await tab.person.context.set_extra_http_headers({"DNT": "1"})
        await tab.person.context.clear_cookies()
    await tab.page.goto(f"{scene.address}/login?bye=1", wait_until="load")
    await expect(tab.page.get_by_role("status")).to_contain_text("You have signed out.")
    await stored(tab, left)


async def test_a_page_that_is_open_promises_nothing_that_signing_out_has_removed(
    scene: Framed,
) -> None:
    tab = await scene.open()
    await save(tab, "mine = 4711", 503)
    await stored(tab, 1)
    await tab.page.evaluate(_ANOTHER_HUB)
    await stored(tab, 2)
    await expect(tab.ended).to_have_count(0)
    await tab.person.context.set_extra_http_headers({})
    await tab.person.context.clear_cookies()
    await tab.person.open(f"{scene.address}/login?bye=1")
    await expect(tab.ended).to_contain_text("no longer signed in")
    await expect(tab.ended).not_to_contain_text("is kept in this browser")
    await stored(tab, 1)


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
    await tab.frame.evaluate("parent.postMessage({ mograder: 'unsaved', body: '' }, '*')")
    await stored(tab, 0)
    await tab.frame.evaluate("parent.postMessage({ mograder: 'unsaved', body: '{forged' }, '*')")
    await stored(tab, 1 if user == "alice" else 0)
    await scene.hub.pool.stop(_KEY)
    await expect(tab.ended).to_be_visible()
    if user == "alice":
        offer = tab.page.locator("#kept")
        await expect(offer).to_contain_text("is kept in this browser only")
        await stored(tab, 1)
        async with tab.page.expect_download() as downloaded:
            await tab.click(offer.get_by_role("button", name="Download"))
        assert (await (await downloaded.value).path()).read_text() == "{forged"
        await tab.click(offer.get_by_role("button", name="Discard"))
        await stored(tab, 0)
    assert kept(scene) == []


async def test_a_frame_that_floods_the_page_around_it_writes_little(scene: Framed) -> None:
    tab = await scene.open()
    await tab.page.evaluate("""() => {
        const native = Storage.prototype.setItem;
        window.writes = 0;
        window.began = performance.now();
        Storage.prototype.setItem = function (...given) {
            window.writes += 1;
            native.apply(this, given);
        };
    }""")
    await tab.frame.evaluate("""() => {
        const body = "<img src=x onerror=boom()>";
        for (let n = 0; n < 20000; n++) {
            parent.postMessage({ mograder: "unsaved", body: body + n }, "*");
            parent.postMessage({ mograder: "joined", is: n % 2 === 0 }, "*");
        }
    }""")
    await tab.frame.evaluate("parent.postMessage({ mograder: 'title', text: 'after it' }, '*')")
    await expect(tab.page).to_have_title("after it")
    await stored(tab, 1)
    writes, took = await tab.page.evaluate("[writes, performance.now() - began]")
    assert writes <= 10 + took / 250
    assert await tab.page.locator("img").count() == 0


async def typed_in_the_real_editor(hub: HubProcess, people: People) -> tuple[Page, Frame]:
    """Open a notebook, and type a line that is saved."""
    put_release(hub.course, TINY, tiny_notebook(""))
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{hub.url}/edit/{TINY}")
    await page.wait_for_url(f"**/edit/user/alice/{TINY}/", timeout=BUILT_WITHIN)
    frame = await notebook(page)
    await frame.locator(".cm-content").first.click(timeout=60_000)
    async with page.expect_response("**/api/kernel/save*"):
        await insert(frame, "x = 1")
    await expect(page.locator("#saved")).to_contain_text("Saved ")
    return page, frame


async def strike(hub: HubProcess, page: Page, frame: Frame, typed: str) -> None:
    """Type, and kill the hub before marimo saves; its sessions end with it."""
    killed = asyncio.Event()

    async def hold(route: Route) -> None:
        await killed.wait()
        await route.abort()

    await page.route("**/api/kernel/save*", hold)
    await insert(frame, typed)
    await expect(frame.locator(".cm-content").first).to_contain_text("4711")
    hub.kill()
    hub.stop()
    killed.set()
    await page.unroute("**/api/kernel/save*", hold)


@pytest.mark.timeout(400)
async def test_what_was_typed_when_the_hub_was_killed_is_put_back_byte_for_byte(
    people: People, artifacts: Path, start_hub: Callable[..., HubProcess]
) -> None:
    hub = start_hub()
    page, frame = await typed_in_the_real_editor(hub, people)
    copy = hub.course / "hub-notebooks" / "alice" / TINY / f"{TINY}.py"
    before = copy.read_bytes()
    wanted = before.replace(b"    x = 1\n", b"    x = 1\n    typed = '4711 \xc3\xa9'\n")
    assert wanted != before
    typed = "\ntyped = '4711 é'"
    await page.keyboard.press("Control+End")
    await strike(hub, page, frame, typed)
    waits = page.locator("#saved")
    await expect(waits).to_have_text("Not connected, your last changes are not saved yet")
    await expect(page.get_by_role("button", name="Validate")).to_be_disabled()
    assert copy.read_bytes() == before
    await asyncio.to_thread(hub.restart)
    await expect(page.get_by_role("alert")).to_contain_text("Everything up to ", timeout=90_000)
    await expect(page.get_by_role("alert")).to_contain_text("kept in this browser")
    offer = page.locator("#kept")
    await expect(offer).to_contain_text("1 line that you changed was not saved")
    await page.get_by_role("link", name="Open it again").click()
    await page.wait_for_url(f"**/edit/user/alice/{TINY}/")
    await expect(offer).to_contain_text("1 line that you changed was not saved", timeout=90_000)
    await offer.get_by_role("button", name="Put back").dispatch_event("click")  # as Tab.click
    await page.screenshot(path=artifacts / "marimo-put-back.png")
    async with page.expect_navigation(url=f"**/edit/{TINY}"):
        await offer.get_by_role("button", name="Put back now").dispatch_event("click")
    await page.wait_for_url(f"**/edit/user/alice/{TINY}/")
    shown = (await notebook(page)).locator(".cm-content").first
    await expect(shown).to_contain_text("4711", timeout=60_000)
    assert copy.read_bytes() == wanted
    await expect(waits).to_contain_text("Saved ")
    await expect(offer).to_have_count(0)


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
    await page.wait_for_url(f"**/edit/user/alice/{item}/", timeout=BUILT_WITHIN)
    frame = await notebook(page)
    await expect(frame.locator(".cm-content").first).to_be_visible(timeout=60_000)
    await expect(frame.get_by_text("Your Score").first).to_be_visible()  # all of it is there
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
        await expect(page.locator("#kept")).to_contain_text("1 line that you changed was not saved")
        over.set()
        found = client.get(f"/timeline/alice/{item}").json()
        [number] = [each["number"] for each in found if each["origin"] == "unsaved"]
        text = client.get(f"/timeline/alice/{item}/{number}").text
        told = client.get(f"/timeline/alice/{item}/{number}/changes").json()
    await page.screenshot(path=artifacts / "marimo-unsaved.png")
    assert "mine = 4711" in text
    assert [each["change"] for each in told["cells"]] == ["changed"], told
    assert told["outside"] == []


async def test_a_page_whose_line_broke_before_its_notebook_came_gets_it_and_runs_it(
    people: People, start_hub: Callable[..., HubProcess]
) -> None:
    """marimo tells a page that connects again of news only: it would show an empty notebook."""
    hub, opened = start_hub(), list[WebSocketRoute]()
    put_release(hub.course, TINY, tiny_notebook("4700 + 11"))
    alice = await people.person("alice", headers=from_proxy("alice"))

    def break_the_first(page: WebSocketRoute) -> None:
        server = page.connect_to_server()

        async def drop(_message: str | bytes) -> None:
            await server.close()
            await page.close(code=1001)

        if not opened:
            server.on_message(drop)
        opened.append(page)

    await alice.context.route_web_socket(re.compile(r"/ws\?"), break_the_first)
    page = await alice.open(f"{hub.url}/edit/{TINY}")
    await page.wait_for_url(f"**/edit/user/alice/{TINY}/", timeout=BUILT_WITHIN)
    await expect((await notebook(page)).get_by_text("4711", exact=True)).to_be_visible()
    assert len(opened) == 3, "connected again, and loaded again"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("with_all_it_started", [False, True])
async def test_a_hub_killed_during_a_save_leaves_the_old_or_the_new_notebook_whole(
    start_hub: Callable[..., HubProcess], *, with_all_it_started: bool
) -> None:
    hub, tries = start_hub(), 3
    put_release(hub.course, TINY, tiny_notebook(""))
    copy = hub.course / "hub-notebooks" / "alice" / TINY / f"{TINY}.py"
    left = set()
    for part in range(tries):
        await asyncio.to_thread(start, hub, "alice")
        async with open_editor(editor(hub, "alice"), run=False) as tab:
            old = await save_long_text(tab, copy, b"old")
            began = time.perf_counter()
            old = await save_long_text(tab, copy, b"old")
            took = time.perf_counter() - began
            new = old.replace(b"old", b"new")
            saving = asyncio.create_task(save_long_text(tab, copy, b"new"))
            await asyncio.sleep(took * (part + 1) / tries)
            kill_hub(hub, with_all_it_started=with_all_it_started)
            with contextlib.suppress(*CUT, AssertionError):
                await saving
        await asyncio.to_thread(hub.stop)
        found = copy.read_bytes()
        assert found in {old, new}, f"{len(found)} bytes, begins {found[:80]!r}"
        left.add(found == new)
        await asyncio.to_thread(hub.restart)
    print(f"the new notebook in some: {True in left}, the old one in some: {False in left}")


def kill_hub(hub: HubProcess, *, with_all_it_started: bool) -> None:
    """Kill a hub at once, and before it the processes that it has started."""
    started = psutil.Process(hub.pid).children(recursive=True)
    for process in started if with_all_it_started else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    hub.kill()


async def save_long_text(tab: MarimoClient, copy: Path, word: bytes) -> bytes:
    """Save a notebook of two megabytes, all lines of which have the word; return its bytes."""
    tab.cells.codes[0] = "\n".join(f"# {word.decode()} {line:060}" for line in range(30_000))
    await tab.save()
    return await asyncio.to_thread(copy.read_bytes)
