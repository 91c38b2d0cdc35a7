"""What the page around a notebook in the browser alone keeps and sends; its frame runs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Dialog, Page, Route, expect

from mograder.core.names import ItemName
from mograder.store.assignment_server.browser_pages import BrowserPage, BrowserPages
from tests.e2e.test_journey import until
from tests.support.browser import People, Person, notebook, wait_in_page
from tests.support.browser_alone import answering, open_item, saved, sign_in
from tests.support.served_course import CODE, HOMEWORK, Course, make_course, serving_course

pytestmark = pytest.mark.full

FRAME = b"""<!doctype html><script>
let text = "";
const tell = (kind, more) => parent.postMessage({ mograder: kind, ...more }, "*");
const type = (more) => tell("text", { text: (text += more) });
addEventListener("message", ({ data }) => {
  if (data.mograder === "open") {
    text = data.text;
    window.opened = true;
  }
  if (data.mograder === "save") tell("text", { text });
});
tell("ready", { protocol: 1 });
</script>"""
FULL_DISK = """
const put = IDBObjectStore.prototype.put;
IDBObjectStore.prototype.put = function (...given) {
  if (window.full) throw new DOMException("The disk is full", "QuotaExceededError");
  return put.apply(this, given);
};
"""
WRITTEN = """
const put = IDBObjectStore.prototype.put;
window.written = [];
IDBObjectStore.prototype.put = function (value, ...given) {
  window.written.push(JSON.stringify(value).includes('"data.csv"'));
  return put.call(this, value, ...given);
};
"""
"""Notes of each value that is written to the browser's disk whether it has the item's files."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Course]:
    """A course whose item has a page with that frame."""
    root = make_course(tmp_path / "course")
    pages = BrowserPages(root)
    frame = f"{pages.add('frame', {'index.html': FRAME})}/index.html"
    about = BrowserPage(
        protocol=1, frame=frame, notebook="homework.py", marimo="1", pyodide="2", first=(frame,)
    )
    pages.save(ItemName.parse("hw1"), about)
    with serving_course(root, web=True) as course:
        yield course


async def open_as_alice(person: Person, served: Course) -> Page:
    """Open the item's page in a new tab, and sign in as alice."""
    page = await open_item(person, served)
    await sign_in(page, "alice")
    return page


async def lose_answer(route: Route) -> None:
    """Let a request reach the server, and the browser get no answer."""
    await route.fetch()
    await route.abort()


async def write(page: Page, text: str) -> None:
    """Have the frame save some more text."""
    frame = await notebook(page)
    await wait_in_page(frame, "window.opened")  # the page around has handed in the text before
    await frame.evaluate("more => type(more)", text)


def handed_in(served: Course) -> str:
    return (served.root / "submitted" / "hw1" / "alice.py").read_text()


async def test_a_browser_whose_disk_is_full_still_saves_on_the_server_and_submits(
    served: Course, people: People
) -> None:
    person = await people.person("alice")
    await person.context.add_init_script(FULL_DISK)
    page = await open_as_alice(person, served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    await page.evaluate("window.full = true")
    await write(page, "# two\n")
    await saved(page, "on the server")
    draft = served.root / ".mograder" / "drafts" / "hw1" / "alice.json"
    assert "# two" in json.loads(draft.read_text())["text"]
    await expect(page.locator("#said")).to_contain_text("This browser cannot keep your work")
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("Submitted")
    assert "# two" in handed_in(served)


async def test_a_text_that_is_too_large_for_a_draft_is_kept_and_submitted(
    served: Course, people: People
) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, f"# {'x' * 5_000_000}\n")
    await saved(page, "in this browser")
    said = page.locator("#said")
    await expect(said).to_have_text(
        "The server did not take the draft: The body may have at most 4 MB. "
        "It is kept in this browser."
    )
    await page.reload()
    await saved(page, "in this browser")
    await page.click("#submit")
    await expect(said).to_contain_text("Submitted")
    assert len(handed_in(served)) > 5_000_000


