"""Finding a student's notebook that has another name than the item's.

A student may rename it in the editor's file browser or by code. The hub finds notebooks by name, so
without a search it would treat such a folder as one without work and copy the release into it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from mograder.core.errors import MograderError, NotFound
from mograder.core.names import ItemName, Username
from mograder.notebook.likeness import is_rather, names_item
from mograder.store.copies.earlier_versions import archive_of
from mograder.store.filesystem.untrusted_dir import FileInfo, UntrustedDir
from mograder.store.releases.published_release import Release

Released = Callable[[ItemName], Release | None]
"""A function that returns an item's release, None if it is not published."""

_HEAD = 1 << 18
"""Bytes of each file that are compared, since a folder may have many large files."""

_DEPTH = 3
_MOST_NAMES = 2_000
_MOST_READ = 40
_SUFFIX = ".py"


class Renamed:
    """A search for renamed notebooks in the directory of all workspaces; thread-safe."""

    def __init__(self, below: UntrustedDir, released: Released) -> None:
        self._below = below
        self._released = released

    def look(self, user: Username, item: ItemName) -> FileInfo | None:
        """Return the inode facts of the notebook with the item's name, else of a renamed one.

        Return None if there is neither.
        """
        found = self._below.look(f"{user}/{item}/{item}{_SUFFIX}")
        if found is None and (renamed := self.find(user, item)):
            found = self._below.look(f"{user}/{item}/{renamed}")
        return found

    def find(self, user: Username, item: ItemName) -> str | None:
        """Return the path, in the item's folder, of a notebook with another name than the item's.

        Return None if the folder has anything with the notebook's regular name, or no file made
        from the item's release. Of several, prefer those that name the assignment in their
        header, then the one that was saved last.
        """
        folder = f"{user}/{item}"
        try:
            self._below.stat(f"{folder}/{item}{_SUFFIX}")
        except NotFound:
            pass
        except MograderError:
            return None
        else:
            return None
        # The path in the item's folder of each file that may be the notebook, by its last change.
        candidates = sorted(self._candidates(folder, item), key=lambda each: -each[1].modified_ns)
        if not candidates:
            return None
        release = self._released(item)
        notebook = None if release is None else _released_text(release, f"{item}{_SUFFIX}")
        found = []
        for path, info in candidates[:_MOST_READ]:
            text = self._head(f"{folder}/{path}")
            named = None if text is None else _names_item(text, path, item, release, notebook)
            if named is not None:
                found.append((named, info.modified_ns, path))
        return max(found)[2] if found else None

    def _candidates(self, folder: str, item: ItemName) -> Iterator[tuple[str, FileInfo]]:
        """Yield the files that may be the notebook, without earlier versions and hidden files."""
        left = _MOST_NAMES
        pending = [("", 0)]
        while pending and left > 0:
            inside, depth = pending.pop(0)
            names = self._names(f"{folder}/{inside}".rstrip("/"), left)
            left -= len(names)
            for name in sorted(names):
                path = f"{inside}/{name}" if inside else name
                info = self._look(f"{folder}/{path}")
                if info is None and depth + 1 < _DEPTH:
                    pending.append((path, depth + 1))
                elif info is not None and _may_be(name, item, info):
                    yield path, info

    def _names(self, directory: str, limit: int) -> list[str]:
        """Return the names in a directory, without hidden ones; empty if it is not a directory."""
        try:
            names = self._below.names(directory, limit)
        except MograderError:
            return []
        return [name for name in names if not name.startswith((".", "__"))]

    def _look(self, path: str) -> FileInfo | None:
        try:
            return self._below.stat(path)
        except MograderError:
            return None

    def _head(self, path: str) -> str | None:
        try:
            fd = self._below.open(path)
        except MograderError:
            return None
        try:
            return os.pread(fd, _HEAD, 0).decode("utf-8", "replace")
        except OSError:
            return None
        finally:
            os.close(fd)


def printable(path: str) -> str:
    """Return a path as valid printable text: a student's file name may contain any bytes."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _may_be(name: str, item: ItemName, info: FileInfo) -> bool:
    if archive_of(name, item, info) is not None:
        return False
    return name.lower().endswith(_SUFFIX) or name.startswith(item)


def _names_item(
    text: str, path: str, item: ItemName, release: Release | None, notebook: str | None
) -> bool | None:
    found = names_item(text, item, notebook)
    if found is None or release is None or path not in release.files:
        return found
    # A support file may be a notebook itself: check that it is not just that one, edited.
    support = _released_text(release, path)
    return found if is_rather(text, notebook or "", support or "") else None


def _released_text(release: Release, path: str) -> str | None:
    """Return the first ``_HEAD`` bytes of a published file as text; None if it is unreadable."""
    try:
        with (release.directory / path).open("rb") as file:
            return file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return None
