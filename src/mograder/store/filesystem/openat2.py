"""Opening a path below a directory, so that no link or mount in it leads out of the directory.

For ``store.filesystem.untrusted_dir`` only: by ``openat2`` where the kernel has it and no seccomp
filter forbids it, else component by component.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from enum import Enum

from mograder.core.files import open_flags
from mograder.core.files.disk import libc
from mograder.core.system import SYSTEM

_SYS_OPENAT2 = 437
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_TRIES = 8
_PASSED = open_flags.PATH | open_flags.DIRECTORY | open_flags.NOFOLLOW | open_flags.CLOEXEC


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
