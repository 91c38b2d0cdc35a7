"""Walking a directory tree that students control, by descriptors, without following links."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
Walked = tuple[Path, list[str], list[str], int]


def walk(
    place: Path, parent: int | None, unread: Callable[[Path, OSError], None]
) -> Iterator[Walked]:
    """Yield each directory from the top with the names in it, as ``os.fwalk`` does.

    ``parent`` is the descriptor of the directory above, None at the top. Errors in opening or
    listing a directory are passed to ``unread``; the names listed before an error are still
    yielded. A link to a directory counts as a file.
    """
    name = str(place) if parent is None else place.name
    try:
        descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    except OSError as error:
        unread(place, error)
        return
    try:
        directories, files, failure = _names_in(descriptor)
        if failure is not None:
            unread(place, failure)
        yield place, directories, files, descriptor
        for inside in directories:
            yield from walk(place / inside, descriptor, unread)
    finally:
        os.close(descriptor)


def _names_in(descriptor: int) -> tuple[list[str], list[str], OSError | None]:
    """Return the names of directories, all other names, and the error that ended the listing."""
    directories: list[str] = []
    files: list[str] = []
    failure = None
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                kind = directories if entry.is_dir(follow_symlinks=False) else files
                kind.append(entry.name)
    except OSError as error:
        failure = error
    return sorted(directories), sorted(files), failure
