"""The run of a submission's worker and judge on the supervisor's side, in two sandboxes.

They are connected by three pipes, of which the supervisor keeps no end: each sees the other's end.
The worker is student code. It may write anything into its pipes and its report; its report has
its own, smaller bounds, and no effect on the judge. Students are shown that report, and the judge's
questions may be hidden tests. So the judge gets its seed, without which it asks nothing, when the
report is closed: no line of it can repeat a question.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

from mograder.core.closing import open_pipes
from mograder.core.errors import InvalidInput
from mograder.sandbox.execution.report import JUDGE_BOUNDS, bounds_of
from mograder.sandbox.protocol import JUDGE_LINE, WORKER_LINE, AnswerJudge, Judged, JudgeSubmission
from mograder.sandbox.supervisor.notebook_runs import Run
from mograder.sandbox.supervisor.sessions import SessionTable


async def judge(session_table: SessionTable, request: JudgeSubmission) -> tuple[Judged, list[str]]:
    """Judge a submission until the judge ends or the time is over; all processes have ended then.

    Return how both ended, and the lines of both reports, the judge's first.

    Raises: as :meth:`~mograder.sandbox.supervisor.sessions.SessionTable.start`.
    """
    if request.worker.uid_slot == request.judge.uid_slot:
        raise InvalidInput("Worker and judge must be different users.")
    loop = asyncio.get_running_loop()
    (heeds, tells), (serves, asks), (reads, answers), (seed, given) = open_pipes(4)
    bounds = bounds_of(outputs=request.worker.outputs)
    worker = Run(session_table, request.worker, (heeds, serves, answers), bounds)
    judging = Run(session_table, request.judge, (tells, asks, reads, seed), JUDGE_BOUNDS)
    opening: asyncio.Task[None] | None = None
    try:
        await _start(judging, worker)
        started = loop.time()
        opening = asyncio.create_task(_open(worker, given, request.judge))
        either: set[asyncio.Future[Any]] = {judging.ended, judging.report.overflow}
        done, _ = await asyncio.wait(
            either, timeout=request.seconds, return_when=asyncio.FIRST_COMPLETED
        )
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
    """Close the worker's report at its end or its deadline, then give the judge its seed."""
    either: set[asyncio.Future[Any]] = {worker.ended, worker.report.closed}
    await asyncio.wait(either, timeout=judge.seconds.notebook, return_when=asyncio.FIRST_COMPLETED)
    worker.report.close()
    with contextlib.suppress(BrokenPipeError):  # the judge has ended
        os.write(given, judge.seed.encode("utf-8", "replace") + b"\n")


async def _start(*runs: Run) -> None:
    """Start runs at the same time. Raises: the first error."""
    errors = await asyncio.gather(*(run.start() for run in runs), return_exceptions=True)
    for error in errors:
        if error is not None:
            raise error
