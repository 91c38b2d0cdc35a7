"""The hub's pages as HTML: their texts and restrictions (B52, B53, B58, B60, B61, B66-B68)."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from mograder.core.errors import Busy
from mograder.core.names import INSTRUCTOR
from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import EndReason
from mograder.store.releases.releases import ItemKind
from mograder.web.hub.app import ROUTES
from tests.support.hub_app import NOTEBOOK, ORIGIN, Hub, HubOf
from tests.support.hub_copies import ask, begin, folder, press, read, see

PAGES = ["/", "/edit/A1", "/run/L01", "/login", "/login/link?code=" + "x" * 30, "/api/docs", "/zz"]


async def test_somebody_not_signed_in_reads_how_to_sign_in(hub: Hub) -> None:
    page = await see(hub, "/", user="")
    assert page.status_code == 200
    assert "Numerics" in page.text
    assert 'href="/login"' in page.text
    assert "A1" not in page.text


async def test_a_browser_that_is_not_signed_in_is_sent_to_the_login_page(hub: Hub) -> None:
    page = await see(hub, "/edit/A1?from=moodle", user="")
    assert page.status_code == 303
    assert page.headers["location"] == "/login?next=/edit/A1%3Ffrom%3Dmoodle"


async def test_a_form_after_the_login_has_ended_says_so(hub: Hub) -> None:
    page = await press(hub, "/download/A1", user="")
    assert page.status_code == 403
    assert "Please sign in again" in page.text


async def test_b52_b53_assignments_have_download_and_edit_in_a_new_tab(hub: Hub) -> None:
    text = await read(hub, "/")
    assert '<form method="post" action="/download/A1">' in text
    assert 'href="/edit/A1" target="_blank" rel="noopener"' in text
    assert "not started" in text


def not_published(text: str) -> str:
    """The part of the first page about items that are not offered any more; "" without one."""
    part = text[text.index('<section class="part" id="earlier"') :].partition("</section>")[0]
    return "" if part.partition(">")[0].endswith("hidden") else part


async def test_work_on_an_item_that_is_not_published_any_more_is_reached(hub_of: HubOf) -> None:
    hub = hub_of("[hub]\ncollect = true\n", "A1", "A2")
    await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    assert not_published(await read(hub, "/")) == ""
    shutil.rmtree(hub.course / "hub-release" / "A1")
    part = not_published(await read(hub, "/"))
    assert "<h3>A1</h3>" in part
    assert "<strong>Handed in</strong>" in part
    links = re.findall(r'href="([^"]+)"', part)
    assert links == ["/versions/alice/A1", "/export/alice/A1", "/submissions/alice/A1"]
    for each in links:
        assert (await see(hub, each)).status_code == 200
    assert not_published(await read(hub, "/", "bob")) == ""
    assert not_published(await read(hub, "/?as=student", INSTRUCTOR)) == ""
    (folder(hub) / "A1.py").unlink()
    part = not_published(await read(hub, "/"))
    assert re.findall(r'href="([^"]+)"', part) == ["/versions/alice/A1", "/submissions/alice/A1"]


async def test_work_on_an_item_that_is_a_lecture_now_is_reached(hub: Hub) -> None:
    notebook = await begin(hub)
    shutil.rmtree(hub.course / "hub-release" / "A1")
    hub.publish("A1", ItemKind.LECTURE)
    assert "a lecture now" in not_published(await read(hub, "/"))
    notebook.with_name(".uploaded").touch()
    assert not_published(await read(hub, "/")) == "", "nothing was changed in it"


async def test_opening_a_copy_of_an_item_that_is_not_published_any_more_says_so(hub: Hub) -> None:
    await begin(hub)
    shutil.rmtree(hub.course / "hub-release" / "A1")
    for path in ("/start-edit-deep/A1", "/download/A1"):
        told = (await ask(hub, "POST", path)).json()["detail"]
        assert told.startswith("Not available: A1 is not published any more. Your notebook is kept")
        assert (await ask(hub, "POST", path, "bob")).json()["detail"] == "Assignment not found"


async def test_a_notebook_that_is_gone_is_reached_under_versions_and_copied_anew(hub: Hub) -> None:
    """marimo's panel of files can remove it, or give it another name."""
    told = "What you had is under Versions"
    assert told not in await read(hub, "/")
    (await begin(hub)).unlink()
    text = await read(hub, "/")
    assert told in text
    assert 'href="/versions/alice/A1"' in text
    assert 'href="/export/alice/A1"' not in text
    assert (await see(hub, "/versions/alice/A1")).status_code == 200
    done = (await press(hub, "/download/A1")).headers["location"]
    assert done == "/?done=downloaded-anew&item=A1"
    assert "A1 was copied anew." in await read(hub, done)
    assert told not in await read(hub, "/")
    (folder(hub) / "A1.py").unlink()
    for way in ("/download/A1", "/start-edit-deep/A1"):
        (folder(hub) / "A1.py").unlink(missing_ok=True)
        note = (await ask(hub, "POST", way)).json()["note"]
        assert note.endswith("copied anew. What was saved before is kept under Versions.")
    assert (await ask(hub, "POST", "/download/A1")).json() == {"status": "ok"}


