"""Writing that no crash halves, and removing that nothing leads astray."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from mograder.core.errors import Busy
from mograder.core.files.disk import Disk, Place
from mograder.store.filesystem.files import atomic_write, exchange_or_rename, remove_tree
from tests.support.fake_disks import FailingDisk, OldDisk, Unplugged

DISKS = pytest.mark.parametrize("disk", [Disk(), OldDisk()], ids=["exchange", "two-renames"])


def test_a_write_replaces_the_file_and_sets_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    atomic_write(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_write_that_fails_leaves_the_old_or_the_new_and_no_litter(
    tmp_path: Path, calls: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(Unplugged):
        atomic_write(path, b"new", disk=FailingDisk(calls))
    assert path.read_bytes() == (b"old" if calls < 2 else b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_in_words(tmp_path: Path) -> None:
    """On students' computers as well, where there is no hub and no course directory."""
    with pytest.raises(Busy, match="disk is full") as told:
        atomic_write(tmp_path / "file", b"new", disk=FailingDisk(0, full=True))
    assert "hub" not in str(told.value)
    assert "course" not in told.value.hint


def test_nothing_is_said_to_be_unchanged_where_the_disk_is_full_after_the_change(
    tmp_path: Path,
) -> None:
    """Only the name could not be synced."""
    with pytest.raises(Busy, match="disk is full") as told:
        atomic_write(tmp_path / "file", b"new", disk=FailingDisk(2, full=True))
    assert (tmp_path / "file").read_bytes() == b"new"
    assert "nothing was changed" not in str(told.value)


def test_readers_of_a_file_see_one_of_its_versions_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [bytes([65 + number]) * 100_000 for number in range(8)]
    atomic_write(path, versions[0])
    done = threading.Event()

    def write() -> None:
        for version in versions:
            atomic_write(path, version)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in versions
    writer.join()


@DISKS
def test_a_directory_takes_the_place_of_another(tmp_path: Path, disk: Disk) -> None:
    staged, target = tmp_path / "staged", tmp_path / "target"
    for path, content in ((staged, "new"), (target, "old")):
        path.mkdir()
        (path / "file").write_text(content)
    old = exchange_or_rename(staged, target, disk=disk)
    assert old is not None
    assert (target / "file").read_text() == "new"
    assert (old / "file").read_text() == "old"


@DISKS
def test_a_directory_comes_where_none_was(tmp_path: Path, disk: Disk) -> None:
    staged, target = tmp_path / "staged", tmp_path / "target"
    staged.mkdir()
    assert exchange_or_rename(staged, target, disk=disk) is None
    assert target.is_dir()
    assert not staged.exists()


@DISKS
def test_nothing_is_placed_over_a_file(tmp_path: Path, disk: Disk) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    old.write_text("old")
    with pytest.raises(FileExistsError):
        disk.place(Place.of(new), Place.of(old))
    assert (new.read_text(), old.read_text()) == ("new", "old")
    disk.place(Place.of(new), Place.of(tmp_path / "free"))
    assert (tmp_path / "free").stat().st_nlink == 1


def test_removing_follows_no_link_and_minds_no_permissions(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_text("x")
    (tree / "link").symlink_to(outside)
    (tree / "a" / "b" / "link").symlink_to(outside / "kept")
    os.mkfifo(tree / "a" / "pipe")
    for path in (tree / "a" / "b", tree / "a", tree):
        path.chmod(0)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").read_text() == "kept"


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "no" / "such")
    assert (tmp_path / "target").is_dir()


def test_removing_copes_with_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    current = os.open(tree, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d" * 100, dir_fd=current)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = deeper
    os.close(current)
    remove_tree(tree)
    assert not tree.exists()
