"""``msvcrt``, the module of Windows's C library, as far as mograder uses it."""

from __future__ import annotations

import errno
import fcntl
import os

LK_UNLCK, LK_LOCK, LK_NBLCK, LK_RLCK, LK_NBRLCK = range(5)


def locking(fd: int, mode: int, nbytes: int) -> None:
    """Lock ``nbytes`` bytes at the file's position for this descriptor alone, or release them.

    Raises: ``OSError``: ``EACCES`` while another descriptor has the lock.
    """
    if os.lseek(fd, 0, os.SEEK_CUR) + nbytes > 1 << 31:
        raise OSError(errno.EINVAL, "Windows locks no byte behind 2 GiB")
    if os.lseek(fd, 0, os.SEEK_CUR) < os.fstat(fd).st_size:
        raise RuntimeError("other programs could not read the bytes that are locked here")
    if mode == LK_UNLCK:
        fcntl.flock(fd, fcntl.LOCK_UN)
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error


def get_osfhandle(fd: int) -> int:
    return fd


def setmode(fd: int, flags: int) -> int:
    """Set a descriptor to text or binary; return the mode before."""
    del fd
    return flags
