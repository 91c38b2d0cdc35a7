"""Child processes in place of a supervisor, where there are no sandboxes: runs and builds.

A person's own notebooks run with the person's rights, and environments are built by the commands as
the person could run them in a terminal; their packages are chosen by the person's own course.
``cell_runner.py`` runs the cells, as in a sandbox, but with the person's files and network, and
without limits other than time. It runs a copy, because a notebook may write files beside itself.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from uv import find_uv_bin

from mograder.core.operating_system import python_of
from mograder.core.process_tree import ProcessTree, apart
from mograder.core.tasks import Progress
from mograder.sandbox.execution.item_limits import CopyBounds, is_needed, too_large
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult, read_report
from mograder.sandbox.inside import copy_programs
from mograder.sandbox.isolation.policy import CELLRUN
from mograder.sandbox.protocol import Executed, RunCommand

_LOG_BYTES = 4000
_MOST_BYTES = 64 << 20
_REPORT = "report"
_VARIABLES = {"PYTHONUTF8": "1", "MPLBACKEND": "agg", "NO_COLOR": "1"}
"""With the first, files are opened as UTF-8 on every system, as on the course's servers."""


class PlainExecutor:
    """Runs copies of notebooks, at most ``at_once`` at the same time; further calls wait.

    ``variables`` are their environment variables. Of the limits of a request only the time counts.
    An empty ``environment`` is that of the Python that runs mograder.
    """

    def __init__(self, variables: Mapping[str, str], *, at_once: int, bounds: CopyBounds) -> None:
        self._variables = {**variables, **_VARIABLES}
        self._bounds = bounds
        self._turn = asyncio.Semaphore(at_once)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        """Run a notebook until it ends or its time is over, and return the result.

        Raises: :class:`~mograder.core.errors.TooLarge` for too many or too large support files.
        """
        async with self._turn:
            request.begun()
            workshop = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mograder-run-"))
            try:
                await asyncio.to_thread(self._fill, workshop, request)
                return await self._run(workshop, request)
            finally:
                await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)

    def _fill(self, workshop: Path, request: ExecutionRequest) -> None:
        """Make the directories of a run: the copies of the notebook and its files, the programs."""
        place = workshop / "item"
        if request.folder is None:
            place.mkdir()
        else:
            _copy_item(request.folder, place, self._bounds)
        (place / request.name).write_bytes(request.text.encode("utf-8", "surrogatepass"))
        copy_programs(workshop / "program")
        (workshop / _REPORT).touch()

    async def _run(self, workshop: Path, request: ExecutionRequest) -> ExecutionResult:
        own = request.environment == Path()
        python = sys.executable if own else str(python_of(request.environment / "env"))
        told = {
            "report": str(workshop / _REPORT),
            "rlimits": {},
            "caches": "",
            "outputs": request.outputs,
        }
        program = workshop / "program" / CELLRUN
        command = (python, str(program), json.dumps(told), "--", request.name)
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(workshop))
        variables = {**self._variables, **temporary}
        executed = await _execute(command, workshop / "item", variables, request.seconds)
        data = await asyncio.to_thread(_read_report, workshop / _REPORT)
        if len(data) > _MOST_BYTES:
            executed = executed.model_copy(update={"overflow": True})
        # A run that was killed may have written a part of a line.
        lines = data.rpartition(b"\n")[0].decode("utf-8", "replace").split("\n")
        return await asyncio.to_thread(read_report, filter(None, lines), executed)


def _read_report(path: Path) -> bytes:
    with path.open("rb") as report:
        return report.read(_MOST_BYTES + 1)


async def _execute(
    command: Sequence[str], directory: Path, variables: Mapping[str, str], seconds: float
) -> Executed:
    """Run a program, and kill it after ``seconds``, with the processes that it has started."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=variables,
        **apart(),
    )
    tree = ProcessTree(process.pid)
    told, timed_out = b"", False
    try:
        async with asyncio.timeout(seconds):
            _, told = await process.communicate()
    except TimeoutError:
        timed_out = True
    finally:
        if process.returncode is None:
            tree.kill()
            await process.wait()
    status = 0 if process.returncode is None else process.returncode
    log_tail = told.decode("utf-8", "replace").strip()[-_LOG_BYTES:]
    took = time.monotonic() - started
    return Executed(status=status, log_tail=log_tail, seconds=took, timed_out=timed_out)


def _copy_item(support: Path, place: Path, bounds: CopyBounds) -> None:
    """Copy the files that a notebook may need to a directory, which is made. Raises: TooLarge."""
    files = size = 0

    def unwanted(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if _is_unwanted(Path(directory, name))]

    def copy(source: str, target: str) -> None:
        nonlocal files, size
        files, size = files + 1, size + Path(source).stat().st_size
        if files > bounds.files or size > bounds.mb << 20:
            raise too_large(bounds)
        shutil.copy2(source, target)
        Path(target).chmod(Path(target).stat().st_mode | stat.S_IWUSR)  # or Windows keeps it

    shutil.copytree(
        support, place, ignore=unwanted, ignore_dangling_symlinks=True, copy_function=copy
    )


def _is_unwanted(path: Path) -> bool:
    """Return whether to omit a path: hidden, a tool's, a virtual environment, a linked folder."""
    if not is_needed(path.name):
        return True
    return path.is_dir() and (path.is_symlink() or (path / "pyvenv.cfg").exists())


_TIMED_OUT = 124
_LINE_BYTES = 1 << 20
_FOR_SANDBOXES = frozenset({"UV_LINK_MODE"})
"""Variables of builds that are of use in sandboxes only: uv's cache is on the same disk here."""


class PlainCommands:
    """Runs build commands with the given environment variables, and those of each command."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        """Run a command, call ``on_line`` with each line of its output; return its status.

        ``uv`` is our own; other programs are given relative to the directory of the build.
        """
        program, *arguments = command.argv
        # Not resolved: the Python of an environment may be a link, and has to be called by it.
        path = find_uv_bin() if program == "uv" else str(command.directory / program)
        own = {key: value for key, value in command.variables.items() if key not in _FOR_SANDBOXES}
        process = await asyncio.create_subprocess_exec(
            *(path, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=command.directory,
            env={**self._variables, **own, "PYTHONUTF8": "1"},
            limit=_LINE_BYTES,
            **apart(),
        )
        tree = ProcessTree(process.pid)
        try:
            async with asyncio.timeout(command.timeout):
                await _pass_on(process, on_line)
                return await process.wait()
        except TimeoutError:
            on_line("It took too long and was ended.")
            return _TIMED_OUT
        finally:
            if process.returncode is None:
                tree.kill()
                await process.wait()


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