async def test_a_text_that_is_too_large_to_be_opened_again_is_told_until_it_is_shorter(
    served: Course, people: People
) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    said, frame = page.locator("#said"), await notebook(page)
    await frame.evaluate("tell('text', { text: 'x'.repeat(16_000_001) })")
    await expect(said).to_contain_text("at most 16 MB, so what you typed last is not saved.")
    await expect(page.locator("#saved")).to_have_text("Not saved yet…")
    await write(page, "")
    await saved(page, "in this browser and on the server")
    await expect(said).to_have_text("")


async def test_of_two_versions_the_other_one_is_downloaded_where_the_disk_is_full(
    served: Course, people: People
) -> None:
    person = await people.person("alice")
    await person.context.add_init_script(FULL_DISK)
    page, other = await open_item(person, served), await open_item(await people.person("a"), served)
    for tab, text in ((page, "# one\n"), (other, "# other\n")):
        await sign_in(tab, "alice")
        await write(tab, text)
        await saved(tab, "in this browser and on the server")
    await page.evaluate("window.full = true")
    await write(page, "# mine\n")
    async with page.expect_download() as began:
        await page.click("#keep-mine")
    assert "# other" in (await (await began.value).path()).read_text()
    await expect(page.locator("#choice")).to_be_hidden()
    await saved(page, "on the server")
    draft = served.root / ".mograder" / "drafts" / "hw1" / "alice.json"
    assert "# mine" in json.loads(draft.read_text())["text"]


async def test_the_items_files_are_not_written_with_each_text(
    served: Course, people: People
) -> None:
    person = await people.person("alice")
    await person.context.add_init_script(WRITTEN)
    page = await open_as_alice(person, served)
    for text in ("# one\n", "# two\n"):
        await write(page, text)
        await saved(page, "in this browser and on the server")
    written = await page.evaluate("written")
    assert (written.count(True), written.count(False) > 2) == (1, True)


async def test_a_newer_release_is_opened_unless_the_notebook_was_edited(
    served: Course, people: People
) -> None:
    person, first, second = await people.person("alice"), b"# first\n", b"# second\n"
    release = served.root / "hw1" / "files" / "homework.py"
    page = await open_as_alice(person, served)
    await opened_with(page, HOMEWORK.decode())
    release.write_bytes(HOMEWORK + first)
    await page.reload()
    await opened_with(page, (HOMEWORK + first).decode())
    await write(page, "# mine\n")
    await saved(page, "in this browser and on the server")
    release.write_bytes(HOMEWORK + second)
    await page.reload()
    await opened_with(page, (HOMEWORK + first).decode() + "# mine\n")
    await page.click("#standing")
    async with page.expect_download() as began:
        await page.get_by_role("button", name="as it is handed out now").click()
    assert (await (await began.value).path()).read_bytes() == HOMEWORK + second


async def opened_with(page: Page, text: str) -> None:
    """Wait until the frame has been opened, and check with which text."""
    frame = await notebook(page)
    await wait_in_page(frame, "window.opened")
    assert await frame.evaluate("text") == text


async def test_what_is_not_saved_yet_is_told_before_the_text_before_it_is_submitted(
    served: Course, people: People
) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    # marimo does not save while Python starts
    await (await notebook(page)).evaluate("() => { text = ''; tell('editing'); }")
    asked = answering(page, Dialog.dismiss)
    await page.click("#submit")
    await expect(page.locator("#said")).to_have_text("Not submitted.")
    assert asked == ["What you typed last is not saved yet. Submit what was saved before?"]
    assert not (served.root / "submitted" / "hw1").exists()


async def test_who_signs_out_is_told_of_a_submission_that_is_not_sent(
    served: Course, people: People
) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    await page.route("**/submit?*", lambda route: route.abort())
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("no connection")
    asked = answering(page, Dialog.dismiss)
    await page.click("#sign-out")
    await expect(page.locator("#submit")).to_be_visible()
    [message] = asked
    assert message.startswith("A submission is not on the server yet.")


