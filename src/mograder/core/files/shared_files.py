"""Files on a network file system, which other machines change too.

The kernel remembers statuses and names there for up to a minute: a name that was missing, and which
file a name led to, also when that file was replaced since and still exists on the server. Opening a
directory makes the kernel look the names in it up again, opening a file asks for its status
(docs/explanation/files-on-a-share.md, measured with NFS 4.2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mograder.core.files.disk import DISK, Disk, mount_of
from mograder.core.operating_system import is_root

_Result = TypeVar("_Result")
_AGAIN_SECONDS = 1.0
_STALE = frozenset({errno.ESTALE, errno.EIO})
"""The errors of a file that was open while another machine removed or replaced it."""


class SharedFile:
    """The status of one file or directory, at most a second old where other machines change it."""

    def __init__(self, path: Path, *, disk: Disk = DISK) -> None:
        self._path = path
        self._name = os.fspath(path)
        self._disk = disk
        self._shared: bool | None = None
        self._asked = -_AGAIN_SECONDS

    def status(self, *, now: bool = False) -> os.stat_result:
        """Return the status, as ``os.stat``; with ``now`` not even a second old."""
        if self._shared is None:
            self._shared = self._is_shared()
        if self._shared and (now or time.monotonic() - self._asked >= _AGAIN_SECONDS):
            self._ask()
        return os.stat(self._name)  # noqa: PTH116 - called for every request; Path.stat is slower

    def _is_shared(self) -> bool | None:
        """Return whether other machines change it; None while its directory does not exist."""
        try:
            # The target of a link, since that is the file that is replaced.
            return self._disk.is_shared(Path(os.path.realpath(self._name)).parent)
        except OSError:
            return None

    def _ask(self) -> None:
        """Ask which file has the name now, then for that file's status."""
        self._asked = time.monotonic()
        directory = Path(os.path.realpath(self._name)).parent
        for each in (directory, self._path):
            with contextlib.suppress(OSError):
                self._disk.look_again(each)


def look_for(directory: Path, disk: Disk = DISK) -> None:
    """Ask the server of a share for a directory's names, and before for those above it.

    The one above tells which directory has the name now; more are asked for as far as they are
    missing. Do nothing on a local disk. The directory may still not exist afterwards.
    """
    asked = [directory]
    while not asked[-1].is_dir() and asked[-1] != asked[-1].parent:
        asked.append(asked[-1].parent)
    with contextlib.suppress(OSError):
        if disk.is_shared(asked[-1]):
            if disk.is_shared(above := asked[-1].parent):
                asked.append(above)
            for each in reversed(asked):
                disk.look_again(each)


def again_if_stale(read: Callable[[], _Result]) -> _Result:
    """Return what a function returns that opens and reads a file; call it twice at most.

    The second call is for a file that another machine replaced while it was open here.
    """
    try:
        return read()
    except OSError as error:
        if error.errno not in _STALE:
            raise
        return read()


def refuses_root(directory: Path) -> bool:
    """Return whether a share treats root as a stranger, as NFS does with ``root_squash``.

    False for other users, for local file systems, and for a directory that nobody can write to: it
    does not exist, or is mounted read-only.
    """
    mount = mount_of(directory) if is_root() else None
    if mount is None or not mount.network:
        return False
    try:
        with tempfile.NamedTemporaryFile(prefix=".mograder-check-", dir=directory) as file:
            return os.fstat(file.fileno()).st_uid != 0
    except PermissionError:
        return True
    except OSError:
        return False
