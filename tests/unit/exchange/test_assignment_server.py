"""Collecting what was handed in, and sending pages of feedback (B147, B151, B153).

See compatibility-0.3.16.md 4.
"""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.clients.assignment_server.protocol import RemoteSubmission
from mograder.clients.course_server import RemoteAssignment
from mograder.core.errors import Busy, InvalidInput, MograderError, NotFound, RemoteFailed
from mograder.exchange.assignment_server import Collected, batches, collect, find_pages
from mograder.exchange.collecting import CollectedFolder, CollectOutcome
from tests.support.fake_course import FakeCourse

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def course() -> FakeCourse:
    course = FakeCourse({"hw1": {"hw1.py": b"#"}})
    course.take("hw1", "alice", b"# a")
    course.take("hw1", "bob", b"# bb")
    return course


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "submitted" / "hw1"


def gather(course: FakeCourse, out: Path, *, force: bool = False) -> dict[str, Collected]:
    found = collect(course, course.assignment("hw1"), out, print, NOW, force=force)
    return {each.username: each for each in found}


def times(out: Path) -> dict[str, float]:
    read: dict[str, float] = json.loads((out / ".fetch_metadata.json").read_text())
    return read


def test_b153_everybodys_latest_is_there_with_its_time(course: FakeCourse, out: Path) -> None:
    found = gather(course, out)
    assert (out / "alice.py").read_bytes() == b"# a"
    assert (out / "bob.py").read_bytes() == b"# bb"
    assert {each.change for each in found.values()} == {CollectOutcome.NEW}
    assert times(out) == {user: course.times["hw1", user].timestamp() for user in ("alice", "bob")}
    assert (out / "alice.py").stat().st_mtime == course.times["hw1", "alice"].timestamp()
    assert stat.S_IMODE((out / "alice.py").stat().st_mode) == 0o600
    assert {path.name for path in out.iterdir()} == {"alice.py", "bob.py", ".fetch_metadata.json"}


def test_b153_what_is_here_already_is_not_downloaded_again(course: FakeCourse, out: Path) -> None:
    gather(course, out)
    course.downloads.clear()
    assert {each.change for each in gather(course, out).values()} == {CollectOutcome.UNCHANGED}
    assert course.downloads == []
    gather(course, out, force=True)
    assert sorted(course.downloads) == ["alice.py", "bob.py"]


def test_b153_a_newer_one_takes_its_place_and_the_older_keeps_its_time(
    course: FakeCourse, out: Path
) -> None:
    gather(course, out)
    before = course.times["hw1", "alice"].timestamp()
    course.take("hw1", "alice", b"# newer")
    found = gather(course, out)
    assert found["alice"].change is CollectOutcome.UPDATED
    (kept,) = (out / ".replaced").glob("*/alice.py")
    assert found["alice"].kept == kept
    assert (kept.read_bytes(), kept.stat().st_mtime) == (b"# a", before)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert (out / "alice.py").read_bytes() == b"# newer"
    assert times(out)["alice"] == course.times["hw1", "alice"].timestamp()
    assert found["bob"].change is CollectOutcome.UNCHANGED


def test_a_server_of_0_3_16_tells_no_time_so_none_is_known(course: FakeCourse, out: Path) -> None:
    """Its own client writes an empty map too."""
    course.tells_times = False
    gather(course, out)
    assert times(out) == {}
    first = (out / "bob.py").stat().st_mtime_ns
    course.take("hw1", "alice", b"# newer")
    found = gather(course, out)
    assert (found["alice"].change, found["bob"].change) == (
        CollectOutcome.UPDATED,
        CollectOutcome.UNCHANGED,
    )
    assert found["alice"].kept is not None
    assert found["alice"].kept.read_bytes() == b"# a"
    assert (out / "bob.py").stat().st_mtime_ns == first


def test_two_runs_in_one_second_keep_what_both_replaced(course: FakeCourse, out: Path) -> None:
    gather(course, out)
    for text in (b"# newer", b"# newest"):
        course.take("hw1", "alice", text)
        gather(course, out)
    kept = sorted(path.read_bytes() for path in (out / ".replaced").glob("*/alice.py"))
    assert kept == [b"# a", b"# newer"]


def test_what_an_earlier_version_kept_beside_stays(course: FakeCourse, out: Path) -> None:
    """It kept USER_TIME.py; metadata with fractions of a second are read, too."""
    out.mkdir(parents=True)
    (out / "alice_20260101T000000.py").write_text("# first")
    (out / "alice.py").write_bytes(b"# a")
    at = course.times["hw1", "alice"].timestamp()
    (out / ".fetch_metadata.json").write_text(json.dumps({"alice": at, "gone": 1.5}))
    assert gather(course, out)["alice"].change is CollectOutcome.UNCHANGED
    assert (out / "alice_20260101T000000.py").read_text() == "# first"
    assert times(out)["gone"] == 1.5


