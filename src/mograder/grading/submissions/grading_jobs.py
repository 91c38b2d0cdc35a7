"""The queue of a hub's grading jobs: one after the other, in the order of arrival.

A job grades the submissions of one item. Its state is in the database, and the results of single
submissions are kept as they are made; so a hub that was stopped or killed goes on with a job by
running it again, without those that have a result. A job that has ended the hub several times is
given up.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, MograderError
from mograder.core.log import get_logger
from mograder.store.hub.grading_jobs import JobRow, JobState, KeptJobs

_RETRY_SECONDS = 5.0
_MOST_ATTEMPTS = 3
_GIVEN_UP = (
    f"The hub ended {_MOST_ATTEMPTS} times while this ran, so it is not started again. The hub's "
    "log has the reason. If it lost the database, grade again: what is graded stays. Otherwise it "
    "is often memory: grade students one by one to find the submission."
)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a job is: ``completed`` of ``total``, of which ``attention`` have no result.

    ``problems`` are sentences about students, by name, and about the assignment, by an empty name.
    """

    total: int = 0
    completed: int = 0
    attention: int = 0
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GradingRequest:
    """The submissions to grade: of ``students`` only, or of all if empty.

    With ``force`` also those whose result is up to date, unless it was made after ``since``, when
    the same job ran before; with ``failed_only`` only those without a result.
    """

    students: tuple[str, ...] = ()
    force: bool = False
    failed_only: bool = False
    since: datetime | None = None


class Batch(Protocol):
    """Grades the submissions of an item."""

    async def __call__(
        self, item: str, request: GradingRequest, progress: Callable[[Counts], None], /
    ) -> Counts:
        """Grade them; the result of each is kept when it is made.

        Raises:
            MograderError: The item cannot be graded at all.
        """