async def test_the_token_is_shown_and_named_before_it_is_forgotten(
    served: Course, people: People
) -> None:
    """Who joined by the code was given it nowhere else, and gets it only once."""
    page = await open_item(await people.person("alice"), served)
    await page.fill("#name", "joined")
    await page.fill("#code", CODE)
    await page.click("#sign-in button")
    await page.click("#standing")
    await page.click("#panel summary")
    token = await page.inner_text("#panel details pre")
    assert token.startswith("joined:")
    asked = answering(page, Dialog.accept)
    await page.click("#sign-out")
    await expect(page.locator("#token")).to_be_visible()
    [message] = asked
    assert token in message
    await page.fill("#token", token)
    await page.click("#sign-in button")
    await expect(page.locator("#submit")).to_be_visible()


async def test_the_status_and_what_was_said_follow_what_is_typed(
    served: Course, people: People
) -> None:
    """An open panel went on calling the submitted text the one on the page."""
    page = await open_as_alice(await people.person("alice"), served)
    said, panel = page.locator("#said"), page.locator("#panel")
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    await page.click("#standing")
    await expect(panel).to_contain_text("Nothing was submitted yet.")
    await page.click("#submit")
    await expect(said).to_contain_text("Submitted")
    await expect(panel).to_contain_text(": this text.")
    await write(page, "# two\n")
    await expect(panel).to_contain_text(": another version than the text here.")
    await expect(said).to_have_text("")
    await page.click("#submit")
    await expect(said).to_contain_text("Submitted")
    await said.click()
    await expect(said).to_have_text("")


