"""Runs of notebooks on the supervisor's side: start them, read their reports, end them in time.

The report is untrusted: student code may write it. A limited number of bytes are read and returned
to the caller, which validates them (:mod:`mograder.sandbox.execution.report`).

A submission's worker and judge are two runs, connected by three pipes, of which the supervisor
keeps no end: each sees the other's end. The worker is student code. It may write anything into its
pipes and its report; its report has its own, smaller bounds, and no effect on the judge. Students
are shown that report, and the judge's questions may be hidden tests. So the judge gets its seed,
without which it asks nothing, when the report is closed: no line of it can repeat a question.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass

from mograder.core.context_managers import open_pipes
from mograder.core.errors import InvalidInput
from mograder.core.tasks import first_of
from mograder.sandbox.protocol import (
    JUDGE_LINE,
    WORKER_LINE,
    AnswerJudge,
    Ended,
    Execute,
    Executed,
    Judged,
    JudgeSubmission,
)
from mograder.sandbox.supervisor.sessions import NotebookRun, SessionTable
from mograder.sandbox.warm.sessions import close_all


@dataclass(frozen=True, slots=True)
class ReportBounds:
    """Maximum sizes of a report and of one of its lines, in bytes, and of its lines' number.

    Each line is a message to the hub. An honest report has some thousands.
    """

    report: int = 4 << 20
    line: int = 128 << 10
    lines: int = 50_000


BOUNDS = ReportBounds()
_WITH_OUTPUTS = ReportBounds(report=13 << 20)
"""Those of a report that may contain outputs of cells."""
JUDGE_BOUNDS = ReportBounds(report=32 << 20, line=400_000)
"""A judge's line must still fit into a message once it is encoded as JSON."""
_READ_BYTES = 65_536
_END = b'{"kind": "end"}'
"""The last line of a complete report; the programs of ``sandbox/inside`` write it."""


