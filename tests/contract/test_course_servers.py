"""The contract of every course server (clients/course_server.py).

A course that students reach over a transport is a rig: `RIGS` lists them, each a context that
yields a `Rig`. The fake of the unit tests is held to the same suite as the real ones.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

from mograder.clients.assignment_server.client import GradeRow, HttpsTransport
from mograder.clients.course_server import RemoteAssignment, RemoteFile, Transport, WorkState
from mograder.clients.http import RetryPolicy
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.transport import MoodleTransport
from mograder.core.errors import InvalidInput, MograderError, RemoteFailed
from tests.support.clock import ManualClock
from tests.support.fake_course import FakeCourse
from tests.support.moodle.recordings import recorded
from tests.support.moodle.replay import Replay
from tests.support.moodle.replay import token_of as moodle_token
from tests.support.moodle.server import replaying
from tests.support.progress import quiet
from tests.support.served_course import DATA, HOMEWORK, make_course, serving_course, token_of

ONCE = RetryPolicy(tries=1)


@dataclass(frozen=True)
class Facts:
    """The files of one assignment of a rig: offered, accepted, returned.

    A replayed Moodle answers only recorded requests, so these differ between rigs.
    """

    name: str = "hw1"
    files: Mapping[str, bytes] = field(
        default_factory=lambda: {"data.csv": DATA, "homework.py": HOMEWORK}
    )
    missing: str = "none.py"
    work: str = "homework.py"
    size: int = 20
    grade: str = "8.5"
    words: str = "Gut – weiter so."
    page: bytes = b"<p>Gut</p>"


class Rig(Protocol):
    """A course with one assignment, and what only its teacher can do."""

    @property
    def facts(self) -> Facts: ...

    def open(self, user: str) -> Transport: ...

    def give_grade(self, user: str, grade: str, feedback: str) -> None: ...

    def give_page(self, user: str, page: bytes) -> None: ...


class HttpsRig:
    """Our own assignment server."""

    facts = Facts()

    def __init__(self, url: str, scratch: Path) -> None:
        self._url, self._scratch = url, scratch

    def open(self, user: str) -> Transport:
        return self._as(user)

    def give_grade(self, user: str, grade: str, feedback: str) -> None:
        row = GradeRow({"username": user, "grade": grade, "feedback": feedback})
        with self._as("__instructor__") as teacher:
            teacher.upload_grades(listed(teacher, "hw1"), [row])

    def give_page(self, user: str, page: bytes) -> None:
        file = self._scratch / f"{user}.html"
        file.write_bytes(page)
        with self._as("__instructor__") as teacher:
            teacher.upload_feedback(listed(teacher, "hw1"), [file], quiet)

    def _as(self, user: str) -> HttpsTransport:
        return HttpsTransport(self._url, token_of(user), retry=ONCE)


class FakeRig:
    """The course in memory."""

    facts = Facts()

    def __init__(self) -> None:
        self._course = FakeCourse({"hw1": dict(self.facts.files)})

    def open(self, user: str) -> Transport:
        self._course.user = user
        return self._course

    def give_grade(self, user: str, grade: str, feedback: str) -> None:
        self._course.grades["hw1", user] = (grade, feedback)

    def give_page(self, user: str, page: bytes) -> None:
        self._course.pages[user] = page


class MoodleRig:
    """A real Moodle, replayed: every ``alice`` finds it as it was before her first submission."""

    facts = Facts(
        name="A1. Introduction",
        files={"A1-Introduction.py": recorded(137).body},
        missing="nope.py",
        work="A1-Introduction.py",
        grade="87.50 / 100.00",
        words="Bien joué — 87.5 & more",
        page=recorded(238).body,
    )

    def __init__(self, site: Replay) -> None:
        self._site = site
        self._clock = ManualClock(datetime(2026, 11, 20, 6, 40, tzinfo=UTC))

    def open(self, user: str) -> Transport:
        """Put the site before alice's first submission, or, for another person, after it."""
        assert not self._site.problems, self._site.problems
        who = "bob" if user.startswith("not-") else "alice"
        self._site.begin(100 if who == "bob" else 99)
        client = MoodleClient(self._site.url, moodle_token(who), pause=lambda _: None)
        return MoodleTransport(client, 2, clock=self._clock)

    def give_grade(self, user: str, grade: str, feedback: str) -> None:
        """Let the teacher have done what was recorded, for the work that was recorded."""
        self._site.begin(155)

    def give_page(self, user: str, page: bytes) -> None:
        self._site.begin(155)


@contextmanager
def https_rig(directory: Path) -> Iterator[Rig]:
    with serving_course(make_course(directory / "course")) as course:
        yield HttpsRig(course.url, directory)


@contextmanager
def fake_rig(directory: Path) -> Iterator[Rig]:
    yield FakeRig()


@contextmanager
def moodle_rig(directory: Path) -> Iterator[Rig]:
    with replaying() as site:
        yield MoodleRig(site)


RIGS: dict[str, Callable[[Path], AbstractContextManager[Rig]]] = {
    "https": https_rig,
    "fake": fake_rig,
    "moodle": moodle_rig,
}


