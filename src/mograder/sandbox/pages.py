"""Large pages for the memory of a process that forks often: a fork copies a table of all pages.

A child copies a page of 4 KiB before it writes to it, as ever; what it does not touch costs
nothing to hand over. Runs in the supervisor and beside ``zygote.py``, and stands alone.
"""

from __future__ import annotations

import ctypes
import pathlib

_LARGE = 2 << 20
_MADV_COLLAPSE = 25
"""Since Linux 6.1; an older kernel refuses, and forks cost what they did."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def enlarge() -> int:
    """Put this process's own memory into large pages; returns the bytes that are in some now."""
    done = 0
    for start, end in _own_memory():
        for place in range(-(-start // _LARGE) * _LARGE, end - _LARGE + 1, _LARGE):
            done += _LARGE * (_libc.madvise(place, _LARGE, _MADV_COLLAPSE) == 0)
    return done


def _own_memory() -> list[tuple[int, int]]:
    """The writable areas without a file."""
    found = []
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        area, rights, _, _, inode, *name = line.split()
        if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            start, _, end = area.partition("-")
            found.append((int(start, 16), int(end, 16)))
    return found