@pytest.mark.parametrize("failure", [NotFound, RemoteFailed])
def test_one_that_cannot_be_downloaded_keeps_no_other_back(
    failure: type[MograderError], course: FakeCourse, out: Path
) -> None:
    course.broken.add("alice.py")
    course.failure = failure
    found = gather(course, out)
    assert [each.username for each in found.values() if each.problem] == ["alice"]
    assert "Not found" in (found["alice"].problem or "")
    assert (out / "bob.py").is_file()
    assert "alice" not in times(out)


@pytest.fixture
def failing(course: FakeCourse) -> FakeCourse:
    """A server that fails for four of five people."""
    for user in ("carol", "dora", "erik"):
        course.take("hw1", user, b"#")
    course.broken |= {"bob.py", "carol.py", "dora.py", "erik.py"}
    course.failure = RemoteFailed
    return course


def test_a_server_that_answers_is_asked_for_all_others_after_failures(
    failing: FakeCourse, out: Path
) -> None:
    failing.broken.remove("erik.py")
    found = gather(failing, out)
    assert [each.username for each in found.values() if each.problem] == ["bob", "carol", "dora"]
    assert set(times(out)) == {"alice", "erik"}


def test_a_server_that_has_gone_away_is_asked_for_no_other_after_two_failures(
    failing: FakeCourse, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a minute where the server cannot be reached."""
    course, asked, listed = failing, [0], failing.submissions

    def submissions(assignment: RemoteAssignment) -> tuple[RemoteSubmission, ...]:
        asked[0] += 1
        if asked[0] == 2:
            raise RemoteFailed("It cannot be reached.")
        return listed(assignment)

    monkeypatch.setattr(course, "submissions", submissions)
    with pytest.raises(RemoteFailed, match="cannot be reached"):
        gather(course, out)
    assert course.downloads == ["alice.py", "bob.py", "carol.py"]
    assert set(times(out)) == {"alice"}
    course.broken.clear()
    gather(course, out)
    assert set(times(out)) == {"alice", "bob", "carol", "dora", "erik"}


def test_a_run_that_is_interrupted_keeps_the_times_of_what_arrived(
    course: FakeCourse, out: Path
) -> None:
    """Grading takes the time of a submission from there, and keeps it with the result."""
    gather(course, out)
    course.take("hw1", "alice", b"# late")
    course.take("hw1", "bob", b"# late, too")
    before = times(out)

    def stop(message: str) -> None:
        if message == "Fetching bob.py":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(course, course.assignment("hw1"), out, stop, NOW)
    assert (out / "alice.py").read_bytes() == b"# late"
    assert times(out) == before | {"alice": course.times["hw1", "alice"].timestamp()}


def test_a_run_that_is_killed_leaves_no_file_with_the_time_of_an_earlier_one(
    course: FakeCourse, out: Path
) -> None:
    """Late work was graded as handed in on time."""
    gather(course, out)
    before = times(out)
    course.take("hw1", "alice", b"# late")
    seen: list[dict[str, float]] = []
    collect(course, course.assignment("hw1"), out, lambda _: seen.append(times(out)), NOW)
    assert seen == [{"bob": before["bob"]}]
    assert times(out) == before | {"alice": course.times["hw1", "alice"].timestamp()}


def test_a_file_that_cannot_be_put_in_its_place_has_no_time(
    course: FakeCourse, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the new one: the disk may fail after the change."""

    def full(*_: object) -> None:
        raise Busy("The disk is full.")

    gather(course, out)
    course.take("hw1", "alice", b"# late")
    monkeypatch.setattr(CollectedFolder, "put", full)
    assert gather(course, out)["alice"].problem
    assert set(times(out)) == {"bob"}


@pytest.mark.parametrize("name", ["../evil", "__instructor__", "a/b", ""])
def test_a_name_that_no_person_has_is_never_a_path(
    course: FakeCourse, out: Path, name: str
) -> None:
    course.take("hw1", name, b"evil")
    assert gather(course, out)[name].problem
    assert {path.name for path in out.iterdir()} == {"alice.py", "bob.py", ".fetch_metadata.json"}


def test_the_pages_of_a_directory_are_those_of_people(tmp_path: Path) -> None:
    for name in ("bob.html", "alice.html", ".hidden.html", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert [page.name for page in find_pages(tmp_path)] == ["alice.html", "bob.html"]
    (tmp_path / "__instructor__.html").write_text("x")
    with pytest.raises(InvalidInput, match="__instructor__"):
        find_pages(tmp_path)


def test_a_directory_without_pages_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no feedback pages"):
        find_pages(tmp_path)
    with pytest.raises(NotFound, match="no directory"):
        find_pages(tmp_path / "none")


def test_uploads_stay_small_and_none_is_empty(tmp_path: Path) -> None:
    pages = []
    for number, size in enumerate((4, 5, 20, 1, 1)):
        pages.append(tmp_path / f"s{number}.html")
        pages[-1].write_bytes(b"x" * size)
    parts = batches(pages, 10)
    assert [[page.stat().st_size for page in part] for part in parts] == [[4, 5], [20], [1, 1]]
    assert batches([]) == ()
