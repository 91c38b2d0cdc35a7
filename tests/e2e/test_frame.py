"""The bar around a notebook and the frame below it, in real Chromium.

The hub's app is real; the session's page is as much of marimo's as the bar has to do with. With
real marimo it is gone through by the journeys (``test_journey.py``, ``test_session_page.py``).
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Route, expect

from mograder.core.names import ItemName, Username
from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import SessionKey
from mograder.store.submissions.submissions import Submissions
from tests.support.browser import People, notebook, wait_in_page
from tests.support.framed_session import ITEM, LECTURE, Framed, frame_at_work, framed, scene
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults

__all__ = ["scene"]

pytestmark = pytest.mark.full

MOST_BYTES = 25_850
_MATCHES = "id => document.activeElement.closest(`#${id}`)"
_SEEN = """state => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
_ASKED = "/standing/alice/A1?"
_LOADED = "performance.getEntriesByType('resource')"
_ASKS = "each => each.name.includes('/standing/')"
_ECHO = "text => new Promise(done => { line.onmessage = done; line.send(text); }).then(() => 1)"


async def test_the_keyboard_is_in_the_notebook_and_the_bar_comes_before_it(scene: Framed) -> None:
    tab = await scene.open()
    await expect(tab.page.locator("iframe")).to_be_focused()
    await tab.frame.wait_for_function("document.hasFocus()")
    await tab.page.keyboard.press("Tab")
    await tab.frame.wait_for_function("document.activeElement.id === 'first'")
    await tab.page.keyboard.press("Shift+Tab")
    await expect(tab.page.get_by_role("button", name="Bar")).to_be_focused()
    await tab.page.keyboard.press("Shift+Tab")
    await expect(tab.page.get_by_role("button", name="Stop")).to_be_focused()


async def test_query_and_fragment_pass_in_and_the_frames_own_come_out(scene: Framed) -> None:
    tab = await scene.open(query="?x=1&y=%22#part")
    await tab.frame.wait_for_function("location.hash === '#part'")
    assert await tab.page.evaluate("history.length") == 2  # the empty tab's and this one
    assert await tab.frame.evaluate("location.search") == "?x=1&y=%22"
    assert tab.page.url.endswith(f"/edit/user/alice/{ITEM}/?x=1&y=%22#part")
    await tab.frame.evaluate("history.replaceState(null, '', '?z=2')")
    await tab.page.wait_for_url(f"**/edit/user/alice/{ITEM}/?z=2")
    await tab.frame.evaluate("document.title = 'Darts'")
    await expect(tab.page).to_have_title("Darts")
    await tab.page.reload()
    frame = await notebook(tab.page)
    assert await frame.evaluate("location.search") == "?z=2"


async def test_links_leave_in_a_tab_of_their_own_and_fragments_do_not(scene: Framed) -> None:
    tab = await scene.open()
    await tab.frame.locator("#part").click()
    await tab.page.wait_for_url("**#part")
    async with tab.person.context.expect_page() as opened:
        await tab.frame.locator("#lecture").click()
    lecture = await opened.value
    await lecture.wait_for_url(f"{scene.address}/run/{LECTURE}/")
    assert "/edit/user/" in tab.page.url


_LINKS = {
    "svg": """to => {
        document.body.innerHTML += `<svg width="99" height="99"><a href="${to}"><rect
          width="99" height="99"></rect></a></svg>`;
        document.querySelector("rect").dispatchEvent(new MouseEvent("click", {bubbles: true}));
    }""",
    "xlink": """to => {
        document.body.innerHTML += `<svg width="99" height="99"><a xlink:href="${to}"><rect
          width="99" height="99"></rect></a></svg>`;
        document.querySelector("rect").dispatchEvent(new MouseEvent("click", {bubbles: true}));
    }""",
    "unconnected": """to => {
        const link = Object.assign(document.createElement("a"), {href: to});
        link.dispatchEvent(new MouseEvent("click"));
    }""",
    "unconnected click": """to => {
        Object.assign(document.createElement("a"), {href: to, target: "_self"}).click();
    }""",
    "form": """to => {
        document.body.innerHTML += `<form action="${to}"><button id="go"></button></form>`;
        document.querySelector("#go").click();
    }""",
    "formaction": """to => {
        document.body.innerHTML += `<form><button id="go" formaction="${to}"></button></form>`;
        document.querySelector("#go").click();
    }""",
}


