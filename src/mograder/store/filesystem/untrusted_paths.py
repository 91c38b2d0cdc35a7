"""Paths below a directory that students control: checking them, opening them, and their errors.

For ``store.filesystem.untrusted_dir`` and ``own_dir`` only. No link or mount in a path leads out of
the directory: it is opened by ``openat2`` where the kernel has it and no seccomp filter forbids it,
else component by component.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import struct
from collections.abc import Iterator
from enum import Enum

from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound, TooLarge
from mograder.core.files import open_flags
from mograder.core.files.disk import libc
from mograder.core.files.windows_files import FileHeld
from mograder.core.system import SYSTEM

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
_PASSED = open_flags.PATH | open_flags.DIRECTORY | open_flags.NOFOLLOW | open_flags.CLOEXEC


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


class Resolver(Enum):
    """The way to resolve a path: by ``openat2`` in one call, or one component at a time."""

    KERNEL = "openat2"
    WALK = "walk"


def resolve(resolver: Resolver, base: int, relative: str, flags: int) -> int:
    """Open ``relative`` below the directory ``base`` and return its descriptor.

    ``flags`` are those of ``os.open``.

    Raises: ``OSError``; ``EAGAIN`` when a program holds a lease on the file.
    """
    if resolver is Resolver.KERNEL:
        return _openat2(base, relative, flags | open_flags.CLOEXEC)
    return _walk(base, relative, flags | open_flags.CLOEXEC)


@functools.cache
def best_resolver() -> Resolver:
    """Return ``KERNEL`` if ``openat2`` works and no filter forbids it, else ``WALK``."""
    if SYSTEM != "linux":
        return Resolver.WALK
    root = os.open("/", open_flags.PATH | open_flags.DIRECTORY | open_flags.CLOEXEC)
    try:
        os.close(_openat2(root, ".", open_flags.PATH | open_flags.CLOEXEC))
    except OSError:
        return Resolver.WALK
    finally:
        os.close(root)
    return Resolver.KERNEL


def _openat2(base: int, relative: str, flags: int) -> int:
    how = struct.pack("QQQ", flags, 0, _RESOLVE)
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


def _walk(base: int, relative: str, flags: int) -> int:
    """Open component by component; detect a mount by its device number."""
    *parents, last = relative.split("/")
    device = os.fstat(base).st_dev
    current = os.dup(base)
    try:
        for part in parents:
            following = os.open(part, _PASSED, dir_fd=current)
            os.close(current)
            current = following
            if os.fstat(current).st_dev != device:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), relative)
        return os.open(last, flags | open_flags.NOFOLLOW, dir_fd=current)
    finally:
        os.close(current)


def check_regular(fd: int, relative: str) -> os.stat_result:
    """Return an open file's status. Raises: :class:`InvalidInput` if it is not a regular file."""
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        kind = next((words for test, words in _KINDS if test(info.st_mode)), "a device")
        raise InvalidInput(f"{relative!r} is {kind}, not a file.", hint=REMEDY)
    return info


def check_sole(info: os.stat_result, relative: str) -> None:
    """Raise :class:`InvalidInput` for a file with several hard links."""
    if info.st_nlink != 1:
        raise InvalidInput(f"{relative!r} is a hard link, not a file of its own.", hint=REMEDY)


def too_large(relative: str, limit: int) -> TooLarge:
    """Return the error for a file of more than ``limit`` bytes."""
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
