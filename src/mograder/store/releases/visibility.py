"""Visibility of published items to students, and from which time on.

See compatibility-0.3.16.md 2.3, ``.visibility.json``.

An unreadable file hides every item, since an exam that is shown too early cannot be withdrawn.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from mograder.core.errors import Conflict
from mograder.core.files.disk import DISK, Disk
from mograder.core.item_dates import Visibility
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError
from mograder.store.filesystem.records import locked_directory

_LIMIT = 1024 * 1024


_FILE = TypeAdapter(dict[str, Visibility])


class VisibilityRules:
    """The visibility rules of a course, read again when their file changed.

    ``opens`` returns the times from which items are shown without a rule, by their names.
    """

    def __init__(
        self, path: Path, *, opens: Callable[[], Mapping[str, datetime]] = dict, disk: Disk = DISK
    ) -> None:
        self._path = path
        self._opens = opens
        self._disk = disk
        self._file = ParsedFile(path, _parse, _LIMIT, "everything is hidden", disk=disk)
        self._changing = threading.Lock()

    def of(self, name: str) -> Visibility:
        """Return the rule of one item; an item without one is visible."""
        try:
            rules = self._file.get() or {}
        except UnreadableFileError:
            return Visibility(hidden=True)
        return rules.get(name, self.usual(name))

    def all(self) -> Mapping[str, Visibility]:
        """Return every rule that is set, by item.

        Raises: :class:`Conflict` when the file cannot be parsed.
        """
        return self._all(now=False)

    def change(
        self, changes: Mapping[str, Visibility], *, replace: bool = False
    ) -> Mapping[str, Visibility]:
        """Set rules, given by item; with ``replace`` remove all others. Return all rules by item.

        Raises: as :meth:`all`, :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._changing, locked_directory(self._path.parent, disk=self._disk):
            before = {} if replace else self._all(now=True)
            rules = {**before, **changes}
            kept = {name: rule for name, rule in sorted(rules.items()) if rule != self.usual(name)}
            text = json.dumps({name: rule.words() for name, rule in kept.items()}, indent=2)
            atomic_write(self._path, f"{text}\n".encode(), disk=self._disk)
            return kept

    def usual(self, name: str) -> Visibility:
        """Return the rule of an item that the file does not have."""
        return Visibility(visible_from=self._opens().get(name))

    def _all(self, *, now: bool) -> Mapping[str, Visibility]:
        try:
            rules = self._file.get(now=now) or {}
        except UnreadableFileError as error:
            raise Conflict(
                f"{self._path.name} cannot be read, so every item is hidden from students.",
                hint="Mend the file, or replace all of its rules at once.",
            ) from error
        usual = {name: Visibility(visible_from=at) for name, at in self._opens().items()}
        return {**usual, **rules}


def _parse(content: bytes) -> dict[str, Visibility]:
    return _FILE.validate_python(json.loads(content), strict=False)
