"""The gradebook in the browser: states, totals, filters, files, and the page of a student."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.core.names import ItemName, Username
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry
from mograder.store.gradebook.late_work import Extension, LateWork
from mograder.store.gradebook.mark_release import MarkReleases, NewRelease
from mograder.store.marking.regrade_requests import Message, MessageKind, RegradeRequests
from mograder.store.submissions.submissions import Submissions
from mograder.web.hub import gradebook
from tests.support.gradebooks import FAIR, a_run
from tests.support.hub_app import Hub, running_hub
from tests.support.hub_copies import begin, press, read, see
from tests.support.identity import Members
from tests.support.released_course import open_released_course

SETTINGS = """title = "Numerics"
[hub]
instructors = ["prof"]
[items."A1"]
due = 2026-01-01T12:00:00Z
weight = 3
[items."A2"]
due = 2027-09-20T12:00:00Z
"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """A class with work in every state: A1 was due, A2 was not."""
    async with running_hub(tmp_path / "course", SETTINGS, "A2", "A1") as made:
        fill(made)
        yield made


def fill(made: Hub) -> None:
    """Have students at work, whose work is handed in, marked, released and asked about."""
    names = ("alice", "bob", "carol", "dora", "eve", "fay")
    (made.course / "allowed_users.txt").write_text("".join(f"{name}\n" for name in names))
    now = made.clock.now()
    handed = Submissions(made.course / "submitted")
    for name in ("bob", "carol", "dora", "eve", "fay"):
        handed.add(Username.parse(name), ItemName.parse("A1"), b"first", now)
    with Gradebook(made.course / "gradebook.db") as book:
        book.put_students({"dora": "Dora Dietz"})
        for name in ("carol", "dora", "eve", "fay"):
            book.record_run(a_run(name, FAIR))
        for name in ("dora", "eve", "fay"):
            given = {"Analysis": MarkEntry(27.9)}
            book.record_marks("A1", name, given, marker="mia", at=now)
        news = [NewRelease(name, now, "{}") for name in ("eve", "fay")]
        MarkReleases(book).add("A1", news, seen=0, by="prof", at=now)
        asked = Message(MessageKind.ASKED, "fay", now, "Please look at Q1.")
        RegradeRequests(book).ask("A1", "fay", "Q1", asked)
        until = now + timedelta(days=3)
        longer = Extension("A1", "bob", until=until, reason="ill")
        LateWork(book).record([longer], by="prof", at=now)


async def rows(hub: Hub, query: str = "") -> dict[str, dict[str, str]]:
    """Return the CSV file by student."""
    text = await read(hub, f"/course/gradebook.csv{query}", "prof")
    assert text.startswith("\ufeff"), "else Excel garbles what is not ASCII"
    text = text.removeprefix("\ufeff")
    return {row["student"]: row for row in csv.DictReader(io.StringIO(text))}


async def test_work_that_was_fetched_has_the_time_at_which_it_was_handed_in(hub: Hub) -> None:
    """That of the file is the time of the fetch."""
    at = hub.clock.now().timestamp()
    folder = hub.course / "submitted" / "A2"
    folder.mkdir()
    (folder / "bob.py").write_text("x")
    os.utime(folder / "bob.py", (at + 10**8, at + 10**8))
    assert (await rows(hub))["bob"]["A2 state"] == "late"
    (folder / ".fetch_metadata.json").write_text(json.dumps({"bob": at}))
    assert (await rows(hub))["bob"]["A2 state"] == "handed in"
    page = await read(hub, "/course/students/bob", "prof")
    assert hub.clock.now().isoformat(timespec="seconds") in page
    again = Submissions(hub.course / "submitted")
    again.add(Username.parse("bob"), ItemName.parse("A2"), b"y", hub.clock.now())
    assert (folder / f"bob_{hub.clock.now():%Y%m%dT%H%M%S}.py").read_text() == "x"


async def test_every_students_work_has_its_state(hub: Hub) -> None:
    await begin(hub)
    found = {name: row["A1 state"] for name, row in (await rows(hub)).items()}
    assert found == {
        "alice": "working",
        "bob": "handed in",
        "carol": "late",
        "dora": "marked, late",
        "eve": "released, late",
        "fay": "requested, late",
    }


async def test_a_mark_is_late_by_the_submission_that_was_graded(tmp_path: Path) -> None:
    """One that the student hands in later waits to be graded, and does not make the mark late."""
    settings = SETTINGS.replace("2026-01-01", "2026-09-04")
    async with running_hub(tmp_path / "course", settings, "A1") as made:
        handed, item = Submissions(made.course / "submitted"), ItemName.parse("A1")
        for name in ("ann", "bea"):
            handed.add(Username.parse(name), item, b"first", made.clock.now())
            with Gradebook(made.course / "gradebook.db") as book:
                book.record_run(a_run(name, FAIR, received=made.clock.now()))
                book.record_marks(
                    "A1", name, {"Analysis": MarkEntry(9)}, marker="mia", at=made.clock.now()
                )
        made.clock.advance(30 * 86400)
        handed.add(Username.parse("bea"), item, b"second", made.clock.now())
        found = {name: row["A1 state"] for name, row in (await rows(made)).items()}
        assert found == {"ann": "marked", "bea": "marked, newer submission"}
        page = await read(made, "/course/students/bea", "prof")
        assert "marked, newer submission" in page
        assert re.search(r"Handed in.*class=.late.>late<", page, re.DOTALL)
        handed.pick(Username.parse("bea"), item, 2)
        second = hashlib.sha256(b"second").hexdigest()
        with Gradebook(made.course / "gradebook.db") as book:
            run = a_run("bea", FAIR, received=made.clock.now())
            book.record_run(replace(run, submission_sha256=second))
        assert "newer" not in (await rows(made))["bea"]["A1 state"]
        handed.pick(Username.parse("bea"), item, 1)
        assert "newer submission" in (await rows(made))["bea"]["A1 state"], "an earlier one counts"


async def test_marks_that_wait_for_the_last_due_date_are_not_called_released(
    tmp_path: Path,
) -> None:
    later = SETTINGS.replace("2026-01-01", "2027-01-01")
    async with running_hub(tmp_path / "course", later, "A1") as made:
        with open_released_course(made.course) as course:
            course.grade_hidden("alice")
            course.release("alice", "bob")
        found = await rows(made)
        assert (found["alice"]["A1 state"], found["bob"]["A1 state"]) == ("marked", "released")
        made.clock.advance(200 * 86400)
        assert (await rows(made))["alice"]["A1 state"] == "released"


async def test_totals_are_by_weight_with_and_without_what_has_no_mark(hub: Hub) -> None:
    row = (await rows(hub))["dora"]
    assert (row["A1"], row["A2"], row["total %"], row["so far %"]) == ("50", "", "37.5", "50")
    assert (await rows(hub))["alice"]["so far %"] == ""


async def test_an_item_of_no_marks_counts_in_no_total(hub: Hub) -> None:
    """It was 0 % for everybody, also for those who had all that there was."""
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("dora", {"Q1": 0.0}, assignment="A2", marks={"Q1": 0}))
    row = (await rows(hub))["dora"]
    assert (row["A2"], row["total %"], row["so far %"]) == ("0", "50", "50")


async def test_a_name_makes_no_line_for_a_student_who_is_not_on_the_list(hub: Hub) -> None:
    """Those who left the course stood there with a total of 0."""
    with Gradebook(hub.course / "gradebook.db") as book:
        book.put_students({"gone": "Gil Gone"})
        book.record_run(a_run("hal", FAIR))
    assert {"gone", "hal"} & (await rows(hub)).keys() == {"hal"}, "a mark makes a line"
    (hub.course / "allowed_users.txt").unlink()
    assert (await rows(hub))["gone"]["name"] == "Gil Gone"


@pytest.mark.parametrize("listed", [True, False])
async def test_members_of_a_platforms_course_have_lines_before_they_begin(
    hub: Hub, *, listed: bool
) -> None:
    if not listed:
        (hub.course / "allowed_users.txt").unlink()
    hub.services.roster.more = Members("zoe", "prof")
    found = await rows(hub)
    assert found["zoe"]["A1 state"] == "not begun"
    assert "prof" not in found
    assert ("alice" in found) == listed


async def test_items_stand_in_the_order_of_their_due_dates(hub: Hub) -> None:
    text = await read(hub, "/course/gradebook", "prof")
    assert text.index(">A1<") < text.index(">A2<")


CHOSEN = {
    "?q=DIETZ": ["dora"],
    "?state=late&item=A1": ["carol", "dora", "eve", "fay"],
    "?state=handed+in&item=A1": ["bob", "carol"],
    "?state=requested": ["fay"],
    "?state=requested&item=A2": [],
    "?state=nonsense&q=a&order=down": ["fay", "dora", "carol", "alice"],
    "?sort=A1&q=o": ["dora", "bob", "carol"],
}


async def test_filters_and_orders_choose_the_lines_of_page_and_files(hub: Hub) -> None:
    for query, names in CHOSEN.items():
        assert list(await rows(hub, query)) == names, query
        text = await read(hub, f"/course/gradebook{query}", "prof")
        assert re.findall(r'href="/course/students/(\w+)"', text) == names, query


async def test_a_large_class_is_on_several_pages_and_whole_in_the_files(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradebook, "_LINES_SHOWN", 4)
    first = await read(hub, "/course/gradebook?sort=name&order=down", "prof")
    assert re.findall(r'/course/students/(\w+)">', first) == ["fay", "eve", "dora", "carol"]
    (following,) = re.findall(r'href="([^"]+)">Next<', first)
    second = await read(hub, following.replace("&amp;", "&"), "prof")
    assert re.findall(r'/course/students/(\w+)">', second) == ["bob", "alice"]
    assert "5 to 6 of 6" in second
    assert len(await rows(hub, "?page=2")) == 6


async def test_the_workbook_has_the_same_numbers(hub: Hub) -> None:
    answer = await see(hub, "/course/gradebook.xlsx?q=dora", "prof")
    assert answer.headers["content-disposition"] == 'attachment; filename="gradebook.xlsx"'
    assert answer.content.startswith(b"PK")
    assert ("prof", "export gradebook", "XLSX", "ok") in hub.audit()


async def test_a_mark_with_many_decimals_is_one_number_on_all_pages(hub: Hub) -> None:
    marks, now = {"Q1": 10.0}, hub.clock.now()
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("gus", {"Q1": 20 / 3}, marks=marks, assignment="A2"))
        requests = RegradeRequests(book)
        number = requests.ask("A2", "gus", "Q1", Message(MessageKind.ASKED, "gus", now, "Why?"))
        kept = Message(MessageKind.KEPT, "prof", now, "", before=20 / 3, after=20 / 3)
        requests.add(number, kept, seen=requests.find(number).last)
    marking = ("?names=1", "/release", "/late", f"/requests/{number}")
    course = ("/course/gradebook", "/course/students/gus")
    for path in (*course, *(f"/marking/A2{each}" for each in marking)):
        text = await read(hub, path, "prof")
        # Not in a time such as 12:30:06.664, which some files have.
        assert set(re.findall(r"(?<!\d)6[.]6\d+", text)) == {"6.67"}, path


async def test_a_students_page_tells_marks_submissions_requests_and_extensions(hub: Hub) -> None:
    fay = await read(hub, "/course/students/fay", "prof")
    assert "<strong>50</strong> of 100" in fay
    assert "Please look at Q1." in fay
    assert 'href="/submissions/fay/A1"' in fay
    assert 'href="/marking/A1/requests/1"' in fay
    bob = await read(hub, "/course/students/bob", "prof")
    assert "extended" in bob
    assert "ill" in bob
    assert "Please look" not in bob


async def test_a_students_page_tells_the_messages_that_are_above_their_open_notebooks(
    hub: Hub,
) -> None:
    await press(hub, "/board/A2/messages", "prof", data={"text": "Read task 3 again."})
    hub.start("alice", "A2")
    hub.start("bob", "A1")
    assert "Read task 3 again." in await read(hub, "/course/students/alice", "prof")
    for other in ("bob", "carol"):
        assert "Read task 3 again." not in await read(hub, f"/course/students/{other}", "prof")


async def test_an_empty_course_says_what_will_be_there(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "course", SETTINGS) as made:
        assert "There are no students yet." in await read(made, "/course/gradebook", "prof")
        assert (await see(made, "/course/students/alice", "prof")).status_code == 200


async def test_names_and_texts_of_students_are_escaped(hub: Hub) -> None:
    with Gradebook(hub.course / "gradebook.db") as book:
        book.put_students({"bob": "<script>alert(1)</script>", "eve": "=1+1"})
    assert "<script>alert" not in await read(hub, "/course/gradebook", "prof")
    assert (await rows(hub))["eve"]["name"] == "'=1+1"
