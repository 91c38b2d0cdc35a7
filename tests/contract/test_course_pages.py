"""The instructors' pages and their forms, without scripts."""

from __future__ import annotations

import asyncio
import re

import pytest

from mograder.sessions.end_reasons import EndReason
from mograder.store.course.allowlist import Allowlist
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.hub.hub_state import EndingRow
from tests.support.gradebooks import FAIR, a_run
from tests.support.hub_app import NOTEBOOK, Hub
from tests.support.hub_copies import WORK, ask, begin, press, read, see
from tests.support.page_reader import hidden_field

COURSE = ("items", "sessions", "students", "students/alice", "people", "problems", "log")


@pytest.mark.parametrize("name", COURSE)
async def test_every_page_answers_and_says_in_the_bar_where_it_is(hub: Hub, name: str) -> None:
    await begin(hub)
    hub.start("alice", "A1")
    page = await see(hub, f"/course/{name}", "prof")
    assert page.status_code == 200
    assert page.text.count('aria-current="page"') == 1
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page.text)


async def test_the_page_that_waits_for_an_editor_has_each_id_once(hub: Hub) -> None:
    """The bar of those who mark has numbers with ids of their own."""
    found = re.findall(r'\sid="([^"]+)"', await read(hub, "/edit/A1", "prof"))
    assert "waiting" in found
    assert len(found) == len({*found})


async def test_items_tell_their_environment_and_who_has_begun(hub: Hub) -> None:
    await begin(hub)
    bad = NOTEBOOK.replace(
        "import", '# /// script\n# dependencies = ["no-such-package"]\n# ///\nimport', 1
    )
    hub.publish("A9")
    (hub.course / "hub-release" / "A9" / "A9.py").write_text(bad)
    await press(hub, "/warm-cache", "prof")
    text = await read(hub, "/course/items", "prof")
    assert "environment ready" in text
    assert "environment failed" in text
    assert "no-such-package was not found" in text
    assert "1 student has a copy" in text


async def test_who_sees_an_item_is_changed_by_a_form(hub: Hub) -> None:
    fields = {"name": "A1", "state": "from", "visible_from": "2099-10-05T09:00"}
    answer = await press(hub, "/visibility", "prof", data={**fields, "timezone": "Europe/Berlin"})
    assert answer.headers["location"] == "/course/items?done=visibility&item=A1"
    text = await read(hub, answer.headers["location"], "prof")
    assert "Who sees <strong>A1</strong> was changed" in text
    assert 'datetime="2099-10-05T09:00:00+02:00"' in text
    assert "hidden from students" not in text
    await press(hub, "/visibility", "prof", data={"name": "A1", "state": "hide"})
    for path in ("/course/items", "/"):
        assert "hidden from students" in await read(hub, path, "prof")
    await press(hub, "/visibility", "prof", data={"name": "A1", "state": "show"})
    assert (await ask(hub, "GET", "/visibility", "prof")).json() == {}


async def test_a_release_is_published_by_a_form_under_its_notebooks_name(hub: Hub) -> None:
    files = [("files", ("A7.py", NOTEBOOK.encode())), ("files", ("data.csv", b"x\n"))]
    answer = await press(hub, "/course/publish", "prof", files=files, data={"name": "", "type": ""})
    assert answer.headers["location"] == "/course/items?done=published&item=A7"
    release = hub.course / "hub-release" / "A7"
    assert {path.name for path in release.iterdir()} == {"A7.py", "data.csv", "files.json"}
    assert ("prof", "publish", "A7", "ok") in hub.audit()


async def test_a_form_with_two_notebooks_and_no_name_is_asked_for_one(hub: Hub) -> None:
    files = [("files", (name, NOTEBOOK.encode())) for name in ("A7.py", "A8.py")]
    answer = await press(hub, "/course/publish", "prof", files=files)
    assert answer.status_code == 400
    assert "It is not clear which item this is." in answer.text


async def test_a_session_is_stopped_from_the_list_and_the_log_tells(hub: Hub) -> None:
    hub.start("alice", "A1")
    text = await read(hub, "/course/sessions", "prof")
    action = re.search(r'action="(/stop-edit/alice/A1[^"]+)"', text)
    assert action is not None
    answer = await press(hub, action[1].replace("&amp;", "&"), "prof")
    assert answer.headers["location"] == "/course/sessions?done=stopped&item=A1"
    assert hub.pool.running == {}
    assert ("prof", "stop session", "alice/A1 (edit)", "ok") in hub.audit()


async def test_long_lists_come_a_page_at_a_time(hub: Hub) -> None:
    for number in range(120):
        hub.start(f"s{number:03}", "A1")
    first = await read(hub, "/course/sessions", "prof")
    last = await read(hub, "/course/sessions?page=3", "prof")
    assert (first.count("s000"), last.count("s000")) != (0, 1)
    assert "1 to 50 of 120" in first
    assert "101 to 120 of 120" in last
    assert "page=4" not in last
    assert (await see(hub, "/course/sessions?page=99999", "prof")).status_code == 200


