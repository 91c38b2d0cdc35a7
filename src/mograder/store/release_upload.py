"""A release being uploaded: filled file by file within limits, then committed or discarded.

``store.releases`` creates it and puts it in place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from mograder.core.atomic_file import fsync_directory
from mograder.core.disk import Disk, explained_when_full
from mograder.core.errors import Conflict, InvalidInput, TooLarge
from mograder.core.names import ItemName
from mograder.notebook.pep723 import ItemKind
from mograder.store.published_release import (
    MANIFEST,
    Release,
    listed_at,
    open_release,
    parse_file,
    render_manifest,
)

_CHUNK = 1 << 18
_LEFT_BEHIND = frozenset({".venv", "__pycache__", "__marimo__"})
"""Directories of 0.3.16 in a release that are not kept: environments are stored elsewhere now."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one release (``[limits] upload_files``, ``upload_mb``)."""

    files: int = 200
    megabytes: int = 100


class Shelf(Protocol):
    """The owner of uploads (:class:`~mograder.store.releases.Releases`)."""

    def current(self, name: ItemName) -> Path:
        """Return the directory of the item's release, which may not exist."""

    def put_in_place(self, name: ItemName, staged: Path) -> Release:
        """Exchange the staged directory with the item's release."""

    def forget(self, home: Path, *, discard: bool) -> None:
        """End the upload with the staging directory ``home``; remove it with ``discard``."""


class ReleaseUpload:
    """An upload that is not yet published; a context manager that discards it unless committed."""

    def __init__(
        self, name: ItemName, path: Path, limits: Limits, disk: Disk, shelf: Shelf
    ) -> None:
        self._name = name
        self._path = path
        self._limits = limits
        self._disk = disk
        self._shelf = shelf
        self._files: list[str] = []
        self._bytes = 0
        self._ended = False
        _make(path)

    @property
    def path(self) -> Path:
        """The directory with the files added so far."""
        return self._path

    @property
    def files(self) -> tuple[str, ...]:
        """The names added so far, sorted."""
        return tuple(sorted(self._files))

    def add(self, filename: str, source: BinaryIO) -> None:
        """Add a copy of one file; its name may have up to three components: ``public/a.png``.

        Raises: :class:`InvalidInput` for an invalid name or one given twice, :class:`TooLarge`
        beyond the limits, :class:`Conflict` after the end of the upload.
        """
        path = parse_file(filename)
        self._check_open()
        if len(self._files) >= self._limits.files:
            raise TooLarge(f"A release may hold at most {self._limits.files} files.")
        if any(_clash(path, other) for other in self._files):
            raise InvalidInput(f"The file {path!r} was given twice.")
        with explained_when_full():
            self._make_parents(path)
            self._write(path, source)
        self._files.append(path)

    def commit(self, kind: ItemKind) -> Release:
        """Replace the item's release by the added files, atomically.

        Raises: :class:`InvalidInput` when the notebook is missing; the old release stays.
        """
        self._check_open()
        if f"{self._name}.py" not in self._files:
            raise InvalidInput(
                f"The release holds no {self._name}.py.",
                hint="An item's notebook has the item's name; publish the whole directory.",
            )
        with explained_when_full():
            self._carry_over()
            manifest = render_manifest(self._files, kind)
            self._write_file(self._path / MANIFEST, [manifest])
            for directory, _, _ in os.walk(self._path, topdown=False):
                fsync_directory(Path(directory), disk=self._disk)
        release = self._shelf.put_in_place(self._name, self._path)
        self._end(discard=False)
        return release

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            self._end(discard=True)

    def _end(self, *, discard: bool) -> None:
        self._ended = True
        self._shelf.forget(self._path.parent, discard=discard)

    def _check_open(self) -> None:
        if self._ended:
            raise Conflict(f"This upload of {self._name} has ended already.")

    def _make_parents(self, path: str) -> None:
        parts = path.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            directory = self._path.joinpath(*parts[:count])
            if not directory.is_dir():
                _make(directory)

    def _write(self, path: str, source: BinaryIO) -> None:
        target = self._path / path
        try:
            self._write_file(target, iter(lambda: source.read(_CHUNK), b""))
        except BaseException:
            # A caller that catches this error must not commit an incomplete file.
            target.unlink(missing_ok=True)
            raise

    def _write_file(self, path: Path, chunks: Iterable[bytes]) -> None:
        fd = _create(path)
        try:
            for chunk in chunks:
                self._bytes += len(chunk)
                if self._bytes > self._limits.megabytes * 1_000_000:
                    raise TooLarge(f"A release may hold at most {self._limits.megabytes} MB.")
                self._disk.write(fd, chunk)
            self._disk.fsync(fd)
        finally:
            os.close(fd)

    def _carry_over(self) -> None:
        """Keep files added to the old release by hand, as 0.3.16 did (2.7).

        These are subdirectories that the manifest does not name, and dotfiles. Published files are
        not kept, so that a file that was published by mistake can be withdrawn.
        """
        current = self._shelf.current(self._name)
        fd = open_release(current)
        if fd is None:
            return
        published = {path.split("/")[0] for path in listed_at(fd, self._name)}
        os.close(fd)
        ours = {path.split("/")[0] for path in self._files}
        for entry in current.iterdir():
            by_hand = entry.is_dir() or entry.name.startswith(".")
            kept = by_hand and entry.name not in published | ours | _LEFT_BEHIND
            if kept and not entry.is_symlink():
                _link_tree(entry, self._path / entry.name)


def _link_tree(source: Path, target: Path) -> None:
    """Copy a tree of regular files by hard links, since data may be large; skip symbolic links."""
    if source.is_symlink():
        return
    if source.is_dir():
        _make(target)
        for entry in source.iterdir():
            _link_tree(entry, target / entry.name)
    elif source.is_file():
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copy2(source, target)


def _clash(path: str, other: str) -> bool:
    """Whether two names cannot both be files: they are equal, or one is the other's directory."""
    return path == other or path.startswith(other + "/") or other.startswith(path + "/")


def _make(directory: Path) -> None:
    directory.mkdir()
    # A sandbox's uid reads releases: set the mode regardless of the umask.
    directory.chmod(0o755)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    os.fchmod(fd, 0o644)
    return fd
