"""A submission's judging: what the supervisor's loop does not wait for."""

from __future__ import annotations

import array
import asyncio
import fcntl
import json
import os
import termios
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from mograder.sandbox.protocol import (
    AnswerJudge,
    AnswerWorker,
    Deadlines,
    Ended,
    JudgeSubmission,
    Limits,
    NotebookRequest,
)
from mograder.sandbox.supervisor.notebook_runs import Report, judge
from mograder.sandbox.supervisor.sessions import SessionTable
from mograder.sandbox.warm.sessions import close_all
from tests.support.supervisors import until

_PAGE = 4096


class BusyJudge:
    """Stands in for a session table: the worker ends at once, and the judge reads nothing yet.

    Its pipe for the seed holds one page, as where its user has many pipes.
    """

    confines = True

    def __init__(self) -> None:
        self.private = -1
        self._held: dict[str, tuple[tuple[int, ...], Callable[[Ended], None]]] = {}

    async def execute(
        self,
        request: NotebookRequest,
        descriptors: tuple[int, ...],
        on_end: Callable[[Ended], None],
    ) -> None:
        self._held[request.session_id] = descriptors, on_end
        if isinstance(request, AnswerJudge):
            self.private = descriptors[-1]
            fcntl.fcntl(self.private, fcntl.F_SETPIPE_SZ, _PAGE)
        else:
            await self.end(request.session_id)

    async def arrived(self, _: str) -> None:
        """Return at once."""

    async def end(self, session_id: str) -> None:
        if session_id in self._held:
            descriptors, on_end = self._held.pop(session_id)
            close_all(descriptors)
            on_end(Ended(session_id=session_id, status=0, log_tail=""))

    def waits(self) -> bool:
        """Return whether there is something to read for the judge."""
        count = array.array("i", [0])
        fcntl.ioctl(self.private, termios.FIONREAD, count)
        return count[0] > 0


def _submission(texts: dict[str, str]) -> JudgeSubmission:
    limits = Limits(processes=64, open_files=256, file_size_mb=16, tmp_mb=32)
    common = {"directory": Path("/x"), "notebook": "A1.py", "environment": Path("/e")}
    worker = {**common, "session_id": "worker-1", "uid_slot": 1, "limits": limits}
    judging = {**common, "session_id": "judge-12", "uid_slot": 2, "limits": limits}
    return JudgeSubmission(
        worker=AnswerWorker.model_validate({**worker, "interface": (), "skip": ()}),
        judge=AnswerJudge.model_validate(
            {**judging, "seconds": Deadlines(), "seed": "s", "texts": texts}
        ),
        seconds=60,
    )


async def test_a_judge_that_reads_late_holds_nothing_up() -> None:
    """Not even with more than its pipe holds; it gets all of it when it reads."""
    table, texts = BusyJudge(), {"area": "x" * 10 * _PAGE}
    judging = asyncio.create_task(judge(cast(SessionTable, table), _submission(texts)))
    await until(lambda: table.private >= 0)
    await until(table.waits)
    with os.fdopen(os.dup(table.private)) as private:
        told = json.loads(await asyncio.to_thread(private.readline))
    assert told == {"seed": "s", "texts": texts}
    await table.end("judge-12")
    judged, lines = await judging
    assert (judged.judge.timed_out, lines) == (False, [])


async def test_a_judge_that_ends_before_it_reads_is_no_trouble() -> None:
    table = BusyJudge()
    judging = asyncio.create_task(judge(cast(SessionTable, table), _submission({"a": "x" * _PAGE})))
    await until(lambda: table.private >= 0)
    await until(table.waits)
    await table.end("judge-12")
    judged, _ = await judging
    assert judged.judge.status == 0


@pytest.mark.parametrize(("lines", "overflows"), [(50_000, False), (50_001, True)])
async def test_a_report_of_very_many_lines_is_too_long(lines: int, overflows: bool) -> None:
    """Millions of empty ones would keep supervisor and hub busy for a minute."""
    read_end, write_end = os.pipe()
    report = Report(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        await asyncio.to_thread(pipe.write, b"\n" * lines)
    report.close()
    assert report.overflow.done() is overflows
    assert len(report.take()) == (0 if overflows else lines)
