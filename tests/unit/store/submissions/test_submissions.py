"""The directory of submissions: the counted one, crashes, concurrent writers (B157, B158)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.core.errors import NotFound
from mograder.core.names import INSTRUCTOR, ItemName, Username
from mograder.store.submissions.submissions import Submissions, Terms
from tests.support.course import REPOSITORY
from tests.support.fake_disks import OldDisk
from tests.support.threads import at_once

ALICE, BOB = Username.parse("alice"), Username.parse("bob")
A1 = ItemName.parse("A1")
NOW = datetime(2026, 3, 10, 20, 8, 0, 123_456, tzinfo=UTC)
ONCE = Terms(once=True)
_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from mograder.core.names import ItemName, Username
from mograder.store.submissions.submissions import Submissions
root, mark = Path(sys.argv[1]), sys.argv[2]
submissions = Submissions(root / "submitted", records=root / "records")
now = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)
for number in range(30):
    data = f"{mark}{number}".encode()
    kept = submissions.add(Username.parse("alice"), ItemName.parse("A1"), data, now)
    print(kept.path.name, kept.submission.sequence, flush=True)
"""


def _open(root: Path) -> Submissions:
    return Submissions(root / "submitted", records=root / "records")


@pytest.mark.full
def test_b157_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Both to one person in one second, which is the worst that can be."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), mark],
            cwd=REPOSITORY / "src",
            stdout=subprocess.PIPE,
            text=True,
        )
        for mark in "xy"
    ]
    lines = [line for writer in writers for line in writer.communicate()[0].splitlines()]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len({line.split()[0] for line in lines}) == 60
    assert sorted(int(line.split()[1]) for line in lines) == list(range(1, 61))
    place = tmp_path / "submitted" / "A1"
    texts = {path.read_text() for path in place.glob("alice_*")}
    assert texts == {f"{mark}{number}" for mark in "xy" for number in range(30)}
    assert (place / "alice.py").read_text() in {"x29", "y29"}


@pytest.mark.full
def test_b158_many_threads_share_the_wait_and_each_gets_its_own(tmp_path: Path) -> None:
    submissions = _open(tmp_path)

    def one(number: int) -> object:
        user = Username.parse(f"u{number % 4}")
        return submissions.add(user, A1, f"{number}".encode(), NOW)

    at_once(24, one)
    place = tmp_path / "submitted" / "A1"
    files = [path for path in place.iterdir() if not path.is_symlink()]
    assert {path.read_text() for path in files} == {str(number) for number in range(24)}
    assert {path.name for path in place.iterdir() if path.is_symlink()} == {
        f"u{number}.py" for number in range(4)
    }
    for user, person in submissions.people(A1).items():
        assert [each.sequence for each in person.submissions] == list(range(1, 7)), user


def test_without_its_link_the_newest_counts_and_the_link_comes_back(tmp_path: Path) -> None:
    _open(tmp_path).add(ALICE, A1, b"one", NOW)
    _open(tmp_path).add(ALICE, A1, b"two", NOW)
    link = tmp_path / "submitted" / "A1" / "alice.py"
    for target in (None, "alice_gone.py"):
        link.unlink()
        if target:
            link.symlink_to(target)
        submissions = _open(tmp_path)
        counting = submissions.counting(ALICE, A1)
        assert counting is not None
        assert counting.filename == "alice_20260310T200800-1.py"
        assert submissions.add(ALICE, A1, b"two", NOW, ONCE).repeated
        assert link.read_bytes() == b"two"


def test_without_its_records_a_directory_still_tells(tmp_path: Path) -> None:
    _open(tmp_path).add(ALICE, A1, b"one", NOW)
    _open(tmp_path).add(ALICE, A1, b"two", NOW)
    records = tmp_path / "records" / "A1.jsonl"
    lines = records.read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2]
    records.write_text("torn\n" + lines[0] + "\n" + lines[1][:20])
    submissions = _open(tmp_path)
    counting = submissions.counting(ALICE, A1)
    assert counting is not None
    assert (counting.sequence, counting.size) == (2, 3)
    assert counting.received == NOW.replace(microsecond=0)
    assert submissions.add(ALICE, A1, b"three", NOW).submission.sequence == 3
    assert len(records.read_text().splitlines()) == 4


