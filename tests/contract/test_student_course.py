"""A student's course over a server of 0.3.16's shapes: no receipts, no deadlines of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from mograder.clients.assignment_server.client import HttpsTransport
from mograder.clients.course_server import (
    Document,
    RemoteDraft,
    WorkState,
    WorkStatus,
    WouldReplaceOnTime,
)
from mograder.clients.http import RetryPolicy
from mograder.core.errors import Busy, Conflict, InvalidInput, MograderError, NotFound
from mograder.exchange.student.course import Known, KnownItem, StudentCourse, Submitted
from mograder.store.copies.student_folder import StudentFolder
from tests.support.assignment_server import Course, reply, serving
from tests.support.clock import ManualClock
from tests.support.progress import quiet

NOTEBOOK = b"import marimo\n\napp = marimo.App()\n"


@dataclass(frozen=True)
class Student:
    """A student's course on this machine, and the server that it comes from."""

    served: Course
    course: StudentCourse
    alice: HttpsTransport
    clock: ManualClock

    def sync(self) -> Known:
        return self.course.sync(self.alice, "http://server.test", quiet)

    def begin(self) -> Path:
        """Know the assignments and fetch the first; returns its notebook."""
        self.sync()
        self.course.fetch(self.alice, "hw 1", quiet)
        notebook = self.course.folder.notebook("hw 1")
        assert notebook is not None
        return notebook.path

    def submit(self, *, late: bool = False) -> Submitted:
        return self.course.submit(self.alice, "hw 1", quiet, late=late)

    def submitted(self) -> bytes:
        """What the server holds."""
        return self.served.submissions["hw 1", "alice"]

    def known(self) -> KnownItem:
        """What is known of the first assignment."""
        known = self.course.known()
        assert known is not None
        return known.item("hw 1")

    def is_due(self, *, hours: int) -> int:
        """Let the server give the first assignment a due date; returns it."""
        listing, due = self.served.assignments(), self.clock.now() + timedelta(hours=hours)
        listing[0]["duedate"] = int(due.timestamp())
        self.served.listing = listing
        return int(due.timestamp())


@pytest.fixture
def student(tmp_path: Path) -> Iterator[Student]:
    served = Course(files={"hw 1": {"hw 1.py": NOTEBOOK, "data.csv": b"x\n"}, "hw2": {}})
    once, clock = RetryPolicy(tries=1), ManualClock()
    with (
        serving(served) as url,
        HttpsTransport(url, f"alice:{'0' * 64}", retry=once) as alice,
    ):
        yield Student(served, StudentCourse(StudentFolder(tmp_path), clock), alice, clock)


def test_b149_what_the_server_said_is_there_without_it(student: Student, tmp_path: Path) -> None:
    student.begin()
    again = StudentCourse(StudentFolder(tmp_path), student.clock).known()
    assert again is not None
    assert [item.assignment.name for item in again.items] == ["hw 1", "hw2"]
    assert (again.user, again.synced) == ("alice", student.clock.now())
    assert (tmp_path / "hw 1" / "data.csv").read_bytes() == b"x\n"


def test_b150_a_server_without_receipts_gets_the_bytes_that_were_saved(student: Student) -> None:
    notebook = student.begin()
    notebook.write_bytes(NOTEBOOK + b"# mine\n")
    done = student.submit()
    assert done.handed is not None
    assert done.handed.receipt == ""
    assert student.submitted() == NOTEBOOK + b"# mine\n"
    standing = student.known().standing
    assert standing is not None
    assert standing.grade == "7.5"


def test_a_submission_whose_answer_was_lost_waits_and_is_sent_again(student: Student) -> None:
    student.begin()

    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    student.served.rude = hang_up
    done = student.submit()
    assert done.handed is None
    waiting = student.course.folder.waiting("hw 1")
    assert waiting is not None
    assert waiting.why == done.why != ""
    student.served.rude = None
    [sent] = student.course.send_all(student.alice, quiet)
    assert sent.handed is not None
    assert student.course.folder.waiting("hw 1") is None
    with pytest.raises(NotFound):
        student.course.send(student.alice, "hw 1", quiet)


@pytest.mark.parametrize("failure", [Conflict, InvalidInput, Busy])
def test_work_that_was_accepted_waits_if_that_cannot_be_recorded(
    student: Student, monkeypatch: pytest.MonkeyPatch, failure: type[MograderError]
) -> None:
    """An older one waited instead: sent by the next press, it was what counted."""

    def held(*_: object) -> None:
        raise failure("hw 1.py.json is open in another program.")

    notebook = student.begin()
    student.course.submit(None, "hw 1", quiet)
    notebook.write_bytes(NOTEBOOK + b"# newer\n")
    with monkeypatch.context() as there:
        there.setattr(StudentFolder, "put_record", held)
        done = student.submit()
    assert (done.handed, done.away) == (None, False)
    assert "The server has taken it" in done.why
    assert "is open in another program" in done.why
    waiting = student.course.folder.waiting("hw 1")
    assert waiting is not None
    assert waiting.why == done.why
    [sent] = student.course.send_all(student.alice, quiet)
    assert sent.handed is not None
    assert student.submitted() == NOTEBOOK + b"# newer\n"
    assert student.course.folder.waiting("hw 1") is None


