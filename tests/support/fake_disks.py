"""Disks that fail where a test wants them to."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

from mograder.core.files.disk import Disk, Place


class Unplugged(OSError):
    """The disk is gone."""


class FailingDisk(Disk):
    """Works for a number of calls, then fails for good: it is unplugged, or full."""

    def __init__(self, calls: int, *, full: bool = False) -> None:
        self._left = calls
        self._error = OSError(errno.ENOSPC, "full") if full else Unplugged(errno.EIO, "unplugged")

    def _use(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._error

    def fsync(self, fd: int) -> None:
        self._use()
        super().fsync(fd)

    def rename(self, source: Place, target: Place) -> None:
        self._use()
        super().rename(source, target)

    def place(self, source: Place, target: Place) -> None:
        self._use()
        super().place(source, target)

    def name(self, fd: int, target: Place) -> None:
        self._use()
        super().name(fd, target)

    def exchange(self, one: Place, other: Place) -> None:
        self._use()
        super().exchange(one, other)


class OldDisk(Disk):
    """A file system without ``renameat2`` and without files that have no name."""

    def has_unnamed(self) -> bool:
        return False

    def place(self, source: Place, target: Place) -> None:
        self._place_by_link(source, target)

    def exchange(self, one: Place, other: Place) -> None:
        raise OSError(errno.EINVAL, "not here")


class ShareDisk(OldDisk):
    """A share as a client of NFS sees it, which other machines change too.

    What they do shows only once the server is asked again. Names cannot be exchanged.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        """The last part of each path that the server was asked for."""
        self._elsewhere: list[Callable[[], object]] = []

    def elsewhere(self, change: Callable[[], object]) -> None:
        """Let another machine do something, which this one does not see yet."""
        self._elsewhere.append(change)

    def is_shared(self, at: Path | int) -> bool:
        return True

    def look_again(self, path: Path | str, directory: int | None = None) -> None:
        waiting, self._elsewhere = self._elsewhere, []
        for change in waiting:
            change()
        self.asked.append(Path(path).name)
        super().look_again(path, directory)


def flock_on_nfs(fd: int, operation: int) -> None:
    """Lock as NFS does: others are excluded by files that are open to write, never by directories.

    A directory's lock holds on its own machine only, so here it excludes nothing.
    """
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return
    writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if operation & fcntl.LOCK_EX and not writable:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    fcntl.flock(fd, operation)
