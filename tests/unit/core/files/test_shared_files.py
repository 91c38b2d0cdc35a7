"""The status of files that other machines change."""

from __future__ import annotations

import errno
import tempfile
import time
from pathlib import Path

import pytest

from mograder.core.files import disk as disk_module
from mograder.core.files.disk import DISK, Mount, SharedFile, again_if_stale, look_for, refuses_root
from tests.support.fake_disks import ShareDisk


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, which stands still."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_server_is_asked_once_a_second_or_at_once(tmp_path: Path, moment: list[float]) -> None:
    path, disk = tmp_path / "f", ShareDisk()
    path.write_text("1")
    file = SharedFile(path, disk=disk)
    assert file.status().st_size == 1
    disk.elsewhere(lambda: path.write_text("22"))
    assert file.status().st_size == 1
    assert file.status(now=True).st_size == 2
    disk.elsewhere(lambda: path.write_text("333"))
    moment[0] += 0.9
    assert file.status().st_size == 2
    moment[0] += 0.2
    assert file.status().st_size == 3
    assert disk.asked == [tmp_path.name, "f"] * 3, "which file it is, then its status"


def test_the_directory_of_a_missing_file_is_asked_for(tmp_path: Path) -> None:
    path, disk = tmp_path / "f", ShareDisk()
    file = SharedFile(path, disk=disk)
    with pytest.raises(FileNotFoundError):
        file.status(now=True)
    disk.elsewhere(lambda: path.write_text("1"))
    assert file.status(now=True).st_size == 1


def test_the_directory_of_a_links_target_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/f").write_text("1")
    (tmp_path / "f").symlink_to("real/f")
    disk = ShareDisk()
    SharedFile(tmp_path / "f", disk=disk).status(now=True)
    assert disk.asked == ["real", "f"]


def test_a_directory_that_is_not_there_yet_is_looked_up_later(tmp_path: Path) -> None:
    class Disk(ShareDisk):
        def is_shared(self, at: Path | int) -> bool:
            return Path(str(at)).stat().st_size >= 0

    path, disk = tmp_path / "later/f", Disk()
    file = SharedFile(path, disk=disk)
    with pytest.raises(FileNotFoundError):
        file.status()
    path.parent.mkdir()
    path.write_text("1")
    assert file.status().st_size == 1
    assert disk.asked == ["later", "f"]


def test_a_local_file_is_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("1")
    file = SharedFile(tmp_path / "f")
    monkeypatch.setattr(DISK, "look_again", None, raising=False)
    assert file.status(now=True).st_size == 1


def test_each_missing_directory_is_asked_for_from_the_top(tmp_path: Path) -> None:
    place, disk = tmp_path / "alice/A1", ShareDisk()
    above = tmp_path.parent.name
    disk.elsewhere(lambda: place.mkdir(parents=True))
    look_for(place, disk)
    assert disk.asked == [above, tmp_path.name, "alice", "A1"]
    look_for(place, disk)
    assert disk.asked[4:] == ["alice", "A1"], "another directory may have the name now"
    look_for(tmp_path / "nowhere/x", disk)
    assert disk.asked[6:] == [above, tmp_path.name, "nowhere"], "it is not there, and that is all"


def test_nothing_above_the_mount_of_a_share_is_asked_for(tmp_path: Path) -> None:
    class Mounted(ShareDisk):
        def is_shared(self, at: Path | int) -> bool:
            return at == tmp_path

    disk = Mounted()
    look_for(tmp_path, disk)
    assert disk.asked == [tmp_path.name]


@pytest.mark.parametrize(("code", "calls"), [(errno.ESTALE, 2), (errno.EIO, 2), (errno.EACCES, 1)])
def test_a_stale_file_is_read_twice_at_most(code: int, calls: int) -> None:
    made = []

    def read() -> bytes:
        made.append(1)
        raise OSError(code, "no")

    with pytest.raises(OSError, match="no"):
        again_if_stale(read)
    assert len(made) == calls


def test_a_local_disk_refuses_nobody(tmp_path: Path) -> None:
    assert not refuses_root(tmp_path)
    assert not refuses_root(tmp_path / "missing")


def test_a_share_that_is_mounted_read_only_refuses_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    share = Mount(tmp_path, "nfs4", "files:/course", frozenset())
    monkeypatch.setattr(disk_module, "is_root", lambda: True)
    monkeypatch.setattr(disk_module, "mount_of", lambda _: share)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    assert not refuses_root(tmp_path)
