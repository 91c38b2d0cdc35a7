"""Running an author's notebook on the author's machine: it is trusted, so without a sandbox.

``cell_runner.py`` runs the cells, as in a sandbox, but with the author's files and network, and
without limits other than time. It runs a copy, because a notebook may write files beside itself.
"""

from __future__ import annotations

import asyncio
import contextlib
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
    """The Python for running notebooks: one with the header's requirements, and our runtime.

    uv creates and caches it. With ``own`` it is the Python that runs mograder instead.
    ``variables`` are the only environment variables of uv and the notebook.
    """

    def __init__(self, wheels: Path, variables: Mapping[str, str], *, own: bool = False) -> None:
        """``wheels`` is the directory of our runtime wheel, which is built when it is needed."""
        self._wheels = wheels
        self.variables = {**variables, "MPLBACKEND": "agg", "NO_COLOR": "1"}
        self._own = own
        self._made: dict[Script, asyncio.Task[tuple[str, ...]]] = {}

    async def command(self, script: Script, progress: Progress) -> tuple[str, ...]:
        """Return the command that starts Python; the first call for a header prepares it.

        Raises:
            InvalidInput: uv cannot install the packages; the message is uv's.
            SandboxUnavailable: Our runtime wheel cannot be written.
        """
        if self._own:
            return (sys.executable,)
        if script not in self._made:
            progress("Preparing the notebook's packages")
            self._made[script] = asyncio.create_task(self._make(script))
        return await asyncio.shield(self._made[script])

    async def close(self) -> None:
        """Cancel preparations in progress."""
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
        _, told = await finished(process)
        if process.returncode:
            raise InvalidInput(
                "The notebook's packages cannot be installed:\n" + log_tail(told),
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
    """Run a copy of a notebook and of the folder ``support``; return the results of its cells.

    ``python`` is the command of :meth:`AuthorEnvironment.command`. The run is killed after
    ``seconds``.
    """
    workshop = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mograder-run-"))
    try:
        place, program = workshop / "item", workshop / "program"
        await asyncio.to_thread(copy_item, support, place)
        await asyncio.to_thread(shutil.copyfile, notebook, place / notebook.name)
        await asyncio.to_thread(copy_programs, program, CELLRUN)
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
        # A run that was killed may have written a part of a line.
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
    """Run a program that inherits the descriptor ``report``, and kill it after ``seconds``."""
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
            _, told = await finished(process)
    except TimeoutError:
        timed_out = True
    status = 0 if process.returncode is None else process.returncode
    took = time.monotonic() - started
    return Executed(status=status, log_tail=log_tail(told), seconds=took, timed_out=timed_out)


async def finished(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """Wait for a process and return its output; on an exception kill its process group."""
    try:
        return await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def copy_item(support: Path, place: Path) -> None:
    """Copy the files that a notebook may need to a directory, which is made."""

    def unwanted(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if _is_unwanted(Path(directory, name))]

    shutil.copytree(support, place, ignore=unwanted, ignore_dangling_symlinks=True)


def _is_unwanted(path: Path) -> bool:
    """Return whether to omit a path: hidden, a tool's, a virtual environment, a linked folder."""
    if not is_needed(path.name):
        return True
    return path.is_dir() and (path.is_symlink() or (path / "pyvenv.cfg").exists())


def copy_programs(place: Path, names: Sequence[str]) -> None:
    """Copy programs of sandboxes to an empty directory, since Python imports from there."""
    place.mkdir()
    programs = resources.files("mograder.sandbox.inside")
    for name in names:
        (place / name).write_bytes((programs / name).read_bytes())


def log_tail(told: bytes) -> str:
    """Return the end of a process's output as text."""
    return told.decode("utf-8", "replace").strip()[-_LOG_BYTES:]
