"""Tasks of an event loop: kept by an owner, paced, repeated, or one at a time for each key.

The event loop refers to tasks weakly, so somebody has to keep them. A repeated job goes on after an
error that it does not expect; a task that several callers ask for is run once, with progress for
all of them. Calls in threads are waited for to their end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, ParamSpec, TypeVar

from mograder.core.errors import MograderError

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
P = ParamSpec("P")

Job = Callable[[], Awaitable[object]]
Progress = Callable[[str], None]

_RETRY_SECONDS = 0.5
_TOLD_SECONDS = 60.0
"""Seconds of pauses from one line in the log to the next."""


class BackgroundTasks:
    """The tasks of one owner, which closes them at its end; for one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task, and keep it until it has ended."""
        return self.keep(asyncio.get_running_loop().create_task(work))

    def keep(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
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
        await asyncio.gather(*self.cancel(), return_exceptions=True)

    async def wait(self) -> None:
        """Wait until the tasks have ended. Raises: the first error of one."""
        await asyncio.gather(*self._tasks)

    async def ended(self, seconds: float) -> None:
        """Wait at most ``seconds`` until the tasks have ended, with or without an error."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


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
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


async def retried(
    attempt: Callable[[], Awaitable[T]], trouble: str, *, longest_seconds: float
) -> T:
    """Return the result of an attempt; repeat it until it succeeds.

    The first pause is half a second, each further one twice as long, at most ``longest_seconds``:
    hundreds of callers may repeat at the same time what a full disk refuses. The first failure is
    logged, with ``trouble`` before it, then one about each minute, and in the end the success. An
    unexpected error is repeated, too: it must not leave for ever what the attempt was to remove.
    """
    failures, silent = 0, _TOLD_SECONDS
    pause = min(_RETRY_SECONDS, longest_seconds)
    while True:
        try:
            result = await attempt()
        except Exception as error:  # noqa: BLE001 - see above
            if silent >= _TOLD_SECONDS:
                expected = isinstance(error, MograderError)
                again = f" ({failures} failures before)" if failures else ""
                _log.warning("%s: %s%s", trouble, error, again, exc_info=not expected)
                silent = 0.0
            failures += 1
        else:
            if failures:
                _log.info("%s: succeeded after %d failures", trouble, failures)
            return result
        await asyncio.sleep(pause)
        silent += pause
        pause = min(2 * pause, longest_seconds)


@asynccontextmanager
async def every(
    seconds: float,
    name: str,
    job: Job,
    *,
    at_once: bool = True,
    wake: asyncio.Event | None = None,
) -> AsyncIterator[None]:
    """Do a job every so many seconds during the block, and as soon as ``wake`` is set.

    A failure is logged, and the job is done again the next time. One that is under way at the end
    of the block is waited for: a job in a thread would outlive a cancellation, and what it uses
    would be closed during it.
    """
    waiting, ends = wake or asyncio.Event(), False

    async def loop() -> None:
        if not at_once:
            await set_within(waiting, seconds)
        while not ends:
            waiting.clear()
            await _try(name, job)
            if not ends:
                await set_within(waiting, seconds)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        ends = True
        waiting.set()
        await asyncio.wait({task})


async def repeat(name: str, job: Job, seconds: float, *, at_once: bool = True) -> None:
    """Do a job every so many seconds, as :func:`every`, until cancelled."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        await _try(name, job)
        await asyncio.sleep(seconds)


async def _try(name: str, job: Job) -> None:
    try:
        await job()
    except (MograderError, OSError) as error:
        _log.warning("%s: %s", name, error)
    except Exception:  # noqa: BLE001 - the one place that answers for all loops
        _log.exception("%s: an unexpected error; it goes on", name)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def first_of(*futures: asyncio.Future[Any], seconds: float | None = None) -> bool:
    """Wait until one of some futures is done; return whether one is, within so many seconds."""
    done, _ = await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


class _Work(Generic[T]):
    """A task, whose progress is passed on to all callers that wait for it."""

    def __init__(self, do: Callable[[Progress], Awaitable[T]]) -> None:
        self.listeners: list[Progress] = []
        self.last = ""
        self.task = asyncio.ensure_future(do(self._tell))

    def _tell(self, message: str) -> None:
        self.last = message
        for listener in tuple(self.listeners):
            listener(message)


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
        elif work.last:
            progress(work.last)
        work.listeners.append(progress)
        try:
            return await asyncio.shield(work.task)
        finally:
            work.listeners.remove(progress)

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
        return len(self._works)

    def busy(self, key: K) -> bool:
        return key in self._works

    async def settle(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await self.settle()

    def _begin(self, key: K, do: Callable[[Progress], Awaitable[T]]) -> _Work[T]:
        work = self._works[key] = _Work(do)
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