async def test_b60_b61_lectures_come_below_with_run(hub: Hub) -> None:
    text = await read(hub, "/")
    assert text.index(">Assignments") < text.index(">Lectures")
    assert 'href="/run/L01" target="_blank" rel="noopener"' in text
    assert "D1" not in text


async def test_b52_download_makes_a_copy_and_comes_back(hub: Hub) -> None:
    response = await press(hub, "/download/A1")
    assert response.headers["location"] == "/?done=downloaded&item=A1"
    text = await read(hub, "/")
    assert "downloaded" in text
    assert 'action="/download/A1"' not in text
    assert (hub.course / "hub-notebooks" / "alice" / "A1" / "A1.py").is_file()


async def test_b58_active_editors_can_be_reopened_and_stopped(hub: Hub) -> None:
    hub.start("alice", "A1")
    hub.start("alice", "L01", Mode.RUN)
    hub.start("bob", "A2")
    text = await read(hub, "/")
    assert 'href="/edit/user/alice/A1/" target="_blank" rel="noopener"' in text
    assert 'action="/stop-edit/alice/A1?mode=edit"' in text
    assert 'action="/stop-edit/alice/L01?mode=run"' in text
    assert "bob" not in text


async def test_b58_stop_works_as_a_plain_form(hub: Hub) -> None:
    hub.start("alice", "A1")
    response = await press(hub, "/stop-edit/alice/A1?mode=edit")
    assert response.headers["location"] == "/?done=stopped&item=A1"
    assert hub.pool.running == {}


async def test_the_first_page_says_why_a_session_ended_that_nobody_stopped(hub: Hub) -> None:
    hub.end("alice", "A1", EndReason.MEMORY)
    hub.end("alice", "A2", EndReason.STOPPED)
    hub.end("bob", "A2", EndReason.IDLE)
    text = await read(hub, "/")
    assert "Your notebook used too much memory and was stopped." in text
    assert "more than 2 GB" in text
    assert text.count("Open again") == 1
    assert "nobody used it" not in text
    hub.start("alice", "A1")
    assert "too much memory" not in await read(hub, "/")


@pytest.mark.parametrize(
    ("reason", "later"),
    [
        (EndReason.IDLE, 0),
        (EndReason.LOST, 0),
        (EndReason.PRESSURE, 0),
        (EndReason.MOVED, 0),
        (EndReason.MEMORY, 1),
        (EndReason.CRASHED, 1),
    ],
)
async def test_that_a_notebook_was_closed_without_fault_is_told_for_a_day(
    hub: Hub, reason: EndReason, later: int
) -> None:
    hub.end("alice", "A1", reason)
    hub.clock.advance(86_000)
    assert (await read(hub, "/")).count("Open again") == 1
    hub.clock.advance(800)
    text = await read(hub, "/")
    assert text.count("Open again") == later
    assert ('aria-labelledby="sessions-title" hidden' in text) == (not later)


