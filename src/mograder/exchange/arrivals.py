"""The directory for files being downloaded, below the directory that they are fetched into.

Files arrive in ``.fetching/`` below the target directory. A run that is interrupted, by a signal or
by the network, leaves the files that had arrived there, and the next run continues from them; a run
in which everything arrived removes the directory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.clients.course_server import RemoteFile
from mograder.core.errors import Busy, InvalidInput
from mograder.core.files.file_lock import LockFile
from mograder.store.filesystem.files import remove_tree

_FETCHING = ".fetching"
_GROWING = "new"
_LOCK = ".fetching.lock"

_OLD = (".fetching-*", ".collecting-*")
"""Directories that earlier versions left behind when they were killed."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The directory for files being downloaded, locked by one run."""

    path: Path

    @property
    def growing(self) -> Path:
        """The directory where files are written before they are renamed into their places."""
        return self.path / _GROWING

    def place(self, owner: str, file: RemoteFile, modified: datetime | None) -> Path:
        """Return the path where a file arrives: the same in the next run if it is unchanged."""
        told = (owner, file.address, file.name, file.size, file.digest, modified)
        return self.path / hashlib.sha256(repr(told).encode()).hexdigest()[:40]

    def keep_only(self, places: Sequence[Path]) -> None:
        """Remove leftovers of an interrupted run that this run does not need.

        If nothing is missing, remove all; ``places`` are those of files that are still missing.
        """
        kept = {name for place in places for name in (place.name, f".{place.name}.part")}
        for entry in self.path.iterdir():
            if entry.name not in kept:
                _remove(entry)


@contextmanager
def arrivals(directory: Path) -> Iterator[Arrivals]:
    """Lock the directory for arriving files below a target directory; remove it if it is empty.

    Raises:
        Busy: Another run fetches into the same directory.
        InvalidInput: The directory cannot be written to.
    """
    path, lock = directory / _FETCHING, LockFile(directory / _LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not lock.take():
            raise Busy(
                f"Another command is fetching into {directory}.",
                hint="Wait for it to end, or give another directory.",
            )
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        lock.drop()
        raise InvalidInput(f"{directory} cannot be written: {error.strerror}.") from error
    try:
        for old in _left_by_earlier_versions(directory):
            _remove(old)
        yield Arrivals(path)
    finally:
        _remove(path / _GROWING)
        with suppress(OSError):  # not empty: the next run continues from it
            path.rmdir()
        lock.drop()


def clean(directory: Path) -> None:
    """Remove leftovers of interrupted runs below a target directory, unless a run is active."""
    if not (directory / _FETCHING).is_dir() and not _left_by_earlier_versions(directory):
        return
    with suppress(Busy), arrivals(directory) as held:
        held.keep_only(())


def _left_by_earlier_versions(directory: Path) -> list[Path]:
    return [path for pattern in _OLD for path in directory.glob(pattern)]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
