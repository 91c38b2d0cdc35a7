"""Work that many ask for at once and that is done once, with its progress told to all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Progress = Callable[[str], None]
"""Is told what goes on, in words for the person who waits."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Told:
    """The progress of one piece of work, passed on to all who wait for it."""

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


class Shared(Generic[K, T]):
    """One task per key; whoever asks meanwhile waits for the same one.

    A caller that goes away does not stop the work for the others. :meth:`close` ends what is
    under way; the owner calls it.
    """

    def __init__(self) -> None:
        self._works: dict[K, _Work[T]] = {}

    async def get(
        self, key: K, do: Callable[[Progress], Awaitable[T]], progress: Progress = lambda _: None
    ) -> T:
        """Return what ``do`` returns or raise what it raises; joins the work if it is going on."""
        work = self._works.get(key)
        if work is None:
            told = _Told()
            work = _Work(asyncio.ensure_future(_run(do, told)), told)
            self._works[key] = work
            work.task.add_done_callback(lambda task: self._finish(key, task))
        elif work.told.last:
            progress(work.told.last)
        work.told.listeners.append(progress)
        try:
            return await asyncio.shield(work.task)
        finally:
            work.told.listeners.remove(progress)

    async def wait(self, key: K) -> None:
        """Wait for the work that goes on for this key, if any does; raises what it raises."""
        work = self._works.get(key)
        if work is not None:
            await asyncio.shield(work.task)

    async def ended(self, key: K, seconds: float) -> None:
        """Wait at most so long for the end of this key's work, whatever comes of it."""
        work = self._works.get(key)
        if work is not None:
            await asyncio.wait({work.task}, timeout=seconds)

    def __len__(self) -> int:
        """How much is going on."""
        return len(self._works)

    def busy(self, key: K) -> bool:
        """Tell whether the work for this key is going on."""
        return key in self._works

    async def settle(self) -> None:
        """Wait until all that is under way has ended by itself."""
        await asyncio.gather(*(w.task for w in self._works.values()), return_exceptions=True)

    async def close(self) -> None:
        """Cancel all that is under way and wait until it is gone."""
        tasks = [work.task for work in self._works.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finish(self, key: K, task: asyncio.Future[T]) -> None:
        """Forget the work, also one that was cancelled before it began."""
        del self._works[key]
        if not task.cancelled():
            # Its failure is told to whoever still waits; that nobody does is no failure.
            task.exception()


async def _run(do: Callable[[Progress], Awaitable[T]], told: Progress) -> T:
    return await do(told)