async def test_students_are_found_and_those_who_are_here_come_first(hub: Hub) -> None:
    (hub.course / "allowed_users.txt").write_text("alice\nbob\nzoe\n")
    hub.start("zoe", "A1")
    text = await read(hub, "/course/students", "prof")
    assert text.index(">zoe<") < text.index(">alice<")
    assert "1 here now" in text
    found = await read(hub, "/course/students?q=BO", "prof")
    assert ">bob<" in found
    assert ">alice<" not in found


async def test_an_instructor_reads_a_students_notebook_and_none_of_it_counts(hub: Hub) -> None:
    """security.md: read-only, as text, with an entry in the audit log."""
    await begin(hub, "# <script>alert(1)</script>\n" + WORK)
    page = await see(hub, "/look/alice/A1", "prof")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "2 + 2" in page.text
    assert ("prof", "read", "alice/A1", "ok") in hub.audit()
    assert hub.pool.started == []


async def test_a_name_that_cannot_be_on_the_list_of_people_is_told_with_its_line(
    hub: Hub,
) -> None:
    fields = {"users": "bob\r\n\r\na/b\r\n"}
    answer = await press(hub, "/sync-users", "prof", data=fields)
    assert (answer.status_code, "Line 3: " in answer.text) == (400, True)


async def test_the_list_of_people_is_changed_by_a_form_and_the_page_shows_it(hub: Hub) -> None:
    page = await read(hub, "/course/people", "prof")
    assert "everybody who can sign in may come in" in page
    fields = {"users": "bob\r\nalice\r\n", "stamp": hidden_field(page, "stamp")}
    answer = await press(hub, "/sync-users", "prof", data=fields)
    assert answer.headers["location"] == "/course/people?done=people"
    page = await read(hub, "/course/people", "prof")
    assert "bob\nalice\n</textarea>" in page
    assert "Instructors and markers always may come in." in page
    again = await press(hub, "/sync-users", "prof", data=fields)
    assert again.status_code == 409
    assert "was changed since you opened it" in again.text


async def test_of_two_lists_of_people_that_are_saved_at_once_one_is_refused(hub: Hub) -> None:
    stamp = hidden_field(await read(hub, "/course/people", "prof"), "stamp")
    forms = [{"users": name, "stamp": stamp} for name in ("alice", "bob")]
    saved = await asyncio.gather(*(press(hub, "/sync-users", "prof", data=each) for each in forms))
    statuses = [each.status_code for each in saved]
    assert sorted(statuses) == [303, 409]
    kept = forms[statuses.index(303)]["users"]
    assert Allowlist(hub.course / "allowed_users.txt").listed() == (kept,)


