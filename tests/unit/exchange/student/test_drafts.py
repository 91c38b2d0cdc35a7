"""Work elsewhere: what a folder has seen, what is asked about, and what is kept."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from mograder.clients.course_server import RemoteAssignment, RemoteDraft
from mograder.core.errors import MograderError, NotFound, TooLarge
from mograder.core.files.disk import Disk
from mograder.exchange.student.drafts import (
    Elsewhere,
    NewerElsewhere,
    SavedDraft,
    notebook_of,
    save_before_submission,
    take,
)
from mograder.exchange.student.fetch import fetch
from tests.support.clock import ManualClock
from tests.support.draft_course import MINE, OTHER, RELEASE, DraftCourse, Folder
from tests.support.fake_course import START, FakeCourse
from tests.support.progress import quiet


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
    assert caught.value.elsewhere.draft == server.facts()
    assert server.handed_in == {}


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


def test_what_waits_goes_on_waiting_while_a_newer_text_is_refused(
    here: Folder, server: DraftCourse
) -> None:
    """Neither of them waited then, and the deadline passed with nothing handed in."""
    here.begin()
    folder, aside = here.student.folder, here.root / ".mograder" / "set-aside"
    here.student.submit(None, "hw1", quiet)
    before = folder.waiting("hw1")
    assert before is not None
    newer = MINE + b"# more\n"
    here.notebook.write_bytes(newer)
    server.edit(OTHER)
    with pytest.raises(NewerElsewhere) as caught:
        here.student.submit(server, "hw1", quiet)
    assert folder.waiting("hw1") == before
    assert folder.waiting_file("hw1", before).read_bytes() == MINE
    assert list(aside.iterdir()) == []
    here.student.submit(server, "hw1", quiet, agreed=caught.value.elsewhere.key)
    assert server.handed_in["hw1", "alice"] == newer
    assert folder.waiting("hw1") is None
    assert [each.read_bytes() for each in aside.iterdir()] == [MINE]


def test_what_waits_with_other_line_ends_goes_on_waiting_when_it_is_refused(
    here: Folder, server: DraftCourse
) -> None:
    here.begin()
    here.student.submit(None, "hw1", quiet)
    here.notebook.write_bytes(MINE.replace(b"\n", b"\r\n"))
    server.edit(OTHER)
    with pytest.raises(NewerElsewhere):
        here.student.submit(server, "hw1", quiet)
    assert here.student.folder.waiting("hw1") is not None


def test_taking_begins_with_the_release_where_nothing_was_fetched(
    here: Folder, server: DraftCourse
) -> None:
    server.edit(OTHER)
    here.student.sync(server, "http://server.test", quiet)
    here.student.take(server, "hw1", quiet)
    assert (here.notebook.read_bytes(), here.aside()) == (OTHER, [])


def test_line_ends_are_no_other_work(here: Folder, there: Folder, server: DraftCourse) -> None:
    windows = MINE.replace(b"\n", b"\r\n")
    here.begin(windows)
    server.edit(MINE)
    assert here.news() is None
    here.submit(windows)
    assert (server.text, server.version) == (MINE, 1)
    there.begin(None)
    there.student.take(server, "hw1", quiet)
    there.submit(OTHER)


def test_a_draft_that_cannot_be_saved_does_not_stop_a_submission(
    here: Folder, server: DraftCourse, caplog: pytest.LogCaptureFixture
) -> None:
    here.begin()
    server.broken_drafts = MograderError("The draft on the server cannot be read.")
    here.submit(MINE)
    assert server.handed_in["hw1", "alice"] == MINE
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("program", ["a browser", "a program without drafts"])
def test_what_was_agreed_to_is_not_asked_again_where_the_draft_cannot_be_saved(
    here: Folder, server: DraftCourse, program: str
) -> None:
    """A late submission was never sent: the question about it came between, without end."""
    here.begin()
    write = server.edit if program == "a browser" else server.submit_elsewhere
    write(OTHER)
    server.broken_drafts = TooLarge("The request is larger than 4 MB.")
    found = asked(here, MINE)
    place, now = (here.assignment, here.notebook, MINE), here.clock.now()
    kept = [OTHER] if program == "a browser" else []
    first = save_before_submission(server, *place, now, agreed=found.key)
    assert "larger than 4 MB" in first.why_not
    assert (first.kept is not None, here.aside()) == (bool(kept), kept)
    again = save_before_submission(server, *place, now)
    assert (again.kept, again.why_not, here.aside()) == (None, first.why_not, kept)
    write(OTHER + b"# newer\n")
    assert asked(here, MINE).key != found.key


def test_a_draft_that_could_not_be_kept_is_asked_about_again(
    here: Folder, server: DraftCourse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise MograderError("The draft on the server cannot be read.")

    here.begin()
    server.edit(OTHER)
    found = asked(here, MINE)
    monkeypatch.setattr(server, "draft", damaged)
    here.submit(MINE, found.key)
    assert asked(here, MINE) == found


def test_a_full_disk_does_not_stop_a_submission(
    here: Folder, server: DraftCourse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the folder has seen is noted before the work is sent, and may be asked about again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    here.begin()
    monkeypatch.setattr(Disk, "write", full)
    saved = save_before_submission(server, here.assignment, here.notebook, MINE, START)
    assert (saved, server.text) == (SavedDraft(), MINE)


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
    notebook = b"app = marimo.App()\n"
    server.files["hw1"] = {"data.csv": b"", "a.py": b"", "b.py": notebook, "hw1.py": notebook}
    hw1 = server.assignment("hw1")
    files = fetch(server, hw1, tmp_path, quiet, START)
    assert notebook_of(hw1, files).name == "hw1.py"
    assert notebook_of(replace(hw1, name="other"), files).name == "b.py", "no module"
    with pytest.raises(NotFound):
        notebook_of(hw1, files[2:3])


class Writers:
    """Two folders, a browser and a program without drafts, and what each has seen of the texts.

    A text carries what its writer had seen: going on with it is going on with that too.
    """

    def __init__(self, server: DraftCourse, root: Path, random: Random) -> None:
        self.server, self.random = server, random
        self.folders = [Folder(server, root / name, ManualClock()) for name in ("a", "b")]
        self.seen: list[set[bytes]] = [set(), set()]
        self.before: dict[bytes, set[bytes]] = {RELEASE: set()}
        for folder in self.folders:
            folder.begin(None)

    def now(self) -> set[bytes]:
        """The newest texts on the server: the draft, and what counts."""
        texts = (self.server.text, self.server.handed_in.get(("hw1", "alice")))
        return {text for text in texts if text is not None}

    def look(self, number: int, texts: set[bytes]) -> None:
        """Somebody sees these texts."""
        self.seen[number] |= texts.union(*(self.before[text] for text in texts))

    def act(self, number: int, step: int) -> None:
        """Take a step of a folder; replacing a text that it has not seen fails."""
        folder, there = self.folders[number], self.now()
        if self.random.random() < 0.3 and self.server.text is not None:
            folder.student.take(self.server, "hw1", quiet)
            self.look(number, there)
            return
        text = b"# step %d\n" % step
        agreed = ""
        try:
            folder.submit(text)
        except NewerElsewhere as asked:
            assert not there <= self.seen[number], "a question about nothing new"
            if self.random.random() < 0.5:
                return
            agreed = asked.elsewhere.key
            self.look(number, there)
            folder.submit(text, agreed)
        assert there <= self.seen[number], "replaced in silence"
        self.before[text] = set(self.seen[number])
        self.look(number, {text})


@pytest.mark.parametrize("seed", range(20))
def test_nothing_newer_is_replaced_in_silence_whatever_happens(
    server: DraftCourse, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    writers = Writers(server, tmp_path, random)
    for step in range(25):
        text = b"# elsewhere %d\n" % step
        match random.randrange(5):
            case 0:  # a browser, which has seen what it replaces
                writers.before[text] = writers.now().union(
                    *(writers.before[each] for each in writers.now())
                )
                server.edit(text)
            case 1:
                writers.before[text] = set()
                server.submit_elsewhere(text)
            case _:
                writers.act(random.randrange(2), step)
