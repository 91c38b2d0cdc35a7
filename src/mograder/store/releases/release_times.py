"""The times of published items: from when students see each, and for when each is kept warm.

The rules of visibility are in ``.visibility.json`` (compatibility-0.3.16.md 2.3). One that cannot
be read hides every item, since an exam that is shown too early cannot be withdrawn. The times of
warmth are in ``hub-release/.warm.json``, which all hubs of a course share. An item is also warm
before it opens, by its visibility; these are further times, such as lectures on items that students
have seen for long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

from pydantic import AwareDatetime, TypeAdapter

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files.disk import DISK, Disk
from mograder.core.item_dates import Visibility
from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError

_LIMIT = 1024 * 1024
_RULES = TypeAdapter(dict[str, Visibility])
_MOST_TIMES = 2000
_TIMES = TypeAdapter(dict[str, list[AwareDatetime]])

Times = Mapping[str, tuple[datetime, ...]]
"""Times by item, the earliest first."""


class VisibilityRules:
    """Read again when the file changed; ``opens`` returns the times of items without a rule.

    Such items are hidden while ``opens`` raises :class:`Conflict`.
    """

    def __init__(
        self, path: Path, *, opens: Callable[[], Mapping[str, datetime]] = dict, disk: Disk = DISK
    ) -> None:
        self._path = path
        self._opens = opens
        self._file = ParsedFile(path, _rules_in, _LIMIT, "everything is hidden", disk=disk)

    def of(self, name: str) -> Visibility:
        return self.rules()(name)

    def rules(self) -> Callable[[str], Visibility]:
        """Return the function that returns the rule of an item as the files are now."""
        try:
            rules = self._file.get() or {}
        except UnreadableFileError:
            return lambda _: Visibility(hidden=True)
        usual = cache(self._usual_or_hidden)
        return lambda name: rules.get(name) or usual()(name)

    def all(self) -> Mapping[str, Visibility]:
        """Return each rule that is set.

        Raises: Conflict when the file cannot be parsed, and as ``opens``.
        """
        return self._all(now=False)

    def change(
        self,
        changes: Mapping[str, Visibility],
        *,
        replace: bool = False,
        held: Mapping[str, Visibility] = MappingProxyType({}),
    ) -> Mapping[str, Visibility]:
        """Set rules, given by item; with ``replace`` remove all others. Return all rules by item.

        ``held`` are rules from which the changes were made.

        Raises: as :meth:`all`, :class:`Conflict` if one of ``held`` was changed meanwhile,
        :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._file.alone() as write:
            before = {} if replace else self._all(now=True)
            for name, rule in held.items():
                if rule != (before.get(name) or self.usual(name)):
                    raise Conflict(
                        f"{name} was hidden or shown meanwhile, so nothing was changed.",
                        hint="Look at the item, then set its dates again.",
                    )
            rules = {**before, **changes}
            kept = {name: rule for name, rule in sorted(rules.items()) if rule != self.usual(name)}
            text = json.dumps({name: rule.words() for name, rule in kept.items()}, indent=2)
            write(f"{text}\n".encode())
            return kept

    def _usual_or_hidden(self) -> Callable[[str], Visibility]:
        try:
            opens = self._opens()
        except Conflict:
            return lambda _: Visibility(hidden=True)
        return lambda name: Visibility(visible_from=opens.get(name))

    def usual(self, name: str) -> Visibility:
        return Visibility(visible_from=self._opens().get(name))

    def _all(self, *, now: bool) -> Mapping[str, Visibility]:
        hint = "Mend the file, or replace all of its rules at once."
        rules = self._file.known("every item is hidden from students", hint, now=now) or {}
        usual = {name: Visibility(visible_from=at) for name, at in self._opens().items()}
        return {**usual, **rules}


def _rules_in(content: bytes) -> dict[str, Visibility]:
    return _RULES.validate_python(json.loads(content), strict=False)


class WarmTimes:
    """The file at ``path``; thread-safe, and every method blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = ParsedFile(path, _times_in, _LIMIT, "it counts as empty")

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
        hint = "Mend the file, or remove it: no times are set then."
        with self._file.alone() as write:
            known = self._file.known("no time was set or removed", hint) or {}
            before = {name: times for name, times in known.items() if name not in removed}
            kept: dict[str, tuple[datetime, ...]] = {}
            for name in sorted({*before, *added}):
                times = {*before.get(name, ()), *added.get(name, ())}
                if future := tuple(sorted(each for each in times if each >= past)):
                    kept[name] = future
            if sum(map(len, kept.values())) > _MOST_TIMES:
                raise InvalidInput(f"At most {_MOST_TIMES} times can be set.")
            words = {name: [each.isoformat() for each in future] for name, future in kept.items()}
            write(f"{json.dumps(words, indent=2)}\n".encode())
            return kept


def _times_in(content: bytes) -> Times:
    found = _TIMES.validate_python(json.loads(content), strict=False)
    return {name: tuple(sorted(set(times))) for name, times in sorted(found.items())}
