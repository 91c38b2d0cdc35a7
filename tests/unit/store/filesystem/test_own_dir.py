"""A folder of one's own, where the system has no open directories."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from mograder.core.files.disk import Disk, Place, PortableDisk
from mograder.core.files.windows_files import FileHeld
from mograder.store.filesystem import own_dir
from mograder.store.filesystem.own_dir import OwnDir, folder_of_files
from mograder.store.filesystem.untrusted_dir import NewFile, UntrustedDir

Make = Callable[[Path], UntrustedDir | OwnDir]


def own(base: Path) -> UntrustedDir | OwnDir:
    return OwnDir(base, base / ".staging")


def untrusted(base: Path) -> UntrustedDir | OwnDir:
    return UntrustedDir(base, staging=base / ".staging")


@pytest.fixture(params=[own, untrusted])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> UntrustedDir | OwnDir:
    """The folder of this test, in both ways."""
    monkeypatch.setattr(own_dir, "DISK", PortableDisk())
    found: UntrustedDir | OwnDir = request.param(tmp_path)
    return found


def files(base: Path) -> dict[str, bytes]:
    return {
        path.relative_to(base).as_posix(): path.read_bytes()
        for path in base.rglob("*")
        if path.is_file()
    }


def test_linux_takes_the_stricter_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(folder_of_files(tmp_path, tmp_path / "s"), UntrustedDir)
    monkeypatch.setattr(own_dir, "SYSTEM", "windows")
    assert isinstance(folder_of_files(tmp_path, tmp_path / "s"), OwnDir)


def test_files_are_written_read_and_replaced(folder: UntrustedDir | OwnDir, tmp_path: Path) -> None:
    folder.make_directory("data/raw")
    assert folder.write("data/raw/x.csv", b"1\n")
    assert folder.write("data/raw/x.csv", b"2\n")
    assert not folder.write("data/raw/x.csv", b"3\n", NewFile(replace=False))
    assert folder.write("lab.py", b"lab", NewFile(modified_ns=10**18))
    assert files(tmp_path) == {"data/raw/x.csv": b"2\n", "lab.py": b"lab"}
    assert folder.read("data/raw/x.csv", 2) == b"2\n"
    assert (tmp_path / "lab.py").stat().st_mtime_ns == 10**18


def test_what_is_replaced_is_kept_under_the_first_free_name(
    folder: UntrustedDir | OwnDir, tmp_path: Path
) -> None:
    names = ["lab.bak.py", "lab.bak-1.py"]
    assert folder.replace_keeping("lab.py", names, io.BytesIO(b"1")) is None
    assert folder.replace_keeping("lab.py", names, io.BytesIO(b"2")) == "lab.bak.py"
    assert folder.replace_keeping("lab.py", names, io.BytesIO(b"3")) == "lab.bak-1.py"
    expected = {"lab.py": b"3", "lab.bak.py": b"1", "lab.bak-1.py": b"2"}
    assert files(tmp_path) == expected
    with pytest.raises(Conflict, match="no free name"):
        folder.replace_keeping("lab.py", names, io.BytesIO(b"4"))
    assert files(tmp_path) == expected


def test_a_link_is_kept_as_a_link(folder: UntrustedDir | OwnDir, tmp_path: Path) -> None:
    (tmp_path / "lab.py").symlink_to("elsewhere.py")
    assert folder.replace_keeping("lab.py", ["kept.py"], io.BytesIO(b"new")) == "kept.py"
    assert (tmp_path / "kept.py").is_symlink()
    assert (tmp_path / "lab.py").read_bytes() == b"new"


def test_what_is_moved_takes_no_name_that_is_taken(
    folder: UntrustedDir | OwnDir, tmp_path: Path
) -> None:
    folder.make_directory("old")
    folder.write("old/x.csv", b"12", NewFile(modified_ns=10**18))
    folder.write("taken", b"")
    assert not folder.move("old", "taken")
    assert folder.move("old", "new")
    assert files(tmp_path) == {"new/x.csv": b"12", "taken": b""}
    facts = folder.stat("new/x.csv")
    assert (facts.size, facts.modified_ns) == (2, 10**18)
    for act in (lambda: folder.move("old", "newer"), lambda: folder.stat("old")):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(InvalidInput):
        folder.stat("new")


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a//b", "", "a/../../b"])
def test_no_path_leads_out(folder: UntrustedDir | OwnDir, path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        folder.write(path, b"x")
    assert not files(tmp_path)


def test_limits_and_missing_files_are_told(folder: UntrustedDir | OwnDir) -> None:
    folder.write("large", b"12345")
    with pytest.raises(TooLarge):
        folder.read("large", 4)
    with pytest.raises(NotFound):
        folder.read("missing", 4)


class HeldDisk(PortableDisk):
    """Windows, while another program has a file open."""

    def rename(self, source: Place, target: Place) -> None:
        raise FileHeld(errno.EACCES, "another program has it open", target.name)


def test_nothing_is_left_of_a_file_that_could_not_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab.py").write_bytes(b"mine")
    monkeypatch.setattr(own_dir, "DISK", HeldDisk())
    with pytest.raises(Conflict, match=r"lab\.py is open in another program"):
        own(tmp_path).replace_keeping("lab.py", ["kept.py"], io.BytesIO(b"new"))
    assert files(tmp_path) == {"lab.py": b"mine"}


def test_a_memory_stick_without_links_keeps_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("os.link", no_links)
    monkeypatch.setattr(own_dir, "DISK", PortableDisk())
    (tmp_path / "lab.py").write_bytes(b"mine")
    (tmp_path / "kept.py").write_bytes(b"earlier")
    names = ["kept.py", "kept-1.py"]
    assert own(tmp_path).replace_keeping("lab.py", names, io.BytesIO(b"new")) == "kept-1.py"
    assert files(tmp_path) == {"lab.py": b"new", "kept.py": b"earlier", "kept-1.py": b"mine"}


@pytest.mark.parametrize("disk", [Disk(), PortableDisk()])
def test_both_disks_sync_a_directory(disk: Disk, tmp_path: Path) -> None:
    disk.fsync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        disk.fsync_directory(tmp_path / "missing")
