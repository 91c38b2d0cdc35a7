"""Files that a check passes to an answer by their paths, such as one that it has just written.

Judge and worker have no directory in common. What an argument names in the judge's directory for
temporary files is made at the worker's end before a call; what the call has made of it is made at
the judge's end afterwards, if the author's solution changes it, too (``grading_contract.Use``).
Contents are bytes, and are given to nothing but the check.

The content of a path is None for nothing, bytes for a file, and a dictionary of contents by their
names for a directory. Links are not followed, and count as nothing.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import tempfile
from typing import Any

_MOST_BYTES = 4 << 20
_MOST_ENTRIES = 200
_DEPTH = 10
_NAME, _PATH = 255, 4096
_PATHS = frozenset((str, *(type(each()) for each in (pathlib.Path, pathlib.PurePath))))


def _count(sizes: list[int], size: int, depth: int) -> None:
    """Add an entry to ``sizes``. Raises ``ValueError`` if that is too much, or too deep."""
    sizes.append(size)
    if sum(sizes) > _MOST_BYTES or len(sizes) > _MOST_ENTRIES or depth > _DEPTH:
        raise ValueError(f"files of more than {_MOST_BYTES >> 20} MB, or too many")


def named(value: object) -> str | None:
    """Return the path that an argument names in the directory for temporary files, else None."""
    if type(value) not in _PATHS:
        return None
    text, top = str(value), tempfile.gettempdir()
    if not text.startswith(f"{top}/") or "\0" in text or len(text) > _PATH:
        return None
    path = os.path.normpath(text)
    return path if path.startswith(f"{top}/") else None


def content(path: str) -> Any:
    """Return the content of a path. Raises ``ValueError`` if it is too large, and ``OSError``."""
    return _content(pathlib.Path(path), [], 0)


def _content(path: pathlib.Path, sizes: list[int], depth: int) -> Any:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(found.st_mode):
        _count(sizes, 0, depth)
        parts = {each.name: _content(each, sizes, depth + 1) for each in sorted(path.iterdir())}
        return {name: each for name, each in parts.items() if each is not None}
    if not stat.S_ISREG(found.st_mode):
        return None
    _count(sizes, found.st_size, depth)
    with path.open("rb") as file:
        return file.read(found.st_size)


def check(told: object) -> None:
    """Raise ``ValueError`` unless ``told`` is the content of a path within the limits."""
    _check(told, [], 0)


def _check(told: object, sizes: list[int], depth: int) -> None:
    _count(sizes, len(told) if type(told) is bytes else 0, depth)
    if type(told) is dict:
        for name, each in told.items():
            if type(name) is not str or not 0 < len(os.fsencode(name)) <= _NAME:
                raise ValueError("not the name of a file")
            if name in (".", "..") or "/" in name or "\0" in name or each is None:
                raise ValueError("not the name of a file")
            _check(each, sizes, depth + 1)
    elif told is not None and type(told) is not bytes:
        raise ValueError("not the content of a path")


def make(place: str | pathlib.Path, told: Any) -> None:
    """Give a path its content, and what is above it the directories that it needs."""
    path = pathlib.Path(place)
    if type(told) is dict:
        if path.is_symlink() or not path.is_dir():
            _remove(path)
            path.mkdir(parents=True)
        for each in path.iterdir():
            if each.name not in told:
                _remove(each)
        for name, each in told.items():
            make(path / name, each)
        return
    _remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if told is not None:
        path.write_bytes(told)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
