"""Change of ownership of a directory that a sandbox writes to, by a supervisor that is root."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def give_to(directory: Path, uid: int) -> None:
    """Make ``uid`` the owner of a tree that will be bound writable.

    A tree whose root already has that owner is left alone. Works on descriptors and follows no
    link, since the tree may hold a student's files (security.md, "The workspace is
    theirs"); a file with several hard links keeps its owner.
    """
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(top).st_uid == uid:
            return
        for _, directories, files, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            _give_entries((*directories, *files), descriptor, uid)
        os.fchown(top, uid, uid)
    finally:
        os.close(top)


def _give_entries(names: tuple[str, ...], descriptor: int, uid: int) -> None:
    for name in names:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
