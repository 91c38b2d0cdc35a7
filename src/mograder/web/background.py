"""Work in the background with progress messages: starting a session, publishing a release.

The work is a task of the app and not of the request: a browser that goes away neither ends a
session's start for the others who wait for it nor leaves a release half published. But no place in
line is held for a browser that has left: see :meth:`Running.abandon`. A client that asks for
progress (``Accept: application/x-ndjson``) gets it as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Generic, TypeVar, cast

from mograder.core.errors import Busy, MograderError
from mograder.core.log import get_logger
from mograder.web.problems import HTTP_STATUS, status_of

Report = Callable[[str], None]
"""Tells the person who waits what is being done; callable from any thread."""

T = TypeVar("T")
_KEPT_MESSAGES = 200
_KEPT_WORKS = 1000
_log = get_logger(__name__)


class Running(Generic[T]):
    """One piece of work under way: its news, and in the end its result."""

    def __init__(self, job: Callable[[Report], Awaitable[T]], heartbeat: float) -> None:
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._news: deque[str] = deque(maxlen=_KEPT_MESSAGES)
        self.latest = ""
        """What was reported last."""
        self._stirred = asyncio.Event()
        self._ended = False
        self._abandoning: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[T] = asyncio.create_task(self._run(job))
        self.task.add_done_callback(self._end)

    async def result(self) -> T:
        """Wait for the end; being cancelled oneself leaves the work alone."""
        return await asyncio.shield(self.task)

    def abandon(self, seconds: float) -> None:
        """Give the work up unless somebody takes an interest in it within so many seconds."""
        self.keep_up()
        self._abandoning = self._loop.call_later(seconds, self.task.cancel)

    def keep_up(self) -> None:
        """Go on: somebody waits for it."""
        if self._abandoning is not None:
            self._abandoning.cancel()

    async def news(self) -> AsyncIterator[str]:
        """Yield what is reported until the work has ended, and the last news when it is quiet."""
        last = ""
        while True:
            while self._news:
                last = self._news.popleft()
                yield last
            if self._ended:
                return
            self._stirred.clear()
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._stirred.wait()
            except TimeoutError:
                yield last

    async def _run(self, job: Callable[[Report], Awaitable[T]]) -> T:
        return await job(self._report)

    def _report(self, message: str) -> None:
        self._loop.call_soon_threadsafe(self._hear, message)

    def _hear(self, message: str) -> None:
        self._news.append(message)
        self.latest = message
        self._stirred.set()

    def _end(self, task: asyncio.Task[T]) -> None:
        self._ended = True
        self.keep_up()
        self._stirred.set()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, MograderError):
            _log.error("Work ended by a bug of ours", exc_info=error)


class Work:
    """All work under way in one app; ends it when the app ends.

    ``heartbeat`` is after how many seconds of silence the last news is said again, so that no
    front hangs up on a client that waits.
    """

    def __init__(self, heartbeat: float = 10.0) -> None:
        self._heartbeat = heartbeat
        self._tasks: set[asyncio.Task[object]] = set()
        self._kept: dict[str, Running[object]] = {}

    def begin(self, job: Callable[[Report], Awaitable[T]]) -> Running[T]:
        """Start a job that outlives the request which asked for it."""
        running = Running(job, self._heartbeat)
        task: asyncio.Task[object] = running.task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return running

    def keep(self, name: str, running: Running[T]) -> None:
        """Remember work for somebody who will ask about it by name, a page without scripts."""
        self._kept.pop(name, None)
        self._kept[name] = cast(Running[object], running)
        if len(self._kept) > _KEPT_WORKS:
            del self._kept[next(iter(self._kept))]

    def kept(self, name: str) -> Running[object] | None:
        """Return the work of this name, unless it was given up; what has ended is told once."""
        running = self._kept.get(name)
        if running is not None and running.task.done():
            del self._kept[name]
            return None if running.task.cancelled() else running
        return running

    async def close(self) -> None:
        """Cancel what still runs and wait until it is gone."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def progress_lines(
    running: Running[T],
    request_id: str,
    shown: Callable[[T], Mapping[str, object]],
    *,
    statuses: Mapping[type[MograderError], int] = HTTP_STATUS,
    absent: float | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of the progress protocol, the result or the failure being the last.

    ``shown`` gives the last line's fields for a result. When the client leaves before that, the
    work is given up after ``absent`` seconds: a page that is loaded again has asked again by then.
    None: the work goes on whether or not a client waits.
    """
    try:
        async for message in running.news():
            yield _line("progress", message=message)
    finally:
        if absent is not None and not running.task.done():
            running.abandon(absent)
    try:
        result = await running.result()
    except MograderError as error:
        later = {"retry_after": error.retry_after} if isinstance(error, Busy) else {}
        yield _line("error", status=status_of(error, statuses), detail=str(error), **later)
    except Exception:  # noqa: BLE001 - the client gets a reference, the work has logged
        yield _line("error", status=500, detail=f"Something broke. Reference: {request_id}")
    else:
        yield _line("done", **shown(result))


def _line(event: str, **values: object) -> bytes:
    """One event of the progress protocol."""
    return json.dumps({"event": event, **values}, ensure_ascii=False).encode() + b"\n"