@pytest.fixture(scope="module", params=list(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One course for the module; every test is another student."""
    with RIGS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def alice(rig: Rig, fresh_name: Callable[[str], str]) -> Iterator[Transport]:
    transport = rig.open(fresh_name("alice"))
    yield transport
    transport.close()


def listed(transport: Transport, name: str) -> RemoteAssignment:
    return next(each for each in transport.list_assignments() if each.name == name)


def written(directory: Path, rig: Rig, data: bytes) -> Path:
    """Write a submission, padded to the size that the rig accepts."""
    file = directory / rig.facts.work
    file.write_bytes(data.ljust(rig.facts.size, b"#"))
    return file


def test_an_assignment_is_listed_with_its_files(rig: Rig, alice: Transport) -> None:
    found = listed(alice, rig.facts.name)
    assert found.key
    assert {file.name for file in found.files} == set(rig.facts.files)
    for file in found.files:
        content = rig.facts.files[file.name]
        assert file.size in (None, len(content))
        assert file.digest in (None, hashlib.sha256(content).hexdigest())


def test_a_file_arrives_byte_for_byte_and_alone_and_is_named_in_the_progress(
    rig: Rig, alice: Transport, tmp_path: Path
) -> None:
    for file in listed(alice, rig.facts.name).files:
        said: list[str] = []
        alice.download(file, tmp_path / "here", said.append)
        assert any(file.name in sentence for sentence in said)
        assert (tmp_path / "here").read_bytes() == rig.facts.files[file.name]
        assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_file_that_is_not_there_is_an_error_in_words_and_no_file(
    rig: Rig, alice: Transport, tmp_path: Path
) -> None:
    known = listed(alice, rig.facts.name).files[0]
    missing = rig.facts.missing
    file = RemoteFile(missing, known.address.replace(known.name, missing))
    with pytest.raises(MograderError, match=re.escape(missing)):
        alice.download(file, tmp_path / "here", quiet)
    assert not (tmp_path / "here").exists()


def test_work_is_new_and_then_submitted(rig: Rig, alice: Transport, tmp_path: Path) -> None:
    before = alice.work_status(listed(alice, rig.facts.name))
    assert (before.state, before.graded, before.grade) == (WorkState.NEW, False, None)
    assert before.submitted_at is None
    handed = alice.submit(
        listed(alice, rig.facts.name), written(tmp_path, rig, b"# my work\n"), quiet
    )
    assert handed.filename.endswith(".py")
    assert not handed.late
    after = alice.work_status(listed(alice, rig.facts.name))
    assert after.state is WorkState.SUBMITTED
    assert after.submitted_at == handed.submitted_at
    assert after.can_submit


def test_the_same_again_is_acknowledged_with_the_first_time(
    rig: Rig, alice: Transport, tmp_path: Path
) -> None:
    file = written(tmp_path, rig, b"# the same\n")
    first = alice.submit(listed(alice, rig.facts.name), file, quiet)
    again = alice.submit(listed(alice, rig.facts.name), file, quiet)
    assert not first.repeated
    assert again.submitted_at == first.submitted_at


def test_what_cannot_be_read_is_not_submitted(rig: Rig, alice: Transport, tmp_path: Path) -> None:
    with pytest.raises((InvalidInput, OSError)):
        alice.submit(listed(alice, rig.facts.name), tmp_path / "none.py", quiet)
    assert alice.work_status(listed(alice, rig.facts.name)).state is WorkState.NEW


def test_a_grade_and_its_words_come_back(rig: Rig, alice: Transport, tmp_path: Path) -> None:
    alice.submit(listed(alice, rig.facts.name), written(tmp_path, rig, b"# graded\n"), quiet)
    facts = rig.facts
    rig.give_grade(alice.user, facts.grade, facts.words)
    standing = alice.work_status(listed(alice, rig.facts.name))
    assert (standing.graded, standing.grade, standing.feedback) == (True, facts.grade, facts.words)


def test_feedback_is_empty_and_then_a_page(rig: Rig, alice: Transport, tmp_path: Path) -> None:
    alice.submit(listed(alice, rig.facts.name), written(tmp_path, rig, b"# page\n"), quiet)
    assert alice.feedback(listed(alice, rig.facts.name)) == ()
    rig.give_page(alice.user, rig.facts.page)
    assert alice.work_status(listed(alice, rig.facts.name)).feedback_available
    (document,) = alice.feedback(listed(alice, rig.facts.name))
    assert document.content == rig.facts.page
    assert document.name.endswith(".html")


def test_nobody_sees_another_persons_work(rig: Rig, alice: Transport, tmp_path: Path) -> None:
    alice.submit(listed(alice, rig.facts.name), written(tmp_path, rig, b"# mine\n"), quiet)
    rig.give_grade(alice.user, "9", "")
    other = rig.open(f"not-{alice.user}")
    assert other.work_status(listed(other, rig.facts.name)).state is WorkState.NEW
    assert not other.work_status(listed(other, rig.facts.name)).graded
    other.close()


def test_a_server_that_is_away_is_told_in_words() -> None:
    transport = HttpsTransport("http://127.0.0.1:9", "alice:00", retry=ONCE)
    with pytest.raises(RemoteFailed, match="cannot be reached") as failure:
        transport.list_assignments()
    assert "network" in failure.value.hint
    transport.close()
