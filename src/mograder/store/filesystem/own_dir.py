"""Files in a folder of the person who runs the command: a student's work, a teacher's course.

Such a folder needs less than one that others write to (``store.filesystem.untrusted_dir``), so this
works on every system. On Linux :func:`folder_of_files` takes the stricter one all the same: there
several people may share a machine.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.files import open_flags
from mograder.core.files.disk import DISK, Place, explained_when_full, set_mode
from mograder.core.files.windows_files import reachable, unlink
from mograder.core.operating_system import SYSTEM
from mograder.store.filesystem.untrusted_dir import (
    REMEDY,
    FileInfo,
    NewFile,
    UntrustedDir,
    checked,
    explained,
    too_large,
)

_PLAIN = NewFile()


def folder_of_files(base: Path, staging: Path) -> UntrustedDir | OwnDir:
    """Return a folder's files; new ones are written in ``staging``, which is on the same disk."""
    return UntrustedDir(base, staging=staging) if SYSTEM == "linux" else OwnDir(base, staging)


class OwnDir:
    """The files below a folder of one's own, on any system, as :class:`UntrustedDir`.

    Each method raises :class:`NotFound`, :class:`InvalidInput` or, for a file that another program
    holds open on Windows, :class:`Conflict`.
    """

    def __init__(self, base: Path, staging: Path) -> None:
        self._base = base
        self._staging = staging

    def read(self, relative: str, limit: int) -> bytes:
        with explained(relative), self._at(relative).open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise too_large(relative, limit)
        return data

    def stat(self, relative: str) -> FileInfo:
        """Return facts about a regular file, also a link's target."""
        with explained(relative):
            info = self._at(relative).stat()
        if not stat.S_ISREG(info.st_mode):
            raise InvalidInput(f"{relative!r} is no file.", hint=REMEDY)
        return FileInfo(info.st_size, info.st_mtime_ns, info.st_ctime_ns)

    def write(self, relative: str, data: bytes, how: NewFile = _PLAIN) -> bool:
        return self.copy(relative, io.BytesIO(data), how)

    def copy(self, relative: str, source: BinaryIO, how: NewFile = _PLAIN) -> bool:
        target = Place.of(self._at(relative))
        with explained_when_full(), explained(relative), self._staged(source, how) as new:
            try:
                if how.replace:
                    DISK.rename(new, target)
                else:
                    DISK.place(new, target)
            except FileExistsError:
                return False
            DISK.fsync_directory(Path(target.name).parent)
        return True

    def replace_keeping(
        self, relative: str, kept: Iterable[str], source: BinaryIO, how: NewFile = _PLAIN
    ) -> str | None:
        """Replace a file as :class:`UntrustedDir`; the copy of the old one is complete before."""
        target = self._at(relative)
        if not os.path.lexists(target):
            self.copy(relative, source, how)
            return None
        name = self._keep(target, kept)
        try:
            self.copy(relative, source, how)
        except BaseException:
            if target.exists():
                with contextlib.suppress(OSError):
                    unlink(target.with_name(name))
            raise
        return name

    def move(self, relative: str, target: str) -> bool:
        old, new = self._at(relative), self._at(target)
        with explained(relative), explained_when_full():
            try:
                DISK.place(Place.of(old), Place.of(new))
            except FileExistsError:
                return False
            for each in {old.parent, new.parent}:
                DISK.fsync_directory(each)
        return True

    def make_directory(self, relative: str, *, mode: int = 0o700) -> None:
        with explained(relative), explained_when_full():
            self._at(relative).mkdir(mode=mode, parents=True, exist_ok=True)

    def _at(self, relative: str) -> Path:
        return reachable(self._base / PurePosixPath(checked(relative)))

    def _keep(self, target: Path, names: Iterable[str]) -> str:
        for name in names:
            beside = target.with_name(name)
            with explained(name), explained_when_full(), contextlib.suppress(FileExistsError):
                if target.is_symlink() or not target.is_file():
                    DISK.place(Place.of(target), Place.of(beside))
                    return name
                with target.open("rb") as old, self._staged(old, _PLAIN) as copy:
                    shutil.copystat(target, copy.name)
                    DISK.place(copy, Place.of(beside))
                return name
        raise Conflict("There is no free name left for what was there.", hint=REMEDY)

    @contextlib.contextmanager
    def _staged(self, source: BinaryIO, how: NewFile) -> Iterator[Place]:
        if not self._base.is_dir():
            raise NotFound(f"The directory {self._base.name!r} does not exist.")
        staging = reachable(self._staging)
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = staging / secrets.token_hex(12)
        fd = os.open(path, open_flags.CREATE, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                shutil.copyfileobj(source, file)
                file.flush()
                set_mode(fd, how.mode)
                if how.durable:
                    DISK.fsync(fd)
            if how.modified_ns is not None:
                os.utime(path, ns=(how.modified_ns, how.modified_ns))
            yield Place.of(path)
        finally:
            unlink(path)
