"""Workspaces: a student's copies, ``hub-notebooks/<user>/<item>/`` (compat.md 2.4, 2.8, 3).

Everything below the root may have been made by the student's code, and the hub may be root: so
every look and every write goes through :class:`~mograder.store.beneath.Beneath`, and nothing
that exists is ever overwritten here.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from mograder.core.errors import Busy, InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.store.beneath import Beneath, FileInfo, NewFile
from mograder.store.disk import DISK, Disk
from mograder.store.manifest import Release, is_support, open_release, release_at, version_at
from mograder.store.resolve import Resolver

_STAGING = ".staging"
_UPLOADED = ".uploaded"
_EXPORTED = ".exported"
_FETCHED = ".fetched"
_MARKER = NewFile(durable=False)
_STRIPES = 64


class FileStatus(StrEnum):
    """What became of a student's copy (compat.md 2.4)."""

    NOT_STARTED = "not_started"
    UPLOADED = "uploaded"
    MODIFIED = "modified"
    EXPORTED = "exported"


class Workspaces:
    """All workspaces of one course; may be used from any thread."""

    def __init__(self, root: Path, *, resolver: Resolver | None = None, disk: Disk = DISK) -> None:
        # The root itself is ours and may be a link to a mounted volume (B21).
        self._root = root.resolve()
        self._below = Beneath(
            self._root, staging=self._root / _STAGING, resolver=resolver, disk=disk
        )
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))

    def directory(self, user: Username, item: ItemName) -> Path:
        """Where a student's copy of an item is, or would be."""
        return self._root / user / item

    def notebook(self, user: Username, item: ItemName) -> Path:
        """The student's notebook: the student may have put anything there, see ``beneath``."""
        return self.directory(user, item) / f"{item}.py"

    def has_copy(self, user: Username, item: ItemName) -> bool:
        """Whether the student has a notebook of this item; a link or a pipe is none."""
        return self._look(user, item, f"{item}.py") is not None

    def notebook_size(self, user: Username, item: ItemName) -> int | None:
        """How many bytes the student's notebook claims to have; ``None`` when there is none."""
        found = self._look(user, item, f"{item}.py")
        return None if found is None else found.size

    def text(self, user: Username, item: ItemName, limit: int) -> str:
        """Return the text of the student's notebook as it is now.

        Raises: :class:`NotFound` where there is none, :class:`InvalidInput` for what is no plain
        file or no text in UTF-8, :class:`TooLarge` beyond ``limit`` bytes.
        """
        data = self._below.read(_path(user, item, f"{item}.py"), limit)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{item}.py is no text in UTF-8.", hint="Open it in the editor and save it."
            ) from error

    def put_report(self, user: Username, item: ItemName, page: str) -> bool:
        """Leave the last validation's page beside the notebook (compat.md 2.6).

        False where something else has its place, or the disk is full: a page is no great loss.
        """
        try:
            return self._below.write(_path(user, item, f"{item}.html"), page.encode(), _MARKER)
        except (InvalidInput, NotFound, Busy):
            return False

    def ensure(self, user: Username, release: Release, *, owner: int | None = None) -> Path:
        """Return the student's directory, with a copy of the release if there was no notebook.

        The notebook comes last, so that a crash before it is repaired by the next call; then
        nothing is ever copied again. ``owner`` is the uid that a new directory is given to, by a
        hub that runs as root.

        Raises: :class:`InvalidInput` when something else than files and directories is in the
        way, :class:`NotFound` when the release is gone.
        """
        item = release.name
        with self._locks[hash((user, item)) % _STRIPES]:
            if not self._has_notebook(user, item):
                self._root.mkdir(parents=True, exist_ok=True)
                self._below.make_directory(_path(user, item), owner=owner)
                self._copy_release(user, release)
        return self.directory(user, item)

    def file_status(self, user: Username, item: ItemName) -> FileStatus:
        """What became of the student's copy, told by the markers' times (compat.md 2.4)."""
        notebook = self._look(user, item, f"{item}.py")
        uploaded = self._look(user, item, _UPLOADED)
        exported = self._look(user, item, _EXPORTED)
        if notebook is None or (uploaded is None and exported is None):
            return FileStatus.NOT_STARTED
        if exported is not None and exported.modified_ns >= notebook.modified_ns:
            return FileStatus.EXPORTED
        if uploaded is not None and uploaded.modified_ns >= notebook.modified_ns:
            return FileStatus.UPLOADED
        return FileStatus.MODIFIED

    def updated(self, user: Username, release: Release) -> bool:
        """Whether the release is newer than what the student was given (compat.md 2.4)."""
        if not self.has_copy(user, release.name):
            return False
        marker = self._look(user, release.name, _FETCHED) or self._look(
            user, release.name, _UPLOADED
        )
        if marker is None:
            return False
        return release.updated > datetime.fromtimestamp(marker.modified_ns / 1e9, UTC)

    def _has_notebook(self, user: Username, item: ItemName) -> bool:
        try:
            self._below.stat(_path(user, item, f"{item}.py"))
        except NotFound:
            return False
        return True

    def _look(self, user: Username, item: ItemName, name: str) -> FileInfo | None:
        try:
            return self._below.stat(_path(user, item, name))
        except (NotFound, InvalidInput):
            return None

    def _copy_release(self, user: Username, release: Release) -> None:
        fd, current = _pinned(release)
        try:
            self._below.remove(_path(user, current.name, _EXPORTED))
            for marker in (_UPLOADED, _FETCHED):
                self._below.write(_path(user, current.name, marker), b"", _MARKER)
            # The earlier of the two: the clock may tick between them.
            marked = self._below.stat(_path(user, current.name, _UPLOADED)).modified_ns
            for path in current.files:
                if is_support(current, path):
                    self._copy_support(user, current.name, path, fd)
            with _open_at(fd, current.notebook.name) as source:
                # The release's time, as ever, but none after the markers: that says "edited".
                modified = min(os.fstat(source.fileno()).st_mtime_ns, marked)
                how = NewFile(modified_ns=modified, replace=False)
                self._below.copy(_path(user, current.name, current.notebook.name), source, how)
        except FileNotFoundError as error:
            raise _gone(release) from error
        finally:
            os.close(fd)

    def _copy_support(self, user: Username, item: ItemName, path: str, release: int) -> None:
        parent = path.rpartition("/")[0]
        if parent:
            self._below.make_directory(_path(user, item, parent))
        with _open_at(release, path) as source:
            self._below.copy(_path(user, item, path), source, NewFile(replace=False))


def _path(*parts: str) -> str:
    return "/".join(parts)


def _open_at(directory: int, path: str) -> BinaryIO:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, dir_fd=directory), "rb")


def _pinned(release: Release) -> tuple[int, Release]:
    """Open the release's directory and read it there, so that a replacement cannot mix two."""
    fd = open_release(release.directory)
    if fd is None:
        raise _gone(release)
    try:
        if version_at(fd, release.name) == release.version:
            return fd, release
        current = release_at(fd, release.directory, release.name)
        if current is None:
            raise _gone(release)
    except BaseException:
        os.close(fd)
        raise
    return fd, current


def _gone(release: Release) -> NotFound:
    return NotFound(f"{release.name} is not published any more.")
