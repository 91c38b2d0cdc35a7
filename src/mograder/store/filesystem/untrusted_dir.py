"""Safe access to files in a directory that an attacker controls.

A student's code can put anything into a workspace: links to the host's files, pipes that block on
opening, devices, files of ten gigabytes, names that change between two system calls. So a path is
resolved in one step, opened without blocking, checked through its descriptor, and read up to a
limit (security.md, "The workspace is theirs"; B132). No link or mount in a path leads out of the
directory: it is opened by ``openat2`` where the kernel has it and no seccomp filter forbids it,
else component by component. For Linux; ``store.filesystem.own_dir`` has a person's own files
elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import io
import os
import re
import secrets
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound, TooLarge
from mograder.core.files import open_flags
from mograder.core.files.disk import (
    DISK,
    UNSUPPORTED,
    Disk,
    Place,
    again_if_stale,
    closing_fd,
    explained_when_full,
    libc,
    look_for,
    set_mode,
)
from mograder.core.files.windows_files import FileHeld
from mograder.core.operating_system import SYSTEM

Resolver = Callable[[int, str, int], int]
"""Opens a path below the open directory with flags of ``os.open``, and returns its descriptor.

:func:`by_kernel` or :func:`by_walking`. Raises: ``OSError``; ``EAGAIN`` when a program holds a
lease on the file.
"""

_DIRECTORY = os.O_RDONLY | open_flags.DIRECTORY
_LOOKED_AT = open_flags.PATH | open_flags.NOFOLLOW
_PASSED = open_flags.PATH | open_flags.DIRECTORY | open_flags.NOFOLLOW
_CHUNK = 1 << 18
_AGAIN_SECONDS = 1.0
_MOST_ASKED = 4096
_LATEST_NS = 4_000_000_000_000_000_000
_STAGED_BYTES = 12
_STAGED = re.compile(rf"[0-9a-f]{{{2 * _STAGED_BYTES}}}")
_LEFT_FOR_SECONDS = 3600
_NO_NAME = "There is no free name left for what was there."
REMEDY = "Rename or remove it in the workspace, then try again."
"""The hint of most of these errors."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)

_SYS_OPENAT2 = 437
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_TRIES = 8


@dataclass(frozen=True, slots=True)
class FileInfo:
    """``size`` in bytes; ``changed_ns`` by the system's clock, also for a rename or new owner."""

    size: int
    modified_ns: int
    changed_ns: int

    @property
    def modified(self) -> datetime:
        """The time of the last change, which the file's owner can set."""
        return moment_of(self.modified_ns)


@dataclass(frozen=True, slots=True)
class NewFile:
    """The properties of a new file.

    ``modified_ns``: its time, None for now. ``replace``: whether it may replace another file.
    ``durable``: whether to sync it to disk. Its owner is that of its directory, so that a hub that
    runs as root does not leave files that the student cannot write.
    """

    mode: int = 0o644
    modified_ns: int | None = None
    replace: bool = True
    durable: bool = True


_PLAIN = NewFile()


def moment_of(modified_ns: int) -> datetime:
    """Return a file's time in UTC, limited to a range that ``datetime`` can represent."""
    return datetime.fromtimestamp(min(max(modified_ns, 0), _LATEST_NS) / 1e9, UTC)


