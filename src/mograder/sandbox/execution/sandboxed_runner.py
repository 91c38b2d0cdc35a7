"""Running a notebook, and judging a submission, with the supervisor.

A notebook runs in a private copy, and so does a submission's worker; the judge is beside it.

Marks come from the judge's report alone. It counts only if the judge came to its end and the report
fits the plan; everything else is a problem, which gives no marks.

Plan, contract and the files beside the source are kept in a directory of each assignment, which
only the judges' sandboxes have. It holds the hidden tests, so no other user of the machine may
reach it: its parent is private, and it can itself be read by a sandbox's uid.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

from mograder.core.tasks import to_its_end
from mograder.notebook.grading.grading_plan import GradingPlan, render_plan
from mograder.sandbox.client.supervisor_client import ConnectionLost
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.judging import (
    JudgeFiles,
    JudgeReport,
    JudgingRequest,
    JudgingResult,
    Runner,
    read_judge_report,
)
from mograder.sandbox.execution.notebook_copies import PrivateCopies, copy_folder, needed_files
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult, read_report
from mograder.sandbox.inside.grading_contract import Contract, render_contract
from mograder.sandbox.isolation.policy import CONTRACT, FILES, PLAN
from mograder.sandbox.machines import Runs
from mograder.sandbox.protocol import (
    JUDGE_LINE,
    SHORTAGES,
    WORKER_LINE,
    AnswerJudge,
    AnswerWorker,
    Deadlines,
    Execute,
    Executed,
    Judged,
    JudgeSubmission,
)

assert sys.platform == "linux"  # supervisors need it

_MARGIN_SECONDS = 60.0
"""Added to the judge's own deadlines: the time for its report that they are over."""

_FOLDERS = "judges"
_LOG = 1000
T = TypeVar("T")


class SandboxedRunner(Runner):
    """Runs and judges, at most ``at_once`` at the same time; further calls wait.

    What runs on a machine that is lost runs once more, in a new copy.
    """

    def __init__(
        self,
        runs: Runs,
        place: Path,
        remove: Callable[[Path], None],
        *,
        at_once: int = 2,
        bounds: CopyBounds | None = None,
    ) -> None:
        """Keep copies below ``place`` (:class:`PrivateCopies`), and the directories of judges."""
        bounds = bounds or CopyBounds()
        self._runs = runs
        self._copies = PrivateCopies(place, remove, at_once=at_once, bounds=bounds)
        self._folders = JudgeFolders(place / _FOLDERS, remove, bounds)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        return await _once_more(lambda: self._execute(request))

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        return await _once_more(lambda: self._judge(request))

    async def _execute(self, request: ExecutionRequest) -> ExecutionResult:
        lines: list[str] = []
        async with self._copies.copy(request, notebooks=request.notebooks) as (name, directory):
            request.begun()
            asked = Execute(
                session_id=f"check-{name}",
                directory=directory,
                notebook=request.name,
                environment=request.environment,
                uid_slot=request.uid_slot,
                limits=request.limits,
                seconds=request.seconds,
                outputs=request.outputs,
            )
            executed = await self._runs.execute(asked, lines.append)
        return await asyncio.to_thread(read_report, lines, executed)

    async def _judge(self, request: JudgingRequest) -> JudgingResult:
        files = request.files
        lines: list[str] = []
        async with (
            self._copies.copy(request) as (name, directory),
            self._folders.folder(files) as folder,
        ):
            seconds = longest(request.deadlines, rehearse=request.rehearse)
            asked = _asked(request, name, directory, folder, seconds)
            judged = await self._runs.judge(asked, lines.append)
        return await asyncio.to_thread(judging_result, lines, judged, files.plan, files.contract)


async def _once_more(run: Callable[[], Coroutine[object, object, T]]) -> T:
    try:
        return await run()
    except ConnectionLost:
        return await run()


def longest(deadlines: Deadlines, *, rehearse: bool) -> float:
    """Return the seconds after which a judge is ended, which observes its deadlines itself.

    Given cells that run again for each check may take twice as long as all checks. A rehearsal
    judges all checks once more, and tries them for as long as all of that has taken.
    """
    notebook, submission = deadlines.notebook, deadlines.submission
    return (3 if rehearse else 1) * notebook + 3 * submission + _MARGIN_SECONDS


def _asked(
    request: JudgingRequest, name: str, directory: Path, folder: Path, seconds: float
) -> JudgeSubmission:
    return JudgeSubmission(
        worker=AnswerWorker(
            session_id=f"worker-{name}",
            directory=directory,
            notebook=request.name,
            environment=request.environment,
            uid_slot=request.uid_slot,
            limits=request.limits,
            interface=request.interface,
            skip=request.skip,
            outputs=request.outputs,
        ),
        judge=AnswerJudge(
            session_id=f"judge-{name}",
            directory=folder,
            notebook=PLAN,
            environment=request.environment,
            uid_slot=request.judge_slot,
            limits=request.limits,
            seconds=request.deadlines,
            seed=request.seed,
            texts=dict(request.texts),
            records=request.files.contract is None,
            rehearses=request.rehearse,
        ),
        seconds=seconds,
    )


