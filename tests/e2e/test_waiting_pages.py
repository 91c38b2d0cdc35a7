"""The pages around a session that waits, is refused, or has ended, in real Chromium.

The hub's own pages are real; the pool behind them is played, so that each state can be held.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import FilePayload, Page, Route, expect

from mograder.core.errors import Busy
from mograder.sandbox.protocol import Mode
from mograder.sessions.admission import Obstacle, place_text
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import SessionKey
from tests.support.browser import People
from tests.support.hub_app import Hub, open_hub
from tests.support.hub_copies import WORK, ask, begin
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults
from tests.support.session_proxy import served

pytestmark = pytest.mark.full

MISSING = """# /// script
# dependencies = ["no-such-package"]
# ///
import marimo
app = marimo.App()
"""


@pytest_asyncio.fixture(loop_scope="session")
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub in this process, in the loop of its browser."""
    async with open_hub(tmp_path / "course") as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="session")
async def url(hub: Hub) -> AsyncIterator[str]:
    """Where the hub of these tests is served."""
    listening = socket.create_server(("127.0.0.1", 0))
    async with served(hub.app, listening):
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest_asyncio.fixture(loop_scope="session")
async def page(people: People) -> Page:
    """A tab of alice's, on nothing yet."""
    alice = await people.person("alice", headers=from_proxy("alice"))
    return await alice.context.new_page()


_COUNT_SPOKEN = """() => {
  window.again = 0;
  const seen = new MutationObserver(() => window.again++);
  seen.observe(document.querySelector("#said"), { childList: true });
}"""


async def test_the_place_in_line_is_shown_as_it_changes_without_moving_the_page(
    hub: Hub, url: str, page: Page, artifacts: Path
) -> None:
    hub.pool.hold = asyncio.Event()
    await page.set_viewport_size({"width": 360, "height": 760})
    await page.goto(f"{url}/edit/A1")
    news, spoken = page.locator("#news"), page.locator("#said")
    await expect(news).to_have_text("Starting the notebook")
    await expect(spoken).not_to_have_text("")
    await page.evaluate(_COUNT_SPOKEN)
    back = page.get_by_role("link", name="Back to the course")
    places = [await back.bounding_box()]
    for place in (112, 9, 1):
        text = place_text(place, Obstacle.MEMORY)
        hub.pool.say(text)
        await expect(news).to_have_text(text)
        places.append(await back.bounding_box())
    assert all(each == places[0] for each in places)
    again, since = await page.evaluate("[window.again, performance.now()]")
    assert again <= since // 10_000, "a line that moves is not read out each time"
    assert await faults(page, artifacts, "line", EVERY_LOOK, axe=False) == []
    hub.pool.hold.set()
    await page.wait_for_url("**/edit/user/alice/A1/")


async def test_a_full_hub_is_told_and_tried_again_by_itself(
    hub: Hub, url: str, page: Page, artifacts: Path
) -> None:
    hub.pool.failure = Busy("Too many notebooks are starting.", retry_after=2)
    await page.goto(f"{url}/edit/A1")
    await expect(page.get_by_role("alert")).to_contain_text("Too many notebooks are starting.")
    await expect(page.locator("#countdown")).to_contain_text("Trying again in")
    assert await faults(page, artifacts, "busy", EVERY_LOOK, axe=False) == []
    hub.pool.failure = None
    await page.wait_for_url("**/edit/user/alice/A1/")


async def test_what_the_student_should_read_first_is_told_until_a_click(
    url: str, page: Page
) -> None:
    async def started(route: Route) -> None:
        done = {"event": "done", "url": "edit/user/alice/A1/", "note": "It was copied anew."}
        told = {"event": "progress", "message": "Starting the editor"}
        await route.fulfill(body="".join(json.dumps(each) + "\n" for each in (told, done)))

    await page.route("**/start-edit-deep/A1", started)
    await page.route("**/edit/user/alice/A1/", lambda route: route.fulfill(body="there"))
    await page.add_init_script("window.setTimeout = () => 0")  # only a click leads on
    await page.goto(f"{url}/edit/A1")
    await expect(page.locator("#news")).to_have_text("It was copied anew.")
    async with page.expect_navigation(url="**/edit/user/alice/A1/"):
        await page.locator("#news").click()


