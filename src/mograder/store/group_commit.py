"""Work of many threads that is done for all of them at once, since a disk makes each wait.

To sync a directory for one new name takes as long as for a hundred. So whoever comes while a
batch is being written waits, and the first of them then does the work of all who wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class _Turn(Generic[T]):
    """One thread's work; ``woken`` is held until its thread has something to do."""

    __slots__ = ("done", "woken", "work")

    def __init__(self, work: T) -> None:
        self.work = work
        self.done = False
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit(Generic[T]):
    """Does what several threads want in batches; ``do`` is never called by two at once.

    Mutable state, guarded by ``_gate``: ``_waiting``, and ``_taken``, whether somebody leads. Who
    has led names the next leader before it wakes those whose work is done: would they queue for
    a lock, each had to wait for the processor of all before it.
    """

    def __init__(self, do: Callable[[Sequence[T]], None]) -> None:
        self._do = do
        self._gate = threading.Lock()
        self._taken = False
        self._waiting: list[_Turn[T]] = []

    def add(self, work: T) -> None:
        """Return when the work was done, by this thread or another.

        What fails for one piece of work is for ``do`` to note in it; what ``do`` raises itself
        reaches only the thread in which it happens.
        """
        turn = _Turn(work)
        with self._gate:
            self._waiting.append(turn)
            leads = not self._taken
            self._taken = True
        if not leads:
            turn.woken.acquire()
            if turn.done:
                return
        self._lead()

    def _lead(self) -> None:
        with self._gate:
            batch, self._waiting = self._waiting, []
        try:
            self._do([each.work for each in batch])
        finally:
            for each in batch:
                each.done = True
            with self._gate:
                self._taken = bool(self._waiting)
                following = self._waiting[0] if self._waiting else None
            if following is not None:
                following.woken.release()
            for each in batch:
                each.woken.release()
