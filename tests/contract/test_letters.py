"""Letters by e-mail: each event gives one, by a real mail server, and none is sent twice."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select

from mograder.clients import mail
from mograder.clients.mail import MailServer, Sending, is_address
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.item_dates import OwnDates
from mograder.core.log import mask
from mograder.core.names import INSTRUCTOR, ItemName, Username, rehearsal_user
from mograder.core.settings import load_settings
from mograder.exchange.mailing import LetterEvent, Post
from mograder.grading.release.releasing import ReleasedMarks, render_marks
from mograder.store.copies.update_rows import UpdateRows
from mograder.store.database.database import database_url, open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.gradebook.gradebook import Gradebook, Identity
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.late_work import Extension, LateWork
from mograder.store.gradebook.mark_release import MarkReleases, NewRelease
from mograder.store.hub.letters import LetterRow, Letters, LetterState, letters
from mograder.store.marking.regrade_requests import Message, MessageKind, RegradeRequests
from mograder.store.submissions.history import Submission
from mograder.store.submissions.submissions import Submissions
from mograder.store.versions.kept_releases import KeptReleases
from mograder.web.hub.mail import open_post
from mograder.web.pages import load_pages
from tests.support.clock import ManualClock
from tests.support.gradebooks import FAIR, a_run
from tests.support.hub_app import Hub, make_hub, running
from tests.support.hub_copies import OTHER, ask, begin, press, read
from tests.support.identity import Members
from tests.support.mail_server import PASSWORD, MailBox, mail_server, silent_server
from tests.support.supervisors import until

SETTINGS = """title = "Numerics"
timezone = "Europe/Berlin"
[hub]
instructors = ["prof@example.edu"]
public_url = "https://hub.example.edu"
[mail]
host = "127.0.0.1"
port = PORT
security = "none"
sender = "numerics@example.edu"
domain = "students.example.edu"
events = EVENTS
[items."A1"]
due = DUE
"""
EVENTS = '["handed-in", "released", "decided", "updated", "due", "digest"]'
DUE = "2026-09-02T09:00:30Z"
"""A day, and half a minute, after the tests' clock begins."""
ALICE, BOB, PROF = "alice@students.example.edu", "bob@moodle.example", "prof@example.edu"


@pytest.fixture
def box() -> Iterator[MailBox]:
    """A mail server."""
    with mail_server() as running_server:
        yield running_server


def toml(events: str = EVENTS, due: str = DUE, port: int = 25) -> str:
    """Return settings for letters."""
    return SETTINGS.replace("PORT", str(port)).replace("EVENTS", events).replace("DUE", due)


NewHub = Callable[..., Hub]


@pytest.fixture
def new_hub(tmp_path: Path, box: MailBox) -> Iterator[NewHub]:
    """Make a hub with an assignment, whose list has alice and bob; a later one is a restart of it.

    ``new_hub(EVENTS, due=..., port=...)``; without events it confirms what is handed in.
    """
    course, made = tmp_path / "course", list[Hub]()

    def new(events: str = '["handed-in"]', *, due: str = DUE, port: int = box.port) -> Hub:
        hub = make_hub(course, toml(events, due, port))
        (course / "allowed_users.txt").write_text("alice\nbob\n")
        hub.publish("A1")
        if made:
            hub.clock.advance((made[-1].clock.now() - hub.clock.now()).total_seconds())
        made.append(hub)
        return hub

    yield new
    for hub in made:
        hub.close()


async def look(hub: Hub, box: MailBox, count: int) -> None:
    """Run the hub until there are so many letters and none waits."""
    async with running(hub.app):
        await until(lambda: len(box.letters) >= count and _waiting(hub) == 0)


async def begun(hub: Hub) -> None:
    """Run the hub once, since letters are about what happens from its first start on."""
    async with running(hub.app):
        await until(lambda: _rows(hub) >= 1)
    hub.clock.advance(60)


async def until_sent(hub: Hub, box: MailBox, subject: str, count: int) -> None:
    """Run the hub until alice has so many letters with a subject and none waits."""
    async with running(hub.app):
        await until(lambda: box.to(ALICE).count(subject) >= count and _waiting(hub) == 0)


