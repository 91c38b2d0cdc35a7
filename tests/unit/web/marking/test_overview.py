"""The overview pages of marking, and the switch that opens an assignment for markers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry
from tests.support.gradebooks import AT, a_run
from tests.support.hub_app import Hub, hub
from tests.support.hub_copies import ask, read

__all__ = ["hub"]

MARKS = {"Q1": 10.0, "Essay": 20.0}
OK, MISSING, WRONG = httpx.codes.OK, httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST


@pytest.fixture
def marked(hub: Hub) -> Hub:
    """A hub on which A1 is graded for three students, A2 handed in by one; A1 is open."""
    with Gradebook(hub.course / "gradebook.db") as book:
        for student in ("alice", "bob", "carol"):
            book.record_run(a_run(student, {"Q1": 7.5}, marks=MARKS))
        book.put_students({"alice": "Alice <b>Ada</b>"})
        book.record_marks("A1", "bob", {"Essay": MarkEntry(15.0)}, marker="marta", at=AT)
    place = hub.course / "submitted" / "A2"
    place.mkdir(parents=True)
    (place / "dora.py").write_text("")
    (hub.course / "submitted" / "empty").mkdir()
    (hub.course / "marking.json").write_text('["A1"]\n')
    return hub


def _words(html: str) -> str:
    """Return the text of a page's main part."""
    main = html.partition("<main")[2].partition("</main>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())


async def test_an_instructor_sees_every_assignment_with_its_numbers(marked: Hub) -> None:
    words = _words(await read(marked, "/marking", "prof"))
    assert "A1 0 submitted 3 graded by machine 2 answers wait for people open for markers" in words
    assert "A2 1 submitted 0 graded by machine" in words
    assert "Essay 1 of 3" in words
    assert "empty" not in words


async def test_what_is_not_graded_is_not_called_marked(marked: Hub) -> None:
    with Gradebook(marked.course / "gradebook.db") as book:
        book.record_run(a_run("dora", {"Q1": 7.5}, marks={"Q1": 10.0}, assignment="A2"))
    assert "A2 1 submitted 1 graded by machine everything is marked" in _words(
        await read(marked, "/marking", "prof")
    )
    (marked.course / "submitted" / "A2" / "eve.py").write_text("")
    for path in ("/marking", "/marking/A2"):
        words = _words(await read(marked, path, "prof"))
        assert "2 submitted 1 graded by machine all that is graded is marked" in words


async def test_a_marker_sees_only_what_is_open_and_no_switch(marked: Hub) -> None:
    html = await read(marked, "/marking", "marta")
    assert "A1" in _words(html)
    assert "A2" not in _words(html)
    assert "/open" not in html


async def test_a_student_has_no_way_to_marking(marked: Hub) -> None:
    assert "/marking" not in await read(marked, "/", "alice")
    assert 'href="/marking"' in await read(marked, "/", "marta")
    assert "/course/" not in await read(marked, "/", "marta")


async def test_names_are_hidden_until_they_are_asked_for(marked: Hub) -> None:
    hidden = await read(marked, "/marking/A1", "marta")
    assert not re.search(r"alice|bob|carol|Ada", hidden)
    assert {f"Answer {number}" for number in (1, 2, 3)} <= set(re.findall(r"Answer \d", hidden))
    shown = await read(marked, "/marking/A1?names=1", "marta")
    assert "Alice &lt;b&gt;Ada&lt;/b&gt;" in shown
    assert re.search(r"Alice.*bob.*carol", _words(shown))
    addresses = [set(re.findall(r"/answers/[0-9a-f]{16}", page)) for page in (hidden, shown)]
    assert addresses[0] == addresses[1]
    assert len(addresses[0]) == 3


async def test_a_students_line_has_the_marks_and_what_waits(marked: Hub) -> None:
    html = await read(marked, "/marking/A1?names=1", "prof")
    words = _words(html)
    assert {"/release", "/statistics"} <= set(re.findall(r'href="/marking/A1(/\w+)"', html))
    assert "Essay people 20 1 of 3 2" in words
    assert "bob judged 7.5 15 22.5 of 30" in words
    assert "carol judged 7.5 none none yet 1 question waits." in words


async def test_an_assignment_that_is_only_handed_in_says_what_comes_first(marked: Hub) -> None:
    shown = await read(marked, "/marking/A2", "prof")
    assert "Nothing is graded yet." in shown
    assert 'href="/course/items/A2#marks">Grade submissions</a>' in shown
    for page in (shown, await read(marked, "/course/items/A2", "prof")):
        assert not re.search("/A2/(release|statistics)", page)


async def test_a_name_without_any_work_is_not_found(marked: Hub) -> None:
    for path in ("/marking/A9", "/marking/.hidden", "/marking/empty"):
        await read(marked, path, "prof", MISSING)


async def test_the_switch_opens_and_closes_and_is_recorded(marked: Hub) -> None:
    opened = await ask(marked, "POST", "/marking/A2/open", "prof", data={"open": "1"})
    assert opened.headers["location"] == "/marking?done=opened&item=A2"
    assert "A2 is open for markers." in _words(
        (await ask(marked, "GET", opened.headers["location"], "prof")).text
    )
    closed = await ask(marked, "POST", "/marking/A1/open", "prof", data={"open": "0"})
    assert closed.headers["location"] == "/marking?done=closed&item=A1"
    assert (marked.course / "marking.json").read_text() == '["A2"]\n'
    found = [line[1:] for line in marked.audit() if "marking" in line[1]]
    assert found == [("open for marking", "A2", "ok"), ("close for marking", "A1", "ok")]


async def test_a_switch_without_a_direction_changes_nothing(marked: Hub) -> None:
    for value in ("", "2", "true"):
        answer = await ask(marked, "POST", "/marking/A1/open", "prof", data={"open": value})
        assert answer.status_code == WRONG, value
    assert (marked.course / "marking.json").read_text() == '["A1"]\n'


async def test_a_damaged_gradebook_is_told_in_a_sentence(hub: Hub, tmp_path: Path) -> None:
    (hub.course / "gradebook.db").write_text("no database")
    answer = await read(hub, "/marking", "prof", WRONG)
    assert "gradebook.db" in answer


async def test_the_numbers_follow_a_mark_that_another_program_gives(marked: Hub) -> None:
    assert "2 answers wait" in await read(marked, "/marking", "prof")

    def give() -> None:
        with Gradebook(marked.course / "gradebook.db") as book:
            book.record_marks("A1", "carol", {"Essay": MarkEntry(1.0)}, marker="prof", at=AT)

    await asyncio.to_thread(give)
    assert "1 answer waits" in await read(marked, "/marking", "prof")


async def test_answers_are_shared_out_by_a_form(marked: Hub) -> None:
    """The page of each marker tells the own share."""
    shared = await ask(
        marked, "POST", "/marking/A1/share", "prof", data={"markers": "marta, marta"}
    )
    assert shared.headers["location"] == "/marking/A1?done=shared&item=marta"
    shown = _words((await ask(marked, "GET", shared.headers["location"], "prof")).text)
    assert "The answers are shared out among marta." in shown
    assert "2 in your share" in _words(await read(marked, "/marking/A1", "marta"))
    assert ("share out marking", "A1", "ok") in [line[1:] for line in marked.audit()]


async def test_a_share_of_somebody_without_a_role_that_marks_is_told(marked: Hub) -> None:
    """For as long as it is shared so: a learning platform may give the role later."""
    for markers, told in (
        ("marta prof", None),
        ("marta nobody", "nobody has a share, but no role"),
    ):
        data = {"markers": markers}
        shared = await ask(marked, "POST", "/marking/A1/share", "prof", data=data)
        for path in (shared.headers["location"], "/marking/A1"):
            words = _words((await ask(marked, "GET", path, "prof")).text)
            assert told in words if told else "no role" not in words
    assert "no role" not in _words(await read(marked, "/marking/A1", "marta"))


async def test_answers_are_shared_out_among_users_only(marked: Hub) -> None:
    for value in ("a/b", "marta, \x01", "x" * 300):
        answer = await ask(marked, "POST", "/marking/A1/share", "prof", data={"markers": value})
        assert answer.status_code == WRONG, value
    assert "in your share" not in _words(await read(marked, "/marking/A1", "marta"))
