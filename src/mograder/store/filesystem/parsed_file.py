"""Files that people edit and other machines replace: parsed once, and again when they changed."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from mograder.core.errors import Conflict, MograderError
from mograder.core.files import open_flags
from mograder.core.files.disk import DISK, Disk, SharedFile, again_if_stale
from mograder.core.log import get_logger
from mograder.core.operating_system import SYSTEM
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.records import locked_directory

_T = TypeVar("_T")
_log = get_logger(__name__)

Stamp = tuple[int, int, int, int]
"""Inode, size, and times of change in nanoseconds: another one means another content."""


class UnreadableFileError(Exception):
    """A file cannot be read or parsed; the text is the reason."""


@dataclass(frozen=True, slots=True)
class _Reading(Generic[_T]):
    """The result of reading at a stamp: the content, or the reason why it cannot be used."""

    stamp: Stamp
    content: _T | None
    reason: str = ""


class ParsedFile(Generic[_T]):
    """One file and what was last read of it; thread-safe.

    ``parse`` is given at most ``limit`` bytes. It raises ``ValueError`` or an error of ours for
    content that cannot be used. ``otherwise`` says in the log what such a file means.

    Mutable state: ``_last``, replaced as a whole, and ``_told``, the last reason in the log.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], _T],
        limit: int,
        otherwise: str,
        *,
        disk: Disk = DISK,
    ) -> None:
        self._path = path
        self._parse = parse
        self._limit = limit
        self._otherwise = otherwise
        self._disk = disk
        self._file = SharedFile(path, disk=disk)
        self._changing = threading.Lock()
        self._last: _Reading[_T] | None = None
        self._told = ""

    def get(self, *, now: bool = False, log: bool = True) -> _T | None:
        """Return the content, None without the file.

        With ``now`` the file is read in any case, for a change under a lock: on a share an equal
        stamp does not prove that another machine wrote nothing.

        Raises: :class:`UnreadableFileError`, which is logged once for each reason, unless not
        ``log``.
        """
        try:
            stamp = _stamp(self._file.status(now=now))
            last = self._last
            if last is None or now or last.stamp != stamp:
                last = self._last = again_if_stale(self._read)
        except FileNotFoundError:
            self._last = None
            return None
        except OSError as error:  # perhaps another machine replaces it: the next call reads again
            self._last = None
            raise self._unreadable(error.strerror or str(error), log=log) from error
        if last.reason:
            raise self._unreadable(last.reason, log=log)
        self._told = ""
        return last.content

    def known(self, so: str, hint: str, *, now: bool = True) -> _T | None:
        """Return the content as :meth:`get`, by default for a change.

        Raises: :class:`Conflict` if it cannot be read; ``so`` is the consequence, a clause.
        """
        try:
            return self.get(now=now)
        except UnreadableFileError as error:
            raise Conflict(f"{self._path.name} cannot be read, so {so}.", hint=hint) from error

    @contextmanager
    def alone(self) -> Iterator[Callable[..., None]]:
        """Let nobody else change the file; yield :func:`atomic_write` for it or a link's target."""
        path = self._path.resolve()
        with ExitStack() as held:
            held.enter_context(self._changing)
            if SYSTEM != "windows":  # which opens no directories, and has no hubs
                held.enter_context(locked_directory(path.parent, disk=self._disk))
            yield partial(atomic_write, path, disk=self._disk)

    def stamp(self) -> Stamp | None:
        """Return a value that differs after every change of the file; None without a file."""
        try:
            return _stamp(self._file.status())
        except OSError:
            return None

    def _read(self) -> _Reading[_T]:
        fd = os.open(self._path, os.O_RDONLY | open_flags.NONBLOCK | open_flags.CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            stamp = _stamp(status)
            if not stat.S_ISREG(status.st_mode):
                return _Reading(stamp, None, "it is not a file")
            content = file.read(self._limit + 1)
        if len(content) > self._limit:
            return _Reading(stamp, None, f"it is larger than {self._limit} bytes")
        try:
            return _Reading(stamp, self._parse(content))
        except MograderError as error:
            return _Reading(stamp, None, error.message)
        except (ValueError, RecursionError) as error:
            return _Reading(stamp, None, str(error) or "it is nested too deeply")

    def _unreadable(self, reason: str, *, log: bool) -> UnreadableFileError:
        if log and reason != self._told:
            _log.error("%s cannot be read, so %s: %s", self._path.name, self._otherwise, reason)
            self._told = reason
        return UnreadableFileError(reason)


def _stamp(status: os.stat_result) -> Stamp:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
