"""Work elsewhere: what a folder has seen, what is asked about, and what is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.auth.receipts import Facts, make_receipt
from mograder.clients.course_server import (
    Acknowledgement,
    DraftChanged,
    RemoteAssignment,
    RemoteDraft,
    WorkState,
    WorkStatus,
)
from mograder.core.errors import MograderError, NotFound
from mograder.core.single_flight import Progress
from mograder.exchange.student.course import StudentCourse
from mograder.exchange.student.drafts import (
    Elsewhere,
    NewerElsewhere,
    notebook_of,
    save_before_submission,
    take,
    unseen,
)
from mograder.exchange.student.fetch import fetch
from mograder.store.student_folder import StudentFolder
from tests.support.clock import ManualClock
from tests.support.fake_course import START, FakeCourse

RELEASE, MINE, OTHER = b"x = 0\n", b"x = 1  # here\n", b"x = 2  # there\n"


@dataclass
class DraftCourse(FakeCourse):
    """A course whose server keeps drafts; every change is a second after the one before."""

    text: bytes | None = None
    version: int = 0
    changes: int = 0
    saved: int = 0
    handed: int = 0
    broken_drafts: MograderError | None = None

    def edit(self, text: bytes) -> None:
        """Save a draft from a browser, whatever was there."""
        self.changes += 1
        self.text, self.version, self.saved = text, self.version + 1, self.changes

    def submit_elsewhere(self, text: bytes) -> None:
        """Submit by a program that saves no drafts."""
        self.changes += 1
        self.handed_in["hw1", self.user], self.handed = text, self.changes

    def _facts(self) -> RemoteDraft:
        if self.text is None:
            return RemoteDraft()
        at = START + timedelta(seconds=self.saved)
        return RemoteDraft(f"v{self.version}", at, hashlib.sha256(self.text).hexdigest())

    def work_status(self, assignment: RemoteAssignment) -> WorkStatus:
        data = self.handed_in.get((assignment.name, self.user))
        if data is None:
            return WorkStatus(WorkState.NEW, draft=self._facts())
        return WorkStatus(
            WorkState.SUBMITTED,
            submitted_at=START + timedelta(seconds=self.handed),
            sha256=hashlib.sha256(data).hexdigest(),
            draft=self._facts(),
        )

    def submit(
        self, assignment: RemoteAssignment, file: Path, progress: Progress, *, late: bool = False
    ) -> Acknowledgement:
        data = file.read_bytes()
        self.submit_elsewhere(data)
        facts = Facts(
            assignment=assignment.name,
            user=self.user,
            filename=f"{self.user}.py",
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            received=START + timedelta(seconds=self.handed),
            sequence=self.handed,
            late=False,
        )
        receipt = make_receipt("s" * 32, facts).model_dump_json()
        return Acknowledgement(f"{self.user}.py", facts.received, receipt=receipt)

    def draft(self, assignment: RemoteAssignment) -> tuple[RemoteDraft, bytes]:
        if self.text is None:
            raise NotFound("The server has no draft of yours.")
        return self._facts(), self.text

    def save_draft(self, assignment: RemoteAssignment, text: bytes, over: str) -> RemoteDraft:
        if self.broken_drafts:
            raise self.broken_drafts
        if text != self.text:
            if over != self._facts().tag:
                raise DraftChanged("Another version was saved meanwhile.")
            self.edit(text)
        return self._facts()


@dataclass
class Folder:
    """A folder on a computer of the student's, with the fetched assignment."""

    course: DraftCourse
    root: Path
    clock: ManualClock

    @property
    def assignment(self) -> RemoteAssignment:
        return self.course.assignment("hw1")

    @property
    def notebook(self) -> Path:
        return self.root / "hw1" / "hw1.py"

    @property
    def student(self) -> StudentCourse:
        return StudentCourse(StudentFolder(self.root), self.clock)

    def begin(self, text: bytes | None = MINE) -> None:
        """Fetch the assignment and edit the notebook."""
        self.student.sync(self.course, "http://server.test", quiet)
        self.student.fetch(self.course, "hw1", quiet)
        if text is not None:
            self.notebook.write_bytes(text)

    def news(self) -> Elsewhere | None:
        status = self.course.work_status(self.assignment)
        return unseen(status, self.assignment, self.notebook.parent, self.notebook.read_bytes())

    def submit(self, text: bytes, agreed: str = "") -> None:
        self.notebook.write_bytes(text)
        done = self.student.submit(self.course, "hw1", quiet, agreed=agreed)
        assert done.handed is not None

    def aside(self) -> list[bytes]:
        """The texts that are kept beside the notebook."""
        return sorted(path.read_bytes() for path in (self.root / "hw1").glob("hw1.bak.*.py"))


