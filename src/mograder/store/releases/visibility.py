"""Visibility of published items to students, and from which time on.

See compatibility-0.3.16.md 2.3, ``.visibility.json``.

An unreadable file hides every item, since an exam that is shown too early cannot be withdrawn.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from mograder.core.errors import Conflict, NotFound
from mograder.core.files.disk import DISK, Disk
from mograder.core.files.shared_files import SharedFile, again_if_stale
from mograder.core.log import get_logger
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.records import locked_directory

_LIMIT = 1024 * 1024
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Visibility:
    """Whether students see an item: now, from a time on, or not at all."""

    hidden: bool = False
    visible_from: AwareDatetime | None = None

    def visible(self, now: datetime) -> bool:
        """Return whether students may see the item at ``now``."""
        return not self.hidden and (self.visible_from is None or self.visible_from <= now)

    def refusal(self, now: datetime) -> NotFound:
        """Return the error for a student's request for a hidden item.

        See compatibility-0.3.16.md 2.3, start-edit-deep.
        """
        if not self.hidden and self.visible_from is not None and self.visible_from > now:
            return NotFound(f"Not available until {self.visible_from:%a %d %b %Y, %H:%M}")
        return NotFound("Not available")


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
        self._file = SharedFile(path, disk=disk)
        self._changing = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._rules: dict[str, Visibility] | None = {}

    def of(self, name: str) -> Visibility:
        """Return the rule of one item; an item without one is visible."""
        rules = self._current()
        return Visibility(hidden=True) if rules is None else rules.get(name, self.usual(name))

    def all(self) -> Mapping[str, Visibility]:
        """Return every rule that is set, by item.

        Raises: :class:`Conflict` when the file cannot be parsed.
        """
        rules = self._current()
        if rules is None:
            raise Conflict(
                f"{self._path.name} cannot be read, so every item is hidden from students.",
                hint="Mend the file, or replace all of its rules at once.",
            )
        usual = {name: Visibility(visible_from=at) for name, at in self._opens().items()}
        return {**usual, **rules}

    def change(
        self, changes: Mapping[str, Visibility], *, replace: bool = False
    ) -> Mapping[str, Visibility]:
        """Set rules, given by item; with ``replace`` remove all others. Return all rules by item.

        Raises: as :meth:`all`, :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._changing, locked_directory(self._path.parent, disk=self._disk):
            self._look_now()
            before = {} if replace else self.all()
            rules = {**before, **changes}
            kept = {name: rule for name, rule in sorted(rules.items()) if rule != self.usual(name)}
            text = json.dumps({name: _words(rule) for name, rule in kept.items()}, indent=2)
            atomic_write(self._path, f"{text}\n".encode(), disk=self._disk)
            return kept

    def usual(self, name: str) -> Visibility:
        """Return the rule of an item that the file does not have."""
        return Visibility(visible_from=self._opens().get(name))

    def _look_now(self) -> None:
        """See what another hub has just written, which holds the same lock while it does."""
        self._seen = None  # an equal stamp does not prove equal rules on a network share
        with contextlib.suppress(FileNotFoundError):
            self._file.status(now=True)

    def _current(self) -> dict[str, Visibility] | None:
        """Return the rules by item; None when the file cannot be parsed."""
        try:
            status = self._file.status()
        except FileNotFoundError:
            self._seen, self._rules = None, {}
            return self._rules
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if stamp != self._seen:
            try:
                self._rules, self._seen = self._load(status.st_size), stamp
            except OSError as error:
                self._log_unreadable(error)
                # Perhaps another machine replaces it: read it again at the next call.
                self._rules, self._seen = None, None
        return self._rules

    def _load(self, size: int) -> dict[str, Visibility] | None:
        if size > _LIMIT:
            _log.error("%s is larger than %d bytes: everything is hidden", self._path.name, _LIMIT)
            return None
        try:
            read = json.loads(again_if_stale(self._path.read_bytes))
            return _FILE.validate_python(read, strict=False)
        except (ValueError, RecursionError, ValidationError) as error:
            self._log_unreadable(error)
            return None

    def _log_unreadable(self, error: Exception) -> None:
        _log.error("%s cannot be read: everything is hidden: %s", self._path.name, error)


def _words(rule: Visibility) -> dict[str, object]:
    """Return a rule as JSON values, as 0.3.16 writes it."""
    words: dict[str, object] = {"hidden": True} if rule.hidden else {}
    if rule.visible_from is not None:
        words["visible_from"] = rule.visible_from.isoformat()
    return words
