"""Judging an author's own notebook on the author's machine: it is trusted, so without a sandbox.

Worker and judge are two processes that run copies, connected by pipes. Nothing keeps them apart, so
this is never used for a student's notebook; it shows an author what judging apart will give.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mograder.core.closing import open_pipes
from mograder.core.process_tree import apart
from mograder.core.tasks.single_flight import Progress
from mograder.notebook.grading.grading_plan import parse_plan
from mograder.notebook.pep723 import read_script
from mograder.sandbox.execution.judge_runner import contract_of, judging_result, longest
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from mograder.sandbox.execution.unsandboxed import (
    AuthorEnvironment,
    copy_item,
    finished,
    log_tail,
)
from mograder.sandbox.inside import copy_programs
from mograder.sandbox.isolation.policy import CONTRACT, ENDS, JUDGE, PLAN, REHEARSAL, WORKER
from mograder.sandbox.protocol import JUDGE_LINE, WORKER_LINE, Executed, Judged

assert sys.platform == "linux"  # the worker needs it

_MOST_BYTES = 64 << 20


async def judge_as_author(
    environment: AuthorEnvironment, request: JudgingRequest, progress: Progress
) -> JudgingResult:
    """Judge an author's notebook with the Python of its header; both processes have ended then.

    The environment and the limits of the request have no effect.

    Raises:
        InvalidInput: The notebook's packages cannot be installed.
    """
    plan, contract = parse_plan(request.files.plan), contract_of(request.files.contract)
    python = await environment.command(read_script(request.text), progress)
    workshop = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mograder-judge-"))
    try:
        await asyncio.to_thread(_fill, workshop, request)
        run = _Run(workshop, python, environment.variables)
        judged, lines = await run.judge(request)
        return await asyncio.to_thread(judging_result, lines, judged, plan, contract)
    finally:
        await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)


def _fill(workshop: Path, request: JudgingRequest) -> None:
    """Make the directories of both processes, and that of their programs."""
    for name, folder in (("worker", request.folder), ("judge", request.files.folder)):
        if folder is None:
            (workshop / name).mkdir()
        else:
            copy_item(folder, workshop / name)
    notebook = workshop / "worker" / request.name
    notebook.unlink(missing_ok=True)
    notebook.write_text(request.text, encoding="utf-8", newline="", errors="surrogatepass")
    copy_programs(workshop / "programs")
    for name, text in ((PLAN, request.files.plan), (CONTRACT, request.files.contract)):
        if text is not None:  # in files, since an argument has at most 128 KiB
            (workshop / name).write_text(text, encoding="utf-8")


class _Run:
    """The two processes of one run."""

    def __init__(self, workshop: Path, python: Sequence[str], variables: Mapping[str, str]) -> None:
        self._workshop = workshop
        self._python = python
        self._variables = {**variables, "TMPDIR": str(workshop)}

    async def judge(self, request: JudgingRequest) -> tuple[Judged, list[str]]:
        """Return how both processes have ended, and the lines of their reports."""
        (heeds, tells), (serves, asks), (reads, answers) = open_pipes(3)
        working = asyncio.create_task(
            self._run("worker", _for_worker(request), (heeds, serves, answers))
        )
        judging = asyncio.create_task(
            self._run("judge", _for_judge(request, self._workshop), (tells, asks, reads))
        )
        seconds = longest(request.deadlines, rehearse=request.rehearse)
        started = time.monotonic()
        try:
            await asyncio.wait({judging}, timeout=seconds)
        finally:
            for task in (judging, working):
                task.cancel()
            ended = await asyncio.gather(judging, working, return_exceptions=True)
        took = time.monotonic() - started
        judged = Judged(judge=_executed(ended[0], took), worker=_executed(ended[1], took))
        lines = [JUDGE_LINE + each for each in await asyncio.to_thread(self._lines, "judge")]
        lines += [WORKER_LINE + each for each in await asyncio.to_thread(self._lines, "worker")]
        return judged, lines

    async def _run(
        self, name: str, options: dict[str, object], ends: tuple[int, int, int]
    ) -> Executed:
        """Run one of the programs to its end, or kill it if this is cancelled."""
        notebook = options.pop("notebook", None)
        program = self._workshop / "programs" / {"worker": WORKER, "judge": JUDGE}[name]
        started = time.monotonic()
        with self._report(name).open("wb") as report:
            numbers = dict(zip(ENDS, (report.fileno(), *ends), strict=True))
            told = json.dumps({"rlimits": {}, "caches": "", **options, **numbers})
            try:
                process = await asyncio.create_subprocess_exec(
                    *(*self._python, str(program), told),
                    *(("--", str(notebook)) if notebook else ()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    cwd=self._workshop / name,
                    env=self._variables,
                    pass_fds=tuple(numbers.values()),
                    **apart(),
                )
            finally:
                for end in ends:
                    os.close(end)
        _, log = await finished(process)
        status, took = process.returncode or 0, time.monotonic() - started
        return Executed(status=status, log_tail=log_tail(log), seconds=took, timed_out=False)

    def _report(self, name: str) -> Path:
        return self._workshop / f"{name}.report"

    def _lines(self, name: str) -> list[str]:
        """Return the lines of a report, without a part of a line."""
        with self._report(name).open("rb") as report:
            data = report.read(_MOST_BYTES)
        text = data.rpartition(b"\n")[0].decode("utf-8", "replace")
        return [line for line in text.split("\n") if line]


def _for_worker(request: JudgingRequest) -> dict[str, object]:
    return {
        "outputs": request.outputs,
        "interface": request.interface,
        "skip": request.skip,
        "notebook": request.name,
    }


def _for_judge(request: JudgingRequest, workshop: Path) -> dict[str, object]:
    return {
        "plan": str(workshop / PLAN),
        "contract": None if request.files.contract is None else str(workshop / CONTRACT),
        "seconds": asdict(request.deadlines),
        "seed": request.seed,
        "rehearsal": REHEARSAL if request.rehearse else None,
    }


def _executed(ended: Executed | BaseException, seconds: float) -> Executed:
    """Return the end of a process; one that was still running has been killed."""
    if isinstance(ended, asyncio.CancelledError):
        return Executed(status=-signal.SIGKILL, log_tail="", seconds=seconds, timed_out=True)
    if isinstance(ended, BaseException):
        raise ended
    return ended
