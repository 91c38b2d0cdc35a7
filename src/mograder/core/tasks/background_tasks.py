"""Background tasks with an owner, calls that are paced or repeated, and calls in threads.

The event loop refers to tasks weakly, so somebody has to keep them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from mograder.core.errors import MograderError

_log = logging.getLogger(__name__)

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
    return await completed(asyncio.to_thread(call, *args, **kwargs))


async def completed(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``work``; a cancellation takes effect only when it has ended."""
    working = asyncio.create_task(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        if not working.cancelled():
            working.exception()  # read, or asyncio would log that it never was
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


_RETRY_SECONDS = 0.5
_TOLD_EACH = 120
"""Failures from one line in the log to the next: a minute."""


async def retried(
    attempt: Callable[[], Awaitable[T]], trouble: str, *, seconds: float = _RETRY_SECONDS
) -> T:
    """Return the result of an attempt; repeat it every half second until it succeeds.

    The first failure is logged, with ``trouble`` before it, then one each minute, and in the end
    the success. An unexpected error is repeated, too: it must not leave for ever what the attempt
    was to remove.
    """
    failures = 0
    while True:
        try:
            result = await attempt()
        except Exception as error:  # noqa: BLE001 - see above
            if failures % _TOLD_EACH == 0:
                expected = isinstance(error, MograderError)
                again = f" ({failures} failures before)" if failures else ""
                _log.warning("%s: %s%s", trouble, error, again, exc_info=not expected)
            failures += 1
        else:
            if failures:
                _log.info("%s: succeeded after %d failures", trouble, failures)
            return result
        await asyncio.sleep(seconds)