def _rows(hub: Hub) -> int:
    with hub.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(letters)).scalar_one())


def _waiting(hub: Hub) -> int:
    with hub.engine.connect() as connection:
        waits = select(func.count()).where(letters.c.state == LetterState.WAITING)
        return int(connection.execute(waits).scalar_one())


def offer(hub: Hub) -> None:
    """Publish a correction of A1, and offer it."""
    hub.publish("A1", files={"A1.py": OTHER.encode()})
    release, now = hub.services.releases.get(ItemName("A1")), hub.clock.now()
    assert release is not None
    UpdateRows(hub.engine).make_offer(
        "A1", KeptReleases(hub.engine).keep(release, now), "prof", now
    )


def hand_in(hub: Hub, user: str) -> None:
    """Have somebody hand in A1."""
    Submissions(hub.course / "submitted", records=hub.course / ".mograder" / "receipts").add(
        Username.parse(user), ItemName.parse("A1"), b"x = 1", hub.clock.now()
    )


async def test_each_event_gives_one_letter_and_none_again(new_hub: NewHub, box: MailBox) -> None:
    hub = new_hub(EVENTS)
    await begun(hub)
    await begin(hub)
    now = hub.clock.now()
    hand_in(hub, "alice")
    with Gradebook(hub.course / "gradebook.db") as book:
        book.put_identities("https://moodle.example", [Identity(7, "bob", "Bob", BOB)])
        book.record_run(a_run("alice", FAIR))
        requests = RegradeRequests(book)
        number = requests.ask("A1", "alice", "Q1", Message(MessageKind.ASKED, "alice", now, "Why?"))
        last = requests.find(number).last
        kept = Message(MessageKind.KEPT, "prof@example.edu", now, "", before=1.0, after=1.0)
        requests.add(number, kept, seen=last)
        news = [NewRelease("alice", now, "{}")]
        MarkReleases(book).add("A1", news, seen=0, by="prof", at=now)
    offer(hub)
    await look(hub, box, 6)
    assert sorted(box.to(ALICE)) == [
        "[Numerics] A1 is handed in",
        "[Numerics] An update of A1",
        "[Numerics] Your marks of A1",
        "[Numerics] Your request about A1",
    ]
    assert box.to(BOB) == ["[Numerics] A1 is due Wed 02 Sep, 11:00 CEST"]
    assert box.to(PROF) == ["[Numerics] Today, Tuesday 01 September"]
    hub.clock.advance(120)
    hand_in(hub, "bob")
    await look(new_hub(EVENTS), box, 7)
    assert len(box.letters) == 7


async def test_a_letter_tells_whether_a_decision_kept_the_mark_or_only_closed_the_request(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = new_hub('["decided"]')
    await begun(hub)
    now = hub.clock.now()
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("alice", FAIR))
        requests = RegradeRequests(book)
        for question, after in (("Q1", 1.0), ("Q2", None)):
            asked = Message(MessageKind.ASKED, "alice", now, "Why?")
            number = requests.ask("A1", "alice", question, asked)
            decided = Message(MessageKind.KEPT, "prof", now, "", before=1.0, after=after)
            requests.add(number, decided, seen=requests.find(number).last)
    await look(hub, box, 2)
    texts = sorted(letter.get_content() for letter in box.letters)
    assert "look again at Q1 of A1 was decided: the mark was kept." in texts[0]
    assert "look again at Q2 of A1 was decided." in texts[1]


