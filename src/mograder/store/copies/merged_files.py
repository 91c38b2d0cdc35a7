"""Data files of a new release in a student's folder, when the release is merged into the copy.

A file that the student left alone is replaced, or removed with the release's. One that the student
changed stays, and the author's comes beside it as ``NAME.new.EXT``. Which files were left alone is
known by their SHA-256: they are as some release of the item had them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.files.disk import closing_fd
from mograder.store.filesystem.untrusted_dir import UntrustedDir
from mograder.store.releases.published_release import Release, file_digest, is_support, open_file

_CHUNK = 1 << 18
_MOST_READ = 1 << 30
"""Most bytes of all files of a folder that are read to tell which were changed: a file of holes
takes no room, and there may be ten for each of the release's."""

_MOST_BESIDE = 9


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """The SHA-256 digests of an item's data files, in hex, by name.

    ``released`` are those of any release of the item; ``base`` those of the release that the copy
    came from, where that is known.
    """

    released: Mapping[str, frozenset[str]] = field(default_factory=dict)
    base: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Placing(StrEnum):
    ADDED = "added"
    REPLACED = "replaced"
    REMOVED = "removed"
    BESIDE = "beside"
    """The student changed it: the author's came beside it."""
    STAYS = "stays"
    """The student changed it, and the new release has no such file."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One data file: the name of the author's ``beside`` it, or the ``reason`` why it failed."""

    name: str
    how: Placing
    beside: str = ""
    reason: str = ""

    @property
    def is_told(self) -> bool:
        """Whether the student is told: not that a file is as the author wants it."""
        return self.how not in (Placing.ADDED, Placing.REPLACED)

    @property
    def sentence(self) -> str:
        match self.how:
            case Placing.ADDED:
                return f"{self.name} is new."
            case Placing.REPLACED:
                return f"{self.name} is as in the new release."
            case Placing.REMOVED:
                return f"{self.name} was removed: the new release has no such file."
            case Placing.BESIDE:
                return f"You changed {self.name}; the new release's is {self.beside}."
            case Placing.STAYS:
                return f"You changed {self.name}, so it stays; the new release has no such file."
        return f"{self.name} could not be put in place: {self.reason}"


def place_files(
    below: UntrustedDir, folder: str, release: Release, directory: int, known: KnownFiles
) -> tuple[FileChange, ...]:
    """Put the data files of a release into a student's folder; return what was changed.

    ``directory`` is a descriptor of the release's. Each file is replaced atomically; doing all
    again changes nothing more. A name that the student's code has made unusable is told, and keeps
    no other file back.

    Raises: :class:`Busy` (disk full), :class:`FileNotFoundError` if the release is gone.
    """
    placing = _Placing(below, folder, directory, known, _MOST_READ)
    wanted = [path for path in release.files if is_support(release, path)]
    found = [placing.put(path) for path in wanted]
    gone = sorted(known.released.keys() - set(release.files))
    found += [placing.take_out(path) for path in gone]
    return tuple(each for each in found if each is not None)


@dataclass(slots=True)
class _Placing:
    """Mutable state: ``left``, how many more bytes of the student's files may be read."""

    below: UntrustedDir
    folder: str
    directory: int
    known: KnownFiles
    left: int

    def put(self, name: str) -> FileChange | None:
        """Put one file of the release in place; None if it is there already."""
        try:
            return self._put(name)
        except (InvalidInput, NotFound, Conflict) as error:
            return FileChange(name, Placing.FAILED, reason=error.message)

    def take_out(self, name: str) -> FileChange | None:
        """Remove one file that the release does not have any more, unless it was changed."""
        try:
            digest = self._digest(name)
            if digest in self.known.released[name]:
                self.below.remove(self._path(name))
                return FileChange(name, Placing.REMOVED)
        except NotFound:
            return None
        except (InvalidInput, Conflict):
            pass
        return FileChange(name, Placing.STAYS) if name in self.known.base else None

    def _put(self, name: str) -> FileChange | None:
        released = file_digest(self.directory, name)
        try:
            digest: str | None = self._digest(name)
        except NotFound:
            self._copy(name, name)
            return FileChange(name, Placing.ADDED)
        except InvalidInput:  # a link, a directory
            digest = None
        if digest == released:
            return None
        if digest in self.known.released.get(name, ()):
            self._copy(name, name)
            return FileChange(name, Placing.REPLACED)
        if released in self.known.base.get(name, ()):  # the author left it as it was
            return None
        return FileChange(name, Placing.BESIDE, self._beside(name, released))

    def _beside(self, name: str, released: str) -> str:
        """Put the author's file beside the student's; return its name."""
        author = self.known.released.get(name, frozenset()) | {released}
        folder, slash, last = name.rpartition("/")
        stem, dot, ending = last.rpartition(".")
        if not stem:
            stem, dot, ending = last, "", ""
        for number in range(1, _MOST_BESIDE + 1):
            beside = f"{folder}{slash}{stem}.new{number if number > 1 else ''}{dot}{ending}"
            try:
                digest = self._digest(beside)
            except NotFound:
                self._copy(name, beside)
                return beside
            except InvalidInput:
                continue
            if digest in author:
                if digest != released:
                    self._copy(name, beside)
                return beside
        raise InvalidInput(f"There is no free name beside {name!r}.")

    def _digest(self, name: str) -> str:
        """Return the SHA-256 of a file in the student's folder, "" beyond what may be read."""
        found = hashlib.sha256()
        with closing_fd(self.below.open(self._path(name))) as fd:
            if os.fstat(fd).st_size >= self.left:
                return ""
            while self.left > 0 and (chunk := os.read(fd, _CHUNK)):
                found.update(chunk)
                self.left -= len(chunk)
        return found.hexdigest() if self.left > 0 else ""

    def _copy(self, name: str, target: str) -> None:
        parent = target.rpartition("/")[0]
        if parent:
            self.below.make_directory(self._path(parent))
        with open_file(self.directory, name) as source:
            self.below.copy(self._path(target), source)

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"