async def test_a_trouble_is_told_until_it_is_over(served: Course, people: People) -> None:
    person = await people.person("alice")
    page = await open_as_alice(person, served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    refused, read = False, asyncio.Event()

    async def refuse_once(route: Route) -> None:
        nonlocal refused
        if not refused:
            refused = True
            await route.fulfill(status=502)
            return
        await read.wait()  # the page tries again every 15 s, which may be at once
        await route.continue_()

    await page.route("**/draft?*", refuse_once)
    await write(page, "# two\n")
    said = page.locator("#said")
    await expect(said).to_contain_text("The server did not take the draft")
    read.set()
    await saved(page, "in this browser and on the server")
    await expect(said).to_have_text("")
    server = re.compile("/assignments")
    await page.route(server, lambda route: route.abort())
    await page.reload()
    await expect(said).to_contain_text("No connection.")
    await page.unroute(server)
    await expect(said).to_have_text("")


async def test_a_notebook_opens_with_a_busy_server_as_without_one(
    served: Course, people: People
) -> None:
    page = await open_item(await people.person("alice"), served)
    said, server = page.locator("#said"), re.compile("/assignments")

    async def busy(route: Route) -> None:
        await route.fulfill(status=503, json={"error": "Try again later."})

    await page.route(server, busy)
    await sign_in(page, "alice")
    await expect(said).to_have_text("Try again later. Load this page again.")
    await page.unroute(server)
    await page.reload()
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    await page.route("**/status?*", busy)
    await page.reload()
    await expect(page.locator("#submit")).to_be_visible()
    await expect(said).to_contain_text("No connection.")
    await write(page, "# two\n")
    await saved(page, "in this browser and on the server")


@pytest.mark.parametrize("status", [200, 404])
async def test_a_submission_that_waits_outlives_what_another_program_answers(
    served: Course, people: People, status: int
) -> None:
    """A front asks for a login, or is being mended."""
    person = await people.person("alice")
    page = await open_as_alice(person, served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    server = re.compile("/assignments")

    async def other(route: Route) -> None:
        await route.fulfill(status=status, content_type="text/html", body="<h1>Later</h1>")

    await page.route(server, other)
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("Not submitted")
    # Closed while it cannot send: it tries again every 15 s, and the next page would have nothing.
    await page.close()
    page = await open_item(person, served)
    await expect(page.locator("#said")).to_contain_text("Submitted")
    assert "# one" in handed_in(served)


async def test_a_submission_waits_while_its_item_is_hidden(served: Course, people: People) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")

    async def hidden(route: Route) -> None:
        await route.fulfill(status=404, json={"error": "Not available"})

    await page.route("**/status?*", hidden)
    await page.click("#submit")
    await expect(page.locator("#said")).to_have_text("Not submitted: Not available")
    await page.unroute("**/status?*")
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator("#said")).to_contain_text("Submitted")
    assert "# one" in handed_in(served)


async def test_an_older_submission_that_waited_is_set_aside_for_newer_work_from_elsewhere(
    served: Course, people: People
) -> None:
    person = await people.person("alice")
    page = await open_as_alice(person, served)
    await submit_without_connection(page)
    await page.close()
    other = await open_as_alice(await people.person("a"), served)
    await write(other, "# two\n")
    await other.click("#submit")
    await expect(other.locator("#said")).to_contain_text("Submitted")
    page = await open_item(person, served)
    await expect(page.locator("#said")).to_contain_text("set aside, and is not sent")
    await page.evaluate("dispatchEvent(new Event('online'))")
    await page.click("#standing")
    await expect(page.locator("#panel")).to_contain_text(": this text.")
    async with page.expect_download() as began:
        await page.locator("#panel").get_by_role("button", name="Download").click()
    kept = (await (await began.value).path()).read_text()
    assert ("# one" in kept, "# two" in kept) == (True, False)
    assert "# two" in handed_in(served)


async def test_a_submission_that_waited_is_sent_where_only_a_drafts_answer_was_lost(
    served: Course, people: People
) -> None:
    person = await people.person("alice")
    page = await open_as_alice(person, served)
    await submit_without_connection(page)

    await page.route("**/draft?*", lose_answer)
    await write(page, "# two\n")
    await expect(page.locator("#said")).to_contain_text("No connection.")
    await saved(page, "in this browser")
    await page.close()
    page = await open_item(person, served)
    await expect(page.locator("#said")).to_contain_text("Submitted")
    assert ("# one" in handed_in(served), "# two" in handed_in(served)) == (True, False)


async def test_what_is_typed_after_the_answer_to_a_draft_was_lost_is_saved_without_a_question(
    served: Course, people: People
) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    await page.route("**/draft?*", lose_answer, times=1)
    await write(page, "# two\n")
    await expect(page.locator("#said")).to_contain_text("No connection.")
    await write(page, "# three\n")
    await saved(page, "in this browser and on the server")
    await expect(page.locator("#choice")).to_be_hidden()
    draft = served.root / ".mograder" / "drafts" / "hw1" / "alice.json"
    assert "# three" in json.loads(draft.read_text())["text"]


async def test_a_text_that_the_server_refuses_is_not_sent_in_the_place_of_a_newer_one(
    served: Course, people: People
) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    refused = {"error": "This text is too long."}
    await page.route("**/draft?*", lambda route: route.fulfill(status=413, json=refused), times=1)
    await write(page, "# two\n")
    await expect(page.locator("#said")).to_contain_text("This text is too long.")
    async with page.expect_request(lambda each: each.method == "PUT") as sent:
        await write(page, "# three\n")
    assert "# three" in str((await sent.value).post_data)


async def test_a_browser_that_keeps_nothing_is_told_what_to_do(
    served: Course, people: People
) -> None:
    person = await people.person("alice")
    await person.context.add_init_script("""
        IDBFactory.prototype.open = () => {
            throw new DOMException("The operation is insecure.", "SecurityError");
        };
    """)
    page = await open_item(person, served)
    said = page.locator("#said")
    await expect(said).to_contain_text("Allow it to keep data of this address")
    await expect(page.locator("#sign-in")).to_be_hidden()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_an_older_draft_of_a_restored_server_replaces_nothing_without_a_question(
    served: Course, people: People, elsewhere: bool
) -> None:
    """Nor if the clocks disagree, or another computer has saved on it first."""
    person = await people.person("alice")
    page = await open_as_alice(person, served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    draft = served.root / ".mograder" / "drafts" / "hw1" / "alice.json"
    older = json.loads(draft.read_bytes())
    await write(page, "# two\n")
    await until(lambda: "# two" in draft.read_text())
    await saved(page, "in this browser and on the server")  # it has heard that, too
    await page.close()
    if elsewhere:
        older.update(version=older["version"] + 1, text="# three\n")
    draft.write_text(json.dumps({**older, "saved": "2100-01-01T00:00:00Z"}))
    page = await open_item(person, served)
    await expect(page.locator("#choice")).to_be_visible()
    await page.click("#keep-mine")
    await until(lambda: "# two" in draft.read_text())


async def submit_without_connection(page: Page) -> None:
    """Write a text that the server gets as a draft, and submit it in vain."""
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    await page.route("**/submit?*", lambda route: route.abort())
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("no connection")


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("„alice:00“", "characters that no token has"),
        ("alice:00", "The server does not take this token."),
        ("", "Give your token, or your name and the course's code."),
    ],
)
async def test_a_token_that_is_none_is_told_as_such(
    served: Course, people: People, token: str, told: str
) -> None:
    page = await open_item(await people.person("alice"), served)
    await page.fill("#token", token)
    await page.click("#sign-in button")
    await expect(page.locator("#refused")).to_contain_text(told)