def test_the_bytes_on_the_disk_decide_what_is_repeated(tmp_path: Path) -> None:
    submissions = _open(tmp_path)
    kept = submissions.add(ALICE, A1, b"one", NOW, ONCE)
    kept.path.write_bytes(b"eno")
    assert not submissions.add(ALICE, A1, b"one", NOW, ONCE).repeated
    assert (tmp_path / "submitted" / "A1" / "alice.py").read_bytes() == b"one"


def test_a_late_version_of_the_same_bytes_as_one_in_time_is_that_one(tmp_path: Path) -> None:
    submissions, terms = _open(tmp_path), Terms(due=NOW, once=True)
    confirmed, late = Terms(due=NOW, replace=True, once=True), NOW + timedelta(hours=1)
    link = tmp_path / "submitted" / "A1" / "alice.py"
    submissions.add(ALICE, A1, b"one", NOW - timedelta(hours=1), terms)
    submissions.add(ALICE, A1, b"late", late, confirmed)
    again = submissions.add(ALICE, A1, b"one", late, terms)
    assert (again.submission.sequence, again.submission.late) == (1, False)
    assert (again.repeated, again.counts, link.read_bytes()) == (True, True, b"one")
    assert not submissions.add(ALICE, A1, b"late", late, terms).counts
    assert submissions.add(ALICE, A1, b"two", NOW, terms).counts
    assert not submissions.add(ALICE, A1, b"one", late, terms).counts, "only if that is confirmed"
    assert submissions.add(ALICE, A1, b"one", late, confirmed).submission == again.submission
    assert link.read_bytes() == b"one"
    assert len(submissions.of(ALICE, A1).submissions) == 3


def test_a_submission_that_counts_again_after_the_due_date_moved_is_listed_once(
    tmp_path: Path,
) -> None:
    submissions, hour = _open(tmp_path), timedelta(hours=1)
    for text in (b"one", b"two"):
        submissions.add(ALICE, A1, text, NOW, Terms(due=NOW + hour))
    again = submissions.add(ALICE, A1, b"one", NOW + hour, Terms(due=NOW - hour, once=True))
    person = submissions.of(ALICE, A1)
    assert [(each.sequence, each.late) for each in person.submissions] == [(1, False), (2, False)]
    assert again.submission == person.counting == person.submissions[0]


def test_a_submission_that_is_picked_counts_until_the_next_one(tmp_path: Path) -> None:
    submissions, due = _open(tmp_path), Terms(due=NOW)
    submissions.add(ALICE, A1, b"in time", NOW, due)
    assert not submissions.add(ALICE, A1, b"late", NOW + timedelta(hours=1), due).counts
    assert submissions.pick(ALICE, A1, 2).sequence == 2
    link = tmp_path / "submitted" / "A1" / "alice.py"
    for each in (submissions, _open(tmp_path)):
        counting = each.counting(ALICE, A1)
        assert counting is not None
        assert counting.sequence == 2
    assert link.read_bytes() == b"late"
    with pytest.raises(NotFound):
        submissions.pick(ALICE, A1, 3)
    with pytest.raises(NotFound):
        submissions.pick(BOB, A1, 1)
    with pytest.raises(NotFound):
        submissions.pick(ALICE, ItemName.parse("A2"), 1)
    assert not (tmp_path / "submitted" / "A2").exists()
    submissions.add(ALICE, A1, b"in time again", NOW, due)
    assert link.read_bytes() == b"in time again"


def test_a_fetched_file_is_kept_when_another_submission_is_picked(tmp_path: Path) -> None:
    _open(tmp_path).add(ALICE, A1, b"one", NOW)
    link = tmp_path / "submitted" / "A1" / "alice.py"
    link.unlink()
    link.write_bytes(b"fetched")
    submissions = _open(tmp_path)
    submissions.pick(ALICE, A1, 1)
    assert link.read_bytes() == b"one"
    person = submissions.of(ALICE, A1)
    texts = {(link.parent / each.filename).read_bytes() for each in person.submissions}
    assert texts == {b"one", b"fetched"}