async def test_links_of_every_kind_and_forms_leave_the_notebook_where_it_is(scene: Framed) -> None:
    tab = await scene.open()
    to = f"{scene.address}/run/{LECTURE}/"
    for kind, script in _LINKS.items():
        async with tab.person.context.expect_page() as opened:
            await tab.frame.evaluate(script, to)
        other = await opened.value
        await other.wait_for_url(re.compile(f"/run/(user/alice/)?{LECTURE}"))
        await other.close()
        await tab.frame.evaluate("document.querySelectorAll('svg, form').forEach(e => e.remove())")
        assert await tab.frame.evaluate("window.line.readyState") == 1, kind


async def test_a_cells_file_is_downloaded_by_a_plain_link(scene: Framed) -> None:
    tab = await scene.open()
    async with tab.person.context.expect_page() as opened:
        await tab.frame.evaluate("""() => {
            document.body.innerHTML += '<a id="file" href="./@file/3-x.csv">the file</a>';
            document.querySelector("#file").click();
        }""")
    opened_page = await opened.value
    assert await tab.frame.evaluate("window.line.readyState") == 1
    await opened_page.close()


async def test_printing_prints_the_notebook_from_wherever_it_is_asked_for(scene: Framed) -> None:
    tab = await scene.open()
    await tab.frame.locator("#first").focus()
    await tab.page.keyboard.press("Control+p")
    await tab.frame.wait_for_function("window.printed")
    await tab.frame.evaluate("window.printed = false")
    await tab.press(tab.page.get_by_role("button", name="Stop"), "Control+p")
    await tab.frame.wait_for_function("window.printed")


async def test_it_can_be_folded_away_and_stays_so(scene: Framed) -> None:
    tab = await scene.open()
    fold = tab.page.get_by_role("button", name="Bar")
    await fold.click()
    await expect(tab.page.get_by_role("banner")).to_be_hidden()
    await tab.page.reload()
    await expect(fold).to_have_attribute("aria-expanded", "false")
    await expect(tab.page.get_by_role("banner")).to_be_hidden()
    await tab.click(fold)
    await expect(tab.page.get_by_role("banner")).to_be_visible()


async def test_a_save_and_a_submission_are_told(scene: Framed) -> None:
    tab = await scene.open()
    saved = tab.page.locator("#saved")
    await expect(saved).to_contain_text("Saved ")
    save = "fetch(new URL('api/kernel/save', document.baseURI), {method: 'POST'}).then(() => 1)"
    async with tab.page.expect_response("**/standing/alice/A1?*"):
        await tab.frame.evaluate(save)
    await tab.page.get_by_role("button", name="Hand in").click()
    await tab.click(tab.page.get_by_role("button", name="Hand in all the same"))
    await expect(tab.said).to_contain_text("A1 was handed in as it was saved last.")
    await expect(saved).to_contain_text("handed in ")
    await expect(saved).not_to_contain_text("on time")  # it is not due at any time


