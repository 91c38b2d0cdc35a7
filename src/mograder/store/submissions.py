"""What was handed in on the hub: ``submitted/<item>/<user>_<time>.py`` (compat.md 2.3, 3; B157).

Every submission is kept; ``<user>.py`` is a link to the latest. What is acknowledged is on the
disk: the file, its name and the link are synced before the reply. Students reach nothing here.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.names import ItemName, Username
from mograder.store.disk import DISK, Disk, Place, explained_when_full, write_all
from mograder.store.files import fsync_directory

_MOST = 200
"""Submissions of one person to one item."""

_SAME_SECOND = 1000
_LIKE_A_SUBMISSION = re.compile(r".*_\d{8}T\d{6}(-\d+)?")


class Submissions:
    """All submissions of one course; may be used from any thread."""

    def __init__(self, root: Path, *, disk: Disk = DISK) -> None:
        self._root = root
        self._disk = disk
        self._turn = threading.Lock()

    def add(self, user: Username, item: ItemName, data: bytes, now: datetime) -> Path:
        """Keep a submission and let the person's link lead to it; return where it is.

        Raises: :class:`InvalidInput` for a name that would read as a submission's,
        :class:`Conflict` when there are too many, :class:`~mograder.core.errors.Busy` (disk full).
        """
        if _LIKE_A_SUBMISSION.fullmatch(user):
            raise InvalidInput(f"Bad username for a submission: {user}")
        directory = self._root / item
        with self._turn, explained_when_full():
            self._make(directory)
            if len(self._of(user, directory)) >= _MOST:
                raise Conflict(
                    f"You have submitted {item} {_MOST} times, and that is all.",
                    hint="Tell your instructor, who can remove some of them.",
                )
            path = self._write(directory, user, data, now)
            self._keep_plain(directory, user)
            self._link(directory, user, path.name)
        return path

    def _of(self, user: Username, directory: Path) -> list[str]:
        ours = re.compile(re.escape(user) + r"_\d{8}T\d{6}(-\d+)?\.py")
        return [entry.name for entry in os.scandir(directory) if ours.fullmatch(entry.name)]

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o700)
            fsync_directory(directory.parent, disk=self._disk)

    def _write(self, directory: Path, user: Username, data: bytes, now: datetime) -> Path:
        temporary = directory / f".{secrets.token_hex(8)}.tmp"
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, create, 0o600)
        try:
            try:
                write_all(fd, data)
                self._disk.fsync(fd)
            finally:
                os.close(fd)
            path = self._place(temporary, directory, _names(user, now))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_directory(directory, disk=self._disk)
        return path

    def _place(self, source: Path, directory: Path, names: Iterator[str]) -> Path:
        for name in names:
            with contextlib.suppress(FileExistsError):
                self._disk.place(Place.of(source), Place.of(directory / name))
                return directory / name
        raise Conflict("There were too many submissions in this second.", hint="Try again.")

    def _keep_plain(self, directory: Path, user: Username) -> None:
        """Turn a file where the link belongs (a fetched submission) into one of the history."""
        latest = directory / f"{user}.py"
        with contextlib.suppress(FileNotFoundError):
            info = latest.lstat()
            if not stat.S_ISLNK(info.st_mode):
                when = datetime.fromtimestamp(info.st_mtime, UTC)
                self._place(latest, directory, _names(user, when))

    def _link(self, directory: Path, user: Username, name: str) -> None:
        temporary = directory / f".{secrets.token_hex(8)}.tmp"
        temporary.symlink_to(name)
        try:
            self._disk.rename(Place.of(temporary), Place.of(directory / f"{user}.py"))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_directory(directory, disk=self._disk)


def _names(user: Username, when: datetime) -> Iterator[str]:
    stem = f"{user}_{when.astimezone(UTC):%Y%m%dT%H%M%S}"
    yield f"{stem}.py"
    for number in range(1, _SAME_SECOND):
        yield f"{stem}-{number}.py"
