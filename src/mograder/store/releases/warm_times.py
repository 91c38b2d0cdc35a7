"""The times for which items are to be warm, ``hub-release/.warm.json``, shared by all hubs.

An item is also warm before it opens, by its visibility; these are further times, such as lectures
on items that students have seen for long.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter

from mograder.core.errors import Conflict, InvalidInput
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError
from mograder.store.filesystem.records import locked_directory

_LIMIT = 1 << 20
_MOST_TIMES = 2000
_FILE = TypeAdapter(dict[str, list[AwareDatetime]])

Times = Mapping[str, tuple[datetime, ...]]
"""Times by item, the earliest first."""


class WarmTimes:
    """The file at ``path``; thread-safe, and every method blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = ParsedFile(path, _parse, _LIMIT, "it counts as empty")
        self._changing = threading.Lock()

    def all(self) -> Times:
        """Return the times; none if the file cannot be read, which is logged."""
        try:
            return self._file.get() or {}
        except UnreadableFileError:
            return {}

    def add(self, items: Iterable[str], moment: datetime, past: datetime) -> Times:
        """Add a time for items, and remove all times before ``past``; return all times.

        Raises: :class:`InvalidInput` beyond 2000 times, :class:`~mograder.core.errors.Busy` when
        the disk is full, :class:`Conflict` if the file cannot be read.
        """
        return self._change(dict.fromkeys(items, (moment,)), frozenset(), past)

    def remove(self, items: Iterable[str], past: datetime) -> Times:
        """Remove the times of items, and all before ``past``; return those that are left."""
        return self._change({}, frozenset(items), past)

    def _change(self, added: Times, removed: frozenset[str], past: datetime) -> Times:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._changing, locked_directory(self._path.parent):
            try:
                known = self._file.get(now=True) or {}
            except UnreadableFileError as error:
                raise Conflict(
                    f"{self._path.name} cannot be read, so no time was set or removed.",
                    hint="Mend the file, or remove it: no times are set then.",
                ) from error
            before = {name: times for name, times in known.items() if name not in removed}
            times = {
                name: tuple(sorted({*before.get(name, ()), *added.get(name, ())}))
                for name in sorted({*before, *added})
            }
            kept = {
                name: future
                for name, each in times.items()
                if (future := tuple(moment for moment in each if moment >= past))
            }
            if sum(map(len, kept.values())) > _MOST_TIMES:
                raise InvalidInput(f"At most {_MOST_TIMES} times can be set.")
            words = {name: [each.isoformat() for each in times] for name, times in kept.items()}
            atomic_write(self._path, f"{json.dumps(words, indent=2)}\n".encode())
            return kept


def _parse(content: bytes) -> Times:
    found = _FILE.validate_python(json.loads(content), strict=False)
    return {name: tuple(sorted(set(times))) for name, times in sorted(found.items())}
