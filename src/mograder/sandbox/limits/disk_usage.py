"""Disk use of sessions: each workspace has a maximum size, and each disk keeps a reserve.

A workspace is walked every few seconds while its session writes; the walk follows no link and
stops at the limit. Deleted files that are still open are counted. The free space is read ten times
a second, and after each walk: if it is below the reserve, the session with the most recent writes
ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from mograder.core.files import open_flags
from mograder.core.files.disk import DiskReserve, closing_fd, set_mode_at
from mograder.sandbox.limits.procfs import deleted_files, written_by
from mograder.sandbox.limits.rules import End
from mograder.sandbox.tree_walk import DEEPEST

_BLOCK = 512
_LEAST = 4096
"""Minimum bytes counted for any file, since the number of files (inodes) is limited as well."""

_CLOSED = open_flags.READ_DIRECTORY | open_flags.PATH
"""Flags for a directory that its owner may not read."""

_UNLIMITED = 1 << 40
_GROWTH = 8 << 20
_GROWTH_PART = 8
"""A workspace that is full when its session begins may grow by so many bytes, at most that part of
the limit: else the session would end before its student can delete anything."""

_MOST_FILES = 1 << 18
"""Descriptors of a session that are looked at: all that the default limits allow it."""

_WALK_SECONDS, _WALK_PART = 3.0, 20
"""Pause after a walk: at least so many seconds, and so many times the duration of the walk.

The first does not hold once a session has written so much that its workspace may be full.
"""

_ANYWAY_SECONDS = 30.0
"""Pause after a walk while a session is active but seems not to write: XFS counts no new names."""

_LOOK_SECONDS, _GLANCE_SECONDS = 1.0, 0.1
"""Seconds between measurements of written bytes, and between reads of the free space."""

_WROTE = 8 << 20
"""Recently written bytes from which on a session counts as filling the disk."""

_NAMES_PART = 20
"""A disk with a reserve is short of names (inodes), too, when less than 1/20 of them is left.

