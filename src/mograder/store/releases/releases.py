"""Releases: the published items, ``hub-release/<item>/`` (compatibility-0.3.16.md 2.7, 3).

A release is replaced as a whole: it is written in ``.staging``, synced, and exchanged with the old
one, so that readers see the old or the new, also after a crash. The old one stays in ``.staging``
for at least a day, for lectures that are open and read files from it, and is then removed.

The sources that instructors send to a hub are stored in the same way, readable by the hub only.
"""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self

from mograder.core.clock import Clock, SystemClock
from mograder.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from mograder.core.files import open_flags
from mograder.core.files.disk import (
    DISK,
    Disk,
    Place,
    closing_fd,
    explained_when_full,
    explained_when_unusable,
    look_for,
    set_mode,
)
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.notebook.pep723 import ItemKind
from mograder.store.filesystem.files import PARKED, exchange_or_rename, remove_tree
from mograder.store.releases.published_release import (
    MANIFEST,
    Release,
    listed_at,
    open_release,
    parse_file,
    refused_names,
    release_at,
    render_manifest,
    version_at,
)

__all__ = ["ItemKind", "Limits", "Release", "ReleaseUpload", "Releases"]

_CHUNK = 1 << 18
_LEFT_BEHIND = frozenset({".venv", "__pycache__", "__marimo__"})
"""Directories of 0.3.16 in a release that are not kept: environments are stored elsewhere now."""

_STAGING = ".staging"
_KEPT_SECONDS = 24 * 3600
_REPLACING_TRIES = 25
_REPLACING_SECONDS = 0.02
_ORDER = list(ItemKind)
_log = get_logger(__name__)


_SHARED, _PRIVATE = (0o755, 0o644), (0o700, 0o600)
"""Modes of directories and of files."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one release (``[limits] upload_files``, ``upload_mb``)."""

    files: int = 200
    megabytes: int = 100