async def test_what_is_missing_is_told_beside_the_notebook_before_it_is_handed_in(
    tmp_path: Path, people: People, artifacts: Path
) -> None:
    dates = "[items.A1]\ndue = 2026-09-01T08:00Z\n[penalties]\nenabled = true\n"
    async with framed(tmp_path, people, settings=dates) as scene:
        tab = await scene.open()
        await expect(tab.page.locator("#due")).to_contain_text("60 minutes late, −5 % now")
        hand_in = tab.page.get_by_role("button", name="Hand in", exact=True)
        panel = tab.page.get_by_role("complementary")
        await hand_in.click()
        await expect(panel).to_be_focused()
        await expect(panel).to_contain_text("It was not validated as it is now.")
        await expect(panel).to_contain_text("It is 60 minutes late: −5 % of the mark.")
        assert await faults(tab.page, artifacts, "hand-in", whole=False) == []
        await panel.get_by_role("button", name="Not yet").click()
        await expect(panel).to_be_hidden()
        assert await tab.active() == "validate", "the keyboard is back in the bar"
        assert not (scene.hub.course / "submitted").exists()
        await hand_in.click()
        await tab.click(panel.get_by_role("button", name="Hand in all the same"))
        saved = tab.page.locator("#saved")
        await expect(saved).to_contain_text("60 minutes late, −5 %")
        copy = scene.hub.course / "hub-notebooks" / "alice" / ITEM / f"{ITEM}.py"
        copy.write_text(copy.read_text().replace("import marimo", "import marimo  # changed", 1))
        await tab.frame.evaluate("parent.postMessage({ mograder: 'saved' }, '*')")
        await expect(saved).to_contain_text("edited since handed in ")
        await tab.said.click()
        await tab.page.screenshot(path=artifacts / "handed-in-1280.png")
        assert await tab.page.locator("#bar").evaluate("bar => bar.clientHeight") < 45, "one row"


async def test_where_nothing_is_missing_the_bar_hands_in_with_one_request(scene: Framed) -> None:
    """Whose time counts: the hub looks for seconds in the meantime."""
    tab = await scene.open()
    asked: list[str] = []

    async def handed_in(route: Route) -> None:
        asked.append(f"{route.request.method} {urlsplit(route.request.url).path}")
        await route.fulfill(json={"status": "ok"})

    for path in ("**/hand-in/**", "**/submit/**"):
        await tab.page.route(path, handed_in)
    await tab.page.get_by_role("button", name="Hand in").click()
    await expect(tab.said).to_contain_text("A1 was handed in as it was saved last.")
    assert asked == [f"POST /hand-in/alice/{ITEM}"]


async def test_after_the_end_of_submissions_the_bar_asks_for_no_other_one(
    tmp_path: Path, people: People
) -> None:
    """By the browser's clock, as the bar says that the item is closed; the hub's is far behind."""
    async with framed(
        tmp_path, people, settings="[items.A1]\ncloses = 2026-09-20T08:00Z\n"
    ) as scene:
        tab = await scene.open()
        sent = Submissions(scene.hub.course / "submitted")
        sent.add(Username("alice"), ItemName(ITEM), b"x = 1", scene.hub.clock.now())
        await tab.frame.evaluate("parent.postMessage({ mograder: 'saved' }, '*')")
        saved = tab.page.locator("#saved")
        await expect(saved).to_contain_text("edited since handed in ")
        await expect(saved).not_to_contain_text("hand in again?")


@pytest.mark.parametrize("how", ["Escape", "Validate"])
async def test_the_question_before_handing_in_can_be_left_by_other_ways_and_is_asked_again(
    scene: Framed, how: str
) -> None:
    tab = await scene.open()
    hand_in = tab.page.get_by_role("button", name="Hand in", exact=True)
    panel, now = tab.page.get_by_role("complementary"), "Hand in all the same"
    await hand_in.click()
    await expect(panel).to_be_focused()
    if how == "Escape":
        await tab.press(panel, "Escape")
        await expect(panel).to_be_hidden()
    else:
        await tab.page.get_by_role("button", name=how).click()
        await expect(panel.locator(".verdict")).to_be_visible()
        await expect(panel.get_by_role("button", name=now)).to_have_count(0)
        await expect(tab.said).not_to_have_text("")
    await hand_in.click()
    await tab.click(panel.get_by_role("button", name=now))
    await expect(tab.said).to_contain_text("A1 was handed in as it was saved last.")


async def test_a_failure_is_a_sentence(scene: Framed) -> None:
    tab = await scene.open()

    async def full(route: Route) -> None:
        await route.fulfill(status=503, json={"detail": "The disk is full."})

    await tab.page.route("**/submit/**", full)
    await tab.page.get_by_role("button", name="Hand in").click()
    await tab.click(tab.page.get_by_role("button", name="Hand in all the same"))
    await expect(tab.said).to_have_text("It could not be handed in: The disk is full.")