class UntrustedDir:
    """The files below one trusted directory.

    ``base`` itself is trusted; nothing below it is. ``staging`` is a directory of the hub on the
    same file system where new files are written before they are renamed; without it the object
    can only read. Paths are relative to ``base``.
    """

    def __init__(
        self,
        base: Path,
        *,
        staging: Path | None = None,
        resolver: Resolver | None = None,
        disk: Disk = DISK,
    ) -> None:
        self._base = base
        self._staging = staging
        self._resolver = resolver or best_resolver()
        self._disk = disk
        # When the server of a share was last asked for a directory, in monotonic seconds.
        self._asked: dict[str, float] = {}

    def sweep(self) -> None:
        """Remove the files that killed processes left in the staging directory.

        These are the ones over an hour old, and those that have their place already: one that was
        placed by a link is refused there while it has this second name.
        """
        old = time.time() - _LEFT_FOR_SECONDS
        for path in self._staging.glob("*") if self._staging else ():
            with contextlib.suppress(OSError):
                info = path.lstat()
                # Not by the time of its content, which may be that of the file that it replaces.
                if _STAGED.fullmatch(path.name) and (info.st_nlink > 1 or info.st_ctime < old):
                    path.unlink()

    def open(self, relative: str) -> int:
        """Open a regular file with one link for reading, without blocking; return its descriptor.

        Raises: :class:`NotFound`, :class:`InvalidInput` (not such a file), :class:`Conflict`
        (a program holds a lease on it).
        """
        flags = os.O_RDONLY | open_flags.NONBLOCK | open_flags.NOCTTY
        fd = self._resolve(relative, flags, now=True)
        try:
            if _check_regular(fd, relative).st_nlink != 1:
                text = f"{relative!r} is a hard link, not a file of its own."
                raise InvalidInput(text, hint=REMEDY)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read(self, relative: str, limit: int) -> bytes:
        """Raise as :meth:`open`, and :class:`TooLarge` beyond ``limit`` bytes."""
        with explained(relative):
            return again_if_stale(lambda: self._read(relative, limit))

    def _read(self, relative: str, limit: int) -> bytes:
        with closing_fd(self.open(relative)) as fd:
            if os.fstat(fd).st_size > limit:
                raise too_large(relative, limit)
            data = bytearray()
            # Check again: the file may grow while it is read.
            while chunk := os.read(fd, min(_CHUNK, limit + 1 - len(data))):
                data += chunk
                if len(data) > limit:
                    raise too_large(relative, limit)
            return bytes(data)

    def stat(self, relative: str) -> FileInfo:
        """Look at a regular file without opening it to read. Raises: NotFound, InvalidInput."""
        return _facts(self._resolve(relative, _LOOKED_AT), relative)

    def look(self, relative: str) -> FileInfo | None:
        """Return facts about a regular file; None if there is none."""
        with contextlib.suppress(InvalidInput):
            return self.find(relative)
        return None

    def find(self, relative: str) -> FileInfo | None:
        """Return facts about a regular file as :meth:`stat`; None if nothing has its name."""
        fd = self._find(relative, _LOOKED_AT)
        return None if fd is None else _facts(fd, relative)

    def write(self, relative: str, data: bytes, how: NewFile = _PLAIN) -> bool:
        return self.copy(relative, io.BytesIO(data), how)

    def copy(self, relative: str, source: BinaryIO, how: NewFile = _PLAIN) -> bool:
        """Copy ``source`` to a file atomically; return False if one existed and was not replaced.

        It is written in the staging directory, which students cannot access, and then renamed
        into its directory's descriptor: a link in its place is replaced, not followed.

        Raises: :class:`NotFound` (no such directory), :class:`InvalidInput`.
        """
        with self._place(relative) as target, explained_when_full():
            with self._staged(source, how, _opened(target)) as staged:
                moved = self._move(staged, target, how, relative)
            if moved and how.durable:
                self._disk.fsync(_opened(target))
            return moved

    def replace_keeping(
        self, relative: str, kept: Iterable[str], source: BinaryIO, how: NewFile = _PLAIN
    ) -> str | None:
        """Replace a file, and keep the old one beside it under the first free name of ``kept``.

        The new file first gets the name for the old one, then both are exchanged atomically: a
        crash leaves the old or the new one in its place, and the old one always has a name. A
        link, a pipe or a directory is kept like a file. Return the name of the kept one, None if
        there was none.

        Raises: as :meth:`copy`, and :class:`Conflict` when all names in ``kept`` are taken.
        """
        names = iter(kept)
        with self._place(relative) as target, explained_when_full():
            directory = _opened(target)
            with self._staged(source, how, directory) as staged:
                beside = self._first_free(staged, directory, names)
                try:
                    old = self._exchange(relative, beside, target, names)
                except Exception:  # not a signal: after the exchange this name has the old text
                    # The name is an earlier version's; a server that lost its answer to a rename
                    # may have moved it.
                    _drop(beside)
                    raise
            self._disk.fsync(directory)
            return old

    def names(self, relative: str, limit: int) -> tuple[str, ...]:
        """Return at most ``limit`` names in a directory, () without it. Raises: InvalidInput."""
        opened = self._find(relative, _DIRECTORY)
        if opened is None:
            return ()
        with (
            closing_fd(opened) as directory,
            explained(relative),
            os.scandir(directory) as entries,
        ):
            found = (entry.name for entry in entries)
            return tuple(name for name, _ in zip(found, range(limit), strict=False))

    def make_base(self) -> None:
        with explained_when_full():
            self._base.mkdir(parents=True, exist_ok=True)

    def make_directory(self, relative: str, *, mode: int = 0o700) -> None:
        """Create a directory and its parents, of their parents' owners. Raises: InvalidInput."""
        for each in accumulate(checked(relative).split("/"), "{}/{}".format):
            self._make_one(each, mode)

    def move(self, relative: str, target: str) -> bool:
        """Rename atomically; return False if ``target`` exists. Raises: NotFound, InvalidInput."""
        with (
            self._place(relative) as old,
            self._place(target) as new,
            explained(relative),
            explained_when_full(),
        ):
            try:
                self._disk.place(old, new)
            except FileExistsError:
                return False
            for each in (old, new):
                self._disk.fsync(_opened(each))
        return True

    def remove(self, relative: str) -> None:
        """Unlink a file, link, pipe or device, if there. Raises: InvalidInput for a directory."""
        with self._place(relative) as place, explained(relative):
            _drop(place)

    @contextlib.contextmanager
    def _place(self, relative: str) -> Iterator[Place]:
        """Open the directory of a file. Raises: as :meth:`_resolve`."""
        parent, _, name = checked(relative).rpartition("/")
        with closing_fd(self._resolve(parent, _DIRECTORY)) as directory:
            yield Place(name, directory)

    def _resolve(self, relative: str, flags: int, *, now: bool = False) -> int:
        """Open a path as :meth:`_find`. Raises: also :class:`NotFound`."""
        fd = self._find(relative, flags, now=now)
        if fd is None and self._base.is_dir():
            raise NotFound(f"{relative!r} does not exist.")
        if fd is None:
            raise NotFound(f"The directory {self._base.name!r} does not exist.")
        return fd

    def _find(self, relative: str, flags: int, *, now: bool = False) -> int | None:
        """Open a path; return None if it does not exist.

        With ``now`` a change by another machine counts at once, else after at most a second.

        Raises: :class:`InvalidInput`, :class:`Conflict`.
        """
        if relative:
            checked(relative)
        directory = open_flags.PATH | open_flags.DIRECTORY | open_flags.CLOEXEC
        try:
            try:
                base = os.open(self._base, directory)
            except FileNotFoundError:
                look_for(self._base, self._disk)
                base = os.open(self._base, directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with closing_fd(base), explained(relative):
            return self._find_below(base, relative, flags, now=now)

    def _find_below(self, base: int, relative: str, flags: int, *, now: bool) -> int | None:
        shared = self._disk.is_shared(base)
        asked = shared and (now or self._due(relative))
        if asked:
            self._look_again(base, relative)
        try:
            return self._resolver(base, relative or ".", flags)
        except FileNotFoundError:
            if asked or not shared:
                return None
        self._look_again(base, relative)
        with contextlib.suppress(FileNotFoundError):
            return self._resolver(base, relative, flags)
        return None

    def _due(self, relative: str) -> bool:
        """Return whether the server was not asked for a path's directory within the last second."""
        parent, moment = relative.rpartition("/")[0], time.monotonic()
        if moment - self._asked.get(parent, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return False
        if len(self._asked) >= _MOST_ASKED:
            self._asked.clear()
        self._asked[parent] = moment
        return True

    def _look_again(self, base: int, relative: str) -> None:
        """Ask the server for each directory of a path; a link among them ends it."""
        with contextlib.suppress(OSError):
            self._disk.look_again(".", base)
            for above in accumulate(relative.split("/")[:-1], "{}/{}".format):
                with closing_fd(self._resolver(base, above, _PASSED)) as directory:
                    self._disk.look_again(".", directory)

    def _make_one(self, relative: str, mode: int) -> None:
        with self._place(relative) as place, explained_when_full():
            try:
                with explained(relative):
                    os.mkdir(place.name, mode, dir_fd=place.directory)
            except FileExistsError:
                os.close(self._resolve(relative, open_flags.PATH | open_flags.DIRECTORY))
                return
            with closing_fd(self._resolve(relative, _DIRECTORY)) as made:
                _give(made, _opened(place))
            self._disk.fsync(_opened(place))

    @contextlib.contextmanager
    def _staged(self, source: BinaryIO, how: NewFile, directory: int) -> Iterator[Place]:
        if self._staging is None:
            raise ValueError("writing below a directory needs a staging directory")
        self._staging.mkdir(mode=0o700, exist_ok=True)
        staging = os.open(self._staging, _DIRECTORY | open_flags.NOFOLLOW | open_flags.CLOEXEC)
        name = secrets.token_hex(_STAGED_BYTES)
        try:
            with closing_fd(os.open(name, open_flags.CREATE, 0o600, dir_fd=staging)) as fd:
                while chunk := source.read(_CHUNK):
                    self._disk.write(fd, chunk)
                set_mode(fd, how.mode)
                _give(fd, directory)
                if how.modified_ns is not None:
                    os.utime(fd, ns=(how.modified_ns, how.modified_ns))
                if how.durable:
                    self._disk.fsync(fd)
            yield Place(name, staging)
        finally:
            _drop(Place(name, staging))
            os.close(staging)

    def _first_free(self, source: Place, directory: int, names: Iterator[str]) -> Place:
        for name in names:
            target = Place(name, directory)
            with explained(name), contextlib.suppress(FileExistsError):
                self._disk.place(source, target)
                return target
        raise Conflict(_NO_NAME, hint=REMEDY)

    def _exchange(self, relative: str, new: Place, old: Place, names: Iterator[str]) -> str | None:
        """Exchange two names; return the old file's name then, None if there was no old file."""
        try:
            with explained(old.name):
                self._disk.exchange(new, old)
        except NotFound:
            self._disk.rename(new, old)
            return None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            return self._keep_by_copy(relative, new, old, names)
        return new.name

    def _keep_by_copy(
        self, relative: str, new: Place, old: Place, names: Iterator[str]
    ) -> str | None:
        """Keep a copy of the old file, then replace it, where the file system cannot exchange.

        Anything but a regular file is renamed instead: a crash in between loses no notebook.
        """
        kept: str | None = None
        with contextlib.suppress(NotFound):
            try:
                kept = self._copy_beside(relative, names)
            except InvalidInput:
                kept = self._first_free(old, _opened(old), names).name
        self._disk.rename(new, old)
        return kept

    def _copy_beside(self, relative: str, names: Iterator[str]) -> str:
        parent = relative.rpartition("/")[0]
        with os.fdopen(self.open(relative), "rb") as source:
            how = NewFile(modified_ns=os.fstat(source.fileno()).st_mtime_ns, replace=False)
            for name in names:
                source.seek(0)
                if self.copy(f"{parent}/{name}" if parent else name, source, how):
                    return name
        raise Conflict(_NO_NAME, hint=REMEDY)

    def _move(self, source: Place, target: Place, how: NewFile, relative: str) -> bool:
        with explained(relative):
            try:
                if how.replace:
                    self._disk.rename(source, target)
                else:
                    self._disk.place(source, target)
            except FileExistsError:
                return False
        return True


def _opened(place: Place) -> int:
    assert place.directory is not None
    return place.directory


def _drop(place: Place) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place.name, dir_fd=place.directory)


def _give(fd: int, directory: int) -> None:
    """Set a file's owner to that of its directory; do nothing unless root."""
    if sys.platform != "win32" and os.geteuid() == 0:
        above = os.fstat(directory)
        if (above.st_uid, above.st_gid) != (0, 0):
            os.fchown(fd, above.st_uid, above.st_gid)


def checked(relative: str) -> str:
    """Return a relative path unchanged. Raises: :class:`InvalidInput` if it may lead outside."""
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f"The path {relative!r} does not stay below its directory.")
    try:
        os.fsencode(relative)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"The path {relative!r} cannot be a file's name.") from error
    return relative


