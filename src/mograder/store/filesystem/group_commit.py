"""Group commit: work of many threads done in one batch, to share the cost of syncing the disk.

Syncing a directory takes as long for one new name as for a hundred. So threads that arrive while a
batch is being written wait, and the first of them then does the work of all that wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class _Turn(Generic[T]):
    """One thread's work; ``woken`` is locked until its work is done or the thread must lead."""

    __slots__ = ("done", "woken", "work")

    def __init__(self, work: T) -> None:
        self.work = work
        self.done = False
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit(Generic[T]):
    """Passes the work of several threads to ``do`` in batches; calls of ``do`` never overlap.

    Mutable state, guarded by ``_gate``: ``_waiting``, and ``_taken``, whether a thread leads. A
    leader wakes the next leader before the threads whose work is done. With one shared lock each
    thread would have to be scheduled before the next could continue.
    """

    def __init__(self, do: Callable[[Sequence[T]], None]) -> None:
        self._do = do
        self._gate = threading.Lock()
        self._taken = False
        self._waiting: list[_Turn[T]] = []

    def add(self, work: T) -> None:
        """Return when the work is done, by this thread or another.

        ``do`` must record the failure of one piece of work in that piece; an exception that ``do``
        raises reaches only the thread that called it.
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
