"""Tells whether mograder made a call, itself or through the standard library."""

from __future__ import annotations

import sys
from types import FrameType

_OURS = ("mograder", "platformdirs")
"""Packages that see the other system: ours, and one that decides by it where folders are."""

_PASSED_THROUGH = frozenset(
    {
        *("codecs", "contextlib", "functools", "genericpath", "glob", "io", "json", "linecache"),
        *("ntpath", "os", "pathlib", "posixpath", "shutil", "tempfile", "tokenize", "tomllib"),
        *("weakref", "zipfile", "logging", "hashlib", "concurrent", "threading"),
    }
)
"""Modules of the standard library whose calls count as those of their caller."""

_WRAPPERS = frozenset({"paths_only", "checked"})
"""Functions of the rig that only pass a call of mograder's on."""


def is_ours(module: str) -> bool:
    """Return whether a module is one that sees the other system."""
    return module.partition(".")[0] in _OURS


def called_by_us(depth: int = 2) -> bool:
    """Return whether the call of the function ``depth`` frames above came from our code."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        top = module.partition(".")[0]
        if frame.f_code.co_name not in _WRAPPERS and top not in _PASSED_THROUGH:
            return is_ours(module)
        frame = frame.f_back
    return False