@functools.cache
def best_resolver() -> Resolver:
    """Return :func:`by_kernel` if it works and no filter forbids it."""
    if SYSTEM != "linux":
        return by_walking
    root = os.open("/", open_flags.PATH | open_flags.DIRECTORY | open_flags.CLOEXEC)
    try:
        os.close(by_kernel(root, ".", open_flags.PATH))
    except OSError:
        return by_walking
    finally:
        os.close(root)
    return by_kernel


def by_kernel(base: int, relative: str, flags: int) -> int:
    """Open by ``openat2``, in one call."""
    how = struct.pack("QQQ", flags | open_flags.CLOEXEC, 0, _RESOLVE)
    code = errno.EAGAIN
    # EAGAIN also means a lease, which its owner may hold for 45 s: do not wait for that.
    for _ in range(_TRIES):
        fd: int = libc().syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(base),
            os.fsencode(relative),
            how,
            ctypes.c_size_t(len(how)),
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), relative)


def by_walking(base: int, relative: str, flags: int) -> int:
    """Open component by component; detect a mount by its device number."""
    *parents, last = relative.split("/")
    device = os.fstat(base).st_dev
    current = os.dup(base)
    try:
        for part in parents:
            following = os.open(part, _PASSED | open_flags.CLOEXEC, dir_fd=current)
            os.close(current)
            current = following
            if os.fstat(current).st_dev != device:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
        wanted = flags | open_flags.NOFOLLOW | open_flags.CLOEXEC
        return os.open(last, wanted, dir_fd=current)
    finally:
        os.close(current)


