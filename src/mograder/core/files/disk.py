"""The disks of this machine: durable writes to them, their free room, and what is mounted there.

The few system calls that make writes durable are methods of one small object, so that a test can
fill the disk or cut the power at any of them (files.md, "How files are written"). All code that
writes durable files uses them. Two more are for disks that other machines write to
(files-on-a-share.md). ``DISK`` is the one of this system: outside Linux it has no open directories,
since only a student's or an author's own files are there.

A file is replaced atomically: readers see the old content or the new, also after a crash. New
content goes to a temporary file beside the target, is synced, and takes the target's name in one
step; the directory is synced last, so that a power cut cannot undo the rename.

The kernel lists the mounted file systems in ``/proc/self/mountinfo``. Of a network file system it
remembers statuses and names for up to a minute: a name that was missing, and which file a name led
to, also when that file was replaced since and still exists on the server. Opening a directory makes
the kernel look the names in it up again, opening a file asks for its status
(docs/explanation/files-on-a-share.md, measured with NFS 4.2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mograder.core.errors import Busy, Conflict, InvalidInput, is_disk_full
from mograder.core.files import open_flags
from mograder.core.files.windows_files import FileHeld, reachable, when_free
from mograder.core.log import get_logger
from mograder.core.operating_system import SYSTEM, is_root

_Result = TypeVar("_Result")
_AGAIN_SECONDS = 1.0
_STALE = frozenset({errno.ESTALE, errno.EIO})
"""The errors of a file that was open while another machine removed or replaced it."""

UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
"""Error numbers of a kernel or a file system without a flag of ``renameat2``."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Error numbers of a file system without hard links, such as that of a memory stick."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2

_LONGEST_NAME = 80
"""Characters of the target's name that the temporary name contains; a name has 255 bytes at
most."""

_SYNCED = os.O_RDWR if SYSTEM == "windows" else os.O_RDONLY
"""The mode of opening a file to sync it: Windows syncs only files that are open for writing."""

_log = get_logger(__name__)
_TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")

_BEFORE_TYPE = 6
"""Fields of a line before those that are optional; ``-`` ends these."""

_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs"),
        *("glusterfs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs"),
        *("smb3", "virtiofs"),
    }
)
"""The types of file systems that other machines change too, which this kernel hears late of."""


@dataclass(frozen=True, slots=True)
class Place:
    """A name in an opened directory, or a path if ``directory`` is None."""

    name: str
    directory: int | None = None

    @classmethod
    def of(cls, path: Path) -> Place:
        return cls(str(path))


