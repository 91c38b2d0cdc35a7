"""Feedback documents, ``<root>/<assignment>/feedback/<user>.html`` (compatibility-0.3.16.md 4)."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mograder.core.files.disk import DISK, Disk, Place, explained_when_full
from mograder.core.names import FileName
from mograder.store.filesystem.records import make_directories


class FeedbackUpload:
    """An upload of documents to temporary files, which :meth:`finish` renames when all are there.

    Mutable state: ``_grown``, the temporary file of each name; not thread-safe.
    """

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._directory = directory
        self._disk = disk
        self._grown: dict[FileName, Path] = {}

    def open(self, name: FileName) -> BinaryIO:
        """Open a file to write a document to; it replaces an earlier one of this name.

        Raises: :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        with explained_when_full():
            make_directories(self._directory, mode=0o755, disk=self._disk)
            path = self._directory / f".{secrets.token_hex(8)}.tmp"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if name in self._grown:
            self._grown[name].unlink(missing_ok=True)
        self._grown[name] = path
        return os.fdopen(fd, "wb")

    def finish(self) -> tuple[FileName, ...]:
        """Sync every document and rename it to its final name; return the names, sorted.

        Raises: :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        with explained_when_full():
            for path in self._grown.values():
                with path.open("rb") as file:
                    self._disk.fsync(file.fileno())
            for name, path in self._grown.items():
                self._disk.rename(Place.of(path), Place.of(self._directory / name))
            if self._grown:
                self._disk.fsync_directory(self._directory)
        return tuple(sorted(self._grown))

    def abandon(self) -> None:
        """Remove the temporary files that were not renamed."""
        for path in self._grown.values():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def receiving(directory: Path, *, disk: Disk = DISK) -> Iterator[FeedbackUpload]:
    """Yield an upload into ``directory``; remove its temporary files at the end."""
    upload = FeedbackUpload(directory, disk=disk)
    try:
        yield upload
    finally:
        upload.abandon()
