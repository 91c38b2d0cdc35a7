"""Child processes in place of a supervisor, where there are no sandboxes: runs and builds.

A person's own notebooks run with the person's rights, and environments are built by the commands as
the person could run them in a terminal; their packages are chosen by the person's own course.
``cell_runner.py`` runs the cells, as in a sandbox, but with the person's files and network, and
without limits other than time. It runs a copy, because a notebook may write files beside itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from uv import find_uv_bin

from mograder.core.errors import SandboxUnavailable
from mograder.core.operating_system import python_of
from mograder.core.process_tree import ProcessTree, apart
from mograder.core.tasks import Progress, to_its_end
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult, Runner
from mograder.sandbox.execution.notebook_copies import PrivateCopies
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult, read_report
from mograder.sandbox.inside import copy_programs
from mograder.sandbox.isolation.policy import CELLRUN
from mograder.sandbox.protocol import Executed, RunCommand

_LOG_BYTES = 4000
_MOST_BYTES = 64 << 20
_REPORT = "report"
_VARIABLES = {"PYTHONUTF8": "1", "MPLBACKEND": "agg", "NO_COLOR": "1"}
"""With the first, files are opened as UTF-8 on every system, as on the course's servers."""

_TIMED_OUT = 124
_LINE_BYTES = 1 << 20
_FOR_SANDBOXES = frozenset({"UV_LINK_MODE"})
"""Variables of builds that are of use in sandboxes only: uv's cache is on the same disk here."""


_remove = partial(shutil.rmtree, ignore_errors=True)


class PlainProcesses(Runner):
    """Runs copies of notebooks, and build commands, with the given environment variables.

    At most ``at_once`` notebooks run at the same time; further calls wait. Of their limits only the
    time counts. An empty ``environment`` is that of the Python that runs mograder.
    """

    def __init__(
        self, variables: Mapping[str, str], place: Path, *, at_once: int, bounds: CopyBounds
    ) -> None:
        """Keep copies below ``place`` (:class:`PrivateCopies`)."""
        self._variables = dict(variables)
        self._copies = PrivateCopies(place, _remove, at_once=at_once, bounds=bounds)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        async with self._copies.copy(request) as (name, directory):
            request.begun()
            workshop = directory.with_name(f"{name}-run")
            try:
                await to_its_end(_fill, workshop)
                executed, data = await self._run(request, directory, workshop)
            finally:
                await asyncio.to_thread(_remove, workshop)
        # A run that was killed may have written a part of a line.
        lines = data.rpartition(b"\n")[0].decode("utf-8", "replace").split("\n")
        return await asyncio.to_thread(read_report, filter(None, lines), executed)

    async def _run(
        self, request: ExecutionRequest, directory: Path, workshop: Path
    ) -> tuple[Executed, bytes]:
        """Run the notebook in ``directory``; return how the process ended, and its report."""
        own = request.environment == Path()
        python = sys.executable if own else str(python_of(request.environment / "env"))
        report = workshop / _REPORT
        told = {"report": str(report), "rlimits": {}, "caches": "", "outputs": request.outputs}
        program = str(workshop / "program" / CELLRUN)
        command = (python, program, json.dumps(told), "--", request.name)
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(workshop))
        variables = {**self._variables, **_VARIABLES, **temporary}
        executed = await _execute(command, directory, variables, request.seconds)
        data = await asyncio.to_thread(_read_report, report)
        if len(data) > _MOST_BYTES:
            executed = executed.model_copy(update={"overflow": True})
        return executed, data

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        """Raise :class:`SandboxUnavailable`: it needs processes that cannot reach each other."""
        raise SandboxUnavailable("Checks can be judged apart from the answers on Linux only.")

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        """Run a command, call ``on_line`` with each line of its output; return its status.

        ``uv`` is our own; other programs are given relative to the directory of the build.
        """
        program, *arguments = command.argv
        # Not resolved: the Python of an environment may be a link, and has to be called by it.
        path = find_uv_bin() if program == "uv" else str(command.directory / program)
        own = {key: value for key, value in command.variables.items() if key not in _FOR_SANDBOXES}
        variables = {**self._variables, **own, "PYTHONUTF8": "1"}
        streams = (asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT)
        async with _running((path, *arguments), command.directory, variables, streams) as process:
            try:
                async with asyncio.timeout(command.timeout):
                    await _pass_on(process, on_line)
                    return await process.wait()
            except TimeoutError:
                on_line("It took too long and was ended.")
                return _TIMED_OUT


def _fill(workshop: Path) -> None:
    workshop.mkdir(mode=0o700)
    copy_programs(workshop / "program")
    (workshop / _REPORT).touch()


def _read_report(path: Path) -> bytes:
    with path.open("rb") as report:
        return report.read(_MOST_BYTES + 1)


@contextlib.asynccontextmanager
async def _running(
    command: Sequence[str], directory: Path, variables: Mapping[str, str], streams: tuple[int, int]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program, which is killed at last, with the processes that it has started."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=streams[0],
        stderr=streams[1],
        cwd=directory,
        env=variables,
        limit=_LINE_BYTES,
        **apart(),
    )
    tree = ProcessTree(process.pid)
    try:
        yield process
    finally:
        if process.returncode is None:
            tree.kill()
            await process.wait()


async def _execute(
    command: Sequence[str], directory: Path, variables: Mapping[str, str], seconds: float
) -> Executed:
    started = time.monotonic()
    told, timed_out = b"", False
    streams = (asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE)
    async with _running(command, directory, variables, streams) as process:
        try:
            async with asyncio.timeout(seconds):
                _, told = await process.communicate()
        except TimeoutError:
            timed_out = True
    status = 0 if process.returncode is None else process.returncode
    log_tail = told.decode("utf-8", "replace").strip()[-_LOG_BYTES:]
    took = time.monotonic() - started
    return Executed(status=status, log_tail=log_tail, seconds=took, timed_out=timed_out)


async def _pass_on(process: asyncio.subprocess.Process, on_line: Progress) -> None:
    assert process.stdout is not None
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # a longer one, which is dropped
            continue
        if not line:
            return
        on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
