"""What the supervisor itself and its helpers use: zygotes, yards and monitors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from mograder.sandbox.processes import PAGE, share_of
from mograder.sandbox.sandboxed import children_of

_LARGE = 8 << 20
"""Below this, what a process has of its own is near enough."""

_MOST_PROCESSES = 10_000


def helpers_memory(sessions: Collection[int]) -> int:
    """Return the bytes of this process and what it started, without these processes."""
    waiting, total = [os.getpid()], 0
    for _ in range(_MOST_PROCESSES):
        if not waiting:
            break
        pid = waiting.pop()
        if pid not in sessions:
            total += _memory_of(pid)
            waiting += children_of(pid)
    return total


def _memory_of(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        words = Path(f"/proc/{pid}/statm").read_text().split()
        resident, shared = int(words[1]) * PAGE, int(words[2]) * PAGE
        if resident <= _LARGE:
            return max(0, resident - shared)
        share = share_of(pid)
        return share.private + share.shared
    return 0