async def test_a_refused_rename_is_told_in_a_sentence(scene: Framed) -> None:
    """marimo's own dialog says "Forbidden" and no more."""
    tab = await scene.open()
    rename = "fetch(new URL('api/kernel/rename', document.baseURI), {method: 'POST', body: '{}'})"
    assert await tab.frame.evaluate(f"{rename}.then(({{status}}) => status)") == 403
    await expect(tab.said).to_contain_text("This notebook cannot be renamed")


async def test_the_result_of_a_validation_stands_beside_the_notebook_with_a_way_to_each_cell(
    scene: Framed, artifacts: Path
) -> None:
    tab = await scene.open()
    await tab.page.get_by_role("button", name="Validate").click()
    panel = tab.page.get_by_role("complementary", name="Validation")
    await expect(panel).to_be_focused()
    await expect(panel).to_contain_text("ZeroDivisionError: division by zero")
    await tab.page.screenshot(path=artifacts / "panel.png")
    await panel.locator("li.bad").first.get_by_role("button", name="Show the cell").click()
    await tab.frame.wait_for_function(_MATCHES, arg="cell-b")
    await expect(tab.frame.locator("#cell-b")).to_be_in_viewport()
    await panel.get_by_role("button", name="Show the cell").last.click()
    await tab.frame.wait_for_function(_MATCHES, arg="cell-c")
    await tab.press(panel, "Escape")
    await expect(panel).to_be_hidden()
    await expect(tab.page.get_by_role("button", name="Validate")).to_be_focused()


_OPENING_CELL = """() => {
  const cell = document.createElement("div");
  Object.assign(cell, { id: "opening", tabIndex: -1 }).dataset.cellId = "x";
  cell.innerHTML = `<p>Write here.</p><div class="cm-editor" hidden><div class="cm-content"
    contenteditable></div></div><button data-testid="shutdown-button">Shutdown</button>`;
  cell.addEventListener("dblclick", () => setTimeout(() => {
    cell.querySelector(".cm-editor").hidden = false;
    cell.focus();
  }, 200));
  document.body.append(cell);
}"""
"""A cell that opens its editor a while after a double-click, as marimo's does."""


async def test_a_result_stands_over_the_notebook_and_goes_at_a_click(scene: Framed) -> None:
    tab = await scene.open()
    top = "document.querySelector('#notebook').getBoundingClientRect().top"
    before = await tab.page.evaluate(top)
    await tab.page.get_by_role("button", name="Validate").click()
    await expect(tab.said).to_contain_text("checks pass")
    assert await tab.page.evaluate(top) == before, "it pushes the notebook down"
    edges = "[document.querySelector('#said').getBoundingClientRect().right, panel.offsetLeft]"
    right, panel = await tab.page.evaluate(edges)
    assert right <= panel, "it covers the result"
    await tab.said.click()
    await expect(tab.said).to_have_text("")


async def test_a_double_click_leads_into_the_editor_that_marimo_opens(scene: Framed) -> None:
    """marimo leaves the focus beside it, where each key is a command."""
    tab = await scene.open()
    await tab.frame.evaluate(_OPENING_CELL)
    await tab.frame.locator("#opening p").dblclick()
    await expect(tab.frame.locator("#opening .cm-content")).to_be_focused()
    await expect(tab.frame.get_by_test_id("shutdown-button")).to_be_hidden()