def test_the_fingerprint_of_a_submission_is_that_of_its_bytes(student: Student) -> None:
    """A kill while a newer text is kept leaves it with the record of the one before."""
    notebook = student.begin()
    folder = student.course.folder
    student.course.submit(None, "hw 1", quiet)
    waiting = folder.waiting("hw 1")
    assert waiting is not None
    newer = NOTEBOOK + b"# newer\n"
    for path in (notebook, folder.waiting_file("hw 1", waiting)):
        path.write_bytes(newer)
    student.course.send_all(student.alice, quiet)
    found = folder.notebook("hw 1")
    sent = None if found is None else folder.sent(found)
    assert sent is not None
    assert sent.digest == hashlib.sha256(newer).hexdigest() != waiting.digest
    assert student.submitted() == newer


def test_what_waits_is_shown_though_the_server_lists_its_assignment_no_more(
    student: Student,
) -> None:
    """It was neither shown nor sent, and nobody told the student."""
    student.begin()
    student.course.submit(None, "hw 1", quiet)
    del student.served.files["hw 1"]
    known = student.sync()
    assert [item.folder for item in known.items] == ["hw2", "hw 1"]
    student.served.rude = lambda handler: reply(handler, 404, b'{"error": "Not found"}')
    [sent] = student.course.send_all(student.alice, quiet)
    assert (sent.handed, bool(sent.why)) == (None, True)
    student.served.rude = None
    student.course.give_up("hw 1")
    known = student.sync()
    assert [item.folder for item in known.items] == ["hw2"]


def test_an_assignment_that_was_hidden_for_a_while_is_as_it_was(student: Student) -> None:
    """Its correction was not told, and another one of its title could get its folder."""
    notebook = student.begin()
    listed = {each["name"]: each for each in student.served.assignments()}
    student.served.listing = [listed["hw2"]]
    for _ in range(2):
        assert [item.folder for item in student.sync().items] == ["hw2"]
    file = {"filename": "hw 1.py", "url": "/assignments/hw 1/files/hw 1.py"}
    corrected = {**listed["hw 1"], "files": [file]}
    alike = {"name": "HW 1", "id": 3, "files": []}
    student.served.listing = [alike, listed["hw2"]]
    assert [item.folder for item in student.sync().items] == ["HW 1 (2)", "hw2"]
    student.served.listing = [alike, corrected, listed["hw2"]]
    known = student.sync()
    assert [item.folder for item in known.items] == ["HW 1 (2)", "hw 1", "hw2"]
    assert known.item("hw 1").updated
    assert known.gone == ()
    assert notebook.read_bytes() == NOTEBOOK


def test_files_that_were_replaced_since_the_last_look_are_fetched(student: Student) -> None:
    """They were called damaged, and trying again, as was advised, did not help."""

    def publish(text: bytes) -> None:
        student.served.files["hw 1"] = {"hw 1.py": text}
        file = {"filename": "hw 1.py", "url": "/assignments/hw 1/files/hw 1.py"}
        file["sha256"] = hashlib.sha256(text).hexdigest()
        student.served.listing = [{"name": "hw 1", "files": [file]}]

    publish(NOTEBOOK)
    notebook = student.begin()
    publish(NOTEBOOK + b"# corrected\n")
    student.course.fetch(student.alice, "hw 1", quiet)
    assert notebook.read_bytes() == NOTEBOOK + b"# corrected\n"
    assert not student.known().updated