def quiet(message: str) -> None:
    """Ignore progress."""


@pytest.fixture
def server() -> DraftCourse:
    return DraftCourse({"hw1": {"hw1.py": RELEASE}})


@pytest.fixture
def here(server: DraftCourse, tmp_path: Path) -> Folder:
    return Folder(server, tmp_path / "here", ManualClock())


@pytest.fixture
def there(server: DraftCourse, tmp_path: Path) -> Folder:
    return Folder(server, tmp_path / "there", ManualClock())


def asked(folder: Folder, text: bytes, agreed: str = "") -> Elsewhere:
    """Submit, be asked, and return what about; nothing was submitted or saved."""
    before = (folder.course.text, dict(folder.course.handed_in))
    with pytest.raises(NewerElsewhere) as caught:
        folder.submit(text, agreed)
    assert (folder.course.text, folder.course.handed_in) == before
    assert folder.student.folder.waiting("hw1") is None
    return caught.value.elsewhere


def test_a_submission_is_the_draft_that_browsers_begin_with(
    here: Folder, server: DraftCourse
) -> None:
    here.begin()
    for text in (MINE, MINE + b"# more\n", MINE):
        here.submit(text)
        assert server.text == server.handed_in["hw1", "alice"] == text
        assert here.news() is None
    assert here.aside() == []


def test_newer_work_in_a_browser_is_told_taken_and_then_submitted(
    here: Folder, server: DraftCourse
) -> None:
    here.begin()
    here.submit(MINE)
    server.edit(OTHER)
    found = here.news()
    assert found is not None
    assert (found.draft, found.submitted_at) == (server._facts(), None)
    assert asked(here, MINE + b"# mine\n") == found
    taken = here.student.take(server, "hw1", quiet)
    assert (here.notebook.read_bytes(), here.aside()) == (OTHER, [MINE + b"# mine\n"])
    assert taken.kept is not None
    assert here.news() is None
    here.submit(OTHER + b"# more\n")


def test_what_is_replaced_on_purpose_is_kept_and_only_that(
    here: Folder, server: DraftCourse
) -> None:
    here.begin()
    server.edit(OTHER)
    found = asked(here, MINE)
    server.edit(OTHER + b"# newer\n")
    newer = asked(here, MINE, found.key)
    assert newer.key != found.key
    here.submit(MINE, newer.key)
    assert server.text == MINE
    assert here.aside() == [OTHER + b"# newer\n"]


def test_two_computers_never_replace_each_others_work_in_silence(
    here: Folder, there: Folder
) -> None:
    here.begin()
    here.submit(MINE)
    there.begin(None)
    there.student.take(there.course, "hw1", quiet)
    assert (there.notebook.read_bytes(), there.aside()) == (MINE, [])
    there.submit(OTHER)
    asked(here, MINE + b"# older\n")


