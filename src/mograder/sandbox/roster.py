"""Tells a meter who comes and goes, in that order, whichever of its threads looks first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from mograder.sandbox.usage import Meter


class Roster:
    """Changes are told on the loop and made in the threads that measure."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._changes: deque[Callable[[], None]] = deque()
        self._grown: set[str] = set()
        self._lock = Lock()

    @property
    def waits(self) -> bool:
        """Whether there are changes that no thread has made yet."""
        return bool(self._changes)

    def add(self, session_id: str, first_pid: int, tmp_bytes: int) -> None:
        """Have a session measured from now on, by the first process of its sandbox."""
        self._changes.append(lambda: self._meter.add(session_id, first_pid, tmp_bytes))

    def remove(self, session_id: str) -> None:
        """Have it measured no more."""
        self._changes.append(lambda: self._meter.remove(session_id))

    def catch_up(self) -> None:
        """In a thread: make the changes, and find the sessions' new processes."""
        with self._lock:
            self._catch_up()

    def take_grown(self) -> set[str]:
        """Catch up; return the sessions in which processes were found since the last call."""
        with self._lock:
            self._catch_up()
            grown, self._grown = self._grown, set()
            return grown

    def _catch_up(self) -> None:
        while self._changes:
            self._changes.popleft()()
        self._grown.update(self._meter.discover())
