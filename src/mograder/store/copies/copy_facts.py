"""Facts about students' copies for lists: which exist, when each was saved, whether submitted.

Only inodes are read, not contents, in a directory that students control
(``store.filesystem.untrusted_dir``); students can set every file time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.store.filesystem.untrusted_dir import FileInfo, UntrustedDir, moment_of

_MOST_PEOPLE = 20_000
_MOST_ITEMS = 200


class CopyState(StrEnum):
    """The state of a copy, in the words of the page (compatibility-0.3.16.md 2.4)."""

    DOWNLOADED = "downloaded"
    EDITED = "edited"
    EXPORTED = "exported"
    SUBMITTED = "submitted"


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """One copy: ``size`` in bytes; ``validated`` is the time of its last validation report.

    ``saved`` is the time at which it was made while nobody has edited it: its file has that of the
    release.
    """

    item: ItemName
    state: CopyState
    saved: datetime
    size: int
    validated: datetime | None
    submitted: datetime | None


class CopyListing:
    """A listing of the copies below one directory; thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._below = UntrustedDir(self._root)

    def people(self) -> tuple[Username, ...]:
        """Return the names of all users who have a folder, sorted; other names are skipped."""
        try:
            names = [path.name for path in self._root.iterdir() if path.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        found = (_person(name) for name in names[:_MOST_PEOPLE])
        return tuple(sorted(name for name in found if name is not None))

    def of(self, user: Username) -> tuple[CopyFacts, ...]:
        """Return the copies of one user, sorted by item."""
        try:
            names = self._below.names(user, _MOST_ITEMS)
        except (NotFound, InvalidInput):
            return ()
        found = (self.facts(user, item) for item in map(ItemName.valid, names) if item is not None)
        return tuple(sorted((each for each in found if each), key=lambda each: each.item))

    def facts(self, user: Username, item: ItemName) -> CopyFacts | None:
        """Return one copy; None without a notebook that is a regular file."""
        notebook = self._look(user, item, f"{item}.py")
        if notebook is None:
            return None
        submitted = self._look(user, item, ".submitted")
        report = self._look(user, item, f"{item}.html")
        uploaded = self._look(user, item, ".uploaded")
        return CopyFacts(
            item=item,
            state=self._state(user, item, notebook, submitted, uploaded),
            saved=moment_of(_changed(notebook, uploaded)),
            size=notebook.size,
            validated=report.modified if report else None,
            submitted=submitted.modified if submitted else None,
        )

    def _state(
        self,
        user: Username,
        item: ItemName,
        notebook: FileInfo,
        submitted: FileInfo | None,
        uploaded: FileInfo | None,
    ) -> CopyState:
        if submitted is not None and submitted.modified_ns >= _changed(notebook, uploaded):
            return CopyState.SUBMITTED
        exported = self._look(user, item, ".exported")
        if exported is not None and exported.modified_ns >= notebook.modified_ns:
            return CopyState.EXPORTED
        if uploaded is not None and notebook.modified_ns > uploaded.modified_ns:
            return CopyState.EDITED
        return CopyState.DOWNLOADED

    def _look(self, user: Username, item: ItemName, name: str) -> FileInfo | None:
        return self._below.look(f"{user}/{item}/{name}")


def _changed(notebook: FileInfo, uploaded: FileInfo | None) -> int:
    """Return when a copy was edited or made; the file of one that was made has its release's time.

    In nanoseconds.
    """
    return max(notebook.modified_ns, uploaded.modified_ns if uploaded else 0)


def _person(name: str) -> Username | None:
    try:
        return Username.of_account(name)
    except InvalidInput:
        return None
