"""Walking a tree of files that a student's code may change at the same time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mograder.core.files import open_flags
from mograder.core.files.disk import closing_fd

DEEPEST = 64
"""Most levels of directories in a workspace; a deeper tree counts as a full one."""

_TOP = Path()


@dataclass(frozen=True, slots=True)
class Listed:
    """A directory of a walk; ``descriptor`` is open until the walk leaves it.

    ``below`` is its path from the top. The names are sorted; a link to a directory is one of
    ``others``. As with ``os.walk``, the walk goes on into those that are left in ``directories``.
    """

    below: Path
    descriptor: int
    directories: list[str]
    others: list[str]


def walk(top: int, deepest: int, below: Path = _TOP) -> Iterator[Listed]:
    """Yield an open directory and those below it, ``deepest`` levels at most, each before its own.

    A directory that cannot be opened is left out; so is one that was removed, or replaced by
    something else, after it was listed. (``os.fwalk`` opens what has the name then, and so waits
    for the writer of a pipe.) ``top`` remains open.

    Raises: ``OSError`` if a directory cannot be listed.
    """
    listed = _listed(top, below)
    yield listed
    if deepest == 0:
        return
    for name in listed.directories:
        try:
            descriptor = os.open(name, open_flags.READ_DIRECTORY, dir_fd=top)
        except OSError:
            continue
        with closing_fd(descriptor):
            yield from walk(descriptor, deepest - 1, below / name)


def _listed(descriptor: int, below: Path) -> Listed:
    directories: list[str] = []
    others: list[str] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(descriptor) as entries:
        for entry in entries:
            names = directories if entry.is_dir(follow_symlinks=False) else others
            names.append(entry.name)
    return Listed(below, descriptor, sorted(directories), sorted(others))
