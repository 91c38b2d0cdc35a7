"""A hostile notebook that tries the page around it: the hub's own, with the bar (security.md).

Its script is run in the frame as the notebook's own would be. What cannot be prevented is in
docs/explanation/security.md, "The page around the notebook"; here is what remains true meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Request, expect

from tests.support.browser import People
from tests.support.framed_session import ITEM, PAGE, Framed, Tab, framed, scene

__all__ = ["scene"]

pytestmark = pytest.mark.full

_FORGED = """() => {
  const long = "x".repeat(100000), say = (message) => parent.postMessage(message, "*");
  for (const name of ["__proto__", "constructor", "toString", "get", "cell", "print", "stop"]) {
    say({ mograder: name, text: "forged", search: "?forged", hash: "#forged" });
  }
  for (const value of [null, undefined, 7, "title", [], ["title"], true, new Map()]) say(value);
  for (const text of [long, 7, null, {}, ["forged"], { toString: "forged" }]) {
    say({ mograder: "title", text });
    say({ mograder: "address", search: text, hash: "" });
    say({ mograder: "address", search: "", hash: text });
  }
  for (const search of ["/evil", "https://evil.example/", "//evil.example", "javascript:0"]) {
    say({ mograder: "address", search, hash: "" });
    say({ mograder: "address", search: "", hash: search });
  }
}"""
_FOREIGN = """() => {
  const script = "for (const to of [parent, top]) {" +
    "to.postMessage({ mograder: 'title', text: 'foreign' }, '*');" +
    "to.postMessage({ mograder: 'offline' }, '*'); }";
  const inner = document.createElement("iframe");
  inner.srcdoc = `<script>${script}<` + "/script>";
  document.body.append(inner);
  return new Promise(done => { inner.onload = () => done(1); });
}"""
_MOVES = """async (away) => {
  const said = {};
  const attempt = (name, act) => {
    try { act(); said[name] = "done"; } catch (error) { said[name] = error.name; }
  };
  attempt("top", () => { top.location = away; });
  attempt("href", () => { top.location.href = away; });
  attempt("replace", () => parent.location.replace(away));
  attempt("open", () => window.open(away, "_top"));
  attempt("named", () => window.open(away, top.name || "_parent"));
  for (const target of ["_top", "_parent"]) {
    const link = Object.assign(document.createElement("a"), { href: away, target });
    const form = Object.assign(document.createElement("form"), { action: away, target });
    document.body.append(link, form);
    attempt("link " + target, () => link.dispatchEvent(new MouseEvent("click")));
    attempt("form " + target, () => form.submit());
  }
  return said;
}"""


async def _still_works(tab: Tab) -> None:
    """Assert that the surrounding page is unchanged and its buttons work."""
    assert tab.page.url.partition("?")[0].partition("#")[0].endswith(f"/edit/user/alice/{ITEM}/")
    await tab.page.get_by_role("button", name="Stop").click()
    await expect(tab.ended).to_contain_text("The notebook was stopped.")


async def test_forged_and_oversized_messages_do_nothing(scene: Framed) -> None:
    tab = await scene.open()
    await tab.frame.evaluate(_FORGED)
    await tab.frame.evaluate("parent.postMessage({ mograder: 'title', text: '<b>last</b>' }, '*')")
    await expect(tab.page).to_have_title("<b>last</b>")
    await expect(tab.said).to_be_empty()
    await tab.page.evaluate("() => new Promise(done => setTimeout(done, 301))")  # then it turns
    assert tab.page.url.endswith(f"/edit/user/alice/{ITEM}/")
    assert not [note for note in tab.person.notes if note.startswith("error")]
    await _still_works(tab)


async def test_messages_of_another_window_do_nothing(scene: Framed) -> None:
    """A frame within the notebook, and a window that it opened."""
    tab = await scene.open()
    await tab.frame.evaluate(_FOREIGN)
    async with tab.page.expect_popup() as opening:
        await tab.frame.evaluate("void (window.other = window.open('about:blank'))")
    popup = await opening.value
    await popup.evaluate("opener.parent.postMessage({ mograder: 'offline' }, '*')")
    await tab.frame.evaluate("parent.postMessage({ mograder: 'title', text: 'own' }, '*')")
    await expect(tab.page).to_have_title("own")
    await expect(tab.said).to_be_empty()


async def test_nothing_moves_the_page_around(scene: Framed) -> None:
    tab = await scene.open()
    away = f"{scene.address}/login"
    said = await tab.frame.evaluate(_MOVES, away)
    assert {said[name] for name in ("top", "href", "replace")} == {"SecurityError"}
    await _still_works(tab)


async def test_a_window_that_it_opened_does_not_move_the_page_around(scene: Framed) -> None:
    tab = await scene.open()
    async with tab.page.expect_popup() as opening:
        await tab.frame.evaluate("void (window.other = window.open('about:blank'))")
    popup = await opening.value
    move = "away => { try { opener.top.location = away } catch (error) { return error.name } }"
    assert await popup.evaluate(move, f"{scene.address}/login") == "SecurityError"
    await tab.page.bring_to_front()
    await _still_works(tab)


@pytest.mark.parametrize("where", ["/", "/login", f"/edit/user/alice/{ITEM}/", "data:text/html,x"])
async def test_its_own_frame_shows_nothing_but_the_session(scene: Framed, where: str) -> None:
    tab = await scene.open()
    to = where if ":" in where else scene.address + where
    await tab.frame.evaluate("where => { location.href = where; }", to)
    await expect(tab.page.get_by_role("button", name="Stop")).to_be_visible()
    shown = tab.page.frame_locator("iframe")
    await expect(shown.get_by_text("first", exact=True)).to_have_count(0)
    for words in ("Sign in", "Your notebooks", "Numerical Experiments"):
        assert await shown.get_by_text(words).count() == 0
    await _still_works(tab)


async def test_it_reads_nothing_of_the_page_around(scene: Framed) -> None:
    tab = await scene.open()
    attempts = ("parent.document", "parent.localStorage", "top.location.href", "frameElement.src")
    for attempt in attempts:
        script = f"() => {{ try {{ return String({attempt}) }} catch (e) {{ return e.name }} }}"
        assert await tab.frame.evaluate(script) in ("SecurityError", "TypeError"), attempt
    assert await tab.page.locator("input, textarea, [contenteditable]").count() == 0, (
        "what takes the focus can read the keys, so nothing is typed into the page around"
    )


async def test_a_flood_costs_the_hub_a_few_requests_and_the_page_nothing(scene: Framed) -> None:
    tab = await scene.open()
    asked: list[str] = []

    def note(request: Request) -> None:
        if "/standing/" in request.url:
            asked.append(request.url)

    tab.page.on("request", note)
    began = await tab.page.evaluate("performance.now()")
    await tab.frame.evaluate("""() => {
        for (let n = 0; n < 3000; n++) {
            for (const mograder of ["saved", "lost"]) parent.postMessage({ mograder }, "*");
            parent.postMessage({ mograder: "address", search: "?n=" + n, hash: "" }, "*");
            if (n < 150) history.pushState(null, "", "?p=" + n);
        }
        parent.postMessage({ mograder: "title", text: "done" }, "*");
    }""")
    await expect(tab.page).to_have_title("done")
    await tab.page.wait_for_url(f"**/edit/user/alice/{ITEM}/?*")
    took = await tab.page.evaluate("performance.now()") - began
    assert len(asked) <= 2 + took / 1500
    await _still_works(tab)


async def test_downloads_in_a_loop_and_stolen_focus_leave_the_bar_working(scene: Framed) -> None:
    tab = await scene.open()
    await tab.frame.evaluate("""() => {
        const link = Object.assign(document.createElement("a"), { download: "x.txt" });
        link.href = URL.createObjectURL(new Blob(["x"]));
        setInterval(() => { link.click(); window.focus(); document.body.focus(); }, 50);
    }""")
    await _still_works(tab)


async def test_full_screen_needs_a_click_of_the_persons(tmp_path: Path, people: People) -> None:
    page = f"""{PAGE}<script>
    document.documentElement.requestFullscreen().then(
        () => {{ window.full = "full"; }}, (error) => {{ window.full = error.name; }});
    </script>"""
    async with framed(tmp_path, people, page) as scene:
        tab = await scene.open()
        await tab.frame.wait_for_function("window.full")
        assert await tab.frame.evaluate("window.full") == "TypeError"
        await _still_works(tab)