async def test_a_missing_network_is_told_in_a_sentence(scene: Framed) -> None:
    tab = await scene.open()
    error = "<urlopen error [Errno -3] Temporary failure in name resolution>"
    for said in (
        error,
        "curl: (6) Could not resolve host: example.org",
        'Could not establish connection error for HTTP HEAD to "https://example.org/x.parquet"',
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files",
    ):
        await tab.page.evaluate("document.querySelector('#said').textContent = ''")
        await tab.frame.evaluate(_ECHO, json.dumps({"op": "cell-op", "data": said}))
        await expect(tab.said).to_contain_text("This notebook has no internet access here.")
    await tab.page.evaluate("document.querySelector('#said').textContent = ''")
    await tab.frame.evaluate(_ECHO, json.dumps({"op": "kernel-ready", "data": error}))
    await tab.frame.evaluate("document.title = 'heard'")
    await expect(tab.page).to_have_title("heard")  # earlier messages have arrived, too
    await expect(tab.said).to_be_empty()
    await tab.page.get_by_role("button", name="Bar").click()
    await expect(tab.said).to_be_hidden()
    await tab.frame.evaluate(_ECHO, json.dumps({"op": "cell-op", "data": error}))
    await expect(tab.said).to_contain_text("This notebook has no internet access here.")
    await expect(tab.said).to_be_visible()


async def test_the_end_of_a_session_is_told_in_its_place_with_a_way_back(scene: Framed) -> None:
    tab = await scene.open()
    scene.hub.end("alice", ITEM, EndReason.MEMORY)
    await expect(tab.ended).to_contain_text("used too much memory")
    await expect(tab.ended).to_contain_text("2 GB")
    await expect(tab.page.locator("iframe")).to_have_count(0)
    link = tab.page.get_by_role("link", name="Open it again")
    await expect(link).to_be_focused()
    async with tab.page.expect_navigation(url=f"**/edit/{ITEM}"):
        await tab.page.keyboard.press("Enter")


async def test_an_end_during_a_look_at_the_hub_is_told(scene: Framed) -> None:
    """The answer is from before the end, and the news of the end comes before the answer."""
    tab = await scene.open()
    await expect(tab.page.locator("#saved")).to_contain_text("Saved ")  # its first look is over
    looks: list[str] = []

    async def slow(route: Route) -> None:
        before = await route.fetch()
        looks.append((await before.json())["state"])
        if len(looks) == 1:
            scene.hub.end("alice", ITEM, EndReason.IDLE)
            await asyncio.sleep(1)
        await route.fulfill(response=before)

    await tab.page.route("**/standing/**", slow)
    save = "fetch(new URL('api/kernel/save', document.baseURI), {method: 'POST'}).then(() => 1)"
    await tab.frame.evaluate(save)
    await expect(tab.ended).to_contain_text("nobody used it")
    assert looks[:2] == ["running", "ended"]


async def test_stop_ends_it_and_keeps_the_tab(scene: Framed) -> None:
    tab = await scene.open()
    await tab.page.get_by_role("button", name="Stop").click()
    await expect(tab.ended).to_contain_text("The notebook was stopped.")
    assert tab.page.url.endswith(f"/edit/user/alice/{ITEM}/")


async def test_a_page_that_was_not_looked_at_learns_of_the_end_when_it_is(scene: Framed) -> None:
    tab = await scene.open()
    await expect(tab.page.locator("#saved")).to_contain_text("Saved ")
    async with tab.page.expect_response("**/standing/**"):
        await tab.frame.evaluate("line.close()")  # it would tell the end by itself
    await tab.page.evaluate(_SEEN, "hidden")
    scene.hub.end("alice", ITEM, EndReason.IDLE)
    await tab.page.evaluate(_SEEN, "visible")
    await expect(tab.ended).to_contain_text("nobody used it")


async def test_another_session_of_the_same_notebook_is_shown_instead(scene: Framed) -> None:
    """It was stopped and opened again elsewhere: the old frame leads nowhere any more."""
    tab = await scene.open()
    await tab.page.evaluate("document.querySelector('iframe').classList.add('old')")
    scene.hub.end("alice", ITEM, EndReason.STOPPED)
    scene.hub.start("alice", ITEM, server=scene.socket, number=2)
    await expect(tab.page.locator("iframe[src*='/s/']:not(.old)")).to_have_count(1)
    frame = await notebook(tab.page)
    await frame.wait_for_function("window.line?.readyState === 1")
    assert await tab.ended.count() == 0


