"""Short slices of a processor: whoever wakes up waits less for those who compute.

Since Linux 6.12 a process may say how long its turns are. The sum of its turns stays the same, and
so does everybody's share. On a busy processor a start is some dozen wakings, each of which would
else wait for the rest of a turn of a few ms. Runs in the hub, the supervisor and beside
``zygote.py``, and stands alone.
"""

from __future__ import annotations

import ctypes
import platform
import struct

SLICE = 100_000
"""Nanoseconds, the shortest there is. What is forked inherits it; an older kernel heeds no wish."""

_NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275)}
_ATTR = struct.Struct("=IIQiIQQQ")  # struct sched_attr: size, policy, flags, nice, priority, …
_NORMAL = 0

_libc = ctypes.CDLL(None, use_errno=True)


def shorten() -> bool:
    """Make this thread's slices short; false where that cannot be said."""
    set_number, _ = _NUMBERS.get(platform.machine(), (0, 0))
    known = _read(0)
    if known is None or known[1] != _NORMAL:
        return False
    size, policy, flags, nice, priority, _, deadline, period = known
    wish = _ATTR.pack(size, policy, flags, nice, priority, SLICE, deadline, period)
    return bool(_libc.syscall(set_number, 0, wish, 0) == 0)


def slice_of(pid: int) -> int:
    """Nanoseconds of a process's slice; 0 where the kernel does not tell."""
    known = _read(pid)
    return known[5] if known is not None else 0


def _read(pid: int) -> tuple[int, int, int, int, int, int, int, int] | None:
    _, get_number = _NUMBERS.get(platform.machine(), (0, 0))
    room = ctypes.create_string_buffer(_ATTR.size)
    if not get_number or _libc.syscall(get_number, pid, room, _ATTR.size, 0) != 0:
        return None
    size, policy, flags, nice, priority, runtime, deadline, period = _ATTR.unpack(room.raw)
    return size, policy, flags, nice, priority, runtime, deadline, period