def test_feedback_that_another_program_holds_stops_no_sync(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows: of a course in which one document was open, nothing new was shown."""

    def held(*_: object) -> None:
        raise Conflict("alice.html is open in another program.")

    there = WorkStatus(WorkState.SUBMITTED, feedback_available=True)
    monkeypatch.setattr(student.alice, "work_status", lambda _: there)
    monkeypatch.setattr(student.alice, "feedback", lambda _: (Document("alice.html", b"<p>"),))
    monkeypatch.setattr(StudentFolder, "put_feedback", held)
    known = student.sync()
    assert [each.standing for each in known.items] == [there, there]


def test_what_is_due_is_asked_about_though_the_server_would_not(student: Student) -> None:
    """0.3.16 passes due dates on and takes everything (compatibility-0.3.16.md 4)."""
    student.is_due(hours=1)
    notebook = student.begin()
    student.submit()
    student.clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# late\n")
    with pytest.raises(WouldReplaceOnTime):
        student.submit()
    assert student.submitted() == NOTEBOOK
    assert student.course.folder.waiting("hw 1") is None, "it is still where it was"
    student.submit(late=True)
    notebook.write_bytes(NOTEBOOK + b"# later\n")
    student.submit()
    assert student.submitted() == NOTEBOOK + b"# later\n"


@pytest.mark.parametrize("told", [{"sha256": "0" * 64}, {"draft": RemoteDraft()}])
def test_a_server_that_asks_by_itself_goes_by_its_own_clock(
    student: Student, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]
) -> None:
    """By that of a computer which is fast, work on time was said to be late."""
    ask = student.alice.work_status
    monkeypatch.setattr(student.alice, "work_status", lambda found: replace(ask(found), **told))
    student.is_due(hours=1)
    notebook = student.begin()
    student.submit()
    student.clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# newer\n")
    student.submit()
    assert student.submitted() == NOTEBOOK + b"# newer\n"


def test_a_deadline_that_was_moved_since_the_last_look_counts(student: Student) -> None:
    """With the old deadline, late work replaced work on time unasked."""
    student.is_due(hours=9)
    notebook = student.begin()
    student.submit()
    earlier = student.is_due(hours=1)
    student.clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# late\n")
    with pytest.raises(WouldReplaceOnTime):
        student.submit()
    assert student.submitted() == NOTEBOOK
    due = student.known().assignment.due
    assert due is not None
    assert due.timestamp() == earlier, "the page that asks names it"


def test_work_within_an_extension_replaces_work_on_time_unasked(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moodle tells an extension with the work: the student was asked about "a late submission"."""
    student.is_due(hours=1)
    ask, extended_to = student.alice.work_status, student.clock.now() + timedelta(hours=3)
    monkeypatch.setattr(
        student.alice, "work_status", lambda found: replace(ask(found), extended_to=extended_to)
    )
    notebook = student.begin()
    student.submit()
    student.clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# extended\n")
    student.submit()
    assert student.submitted() == NOTEBOOK + b"# extended\n"
    student.clock.advance(7200)
    notebook.write_bytes(NOTEBOOK + b"# late\n")
    with pytest.raises(WouldReplaceOnTime):
        student.submit()


def test_two_names_that_look_alike_on_a_disk_never_share_a_folder(student: Student) -> None:
    """Nor do they change places when the server names them in another order."""
    student.served.listing = [{"name": name, "files": []} for name in ("a/b", "a:b", "a*b")]
    first = student.sync()
    folders = {item.assignment.name: item.folder for item in first.items}
    assert len(set(folders.values())) == 3
    student.served.listing.reverse()
    second = student.sync()
    assert {item.assignment.name: item.folder for item in second.items} == folders


@pytest.mark.parametrize(
    ("name", "folder"), [("A1-Introduction", "A1"), ("Week 3: Data", "week-3-data")]
)
def test_work_in_the_folder_of_0_3_16_is_found_and_handed_in(
    student: Student, tmp_path: Path, name: str, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "homework.py").write_bytes(NOTEBOOK + b"# mine\n")
    student.served.listing = [{"name": name, "id": 1, "files": []}]
    assert [item.folder for item in student.sync().items] == [folder]
    student.course.submit(student.alice, folder, quiet)
    assert student.served.submissions[name, "alice"] == NOTEBOOK + b"# mine\n"


def test_a_folder_of_0_3_16_that_two_assignments_shared_is_neithers(
    student: Student, tmp_path: Path
) -> None:
    """Its notebook may be that of the other one."""
    (tmp_path / "A1").mkdir()
    (tmp_path / "A1" / "homework.py").write_bytes(NOTEBOOK)
    names = ["A1-Introduction", "A1-Exam"]
    student.served.listing = [{"name": name, "files": []} for name in names]
    assert [item.folder for item in student.sync().items] == names


@pytest.mark.parametrize(
    ("notebook", "folder"), [("intro.py", "A1"), ("exam.py", "A1-Introduction")]
)
def test_a_folder_of_0_3_16_is_not_taken_over_with_the_notebook_of_a_hidden_assignment(
    student: Student, tmp_path: Path, notebook: str, folder: str
) -> None:
    (tmp_path / "A1").mkdir()
    (tmp_path / "A1" / notebook).write_bytes(NOTEBOOK)
    file = {"filename": "intro.py", "size": 1}
    student.served.listing = [{"name": "A1-Introduction", "files": [file]}]
    assert [item.folder for item in student.sync().items] == [folder]
