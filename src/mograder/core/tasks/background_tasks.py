"""Background tasks with an owner that keeps them, calls that are paced, and calls in threads.

The event loop refers to tasks weakly, so somebody has to keep them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")


class BackgroundTasks:
    """The tasks of one owner, which closes them at its end; for one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task, and keep it until it has ended."""
        return self.keep(asyncio.get_running_loop().create_task(work))

    def keep(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Keep a task until it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> tuple[asyncio.Task[Any], ...]:
        """Cancel the tasks; return those that have not ended yet."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    async def close(self) -> None:
        """Cancel the tasks, and wait until they have ended."""
        await asyncio.gather(*self.cancel(), return_exceptions=True)

    async def wait(self) -> None:
        """Wait until the tasks have ended. Raises: the first error of one."""
        await asyncio.gather(*self._tasks)


P = ParamSpec("P")


async def to_its_end(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``call`` in a thread; a cancellation takes effect only when it has returned.

    A thread cannot be stopped: it would write the row of a start that was given up meanwhile.
    """
    calling = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        await asyncio.wait({calling})
        if not calling.cancelled():
            calling.exception()  # read, or asyncio would log that it never was
        raise


class Paced:
    """Makes a call when asked to: at once, and at most once in so many seconds.

    What is asked for meanwhile is one call when the time is over, so that the last request is never
    without one. For use on the event loop only; the owner calls :meth:`close`.
    """

    def __init__(self, call: Callable[[], object], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._next = 0.0
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Ask for the call."""
        if self._waiting is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._next:
            self._waiting = loop.call_at(self._next, self.now)
        else:
            self.now()

    def now(self) -> None:
        """Make the call at once, which is also the one that may be waited for."""
        self.close()
        self._next = asyncio.get_running_loop().time() + self._seconds
        self._call()

    def close(self) -> None:
        """Make no call that was asked for before."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
