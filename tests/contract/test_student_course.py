"""A student's course over a server of 0.3.16's shapes: no receipts, no deadlines of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from mograder.clients.assignment_server.client import HttpsTransport
from mograder.clients.course_server import Document, WorkState, WorkStatus, WouldReplaceOnTime
from mograder.clients.http import RetryPolicy
from mograder.core.errors import Conflict, NotFound
from mograder.exchange.student.course import StudentCourse
from mograder.store.copies.student_folder import StudentFolder
from tests.support.assignment_server import Course, reply, serving
from tests.support.clock import ManualClock
from tests.support.progress import quiet

NOTEBOOK = b"import marimo\n\napp = marimo.App()\n"


@pytest.fixture
def server() -> Iterator[tuple[Course, str]]:
    course = Course(files={"hw 1": {"hw 1.py": NOTEBOOK, "data.csv": b"x\n"}, "hw2": {}})
    with serving(course) as url:
        yield course, url


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def alice(server: tuple[Course, str]) -> Iterator[HttpsTransport]:
    once = RetryPolicy(tries=1)
    with HttpsTransport(server[1], f"alice:{'0' * 64}", retry=once) as transport:
        yield transport


@pytest.fixture
def course(tmp_path: Path, clock: ManualClock) -> StudentCourse:
    return StudentCourse(StudentFolder(tmp_path), clock)


def begin(course: StudentCourse, alice: HttpsTransport) -> Path:
    """Know the assignments and fetch the first; returns its notebook."""
    course.sync(alice, "http://server.test", quiet)
    course.fetch(alice, "hw 1", quiet)
    notebook = course.folder.notebook("hw 1")
    assert notebook is not None
    return notebook.path


def test_b149_what_the_server_said_is_there_without_it(
    course: StudentCourse, alice: HttpsTransport, tmp_path: Path, clock: ManualClock
) -> None:
    begin(course, alice)
    again = StudentCourse(StudentFolder(tmp_path), clock).known()
    assert again is not None
    assert [item.assignment.name for item in again.items] == ["hw 1", "hw2"]
    assert (again.user, again.synced) == ("alice", clock.now())
    assert (tmp_path / "hw 1" / "data.csv").read_bytes() == b"x\n"


def test_b150_a_server_without_receipts_gets_the_bytes_that_were_saved(
    server: tuple[Course, str], course: StudentCourse, alice: HttpsTransport
) -> None:
    notebook = begin(course, alice)
    notebook.write_bytes(NOTEBOOK + b"# mine\n")
    done = course.submit(alice, "hw 1", quiet)
    assert done.handed is not None
    assert done.handed.receipt == ""
    assert server[0].submissions["hw 1", "alice"] == NOTEBOOK + b"# mine\n"
    known = course.known()
    assert known is not None
    standing = known.item("hw 1").standing
    assert standing is not None
    assert standing.grade == "7.5"


def test_a_submission_whose_answer_was_lost_waits_and_is_sent_again(
    server: tuple[Course, str], course: StudentCourse, alice: HttpsTransport
) -> None:
    begin(course, alice)

    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    server[0].rude = hang_up
    done = course.submit(alice, "hw 1", quiet)
    assert done.handed is None
    waiting = course.folder.waiting("hw 1")
    assert waiting is not None
    assert waiting.why == done.why != ""
    server[0].rude = None
    [sent] = course.send_all(alice, quiet)
    assert sent.handed is not None
    assert course.folder.waiting("hw 1") is None
    with pytest.raises(NotFound):
        course.send(alice, "hw 1", quiet)


def test_what_waits_is_shown_though_the_server_lists_its_assignment_no_more(
    server: tuple[Course, str], course: StudentCourse, alice: HttpsTransport
) -> None:
    """It was neither shown nor sent, and nobody told the student."""
    begin(course, alice)
    course.submit(None, "hw 1", quiet)
    del server[0].files["hw 1"]
    known = course.sync(alice, "http://server.test", quiet)
    assert [item.folder for item in known.items] == ["hw2", "hw 1"]
    server[0].rude = lambda handler: reply(handler, 404, b'{"error": "Not found"}')
    [sent] = course.send_all(alice, quiet)
    assert (sent.handed, bool(sent.why)) == (None, True)
    server[0].rude = None
    course.give_up("hw 1")
    known = course.sync(alice, "http://server.test", quiet)
    assert [item.folder for item in known.items] == ["hw2"]


def test_files_that_were_replaced_since_the_last_look_are_fetched(
    server: tuple[Course, str], course: StudentCourse, alice: HttpsTransport
) -> None:
    """They were called damaged, and trying again, as was advised, did not help."""

    def publish(text: bytes) -> None:
        server[0].files["hw 1"] = {"hw 1.py": text}
        file = {"filename": "hw 1.py", "url": "/assignments/hw 1/files/hw 1.py"}
        file["sha256"] = hashlib.sha256(text).hexdigest()
        server[0].listing = [{"name": "hw 1", "files": [file]}]

    publish(NOTEBOOK)
    notebook = begin(course, alice)
    publish(NOTEBOOK + b"# corrected\n")
    course.fetch(alice, "hw 1", quiet)
    assert notebook.read_bytes() == NOTEBOOK + b"# corrected\n"
    known = course.known()
    assert known is not None
    assert not known.item("hw 1").updated


def test_feedback_that_another_program_holds_stops_no_sync(
    course: StudentCourse, alice: HttpsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows: of a course in which one document was open, nothing new was shown."""

    def held(*_: object) -> None:
        raise Conflict("alice.html is open in another program.")

    there = WorkStatus(WorkState.SUBMITTED, feedback_available=True)
    monkeypatch.setattr(alice, "work_status", lambda _: there)
    monkeypatch.setattr(alice, "feedback", lambda _: (Document("alice.html", b"<p>"),))
    monkeypatch.setattr(StudentFolder, "put_feedback", held)
    known = course.sync(alice, "http://server.test", quiet)
    assert [each.standing for each in known.items] == [there, there]