async def test_what_cannot_be_opened_again_offers_no_button(hub: Hub) -> None:
    hub.end("alice", "A9-withdrawn", EndReason.IDLE)
    text = await read(hub, "/")
    assert "A9-withdrawn" in text
    assert "Open again" not in text


async def test_the_bounds_that_are_named_are_the_items_own(hub_of: HubOf) -> None:
    made = hub_of("[items.A1.limits]\nmemory_mb = 512\n")
    made.end("alice", "A1", EndReason.MEMORY)
    made.end("alice", "A2", EndReason.MEMORY)
    text = await read(made, "/")
    assert "more than 512 MB" in text
    assert "more than 2 GB" in text


async def test_the_bounds_of_the_header_are_named_though_an_earlier_hub_started_the_session(
    hub_of: HubOf,
) -> None:
    made, table = hub_of(), b"# /// script\n# [tool.mograder.limits]\n# memory_mb = 4096\n# ///\n"
    made.publish("A3", files={"A3.py": table + NOTEBOOK.encode()})
    made.end("alice", "A3", EndReason.MEMORY)
    await ask(made, "POST", "/download/A3")
    for path in ("/", "/edit/A3", "/standing/alice/A3?session=alice-A3"):
        assert "more than 4 GB" in await read(made, path)


async def test_the_last_words_of_a_crash_are_shown_as_text(hub: Hub) -> None:
    hub.end("alice", "A1", EndReason.CRASHED, detail="<script>alert(1)</script>")
    for path in ("/", "/edit/A1"):
        text = await read(hub, path)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "<script>" not in text


async def test_the_spinner_says_why_the_session_before_ended(hub: Hub) -> None:
    hub.end("alice", "L01", EndReason.PROCESSES, Mode.RUN)
    hub.end("alice", "A2", EndReason.STOPPED)
    assert "too many processes" in await read(hub, "/run/L01")
    assert 'id="before"' not in await read(hub, "/edit/A2")
    assert 'id="before"' not in await read(hub, "/run/L01", user="bob")


async def test_a_form_on_a_full_hub_is_answered_503_with_a_time(hub: Hub) -> None:
    hub.pool.failure = Busy("The line is full.", retry_after=90)
    page = await press(hub, "/start-edit-deep/A1")
    assert (page.status_code, page.headers["retry-after"]) == (503, "90")
    assert "The line is full." in page.text


async def test_the_state_of_a_copy_is_told_in_a_word(hub: Hub) -> None:
    await begin(hub)
    assert '<span class="dot edited">edited</span>' in await read(hub, "/")


async def test_an_update_of_the_release_is_told(hub: Hub) -> None:
    await begin(hub)
    os.utime(folder(hub) / ".fetched", (1_000_000_000, 1_000_000_000))
    assert "· update available" in await read(hub, "/")


async def test_an_empty_course_says_what_will_come(hub_of: HubOf) -> None:
    text = await read(hub_of(), "/")
    assert "No assignments yet." in text
    assert re.search('id="sessions"[^>]* hidden>', text)
    assert re.search('id="lectures"[^>]* hidden>', text)


async def test_an_instructor_finds_the_pages_of_the_course_and_a_student_does_not(hub: Hub) -> None:
    pages = {"today", "gradebook", "items", "sessions", "students", "people", "problems", "log"}
    text = await read(hub, "/", user="prof")
    assert set(re.findall('href="/course/([a-z]+)"', text)) == pages
    assert "/course/" not in await read(hub, "/")


async def test_the_old_instructor_token_sees_the_first_page_too(hub: Hub) -> None:
    page = await see(hub, "/", user=INSTRUCTOR)
    assert page.status_code == 200
    assert "__instructor__</strong>" not in page.text


async def test_b39_somebody_who_is_not_enrolled_reads_a_friendly_page(hub: Hub) -> None:
    (hub.course / "allowed_users.txt").write_text("alice\n")
    for path in ("/", "/assignments", "/edit/A1"):
        page = await see(hub, path, user="mallory")
        assert page.status_code == 403
        assert page.headers["content-type"].startswith("text/html")
        assert "<title>Access Restricted</title>" in page.text
        assert "<h1>Access Restricted</h1>" in page.text
        assert "not enrolled" in page.text
        assert "contact the instructor" in page.text
    assert (await see(hub, "/")).status_code == 200
    assert ("mallory", "not enrolled", "GET /assignments", "refused") in hub.audit()


