"""Atomic creation and replacement of files and directories, and safe removal of directory trees.

A new file gets its name when it is complete, so that a crash leaves no partial file. Where the file
system supports it (``O_TMPFILE``), the directory does not change before that. Elsewhere the file is
written under a random hidden name. ``store.filesystem.untrusted_dir`` opens files in directories
that students control.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mograder.core.errors import Conflict
from mograder.core.files import open_flags
from mograder.core.files.disk import (
    DISK,
    UNSUPPORTED,
    Disk,
    Place,
    closing_fd,
    explained_when_full,
    set_mode_at,
    write_file,
)
from mograder.core.files.windows_files import FileHeld, reachable, unlink, when_free
from mograder.core.log import get_logger
from mograder.core.names import nfc
from mograder.core.operating_system import SYSTEM

PARKED = ".replaced-"
"""The prefix that :func:`exchange_or_rename` gives to an old directory it could not exchange."""

_JUNCTION = 0xA000_0003
_TRIES = 16
_HELD = ".nfs"
_HELD_SECONDS = 0.07
_DIRECTORY = os.O_RDONLY | open_flags.DIRECTORY | open_flags.CLOEXEC

_NO_UNNAMED = UNSUPPORTED | {errno.EISDIR, errno.ENOENT}
"""The errors of kernels and file systems without unnamed files."""

_log = get_logger(__name__)


def atomic_write(path: Path, data: bytes, mode: int = 0o644, *, disk: Disk = DISK) -> None:
    """Replace a file: readers see the old or the new, also after a crash. Raises: Busy (full)."""
    with explained_when_full():
        write_file(path, data, mode, disk=disk)


Naming = Callable[[str, int], None]
"""Gives a file a name in its directory, which is open. Raises: ``FileExistsError``."""


@contextlib.contextmanager
def written(directory: Path, data: bytes, disk: Disk) -> Iterator[Naming]:
    """Write ``data``, synced, to a file in ``directory``; yield what gives it its name."""
    fd, temporary = _opened(directory, disk)

    def place(name: str, at: int) -> None:
        if temporary is None:
            disk.name(fd, Place(name, at))
        else:
            disk.place(Place(temporary.name, at), Place(name, at))

    try:
        disk.write(fd, data)
        disk.fsync(fd)
        yield place
    finally:
        os.close(fd)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def entry_named(directory: Path, name: str) -> Path:
    """Return the path of a directory's entry, comparing names in Unicode form NFC.

    macOS and some archives store ``ü`` as ``u`` and a combining mark. Without such an entry, return
    ``directory / name``.
    """
    path = directory / name
    if name.isascii() or path.exists() or not directory.is_dir():
        return path
    alike = (each for each in directory.iterdir() if nfc(each.name) == nfc(name))
    return next(alike, path)


def exchange_or_rename(staged: Path, target: Path, *, disk: Disk = DISK) -> Path | None:
    """Move ``staged`` to ``target``; return the path of the old one, None if there was none.

    With ``RENAME_EXCHANGE`` ``target`` exists at every moment. Where the file system lacks it
    (some network and FUSE ones), the old one is first renamed to ``.replaced-<name>`` beside
    ``staged``; after a crash between the two renames the caller must rename it back. Both must be
    on one file system, and the contents of ``staged`` must be synced already.
    """
    for _ in range(_TRIES):
        try:
            disk.exchange(Place.of(staged), Place.of(target))
            old: Path | None = staged
        except FileNotFoundError:
            try:
                disk.place(Place.of(staged), Place.of(target))
            except FileExistsError:
                continue  # Another process has made one in between: exchange with that one.
            old = None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            old = _park_and_rename(staged, target, disk)
        disk.fsync_directory(target.parent)
        disk.fsync_directory(staged.parent)
        return old
    raise Conflict(f"{target.name!r} is being replaced by somebody else.", hint="Try again.")


def remove_tree(path: Path) -> None:
    """Remove a file or a tree that an attacker may control; do nothing if it does not exist.

    No link is followed. Directories are emptied one level at a time and their subdirectories
    moved to the top, so that neither depth nor path length matters; directories without
    permissions get them first.

    On NFS a file that a process of this machine still has open keeps a name ``.nfs…`` until it is
    closed. After a second this leaves a directory with such files, which the log says.

    On Windows and macOS, where the tree is a person's own, files that another program holds open
    stay likewise.

    Raises: :class:`Conflict` when another process keeps adding files to it.
    """
    if SYSTEM != "linux":
        try:
            _remove_own(reachable(path, whole_tree=True))
        except FileHeld as error:
            _log.warning("%s stays: another program has %s open", path, error.filename)
        return
    try:
        parent = os.open(path.parent, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        for _ in range(_TRIES):
            held: set[str] = set()
            if _gone(path.name, parent, held):
                return
            if held:
                time.sleep(_HELD_SECONDS)
        if not held:
            raise Conflict(f"{path.name!r} is still being written to.", hint="Stop its session.")
        _log.warning("%s stays: %d of its files are still open", path, len(held))
    finally:
        os.close(parent)


def _opened(directory: Path, disk: Disk) -> tuple[int, Path | None]:
    if sys.platform == "linux" and disk.has_unnamed():
        try:
            return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600), None
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
    temporary = directory / f".{secrets.token_hex(8)}.tmp"
    return os.open(temporary, open_flags.CREATE, 0o600), temporary


def _remove_own(path: Path) -> None:
    if _is_link(path) or not path.is_dir():
        unlink(path)
        return
    for each in list(path.iterdir()):
        _remove_own(each)
    when_free(path.rmdir, str(path))


def _is_link(path: Path) -> bool:
    """Return whether a path is a link, or a junction, which is Windows' link to a directory."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(info.st_mode) or getattr(info, "st_reparse_tag", 0) == _JUNCTION


