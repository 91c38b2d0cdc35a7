"""The mounted file systems, as the kernel lists them in ``/proc/self/mountinfo``."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_BEFORE_TYPE = 6
"""Fields of a line before those that are optional; ``-`` ends these."""

_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs"),
        *("glusterfs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs"),
        *("smb3", "virtiofs"),
    }
)
"""The types of file systems that other machines change too, which this kernel hears late of."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system.

    ``kind`` is its type, ``source`` what is mounted, ``options`` those of the mount and of the
    file system: ``rw``, ``vers=4.2``.
    """

    point: Path
    kind: str
    source: str
    options: frozenset[str]

    @property
    def network(self) -> bool:
        """Whether other machines may change its files too."""
        return self.kind in _NETWORK

    def option(self, name: str) -> str | None:
        """Return the value of an option ``name=value``; None without it."""
        found = (each.partition("=") for each in self.options)
        return next((value for key, equals, value in found if key == name and equals), None)


def mount_of(path: Path, *, table: Path = _TABLE) -> Mount | None:
    """Return the mount that a path is on, also if it does not exist yet; None if unknown."""
    resolved = path.resolve()
    found = None
    for _, mount in _mounts(table):
        deeper = found is None or len(mount.point.parts) >= len(found.point.parts)
        # Of several at one point the last one covers the others.
        if deeper and resolved.is_relative_to(mount.point):
            found = mount
    return found


@functools.lru_cache(maxsize=256)
def on_network(device: int) -> bool:
    """Return whether a device number (``st_dev``) is that of a network file system."""
    if sys.platform == "linux":
        wanted = f"{os.major(device)}:{os.minor(device)}"
        return any(number == wanted and mount.network for number, mount in _mounts(_TABLE))
    else:  # noqa: RET505 - mypy would call what follows unreachable
        return False


def _mounts(table: Path) -> Iterator[tuple[str, Mount]]:
    """Yield the device number, as ``major:minor``, and the mount of each line."""
    try:
        lines = table.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        words = line.split(" ")
        if "-" not in words[_BEFORE_TYPE:]:
            continue
        after = words[words.index("-", _BEFORE_TYPE) + 1 :]
        options = frozenset({*words[5].split(","), *after[2].split(",")})
        point = Path(_plain(words[4]))
        yield words[2], Mount(point, after[0], _plain(after[1]), options)


def _plain(text: str) -> str:
    """Return a field with its escaped characters, such as ``\\040``, as they are."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