async def test_b66_b68_the_spinner_knows_where_to_start(hub: Hub) -> None:
    text = await read(hub, "/edit/A1")
    assert 'data-start="/start-edit-deep/A1"' in text
    assert 'data-probe="/s/probe"' in text
    assert 'aria-live="polite"' in text


async def test_a_name_outside_the_grammar_has_no_spinner(hub: Hub) -> None:
    page = await see(hub, "/edit/.ssh")
    assert page.status_code == 404
    assert "There is no editor of this name." in page.text


async def test_problems_are_told_in_words_with_a_number_to_quote(hub: Hub) -> None:
    page = await press(hub, "/start-run/zz")
    assert page.status_code == 400
    assert "Not a lecture" in page.text
    assert page.headers["x-request-id"] in page.text


async def test_a_bug_of_ours_answers_500_without_a_traceback(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.pool.running[None] = None  # type: ignore[index,assignment]
    page = await see(hub, "/")
    program = await ask(hub, "GET", "/sessions")
    assert (page.status_code, program.status_code) == (500, 500)
    assert page.headers["x-request-id"] in page.text
    assert program.headers["x-request-id"] in program.json()["detail"]
    assert "Traceback" not in page.text + program.text
    assert "AttributeError" in caplog.text


@pytest.mark.parametrize("path", PAGES)
async def test_pages_carry_the_security_headers_and_nothing_inline(hub: Hub, path: str) -> None:
    page = await see(hub, path)
    policy = page.headers["content-security-policy"]
    assert f"script-src {ORIGIN}/static/;" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page.text)
    assert len(page.content) < 60_000


@pytest.mark.parametrize("path", ["/assignments", "/nope", "/health"])
async def test_answers_for_programs_carry_them_too(hub: Hub, path: str) -> None:
    response = await ask(hub, "GET", path)
    assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_static_files_are_kept_for_ever_under_their_version(hub: Hub) -> None:
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', await read(hub, "/"))
    names = {path.rpartition("/")[2] for path in found}
    assert names == {"app.css", "icon.svg", "once.js", "home.js"}
    for path in found:
        response = await see(hub, path, user="")
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
    old = await see(hub, "/static/0000/app.css", user="")
    assert old.headers["cache-control"] == "no-cache"
    assert (await see(hub, "/static/x/..%2Fapp.css", user="")).status_code == 404
    assert (await see(hub, "/static/x/nope.css", user="")).status_code == 404


async def test_names_in_pages_are_escaped(hub: Hub) -> None:
    hub.publish("A9 & 'co'")
    text = await read(hub, "/")
    assert "A9 &amp; &#39;co&#39;" in text
    assert 'href="/edit/A9%20%26%20%27co%27"' in text


async def test_under_a_prefix_every_address_carries_it(hub_of: HubOf) -> None:
    made = hub_of('[hub]\nbase_url = "/live/hub"\n', "A1")
    made.start("alice", "A1")
    text = await read(made, "/live/hub/")
    spinner = await read(made, "/live/hub/edit/A1")
    sent = await see(made, "/live/hub/edit/A1", user="")
    policy = sent.headers["content-security-policy"]
    assert not re.search(r'(?:href|src|action)="/(?!live/hub/)', text)
    assert 'data-start="/live/hub/start-edit-deep/A1"' in spinner
    assert 'data-home="/live/hub"' in spinner
    assert sent.headers["location"] == "/live/hub/login?next=/live/hub/edit/A1"
    assert f"script-src {ORIGIN}/live/hub/static/;" in policy


async def test_a_wrong_method_is_refused(hub: Hub) -> None:
    response = await ask(hub, "GET", "/start-run/L01")
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})


def test_no_route_with_an_effect_answers_to_get() -> None:
    effects = ("start", "stop", "publish", "download", "logout")
    gets = [route.path for route in ROUTES if route.method == "GET"]
    assert not [path for path in gets if path.strip("/").startswith(effects)]
