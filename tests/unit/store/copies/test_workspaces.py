"""Workspaces: made once, never overwritten, whatever their owner put there.

See compatibility-0.3.16.md 2.4, 2.8.
"""

from __future__ import annotations

import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.store.copies.workspaces import FileStatus, Workspaces
from mograder.store.releases.releases import Release, Releases
from tests.support.releases import publish
from tests.support.threads import at_once

ALICE = Username.parse("alice")
A1 = ItemName.parse("A1")
FILES = {
    "A1.py": b"import marimo\n",
    "data.csv": b"1",
    "public/plot.png": b"png",
    "layouts/A1.grid.json": b"{}",
    "data/2026/b.zip": b"zip",
    "A1.html": b"preview",
    "A1.zip": b"bundle",
}


@pytest.fixture
def workspaces(root: Path) -> Workspaces:
    return Workspaces(root)


@pytest.fixture
def release(releases: Releases) -> Release:
    """A release with support files, a public folder and by-products."""
    return publish(releases, FILES)


def content(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_first_visit_copies_notebook_and_support_files(
    workspaces: Workspaces, release: Release, root: Path
) -> None:
    directory = workspaces.ensure(ALICE, release)
    assert directory == workspaces.directory(ALICE, A1) == root / "alice" / "A1"
    copied = {name: FILES[name] for name in FILES if name not in ("A1.html", "A1.zip")}
    assert content(directory) == copied | {".uploaded": b"", ".fetched": b""}
    assert workspaces.has_copy(ALICE, A1)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(workspaces.notebook(ALICE, A1).stat().st_mode) == 0o644
    assert list((root / ".staging").iterdir()) == []


def test_a_later_visit_changes_nothing(workspaces: Workspaces, releases: Releases) -> None:
    directory = workspaces.ensure(ALICE, publish(releases, FILES))
    (directory / "A1.py").write_bytes(b"the student's work")
    (directory / "data.csv").unlink()
    before = content(directory)
    workspaces.ensure(ALICE, publish(releases, FILES | {"more.csv": b"2"}))
    assert content(directory) == before


def test_what_the_student_made_before_the_first_copy_is_kept(
    workspaces: Workspaces, release: Release
) -> None:
    directory = workspaces.directory(ALICE, A1)
    (directory / "public").mkdir(parents=True)
    (directory / "public" / "plot.png").write_bytes(b"mine")
    (directory / "data.csv").symlink_to("/etc/hostname")
    workspaces.ensure(ALICE, release)
    assert (directory / "public" / "plot.png").read_bytes() == b"mine"
    assert (directory / "data.csv").readlink() == Path("/etc/hostname")


def test_many_first_visits_at_once_make_one_copy(root: Path, release: Release) -> None:
    spaces = [Workspaces(root), Workspaces(root)]
    found = at_once(8, lambda number: spaces[number % 2].ensure(ALICE, release))
    assert set(found) == {root / "alice" / "A1"}
    assert (root / "alice" / "A1" / "A1.py").read_bytes() == FILES["A1.py"]
    assert spaces[0].file_status(ALICE, A1) is FileStatus.UPLOADED
    assert list((root / ".staging").iterdir()) == []


@pytest.mark.parametrize("trap", ["link", "pipe", "file"])
@pytest.mark.parametrize("place", ["alice", "alice/A1", "alice/A1/A1.py", "alice/A1/public"])
def test_a_trap_in_the_way_is_a_clear_refusal_and_harms_nobody(
    workspaces: Workspaces, release: Release, tmp_path: Path, place: str, trap: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    path = tmp_path / "hub-notebooks" / place
    path.parent.mkdir(parents=True)
    match trap:
        case "link":
            path.symlink_to(victim)
        case "pipe":
            os.mkfifo(path)
        case _ if place.endswith(".py"):
            path.mkdir()
        case _:
            path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="workspace"):
        workspaces.ensure(ALICE, release)
    assert list(victim.iterdir()) == []
    assert not workspaces.has_copy(ALICE, A1)
    assert workspaces.file_status(ALICE, A1) is FileStatus.NOT_STARTED
    assert not workspaces.updated(ALICE, release)


@pytest.mark.parametrize("marker", [".uploaded", ".fetched", ".exported"])
def test_a_marker_that_is_a_link_is_replaced_and_not_followed(
    workspaces: Workspaces, release: Release, tmp_path: Path, marker: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    os.utime(victim, ns=(1, 1))
    directory = workspaces.directory(ALICE, A1)
    directory.mkdir(parents=True)
    (directory / marker).symlink_to(victim)
    workspaces.ensure(ALICE, release)
    assert victim.read_bytes() == b"untouched"
    assert victim.stat().st_mtime_ns == 1


def test_a_copy_made_while_the_release_is_replaced_is_of_one_release(
    workspaces: Workspaces, releases: Releases
) -> None:
    stale = publish(releases, FILES)
    publish(releases, {"A1.py": b"second", "second.csv": b"2"})
    directory = workspaces.ensure(ALICE, stale)
    assert content(directory) == {
        "A1.py": b"second",
        "second.csv": b"2",
        ".uploaded": b"",
        ".fetched": b"",
    }


def test_a_release_that_is_gone_is_not_found(workspaces: Workspaces, release: Release) -> None:
    release.directory.rename(release.directory.with_name("moved"))
    with pytest.raises(NotFound):
        workspaces.ensure(ALICE, release)


def test_the_status_follows_the_markers_times(workspaces: Workspaces, release: Release) -> None:
    assert workspaces.file_status(ALICE, A1) is FileStatus.NOT_STARTED
    directory = workspaces.ensure(ALICE, release)
    assert workspaces.file_status(ALICE, A1) is FileStatus.UPLOADED
    times = {"A1.py": 20, ".uploaded": 10}
    for name, second in times.items():
        os.utime(directory / name, (second, second))
    assert workspaces.file_status(ALICE, A1) is FileStatus.MODIFIED
    (directory / ".exported").touch()
    os.utime(directory / ".exported", (20, 20))
    assert workspaces.file_status(ALICE, A1) is FileStatus.EXPORTED
    os.utime(directory / "A1.py", (21, 21))
    assert workspaces.file_status(ALICE, A1) is FileStatus.MODIFIED
    (directory / ".exported").unlink()
    (directory / ".uploaded").unlink()
    assert workspaces.file_status(ALICE, A1) is FileStatus.NOT_STARTED


def test_a_notebook_from_the_future_is_not_taken_for_edited(
    workspaces: Workspaces, releases: Releases
) -> None:
    release = publish(releases, FILES)
    future = (release.updated + timedelta(days=1)).timestamp()
    os.utime(release.notebook, (future, future))
    ahead = releases.get(A1)
    assert ahead is not None
    workspaces.ensure(ALICE, ahead)
    assert workspaces.file_status(ALICE, A1) is FileStatus.UPLOADED


def test_an_update_is_a_release_newer_than_what_was_fetched(
    workspaces: Workspaces, release: Release
) -> None:
    assert not workspaces.updated(ALICE, release)
    directory = workspaces.ensure(ALICE, release)
    assert not workspaces.updated(ALICE, release)
    before = (release.updated - timedelta(seconds=5)).timestamp()
    os.utime(directory / ".fetched", (before, before))
    assert workspaces.updated(ALICE, release)
    (directory / ".fetched").unlink()
    assert not workspaces.updated(ALICE, release)
    os.utime(directory / ".uploaded", (before, before))
    assert workspaces.updated(ALICE, release)
    (directory / ".uploaded").unlink()
    assert not workspaces.updated(ALICE, release)


def test_fetching_again_forgets_that_the_old_copy_was_exported(
    workspaces: Workspaces, release: Release
) -> None:
    directory = workspaces.ensure(ALICE, release)
    (directory / ".exported").touch()
    (directory / "A1.py").unlink()
    workspaces.ensure(ALICE, release)
    assert workspaces.file_status(ALICE, A1) is FileStatus.UPLOADED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_root_hub_makes_the_copy_for_the_sandboxs_uid(
    workspaces: Workspaces, release: Release
) -> None:
    workspaces.ensure(ALICE, release)
    student = workspaces.directory(ALICE, A1).parent
    os.chown(student, 4711, 4711)
    shutil.rmtree(student / "A1")
    directory = workspaces.ensure(ALICE, release)
    owners = {path.lstat().st_uid for path in (directory, *directory.rglob("*"))}
    assert owners == {4711}


def test_the_notebooks_may_live_on_a_volume_behind_a_link_b21(
    tmp_path: Path, release: Release
) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "hub-notebooks").symlink_to("volume")
    Workspaces(tmp_path / "hub-notebooks").ensure(ALICE, release)
    assert (tmp_path / "volume" / "alice" / "A1" / "A1.py").exists()


def test_a_directory_of_the_volume_itself_is_no_person(workspaces: Workspaces, root: Path) -> None:
    """It is at the top of a volume for students' work, and would be a student without copies."""
    for name in ("alice", "lost+found"):
        (root / name).mkdir(parents=True)
    assert workspaces.people() == (ALICE,)
