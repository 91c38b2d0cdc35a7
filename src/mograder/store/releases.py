"""Releases: the published items, ``hub-release/<item>/`` (compatibility-0.3.16.md 2.7, 3).

A release is replaced as a whole: it is written in ``.staging``, synced, and exchanged with the old
one, so that readers see the old or the new, also after a crash. The old one stays in ``.staging``
for at least an hour, for requests that still read it, and is then removed.
"""

from __future__ import annotations

import os
import secrets
import threading
from datetime import datetime
from pathlib import Path

from mograder.core.atomic_file import fsync_directory
from mograder.core.clock import Clock, SystemClock
from mograder.core.disk import DISK, Disk, Place, explained_when_full
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.notebook.pep723 import ItemKind
from mograder.store.files import PARKED, exchange_or_rename, remove_tree
from mograder.store.published_release import (
    Release,
    open_release,
    release_at,
    version_at,
)
from mograder.store.release_upload import Limits, ReleaseUpload

__all__ = ["ItemKind", "Limits", "Release", "ReleaseUpload", "Releases"]

_STAGING = ".staging"
_KEPT_SECONDS = 3600
_ORDER = list(ItemKind)
_log = get_logger(__name__)


class Releases:
    """The published items of one course; thread-safe.

    Mutable state: ``_known`` (the last release read of each item, valid while its version is
    current) and ``_growing`` (the uploads in progress, which :meth:`_sweep` skips).
    """

    def __init__(
        self,
        root: Path,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        disk: Disk = DISK,
    ) -> None:
        self._root = root
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._disk = disk
        self._known: dict[str, Release] = {}
        self._growing: set[str] = set()
        self._lock = threading.Lock()
        self._put_back()
        self._sweep()

    def all(self) -> list[Release]:
        """Return every item: assignments, lectures, then demos, each in alphabetical order."""
        try:
            names = [path.name for path in self._root.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = [self._read(name) for name in map(_parsed, names) if name is not None]
        return sorted(
            (release for release in found if release is not None),
            key=lambda release: (_ORDER.index(release.kind), release.name),
        )

    def get(self, name: ItemName) -> Release | None:
        """Return an item's release; None if it has no notebook of the item's name."""
        return self._read(name)

    def readable(self, name: ItemName, filename: str) -> Path:
        """Return the path of a file that users may download: one of :attr:`Release.files`.

        Raises: :class:`NotFound` for any other; :class:`InvalidInput` for a name with ``..``
        (compatibility-0.3.16.md 2.3).
        """
        if ".." in filename:
            raise InvalidInput("Invalid filename")
        release = self._read(name)
        if release is None or filename not in release.files:
            raise NotFound("File not found")
        path = release.directory / filename
        # The cached list may name a file that was removed by hand.
        if path.is_symlink() or not path.is_file():
            raise NotFound("File not found")
        return path

    def stage(self, name: ItemName) -> ReleaseUpload:
        """Return an upload for a new release of an item, published only by its ``commit``."""
        self._sweep()
        token = secrets.token_hex(8)
        home = self._root / _STAGING / token
        with explained_when_full():
            self._make_root()
            with self._lock:
                self._growing.add(token)
            try:
                home.mkdir(mode=0o700)
                return ReleaseUpload(name, home / name, self._limits, self._disk, self)
            except BaseException:
                self.forget(home, discard=True)
                raise

    def put_in_place(self, name: ItemName, staged: Path) -> Release:
        """Exchange a synced directory with an item's release; for :class:`ReleaseUpload`.

        Raises: :class:`NotFound` if the release was removed at the same time.
        """
        with explained_when_full():
            exchange_or_rename(staged, self._root / name, disk=self._disk)
        release = self._read(name)
        if release is None:
            raise NotFound(f"The release of {name} was removed as it was published.")
        return release

    def current(self, name: ItemName) -> Path:
        """Return the directory of an item's release, which may not exist."""
        return self._root / name

    def forget(self, home: Path, *, discard: bool) -> None:
        """End an upload; with ``discard`` remove its directory at once, else by a later sweep."""
        if discard:
            remove_tree(home)
        with self._lock:
            self._growing.discard(home.name)

    def _read(self, name: ItemName) -> Release | None:
        directory = self._root / name
        fd = open_release(directory)
        if fd is None:
            self._known.pop(name, None)
            return None
        try:
            known = self._known.get(name)
            if known is not None and known.version == version_at(fd, name):
                return known
            release = release_at(fd, directory, name)
        finally:
            os.close(fd)
        if release is not None:
            self._known[name] = release
        return release

    def _make_root(self) -> None:
        if not self._root.is_dir():
            self._root.mkdir(parents=True, exist_ok=True)
            # A sandbox's uid reads releases: set the mode regardless of the umask.
            self._root.chmod(0o755)
        (self._root / _STAGING).mkdir(mode=0o700, exist_ok=True)

    def _homes(self) -> list[Path]:
        try:
            return list((self._root / _STAGING).iterdir())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []

    def _put_back(self) -> None:
        """Undo a replacement that a crash interrupted on a file system without exchange."""
        for parked in (path for home in self._homes() for path in home.glob(PARKED + "*")):
            target = self._root / parked.name.removeprefix(PARKED)
            if not target.exists():
                _log.warning("Putting the release of %s back after a crash.", target.name)
                self._disk.rename(Place.of(parked), Place.of(target))
                fsync_directory(self._root, disk=self._disk)

    def _sweep(self) -> None:
        """Remove staging directories that are over an hour old and belong to no current upload."""
        now = self._clock.now()
        for home in self._homes():
            with self._lock:
                growing = home.name in self._growing
            if not growing and _age(home, now) > _KEPT_SECONDS:
                try:
                    remove_tree(home)
                except OSError as error:
                    _log.warning("Cannot remove %s from %s: %s", home.name, _STAGING, error)


def _age(path: Path, now: datetime) -> float:
    try:
        return now.timestamp() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _parsed(name: str) -> ItemName | None:
    try:
        parsed = ItemName.parse(name)
    except InvalidInput:
        return None
    return parsed if parsed == name else None