async def test_a_name_whose_answer_was_lost_is_registered_by_the_next_try(
    served: Course, people: People
) -> None:
    page = await open_item(await people.person("nora"), served)

    async def join() -> None:
        await page.fill("#name", "nora")
        await page.fill("#code", CODE)
        await page.click("#sign-in button")

    await page.route("**/register", lose_answer)
    await join()
    await expect(page.locator("#refused")).to_contain_text("cannot be reached")
    await page.unroute("**/register")
    await page.reload()
    await join()
    await expect(page.locator("#submit")).to_be_visible()


async def test_a_submission_waits_for_a_person_whose_token_is_void(
    served: Course, people: People
) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    await write(page, "# one\n")
    await saved(page, "in this browser and on the server")
    server = re.compile("/assignments")

    async def refuse(route: Route) -> None:
        await route.fulfill(status=401, json={"error": "Authentication required"})

    await page.route(server, refuse)
    said = page.locator("#said")
    await write(page, "# two\n")
    await expect(said).to_contain_text("load this page again to sign in")
    await page.click("#submit")
    await expect(said).to_contain_text("Not submitted yet. Your sign-in is no longer valid")
    await page.reload()
    await expect(page.locator("#sign-in")).to_be_visible()
    await page.unroute(server)
    await sign_in(page, "alice")
    await expect(said).to_contain_text("Submitted")
    assert "# two" in handed_in(served)


async def test_what_is_submitted_while_an_older_text_is_being_sent_comes_after_it(
    served: Course, people: People
) -> None:
    person = await people.person("alice")
    page = await open_as_alice(person, served)
    await write(page, "# one\n")
    await person.context.set_offline(True)
    await page.click("#submit")
    await expect(page.locator("#said")).to_contain_text("no connection")
    begun, answered = 0, [asyncio.Event(), asyncio.Event()]

    async def slow(route: Route) -> None:
        nonlocal begun
        mine, begun = begun, begun + 1
        if mine == 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(answered[1].wait(), 6)
        await route.fulfill(response=await route.fetch())
        answered[mine].set()

    await page.route("**/submit?*", slow)
    async with page.expect_request("**/submit?*", timeout=60_000):
        await person.context.set_offline(False)
    await write(page, "# two\n")
    await page.click("#submit")
    for each in answered:
        await asyncio.wait_for(each.wait(), 60)
    await expect(page.locator("#submit")).to_be_enabled()
    await expect(page.locator("#said")).to_contain_text("Submitted")
    assert "# two" in handed_in(served)


async def test_feedback_that_cannot_be_downloaded_is_told(served: Course, people: People) -> None:
    page = await open_as_alice(await people.person("alice"), served)
    feedback = served.root / "hw1" / "feedback" / "alice.html"
    feedback.parent.mkdir(exist_ok=True)
    feedback.write_text("<p>Your feedback</p>")
    await page.click("#standing")
    await page.route("**/feedback/*", lambda route: route.abort())
    await page.get_by_role("button", name="Download the feedback").click()
    await expect(page.locator("#panel")).to_contain_text("It was not downloaded: ")