async def test_a_confirmation_tells_the_time_and_the_digest_of_the_submission(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = new_hub()
    await begun(hub)
    hand_in(hub, "alice")
    await look(hub, box, 1)
    (letter,) = box.letters
    text = letter.get_content()
    assert "Your submission 1 of A1 arrived Tue 01 Sep, 11:01 CEST." in text
    assert "It was due Wed 02 Sep, 11:00 CEST, so it is on time." in text
    assert hashlib.sha256(b"x = 1").hexdigest() in text
    assert "https://hub.example.edu/submissions/alice/A1" in text
    assert (letter["From"], letter["Auto-Submitted"]) == ("numerics@example.edu", "auto-generated")


def confirmation(late: tuple[str, str] = ("", "")) -> str:
    """Return the letter about a submission, without a due date, after which another one came."""
    now = ManualClock().now()
    later = Submission("alice", "alice.py", now + timedelta(seconds=1), 2, sha256="0" * 64)
    return load_pages().render(
        "letter.txt",
        "",
        event=("handed-in", "alice", "A1"),
        title=lambda _: "",
        time=str,
        at=now,
        sent=lambda: later,
        own=OwnDates,
        late=lambda _: late,
    )


def test_a_confirmation_has_no_digest_of_a_submission_that_came_after_it() -> None:
    text = confirmation()
    assert "Your submission of A1 arrived" in text
    assert "SHA-256" not in text


def test_a_confirmation_tells_what_work_without_a_due_date_loses() -> None:
    text = " ".join(confirmation(("after the last moment", "−100 %")).split())
    assert text.endswith("+00:00. It is after the last moment (−100 % of the mark).")


async def test_late_work_is_confirmed_as_late(new_hub: NewHub, box: MailBox) -> None:
    due = "2026-09-01T08:00:00Z"
    hub = new_hub(due=due)
    await begun(hub)
    hand_in(hub, "alice")
    await look(hub, box, 1)
    text = " ".join(box.letters[0].get_content().split())
    assert re.search(r"It was due Tue 01 Sep, 10:00 CEST, so it is 61 minutes late", text), text


@pytest.mark.parametrize("given_days", [20, 40], ids=["runs out", "is withdrawn"])
async def test_marks_that_wait_for_an_extension_are_told_of_when_they_can_be_read(
    new_hub: NewHub, box: MailBox, given_days: int
) -> None:
    events, bob = '["released", "handed-in"]', "bob@students.example.edu"
    hub = new_hub(events)
    await begun(hub)
    now, marks = hub.clock.now(), [ReleasedMarks(StudentGrade("A1", e)) for e in ("alice", "bob")]
    marks[1] = dataclasses.replace(marks[1], hidden_tests=True)
    with Gradebook(hub.course / "gradebook.db") as book:
        given = Extension("A1", "carol", until=now + timedelta(days=given_days))
        LateWork(book).record([given], by="prof", at=now)
        news = [NewRelease(each.grade.student, now, render_marks(each)) for each in marks]
        MarkReleases(book).add("A1", news, seen=0, by="prof", at=now)
    told: list[tuple[int, int]] = []
    for days in (0, 19, 2, 1):
        hub.clock.advance(timedelta(days=days).total_seconds())
        if days == 2 and given_days > 21:
            withdrawn = dataclasses.replace(given, removed=True)
            with Gradebook(hub.course / "gradebook.db") as book:
                LateWork(book).record([withdrawn], by="prof", at=hub.clock.now())
        hub = new_hub(events)
        hand_in(hub, "alice")  # whose letter shows that the hub has looked
        await until_sent(hub, box, "[Numerics] A1 is handed in", len(told) + 1)
        told.append((len(box.to(ALICE)) - len(told) - 1, len(box.to(bob))))
    assert told == [(1, 0), (1, 0), (1, 1), (1, 1)]


@pytest.mark.parametrize("wait", [0, 2], ids=["at once", "two days later"])
async def test_changed_marks_that_can_be_read_later_than_they_were_decided_are_told_of_then(
    new_hub: NewHub, box: MailBox, wait: int
) -> None:
    events = '["released", "decided", "handed-in"]'
    hub = new_hub(events)
    await begun(hub)
    now = hub.clock.now()
    with Gradebook(hub.course / "gradebook.db") as book:
        requests = RegradeRequests(book)
        number = requests.ask("A1", "alice", "Q1", Message(MessageKind.ASKED, "alice", now, "Why?"))
        changed = Message(MessageKind.CHANGED, "prof", now, "", before=1.0, after=2.0)
        requests.add(number, changed, seen=requests.find(number).last)
        news = [NewRelease("alice", now + timedelta(days=wait), "{}")]
        MarkReleases(book).add("A1", news, seen=0, by="prof", at=now)
    hub.clock.advance(timedelta(days=3).total_seconds())
    hand_in(hub, "alice")  # whose letter shows that the hub has looked
    await until_sent(hub, box, "[Numerics] A1 is handed in", 1)
    assert box.to(ALICE).count("[Numerics] Your request about A1") == 1
    assert box.to(ALICE).count("[Numerics] Your marks of A1") == bool(wait)


async def test_who_begins_after_an_update_was_offered_gets_no_letter_about_it(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = new_hub('["handed-in", "updated"]')
    await begun(hub)
    offer(hub)
    await begin(hub)
    hand_in(hub, "alice")  # whose letter shows that the hub has looked
    await look(hub, box, 1)
    assert box.to(ALICE) == ["[Numerics] A1 is handed in"]


async def test_who_may_not_come_in_gets_no_letter(new_hub: NewHub, box: MailBox) -> None:
    hub = new_hub('["handed-in", "updated"]')
    await begun(hub)
    for name in ("carol", INSTRUCTOR, rehearsal_user(1)):
        folder = hub.course / "hub-notebooks" / name / "A1"
        folder.mkdir(parents=True)
        (folder / "A1.py").write_text("x = 1")
    hand_in(hub, "carol")
    hand_in(hub, "alice")
    offer(hub)
    await look(hub, box, 1)
    assert [each["To"] for each in box.letters] == [ALICE]


async def test_a_reminder_does_not_say_what_a_hub_cannot_know(
    new_hub: NewHub, box: MailBox
) -> None:
    """Where it takes no submissions, they are in Moodle."""
    hub = new_hub('["due"]')
    hub.clock.advance(60)
    await look(hub, box, 2)
    assert all("have not" not in each.get_content() for each in box.letters)


async def test_a_reminder_goes_to_all_who_can_still_hand_in(new_hub: NewHub, box: MailBox) -> None:
    """Members of a platform's course are not on the list, and what was begun may be hidden now."""
    hub = new_hub('["due"]')
    hub.services.roster.more = Members("carol")
    for name in ("alice", "carol"):
        await ask(hub, "POST", "/download/A1", name)
    await press(hub, "/visibility", PROF, data={"name": "A1", "state": "hide"})
    hub.clock.advance(60)
    await look(hub, box, 2)
    assert sorted(str(each["To"]) for each in box.letters) == [
        ALICE,
        "carol@students.example.edu",
    ]


async def test_a_reminder_goes_to_members_of_a_platforms_course_who_have_not_begun(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = new_hub('["due"]')
    (hub.course / "allowed_users.txt").write_text("guest\n")
    hub.services.roster.more = Members("carol")
    hub.clock.advance(60)
    await look(hub, box, 2)
    assert sorted(str(each["To"]) for each in box.letters) == [
        "carol@students.example.edu",
        "guest@students.example.edu",
    ]


async def test_the_days_letter_tells_what_closes_and_what_is_not_graded(
    new_hub: NewHub, box: MailBox
) -> None:
    due = "2026-08-30T08:00:00Z\ncloses = 2026-09-03T08:00:00Z"
    hub = new_hub('["digest"]', due=due)
    hand_in(hub, "alice")
    with Gradebook(hub.course / "gradebook.db") as book:
        book.record_run(a_run("bob", FAIR))
    await look(hub, box, 1)
    text = box.letters[0].get_content()
    assert "A1: closes Thu 03 Sep, 10:00 CEST" in text
    assert "due" not in text
    assert "A1: 1 handed in and not graded" in text
    assert "A1: 1 answer waits for a mark" in text


async def test_what_happened_before_letters_were_set_up_gives_none(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = new_hub()
    hand_in(hub, "alice")
    hub.clock.advance(60)
    await begun(hub)
    hand_in(hub, "bob")
    await look(hub, box, 1)
    assert [each["To"] for each in box.letters] == ["bob@students.example.edu"]


async def test_a_refused_address_is_told_on_the_page_of_problems(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = new_hub()
    await begun(hub)
    box.refused[ALICE] = "550 no such user"
    hand_in(hub, "alice")
    hand_in(hub, "bob")
    await look(hub, box, 1)
    text = await read(hub, "/course/problems", PROF)
    today = await read(hub, "/course/today", PROF)
    assert f"alice, {ALICE}" in text
    assert "The mail server refuses it: no such user" in text
    assert "Letters by e-mail" in today


async def test_a_server_that_is_away_loses_no_letter(new_hub: NewHub, box: MailBox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    hub = new_hub(port=port)
    await begun(hub)
    hand_in(hub, "alice")
    async with running(hub.app):
        await until(lambda: _rows(hub) == 2 and Letters(hub.engine).due(hub.clock.now(), 9) == ())
        assert "No letters are sent" in await read(hub, "/course/problems", PROF)
    hub.clock.advance(600)
    await look(new_hub(), box, 1)
    assert box.to(ALICE) == ["[Numerics] A1 is handed in"]


async def test_a_gradebook_that_cannot_be_read_holds_up_no_letter_that_waits(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = new_hub()
    await begun(hub)
    (hub.course / "gradebook.db").write_text("not a database" * 100)
    now = hub.clock.now()
    row = LetterRow("one", "released", "alice", "A2", ALICE, "A2", "text", now, now)
    Letters(hub.engine).add([row])
    hand_in(hub, "alice")
    await look(hub, box, 1)
    assert box.to(ALICE) == ["A2"]
    text = await read(hub, "/course/problems", PROF)
    assert "The gradebook cannot be read" in text
    assert "gradebook.db is damaged" in text
    (hub.course / "gradebook.db").unlink()
    await look(new_hub(), box, 2)
    assert box.to(ALICE)[1:] == ["[Numerics] A1 is handed in"]


def test_a_reminder_that_waited_until_the_item_was_due_is_not_sent_any_more(
    engine: Engine, box: MailBox
) -> None:
    rows, clock = Letters(engine), ManualClock()
    now = clock.now()
    for kind in ("due", "digest", "released"):
        rows.add([LetterRow(kind, kind, "alice", "A1", ALICE, kind, "text", now, now)])
    with socket.create_server(("127.0.0.1", 0)) as closed:
        away = a_server(closed.getsockname()[1])
    for server in (away, a_server(box.port)):
        Post(rows, server, "").look(clock, lambda *_: iter(()))
        clock.advance(86_400 + 600)
    assert box.to(ALICE) == ["released"]
    failed = Letters(engine).failed(now, 9)
    assert {each.kind for each in failed} == {"due", "digest"}
    assert {each.error for each in failed} == {
        "The mail server took no letters while this one was true."
    }


async def test_a_letter_during_which_the_connection_ended_is_not_sent_again(
    new_hub: NewHub, box: MailBox
) -> None:
    """It may have arrived: at most once."""
    box.drops = True
    hub = new_hub()
    await begun(hub)
    hand_in(hub, "alice")
    await look(hub, box, 1)
    box.drops = False
    hub.clock.advance(7200)
    hand_in(hub, "bob")
    await look(new_hub(), box, 2)
    assert len(box.letters) == 2
    (failed,) = Letters(hub.engine).failed(hub.clock.now() - timedelta(days=1), 9)
    assert "may have arrived" in failed.error


def test_a_letter_that_a_killed_hub_was_sending_is_not_sent_again(engine: Engine) -> None:
    rows, now = Letters(engine), ManualClock().now()
    row = LetterRow("one", "handed-in", "alice", "A1", ALICE, "subject", "text", now, now)
    rows.add([row])
    assert rows.begin("one")
    assert not rows.begin("one")
    assert rows.due(now, 9) == ()
    rows.open(now)
    (failed,) = rows.failed(now, 9)
    assert "may have arrived" in failed.error


def test_a_clock_that_was_ahead_once_does_not_end_all_letters(engine: Engine) -> None:
    rows, now = Letters(engine), ManualClock().now()
    rows.open(now + timedelta(days=400))
    assert rows.open(now) == now
    assert rows.open(now + timedelta(hours=1)) == now


def test_the_password_is_in_no_text(tmp_path: Path, engine: Engine) -> None:
    host, password = 'host = "127.0.0.1"', "that-of-the-mail"
    (tmp_path / "mograder.toml").write_text(toml().replace(host, f'{host}\nuser = "hub"'))
    post = open_post(load_settings(tmp_path, environ={}), Letters(engine), password)
    assert password not in repr(post.server)
    assert mask(f"said {password}") == "said ***"


def test_a_sign_in_is_used_and_a_wrong_password_told() -> None:
    with mail_server(sign_in=True) as box:
        right = a_server(box.port, user="hub", password=PASSWORD)
        assert send(right) is Sending.SENT
        wrong = dataclasses.replace(right, password="wrong")
        with pytest.raises(RemoteFailed, match="535"):
            send(wrong)
        assert len(box.letters) == 1


def test_a_server_that_hangs_is_given_up_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_SECONDS", 0.2)
    with silent_server() as port, pytest.raises(RemoteFailed, match="timed out"):
        send(a_server(port))


def test_a_server_that_hangs_up_at_a_refused_address_holds_up_no_other_letter(
    engine: Engine, box: MailBox
) -> None:
    rows, clock = Letters(engine), ManualClock()
    now, post = clock.now(), Post(rows, a_server(box.port), "")
    box.refused[ALICE], box.hangs_up = "550 no such user", True
    letter = LetterRow("a", "handed-in", "alice", "A1", ALICE, "subject", "text", now, now)
    rows.add([letter, dataclasses.replace(letter, key="b", username="bob", address=BOB)])
    for _ in range(2):
        post.look(clock, lambda *_: iter(()))
        clock.advance(600)
    assert [each["To"] for each in box.letters] == [BOB]
    (failed,) = rows.failed(now, 9)
    assert "no such user" in failed.error


def test_a_server_that_refuses_the_text_of_one_letter_holds_up_no_other(
    engine: Engine, box: MailBox
) -> None:
    """Without RSET it takes the next letter for a part of the refused one, and refuses it."""
    rows, clock = Letters(engine), ManualClock()
    now, post = clock.now(), Post(rows, a_server(box.port), "")
    box.no_text.add(ALICE)
    letter = LetterRow("a", "handed-in", "alice", "A1", ALICE, "subject", "text", now, now)
    rows.add([letter, dataclasses.replace(letter, key="b", username="bob", address=BOB)])
    post.look(clock, lambda *_: iter(()))
    assert ([each["To"] for each in box.letters], post.problem) == ([BOB], "")
    assert [each.key for each in rows.due(now + timedelta(hours=1), 9)] == ["a"]


@pytest.mark.parametrize("at_text", [False, True])
def test_a_letter_that_the_server_does_not_take_now_waits_longer_each_time(
    at_text: bool, engine: Engine, box: MailBox
) -> None:
    rows, clock = Letters(engine), ManualClock()
    now, post = clock.now(), Post(rows, a_server(box.port), "")
    if at_text:
        box.no_text.add(ALICE)
    else:
        box.refused[ALICE] = "450 too many letters this hour"
    rows.add([LetterRow("a", "handed-in", "alice", "A1", ALICE, "subject", "text", now, now)])
    waits: list[timedelta] = []
    for _ in range(4):
        post.look(clock, lambda *_: iter(()))
        (row,) = rows.due(clock.now() + timedelta(days=1), 9)
        waits.append(row.next - clock.now())
        clock.advance(waits[-1].total_seconds())
    assert waits == [timedelta(minutes=minutes) for minutes in (5, 10, 20, 40)]


def test_a_hub_that_stops_sends_no_further_letter(engine: Engine, box: MailBox) -> None:
    rows, clock = Letters(engine), ManualClock()
    now = clock.now()
    post = Post(rows, a_server(box.port), "")
    rows.add(
        [
            LetterRow(key, "handed-in", "alice", "A1", ALICE, key, "text", now, now)
            for key in ("one", "two")
        ]
    )
    post.ends.set()
    post.look(clock, lambda *_: iter(()))
    assert (box.letters, len(rows.due(now, 5))) == ([], 2)


def test_more_events_than_a_statement_may_name_give_a_letter_each(tmp_path: Path) -> None:
    engine = open_engine(database_url("", tmp_path))

    def bound(connection: sqlite3.Connection, _: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    event.listen(engine, "connect", bound)
    upgrade(engine)
    rows, clock = Letters(engine), ManualClock()
    post, now = Post(rows, a_server(1), ""), clock.now()
    post.ends.set()

    def letter(key: str) -> LetterEvent:
        row = LetterRow(key, "released", "alice", "A1", ALICE, key, "text", now, now)
        return key, lambda: row

    post.look(clock, lambda *_: (letter(f"{number}") for number in range(1500)))
    post.look(clock, lambda *_: (letter(f"{number}") for number in range(2000)))
    assert {row.key for row in rows.due(now, 3000)} == {f"{number}" for number in range(2000)}
    engine.dispose()


def test_letters_of_two_courses_about_the_same_event_are_two(tmp_path: Path, box: MailBox) -> None:
    """A mail server keeps one of two letters with one Message-ID."""
    clock = ManualClock()
    now = clock.now()
    for course in ("numerics", "statistics"):
        (tmp_path / course).mkdir()
        engine = open_engine(database_url("", tmp_path / course))
        upgrade(engine)
        rows = Letters(engine)
        rows.add([LetterRow("due", "due", "alice", "A1", ALICE, course, "text", now, now)])
        post = Post(rows, a_server(box.port), f"https://{course}.example.edu")
        post.look(clock, lambda *_: iter(()))
        engine.dispose()
    numbers = {str(each["Message-ID"]) for each in box.letters}
    assert len(numbers) == len(box.letters) == 2


def test_letters_are_written_after_a_clock_that_was_ahead_was_put_right(
    engine: Engine, box: MailBox
) -> None:
    """They were switched on while it was ahead, and the hub goes on."""
    rows, clock, begun = Letters(engine), ManualClock(), list[datetime]()
    post, right = Post(rows, a_server(box.port), ""), clock.now()

    def find(since: datetime, now: datetime) -> Iterator[LetterEvent]:
        begun.append(since)
        return iter(())

    clock.set_by(86_400)
    post.look(clock, find)
    clock.set_by(-86_400)
    post.look(clock, find)
    clock.advance(600)
    post.look(clock, find)
    assert begun == [right + timedelta(days=1), right, right]


def test_a_subject_or_address_cannot_add_a_header(engine: Engine, box: MailBox) -> None:
    rows, clock = Letters(engine), ManualClock()
    now, subject = clock.now(), "Your marks\r\nBcc: eve@example.edu"
    rows.add([LetterRow("one", "handed-in", "alice", "A1", ALICE, subject, "text", now, now)])
    Post(rows, a_server(box.port), "").look(clock, lambda *_: iter(()))
    (letter,) = box.letters
    assert (letter["Bcc"], letter["Subject"]) == (None, "Your marks Bcc: eve@example.edu")
    for address in (
        "a@b.example, eve@c.example",
        "a\n@b.example",
        "<a@b.example>",
        "alice",
        "ä@b.c",
        "=?utf-8?q?=0A?=@b.example",
        "=??q??=@b.example",
    ):
        assert not is_address(address)


def send(server: MailServer) -> Sending | None:
    """Send alice a letter."""
    with server.connected() as smtp:
        sent = server.send(smtp, ALICE, b"Subject: Marks\r\n\r\nText", lambda: True)
    return sent and sent[0]


def a_server(port: int, *, user: str = "", password: str = "") -> MailServer:
    """Return the client of a server on this machine."""
    return MailServer("127.0.0.1", port, "none", "numerics@example.edu", user, password)


ELSEWHERE = ('host = "127.0.0.1"', 'host = "mail.example.edu"\nuser = "hub"')


@pytest.mark.parametrize(
    ("change", "password", "told"),
    [
        (('sender = "numerics@example.edu"\n', ""), "", "sender must be a mail address"),
        ((f"events = {EVENTS}\n", ""), "", "events is empty"),
        (('public_url = "https://hub.example.edu"\n', ""), "", "need .hub. public_url"),
        (ELSEWHERE, "", "there is no password"),
        (ELSEWHERE, "secret", "readable by others"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(
    tmp_path: Path, engine: Engine, change: tuple[str, str], password: str, told: str
) -> None:
    (tmp_path / "mograder.toml").write_text(toml().replace(*change))
    with pytest.raises(InvalidInput, match=told):
        open_post(load_settings(tmp_path, environ={}), Letters(engine), password)


async def test_invitations_go_out_by_letter_and_those_without_an_address_are_shown(
    new_hub: NewHub, box: MailBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "SETTINGS", SETTINGS.replace('"students.example.edu"', '""'))
    hub = new_hub()
    people = "carol, Carol Doe, carol@example.org\ndora"
    async with running(hub.app):
        data = {"people": people, "days": "7", "form": "mail"}
        page = (await press(hub, "/course/invite", PROF, data=data)).text
    assert "1 goes out by e-mail" in page
    assert "dora" in page
    assert "carol" not in page
    await look(hub, box, 1)
    (letter,) = box.letters
    assert letter["To"] == "carol@example.org"
    text = letter.get_content()
    (link,) = re.findall(r"https://hub\.example\.edu/login/link\?code=(\S+)", text)
    assert "This link signs you in as carol, once, until Tue 08 Sep" in text
    headers = {"Accept": "text/html", "Origin": "https://hub.example.edu"}
    answer = await ask(hub, "POST", "/login/link", "", data={"code": link}, headers=headers)
    assert "set-cookie" in answer.headers
    with hub.engine.connect() as connection:
        assert not any(connection.execute(select(letters.c.text)).scalars()), "no link is kept"


async def invited_in_vain(new_hub: NewHub, times: int) -> Hub:
    """Invite alice so often, for a day, by letters that the mail server does not take."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    hub = new_hub(port=port)
    data = {"people": f"alice, {ALICE}", "days": "1", "form": "mail"}
    async with running(hub.app):
        for _ in range(times):
            assert (await press(hub, "/course/invite", PROF, data=data)).status_code == 200
    return hub


async def test_of_two_invitations_that_waited_only_the_one_with_the_valid_link_is_sent(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = await invited_in_vain(new_hub, 2)
    assert _waiting(hub) == 1
    hub.clock.advance(600)
    hub = new_hub()
    await look(hub, box, 1)
    (letter,) = box.letters
    (link,) = re.findall(r"/login/link\?code=(\S+)", letter.get_content())
    headers = {"Accept": "text/html", "Origin": "https://hub.example.edu"}
    answer = await ask(hub, "POST", "/login/link", "", data={"code": link}, headers=headers)
    assert "set-cookie" in answer.headers


async def test_an_invitation_that_waited_until_its_link_ended_is_not_sent_any_more(
    new_hub: NewHub, box: MailBox
) -> None:
    hub = await invited_in_vain(new_hub, 1)
    hub.clock.advance(36 * 3600)
    hub = new_hub()
    await look(hub, box, 0)
    assert box.letters == []
    (failed,) = Letters(hub.engine).failed(hub.clock.now(), 9)
    assert failed.error == "Its link is not valid any more: invite again."


async def test_an_invitation_that_waits_ends_with_all_tokens(new_hub: NewHub) -> None:
    hub = await invited_in_vain(new_hub, 1)
    assert _waiting(hub) == 1
    hub.services.revocations.bump_epoch("alice")
    assert _waiting(hub) == 0


async def test_a_hub_without_letters_sends_no_invitations(hub: Hub) -> None:
    data = {"people": "alice", "days": "7", "form": "mail"}
    answer = await press(hub, "/course/invite", "prof", data=data)
    assert answer.status_code == 400
    assert "This hub sends no letters." in answer.text
    assert hub.audit() == []