def test_a_submission_is_found_by_either_name_and_nothing_else_is(tmp_path: Path) -> None:
    submissions = _open(tmp_path)
    kept = submissions.add(ALICE, A1, b"one", NOW)
    (kept.path.parent / "notes.txt").touch()
    for name in ("alice.py", kept.path.name):
        assert submissions.locate(A1, name) == kept.path
    for name in ("bob.py", "notes.txt", "alice_20200101T000000.py", "..", "alice"):
        with pytest.raises(NotFound):
            submissions.locate(A1, name)


def test_work_of_the_last_second_is_on_time(tmp_path: Path) -> None:
    submissions, terms = _open(tmp_path), Terms(due=NOW.replace(microsecond=0))
    assert not submissions.add(ALICE, A1, b"one", NOW, terms).submission.late
    late = submissions.add(ALICE, A1, b"two", NOW + timedelta(seconds=1), terms)
    assert (late.submission.late, late.counts) == (True, False)


def test_a_fetched_file_that_becomes_history_has_a_number_of_its_own(tmp_path: Path) -> None:
    submissions = _open(tmp_path)
    link = submissions.add(ALICE, A1, b"one", NOW).path.with_name("alice.py")
    link.unlink()
    link.write_bytes(b"fetched")
    yesterday = (NOW - timedelta(days=1)).timestamp()
    os.utime(link, (yesterday, yesterday))
    submissions.add(ALICE, A1, b"two", NOW)
    for each in (submissions, _open(tmp_path)):
        found = each.of(ALICE, A1).submissions
        numbers = {link.with_name(one.filename).read_bytes(): one.sequence for one in found}
        assert numbers == {b"one": 1, b"fetched": 2, b"two": 3}


def test_names_that_are_only_asked_for_are_not_kept_in_memory(tmp_path: Path) -> None:
    submissions = _open(tmp_path)
    submissions.add(ALICE, A1, b"one", NOW)
    for number in range(9):
        assert submissions.of(ALICE, ItemName.parse(f"no{number}")).submissions == []
    assert len(submissions.of(ALICE, A1).submissions) == 1
    assert list(submissions._rooms) == [A1]


def test_what_a_killed_server_left_half_written_goes_after_an_hour(tmp_path: Path) -> None:
    place = tmp_path / "submitted" / "A1"
    place.mkdir(parents=True)
    old, new = place / f".{'a' * 16}.tmp", place / f".{'b' * 16}.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (1, 1))
    _open(tmp_path).add(BOB, A1, b"x", NOW)
    assert not old.exists()
    assert new.exists()


def test_an_old_file_system_keeps_submissions_too(tmp_path: Path) -> None:
    """One without unnamed files and without renames that replace nothing."""
    submissions = Submissions(tmp_path, disk=OldDisk())
    for data in (b"one", b"two"):
        submissions.add(ALICE, A1, data, NOW)
    place = tmp_path / "A1"
    assert sorted(path.name for path in place.iterdir()) == [
        "alice.py",
        "alice_20260310T200800-1.py",
        "alice_20260310T200800.py",
    ]
    assert (place / "alice.py").read_bytes() == b"two"


def test_the_shared_instructor_login_keeps_its_submissions(tmp_path: Path) -> None:
    """Lecturers try to hand in, too."""
    prof = Username.of_account(INSTRUCTOR)
    kept = _open(tmp_path).add(prof, A1, b"mine", NOW)
    assert _open(tmp_path).counting(prof, A1) == kept.submission


@pytest.mark.parametrize("user", ["alice", A1])
def test_a_file_that_was_put_beside_other_files_is_kept_at_the_next_submission(
    tmp_path: Path, user: str
) -> None:
    """Also one with the item's own name, no submission before; compatibility-0.3.16.md 4."""
    (tmp_path / "A1").mkdir()
    (tmp_path / "A1" / f"{user}.py").write_bytes(b"by mail")
    submissions = Submissions(tmp_path, mixed=True)
    assert list(submissions.people(A1)) == [each for each in ["alice"] if each == user]
    kept = submissions.add(Username.parse(user), A1, b"new", NOW)
    assert kept.submission.sequence == 2
    texts = {path.read_bytes() for path in (tmp_path / "A1").glob(f"{user}_*.py")}
    assert texts == {b"by mail", b"new"}
