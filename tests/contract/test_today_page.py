"""The instructors' page of today, and the numbers in the navigation."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest

from mograder.auth.credentials import Role, make_token
from mograder.core.names import ItemName, Username
from mograder.sandbox.protocol import Mode
from mograder.sessions.check_reports import CheckReport
from mograder.sessions.session import SessionKey
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.hub.board import Board
from mograder.store.marking.regrade_requests import Message, MessageKind, RegradeRequests
from mograder.store.submissions.submissions import Submissions
from tests.support.gradebooks import FAIR, a_run
from tests.support.hub_app import NOTEBOOK, ORIGIN, SECRET, Hub, running_hub
from tests.support.hub_copies import ask, begin, read
from tests.support.supervisors import until

SETTINGS = """title = "Numerics"
[hub]
instructors = ["prof"]
[items."A1"]
due = 2026-09-04T12:00:00Z
[items."A2"]
due = 2026-12-24T12:00:00Z
"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub with two items, of which one is due soon."""
    async with running_hub(tmp_path / "course", SETTINGS, "A1", "A2") as made:
        yield made


async def today(hub: Hub, path: str = "/course/today") -> str:
    """Return the page as an instructor sees it."""
    return await read(hub, path, "prof")


def part(text: str, name: str) -> str:
    return text.split(f'<section class="part" id="{name}"')[1].split("</section>", maxsplit=1)[0]


def count(text: str, name: str) -> str:
    """Return the number beside an entry of the navigation."""
    number = r"(?: <span[^>]*>(\d+)</span>)?"
    found = re.search(f'<span id="{name}-count" data-live>{number}</span>', text)
    assert found is not None
    return found[1] or ""


async def test_a_quiet_day_says_so(hub: Hub) -> None:
    text = await today(hub)
    assert "No submission, no answer and no request waits." in text
    assert "Nobody asks for help." in text
    assert (count(text, "marking"), count(text, "board")) == ("", "")


async def test_nobody_is_said_to_have_handed_nothing_in_where_that_is_in_moodle(hub: Hub) -> None:
    assert "handed in" not in part(await today(hub), "due")


async def test_what_is_due_soon_and_what_came_since_yesterday_lead_to_the_items(hub: Hub) -> None:
    now, handed = hub.clock.now(), Submissions(hub.course / "submitted")
    for name, at in (("alice", now), ("bob", now - timedelta(days=3))):
        handed.add(Username.parse(name), ItemName.parse("A1"), b"x", at)
    text = await today(hub)
    assert 'href="/course/items/A1"' in part(text, "due")
    assert "2 handed in" in part(text, "due")
    assert "A2" not in part(text, "due")
    assert "1 student, the last" in part(text, "came")
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("alice", {"Q1": 7.0}, marks={"Q1": 10.0}, work="x"))
    (link,) = re.findall('href="([^"]+)"', part(await today(hub), "came"))
    assert "/course/students/alice" in await today(hub, unescape(link)), "graded at once"


async def test_submissions_without_a_result_wait_until_they_are_graded(hub: Hub) -> None:
    handed = Submissions(hub.course / "submitted")
    for name in ("alice", "bob"):
        handed.add(Username.parse(name), ItemName.parse("A1"), b"x", hub.clock.now())
    assert "2 submissions are not graded yet" in part(await today(hub), "marking")
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR, work="x"))
    assert "1 submission is not graded yet" in part(await today(hub), "marking")
    assert 'href="/course/items/A1"' in part(await today(hub), "marking")


async def test_who_hands_in_again_after_grading_waits_again(hub: Hub) -> None:
    handed, alice, item = Submissions(hub.course / "submitted"), Username("alice"), ItemName("A1")
    handed.add(alice, item, b"x", hub.clock.now())
    newer = "The newest submission is not graded yet."
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR, work="x"))
        assert "not graded yet" not in part(await today(hub), "marking")
        assert newer not in await today(hub, "/course/items/A1")
        handed.add(alice, item, b"y", hub.clock.now())
        assert "1 submission is not graded yet" in part(await today(hub), "marking")
        assert newer in await today(hub, "/course/items/A1")
        (line,) = (await ask(hub, "GET", "/autograde/A1", "prof")).json()["students"]
        assert (line["mark"], line["problem"].endswith(newer)) == (None, True)
        book.record_run(a_run("alice", FAIR, work="y"))
    assert "not graded yet" not in part(await today(hub), "marking")


