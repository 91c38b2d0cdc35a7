"""Disks that fail where a test wants them to."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from mograder.core.disk import Disk, Place


class Unplugged(OSError):
    """The disk is gone."""


class _LimitedDisk(Disk):
    """Works for a number of calls, then fails for good."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def _failure(self) -> OSError:
        raise NotImplementedError

    def _use(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self._failure()

    def place(self, source: Place, target: Place) -> None:
        self._use()
        super().place(source, target)

    def name(self, fd: int, target: Place) -> None:
        self._use()
        super().name(fd, target)

    def exchange(self, one: Place, other: Place) -> None:
        self._use()
        super().exchange(one, other)


class FailingDisk(_LimitedDisk):
    """One that is unplugged."""

    def _failure(self) -> OSError:
        return Unplugged(errno.EIO, "unplugged")

    def fsync(self, fd: int) -> None:
        self._use()
        super().fsync(fd)

    def rename(self, source: Place, target: Place) -> None:
        self._use()
        super().rename(source, target)


class FullDisk(_LimitedDisk):
    """One that has no space left."""

    def _failure(self) -> OSError:
        return OSError(errno.ENOSPC, "no space left")

    def fsync(self, fd: int) -> None:
        self._use()


class OldDisk(Disk):
    """A file system without ``renameat2`` and without files that have no name."""

    def has_unnamed(self) -> bool:
        return False

    def place(self, source: Place, target: Place) -> None:
        self._place_by_link(source, target)

    def exchange(self, one: Place, other: Place) -> None:
        raise OSError(errno.EINVAL, "not here")


class WatchedDisk(Disk):
    """Keeps a copy of a tree as it was before and after every call: what a crash would leave."""

    def __init__(self, root: Path, album: Path, disk: Disk) -> None:
        self._root = root
        self._album = album
        self._disk = disk
        self.pictures: list[Path] = []

    def _picture(self) -> None:
        target = self._album / str(len(self.pictures))
        shutil.copytree(self._root, target, symlinks=True)
        self.pictures.append(target)

    def fsync(self, fd: int) -> None:
        self._picture()

    def rename(self, source: Place, target: Place) -> None:
        self._picture()
        self._disk.rename(source, target)
        self._picture()

    def place(self, source: Place, target: Place) -> None:
        self._picture()
        self._disk.place(source, target)
        self._picture()

    def name(self, fd: int, target: Place) -> None:
        self._picture()
        self._disk.name(fd, target)
        self._picture()

    def exchange(self, one: Place, other: Place) -> None:
        self._picture()
        self._disk.exchange(one, other)
        self._picture()
