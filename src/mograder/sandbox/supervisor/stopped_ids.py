"""The ids of sessions that were stopped, which are not started later.

A hub that takes over the start of another one asks to stop that session first. A call to start it
may still be on its way then, from the other hub, and must find the id here.
"""

from __future__ import annotations

from collections.abc import Callable

from mograder.sandbox.supervisor.lease import boot_time

_KEPT_SECONDS = 600.0
_MOST = 20_000


class StoppedIds:
    """The ids of the last ten minutes, at most 20,000: the oldest are forgotten first."""

    def __init__(self, clock: Callable[[], float] = boot_time) -> None:
        self._clock = clock
        self._stopped: dict[str, float] = {}

    def add(self, session_id: str) -> None:
        """Remember that this id was stopped now."""
        now = self._clock()
        self._stopped.pop(session_id, None)  # the order is that of the times
        self._stopped[session_id] = now
        while len(self._stopped) > _MOST or self._is_old(self._oldest(), now):
            del self._stopped[self._oldest()]

    def __contains__(self, session_id: str) -> bool:
        """Return whether the id was stopped in the last ten minutes."""
        at = self._stopped.get(session_id)
        return at is not None and not self._is_old(session_id, self._clock())

    def _oldest(self) -> str:
        return next(iter(self._stopped))

    def _is_old(self, session_id: str, now: float) -> bool:
        return now - self._stopped[session_id] >= _KEPT_SECONDS