async def test_a_submission_that_was_graded_is_not_read_again(hub: Hub) -> None:
    """On a share, reading those of a term takes seconds."""
    at, folder = hub.clock.now(), hub.course / "submitted" / "A1"
    folder.mkdir(parents=True)
    (folder / "alice.py").write_text("fetched, and another text than was graded")
    (folder / ".fetch_metadata.json").write_text(f'{{"alice": {at.timestamp()}}}')
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR, work="x", received=at))
        assert "not graded yet" not in part(await today(hub), "marking")
        (folder / ".fetch_metadata.json").write_text(f'{{"alice": {at.timestamp() + 60}}}')
        (folder / "bob.py").write_text("x")
        assert "2 submissions are not graded yet" in part(await today(hub), "marking")


async def test_answers_and_requests_that_wait_are_counted_and_lead_to_their_pages(
    hub: Hub,
) -> None:
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR))
        asked = Message(MessageKind.ASKED, "alice", hub.clock.now(), "Why?")
        RegradeRequests(book).ask("A1", "alice", "Q1", asked)
    text = await today(hub)
    assert "1 answer waits" in part(text, "marking")
    assert 'href="/marking/A1"' in part(text, "marking")
    assert 'href="/marking/A1/requests/1"' in part(text, "marking")
    assert count(text, "marking") == "2"
    assert count(await today(hub, "/course/log"), "marking") == "2"


async def test_a_gradebook_that_cannot_be_read_is_told_and_the_rest_is_shown(hub: Hub) -> None:
    before = int(count(await today(hub), "problems") or 0)
    (hub.course / "gradebook.db").write_text("not a database" * 100)
    handed = Submissions(hub.course / "submitted")
    handed.add(Username.parse("alice"), ItemName.parse("A1"), b"x", hub.clock.now())
    hub.clock.advance(10)
    text = await today(hub)
    assert "The gradebook cannot be read." in part(text, "marking")
    assert "gradebook.db is damaged" in part(text, "marking")
    assert "1 student, the last" in part(text, "came")
    assert int(count(text, "problems")) == before + 1
    assert "gradebook.db is damaged" in await today(hub, "/course/problems")


async def test_who_asks_for_help_leads_to_the_board(hub: Hub) -> None:
    await begin(hub)
    hub.start("alice", "A1")
    await ask(hub, "POST", "/help/alice/A1", json={"label": "", "text": "How?"})
    text = await today(hub)
    assert "<h3>A1: alice</h3>" in part(text, "asking")
    assert 'href="/board/A1"' in part(text, "asking")


async def test_students_without_progress_for_ten_minutes_are_stuck(hub: Hub) -> None:
    release = hub.course / "hub-release" / "A1" / "A1.py"
    check = '\n\n@app.cell\ndef _(check):\n    check("Q1: sum", [(False, "no")])\n    return\n'
    release.write_text(NOTEBOOK.replace("\n\nif __name__", f"{check}\n\nif __name__"))
    hub.start("alice", "A1")
    key, said = SessionKey("alice", "A1", Mode.EDIT), [CheckReport("Q1: sum", "danger", 0.0, 1.0)]
    board = Board(hub.engine)
    hub.pool.checks.listener(key, said, hub.clock.now() - timedelta(minutes=12))
    hub.pool.checks.listener(key, said, hub.clock.now())
    await until(lambda: any(row.attempts == 2 for row in board.checks("A1")))
    text = await today(hub)
    assert "1 student without progress" in part(text, "stuck")
    assert 'href="/board/A1"' in part(text, "stuck")


async def test_settings_of_an_item_by_a_part_of_its_name_are_a_problem(tmp_path: Path) -> None:
    toml = f'{SETTINGS}\n[items."a3"]\nweight = 2\n'
    async with running_hub(tmp_path / "course", toml, "A1", "A2", "A3-Measuring") as named:
        assert "1 to mend" in part(await today(named), "problems")
        assert '[items."A3-Measuring"]' in await today(named, "/course/problems")


async def test_problems_are_counted_beside_the_page_that_tells_them(hub: Hub) -> None:
    release = hub.course / "hub-release" / "A2" / "A2.py"
    release.write_text('# /// script\n# dependencies = ["no-such-package"]\n# ///\n' + NOTEBOOK)
    await ask(hub, "POST", "/warm-cache", "prof")
    text = await today(hub)
    assert "A2 cannot be opened" in part(text, "problems")
    assert int(count(text, "problems")) >= 1


@pytest.mark.parametrize(
    ("name", "role", "first"),
    [
        ("prof", Role.INSTRUCTOR, "/course/today"),
        ("prof", Role.STUDENT, "/course/today"),  # is named in the settings
        ("alice", Role.STUDENT, "/"),
    ],
)
async def test_instructors_begin_with_today_and_students_with_their_notebooks(
    hub: Hub, name: str, role: Role, first: str
) -> None:
    token = make_token(SECRET, name, role)
    async with hub.client() as client:
        answer = await client.post("/login", data={"token": token}, headers={"Origin": ORIGIN})
    assert answer.headers["location"] == first
