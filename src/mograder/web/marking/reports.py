"""Reports on an assignment that may take seconds: made once, and kept until their data changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from mograder.web.pages import page

_KEPT = 64
T = TypeVar("T")


class Reports:
    """The reports that are made, or were made last.

    ``patience_seconds`` is how long a caller waits for a report that is being made. Mutable state:
    ``_made``, by name, each with the stamp of its data.
    """

    def __init__(self, patience_seconds: float = 1.0) -> None:
        self.patience_seconds = patience_seconds
        self._made: OrderedDict[Hashable, tuple[Hashable, asyncio.Task[Any]]] = OrderedDict()

    async def get(
        self,
        name: Hashable,
        stamp: Hashable,
        make: Callable[[], Awaitable[T]],
        patience_seconds: float | None = None,
    ) -> T | None:
        """Return a report, or None if it is not made within ``patience_seconds``.

        Another ``stamp`` than that of the kept report means that its data has changed.

        Raises: as ``make``; the next call tries again.
        """
        found = self._made.get(name)
        if found is None or (found[1].done() and (found[0] != stamp or _failed(found[1]))):
            found = stamp, asyncio.ensure_future(make())
            self._made[name] = found
        self._made.move_to_end(name)
        while len(self._made) > _KEPT and next(iter(self._made.values()))[1].done():
            self._made.popitem(last=False)
        patience = self.patience_seconds if patience_seconds is None else patience_seconds
        done, _ = await asyncio.wait([found[1]], timeout=patience)
        if not done:
            return None
        result: T = found[1].result()
        return result


def working_page(request: Request, assignment: str, what: str) -> Response:
    """Return the page that is shown while a report ("statistics", "similarity") is being made."""
    return page(
        request, "marking/report_working.html", here="marking", assignment=assignment, what=what
    )


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