class Report:
    """Reads lines from a pipe as they are written, to the line that ends them or a maximum size."""

    def __init__(self, descriptor: int, bounds: ReportBounds = BOUNDS) -> None:
        """``descriptor`` is the pipe's reading end; :meth:`close` closes it."""
        self.overflow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the report exceeded one of its bounds; the lines are then discarded."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when no more lines are taken: after the last one, an overflow, or :meth:`close`."""
        self._descriptor = descriptor
        self._rest = bytearray()
        self._lines: list[str] = []
        self._left, self._longest = bounds.report, bounds.line
        self._lines_left = bounds.lines
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def take(self) -> list[str]:
        """Return the complete lines that were read since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        """Read the data left in the pipe, then close it; later writes are ignored."""
        while self._descriptor >= 0 and self._read():
            pass
        self._stop()

    def _read(self) -> bool:
        """Read once; return whether there may be more."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        self._left -= len(data)
        *lines, rest = (bytes(self._rest) + data).split(b"\n")
        self._rest[:] = rest
        ended = _END in lines
        if ended:
            lines = lines[: lines.index(_END) + 1]
        self._lines += [line.decode("utf-8", "replace") for line in lines]
        self._lines_left -= len(lines)
        longest = max(map(len, (*lines, rest)))
        if min(self._left, self._lines_left) < 0 or longest > self._longest:
            self._lines.clear()
            self.overflow.set_result(None)
        if not data or ended or self.overflow.done():
            self._stop()
            return False
        return True

    def _stop(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self.closed.set_result(None)


class Run:
    """A run in a sandbox, and the report that it writes.

    :meth:`finish` must be called in the end, also if :meth:`start` has failed.
    """

    def __init__(
        self,
        session_table: SessionTable,
        request: NotebookRun,
        ends: tuple[int, ...] = (),
        bounds: ReportBounds = BOUNDS,
    ) -> None:
        """``ends`` are more descriptors that the run inherits; they are closed here."""
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        self.report = Report(read_end, bounds)
        self.ended: asyncio.Future[Ended] = loop.create_future()
        """Done at the end of the run's last process."""
        self._session_table = session_table
        self._request = request
        self._descriptors = (write_end, *ends)

    async def start(self) -> None:
        """Start it, and wait until it is in its sandbox. Raises: as :meth:`SessionTable.start`."""
        descriptors, self._descriptors = self._descriptors, ()
        await self._session_table.execute(self._request, descriptors, self.ended.set_result)
        await self._session_table.arrived(self._request.session_id)

    async def finish(self) -> None:
        """Kill what still runs, wait for its end, and read the rest of the report."""
        await self._session_table.end(self._request.session_id)
        close_all(self._descriptors)
        self._descriptors = ()
        self.report.close()

    async def outcome(self, seconds: float, *, timed_out: bool) -> Executed:
        """Return how it ended after ``seconds``, once it has finished."""
        end = await self.ended
        return Executed(
            status=end.status,
            log_tail=end.log_tail,
            seconds=seconds,
            reason=end.reason,
            timed_out=timed_out,
            overflow=self.report.overflow.done(),
        )


async def execute(session_table: SessionTable, request: Execute) -> tuple[Executed, list[str]]:
    """Run a notebook until it ends or its time is over; all its processes have ended afterwards.

    Return how it ended, and the lines of its report.

    Raises: as :meth:`~mograder.sandbox.supervisor.sessions.SessionTable.start`.
    """
    loop = asyncio.get_running_loop()
    run = Run(session_table, request, bounds=_WITH_OUTPUTS if request.outputs else BOUNDS)
    try:
        await run.start()
        started = loop.time()
        done = await first_of(run.ended, run.report.overflow, seconds=request.seconds)
        seconds = loop.time() - started
    finally:
        await run.finish()
    return await run.outcome(seconds, timed_out=not done), run.report.take()


async def judge(session_table: SessionTable, request: JudgeSubmission) -> tuple[Judged, list[str]]:
    """Judge a submission until the judge ends or the time is over; all processes have ended then.

    Return how both ended, and the lines of both reports, the judge's first.

    Raises: as :meth:`~mograder.sandbox.supervisor.sessions.SessionTable.start`.
    """
    if request.worker.uid_slot == request.judge.uid_slot:
        raise InvalidInput("Worker and judge must be different users.")
    loop = asyncio.get_running_loop()
    (heeds, tells), (serves, asks), (reads, answers), (private, given) = open_pipes(4)
    bounds = _WITH_OUTPUTS if request.worker.outputs else BOUNDS
    worker = Run(session_table, request.worker, (heeds, serves, answers), bounds)
    judging = Run(session_table, request.judge, (tells, asks, reads, private), JUDGE_BOUNDS)
    opening: asyncio.Task[None] | None = None
    try:
        await _start(judging, worker)
        started = loop.time()
        opening = asyncio.create_task(_open(worker, given, request.judge))
        # A judge that has told all is killed with its worker: to wait for its own end costs more.
        done = await first_of(judging.ended, judging.report.closed, seconds=request.seconds)
        running, seconds = not worker.ended.done(), loop.time() - started
    finally:
        if opening is not None:
            opening.cancel()
        await asyncio.gather(judging.finish(), worker.finish())
        os.close(given)
    judged = Judged(
        judge=await judging.outcome(seconds, timed_out=not done),
        worker=await worker.outcome(seconds, timed_out=running),
        protected=session_table.confines,
    )
    lines = [JUDGE_LINE + line for line in judging.report.take()]
    return judged, lines + [WORKER_LINE + line for line in worker.report.take()]


async def _open(worker: Run, given: int, judge: AnswerJudge) -> None:
    """Close the worker's report at its end or its deadline, then give the judge what it waits for.

    That is its seed, and the texts of the answers. The loop does not wait for the judge to read
    them: a pipe holds two pages only where this user has many, and the judge may be busy.
    """
    await first_of(worker.ended, worker.report.closed, seconds=judge.seconds.notebook)
    worker.report.close()
    pipe = os.fdopen(os.dup(given), "wb", buffering=0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, pipe)
    try:
        transport.write(json.dumps({"seed": judge.seed, "texts": judge.texts}).encode() + b"\n")
        await loop.create_future()  # until this is cancelled, at the judge's end
    finally:
        transport.abort()


async def _start(*runs: Run) -> None:
    """Start runs at the same time. Raises: the first error."""
    errors = await asyncio.gather(*(run.start() for run in runs), return_exceptions=True)
    for error in errors:
        if error is not None:
            raise error