class Disk:
    """The machine's own disk; tests pass one that fails at a chosen call."""

    def write(self, fd: int, data: bytes) -> None:
        """Write every byte, also if the kernel accepts only a part at a time."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def fsync(self, fd: int) -> None:
        """Wait until all data written through ``fd`` survives a power cut."""
        os.fsync(fd)

    def fsync_directory(self, path: Path) -> None:
        """Wait until the names in a directory survive a power cut."""
        flags = os.O_RDONLY | open_flags.DIRECTORY | open_flags.CLOEXEC
        with closing_fd(os.open(path, flags)) as fd:
            self.fsync(fd)

    def rename(self, source: Place, target: Place) -> None:
        """Move ``source`` over ``target``, atomically."""
        os.rename(
            source.name, target.name, src_dir_fd=source.directory, dst_dir_fd=target.directory
        )

    def place(self, source: Place, target: Place) -> None:
        """Move ``source`` to ``target`` only if nothing is there.

        Without ``RENAME_NOREPLACE`` a file is linked and then unlinked, and a directory is renamed,
        which can only replace an empty directory.

        Raises: ``FileExistsError``.
        """
        try:
            _renameat2(source, target, _RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            self._place_by_link(source, target)

    def has_unnamed(self) -> bool:
        """Whether to try files without a name (``O_TMPFILE``)."""
        return True

    def name(self, fd: int, target: Place) -> None:
        """Name a file without a name in an opened directory. Raises: ``FileExistsError``."""
        # With a directory's descriptor Python calls linkat(AT_SYMLINK_FOLLOW), which /proc needs.
        source = f"/proc/self/fd/{fd}"
        os.link(source, target.name, dst_dir_fd=target.directory, follow_symlinks=True)

    def exchange(self, one: Place, other: Place) -> None:
        """Swap two existing names in one step.

        Raises: ``FileNotFoundError`` when one is missing; ``OSError`` with an errno of
        ``UNSUPPORTED`` where the file system does not support it.
        """
        _renameat2(one, other, _RENAME_EXCHANGE)

    def is_shared(self, at: Path | int) -> bool:
        """Return whether other machines may change the files of a path's or descriptor's disk."""
        # Path.stat takes no descriptor.
        return on_network(os.stat(at).st_dev)  # noqa: PTH116

    def look_again(self, path: Path | str, directory: int | None = None) -> None:
        """Ask the server of a network file system for a file's or directory's present state.

        After that of a directory, the names in it are looked up again: those that were missing,
        and those that led to files that were replaced since. ``path`` may be relative to an opened
        ``directory``.

        Raises: ``OSError``.
        """
        flags = os.O_RDONLY | open_flags.NONBLOCK | open_flags.NOCTTY | open_flags.CLOEXEC
        os.close(os.open(path, flags, dir_fd=directory))

    def _place_by_link(self, source: Place, target: Place) -> None:
        info = os.stat(source.name, dir_fd=source.directory, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            try:
                self.rename(source, target)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
                    raise FileExistsError(errno.EEXIST, "already there", target.name) from error
                raise
            return
        try:
            os.link(
                source.name,
                target.name,
                src_dir_fd=source.directory,
                dst_dir_fd=target.directory,
                follow_symlinks=False,
            )
        except FileExistsError:
            # A server that lost its answer to the first request says so of the repeated one.
            there = os.stat(target.name, dir_fd=target.directory, follow_symlinks=False)
            if not os.path.samestat(info, there):
                raise
        # That server finds nothing when the removal is repeated.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(source.name, dir_fd=source.directory)


class PortableDisk(Disk):
    """A disk of macOS or Windows: paths only, and no call that only Linux has."""

    def fsync_directory(self, path: Path) -> None:
        """Do what the system can: Windows keeps the order of changes of names by itself."""
        if SYSTEM != "windows":
            super().fsync_directory(path)

    def rename(self, source: Place, target: Place) -> None:
        """Move ``source`` over ``target``, atomically; wait while another program holds it."""
        held = target if os.path.lexists(target.name) else source
        when_free(lambda: Path(source.name).replace(target.name), held.name)

    def place(self, source: Place, target: Place) -> None:
        if SYSTEM == "windows":
            # There, a rename replaces nothing.
            when_free(lambda: Path(source.name).rename(target.name), source.name)
            return
        try:
            self._place_by_link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(target.name):
                raise FileExistsError(errno.EEXIST, "already there", target.name) from error
            Path(source.name).rename(target.name)

    def has_unnamed(self) -> bool:
        """Return False: only Linux has files without a name."""
        return False

    def exchange(self, one: Place, other: Place) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), one.name, None, other.name)

    def is_shared(self, at: Path | int) -> bool:
        """Return False: a student's or an author's files are changed on one machine."""
        return False

    def look_again(self, path: Path | str, directory: int | None = None) -> None:
        """Do nothing, see :meth:`is_shared`."""


DISK = Disk() if SYSTEM == "linux" else PortableDisk()


@contextlib.contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def explained_when_unusable(path: Path) -> Iterator[None]:
    """Turn failures of the files at a path into errors that name file and reason; log them."""
    try:
        yield
    except OSError as error:
        where = path / error.filename if isinstance(error.filename, str) else path
        told = f"{where} cannot be used: {error.strerror or error}."
        _log.error("%s", told)
        raise InvalidInput(
            told,
            hint="The administrator of this course has to mend it there.",
        ) from error


@contextlib.contextmanager
def explained_when_full() -> Iterator[None]:
    """Turn "no space left", "read-only" and "held" into errors that tell people the remedy.

    They do not say that nothing was changed: it may be a later file, or a name to be synced, that
    failed.
    """
    try:
        yield
    except FileHeld as error:
        raise Conflict(
            f"{error.filename} is open in another program, so it was not changed.",
            hint="Close it there, then try again. Nothing was lost.",
        ) from error
    except OSError as error:
        if is_disk_full(error):
            raise Busy(
                "The disk is full where this is kept, so this could not be finished.",
                hint="Free some space there, then try again.",
                retry_after=60,
            ) from error
        if error.errno == errno.EROFS:
            raise Busy(
                "The disk is read-only where this is kept, so this could not be finished.",
                hint="Mount it writable, then try again.",
                retry_after=60,
            ) from error
        raise


@dataclass(frozen=True, slots=True)
class Space:
    """A file system: its bytes in total, and those that this user may still write."""

    device: int
    free: int
    total: int


def nearest_directory(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.is_dir())


def space_of(path: Path) -> Space:
    """Return the space of a path's file system; the path need not exist yet."""
    nearest = nearest_directory(path)
    found = shutil.disk_usage(nearest)
    return Space(nearest.stat().st_dev, found.free, found.total)