def test_what_is_due_is_asked_about_though_the_server_would_not(
    server: tuple[Course, str], course: StudentCourse, alice: HttpsTransport, clock: ManualClock
) -> None:
    """0.3.16 passes due dates on and takes everything (compatibility-0.3.16.md 4)."""
    listing = server[0].assignments()
    listing[0]["duedate"] = int((clock.now() + timedelta(hours=1)).timestamp())
    server[0].listing = listing
    notebook = begin(course, alice)
    course.submit(alice, "hw 1", quiet)
    clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# late\n")
    with pytest.raises(WouldReplaceOnTime):
        course.submit(alice, "hw 1", quiet)
    assert server[0].submissions["hw 1", "alice"] == NOTEBOOK
    assert course.folder.waiting("hw 1") is None, "it is still where it was"
    course.submit(alice, "hw 1", quiet, late=True)
    notebook.write_bytes(NOTEBOOK + b"# later\n")
    course.submit(alice, "hw 1", quiet)
    assert server[0].submissions["hw 1", "alice"] == NOTEBOOK + b"# later\n"


def test_a_deadline_that_was_moved_since_the_last_look_counts(
    server: tuple[Course, str], course: StudentCourse, alice: HttpsTransport, clock: ManualClock
) -> None:
    """With the old deadline, late work replaced work on time unasked."""
    listing = server[0].assignments()
    listing[0]["duedate"] = int((clock.now() + timedelta(hours=9)).timestamp())
    server[0].listing = listing
    notebook = begin(course, alice)
    course.submit(alice, "hw 1", quiet)
    earlier = int((clock.now() + timedelta(hours=1)).timestamp())
    listing[0]["duedate"] = earlier
    clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# late\n")
    with pytest.raises(WouldReplaceOnTime):
        course.submit(alice, "hw 1", quiet)
    assert server[0].submissions["hw 1", "alice"] == NOTEBOOK
    known = course.known()
    assert known is not None
    due = known.item("hw 1").assignment.due
    assert due is not None
    assert due.timestamp() == earlier, "the page that asks names it"


def test_work_within_an_extension_replaces_work_on_time_unasked(
    server: tuple[Course, str],
    course: StudentCourse,
    alice: HttpsTransport,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Moodle tells an extension with the work: the student was asked about "a late submission"."""
    listing = server[0].assignments()
    listing[0]["duedate"] = int((clock.now() + timedelta(hours=1)).timestamp())
    server[0].listing = listing
    ask, extended_to = alice.work_status, clock.now() + timedelta(hours=3)
    monkeypatch.setattr(
        alice, "work_status", lambda found: replace(ask(found), extended_to=extended_to)
    )
    notebook = begin(course, alice)
    course.submit(alice, "hw 1", quiet)
    clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# extended\n")
    course.submit(alice, "hw 1", quiet)
    assert server[0].submissions["hw 1", "alice"] == NOTEBOOK + b"# extended\n"
    clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# late\n")
    with pytest.raises(WouldReplaceOnTime):
        course.submit(alice, "hw 1", quiet)


def test_two_names_that_look_alike_on_a_disk_never_share_a_folder(
    server: tuple[Course, str], course: StudentCourse, alice: HttpsTransport
) -> None:
    """Nor do they change places when the server names them in another order."""
    server[0].listing = [{"name": name, "files": []} for name in ("a/b", "a:b", "a*b")]
    first = course.sync(alice, "http://server.test", quiet)
    folders = {item.assignment.name: item.folder for item in first.items}
    assert len(set(folders.values())) == 3
    server[0].listing.reverse()
    second = course.sync(alice, "http://server.test", quiet)
    assert {item.assignment.name: item.folder for item in second.items} == folders