def judging_result(
    lines: list[str], judged: Judged, plan: GradingPlan, contract: Contract | None
) -> JudgingResult:
    """Return the result of a run, in sandboxes or not."""
    told = [line.removeprefix(JUDGE_LINE) for line in lines if line.startswith(JUDGE_LINE)]
    shown = [line.removeprefix(WORKER_LINE) for line in lines if line.startswith(WORKER_LINE)]
    problem = _ended_badly(judged.judge) or _never_ran(shown, judged.worker)
    report = JudgeReport()
    if not problem:
        try:
            report = read_judge_report(told, plan, contract)
        except ValueError as error:
            status, log = judged.judge.status, _log(judged.judge)
            problem = f"The judge's report cannot be used: {error} (status {status}). {log}".strip()
    return JudgingResult(
        problem,
        report.checks,
        _worker(shown, judged.worker),
        protected=judged.protected,
        given=report.given,
        contract=report.contract,
        seconds=judged.judge.seconds,
        rehearsal=report.rehearsal,
    )


def _ended_badly(judge: Executed) -> str:
    """Return why a judge was ended; empty if it ended by itself."""
    if why := SHORTAGES.get(judge.reason):
        return f"The judge was ended because {why}."
    if judge.reason:
        return f"The judge exceeded its limit of {judge.reason}."
    if judge.timed_out:
        return f"The judge did not end within {judge.seconds:.0f} seconds."
    if judge.overflow:
        return "The judge's report is too long."
    return ""


def _never_ran(lines: list[str], worker: Executed) -> str:
    """Return why a worker's end is not the student's doing; empty if it may be."""
    if why := SHORTAGES.get(worker.reason):
        return f"The worker was ended because {why}."
    if not lines and not worker.overflow:
        return f"The worker reported nothing. {_log(worker)}".strip()
    return ""


def _log(executed: Executed) -> str:
    return executed.log_tail.strip()[-_LOG:]


def _worker(lines: list[str], worker: Executed) -> ExecutionResult:
    """Return the worker's run, which has finished if it says so: it is then ended by the judge."""
    try:
        finished = bool(lines) and json.loads(lines[-1]) == {"kind": "end"}
    except (ValueError, RecursionError):
        finished = False
    timed_out = worker.timed_out and not finished
    return read_report(lines, worker.model_copy(update={"timed_out": timed_out}))


_KEPT = 16
"""Directories that are kept although no judge uses them."""

_ID_BYTES = 12
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644


class JudgeFolders:
    """The directories by the digest of what they hold, the last used at the end."""

    def __init__(self, place: Path, remove: Callable[[Path], None], bounds: CopyBounds) -> None:
        """Keep them below ``place``, a directory that only this process writes to."""
        self._place = place
        self._remove = remove
        self._bounds = bounds
        self._turn = asyncio.Lock()
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def folder(self, files: JudgeFiles) -> AsyncIterator[Path]:
        """Yield the directory for a judge, which is made if it is missing. Raises: TooLarge."""
        name = await asyncio.to_thread(_digest, files)
        async with self._turn:
            if name not in self._users:
                await self._make_room()
                await to_its_end(self._make, files, name)
            self._users[name] = self._users.pop(name, 0) + 1
        try:
            yield self._place / name
        finally:
            self._users[name] -= 1

    def _make(self, files: JudgeFiles, name: str) -> None:
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._place / name
        if target.exists():  # made for a call that was cancelled
            return
        half = self._beside(name)
        try:
            (half / FILES).mkdir(parents=True)
            if files.folder is not None:
                copy_folder(files.folder, half / FILES, self._bounds, notebooks=False)
            for of, text in _texts(files).items():
                (half / of).write_text(text, encoding="utf-8")
            _let_read(half)
            half.rename(target)
        except BaseException:
            self._remove(half)
            raise

    async def _make_room(self) -> None:
        """Remove those that were not used for the longest time, so that one more can be made."""
        unused = [name for name, users in self._users.items() if not users]
        for name in unused[: max(0, len(self._users) + 1 - _KEPT)]:
            del self._users[name]
            removed = self._beside(name)
            (self._place / name).rename(removed)  # an entry named by a digest is always complete
            await to_its_end(self._remove, removed)

    def _beside(self, name: str) -> Path:
        return self._place / f"{name}-{secrets.token_hex(_ID_BYTES)}"


def _let_read(top: Path) -> None:
    for folder, _, names in os.walk(top):
        Path(folder).chmod(_DIRECTORY_MODE)
        for name in names:
            Path(folder, name).chmod(_FILE_MODE)


def _texts(files: JudgeFiles) -> dict[str, str]:
    """Return the texts of a judge's directory by the names of their files."""
    found = {PLAN: render_plan(files.plan)}
    if files.contract is not None:
        found[CONTRACT] = render_contract(files.contract)
    return found


def _digest(files: JudgeFiles) -> str:
    """Return the digest of the texts, and of the path, size and time of each file."""
    digest = hashlib.sha256()
    for text in _texts(files).values():
        digest.update(hashlib.sha256(text.encode()).digest())
    if files.folder is not None:
        for below, name, directory in needed_files(files.folder):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                facts = (str(below / name), status.st_size, status.st_mtime_ns, status.st_ino)
                digest.update(repr(facts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
