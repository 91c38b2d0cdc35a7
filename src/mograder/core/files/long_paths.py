r"""Paths of more than 260 characters, which Windows reaches only by its form ``\\?\C:\...``.

The form is used for the calls only: people and records see the path as it is.
"""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from mograder.core.system import SYSTEM

_LONGEST = 200
"""Characters of a path that needs no other form: below the limit of directories, 248, with room
for a temporary file's longer name."""

_EXTENDED = "\\\\?\\"
_SHARE = "\\\\?\\UNC\\"


def reachable(path: Path, *, whole_tree: bool = False) -> Path:
    """Return the path of the same file for a call of the system, however long it is.

    With ``whole_tree`` so that those of all files below it are reached too.
    """
    if SYSTEM != "windows":
        return path
    # The system does not resolve "." and ".." in the extended form.
    absolute = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
    return Path(extended(absolute, longest=0 if whole_tree else _LONGEST))


def shown(path: str) -> str:
    """Return a path for people: without the prefix of the extended form."""
    if path.startswith(_SHARE):
        return "\\\\" + path.removeprefix(_SHARE)
    return path.removeprefix(_EXTENDED)


def extended(path: str, *, longest: int = _LONGEST) -> str:
    r"""Return an absolute Windows path with the prefix ``\\?\`` if it has more characters; pure."""
    pure = PureWindowsPath(path)
    if len(path) <= longest or path.startswith(_EXTENDED) or not pure.is_absolute():
        return path
    text = str(pure)
    return _SHARE + text[2:] if text.startswith("\\\\") else _EXTENDED + text