async def test_a_restarted_marimo_gets_the_page_loaded_again_once(scene: Framed) -> None:
    """It refuses the token of the one before; a 401 right after a reload has another reason."""
    tab = await scene.open()
    await tab.page.add_init_script("performance.now = () => 0")  # right after the reload
    refused = "fetch(new URL('refused', document.baseURI), {method: 'POST'}).then(() => 1)"
    async with tab.page.expect_navigation():
        await tab.frame.evaluate(f"void {refused}")
    frame = await frame_at_work(tab.page)
    await tab.page.evaluate("document.querySelector('iframe').classList.add('old')")
    await frame.evaluate(refused)
    await frame.evaluate("document.title = 'told after that'")
    await expect(tab.page).to_have_title("told after that")
    assert await tab.page.locator("iframe.old").count() == 1


async def test_signing_out_elsewhere_is_not_told_as_the_sessions_end(scene: Framed) -> None:
    tab = await scene.open()
    await tab.person.context.set_extra_http_headers({})
    await tab.person.context.clear_cookies()
    await tab.frame.evaluate("line.close()")
    await expect(tab.ended).to_contain_text("no longer signed in")
    link = tab.page.get_by_role("link", name="Sign in")
    assert await link.get_attribute("href") == tab.page.url


async def test_a_login_that_ends_in_the_midst_of_a_class_leaves_ones_own_notebook(
    scene: Framed,
) -> None:
    """It came to its day's end: what is typed is saved as before, only the bar needs a login."""
    tab = await scene.open()
    saved_at, hand_in = tab.page.locator("#saved"), tab.page.get_by_role("button", name="Hand in")
    await expect(saved_at).to_contain_text("Saved ")
    await tab.person.context.set_extra_http_headers({})
    await tab.person.context.clear_cookies()
    save = "fetch(new URL('api/kernel/save', document.baseURI), {method: 'POST'}).then(a => a.ok)"
    assert await tab.frame.evaluate(save)
    await expect(saved_at).to_contain_text("This page is no longer signed in. · Saved ")
    await expect(hand_in).to_be_disabled()
    assert await tab.frame.evaluate(save)
    assert await tab.ended.count() == 0
    await tab.person.context.set_extra_http_headers(from_proxy("alice"))
    await expect(hand_in).to_be_enabled(timeout=120_000)  # it asks after 30 s at most
    await expect(saved_at).not_to_contain_text("signed in")
    await tab.person.context.set_extra_http_headers({})
    await tab.person.context.clear_cookies()
    await tab.person.open(f"{scene.address}/login?bye=1")
    await expect(tab.ended).to_contain_text("no longer signed in")


async def test_a_hub_that_is_away_or_a_front_in_its_place_is_no_end(scene: Framed) -> None:
    tab = await scene.open()
    asked = asyncio.Event()

    async def away(route: Route) -> None:
        asked.set()
        await route.fulfill(status=403, body="<h1>Forbidden</h1>")

    await tab.page.route("**/standing/**", away)
    await tab.frame.evaluate("line.close()")
    async with tab.page.expect_response(lambda answer: answer.ok and _ASKED in answer.url) as told:
        await asked.wait()
        await tab.page.unroute("**/standing/**")
    assert (await (await told.value).json())["state"] == "running"
    assert await tab.ended.count() == 0


async def test_news_come_again_after_a_front_has_answered_in_the_hubs_place(scene: Framed) -> None:
    """A browser gives a stream up for good when it is answered by anything else."""
    tab, away = await scene.open(), True

    async def answer(route: Route) -> None:
        await (route.fulfill(status=502, body="Bad Gateway") if away else route.continue_())

    await tab.page.route("**/events?*", answer)
    async with tab.page.expect_response("**/events?*"):
        await tab.page.reload()
    away = False
    # By what it is: one more answer of the front may be on its way.
    async with tab.page.expect_response(lambda told: told.ok and "/events?" in told.url):
        pass
    await scene.hub.pool.stop(SessionKey("alice", ITEM, Mode.EDIT))
    await expect(tab.ended).to_be_visible()