async def test_a_release_too_large_for_the_hub_is_not_sent_by_the_page(
    url: str, people: People
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.context.new_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    await page.goto(f"{url}/course/items")
    form = page.locator("#publish")
    for name, limit, told in (("mostMb", "0.5", "0.5 MB"), ("mostFiles", "0", "0 files")):
        await form.evaluate(
            "(form, [name, limit]) => { form.dataset[name] = limit; }", [name, limit]
        )
        large = FilePayload(name="A9.py", mimeType="text/x-python", buffer=b"#" * 2_000_000)
        await page.locator("#files").set_input_files(large)
        await form.get_by_role("button", name="Publish").click()
        await expect(page.locator("#news")).to_contain_text(told)
        await expect(page.locator("#news")).to_contain_text("Nothing was sent.")
        await form.evaluate("form => { form.dataset.mostMb = form.dataset.mostFiles = '100'; }")
    assert not [each for each in sent if "/publish/" in each]


_DROP = """([form, trouble]) => {
  const found = new File([], "A9.py");
  const file = (done, failed) => (trouble ? failed(new Error(trouble)) : done(found));
  const items = [{ webkitGetAsEntry: () => ({ isFile: true, name: "A9.py", file }) }];
  form.dispatchEvent(Object.assign(new Event("drop"), { dataTransfer: { items } }));
}"""


async def test_a_folder_that_cannot_be_read_is_told_and_takes_the_place_of_the_one_before(
    url: str, people: People
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{url}/course/items")
    form, dropped = await page.locator("#publish").element_handle(), page.locator("#dropped")
    await page.evaluate(_DROP, [form, ""])
    await expect(dropped).to_contain_text("1: A9.py")
    await page.evaluate(_DROP, [form, "permission denied"])
    await expect(page.locator("#news")).to_have_text("It could not be read: permission denied")
    await expect(dropped).to_contain_text("Or drop a folder here.")


async def test_who_does_not_want_to_wait_presses_a_button(hub: Hub, url: str, page: Page) -> None:
    hub.pool.failure = Busy("Too many notebooks are starting.", retry_after=600)
    await page.goto(f"{url}/edit/A1")
    await expect(page.get_by_role("alert")).to_be_visible()
    hub.pool.failure = None
    await page.get_by_role("button", name="Try now").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/edit/user/alice/A1/")


async def test_a_front_that_is_full_counts_as_a_full_hub(url: str, page: Page) -> None:
    async def full(route: Route) -> None:
        await route.fulfill(status=503, headers={"Retry-After": "600"}, body="<h1>503</h1>")

    await page.route("**/start-edit-deep/A1", full)
    await page.goto(f"{url}/edit/A1")
    await expect(page.get_by_role("alert")).to_contain_text("The hub answered 503")
    await expect(page.get_by_role("button", name="Try now")).to_be_visible()


@pytest.mark.parametrize("status", [0, 502])
@pytest.mark.parametrize("path", ["s/probe", "start-edit-deep/A1"])
async def test_a_hub_that_restarts_is_waited_for(
    url: str, page: Page, path: str, status: int
) -> None:
    """No answer, and that of the web server in front, are no reason to give up."""

    async def away(route: Route) -> None:
        await (route.fulfill(status=status, body="<h1>502</h1>") if status else route.abort())

    await page.route(f"**/{path}", away, times=1)
    await page.goto(f"{url}/edit/A1")
    await expect(page.locator("#countdown")).to_contain_text("Trying again in")
    await expect(page.locator("#front")).to_be_hidden()
    await page.get_by_role("button", name="Try now").click()
    await page.wait_for_url("**/edit/user/alice/A1/")


async def test_the_page_that_starts_again_says_why_it_has_to(
    hub: Hub, url: str, page: Page, artifacts: Path
) -> None:
    hub.end("alice", "A1", EndReason.MEMORY)
    hub.pool.hold = asyncio.Event()
    await page.goto(f"{url}/edit/A1")
    await expect(page.locator("#before")).to_contain_text("used too much memory")
    await expect(page.locator("#news")).to_have_text("Starting the notebook")
    assert await faults(page, artifacts, "before", EVERY_LOOK, axe=False) == []
    hub.pool.hold.set()
    await page.wait_for_url("**/edit/user/alice/A1/")


async def test_the_first_page_tells_what_ended_and_opens_it_again_by_keyboard(
    hub: Hub, url: str, page: Page, artifacts: Path
) -> None:
    hub.start("alice", "A2")
    hub.end("alice", "A1", EndReason.IDLE)
    hub.end("alice", "L01", EndReason.PROCESSES, Mode.RUN)
    await page.goto(f"{url}/")
    panel = page.locator("#sessions")
    await expect(panel).to_contain_text("closed because nobody used it")
    await expect(panel).to_contain_text("too many processes")
    assert await faults(page, artifacts, "home", EVERY_LOOK, axe=False) == []
    await page.get_by_role("link", name="Open again A1").focus()
    async with page.context.expect_page() as opened:
        await page.keyboard.press("Enter")
    editor = await opened.value
    await editor.wait_for_url("**/edit/user/alice/A1/")
    await page.reload()
    await expect(panel).not_to_contain_text("closed because nobody used it")


async def test_a_form_tells_what_its_work_does_and_leads_on(
    hub: Hub, url: str, page: Page, artifacts: Path
) -> None:
    await begin(hub)
    hub.runs.hold = asyncio.Event()
    await page.goto(f"{url}/validation/alice/A1")
    await page.get_by_role("button", name="Validate", exact=True).focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("…")
    await hub.runs.reached.wait()
    assert await faults(page, artifacts, "form", EVERY_LOOK, axe=False) == []
    hub.runs.hold.set()
    await expect(page.get_by_role("button", name="Validate again")).to_be_visible()


async def test_a_form_that_was_answered_with_a_file_can_be_sent_with_another_button_at_once(
    url: str, people: People
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{url}/course/people")
    names = page.get_by_label("Who gets a link that signs in once")
    await names.fill("alice")
    async with page.expect_download():
        await page.get_by_role("button", name="Make them as a CSV file").click()
    await names.fill("alice\nbob")
    await page.get_by_role("button", name="Make the links").click()
    await expect(page.get_by_role("main")).to_contain_text("2 links were made.")


async def test_the_first_page_is_left_when_its_reader_may_not_see_it_any_more(
    hub: Hub, url: str, page: Page
) -> None:
    look = "document.dispatchEvent(new Event('visibilitychange'))"
    await page.goto(f"{url}/")
    allowed = hub.course / "allowed_users.txt"
    allowed.write_text("bob\n")
    await page.evaluate(look)
    await expect(page.get_by_role("heading", name="Access Restricted")).to_be_visible()
    allowed.unlink()
    await page.goto(f"{url}/")
    await page.context.set_extra_http_headers({})
    await page.context.clear_cookies()
    await page.evaluate(look)
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    await expect(page.get_by_text("Your notebooks")).to_have_count(0)


async def test_news_leave_what_a_reader_has_opened_as_it_is(
    hub: Hub, url: str, people: People
) -> None:
    hub.publish("B1", files={"B1.py": MISSING.encode()})
    await ask(hub, "POST", "/warm-cache", "prof")
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.context.new_page()
    async with page.expect_response("**/events?*"):
        await page.goto(f"{url}/course/items")
    summary = page.get_by_text("What the installer said")
    await summary.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("No solution found")).to_be_visible()
    async with page.expect_response(f"{url}/course/items"):
        hub.pool.on_change(SessionKey("alice", "A1", Mode.EDIT))
    await page.wait_for_timeout(300)
    await expect(page.get_by_text("No solution found")).to_be_visible()
    await expect(summary).to_be_focused()


async def test_news_leave_a_form_at_work_and_what_it_tells(
    hub: Hub, url: str, people: People
) -> None:
    await begin(hub)
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.context.new_page()
    await page.goto(f"{url}/course/students/alice")
    asked, late = asyncio.Event(), asyncio.Event()

    async def refuse(route: Route) -> None:
        asked.set()
        await late.wait()
        await route.fulfill(status=503, json={"detail": "Too many are validated."})

    async def look_again() -> None:
        async with page.expect_response(f"{url}/course/students/alice"):
            await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await page.wait_for_timeout(300)

    await page.route("**/validate/alice/A1", refuse)
    validate = page.get_by_role("button", name="Validate")
    await validate.click()
    await asked.wait()
    await look_again()
    await expect(validate).to_have_attribute("aria-disabled", "true")
    late.set()
    for _ in range(2):
        await expect(page.get_by_text("Too many are validated.")).to_be_visible()
        await look_again()


async def test_news_do_not_let_a_validation_be_begun_a_second_time(
    hub: Hub, url: str, page: Page
) -> None:
    await begin(hub)
    hub.runs.hold = asyncio.Event()
    async with page.expect_response("**/events?*"):
        await page.goto(f"{url}/")
    validate = page.get_by_role("button", name="Validate A1")
    await validate.click()
    await hub.runs.reached.wait()
    hub.publish("B1")
    hub.pool.on_change(SessionKey("alice", "A1", Mode.EDIT))
    await expect(page.get_by_role("button", name="Download B1")).to_be_visible()
    await expect(validate).to_have_attribute("aria-disabled", "true")
    hub.runs.hold.set()
    await expect(page.get_by_role("button", name="Close")).to_be_visible()
    await expect(validate).not_to_have_attribute("aria-disabled", "true")


async def test_a_page_is_not_asked_for_again_while_its_form_is_at_work(
    hub: Hub, url: str, page: Page
) -> None:
    await begin(hub)
    hub.runs.hold = asyncio.Event()

    async def often(route: Route) -> None:
        """As the student's dashboard while it asks the server."""
        text = await (await route.fetch()).text()
        text = text.replace("<main ", '<main data-again="3" ', 1)
        script = re.sub(r'(<script [^>]*/)work.js("></script>)', r"\1work.js\2\1again.js\2", text)
        await route.fulfill(body=script, content_type="text/html")

    await page.route(f"{url}/validation/alice/A1", often, times=1)
    await page.goto(f"{url}/validation/alice/A1")
    await page.get_by_role("button", name="Validate", exact=True).click()
    await hub.runs.reached.wait()
    await page.evaluate("window.stayed = true")
    await page.wait_for_timeout(4500)
    assert await page.evaluate("window.stayed") is True
    hub.runs.hold.set()
    await expect(page.get_by_role("button", name="Validate again")).to_be_visible()


async def test_a_form_tells_why_its_work_failed_and_can_be_pressed_again(
    hub: Hub, url: str, page: Page
) -> None:
    notebook = await begin(hub)
    await page.goto(f"{url}/validation/alice/A1")
    notebook.unlink()
    validate = page.get_by_role("button", name="Validate", exact=True)
    await validate.click()
    await expect(page.get_by_role("status")).to_have_text("Notebook not found")
    notebook.write_text(WORK)
    await validate.click()
    await expect(page.get_by_role("button", name="Validate again")).to_be_visible()