Empty files need next to no room, and `_LEAST` does not bound those in the workspaces of many items.
"""

_FORGET_SECONDS = 30.0
"""Half-life in seconds of the count of recently written bytes."""


@dataclass(slots=True)
class _Space:
    """One workspace; sizes in bytes, times in monotonic seconds."""

    directory: Path
    device: int
    pids: Callable[[], list[int]]
    limit: int
    allowed: int
    """The session ends above it: the limit, or more for a workspace that was full before."""
    size: int = 0
    walked_at: float = -math.inf
    cost: float = 0.0
    """Duration of the last walk in seconds."""
    changed: bool = True
    """Whether its session may have written since the last walk."""
    written: int = 0
    since: int = 0
    """Bytes written since the last walk."""
    lately: float = 0.0
    """Recently written bytes, and those that walks have found beside, with exponential decay."""


class DiskWatch:
    """Measures workspaces and free space, in one thread at a time."""

    def __init__(self, reserve: DiskReserve) -> None:
        self._reserve = reserve
        self._spaces: dict[str, _Space] = {}
        self._looked = -math.inf

    def add(
        self, session_id: str, directory: Path, limit: int, pids: Callable[[], list[int]]
    ) -> None:
        """Monitor a workspace; ``limit`` is in bytes, 0 for none; ``pids`` returns its session's.

        Nothing is monitored if the directory is gone.
        """
        with contextlib.suppress(OSError):
            device = directory.stat().st_dev
            self._spaces[session_id] = _Space(directory, device, pids, limit, limit)

    def remove(self, session_id: str) -> None:
        self._spaces.pop(session_id, None)

    def size(self, session_id: str) -> int:
        """Return the bytes of a workspace as last measured; 0 if it is not known."""
        space = self._spaces.get(session_id)
        return 0 if space is None else space.size

    def watch(self, stopped: Event, moving: Callable[[], Collection[str]]) -> list[End]:
        """Block until a measurement is due, a disk is short, or ``stopped``; then measure."""
        while not stopped.wait(_GLANCE_SECONDS):
            if time.monotonic() - self._looked >= _LOOK_SECONDS or self._short_disks():
                return self.look(moving())
        return []

    def look(self, moving: Collection[str]) -> list[End]:
        """Measure workspaces that may have changed, and all on a short disk; return the ends.

        Stop after the first walk during which another disk became short: all walks together can
        take minutes, in which the session that writes would fill it.
        """
        now = time.monotonic()
        short = self._short_disks()
        forget = 0.5 ** ((now - self._looked) / _FORGET_SECONDS)
        self._looked = now
        spaces = tuple(self._spaces.items())
        for session_id, space in spaces:
            space.lately *= forget
            pause = 0.0 if space.device in short else _ANYWAY_SECONDS
            space.changed |= session_id in moving and now - space.walked_at > pause
            if space.device in short or space.changed or session_id in moving:
                _count_written(space)
        ends = []
        for session_id, space in spaces:
            walked = _walk_if_due(space, now)
            if space.limit and space.size > space.allowed:
                ends.append(End(session_id, "workspace"))
            if walked and (newly := self._short_disks() - short):
                short |= newly
                break
        return ends or self._keep_reserve(short)

    def _short_disks(self) -> set[int]:
        """Return the device numbers of the disks with less free than their reserve."""
        directories = {space.device: space.directory for space in tuple(self._spaces.values())}
        short = set()
        for device, directory in directories.items():
            with contextlib.suppress(OSError):
                found = os.statvfs(directory)
                reserve = self._reserve.of(found.f_blocks * found.f_frsize)
                few = reserve > 0 and found.f_favail < found.f_files // _NAMES_PART
                if few or found.f_bavail * found.f_frsize < reserve:
                    short.add(device)
        return short

    def _keep_reserve(self, short: set[int]) -> list[End]:
        writers = {
            session_id: space
            for session_id, space in tuple(self._spaces.items())
            if space.device in short and space.lately >= _WROTE
        }
        if not writers:
            return []
        heaviest = max(writers, key=lambda session_id: writers[session_id].lately)
        writers[heaviest].lately = 0.0
        return [End(heaviest, "disk")]


def _count_written(space: _Space) -> None:
    total = written_by(space.pids())
    wrote = max(0, total - space.written)
    space.written = total
    space.lately += wrote
    space.since += wrote
    space.changed = space.changed or wrote > 0


def _walk_if_due(space: _Space, now: float) -> bool:
    """Measure a workspace if its pause is over; return whether it was walked."""
    is_first = space.walked_at == -math.inf
    enough = _UNLIMITED if is_first or not space.limit else space.allowed
    least = 0.0 if space.size + space.since > enough else _WALK_SECONDS
    if not space.changed or now - space.walked_at < max(least, space.cost * _WALK_PART):
        return False
    begun = time.monotonic()
    size = tree_size(space.directory, enough, own=True)
    if size <= enough:
        size += deleted_files(space.pids(), space.device, _MOST_FILES)
    if not is_first:
        space.lately += max(0, size - space.size - space.since)
    if size <= space.limit:
        space.allowed = space.limit
    elif is_first and size <= enough:
        space.allowed = size + min(space.limit // _GROWTH_PART, _GROWTH)
    space.size, space.changed, space.since = size, False, 0
    space.walked_at = time.monotonic()
    space.cost = space.walked_at - begun
    return True


def tree_size(top: Path, enough: int, *, own: bool = False) -> int:
    """Return the bytes that a tree takes on its disk, or a number above ``enough``.

    Never follows a link nor leaves the file system; a file with several hard links counts once.
    The owner may change the tree meanwhile: an entry that is gone counts as one small file.

    What this process may not look into is left out. If the tree is its ``own``, the owner's rights
    are set there instead; if that fails the tree counts as full, since it may hold anything.
    """
    levels: list[_Level] = []
    linked: set[int] = set()
    total = 0
    try:
        levels.append(_Level(_open(top, None, own=own)))
        device = os.fstat(levels[0].descriptor).st_dev
        while levels and total <= enough:
            entry = next(levels[-1].entries, None)
            if entry is None:
                levels.pop().close()
                continue
            found = _status(entry, levels[-1].descriptor, own=own)
            size, is_directory = (_LEAST, False) if found is None else _size(found, device, linked)
            total += size
            if is_directory and len(levels) == DEEPEST:
                return enough + 1
            if is_directory:
                _descend(levels, entry.name, own=own)
    except PermissionError:
        return enough + 1 if own else total
    except OSError:
        return total
    finally:
        for level in levels:
            level.close()
    return total


class _Level:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.entries = os.scandir(descriptor)

    def close(self) -> None:
        self.entries.close()
        os.close(self.descriptor)


def _descend(levels: list[_Level], name: str, *, own: bool) -> None:
    """Open a directory, unless it is gone or replaced. Raises: ``PermissionError`` if ``own``."""
    try:
        levels.append(_Level(_open(name, levels[-1].descriptor, own=own)))
    except OSError as error:
        if own and isinstance(error, PermissionError):
            raise


def _open(name: str | Path, parent: int | None, *, own: bool) -> int:
    """Open a directory, and set its owner's rights before if necessary. Raises: ``OSError``."""
    try:
        return os.open(name, open_flags.READ_DIRECTORY, dir_fd=parent)
    except PermissionError:
        if not own:
            raise
    with closing_fd(os.open(name, _CLOSED, dir_fd=parent)) as closed:
        _permit(closed)
    return os.open(name, open_flags.READ_DIRECTORY, dir_fd=parent)


def _permit(directory: int) -> None:
    """Set a directory's mode to 0700 by its descriptor. Raises: ``PermissionError``."""
    try:
        set_mode_at(directory, 0o700)
    except OSError as error:
        raise PermissionError from error


def _status(entry: os.DirEntry[str], directory: int, *, own: bool) -> os.stat_result | None:
    """Return the status of an entry of a directory, None if it is gone or cannot be had.

    Raises: ``PermissionError`` if ``own``.
    """
    try:
        return entry.stat(follow_symlinks=False)
    except PermissionError:  # the directory may be listed but not searched
        if not own:
            return None
    except OSError:
        return None
    _permit(directory)
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _size(found: os.stat_result, device: int, linked: set[int]) -> tuple[int, bool]:
    """Return the bytes of an entry, and whether it is a directory to descend into."""
    if found.st_dev != device:
        return _LEAST, False
    if stat.S_ISDIR(found.st_mode):
        return max(_LEAST, found.st_blocks * _BLOCK), True
    if found.st_nlink > 1:
        if found.st_ino in linked:
            return _LEAST, False
        linked.add(found.st_ino)
    return max(_LEAST, found.st_blocks * _BLOCK), False