class GradingJobs:
    """The jobs of a hub. Call :meth:`open` first and :meth:`close` last; for one event loop.

    ``on_change`` is called with an item whose job has changed. Mutable state: ``_current``, the job
    that runs, ``_counts``, how far it is, ``_running``, its task, and ``_again``, who has asked for
    the same once more; ``_changing`` guards the change of a job's state.
    """

    def __init__(self, rows: KeptJobs, batch: Batch, clock: Clock) -> None:
        self._rows = rows
        self._batch = batch
        self._clock = clock
        self.on_change: Callable[[str], None] = lambda _: None
        self._current: JobRow | None = None
        self._counts = Counts()
        self._running: asyncio.Task[Counts] | None = None
        self._again = ""
        self._new = asyncio.Event()
        self._idle = asyncio.Event()
        self._changing = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Go on with the jobs that had not ended, then run those that are asked for."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop; a job that runs goes on when the next hub opens."""
        if self._worker is None:
            return
        current = self._current
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        if current is not None:
            try:
                await asyncio.to_thread(self._rows.put_back, current.number)
            except MograderError as error:
                _log.warning("grading %s counts as one more attempt: %s", current.item, error)

    async def ask(self, item: str, who: str, request: GradingRequest) -> JobRow:
        """Add a job at the end of the queue; return the item's job if it is the same request.

        One that runs is followed by another: it has read the source and listed the submissions,
        and these may be newer.

        Raises: Conflict if the item has another job that has not ended.
        """
        async with self._changing:
            before = await self.of(item)
            if before is not None and not before.state.ended:
                if _request_of(before) != request:
                    raise Conflict(f"{item} is being graded already.", hint="Cancel that first.")
                await asyncio.to_thread(self._rows.ask_again, before.number, self._clock.now())
                if self._current is not None and self._current.number == before.number:
                    self._again = who
                return before
            return await self._add(item, who, request)

    async def _add(self, item: str, who: str, request: GradingRequest) -> JobRow:
        row = await asyncio.to_thread(
            self._rows.add,
            item,
            who,
            request.students,
            self._clock.now(),
            force=request.force,
            failed_only=request.failed_only,
        )
        self._new.set()
        self._changed(item)
        return row

    async def of(self, item: str) -> JobRow | None:
        """Return the last job of an item, with its counts by now, or None."""
        row = await asyncio.to_thread(self._rows.of, item)
        if row is None or self._current is None or row.number != self._current.number:
            return row
        return replace(row, **dataclasses.asdict(self._counts))

    async def cancel(self, item: str) -> bool:
        """End a job queued or running, whose results stay; return false if there is none."""
        async with self._changing:
            row = await asyncio.to_thread(self._rows.of, item)
            if row is None or row.state.ended:
                return False
            await self._end(row, JobState.CANCELLED)
            running = self._running
            if running is None or self._current is None or self._current.number != row.number:
                return True
            self._again = ""
            running.cancel()
        await self._idle.wait()
        return True

    async def _work(self) -> None:
        while True:
            try:
                self._new.clear()
                waiting = await asyncio.to_thread(self._rows.open)
                if waiting:
                    await self._run(waiting[0])
                else:
                    await self._new.wait()
            except MograderError as error:  # the database
                _log.warning("the grading jobs wait: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - the loop must go on with the next job
                _log.exception("a grading job could not be run")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _run(self, row: JobRow) -> None:
        if row.attempts >= _MOST_ATTEMPTS:
            await self._end(row, JobState.FAILED, _GIVEN_UP)
            return
        running = await self._begin(row)
        if running is None:  # it was cancelled
            return
        self._changed(row.item)
        try:
            await asyncio.wait({running})
            await self._conclude(row, running)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self._current, self._running = None, None
            self._idle.set()

    async def _begin(self, row: JobRow) -> asyncio.Task[Counts] | None:
        """Start the batch of a job; return None if the job has been cancelled."""
        async with self._changing:
            if not await asyncio.to_thread(self._rows.begin, row.number, self._clock.now()):
                return None
            self._current, self._counts, self._again = row, Counts(), ""
            self._idle.clear()
            since = row.asked_at if row.started_at else None
            request = replace(_request_of(row), since=since)
            self._running = asyncio.create_task(self._batch(row.item, request, self._progress))
            return self._running

    def _progress(self, counts: Counts) -> None:
        self._counts = counts
        if self._current is not None:
            self._changed(self._current.item)

    async def _conclude(self, row: JobRow, done: asyncio.Task[Counts]) -> None:
        error = None if done.cancelled() else done.exception()
        if not done.cancelled() and error is None:
            self._counts = done.result()
        counts = dataclasses.asdict(self._counts)
        try:
            await asyncio.to_thread(self._rows.count, row.number, **counts)
        except MograderError as told:
            _log.warning("how far grading %s is could not be kept: %s", row.item, told)
        async with self._changing:
            if done.cancelled():
                await self._end(row, JobState.CANCELLED)
            elif error is None:
                await self._end(row, JobState.DONE)
            elif isinstance(error, MograderError):
                await self._end(row, JobState.FAILED, str(error))
            else:
                _log.error("Grading %s failed with an unexpected error", row.item, exc_info=error)
                why = "Something broke. The hub's log has the details."
                await self._end(row, JobState.FAILED, why)
            if self._again:  # without `force`: what this job made is new
                request = replace(_request_of(row), force=False)
                await self._add(row.item, self._again, request)

    async def _end(self, row: JobRow, state: JobState, error: str = "") -> None:
        await asyncio.to_thread(self._rows.end, row.number, state, self._clock.now(), error)
        self._changed(row.item)

    def _changed(self, item: str) -> None:
        """Call :attr:`on_change`; an error in it is logged and does not touch the job."""
        try:
            self.on_change(item)
        except Exception:  # noqa: BLE001 - it may be anything, and results must be kept
            _log.exception("a change of grading %s could not be told", item)


def _request_of(row: JobRow) -> GradingRequest:
    return GradingRequest(row.students, row.force, row.failed_only)
