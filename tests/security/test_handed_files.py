"""A hostile notebook gets public files from the page around, and nothing of another notebook.

See docs/explanation/security.md, "What notebooks of one browser share".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Frame, Request

from tests.support.browser import People
from tests.support.framed_session import ITEM, LECTURE, Framed
from tests.support.handed_files import START, handed

pytestmark = pytest.mark.full

_ASKS = """async () => {
  const ask = (more) => parent.postMessage({ mograder: "files", ...more }, "*");
  const own = document.querySelector("script[type='mograder/held']").src;
  const set = own.split("/_marimo/")[1].split("/")[0];
  const wrong = ["", "..", "../../../standing/alice/A1?x=0.25.2-0123456789abcdef", set + "/.."];
  wrong.push("//evil.example/" + set, 7, null, {}, [set], "__proto__");
  for (const each of wrong) ask({ set: each });
  const heard = [];
  addEventListener("message", ({ data }) => heard.push(data));
  ask({ set, path: "../../../", part: "../x", prefix: "//evil.example" });
  while (!heard.some((each) => each.start)) await new Promise((done) => setTimeout(done, 20));
  const [{ start }] = heard.filter((each) => each.start);
  const text = await start.text();
  return [JSON.stringify(heard.map((each) => Object.keys(each).sort())), text.slice(8, 20)];
}"""

_LEAVES = """async () => {
  const done = {};
  const attempt = async (name, act) => {
    try { done[name] = String(await act()); } catch (error) { done[name] = error.name; }
  };
  window.heard = [];
  await attempt("storage", () => localStorage.setItem("left", "behind"));
  await attempt("native storage", () => {
    const inner = document.body.appendChild(document.createElement("iframe"));
    return inner.contentWindow.localStorage.setItem("left", "behind");
  });
  await attempt("database", () => new Promise((yes, no) => {
    const asked = indexedDB.open("left");
    asked.onsuccess = () => yes("opened");
    asked.onerror = () => no(asked.error);
  }));
  await attempt("files", () => navigator.storage.getDirectory());
  await attempt("cookie", () => { document.cookie = "left=behind"; return document.cookie; });
  await attempt("shared worker", () => new Promise((yes, no) => {
    const worker = new SharedWorker("data:text/javascript,onconnect=e=>e.ports[0].postMessage(1)");
    worker.port.onmessage = () => yes("shared"); worker.onerror = () => no(new Error());
    setTimeout(() => yes("silent"), 500);
  }));
  window.channel = new BroadcastChannel("left");
  window.channel.onmessage = ({ data }) => window.heard.push(data);
  window.channel.postMessage(document.baseURI);
  await attempt("handle", () => {
    const other = window.open("", NAME);
    return other ? other.document.baseURI : "none";
  });
  await attempt("blob", () => fetch(BLOB).then((answer) => answer.text()));
  await attempt("import", () => import(BLOB).then(() => "imported"));
  await attempt("entries", () => performance.getEntries().map((each) => each.name).join(" "));
  return done;
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def scene(tmp_path: Path, people: People) -> AsyncIterator[Framed]:
    async with handed(tmp_path, people) as opened:
        yield opened


async def test_a_notebook_gets_the_files_that_everybody_may_load_and_no_other_address(
    scene: Framed,
) -> None:
    tab = await scene.open()
    asked: list[Request] = []
    tab.page.on("request", lambda request: asked.append(request))  # noqa: PLW0108
    # The page's own start has replaced nothing of the held element.
    await tab.frame.wait_for_function("window.started === 42")
    kinds, beginning = await tab.frame.evaluate(_ASKS)
    assert kinds == '[["coming","mograder"],["mograder","rest","start"]]'
    assert beginning == '{"elsewhere"'
    for request in asked:
        if request.frame == tab.page.main_frame and "/_marimo/" in request.url:
            assert request.url.endswith(f"/{START}"), request.url
            assert request.url.startswith(f"{scene.address}/s/_marimo/0.25.2-")
            assert "cookie" not in await request.all_headers()
    assert not [each.url for each in asked if "evil" in each.url or "standing" in each.url]


async def test_a_notebook_leaves_nothing_to_another_one_of_the_same_browser(
    scene: Framed,
) -> None:
    """And learns nothing of it: not its capability, no handle, no blob of its files."""
    victim = await scene.open()
    person = victim.person
    await victim.frame.wait_for_function("window.started === 42")
    hostile = await scene.show(person, f"/run/user/alice/{LECTURE}/?show-code=true")
    await hostile.frame.wait_for_function("window.started === 42")
    await victim.frame.evaluate("window.heard = []")
    await victim.frame.evaluate(
        "() => { window.kept = new BroadcastChannel('left');"
        " window.kept.onmessage = ({ data }) => window.heard.push(data); }"
    )
    name = await victim.page.locator("iframe#notebook").get_attribute("name")
    blob = await victim.frame.evaluate("window.resolved")
    script = _LEAVES.replace("NAME", f'"{name}"').replace("BLOB", f'"{blob}"')
    done: dict[str, str] = await hostile.frame.evaluate(script)
    capability = _capability(victim.frame)
    assert capability not in str(done)
    assert done["native storage"] == "SecurityError"
    assert done["database"] != "opened"
    assert done["files"] == "SecurityError"
    assert done["cookie"] in ("", "SecurityError")
    assert done["shared worker"] != "shared"
    assert done["handle"] in ("none", "SecurityError", "TypeError") or "/s/" not in done["handle"]
    assert done["blob"] == done["import"] == "TypeError"
    assert await victim.frame.evaluate("window.heard") == []
    assert await hostile.frame.evaluate("self.origin") == "null"
    again = await scene.show(person, f"/edit/user/alice/{ITEM}/")
    assert await again.frame.evaluate("localStorage.getItem('left')") is None
    kept = await again.page.evaluate("Object.keys(localStorage).filter(each => each === 'left')")
    assert kept == []


def _capability(frame: Frame) -> str:
    return frame.url.split("/s/")[1].split("/")[0]
