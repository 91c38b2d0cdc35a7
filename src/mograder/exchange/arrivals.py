"""Directories for fetched work: one for unfinished downloads, and the places of complete files.

Files arrive in ``.fetching/`` below the target directory. A run that is interrupted, by a signal or
by the network, leaves there what had arrived, and the next run goes on from it; a run in which
everything arrived removes the directory.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core import file_lock
from mograder.core.errors import Busy, InvalidInput, NotFound
from mograder.store.beneath import Beneath, NewFile
from mograder.store.files import remove_tree
from mograder.transports.interface import RemoteFile

REPLACED = ".replaced"
"""Directory for earlier versions of fetched files."""

_FETCHING = ".fetching"
_GROWING = "new"
"""Below it: files that are being written before they are renamed into their places."""

_OLD = (".fetching-*", ".collecting-*")
"""Directories that earlier versions left behind when they were killed."""

_TRIES = 10
_LARGEST = 4 << 30
_PRIVATE = NewFile(mode=0o600)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The directory that files arrive in, held by one run."""

    path: Path

    def place(self, owner: str, file: RemoteFile, modified: datetime | None) -> Path:
        """Return where a file arrives: the same place in the next run, if it has not changed."""
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
    """Hold the directory for arriving files below a target directory; remove it if it is empty.

    Raises:
        Busy: Another run fetches into the same directory.
        InvalidInput: Nothing can be written there.
    """
    try:
        descriptor = _hold(directory)
    except OSError as error:
        raise InvalidInput(f"{directory} cannot be written: {error.strerror}.") from error
    try:
        for old in _left_by_earlier_versions(directory):
            _remove(old)
        yield Arrivals(directory / _FETCHING)
    finally:
        _remove(directory / _FETCHING / _GROWING)
        with suppress(OSError):  # not empty: the next run continues from it
            (directory / _FETCHING).rmdir()
        os.close(descriptor)


def clean(directory: Path) -> None:
    """Remove what interrupted runs left below a target directory, unless a run is under way."""
    if not (directory / _FETCHING).is_dir() and not _left_by_earlier_versions(directory):
        return
    with suppress(Busy), arrivals(directory) as held:
        held.keep_only(())


class Shelf:
    """The places of students' files below a target directory; no name leads out of it."""

    def __init__(self, directory: Path, held: Arrivals, now: datetime) -> None:
        self._directory = directory
        self._beneath = Beneath(directory, staging=held.path / _GROWING)
        self._stamp = f"{now.astimezone():%Y%m%dT%H%M%S}"

    def put(self, name: str, content: bytes) -> None:
        """Write a file; what was there and differs is kept in ``.replaced/``.

        A link or a directory in its place is kept beside it under another name.

        Raises:
            MograderError: It cannot be written.
        """
        self._make_parent(name)
        try:
            before = self._beneath.read(name, _LARGEST)
        except NotFound:
            self._beneath.write(name, content, _PRIVATE)
            return
        except InvalidInput:
            self._put_beside(name, content)
            return
        if before != content:
            self._keep(name, before)
            self._beneath.write(name, content, _PRIVATE)

    def write(self, name: str, content: bytes) -> None:
        """Write a file of our own, private; nothing is kept of the one before."""
        self._beneath.write(name, content, _PRIVATE)

    def rename(self, old: str, new: str) -> None:
        """Give an earlier fetched file or directory another name.

        If the new name is taken, the old one goes to ``.replaced/``.
        """
        source, target = self._directory / old, self._directory / new
        if not source.exists() or source.is_symlink():
            return
        if target.exists() or target.is_symlink():
            target = self._directory / REPLACED / self._stamp / old
            self._make_parent(f"{REPLACED}/{self._stamp}/{old}")
        source.rename(target)

    def _keep(self, name: str, content: bytes) -> None:
        kept = f"{REPLACED}/{self._stamp}/{name}"
        self._make_parent(kept)
        self._beneath.write(kept, content, _PRIVATE)

    def _put_beside(self, name: str, content: bytes) -> None:
        base = f"{name.rpartition('/')[2]}.replaced-{self._stamp}"
        names = (base, *(f"{base}-{number}" for number in range(1, _TRIES)))
        self._beneath.replace_keeping(name, names, io.BytesIO(content), _PRIVATE)

    def _make_parent(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        if parent:
            self._beneath.make_directory(parent)


def _left_by_earlier_versions(directory: Path) -> list[Path]:
    return [path for pattern in _OLD for path in directory.glob(pattern)]


def _hold(directory: Path) -> int:
    """Make ``.fetching/`` and lock it; another run may remove it between the two.

    Raises:
        Busy: Another run holds it.
    """
    path = directory / _FETCHING
    for _ in range(_TRIES):
        directory.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            descriptor = _locked(path)
            if descriptor is not None:
                return descriptor
    raise Busy(f"{directory} is in use.", hint="Wait for the other run to end.")


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a directory, None if it was removed meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not file_lock.acquire(descriptor):
            raise Busy(
                f"Another command is fetching into {path.parent}.",
                hint="Wait for it to end, or give another directory.",
            )
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
