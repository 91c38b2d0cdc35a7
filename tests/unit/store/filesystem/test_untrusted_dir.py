"""Opening, reading, listing and writing files among hostile names (B132)."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound, TooLarge
from mograder.core.files.disk import Disk, Place
from mograder.store.filesystem.untrusted_dir import (
    NewFile,
    UntrustedDir,
    best_resolver,
    by_kernel,
    by_walking,
)
from tests.support.fake_disks import OldDisk, ShareDisk

LIMIT = 1 << 20
HOSTILE = {
    "absolute-link": InvalidInput,
    "relative-link": InvalidInput,
    "dangling-link": InvalidInput,
    "directory-link/plain": InvalidInput,
    "magic-link/etc/passwd": InvalidInput,
    "pipe": InvalidInput,
    "socket": InvalidInput,
    "hard-one": InvalidInput,
    "hard-two": InvalidInput,
    "sparse": TooLarge,
    "directory": InvalidInput,
    "plain/below-a-file": InvalidInput,
    "missing": NotFound,
    "missing/deeper": NotFound,
    "n" * 300: InvalidInput,
    "../outside": InvalidInput,
    "directory/../../outside": InvalidInput,
    "/etc/passwd": InvalidInput,
    "": InvalidInput,
    ".": InvalidInput,
    "directory//inner": InvalidInput,
    "plain\0.py": InvalidInput,
    "\ud800": InvalidInput,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A directory with one of everything that student code can make."""
    (tmp_path / "outside").write_bytes(b"secret")
    base = tmp_path / "workspace"
    (base / "directory").mkdir(parents=True)
    (base / "plain").write_bytes(b"plain")
    (base / "directory" / "inner").write_bytes(b"inner")
    (base / "absolute-link").symlink_to("/etc/passwd")
    (base / "relative-link").symlink_to("plain")
    (base / "dangling-link").symlink_to("nowhere")
    (base / "directory-link").symlink_to("directory")
    (base / "magic-link").symlink_to("/proc/self/root")
    os.mkfifo(base / "pipe")
    (base / "hard-one").write_bytes(b"twice")
    (base / "hard-two").hardlink_to(base / "hard-one")
    with (base / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(base, os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    return base


@pytest.fixture(params=[by_kernel, by_walking])
def beneath(request: pytest.FixtureRequest, workspace: Path) -> UntrustedDir:
    """The workspace through each of the two resolvers, which must agree in everything."""
    if request.param is by_kernel and best_resolver() is not by_kernel:
        pytest.skip("this kernel has no openat2, or a filter forbids it")
    return UntrustedDir(workspace, staging=workspace.parent / ".staging", resolver=request.param)


@pytest.mark.parametrize(("name", "family"), HOSTILE.items())
def test_reading_anything_but_a_plain_file_is_refused_in_words(
    beneath: UntrustedDir, name: str, family: type[MograderError]
) -> None:
    with pytest.raises(family) as refused:
        beneath.read(name, LIMIT)
    assert type(refused.value) is family
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_looking_at_anything_but_a_file_finds_nothing(beneath: UntrustedDir, name: str) -> None:
    is_file = name in ("hard-one", "hard-two", "sparse")
    assert (beneath.look(name) is not None) == is_file
    if not is_file:
        with pytest.raises(HOSTILE[name]):
            beneath.stat(name)


def test_what_is_missing_has_no_names_and_is_told_from_a_missing_base(
    beneath: UntrustedDir, tmp_path: Path
) -> None:
    nowhere = UntrustedDir(tmp_path / "nowhere")
    assert (beneath.names("missing", 9), nowhere.names("", 9)) == ((), ())
    assert nowhere.look("plain") is None
    with pytest.raises(NotFound, match="'missing' does not exist"):
        beneath.stat("missing")
    with pytest.raises(NotFound, match="The directory 'nowhere' does not exist"):
        nowhere.read("plain", LIMIT)


@pytest.mark.parametrize("name", ["plain", "directory/inner"])
def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not(
    beneath: UntrustedDir, name: str
) -> None:
    assert beneath.read(name, 5) == name.rpartition("/")[2].encode()
    with pytest.raises(TooLarge, match="4 bytes"):
        beneath.read(name, 4)


def test_a_device_is_refused(beneath: UntrustedDir, workspace: Path) -> None:
    try:
        os.mknod(workspace / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")
    with pytest.raises(InvalidInput):
        beneath.read("device", LIMIT)
    with pytest.raises(InvalidInput, match="a device"):
        beneath.stat("device")


@pytest.fixture
def leased(workspace: Path) -> Iterator[str]:
    """A file whose owner holds a lease, which makes an ordinary open wait for 45 seconds."""
    previous = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(workspace / "plain", os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield "plain"
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, previous)


@pytest.mark.timeout(10)
def test_a_lease_on_a_file_delays_nobody(beneath: UntrustedDir, leased: str) -> None:
    with pytest.raises(Conflict, match="running program"):
        beneath.read(leased, LIMIT)
    assert beneath.stat(leased).size == 5


def test_looking_tells_size_and_time(beneath: UntrustedDir, workspace: Path) -> None:
    os.utime(workspace / "plain", ns=(1, 2_000_000_000))
    info = beneath.stat("plain")
    assert (info.size, info.modified_ns) == (5, 2_000_000_000)


@pytest.mark.parametrize("name", ["absolute-link", "relative-link", "dangling-link", "pipe"])
def test_writing_replaces_a_trap_without_following_it(
    beneath: UntrustedDir, workspace: Path, name: str
) -> None:
    assert beneath.write(name, b"new")
    assert beneath.read(name, LIMIT) == b"new"
    assert (workspace / "plain").read_bytes() == b"plain"
    assert not (workspace / "nowhere").exists()


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("directory", InvalidInput),
        ("directory-link/new", InvalidInput),
        ("magic-link/tmp/new", InvalidInput),
        ("missing/new", NotFound),
        ("../outside", InvalidInput),
    ],
)
def test_writing_where_it_cannot_be_harms_nobody(
    beneath: UntrustedDir, workspace: Path, name: str, family: type[MograderError]
) -> None:
    with pytest.raises(family):
        beneath.write(name, b"new")
    assert (workspace.parent / "outside").read_bytes() == b"secret"
    assert (workspace / "directory" / "inner").read_bytes() == b"inner"
    assert list((workspace.parent / ".staging").glob("*")) == []


@pytest.mark.parametrize("name", ["plain", "pipe", "absolute-link", "directory"])
def test_what_must_not_be_replaced_is_left(
    beneath: UntrustedDir, workspace: Path, name: str
) -> None:
    before = (workspace / name).lstat()
    assert not beneath.write(name, b"new", NewFile(replace=False))
    assert (workspace / name).lstat().st_ino == before.st_ino


def test_a_written_file_has_its_mode_and_time(beneath: UntrustedDir, workspace: Path) -> None:
    beneath.write("directory/new", b"new", NewFile(mode=0o640, modified_ns=3_000_000_000))
    info = (workspace / "directory" / "new").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_mtime_ns) == (0o640, 3_000_000_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_root_hub_gives_a_file_to_whoever_owns_its_directory(
    beneath: UntrustedDir, workspace: Path
) -> None:
    os.chown(workspace / "directory", 4711, 4712)
    beneath.write("directory/new", b"new")
    info = (workspace / "directory" / "new").stat()
    assert (info.st_uid, info.st_gid) == (4711, 4712)


def test_directories_are_made_once_and_never_through_a_link(
    beneath: UntrustedDir, workspace: Path
) -> None:
    beneath.make_directory("one/two")
    beneath.make_directory("one/two")
    assert stat.S_IMODE((workspace / "one" / "two").stat().st_mode) == 0o700
    for trap in ("directory-link/deeper", "directory-link", "plain", "pipe/deeper"):
        with pytest.raises(InvalidInput):
            beneath.make_directory(trap)
    assert not (workspace / "directory" / "deeper").exists()


def test_removing_takes_the_name_and_not_what_it_leads_to(
    beneath: UntrustedDir, workspace: Path
) -> None:
    beneath.remove("relative-link")
    beneath.remove("missing")
    with pytest.raises(InvalidInput):
        beneath.remove("directory")
    assert (workspace / "plain").exists()
    assert not (workspace / "relative-link").is_symlink()


@given(st.lists(st.sampled_from(["..", ".", "", "a", "link", "sub", "out"]), max_size=6))
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    base = tmp_path_factory.getbasetemp() / "paths" / "base"
    if not base.exists():
        (base / "sub").mkdir(parents=True)
        (base / "link").symlink_to("..")
        (base.parent / "out").write_bytes(b"secret")
        (base / "sub" / "a").write_bytes(b"fine")
    for resolver in (by_kernel, by_walking):
        try:
            assert UntrustedDir(base, resolver=resolver).read("/".join(parts), LIMIT) == b"fine"
        except MograderError:
            continue


@pytest.mark.parametrize(
    "disk", [Disk(), OldDisk(), ShareDisk()], ids=["exchange", "no exchange", "share"]
)
@pytest.mark.parametrize("name", ["plain", "directory/inner"])
def test_what_a_new_file_replaces_is_kept_beside_it_at_every_depth(
    workspace: Path, disk: Disk, name: str
) -> None:
    """NFS, where many students' homes are, has no RENAME_EXCHANGE."""
    before = (workspace / name).read_bytes()
    beneath = UntrustedDir(workspace, staging=workspace.parent / ".staging", disk=disk)
    kept = beneath.replace_keeping(name, iter(("kept", "kept-1")), io.BytesIO(b"new"))
    assert kept is not None
    assert (workspace / name).read_bytes() == b"new"
    assert (workspace / name).with_name(kept).read_bytes() == before


class FillingDisk(OldDisk):
    """A disk that is full once one file was written; names cannot be exchanged."""

    def __init__(self) -> None:
        self._written = 0

    def write(self, fd: int, data: bytes) -> None:
        self._written += 1
        if self._written > 1:
            raise OSError(errno.ENOSPC, "full")
        super().write(fd, data)


def test_a_file_that_is_not_replaced_leaves_nothing_of_the_new_one(workspace: Path) -> None:
    before = sorted(workspace.iterdir())
    beneath = UntrustedDir(workspace, staging=workspace.parent / ".staging", disk=FillingDisk())
    with pytest.raises(MograderError):
        beneath.replace_keeping("plain", iter(("kept", "kept-1")), io.BytesIO(b"new"))
    assert sorted(workspace.iterdir()) == before
    assert (workspace / "plain").read_bytes() == b"plain"


class StickingDisk(OldDisk):
    """A disk that moves no file over another one; names cannot be exchanged."""

    def rename(self, source: Place, target: Place) -> None:
        raise OSError(errno.EIO, "stuck")


def test_the_new_text_is_no_earlier_version_when_it_cannot_take_its_place(workspace: Path) -> None:
    """It stayed under the name of one, beside the copy of the old text."""
    beneath = UntrustedDir(workspace, staging=workspace.parent / ".staging", disk=StickingDisk())
    for name in ("plain", "missing"):
        with pytest.raises(OSError, match="stuck"):
            beneath.replace_keeping(name, (f"kept-{each}" for each in "123"), io.BytesIO(b"new"))
    kept = [path.read_bytes() for path in workspace.glob("kept-*")]
    assert b"new" not in kept
    assert (workspace / "plain").read_bytes() == b"plain"
