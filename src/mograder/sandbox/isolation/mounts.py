"""Host paths that bubblewrap can bind, and ownership of those that a sandbox writes to.

bubblewrap resolves the source of a bind mount as the sandbox's own uid. A supervisor that is not
root shares that uid, and paths are used as they are. A supervisor started as root gives each
student another uid, and that uid cannot traverse a 0700 home or a private course directory;
therefore root first binds every source to a path that all uids can reach, in a private mount
namespace that ends with the supervisor.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import stat
from itertools import pairwise
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.files import open_flags
from mograder.core.files.disk import closing_fd
from mograder.sandbox.tree_walk import DEEPEST, walk


def give_to(directory: Path, uid: int) -> None:
    """Make ``uid`` the owner of a tree that will be bound writable.

    A tree whose root already has that owner is left alone. Works on descriptors and follows no
    link, since the tree may hold a student's files (security.md, "The workspace is
    theirs"); a file with several hard links keeps its owner.
    """
    with closing_fd(os.open(directory, open_flags.READ_DIRECTORY)) as top:
        if os.fstat(top).st_uid == uid:
            return
        for each in walk(top, DEEPEST):
            for name in (*each.directories, *each.others):
                _give_entry(name, each.descriptor, uid)
        os.fchown(top, uid, uid)


def _give_entry(name: str, directory: int, uid: int) -> None:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode):
        os.chown(name, uid, uid, dir_fd=directory, follow_symlinks=False)


_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_MOVE, _MS_REC, _MS_SLAVE = 2, 4, 4096, 8192, 16384, 1 << 19
_MNT_DETACH = 2
_EXECUTE_BY_OTHERS = 0o001


class Sources:
    """Turns a host path into a path that a sandbox's uid can bind.

    Here paths stay as they are, for a supervisor whose sandboxes share its uid.
    """

    def shared(self, path: Path) -> Path:
        """Return a path for a source that many sandboxes bind, such as environments."""
        return path

    def own(self, path: Path) -> Path:
        """Return a path for one sandbox's workspace; undo it with :meth:`release`."""
        return path

    def release(self, path: Path) -> None:
        """Undo :meth:`own`."""

    def close(self) -> None:
        """Remove every mount and directory that was made on the host."""


class MountSpace(Sources):
    """Bind mounts in a private mount namespace, for a supervisor that is root, which ends with it.

    ``place`` is a directory on a tmpfs that exists only in this namespace and that every uid can
    reach.
    """

    def __init__(self, candidates: tuple[Path, ...], name: str) -> None:
        """Leave the host's mount namespace; call once, before any thread exists.

        ``candidates`` are the possible parents of ``place``; the first one that every uid can
        traverse is taken. ``name`` identifies the supervisor and is the same at each start, so
        that the next supervisor reuses and removes the directory that a killed one left.
        Raises: :class:`SandboxUnavailable`.
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._numbers = itertools.count()
        self._covered: dict[Path, int] = {}
        self._known: dict[Path, tuple[tuple[int, int], Path]] = {}
        steps = ((each, (each, *each.parents)) for each in candidates if each.is_dir())
        base = next((each for each, way in steps if all(map(_is_passable, way))), None)
        if base is None:
            raise SandboxUnavailable(
                "There is no directory that a sandbox's user can reach.",
                hint="Set [hub] runtime_dir to a directory below /run.",
            )
        self.place = base / f"mograder-mounts-{name}"
        self.place.mkdir(mode=0o711, exist_ok=True)
        status = self.place.lstat()  # anyone may have put something else into /tmp
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise SandboxUnavailable(
                f"{self.place} belongs to somebody else.",
                hint="Remove it, or set [hub] runtime_dir to a directory below /run.",
            )
        self._check(self._libc.unshare(_CLONE_NEWNS), "leave the mount namespace")
        # Slave: later mounts on the host still propagate to us, ours never to the host.
        self._mount("none", "/", None, _MS_REC | _MS_SLAVE)
        self._mount("tmpfs", self.place, "tmpfs", _MS_NOSUID | _MS_NODEV)
        self.place.chmod(0o711)

    def shared(self, path: Path) -> Path:
        path = path.resolve()
        identity = _identity(path)
        known = self._known.get(path)
        if known is not None and known[0] == identity:
            return known[1]
        # Unmount removed sources: a mount would keep an environment's disk space in use.
        for each, (then, target) in tuple(self._known.items()):
            if _identity(each) != then:
                del self._known[each]
                self.release(target)
        target = self.own(path)
        self._known[path] = (identity, target)
        return target

    def own(self, path: Path) -> Path:
        target = self.place / str(next(self._numbers))
        self._bind_at(path, target)
        return target

    def release(self, path: Path) -> None:
        """Unmount a path that :meth:`own` returned; binds of it elsewhere remain."""
        self._check(self._libc.umount2(os.fsencode(path), _MNT_DETACH), f"unmount {path}")
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()

    def open_way(self, path: Path) -> None:
        """Let every uid reach ``path`` in this namespace; no permission on the host changes.

        A private directory on the path is covered by a tmpfs with a bind of each of its entries;
        others may traverse but not list it, and the entries keep their permissions. A path that
        does not exist is left alone.
        """
        steps = (*reversed(path.resolve().parents), path.resolve())
        for ancestor, step in pairwise(steps):
            if ancestor in self._covered:  # the entry may have been made after that
                below = Path(f"/proc/self/fd/{self._covered[ancestor]}") / step.name
                if below.exists() and not step.exists():
                    self._bind_at(below, step)
            elif ancestor.is_dir() and not _is_passable(ancestor):
                self._cover(ancestor)

    def close(self) -> None:
        """Unmount ``place`` with everything below it, and remove the directory."""
        self._check(self._libc.umount2(os.fsencode(self.place), _MNT_DETACH), "unmount")
        self.place.rmdir()

    def _cover(self, directory: Path) -> None:
        self._covered[directory] = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        copy = self.place / str(next(self._numbers))
        copy.mkdir()
        self._mount("tmpfs", copy, "tmpfs", _MS_NOSUID | _MS_NODEV)
        for entry in directory.iterdir():
            if entry.is_symlink():
                (copy / entry.name).symlink_to(entry.readlink())
            elif entry.is_dir() or entry.is_file():
                self._bind_at(entry, copy / entry.name)
        copy.chmod(0o711)
        self._mount(str(copy), directory, None, _MS_MOVE)
        copy.rmdir()

    def _bind_at(self, path: Path, target: Path) -> None:
        """Bind a path, whose last part may not be a link."""
        with closing_fd(os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)) as descriptor:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                target.mkdir(mode=0o755)
            elif stat.S_ISREG(mode):
                target.touch(mode=0o644)
            else:
                raise SandboxUnavailable(f"{path} is neither a directory nor a file.")
            self._mount(f"/proc/self/fd/{descriptor}", target, None, _MS_BIND | _MS_REC)

    def _mount(self, source: str, target: Path | str, kind: str | None, flags: int) -> None:
        result = self._libc.mount(
            source.encode(), os.fsencode(target), kind and kind.encode(), flags, None
        )
        self._check(result, f"mount {source} on {target}")

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            reason = os.strerror(ctypes.get_errno())
            raise SandboxUnavailable(
                f"The supervisor cannot {what}: {reason}.",
                hint="Run it as an ordinary user instead of root; in a container, or give it the "
                "capability CAP_SYS_ADMIN.",
            )


def _identity(path: Path) -> tuple[int, int]:
    """Return what no other file has; (0, 0) for a path that is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _is_passable(directory: Path) -> bool:
    return bool(directory.stat().st_mode & _EXECUTE_BY_OTHERS)
