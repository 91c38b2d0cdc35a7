"""Replacing a copy, and keeping the earlier one.

See compatibility-0.3.16.md 2.4, 2.8; B57, B117.
"""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.files.disk import Disk
from mograder.core.names import ItemName, Username
from mograder.store.copies import workspaces as module
from mograder.store.copies.merged_files import KnownFiles
from mograder.store.copies.workspaces import (
    MOST_ARCHIVES,
    FileStatus,
    Workspaces,
    archive_names,
    parse_archive,
)
from mograder.store.filesystem.untrusted_dir import FileInfo, UntrustedDir
from mograder.store.releases.releases import Release, Releases
from tests.support.fake_disks import OldDisk, ShareDisk
from tests.support.releases import publish

ALICE = Username.parse("alice")
A1 = ItemName.parse("A1")
NOW = datetime(2026, 9, 1, 9, 0, tzinfo=UTC)
STAMP = f"{NOW.astimezone():%Y%m%dT%H%M%S}"
KEPT = f"A1.bak.{STAMP}.py"
WORK = b"the student's work"


@pytest.fixture
def release(releases: Releases) -> Release:
    """A release with a support file."""
    return publish(releases, {"A1.py": b"released", "data.csv": b"1"})


@pytest.fixture(params=[Disk, OldDisk, ShareDisk], ids=["exchange", "no exchange", "share"])
def spaces(request: pytest.FixtureRequest, root: Path) -> Workspaces:
    """Workspaces on a file system with RENAME_EXCHANGE and on one without."""
    return Workspaces(root, disk=request.param())


@pytest.fixture
def directory(root: Path, release: Release) -> Path:
    """The directory of a copy that was worked on."""
    copy = Workspaces(root).ensure(ALICE, release)
    (copy / "A1.py").write_bytes(WORK)
    return copy


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_b57_beginning_anew_keeps_the_work_beside_the_release(
    spaces: Workspaces, root: Path, release: Release, directory: Path
) -> None:
    (directory / "data.csv").write_bytes(b"mine")
    kept = spaces.renew(ALICE, release, NOW)
    assert [each.name for each in spaces.archives(ALICE, A1)] == [kept]
    assert (directory / str(kept)).read_bytes() == WORK
    assert (directory / "A1.py").read_bytes() == b"released"
    assert (directory / "data.csv").read_bytes() == b"mine"
    assert spaces.file_status(ALICE, A1) is FileStatus.UPLOADED
    assert not spaces.updated(ALICE, release)
    assert list((root / ".staging").iterdir()) == []


def test_b57_data_files_that_were_left_alone_become_those_of_the_new_release(
    spaces: Workspaces, releases: Releases, release: Release, directory: Path
) -> None:
    """Else the copy would count as up to date with files of the release before."""
    (directory / "own.csv").write_bytes(b"mine")
    new = publish(releases, {"A1.py": b"anew", "data.csv": b"2", "own.csv": b"2"})
    known = KnownFiles({"data.csv": frozenset({hashlib.sha256(b"1").hexdigest()})})
    spaces.renew(ALICE, new, NOW, known)
    found = {name: (directory / name).read_bytes() for name in names(directory) if "csv" in name}
    assert found == {"data.csv": b"2", "own.csv": b"mine", "own.new.csv": b"2"}


def test_b57_a_copy_that_lacks_a_data_file_of_its_release_is_not_up_to_date(
    spaces: Workspaces, releases: Releases, caplog: pytest.LogCaptureFixture, directory: Path
) -> None:
    (directory / ".fetched").write_bytes(b"")
    os.utime(directory / ".fetched", (0, 0))
    (directory / "data.csv").unlink()
    (directory / "data.csv").mkdir()
    for name, _ in zip(("", *range(2, 10)), range(9), strict=True):
        (directory / f"data.new{name}.csv").mkdir()
    new = publish(releases, {"A1.py": b"anew", "data.csv": b"2"})
    with caplog.at_level("INFO"):
        spaces.renew(ALICE, new, NOW)
    assert (directory / "A1.py").read_bytes() == b"anew"
    assert spaces.file_status(ALICE, A1) is FileStatus.UPLOADED
    assert spaces.updated(ALICE, new)
    assert "data.csv could not be put in place" in caplog.text


@pytest.mark.usefixtures("directory")
def test_b57_a_copy_as_old_as_its_release_is_not_out_of_date(
    spaces: Workspaces, root: Path, release: Release
) -> None:
    """Two ways to make a moment of these nanoseconds differ by a microsecond."""
    published = 1_795_000_456_798_934_595
    os.utime(release.notebook, ns=(published, published))
    current = Releases(release.directory.parent).get(A1)
    assert current is not None
    spaces.renew(ALICE, current, NOW)
    assert not spaces.updated(ALICE, current)


def test_b57_two_resets_in_one_second_keep_both_copies(
    spaces: Workspaces, release: Release, directory: Path
) -> None:
    first = spaces.renew(ALICE, release, NOW)
    (directory / "A1.py").write_bytes(b"again")
    second = spaces.renew(ALICE, release, NOW)
    assert (directory / str(first)).read_bytes() == WORK
    assert {each.name for each in spaces.archives(ALICE, A1)} == {first, second}