@functools.cache
def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _renameat2(source: Place, target: Place, flags: int) -> None:
    call = getattr(libc(), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    done = call(
        _AT_FDCWD if source.directory is None else source.directory,
        os.fsencode(source.name),
        _AT_FDCWD if target.directory is None else target.directory,
        os.fsencode(target.name),
        ctypes.c_uint(flags),
    )
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source.name, None, target.name)


@dataclass(frozen=True, slots=True)
class DiskReserve:
    """A reserve in MiB, but at most ``percent`` of the file system, so that small ones work too."""

    mb: int
    percent: int = 5

    def of(self, total: int) -> int:
        """Return the bytes to leave free on a file system of ``total`` bytes."""
        return min(self.mb << 20, total * self.percent // 100)

    def demand_room(self, space: Space) -> None:
        """Refuse a change of students' files. Raises: Busy if less than the reserve is free."""
        if space.free < self.of(space.total):
            raise Busy(
                "The hub's disk is nearly full, so nothing was changed.",
                hint="Tell your instructor, who has to make room.",
                retry_after=60,
            )


NO_RESERVE = DiskReserve(0)


def write_file(path: Path, data: bytes, mode: int = 0o644, *, disk: Disk = DISK) -> None:
    """Replace a file by ``data`` with this mode; only its owner can read it until it is complete.

    Raises: ``OSError``; no temporary file is left then, and the old file stays, unless only the new
    one's name could not be synced. It is :class:`FileHeld` on Windows while another program has it
    open.
    """
    path = reachable(path)
    temporary = path.with_name(f".{path.name[:_LONGEST_NAME]}.{secrets.token_hex(6)}.tmp")
    try:
        with closing_fd(os.open(temporary, open_flags.CREATE, 0o600)) as fd:
            disk.write(fd, data)
            set_mode(fd, mode)
            disk.fsync(fd)
        disk.rename(Place.of(temporary), Place.of(path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    disk.fsync_directory(path.parent)


def move_file(finished: Path, target: Path) -> None:
    """Move a complete file over one on the same file system, synced. Raises: ``OSError``."""
    finished, target = reachable(finished), reachable(target)
    with closing_fd(os.open(finished, _SYNCED | open_flags.CLOEXEC | open_flags.BINARY)) as fd:
        DISK.fsync(fd)
    DISK.rename(Place.of(finished), Place.of(target))
    DISK.fsync_directory(target.parent)


def set_mode(fd: int, mode: int) -> None:
    """Set an open file's mode; Windows has no modes, but the access lists of a folder."""
    if sys.platform != "win32":  # mypy knows no fchmod there
        os.fchmod(fd, mode)


def set_mode_at(fd: int, mode: int) -> None:
    """Set the mode of a file whose descriptor is O_PATH, which ``fchmod`` refuses; Linux only.

    A directory that its owner may not read cannot be opened otherwise.
    """
    Path(f"/proc/self/fd/{fd}").chmod(mode)


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system; ``options`` are of the mount and the system: ``vers=4.2``."""

    point: Path
    kind: str
    source: str
    options: frozenset[str]

    @property
    def network(self) -> bool:
        return self.kind in _NETWORK

    def option(self, name: str) -> str | None:
        """Return the value of an option ``name=value``; None without it."""
        found = (each.partition("=") for each in self.options)
        return next((value for key, equals, value in found if key == name and equals), None)


def mount_of(path: Path, *, table: Path = _TABLE) -> Mount | None:
    """Return the mount that a path is on, also if it does not exist yet; None if unknown."""
    resolved = path.resolve()
    found = None
    for _, mount in _mounts(table):
        deeper = found is None or len(mount.point.parts) >= len(found.point.parts)
        # Of several at one point the last one covers the others.
        if deeper and resolved.is_relative_to(mount.point):
            found = mount
    return found


@functools.lru_cache(maxsize=256)
def on_network(device: int) -> bool:
    """Return whether a device number (``st_dev``) is that of a network file system."""
    if sys.platform == "linux":
        wanted = f"{os.major(device)}:{os.minor(device)}"
        return any(number == wanted and mount.network for number, mount in _mounts(_TABLE))
    else:  # noqa: RET505 - mypy would call what follows unreachable
        return False


def _mounts(table: Path) -> Iterator[tuple[str, Mount]]:
    """Yield the device number, as ``major:minor``, and the mount of each line."""
    try:
        lines = table.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        words = line.split(" ")
        if "-" not in words[_BEFORE_TYPE:]:
            continue
        after = words[words.index("-", _BEFORE_TYPE) + 1 :]
        options = frozenset({*words[5].split(","), *after[2].split(",")})
        point = Path(_plain(words[4]))
        yield words[2], Mount(point, after[0], _plain(after[1]), options)


def _plain(text: str) -> str:
    """Return a field with its escaped characters, such as ``\\040``, as they are."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


class SharedFile:
    """The status of one file or directory, at most a second old where other machines change it."""

    def __init__(self, path: Path, *, disk: Disk = DISK) -> None:
        self._path = path
        self._name = os.fspath(path)
        self._disk = disk
        self._shared: bool | None = None
        self._asked = -_AGAIN_SECONDS

    def status(self, *, now: bool = False) -> os.stat_result:
        """Return the status, as ``os.stat``; with ``now`` not even a second old."""
        if self._shared is None:
            self._shared = self._is_shared()
        if self._shared and (now or time.monotonic() - self._asked >= _AGAIN_SECONDS):
            self._ask()
        return os.stat(self._name)  # noqa: PTH116 - called for every request; Path.stat is slower

    def _is_shared(self) -> bool | None:
        """Return whether other machines change it; None while its directory does not exist."""
        try:
            # The target of a link, since that is the file that is replaced.
            return self._disk.is_shared(Path(os.path.realpath(self._name)).parent)
        except OSError:
            return None

    def _ask(self) -> None:
        """Ask which file has the name now, then for that file's status."""
        self._asked = time.monotonic()
        directory = Path(os.path.realpath(self._name)).parent
        for each in (directory, self._path):
            with contextlib.suppress(OSError):
                self._disk.look_again(each)


def look_for(directory: Path, disk: Disk = DISK) -> None:
    """Ask the server of a share for a directory's names, and before for those above it.

    The one above tells which directory has the name now; more are asked for as far as they are
    missing. Do nothing on a local disk. The directory may still not exist afterwards.
    """
    asked = [directory]
    while not asked[-1].is_dir() and asked[-1] != asked[-1].parent:
        asked.append(asked[-1].parent)
    with contextlib.suppress(OSError):
        if disk.is_shared(asked[-1]):
            if disk.is_shared(above := asked[-1].parent):
                asked.append(above)
            for each in reversed(asked):
                disk.look_again(each)


def again_if_stale(read: Callable[[], _Result]) -> _Result:
    """Return what a function returns that opens and reads a file; call it twice at most.

    The second call is for a file that another machine replaced while it was open here.
    """
    try:
        return read()
    except OSError as error:
        if error.errno not in _STALE:
            raise
        return read()


def refuses_root(directory: Path) -> bool:
    """Return whether a share treats root as a stranger, as NFS does with ``root_squash``.

    False for other users, for local file systems, and for a directory that nobody can write to: it
    does not exist, or is mounted read-only.
    """
    mount = mount_of(directory) if is_root() else None
    if mount is None or not mount.network:
        return False
    try:
        with tempfile.NamedTemporaryFile(prefix=".mograder-check-", dir=directory) as file:
            return os.fstat(file.fileno()).st_uid != 0
    except PermissionError:
        return True
    except OSError:
        return False
