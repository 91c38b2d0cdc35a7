"""Background work with progress messages: starting a session, publishing a release.

The work is a task of the app and not of the request: when one browser disconnects, a session still
starts for the others that wait for it, and a release is still published completely. A queued start
that no browser waits for is cancelled: see :meth:`Running.abandon`. A client that asks for progress
(``Accept: application/x-ndjson``) gets it as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse

from mograder.core.errors import Busy, MograderError
from mograder.core.log import get_logger
from mograder.core.tasks import BackgroundTasks
from mograder.web.context import request_context
from mograder.web.error_responses import NDJSON, status_of

Report = Callable[[str], None]
"""Reports progress to the clients that wait; may be called from any thread."""

T = TypeVar("T")
_KEPT_MESSAGES = 200
_log = get_logger(__name__)


class Running(Generic[T]):
    """One piece of background work: its progress messages and its result."""

    def __init__(self, job: Callable[[Report], Awaitable[T]], heartbeat: float) -> None:
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._news: deque[str] = deque(maxlen=_KEPT_MESSAGES)
        self._stirred = asyncio.Event()
        self._ended = False
        self._abandoning: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[T] = asyncio.ensure_future(job(self._report))
        self.task.add_done_callback(self._end)

    async def result(self) -> T:
        """Wait for the end; cancelling the caller does not cancel the work."""
        return await asyncio.shield(self.task)

    def abandon(self, seconds: float) -> None:
        """Cancel the work in that many seconds unless :meth:`keep_up` is called before."""
        self.keep_up()
        self._abandoning = self._loop.call_later(seconds, self.task.cancel)

    def keep_up(self) -> None:
        if self._abandoning is not None:
            self._abandoning.cancel()

    async def news(self) -> AsyncIterator[str]:
        """Yield messages until the work ends; repeat the last one after each silent heartbeat."""
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

    def _report(self, message: str) -> None:
        self._loop.call_soon_threadsafe(self._add, message)

    def _add(self, message: str) -> None:
        self._news.append(message)
        self._stirred.set()

    def _end(self, task: asyncio.Task[T]) -> None:
        self._ended = True
        self.keep_up()
        self._stirred.set()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, MograderError):
            _log.error("Background work failed with an unexpected error", exc_info=error)


class Work:
    """All work under way in one app; cancels it when the app ends.

    ``heartbeat``: seconds of silence after which the last message is repeated, so that no reverse
    proxy closes the connection of a waiting client.
    """

    def __init__(self, heartbeat: float = 10.0) -> None:
        self._heartbeat = heartbeat
        self._tasks = BackgroundTasks()

    def begin(self, job: Callable[[Report], Awaitable[T]]) -> Running[T]:
        """Start a job that outlives the request that asked for it."""
        running = Running(job, self._heartbeat)
        self._tasks.keep(running.task)
        return running

    async def close(self) -> None:
        await self._tasks.close()


async def progress_lines(
    running: Running[T],
    request_id: str,
    shown: Callable[[T], Mapping[str, object]],
    *,
    absent: float | None = None,
    figures: Callable[[], Mapping[str, object]] = dict,
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of the progress protocol; the last one is the result or the error.

    ``shown`` returns the last line's fields for a result, ``figures`` further fields of each line
    of progress. When the client disconnects before the last line, the work is cancelled after
    ``absent`` seconds; a reloaded page has asked again by then. None: the work continues without a
    client.
    """
    try:
        async for message in running.news():
            yield _line("progress", message=message, **figures())
    finally:
        if absent is not None and not running.task.done():
            running.abandon(absent)
    try:
        result = await running.result()
    except MograderError as error:
        later = {"retry_after": error.retry_after} if isinstance(error, Busy) else {}
        yield _line("error", status=status_of(error), detail=str(error), **later)
    except Exception:  # noqa: BLE001 - the client gets a reference, the work has logged
        yield _line("error", status=500, detail=f"Something broke. Reference: {request_id}")
    else:
        yield _line("done", **shown(result))


def progress_response(
    running: Running[T],
    request: Request,
    shown: Callable[[T], Mapping[str, object]],
    *,
    absent: float | None = None,
    figures: Callable[[], Mapping[str, object]] = dict,
) -> StreamingResponse:
    """Return the response with :func:`progress_lines`, which no proxy may hold back."""
    lines = progress_lines(
        running,
        request_context(request).request_id,
        shown,
        absent=absent,
        figures=figures,
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, media_type=NDJSON, headers=headers)


def _line(event: str, **values: object) -> bytes:
    return json.dumps({"event": event, **values}, ensure_ascii=False).encode() + b"\n"
