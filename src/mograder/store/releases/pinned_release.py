"""Reading the files of one release through a descriptor of its directory."""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader

from mograder.core.errors import NotFound
from mograder.store.releases.published_release import Release, open_release, release_at, version_at


def open_file(directory: int, path: str) -> BufferedReader:
    """Open a file below a directory for reading; never through a link in its place."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, dir_fd=directory), "rb")


def file_digest(directory: int, path: str) -> str:
    """Return the SHA-256 of a file below a directory, in hex."""
    with open_file(directory, path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pinned(release: Release) -> tuple[int, Release]:
    """Open the release's directory and return the release in it, read again if it was replaced.

    Reading through the descriptor never mixes files of two releases.
    """
    fd = open_release(release.directory)
    if fd is None:
        raise gone(release)
    try:
        if version_at(fd, release.name) == release.version:
            return fd, release
        current = release_at(fd, release.directory, release.name)
        if current is None:
            raise gone(release)
    except BaseException:
        os.close(fd)
        raise
    return fd, current


def gone(release: Release) -> NotFound:
    """Return the error for a release that was removed."""
    return NotFound(f"{release.name} is not published any more.")