@pytest.mark.parametrize("trap", ["link", "pipe", "directory", "sparse"])
def test_what_took_the_notebooks_place_is_kept_and_harms_nobody(
    spaces: Workspaces, release: Release, trap: str, directory: Path
) -> None:
    notebook = directory / "A1.py"
    notebook.unlink()
    match trap:
        case "link":
            notebook.symlink_to("/etc/hostname")
        case "pipe":
            os.mkfifo(notebook)
        case "directory":
            (notebook / "deep").mkdir(parents=True)
        case _:
            with notebook.open("wb") as file:
                file.truncate(1 << 30)
    if trap == "sparse" and isinstance(spaces._below._disk, OldDisk):
        pytest.skip("such a file is copied there, which takes its time")
    with pytest.raises(MograderError):
        spaces.read(ALICE, A1, "A1.py", 1000)
    kept = spaces.renew(ALICE, release, NOW, only_replace=True)
    assert notebook.read_bytes() == b"released"
    assert not notebook.is_symlink()
    assert os.path.lexists(directory / str(kept))


def test_a_copy_that_a_killed_hub_has_placed_by_a_link_can_be_read(
    root: Path, directory: Path
) -> None:
    (root / ".staging" / f"{1:024x}").hardlink_to(directory / "A1.py")
    assert Workspaces(root).text(ALICE, A1, 100) == WORK.decode()


@pytest.mark.usefixtures("directory")
def test_what_a_killed_hub_has_half_written_goes_after_an_hour(
    root: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, other = root / ".staging" / f"{1:024x}", root / ".staging" / "other"
    for path in (left, other):
        path.write_bytes(b"half")
        os.utime(path, (0, 0))  # as a copy of an old file
    Workspaces(root)
    assert left.exists()
    later = time.time() + 4000
    monkeypatch.setattr(time, "time", lambda: later)
    Workspaces(root)
    assert names(root / ".staging") == {"other"}


def test_only_archives_are_listed_whatever_the_student_called_a_file(
    spaces: Workspaces, directory: Path
) -> None:
    for name in ("A1.bak.py", "A1.bak.1.py", f"A2.bak.{STAMP}.py", f"A1.bak.{STAMP}.py.txt"):
        (directory / name).write_bytes(b"")
    (directory / "A1.bak.20269999T999999.py").write_bytes(b"")
    (directory / KEPT).symlink_to("/etc/hostname")
    (directory / f"A1.bak.{STAMP}-3.py").mkdir()
    assert spaces.archives(ALICE, A1) == ()
    for name in ("../A1.py", "A1.py", ".uploaded", f"A2.bak.{STAMP}.py"):
        with pytest.raises(NotFound):
            parse_archive(name, A1)


def test_of_a_folder_with_many_files_only_the_earlier_versions_are_looked_at(
    spaces: Workspaces, release: Release, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    for name in (KEPT, *(f"{number}.py" for number in range(9))):
        (directory / name).write_bytes(b"")
    look, looked = UntrustedDir.look, list[str]()

    def noting(below: UntrustedDir, path: str) -> FileInfo | None:
        looked.append(path)
        return look(below, path)

    monkeypatch.setattr(UntrustedDir, "look", noting)
    assert [each.name for each in spaces.archives(ALICE, A1)] == [KEPT]
    assert len(spaces.others(ALICE, release)) == 5
    assert {each.rpartition("/")[2] for each in looked} == {KEPT}


def test_a_time_that_no_calendar_has_harms_nobody(
    spaces: Workspaces, release: Release, directory: Path
) -> None:
    for name in ("A1.py", ".fetched", ".uploaded"):
        os.utime(directory / name, (1 << 33, 1 << 33))
    (directory / KEPT).write_bytes(b"")
    os.utime(directory / KEPT, (-(1 << 31), -(1 << 31)))
    assert not spaces.updated(ALICE, release)
    assert spaces.archives(ALICE, A1)[0].modified.year == 1970
    assert spaces.read(ALICE, A1, "A1.py", 100).modified.year == 2096


def test_there_is_an_end_to_the_archives(
    spaces: Workspaces, releases: Releases, directory: Path
) -> None:
    for name, _ in zip(archive_names(A1, NOW), range(MOST_ARCHIVES), strict=False):
        (directory / name).write_bytes(b"")
    with pytest.raises(Conflict, match="earlier versions"):
        spaces.renew(ALICE, publish(releases, {"A1.py": b"new", "more.csv": b"1"}), NOW)
    assert (directory / "A1.py").read_bytes() == WORK
    assert "more.csv" not in names(directory)


def test_there_is_an_end_to_the_items_of_one_student(
    spaces: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_ITEMS", 2)
    for name in ("A1", "A2"):
        spaces.upload(ALICE, ItemName.parse(name), b"", NOW)
    with pytest.raises(Conflict):
        spaces.upload(ALICE, ItemName.parse("A3"), b"", NOW)
    spaces.upload(ALICE, A1, b"more", NOW)


def test_markers_that_are_directories_stop_nobody(
    spaces: Workspaces, release: Release, directory: Path
) -> None:
    for marker in (".uploaded", ".fetched", ".exported"):
        (directory / marker).unlink(missing_ok=True)
        (directory / marker).mkdir()
    assert spaces.renew(ALICE, release, NOW) is not None
    spaces.mark_exported(ALICE, A1)


def test_a_directory_that_leads_elsewhere_is_refused(
    spaces: Workspaces, root: Path, release: Release, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (root / "alice").mkdir(parents=True)
    (root / "alice" / "A1").symlink_to(victim)
    with pytest.raises(InvalidInput):
        spaces.upload(ALICE, A1, b"x", NOW)
    with pytest.raises(InvalidInput):
        spaces.renew(ALICE, release, NOW)
    with pytest.raises(InvalidInput):
        spaces.mark_exported(ALICE, A1)
    assert list(victim.iterdir()) == []
    assert spaces.archives(ALICE, A1) == ()