async def test_comments_and_the_order_of_the_list_of_people_survive_its_form(hub: Hub) -> None:
    listed = hub.course / "allowed_users.txt"
    listed.write_text("\ufeff# Tutorial 1\nzoe  # until May\n\n# Tutorial 2\nbob\n")
    page = await read(hub, "/course/people", "prof")
    shown = re.search(r'<textarea id="users"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    assert shown is not None
    typed = f"{shown[1]}alice".replace("\n", "\r\n")
    fields = {"users": typed, "stamp": hidden_field(page, "stamp")}
    assert (await press(hub, "/sync-users", "prof", data=fields)).status_code == 303
    text = "# Tutorial 1\nzoe  # until May\n\n# Tutorial 2\nbob\nalice\n"
    assert listed.read_text() == text
    assert ("prof", "sync users", "3 users", "ok") in hub.audit()


async def test_a_list_of_people_that_cannot_be_read_is_shown_and_saved_as_no_empty_one(
    hub: Hub,
) -> None:
    listed = hub.course / "allowed_users.txt"
    listed.write_bytes(b"alice\n" * 2_000_000)
    refused = await press(hub, "/sync-users", "prof", data={"users": "bob"})
    assert refused.status_code == 409
    assert "allowed_users.txt cannot be read, so nothing was saved." in refused.text
    assert listed.stat().st_size == 12_000_000
    page = await read(hub, "/course/people", "prof")
    assert "lets no student in</strong>: it is larger than 10000000 bytes." in page
    assert "The access list is empty" not in page
    assert 'name="users"' not in page


async def test_a_list_without_a_name_is_saved_by_the_form_only_if_that_is_meant(hub: Hub) -> None:
    """Without a list everybody may come in, with an empty one staff only."""
    page = await read(hub, "/course/people", "prof")
    fields = {"users": " \r\n", "stamp": hidden_field(page, "stamp")}
    refused = await press(hub, "/sync-users", "prof", data=fields)
    assert refused.status_code == 400
    assert "Nothing was saved." in refused.text
    assert not (hub.course / "allowed_users.txt").exists()
    meant = await press(hub, "/sync-users", "prof", data={**fields, "empty": "yes"})
    assert meant.status_code == 303
    assert "The access list is empty" in await read(hub, "/course/people", "prof")


async def test_problems_are_told_in_plain_words(hub: Hub) -> None:
    now = hub.clock.now()
    for number, reason in enumerate((EndReason.MEMORY, EndReason.IDLE)):
        row = EndingRow("alice", f"A{number + 1}", "edit", f"id{number}", reason, now, "")
        hub.services.state.save_ending(row, forget_before=now)
    await see(hub, "/start-edit/bob/A1", user="alice")
    await ask(hub, "POST", "/stop-edit/bob/A1")
    text = await read(hub, "/course/problems", "prof")
    assert "The notebook used too much memory." in text
    assert text.count("/course/students/alice") == 1
    assert "asked for what is not theirs" in text
    # An open page gets the contents of parts that it has.
    assert re.search(r'id="letters" data-live [^>]* hidden>', text)


async def test_the_log_goes_back_page_by_page(hub: Hub) -> None:
    for number in range(60):
        hub.services.state.record(hub.clock.now(), "prof", "publish", f"item {number}", "", "ok")
    first = await read(hub, "/course/log", "prof")
    older = re.search(r'href="(/course/log\?before=\d+)"', first)
    assert older is not None
    second = await read(hub, older[1], "prof")
    assert "item 59" in first
    assert "item 9<" in second
    assert "item 10<" not in second


async def test_a_preview_shows_what_a_student_will_see_then(hub: Hub) -> None:
    fields = {"name": "A2", "state": "from", "visible_from": "2099-10-05T09:00"}
    await press(hub, "/visibility", "prof", data=fields)
    await begin(hub)
    now = await read(hub, "/?as=student", "prof")
    then = await read(hub, "/?as=student&at=2099-10-05T10:00", "prof")
    assert 'href="/edit/A2"' not in now
    assert 'href="/edit/A2"' in then
    await press(hub, "/visibility", "prof", data={"name": "A1", "state": "hide"})
    empty = await read(hub, "/?as=student", "prof")
    assert "A student sees no assignment." in empty
    assert "No assignments yet." not in empty
    assert "Log</a>" in now
    assert "as a student sees it" not in await read(hub, "/?as=student", user="alice")
    assert (await see(hub, "/?as=student&at=whenever", "prof")).status_code == 400


async def test_tokens_are_ended_from_a_persons_page(hub: Hub) -> None:
    answer = await press(hub, "/revoke-token/alice", "prof")
    assert answer.headers["location"] == "/course/students/alice?done=revoked&item=alice"
    told = await read(hub, answer.headers["location"], "prof")
    assert "All tokens and logins of alice have ended" in told
    assert "Another system's sign-in goes on" in told


async def test_pages_of_an_item_say_its_title_beside_its_name(hub: Hub) -> None:
    heading = '    import marimo as mo\n    mo.md("# Measuring *pi*")\n    return'
    release = hub.course / "hub-release" / "A1" / "A1.py"
    release.write_text(NOTEBOOK.replace("    1 + 1\n    return", heading))
    await begin(hub)
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR))
    await see(hub, "/", "prof")
    shown = 'Measuring pi <span class="soft">A1</span>'
    for path in ("/", "/versions/alice/A1", "/submissions/alice/A1"):
        assert shown in await read(hub, path, "alice"), path
    marking = ("", "/A1", "/A1/late", "/A1/release", "/A1/statistics", "/A1/questions/Analysis")
    for path in ("/board/A1", "/course/items/A1", *(f"/marking{each}" for each in marking)):
        assert shown in await read(hub, path, "prof"), path


@pytest.mark.parametrize(
    ("query", "leads"),
    [
        ("role=student", "/?as=student"),
        (
            "role=student&as_of=2026-10-05T09:00",
            "/?as=student&at=2026-10-05T08%3A00%3A00%2B00%3A00",
        ),
        (
            "role=student&as_of=2026-10-05T09:00Z",
            "/?as=student&at=2026-10-05T09%3A00%3A00%2B00%3A00",
        ),
        ("role=", "/"),
    ],
)
async def test_view_as_of_0316_leads_an_instructor_to_the_preview(
    hub: Hub, query: str, leads: str
) -> None:
    """A time without a zone is London's; and no cookie is set, since a link must change nothing.

    See compatibility-0.3.16.md 2.3, ``/view-as``.
    """
    answer = await ask(hub, "GET", f"/view-as?{query}", user="prof")
    assert (answer.status_code, answer.headers["location"]) == (303, leads)
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    page = await read(hub, answer.headers["location"], "prof")
    assert ("The course as a student sees it" in page) == ("as=student" in leads)


async def test_view_as_is_for_nothing_else(hub: Hub) -> None:
    for query in ("role=marker", "role=student&as_of=yesterday", "role=student&as_of=9999-12-31"):
        assert (await ask(hub, "GET", f"/view-as?{query}", user="prof")).status_code == 400
