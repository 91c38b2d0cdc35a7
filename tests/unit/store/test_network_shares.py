"""What hubs and nodes do on a share which a local disk never asks of them.

docs/explanation/files-on-a-share.md; on a real NFS server: tests/vm/test_nfs_share.py.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from mograder.auth.credentials import Role
from mograder.core.errors import Conflict, NotFound
from mograder.core.files import file_lock
from mograder.core.files.disk import DISK, Place, closing_fd, look_for
from mograder.core.item_dates import Visibility
from mograder.core.names import ItemName, Username
from mograder.store.assignment_server.grades import Grades, parse_entries
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.allowlist import Allowlist
from mograder.store.database.database import open_engine
from mograder.store.filesystem import files
from mograder.store.filesystem.files import PARKED, remove_tree
from mograder.store.filesystem.records import LOCK, Records, locked_directory
from mograder.store.filesystem.untrusted_dir import UntrustedDir
from mograder.store.marking import marking_progress
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.releases.releases import Releases
from mograder.store.submissions.submissions import Submissions
from tests.support.fake_disks import ShareDisk, flock_on_nfs
from tests.support.releases import publish

A1 = ItemName.parse("A1")
ALICE = Username.parse("alice")
NOW = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)
HIDDEN = Visibility(hidden=True)


@pytest.fixture
def disk() -> ShareDisk:
    return ShareDisk()


@pytest.fixture
def nfs_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let locks work as on NFS."""

    class Fcntl:
        LOCK_SH, LOCK_EX = fcntl.LOCK_SH, fcntl.LOCK_EX
        LOCK_NB, LOCK_UN = fcntl.LOCK_NB, fcntl.LOCK_UN
        flock = staticmethod(flock_on_nfs)

    monkeypatch.setattr(file_lock, "fcntl", Fcntl)


FILES = {"A1.py": b"import marimo\n"}


def test_a_copy_that_another_machine_made_is_found(tmp_path: Path, disk: ShareDisk) -> None:
    spaces = Workspaces(tmp_path, disk=disk)
    assert not spaces.has_copy(ALICE, A1)

    def make() -> None:
        (tmp_path / "alice/A1").mkdir(parents=True)
        (tmp_path / "alice/A1/A1.py").write_text("mine")

    disk.elsewhere(make)
    assert spaces.read(ALICE, A1, "A1.py", 100).data == b"mine"


def test_every_directory_above_a_missing_file_is_asked_for(tmp_path: Path, disk: ShareDisk) -> None:
    (tmp_path / "alice/A1").mkdir(parents=True)
    below = UntrustedDir(tmp_path, disk=disk)
    with pytest.raises(NotFound):
        below.stat("alice/A1/A1.py")
    asked = len(disk.asked)
    with pytest.raises(NotFound):
        below.stat("alice/A1/A1.py")
    assert len(disk.asked) == asked + 3, "the root, alice and A1, and only since it is missing"


