"""Reports on an assignment that may take seconds: made once, and kept until their data changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

_PATIENCE_SECONDS = 1.0
_KEPT = 16
T = TypeVar("T")


class Reports:
    """The reports that are made, or were made last.

    Mutable state: ``_made``, by name, each with what it was made from.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, tuple[Hashable, asyncio.Task[Any]]] = OrderedDict()

    async def get(
        self, name: Hashable, stamp: Hashable, make: Callable[[], Awaitable[T]]
    ) -> T | None:
        """Return a report, or None while it is being made for more than a second.

        Another ``stamp`` than that of the kept report means that its data has changed.

        Raises: what ``make`` raises; the next call tries again.
        """
        found = self._made.get(name)
        if found is None or (found[1].done() and (found[0] != stamp or _failed(found[1]))):
            found = stamp, asyncio.ensure_future(_awaited(make))
            self._made[name] = found
        self._made.move_to_end(name)
        while len(self._made) > _KEPT and next(iter(self._made.values()))[1].done():
            self._made.popitem(last=False)
        done, _ = await asyncio.wait([found[1]], timeout=_PATIENCE_SECONDS)
        if not done:
            return None
        result: T = found[1].result()
        return result


def stamp_of(paths: Iterable[Path]) -> Hashable:
    """Return a value that changes with these files, and the files of these directories; blocks."""
    return frozenset(state for path in paths for state in _states(path))


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    with contextlib.suppress(OSError):
        found = list(os.scandir(path)) if path.is_dir() else [path]
        for each in found:
            status = each.stat(follow_symlinks=False)
            yield os.fspath(each), status.st_mtime_ns, status.st_size


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
