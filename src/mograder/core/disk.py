"""The few system calls that make writes durable: write, fsync, rename, exchange.

They are methods of one small object, so that a test can fill the disk or cut the power at any of
them (files.md, "How files are written"). All code that writes durable files uses them. Two more are
for disks that other machines write to (files-on-a-share.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import Busy, is_disk_full
from mograder.core.mounts import on_network

LIBC = ctypes.CDLL(None, use_errno=True)
UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
"""Error numbers of a kernel or a file system without a flag of ``renameat2``."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2


@dataclass(frozen=True, slots=True)
class Place:
    """A name in an opened directory, or a path if ``directory`` is None."""

    name: str
    directory: int | None = None

    @classmethod
    def of(cls, path: Path) -> Place:
        """Return the place of a path."""
        return cls(str(path))


class Disk:
    """The machine's own disk; tests pass one that fails at a chosen call."""

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data``."""
        write_all(fd, data)

    def fsync(self, fd: int) -> None:
        """Wait until all data written through ``fd`` survives a power cut."""
        os.fsync(fd)

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
        """Give a file without a name one in an opened directory, only if nothing is there.

        Raises: ``FileExistsError``.
        """
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

        Then names in the directory are looked up again that were missing, or that led to files
        since replaced. ``path`` may be relative to an opened ``directory``.

        Raises: ``OSError``.
        """
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
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
        os.unlink(source.name, dir_fd=source.directory)


DISK = Disk()


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, also if the kernel accepts only a part at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@contextlib.contextmanager
def explained_when_full() -> Iterator[None]:
    """Turn "no space left" and "read-only" into errors that tell the operator the remedy.

    Raises: :class:`~mograder.core.errors.Busy`.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise Busy(
                "The hub's disk is full, so nothing was changed.",
                hint="Free some space in the course directory, then try again.",
                retry_after=60,
            ) from error
        if error.errno == errno.EROFS:
            raise Busy(
                "The hub's disk is read-only, so nothing was changed.",
                hint="Mount the course directory writable, then try again.",
                retry_after=60,
            ) from error
        raise


@dataclass(frozen=True, slots=True)
class Space:
    """The bytes of a file system in total, and those that this user may still write."""

    free: int
    total: int


def space_of(path: Path) -> Space:
    """Return the space of a path's file system; the path need not exist yet."""
    nearest = next(each for each in (path, *path.parents) if each.is_dir())
    found = os.statvfs(nearest)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def _renameat2(source: Place, target: Place, flags: int) -> None:
    call = getattr(LIBC, "renameat2", None)
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