def test_a_draft_saved_in_the_last_moment_is_asked_about(
    here: Folder, server: DraftCourse, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.begin()
    plain = server.save_draft

    def raced(assignment: RemoteAssignment, text: bytes, over: str) -> RemoteDraft:
        server.edit(OTHER)
        return plain(assignment, text, over)

    monkeypatch.setattr(server, "save_draft", raced)
    with pytest.raises(NewerElsewhere) as caught:
        here.submit(MINE)
    assert server.text == OTHER
    assert caught.value.elsewhere.draft == server._facts()
    assert server.handed_in == {}


def test_a_submission_by_a_program_without_drafts_is_asked_about(
    here: Folder, server: DraftCourse
) -> None:
    here.begin()
    here.submit(MINE)
    server.submit_elsewhere(OTHER)
    found = asked(here, MINE + b"# mine\n")
    assert (found.draft, found.at) == (None, START + timedelta(seconds=server.handed))
    here.submit(MINE + b"# mine\n", found.key)
    assert here.news() is None


def test_a_submission_older_than_the_draft_was_seen_by_its_writer(
    here: Folder, server: DraftCourse
) -> None:
    server.submit_elsewhere(OTHER)
    server.edit(MINE)
    here.begin(None)
    here.student.take(server, "hw1", quiet)
    here.submit(MINE + b"# more\n")


def test_what_waits_is_asked_about_when_it_is_sent_and_set_aside_when_the_other_is_taken(
    here: Folder, server: DraftCourse
) -> None:
    here.begin()
    here.student.submit(None, "hw1", quiet)
    server.edit(OTHER)
    [kept] = here.student.send_all(server, quiet)
    assert kept.handed is None
    assert "not seen" in kept.why
    with pytest.raises(NewerElsewhere) as caught:
        here.student.send(server, "hw1", quiet)
    known = here.student.known()
    assert known is not None
    assert known.item("hw1").standing == server.work_status(here.assignment)
    here.student.take(server, "hw1", quiet)
    assert here.student.folder.waiting("hw1") is None
    [aside] = (here.root / ".mograder" / "set-aside").iterdir()
    assert aside.read_bytes() == MINE
    here.student.submit(None, "hw1", quiet)
    server.edit(RELEASE)
    asked_for = caught.value.elsewhere.key
    with pytest.raises(NewerElsewhere) as caught:
        here.student.send(server, "hw1", quiet, agreed=asked_for)
    done = here.student.send(server, "hw1", quiet, agreed=caught.value.elsewhere.key)
    assert done.handed is not None
    assert server.text == OTHER


def test_taking_begins_with_the_release_where_nothing_was_fetched(
    here: Folder, server: DraftCourse
) -> None:
    server.edit(OTHER)
    here.student.sync(server, "http://server.test", quiet)
    here.student.take(server, "hw1", quiet)
    assert (here.notebook.read_bytes(), here.aside()) == (OTHER, [])


def test_line_ends_are_no_other_work(here: Folder, server: DraftCourse) -> None:
    here.begin(MINE.replace(b"\n", b"\r\n"))
    server.edit(MINE)
    assert here.news() is None


def test_a_draft_that_cannot_be_saved_does_not_stop_a_submission(
    here: Folder, server: DraftCourse, caplog: pytest.LogCaptureFixture
) -> None:
    here.begin()
    server.broken_drafts = MograderError("The draft on the server cannot be read.")
    here.submit(MINE)
    assert server.handed_in["hw1", "alice"] == MINE
    assert "cannot be read" in caplog.text


def test_a_server_without_drafts_is_asked_for_none(tmp_path: Path) -> None:
    old = FakeCourse({"hw1": {"hw1.py": RELEASE}})
    old.handed_in["hw1", "alice"], old.times["hw1", "alice"] = OTHER, START
    clock, hw1 = ManualClock(), old.assignment("hw1")
    [file] = fetch(old, hw1, tmp_path, quiet, clock.now())
    saved = save_before_submission(old, hw1, file.path, MINE, clock.now())
    assert (saved.kept, saved.why_not) == (None, "")
    assert not (tmp_path / ".mograder" / "seen").exists()
    with pytest.raises(NotFound):
        take(old, hw1, file.path, clock.now())


def test_the_notebook_of_a_draft_is_named_like_the_assignment(
    server: DraftCourse, tmp_path: Path
) -> None:
    server.files["hw1"] = {"data.csv": b"", "a.py": RELEASE, "hw1.py": RELEASE}
    hw1 = server.assignment("hw1")
    files = fetch(server, hw1, tmp_path, quiet, START)
    assert notebook_of(hw1, files).name == "hw1.py"
    assert notebook_of(replace(hw1, name="other"), files).name == "a.py"
    with pytest.raises(NotFound):
        notebook_of(hw1, files[1:2])