def _facts(fd: int, relative: str) -> FileInfo:
    """Return facts about an open file, and close it. Raises: as :func:`_check_regular`."""
    with closing_fd(fd):
        info = _check_regular(fd, relative)
    return FileInfo(info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _check_regular(fd: int, relative: str) -> os.stat_result:
    """Return an open file's status. Raises: :class:`InvalidInput` if it is not a regular file."""
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        kind = next((words for test, words in _KINDS if test(info.st_mode)), "a device")
        raise InvalidInput(f"{relative!r} is {kind}, not a file.", hint=REMEDY)
    return info


def too_large(relative: str, limit: int) -> TooLarge:
    return TooLarge(f"{relative!r} is larger than the {limit} bytes allowed.")


@contextlib.contextmanager
def explained(relative: str) -> Iterator[None]:
    """Convert an ``OSError`` that a student's file can cause; other errors are raised unchanged.

    That another program holds a file is among those others: see
    ``core.files.disk.explained_when_full``.
    """
    try:
        yield
    except FileHeld:
        raise
    except OSError as error:
        explanation = _explanation(error, relative)
        if explanation is None:
            raise
        raise explanation from error


def _explanation(error: OSError, relative: str) -> MograderError | None:
    shown = repr(relative) if relative else "the directory"
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"{shown} does not exist.")
        case errno.ELOOP | errno.EXDEV:
            return InvalidInput(
                f"{shown} leads through a link or another file system.", hint=REMEDY
            )
        case errno.ENOTDIR:
            return InvalidInput(f"A part of {shown} is a link or a file.", hint=REMEDY)
        case errno.ENXIO | errno.ENODEV:
            return InvalidInput(
                f"{shown} is a pipe, a socket or a device, not a file.", hint=REMEDY
            )
        case errno.EISDIR | errno.ENOTEMPTY:
            return InvalidInput(f"{shown} is a directory, not a file.", hint=REMEDY)
        case errno.EACCES | errno.EPERM:
            return InvalidInput(
                f"The hub is not permitted to use {shown}.",
                hint="Give its owner read and write permission again, then try again.",
            )
        case errno.ENAMETOOLONG:
            return InvalidInput(f"The path {shown[:60]} is too long.")
        case errno.ESTALE:  # on a share, after a second attempt
            return Conflict(
                f"{shown} is being replaced at the moment.", hint="Try again in a minute."
            )
        case errno.EAGAIN | errno.ETXTBSY:
            return Conflict(f"{shown} is held by a running program.", hint="Try again in a minute.")
        case _:
            return None
