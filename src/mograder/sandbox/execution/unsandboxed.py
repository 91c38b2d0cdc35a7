"""Running an author's own notebook on their own machine: trusted, so without a sandbox.

The cells run by ``cell_runner.py``, as they do in a sandbox, but with the author's python, files
and network, and without limits. They run on a copy, because a notebook may write beside itself.
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
from importlib import resources
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

from mograder.core.errors import InvalidInput
from mograder.core.single_flight import Progress
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.execution.report import ExecutionResult, read_report
from mograder.sandbox.execution.runner import is_needed
from mograder.sandbox.isolation.policy import CELLRUN
from mograder.sandbox.protocol import Executed

_LOG_BYTES = 4000
_MOST_BYTES = 64 << 20


class AuthorEnvironment:
    """Which python runs a notebook: one with what its header asks for, and our runtime.

    uv makes and keeps them. ``own`` uses the python that runs mograder instead. ``variables`` are
    all that uv and the notebook find in their environment.
    """

    def __init__(self, wheels: Path, variables: Mapping[str, str], *, own: bool = False) -> None:
        """``wheels`` is where our runtime is kept; it is made when it is needed."""
        self._wheels = wheels
        self.variables = {**variables, "MPLBACKEND": "agg", "NO_COLOR": "1"}
        self._own = own
        self._made: dict[Script, asyncio.Task[tuple[str, ...]]] = {}

    async def command(self, script: Script, progress: Progress) -> tuple[str, ...]:
        """Return how to start that python; it is made at the first call for these packages.

        Raises:
            InvalidInput: uv cannot find the packages; the message is uv's.
            SandboxUnavailable: Our runtime cannot be written.
        """
        if self._own:
            return (sys.executable,)
        if script not in self._made:
            progress("Preparing the notebook's packages")
            self._made[script] = asyncio.create_task(self._make(script))
        return await asyncio.shield(self._made[script])

    async def close(self) -> None:
        """Give up what is still being made."""
        for task in self._made.values():
            task.cancel()
        await asyncio.gather(*self._made.values(), return_exceptions=True)

    async def _make(self, script: Script) -> tuple[str, ...]:
        wheel = await asyncio.to_thread(build_runtime_wheel, self._wheels)
        requirements = [Requirement(text) for text in script.dependencies]
        wanted = [str(r) for r in requirements if canonicalize_name(r.name) != "mograder"]
        command = [find_uv_bin(), "run", "--no-project", "--no-config", "--quiet"]
        if script.requires_python:
            command += ["--python", script.requires_python]
        for each in [*wanted, "marimo", str(wheel)]:
            command += ["--with", each]
        process = await asyncio.create_subprocess_exec(
            *command,
            *("python", "-c", "import mograder.runtime"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._wheels,
            env=self.variables,
            start_new_session=True,
        )
        _, told = await _finished(process)
        if process.returncode:
            raise InvalidInput(
                "The notebook's packages cannot be installed:\n" + _tail(told),
                hint="Change `dependencies` in the notebook's header.",
            )
        return (*command, "python")


async def run_as_author(
    environment: AuthorEnvironment,
    python: Sequence[str],
    notebook: Path,
    support: Path,
    *,
    seconds: float,
) -> ExecutionResult:
    """Run a copy of a notebook, with a copy of the files beside it; return what came of each cell.

    ``seconds`` is how long it may take before it is ended.
    """
    workshop = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mograder-run-"))
    try:
        place, program = workshop / "item", workshop / "program"
        await asyncio.to_thread(_copy, notebook, support, place)
        await asyncio.to_thread(_copy_program, program)
        options = {"rlimits": {}, "caches": "", "outputs": True}
        variables = {**environment.variables, "TMPDIR": str(workshop)}
        with (workshop / "report").open("w+b") as report:
            told = json.dumps({**options, "fd": report.fileno()})
            command = (*python, str(program / CELLRUN[0]), told, "--", notebook.name)
            executed = await _execute(command, place, variables, report.fileno(), seconds)
            report.seek(0)
            data = report.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            executed = executed.model_copy(update={"overflow": True})
        # A run that was ended may have left half a line.
        lines = data.rpartition(b"\n")[0].decode("utf-8", "replace").split("\n")
        return await asyncio.to_thread(read_report, filter(None, lines), executed)
    finally:
        await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)


async def _execute(
    command: Sequence[str],
    directory: Path,
    variables: Mapping[str, str],
    report: int,
    seconds: float,
) -> Executed:
    """Run a program that reports to a descriptor, and end it if the time is not enough."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env=variables,
        pass_fds=(report,),
        start_new_session=True,
    )
    told, timed_out = b"", False
    try:
        async with asyncio.timeout(seconds):
            _, told = await _finished(process)
    except TimeoutError:
        timed_out = True
    status = 0 if process.returncode is None else process.returncode
    took = time.monotonic() - started
    return Executed(status=status, log_tail=_tail(told), seconds=took, timed_out=timed_out)


async def _finished(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """Wait for a process; whatever happens, it and its children do not stay."""
    try:
        return await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _copy(notebook: Path, support: Path, place: Path) -> None:
    def unwanted(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if _is_unwanted(Path(directory, name))]

    shutil.copytree(support, place, ignore=unwanted, ignore_dangling_symlinks=True)
    shutil.copyfile(notebook, place / notebook.name)


def _is_unwanted(path: Path) -> bool:
    """Whether a run does without it: hidden, a tool's, installed packages, a link to a folder."""
    if not is_needed(path.name):
        return True
    return path.is_dir() and (path.is_symlink() or (path / "pyvenv.cfg").exists())


def _copy_program(place: Path) -> None:
    """Copy the program that runs cells to a directory without modules that it could mistake."""
    place.mkdir()
    programs = resources.files("mograder.sandbox.inside")
    for name in CELLRUN:
        (place / name).write_bytes((programs / name).read_bytes())


def _tail(told: bytes) -> str:
    return told.decode("utf-8", "replace").strip()[-_LOG_BYTES:]
