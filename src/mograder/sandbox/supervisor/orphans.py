"""Killing processes left by a supervisor that was killed while a session was starting.

``--die-with-parent`` takes effect only some milliseconds after bubblewrap was started. Only
processes that belong to a session have its listening socket open, whatever their parents are.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from mograder.sandbox.limits.procfs import sockets_of

_INODE, _PATH = 6, 7  # columns of /proc/net/unix


def end_strays(sockets: Path) -> int:
    """Kill every process that has a socket below ``sockets`` open; return their number."""
    inodes = set(_inodes(f"{sockets}/"))
    if not inodes:
        return 0
    return sum(_end(pid, inodes) for pid in _pids())


def _end(pid: int, inodes: set[str]) -> bool:
    """Kill a process if it has one of these sockets open; return whether it had.

    The pidfd is opened before the check: the pid may be reused for another process, but the pidfd
    refers to the process that was checked, or to none.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if inodes.isdisjoint(sockets_of(pid).values()):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        return True
    except OSError:  # it ended meanwhile, or belongs to another user
        return False
    finally:
        os.close(process)


def _inodes(prefix: str) -> Iterator[str]:
    for line in Path("/proc/net/unix").read_text("utf-8", "replace").splitlines():
        columns = line.split(maxsplit=_PATH)
        if len(columns) > _PATH and columns[_PATH].startswith(prefix):
            yield columns[_INODE]


def _pids() -> list[int]:
    own = os.getpid()
    return [
        int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and int(p.name) != own
    ]