async def test_a_crashs_last_words_are_shown_as_text(scene: Framed) -> None:
    tab = await scene.open()
    scene.hub.end("alice", ITEM, EndReason.CRASHED, detail="<img src=x onerror=alert(1)>")
    await expect(tab.ended).to_contain_text("<img src=x onerror=alert(1)>")
    assert await tab.ended.locator("img").count() == 0


async def test_an_instructor_sees_whose_it_is_and_is_led_to_the_course(scene: Framed) -> None:
    tab = await scene.open("prof")
    await expect(tab.page.get_by_role("banner")).to_contain_text("alice’s notebook")
    await expect(tab.page.get_by_role("button", name="Hand in")).to_have_count(0)
    scene.hub.end("alice", ITEM, EndReason.IDLE)
    link = tab.page.get_by_role("link", name="Back to the course")
    await expect(tab.ended).to_contain_text("What was saved stays.")
    await expect(tab.ended).not_to_contain_text("Open it again")
    assert await link.get_attribute("href") == "/course/students/alice"


async def test_a_lecture_has_the_bar_without_what_is_for_assignments(scene: Framed) -> None:
    alice = await scene.open()
    tab = await scene.show(alice.person, f"/run/user/alice/{LECTURE}/?show-code=true")
    names = await tab.page.get_by_role("banner").get_by_role("button").all_inner_texts()
    assert names == ["Stop"]
    assert await tab.frame.evaluate("location.search") == "?show-code=true"
    scene.hub.end("alice", LECTURE, EndReason.REPLACED, Mode.RUN)
    await expect(tab.ended).to_contain_text("The lecture was published again.")


async def test_it_fits_a_phone_and_the_dark(scene: Framed, artifacts: Path) -> None:
    tab = await scene.open()
    assert await faults(tab.page, artifacts, "open", EVERY_LOOK, whole=False) == []
    await tab.page.get_by_role("button", name="Validate").click()
    await expect(tab.page.locator("#panel")).to_be_visible()
    assert await faults(tab.page, artifacts, "panel", EVERY_LOOK, whole=False) == []
    scene.hub.end("alice", ITEM, EndReason.WORKSPACE)
    await expect(tab.ended).to_be_visible()
    assert await faults(tab.page, artifacts, "ended", EVERY_LOOK, whole=False) == []


async def test_a_page_whose_address_has_ended_before_its_session_is_loaded_again(
    scene: Framed,
) -> None:
    tab = await scene.open()
    capabilities = scene.hub.services.capabilities
    (old,) = {each.hash for each in capabilities.all() if each.username == "alice"}
    await asyncio.to_thread(capabilities.forget_user, "alice")
    save = "fetch(new URL('api/kernel/save', document.baseURI), {method: 'POST'}).then(() => 1)"
    async with tab.page.expect_event("load"):
        await tab.frame.evaluate(save)
    await frame_at_work(tab.page)
    assert old not in {each.hash for each in capabilities.all()}


async def test_opening_a_notebook_costs_few_bytes_of_our_own(scene: Framed) -> None:
    alice = await scene.people.person("alice", headers={"X-Remote-User": "alice"})
    page = await alice.context.new_page()
    sizes = await _own_bytes(page, f"{scene.address}/edit/user/alice/{ITEM}/")
    assert {path.rpartition("/")[2] for path in sizes} >= {"", "frame.css", "frame.js"}
    assert sum(sizes.values()) < MOST_BYTES, sizes


async def _own_bytes(page: Page, url: str) -> dict[str, int]:
    """The uncompressed size of what the hub's own page loads before it asks the hub."""
    found: dict[str, int] = {}
    await page.goto(url)
    await wait_in_page(page, f"({_LOADED}).some({_ASKS})")
    paths = await page.evaluate(f"""() => {{
        const all = {_LOADED}, asked = all.find({_ASKS}).startTime;
        return all.filter(each => each.startTime <= asked).map(each => each.name);
    }}""")
    for path in (url, *(each for each in paths if re.search(r"/static/.*\.(?:js|css)$", each))):
        answer = await page.context.request.get(path, headers={"Accept": "text/html"})
        found[path] = len(await answer.body())
    return found
