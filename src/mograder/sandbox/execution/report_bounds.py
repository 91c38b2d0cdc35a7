"""The bounds of the reports of runs, for the supervisor that reads them and the hub that gets them.

The supervisor of a node is not the hub's, and may send more than it should. So the hub enforces the
same bounds again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ReportBounds:
    """Maximum sizes of a report and of one of its lines, in bytes."""

    report: int = 4 << 20
    line: int = 128 << 10


BOUNDS = ReportBounds()
_WITH_OUTPUTS = ReportBounds(report=13 << 20)
JUDGE_BOUNDS = ReportBounds(report=32 << 20, line=400_000)
"""A judge's line must still fit into a message once it is encoded as JSON."""


def bounds_of(*, outputs: bool) -> ReportBounds:
    """Return the bounds of the report of a notebook's run, which may contain outputs of cells."""
    return _WITH_OUTPUTS if outputs else BOUNDS


class BoundedLines:
    """The lines of a report that a supervisor sends, up to their bounds."""

    def __init__(self, bounds: ReportBounds, prefix: str = "") -> None:
        """Each line that is added begins with ``prefix``, which the bounds do not count."""
        self.overflow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the report or one of its lines was too long; the lines are then discarded."""
        self.lines: list[str] = []
        self._left, self._longest = bounds.report, bounds.line
        self._prefix = len(prefix)

    def add(self, line: str) -> None:
        """Add a line, unless there were too many."""
        if self.overflow.done():
            return
        size = len(line.encode("utf-8", "replace")) - self._prefix
        self._left -= size + 1
        if size > self._longest or self._left < 0:
            self.lines.clear()
            self.overflow.set_result(None)
        else:
            self.lines.append(line)


async def unless_overflow(
    work: Awaitable[_Result], overflow: asyncio.Future[None]
) -> _Result | None:
    """Return the result of a call, or None if its report overflowed, for which it is cancelled.

    The call has ended then, and also if this is cancelled. Raises: as the call.
    """
    task = asyncio.ensure_future(work)
    try:
        either: set[asyncio.Future[Any]] = {task, overflow}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        return None
    result = task.result()
    return None if overflow.done() else result