class Releases:
    """The published items of one course; thread-safe.

    With ``private`` no other user may read them; else the names that keep something from students
    are logged at the start. Mutable state: ``_known`` (the last release read of each item, valid
    while its version is current), ``_growing`` (the uploads in progress, which :meth:`_sweep`
    skips), ``_abandoned`` (old releases whose replacement was cut short), and ``_uploads`` and
    ``_newest`` (how many uploads have begun, and the latest that was committed).
    """

    def __init__(
        self,
        root: Path,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        disk: Disk = DISK,
        private: bool = False,
    ) -> None:
        self._root = root
        # A sandbox's uid reads releases.
        self._modes = _PRIVATE if private else _SHARED
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._disk = disk
        self._known: dict[str, Release] = {}
        self._growing: set[str] = set()
        self._abandoned: set[Path] = set()
        self._uploads = 0
        self._newest: dict[str, int] = {}
        self._lock = threading.Lock()
        self._put_back()
        self._sweep()
        if private:
            return
        with suppress(OSError):
            for sentence in refused_names(root):
                _log.warning("%s Students do not get it: rename it, and publish.", sentence)

    def all(self) -> list[Release]:
        """Return assignments, lectures, then demos, each by name. Raises: InvalidInput."""
        look_for(self._root, self._disk)
        with explained_when_unusable(self._root):
            try:
                names = [path.name for path in self._root.iterdir()]
            except (FileNotFoundError, NotADirectoryError):
                return []
        # A directory whose name is not in NFC is not an item's.
        items = (item for name in names if (item := ItemName.valid(name)) and item == name)
        found = map(self._read_listed, items)
        return sorted(
            (release for release in found if release is not None),
            key=lambda release: (_ORDER.index(release.kind), release.name),
        )

    def assignments(self) -> list[ItemName]:
        """Return the names of the assignments, in the order of :meth:`all`."""
        return [each.name for each in self.all() if each.kind is ItemKind.ASSIGNMENT]

    def get(self, name: ItemName) -> Release | None:
        look_for(self._root, self._disk)  # another machine may have just published it
        return self._read_listed(name)

    def readable(self, name: ItemName, filename: str) -> Path:
        """Return the path of a file that users may download: one of :attr:`Release.files`.

        Raises: :class:`NotFound` for any other; :class:`InvalidInput` for a name with ``..``
        (compatibility-0.3.16.md 2.3).
        """
        if ".." in filename:
            raise InvalidInput("Invalid filename")
        release = self.get(name)
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
            if not self._root.is_dir():
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._root.chmod(self._modes[0])  # regardless of the umask
            (self._root / _STAGING).mkdir(mode=0o700, exist_ok=True)
            with self._lock:
                self._growing.add(token)
                self._uploads += 1
                number = self._uploads
            try:
                home.mkdir(mode=0o700)
                return ReleaseUpload(
                    name, home / name, self._limits, self._disk, self, self._modes, number
                )
            except BaseException:
                self.forget(home, discard=True)
                raise

    def put_in_place(self, name: ItemName, staged: Path, number: int) -> Release:
        """Exchange a synced directory with an item's release; for :class:`ReleaseUpload`.

        ``number`` is that of the upload.

        Raises: :class:`Conflict` if an upload that began later is there already, :class:`NotFound`
        if the release was removed at the same time.
        """
        # One at a time, so that no other one is put in place between the look and the exchange.
        with explained_when_full(), self._lock:
            if self._newest.get(name, 0) > number:
                raise Conflict(
                    f"Meanwhile a newer upload of {name} was stored, which stays.",
                    hint="Send this one again if it should replace it.",
                )
            self._keep_time(name, staged)
            exchange_or_rename(staged, self._root / name, disk=self._disk)
            self._newest[name] = number
        release = self.get(name)
        if release is None:
            raise NotFound(f"The release of {name} was removed as it was published.")
        return release

    def current(self, name: ItemName) -> Path:
        return self._root / name

    def forget(self, home: Path, *, discard: bool) -> None:
        """End an upload; with ``discard`` remove its directory at once, else by a later sweep."""
        if discard:
            remove_tree(home)
        with self._lock:
            self._growing.discard(home.name)

    def _keep_time(self, name: ItemName, staged: Path) -> None:
        """Give the notebook of a directory that equals the release the time of the one there.

        Students' copies are older than a newer notebook, and would be told to be out of date.
        """
        current, fd = self.get(name), open_release(staged)
        if current is None or fd is None:
            return
        with closing_fd(fd), suppress(FileNotFoundError):  # a file may be removed by hand
            new = release_at(fd, staged, name)
            if new is None or new.files != current.files:
                return
            pairs = ((current.directory / each, staged / each) for each in new.files)
            if all(filecmp.cmp(*pair, shallow=False) for pair in pairs):
                times = current.notebook.stat()
                os.utime(new.notebook, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _read_listed(self, name: ItemName) -> Release | None:
        """Return an item's release after its root was listed or looked at."""
        directory = self._root / name
        fd = self._open(name)
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

    def _open(self, name: ItemName) -> int | None:
        """Open an item's directory; wait a moment while it is replaced in two steps."""
        fd = open_release(self._root / name)
        if fd is not None:
            return fd
        parked = [path for home in self._homes() if (path := home / f"{PARKED}{name}").is_dir()]
        for _ in range(_REPLACING_TRIES if set(parked) - self._abandoned else 0):
            look_for(self._root, self._disk)
            if (fd := open_release(self._root / name)) is not None:
                return fd
            time.sleep(_REPLACING_SECONDS)
        # Left by a hub that was killed; the next one to start puts it back.
        self._abandoned.update(parked)
        # Without a parked one, it may have come back between the two looks.
        return open_release(self._root / name)

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
                self._disk.fsync_directory(self._root)

    def _sweep(self) -> None:
        """Remove staging directories that are over a day old and belong to no current upload."""
        now = self._clock.now()
        for home in self._homes():
            with self._lock:
                growing = home.name in self._growing
            if not growing and _age(home, now) > _KEPT_SECONDS:
                try:
                    remove_tree(home)
                except OSError as error:
                    _log.warning("Cannot remove %s from %s: %s", home.name, _STAGING, error)


class ReleaseUpload:
    """Filled within limits, then committed; a context manager that discards it otherwise."""

    def __init__(
        self,
        name: ItemName,
        path: Path,
        limits: Limits,
        disk: Disk,
        releases: Releases,
        modes: tuple[int, int],
        number: int,
    ) -> None:
        self._name = name
        self._path = path
        self._limits = limits
        self._disk = disk
        self._releases = releases
        self._modes = modes
        self._number = number
        self._files: list[str] = []
        self._bytes = 0
        self._ended = False
        self._make(path)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def files(self) -> tuple[str, ...]:
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
        # Also one that is the other's directory.
        if any(f"{path}/".startswith(f"{o}/") or o.startswith(f"{path}/") for o in self._files):
            raise InvalidInput(f"The file {path!r} was given twice.")
        target = self._path / path
        with explained_when_full():
            for above in reversed(Path(path).parents[:-1]):
                if not (self._path / above).is_dir():
                    self._make(self._path / above)
            try:
                self._write_file(target, iter(lambda: source.read(_CHUNK), b""))
            except BaseException:
                # A caller that catches this error must not commit an incomplete file.
                target.unlink(missing_ok=True)
                raise
        self._files.append(path)

    def commit(self, kind: ItemKind) -> Release:
        """Replace the release. Raises: InvalidInput (no notebook), Conflict (a later one)."""
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
                self._disk.fsync_directory(Path(directory))
        release = self._releases.put_in_place(self._name, self._path, self._number)
        self._end(discard=False)
        return release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._ended:
            self._end(discard=True)

    def _end(self, *, discard: bool) -> None:
        self._ended = True
        self._releases.forget(self._path.parent, discard=discard)

    def _check_open(self) -> None:
        if self._ended:
            raise Conflict(f"This upload of {self._name} has ended already.")

    def _make(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        directory.chmod(self._modes[0])  # regardless of the umask

    def _write_file(self, path: Path, chunks: Iterable[bytes]) -> None:
        with closing_fd(os.open(path, open_flags.CREATE, 0o600)) as fd:
            set_mode(fd, self._modes[1])
            for chunk in chunks:
                self._bytes += len(chunk)
                if self._bytes > self._limits.megabytes * 2**20:
                    raise TooLarge(f"A release may hold at most {self._limits.megabytes} MB.")
                self._disk.write(fd, chunk)
            self._disk.fsync(fd)

    def _carry_over(self) -> None:
        """Keep files added to the old release by hand, as 0.3.16 did (2.7).

        These are subdirectories that the manifest does not name, and dotfiles. Published files are
        not kept, so that a file that was published by mistake can be withdrawn.
        """
        current = self._releases.current(self._name)
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
                _link_tree(entry, self._path / entry.name, self._make)


def _link_tree(source: Path, target: Path, make: Callable[[Path], None]) -> None:
    """Copy a tree of regular files by hard links, since data may be large; skip symbolic links."""
    if source.is_symlink():
        return
    if source.is_dir():
        make(target)
        for entry in source.iterdir():
            _link_tree(entry, target / entry.name, make)
    elif source.is_file():
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copy2(source, target)


def _age(path: Path, now: datetime) -> float:
    try:
        return now.timestamp() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
