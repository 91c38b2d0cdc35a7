"""The copies of a rehearsal's users, which lie among the students' and are removed afterwards."""

from __future__ import annotations

from pathlib import Path

from mograder.core.names import Username, is_rehearsal
from mograder.store.copies.workspaces import Workspaces
from mograder.store.filesystem.files import remove_tree
from mograder.store.releases.published_release import Release


class RehearsalCopies:
    """The folders of all rehearsals' users below ``root``; every method blocks.

    The code of a notebook has written in them, so nothing in them is followed.
    """

    def __init__(self, root: Path, workspaces: Workspaces) -> None:
        self._root = root.resolve()
        self._workspaces = workspaces

    def make(self, user: Username, release: Release) -> None:
        """Copy a release for a user. Raises: as :meth:`Workspaces.ensure`."""
        self._workspaces.ensure(user, release)

    def remove_all(self) -> int:
        """Remove every folder of a rehearsal's user; return how many there were.

        Raises: :class:`~mograder.core.errors.Conflict` while one is still being written to.
        """
        try:
            found = [path for path in self._root.iterdir() if is_rehearsal(path.name)]
        except FileNotFoundError:
            return 0
        for path in found:
            remove_tree(path)
        return len(found)
