"""Recording what a session's page saves, before the page learns that it is saved.

marimo answers a save with the notebook's whole text. The relay holds that answer, records the text
as a version of the copy, and only then passes it on. If it cannot be recorded, the page gets an
error instead. Student code controls the server: it can make versions of its own copy only, and
not faster than the limits here allow.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote

from mograder.core.errors import Busy
from mograder.core.names import ItemName, Username
from mograder.core.rate_limit import Rate, RateLimit
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.session import SessionKey
from mograder.store.versions.versions import Origin

SAVE_BYTES = Rate(40 * 2**20, 2 * 2**20)
SAVES = Rate(60, 4)
"""The rates at which one session's saves are recorded; an editor saves once a second at most."""

_MOST_WAITING = 32
"""Most saves of one session that wait until they are recorded."""

_CHANGES = re.compile(
    r"""/*api/+(?:
    (?P<text>kernel/+save(?:_app_config)?)
    |(?P<file>files/+(?:update|move|delete|create|copy)|kernel/+(?:copy|rename))
    )/*""",
    re.IGNORECASE | re.VERBOSE,
)


class Change(Enum):
    TEXT = auto()
    """Its answer is the text that was saved."""
    FILE = auto()
    """Its answer says nothing of the text: the file has to be read."""


def change_by(rest: str) -> Change | None:
    """Return how a request to a percent-encoded path may change the notebook's file."""
    found = _CHANGES.fullmatch(unquote(rest) if "%" in rest else rest)
    if found is None:
        return None
    return Change.TEXT if found["text"] else Change.FILE


class SaveTurns:
    """The order of one session's saves: one is recorded at a time, at a bounded rate.

    Mutable state: ``_waiting``, the number of saves that are being recorded or wait for it, and
    ``_next``, the earliest time of the next one by the event loop's clock.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._rate = RateLimit(SAVE_BYTES, SAVES)
        self._waiting = 0
        self._next = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the saves before have been recorded. Raises: :class:`Busy`."""
        if self._waiting >= _MOST_WAITING:
            raise Busy("The notebook is being saved too often.", retry_after=5)
        self._waiting += 1
        try:
            async with self._lock:
                await asyncio.sleep(max(0.0, self._next - asyncio.get_running_loop().time()))
                yield
        finally:
            self._waiting -= 1

    def count(self, size: int) -> None:
        self._next = asyncio.get_running_loop().time() + self._rate.debt(size)


@dataclass(frozen=True, slots=True)
class Save:
    change: Change
    key: SessionKey
    recorder: CopyRecorder
    turns: SaveTurns

    async def record(self, text: bytes | None) -> None:
        """Record the text; with None that of the file. Raises: Busy."""
        user, item = Username(self.key.user), ItemName(self.key.item)
        self.turns.count(len(text or b""))
        if text is not None:
            await asyncio.to_thread(self.recorder.saved, user, item, text)
        elif self.change is Change.TEXT:
            await asyncio.to_thread(self.recorder.found, user, item, Origin.EDITOR)
        else:
            await asyncio.to_thread(self.recorder.found, user, item)