def _park_and_rename(staged: Path, target: Path, disk: Disk) -> Path | None:
    parked = staged.with_name(PARKED + target.name)
    try:
        disk.rename(Place.of(target), Place.of(parked))
    except FileNotFoundError:
        disk.place(Place.of(staged), Place.of(target))
        return None
    try:
        disk.rename(Place.of(staged), Place.of(target))
    except OSError:
        disk.rename(Place.of(parked), Place.of(target))
        raise
    # Keep the prefix only while a crash would require renaming it back.
    disk.rename(Place.of(parked), Place.of(staged))
    return staged


def _gone(name: str, parent: int, held: set[str]) -> bool:
    """Try to remove a file or a tree; return False if its contents changed meanwhile.

    Add to ``held`` the names of files that stay while they are open.
    """
    try:
        return _unlinked(name, parent, held) or _emptied(name, parent, held)
    except FileNotFoundError:
        # The missing file may have been an entry of the tree: check whether the tree is gone.
        return name not in _names(parent)


def _emptied(name: str, parent: int, held: set[str]) -> bool:
    """Empty a directory and remove it; return False if an entry was added meanwhile, or is held."""
    staying: set[str] = set()
    with closing_fd(_enter(name, parent)) as top:
        mark = secrets.token_hex(6)
        fresh = (f"{mark}-{number}" for number in itertools.count())
        while names := [each for each in _names(top) if each not in staying]:
            staying.update(entry for entry in names if _stays(entry, top, fresh, held))
    return _removed(name, parent)


def _stays(name: str, top: int, fresh: Iterator[str], held: set[str]) -> bool:
    """Remove an entry, or move what is in it up; return whether files that are open keep it."""
    before = len(held)
    if _unlinked(name, top, held):
        return len(held) > before
    with closing_fd(_enter(name, top)) as inner:
        for entry in _names(inner):
            if not _unlinked(entry, inner, held):
                _permit(entry, inner)
                os.rename(entry, next(fresh), src_dir_fd=inner, dst_dir_fd=top)
    _removed(name, top)
    return len(held) > before


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def _enter(name: str, parent: int) -> int:
    _permit(name, parent)
    return os.open(name, open_flags.READ_DIRECTORY, dir_fd=parent)


def _permit(name: str, parent: int) -> None:
    """Set a directory's mode to 0700 if necessary; by descriptor, so that no link is followed."""
    flags = open_flags.READ_DIRECTORY | open_flags.PATH
    with closing_fd(os.open(name, flags, dir_fd=parent)) as fd:
        if stat.S_IMODE(os.fstat(fd).st_mode) & 0o700 != 0o700:
            set_mode_at(fd, 0o700)


def _unlinked(name: str, parent: int, held: set[str]) -> bool:
    """Unlink an entry, or add it to ``held`` if NFS keeps it; return False for a directory."""
    info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(info.st_mode):
        return False
    try:
        os.unlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno != errno.EBUSY or not name.startswith(_HELD):
            raise
        held.add(name)
    return True


def _removed(name: str, parent: int) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
