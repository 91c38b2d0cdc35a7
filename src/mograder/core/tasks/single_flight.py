"""Single-flight: a task that several callers request is run once, with progress for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Progress = Callable[[str], None]
"""A callback for progress messages, worded for the user who waits."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Told:
    """The progress of one task, passed on to all callers that wait for it."""

    def __init__(self) -> None:
        self.listeners: list[Progress] = []
        self.last = ""

    def __call__(self, message: str) -> None:
        self.last = message
        for listener in tuple(self.listeners):
            listener(message)


@dataclass(frozen=True, slots=True)
class _Work(Generic[T]):
    task: asyncio.Future[T]
    told: _Told


class SingleFlight(Generic[K, T]):
    """One task per key; callers that ask for a key while its task runs wait for that task.

    A cancelled caller does not stop the task for the others. The owner calls :meth:`close`, which
    cancels all running tasks.
    """

    def __init__(self) -> None:
        self._works: dict[K, _Work[T]] = {}
        self._running: set[asyncio.Future[T]] = set()
        """All tasks that run, also those that a later task of their key waits for."""

    async def get(
        self, key: K, do: Callable[[Progress], Awaitable[T]], progress: Progress = lambda _: None
    ) -> T:
        """Return the result of ``do`` or raise its exception; join a running task of the key."""
        work = self._works.get(key)
        if work is None:
            work = self._begin(key, do)
        elif work.told.last:
            progress(work.told.last)
        work.told.listeners.append(progress)
        try:
            return await asyncio.shield(work.task)
        finally:
            work.told.listeners.remove(progress)

    def begin(self, key: K, do: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Run ``do`` once the key's running task has ended; return the task that does.

        From now on this is the task of the key. Shield it where a caller awaits it.
        """
        former = self._works.get(key)

        async def in_turn(_: Progress) -> T:
            if former is not None:
                await asyncio.wait({former.task})
            return await do()

        return self._begin(key, in_turn).task

    async def wait(self, key: K) -> None:
        """Wait for the running task of a key, if there is one; raise its exception."""
        work = self._works.get(key)
        if work is not None:
            await asyncio.shield(work.task)

    async def ended(self, key: K, seconds: float) -> None:
        """Wait at most ``seconds`` until a key's task has ended, with or without an exception."""
        work = self._works.get(key)
        if work is not None:
            await asyncio.wait({work.task}, timeout=seconds)

    def __len__(self) -> int:
        """Return the number of running tasks."""
        return len(self._works)

    def busy(self, key: K) -> bool:
        """Return whether a task is running for this key."""
        return key in self._works

    async def settle(self) -> None:
        """Wait until all running tasks have ended by themselves."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def close(self) -> None:
        """Cancel all running tasks and wait until they have ended."""
        for task in self._running:
            task.cancel()
        await self.settle()

    def _begin(self, key: K, do: Callable[[Progress], Awaitable[T]]) -> _Work[T]:
        told = _Told()
        work = _Work(asyncio.ensure_future(do(told)), told)
        self._works[key] = work
        self._running.add(work.task)
        work.task.add_done_callback(lambda task: self._finish(key, task))
        return work

    def _finish(self, key: K, task: asyncio.Future[T]) -> None:
        """Remove a task that has ended, also one that was cancelled before it began."""
        self._running.discard(task)
        work = self._works.get(key)
        if work is not None and work.task is task:
            del self._works[key]
        if not task.cancelled():
            # Mark the exception as retrieved: without waiting callers it is ignored.
            task.exception()
