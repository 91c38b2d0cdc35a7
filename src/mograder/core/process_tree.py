"""Processes that are ended together with those that they started.

On Linux and macOS such a process begins a process group, which one signal ends. Windows has no such
groups: there the processes are found by their parents, of which it remembers those that have ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import defaultdict
from typing import TypedDict

if sys.platform == "win32":
    import psutil

_NEW_PROCESS_GROUP = 0x200
_AGE_SECONDS = 60.0
"""A process may have been started this long before its tree is known here."""


class Apart(TypedDict):
    """Arguments of ``subprocess.Popen``."""

    start_new_session: bool
    creationflags: int


def apart() -> Apart:
    """Return the arguments for a process that a :class:`ProcessTree` ends, and Ctrl+C does not."""
    if sys.platform == "win32":
        return {"start_new_session": False, "creationflags": _NEW_PROCESS_GROUP}
    else:  # noqa: RET505 - mypy takes no other form for a choice by system
        return {"start_new_session": True, "creationflags": 0}


class ProcessTree:
    """A process that was started with :func:`apart`, and the processes that it has started."""

    def __init__(self, pid: int) -> None:
        """``pid`` is that of a process just started, which this process has not collected yet."""
        self._pid = pid
        self._begun = time.time()

    def kill(self) -> None:
        """Kill all of them, also after the first one has ended."""
        if sys.platform == "win32":
            _kill_found(self._pid, self._begun - _AGE_SECONDS)
            # Again, since some may have been started while the others were searched.
            _kill_found(self._pid, self._begun - _AGE_SECONDS)
        else:
            # macOS refuses to signal a group of which only ended processes are left.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)


if sys.platform == "win32":

    def _kill_found(pid: int, begun: float) -> None:
        for each in _found(pid, begun):
            with contextlib.suppress(psutil.Error):
                each.kill()

    def _found(pid: int, begun: float) -> list[psutil.Process]:
        """Return a process and its descendants; below one that ended only the first one's."""
        found: list[psutil.Process] = []
        children = defaultdict(list)
        psutil.process_iter.cache_clear()  # it leaves out ids that it has seen at other processes
        for each in psutil.process_iter(["ppid", "create_time"]):
            # An older process may have had a parent whose id was given out again since.
            if (each.info["create_time"] or 0.0) >= begun:
                children[each.info["ppid"]].append(each)
                found += [each] if each.pid == pid else []
        waiting = [pid]
        while waiting:
            own = children.pop(waiting.pop(), [])
            found += own
            waiting += [each.pid for each in own]
        return found