def test_a_directory_is_asked_for_once_a_second_for_files_that_are_there(
    tmp_path: Path, disk: ShareDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    (tmp_path / "f").write_text("1")
    below = UntrustedDir(tmp_path, disk=disk)
    for _ in range(3):
        below.stat("f")
    assert len(disk.asked) == 1
    moment[0] += 1
    disk.elsewhere(lambda: (tmp_path / "f").write_text("22"))
    assert below.stat("f").size == 2


def test_a_file_that_is_read_is_never_the_one_before(tmp_path: Path, disk: ShareDisk) -> None:
    """Not even within that second: it may be handed in."""
    (tmp_path / "A1").mkdir()
    path = tmp_path / "A1/A1.py"
    path.write_text("1")
    below = UntrustedDir(tmp_path, disk=disk)
    for text in (b"2", b"3"):
        disk.elsewhere(partial(path.write_bytes, text))
        assert below.read("A1/A1.py", 10) == text


def test_looking_again_follows_no_link_of_a_students(tmp_path: Path, disk: ShareDisk) -> None:
    (tmp_path / "secret/A1").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/alice").symlink_to(tmp_path / "secret")
    assert UntrustedDir(tmp_path / "root", disk=disk).look("alice/A1/A1.py") is None
    assert disk.asked.count("") == len(disk.asked), "the root alone, as '.'"
    assert len(disk.asked) <= 2


def test_a_file_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, disk: ShareDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("new")
    below, read, failures = UntrustedDir(tmp_path, disk=disk), os.read, [errno.ESTALE]

    def stale_once(fd: int, size: int) -> bytes:
        if failures:
            raise OSError(failures.pop(), "stale")
        return read(fd, size)

    monkeypatch.setattr(os, "read", stale_once)
    assert below.read("f", 10) == b"new"
    failures[:] = [errno.ESTALE, errno.ESTALE]
    with pytest.raises(Conflict, match="being replaced"):
        below.read("f", 10)


def test_a_release_that_another_hub_published_is_found_and_then_its_next(
    tmp_path: Path, disk: ShareDisk
) -> None:
    here, there = Releases(tmp_path, disk=disk), Releases(tmp_path)
    assert here.get(A1) is None
    disk.elsewhere(lambda: publish(there, FILES))
    first = here.get(A1)
    assert first is not None
    disk.elsewhere(lambda: publish(there, {"A1.py": b"import marimo  # 2\n"}))
    second = here.get(A1)
    assert second is not None
    assert second.version != first.version


def test_a_release_that_is_being_replaced_in_two_steps_is_not_missing(
    tmp_path: Path, disk: ShareDisk
) -> None:
    releases = Releases(tmp_path, disk=disk)
    publish(releases, FILES)
    parked = tmp_path / ".staging/0123/"
    parked.mkdir()
    (tmp_path / "A1").rename(parked / f"{PARKED}A1")
    asked = disk.look_again

    def back(path: Path | str, directory: int | None = None) -> None:
        if len(disk.asked) == 3:
            (parked / f"{PARKED}A1").rename(tmp_path / "A1")
        asked(path, directory)

    disk.asked.clear()
    disk.look_again = back  # type: ignore[method-assign]
    assert releases.get(A1) is not None
    assert len(disk.asked) > 3


def test_a_release_whose_replacement_was_cut_short_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    releases = Releases(tmp_path)
    publish(releases, FILES)
    (tmp_path / ".staging/0123").mkdir()
    (tmp_path / "A1").rename(tmp_path / f".staging/0123/{PARKED}A1")
    assert releases.get(A1) is None
    assert 0.2 < sum(waits) < 1
    waits.clear()
    assert releases.get(A1) is None
    assert waits == []
    assert Releases(tmp_path).get(A1) is not None, "a hub that starts puts it back"


def test_a_rule_that_another_hub_made_hides_at_once(
    tmp_path: Path, disk: ShareDisk, nfs_locks: None
) -> None:
    path = tmp_path / "release/.visibility.json"
    here, there = VisibilityRules(path, disk=disk), VisibilityRules(path)
    there.change({"A1": HIDDEN})
    assert here.of("A1").hidden, "the file was not there when it was first looked for"
    disk.elsewhere(lambda: there.change({"A2": HIDDEN}))
    here.change({"A3": HIDDEN})
    assert sorted(json.loads(path.read_text())) == ["A1", "A2", "A3"], "nothing of the other's lost"
    assert (path.parent / LOCK).exists()


def test_rules_that_cannot_be_read_for_a_moment_hide_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules"
    path.write_text("{}")
    rules = VisibilityRules(path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fstat", _stale)
        assert rules.of("A1").hidden
    assert not rules.of("A1").hidden


def test_the_allowlist_that_another_machine_wrote_counts(tmp_path: Path, disk: ShareDisk) -> None:
    path = tmp_path / "allowed_users.txt"
    users = Allowlist(path, disk=disk)
    disk.elsewhere(lambda: path.write_text("bob\n"))
    assert not users.allows("alice", Role.STUDENT), "without the file everybody may enter"


def test_an_allowlist_that_is_stale_twice_lets_no_student_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "allowed_users.txt"
    path.write_text("alice\n")
    users = Allowlist(path)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fstat", _stale)
        assert not users.allows("alice", Role.STUDENT)
    assert users.allows("alice", Role.STUDENT)


@pytest.mark.usefixtures("nfs_locks")
def test_a_directory_is_locked_by_a_file_in_it(tmp_path: Path, disk: ShareDisk) -> None:
    with locked_directory(tmp_path, disk=disk):
        lock = os.open(tmp_path / LOCK, os.O_RDWR)
        with closing_fd(lock):
            assert not file_lock.acquire(lock)
    with closing_fd(os.open(tmp_path / LOCK, os.O_RDWR)) as lock:
        assert file_lock.acquire(lock)
    assert (tmp_path / LOCK).stat().st_mode & 0o777 == tmp_path.stat().st_mode & 0o666


@pytest.mark.usefixtures("nfs_locks")
def test_what_the_machine_before_wrote_under_the_lock_is_not_lost(
    tmp_path: Path, disk: ShareDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Grades(tmp_path, disk=disk), Grades(tmp_path)
    waited = file_lock.acquire

    def acquire(fd: int, seconds: float | None = 0.0) -> bool:
        """Wait while the other machine has the lock; its file shows once the server is asked."""
        monkeypatch.setattr(file_lock, "acquire", waited)
        disk.elsewhere(lambda: there.merge(parse_entries(b'[{"userid": "1", "mark": 1}]')))
        return waited(fd, seconds=seconds)

    monkeypatch.setattr(file_lock, "acquire", acquire)
    assert here.merge(parse_entries(b'[{"userid": "2", "mark": 1}]')) == 2


def test_assignments_that_another_hub_opened_for_marking_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: ShareDisk
) -> None:
    monkeypatch.setattr(marking_progress, "look_for", partial(look_for, disk=disk))
    disk.elsewhere(lambda: (tmp_path / "marking.json").write_text('["A1"]'))
    assert marking_progress.open_for_marking(tmp_path) == {"A1"}
    disk.elsewhere(lambda: (tmp_path / "marking.json").write_text('["A1", "A2"]'))
    opened = marking_progress.set_open_for_marking(tmp_path, "A3", is_open=True, disk=disk)
    assert opened == {"A1", "A2", "A3"}


def test_a_directory_of_a_local_disk_holds_no_lock_file(tmp_path: Path) -> None:
    with locked_directory(tmp_path):
        assert list(tmp_path.iterdir()) == []
        with closing_fd(os.open(tmp_path, os.O_RDONLY)) as other:
            assert not file_lock.acquire(other)


@pytest.mark.usefixtures("nfs_locks")
def test_submissions_and_grades_take_a_lock_that_others_respect(
    tmp_path: Path, disk: ShareDisk
) -> None:
    submissions = Submissions(tmp_path, disk=disk)
    submissions.add(ALICE, A1, b"1", NOW)
    Grades(tmp_path / "A1", disk=disk).merge(parse_entries(b'[{"userid": "1", "mark": 1}]'))
    assert (tmp_path / "A1" / LOCK).exists()
    counting = submissions.counting(ALICE, A1)
    assert counting is not None
    assert counting.sequence == 1


def test_records_that_another_machine_added_are_read(tmp_path: Path, disk: ShareDisk) -> None:
    records, other = Records(tmp_path / "lines", disk=disk), Records(tmp_path / "lines")
    records.add([b"1"], durable=True)
    assert records.fresh() == (b"1",)
    disk.elsewhere(lambda: other.add([b"2"], durable=True))
    records.stamp(now=True)
    assert records.fresh() == (b"2",)


def test_a_link_whose_answer_was_lost_counts_as_made(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("1")
    os.link(tmp_path / "new", tmp_path / "target")
    ShareDisk().place(Place.of(tmp_path / "new"), Place.of(tmp_path / "target"))
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    (tmp_path / "new").write_text("1")
    with pytest.raises(FileExistsError):
        ShareDisk().place(Place.of(tmp_path / "new"), Place.of(tmp_path / "target"))


class HeldFiles:
    """What NFS does with files that are open: unlinking their last name fails until they close."""

    def __init__(self, unlink: Callable[..., None], failures: int) -> None:
        self._unlink = unlink
        self.failures = failures

    def __call__(self, name: str, *, dir_fd: int) -> None:
        if name.startswith(".nfs") and self.failures > 0:
            self.failures -= 1
            raise OSError(errno.EBUSY, "busy")
        self._unlink(name, dir_fd=dir_fd)


@pytest.mark.parametrize("closed", [True, False])
def test_a_tree_with_open_files_is_removed_as_far_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, closed: bool
) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    for name in ("f", "a/.nfs0001", "a/b/.nfs0002", "a/b/g"):
        (tree / name).write_text("1")
    monkeypatch.setattr(files, "_HELD_SECONDS", 0)
    monkeypatch.setattr(os, "unlink", HeldFiles(os.unlink, 3 if closed else 10**6))
    remove_tree(tree)
    left = sorted(path.name for path in tree.rglob("*") if path.is_file())
    assert left == ([] if closed else [".nfs0001", ".nfs0002"])
    assert tree.exists() is not closed


def test_a_file_of_that_name_that_nobody_holds_is_removed(tmp_path: Path) -> None:
    (tmp_path / "tree/.nfs-mine/x").mkdir(parents=True)
    (tmp_path / "tree/.nfs1").write_text("1")
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize(("shared", "mode"), [(True, "delete"), (False, "wal")])
def test_a_database_on_a_share_has_a_journal_that_two_machines_can_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared: bool, mode: str
) -> None:
    path = tmp_path / "gradebook.db"
    open_engine(f"sqlite:///{path}").dispose()  # as an earlier version left it
    monkeypatch.setattr(type(DISK), "is_shared", lambda self, at: shared)
    open_engine(f"sqlite:///{path}").dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)


def _stale(*_: object) -> bytes:
    raise OSError(errno.ESTALE, "stale")
