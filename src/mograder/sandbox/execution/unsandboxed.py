"""Running people's own notebooks on their own machines: trusted there, so without a sandbox.

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
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

from mograder.core.errors import InvalidInput
from mograder.core.process_tree import ProcessTree, apart
from mograder.core.tasks.single_flight import Progress
from mograder.core.wheel import OURS
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.execution.copy_bounds import CopyBounds, is_needed, too_large
from mograder.sandbox.execution.report import ExecutionResult, read_report
from mograder.sandbox.inside import copy_programs
from mograder.sandbox.isolation.policy import CELLRUN
from mograder.sandbox.protocol import Executed

_LOG_BYTES = 4000
_MOST_BYTES = 64 << 20
_REPORT = "report"
TEXT_VARIABLES = {"PYTHONUTF8": "1"}
"""With it files are opened as UTF-8 on every system, as they are on the course's servers."""


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
        wanted = [str(r) for r in requirements if canonicalize_name(r.name) not in OURS]
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
            **apart(),
        )
        _, told = await finished(process)
        if process.returncode:
            raise InvalidInput(
                "The notebook's packages cannot be installed:\n" + log_tail(told),
                hint="Change `dependencies` in the notebook's header.",
            )
        return (*command, "python")


@dataclass(frozen=True, slots=True)
class OwnRun:
    """A notebook to run without a sandbox: its content, its name, and the folder of its files.

    ``python`` is the command of the Python to run it with, ``variables`` are its environment
    variables. The run is killed after ``seconds``. With ``outputs`` the result contains the cells'
    outputs. ``bounds`` are limits for the files that are copied, None for no limits.
    """

    content: bytes
    name: str
    folder: Path | None
    python: Sequence[str]
    variables: Mapping[str, str]
    seconds: float
    outputs: bool = True
    bounds: CopyBounds | None = None


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
    content = await asyncio.to_thread(notebook.read_bytes)
    variables = environment.variables
    return await run_own(OwnRun(content, notebook.name, support, python, variables, seconds))


async def run_own(wanted: OwnRun) -> ExecutionResult:
    """Run a copy of a notebook without a sandbox, and return the results of its cells.

    Raises:
        TooLarge: The files beside it exceed the limits.
    """
    workshop = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mograder-run-"))
    try:
        await asyncio.to_thread(_fill, workshop, wanted)
        told = json.dumps(
            {
                "report": str(workshop / _REPORT),
                "rlimits": {},
                "caches": "",
                "outputs": wanted.outputs,
            }
        )
        program = workshop / "program" / CELLRUN
        command = (*wanted.python, str(program), told, "--", wanted.name)
        variables = {**wanted.variables, **TEXT_VARIABLES, **temporary_place(workshop)}
        executed = await _execute(command, workshop / "item", variables, wanted.seconds)
        data = await asyncio.to_thread(_read_report, workshop / _REPORT)
        if len(data) > _MOST_BYTES:
            executed = executed.model_copy(update={"overflow": True})
        # A run that was killed may have written a part of a line.
        lines = data.rpartition(b"\n")[0].decode("utf-8", "replace").split("\n")
        return await asyncio.to_thread(read_report, filter(None, lines), executed)
    finally:
        await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)


def _fill(workshop: Path, wanted: OwnRun) -> None:
    """Make the directories of a run: the copies of the notebook and its files, the programs."""
    place = workshop / "item"
    if wanted.folder is None:
        place.mkdir()
    else:
        copy_item(wanted.folder, place, wanted.bounds)
    notebook = place / wanted.name
    notebook.write_bytes(wanted.content)
    copy_programs(workshop / "program")
    (workshop / _REPORT).touch()


def _read_report(path: Path) -> bytes:
    with path.open("rb") as report:
        return report.read(_MOST_BYTES + 1)


def temporary_place(directory: Path) -> dict[str, str]:
    """Return the variables that make programs put their temporary files into a directory."""
    return dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(directory))


async def _execute(
    command: Sequence[str], directory: Path, variables: Mapping[str, str], seconds: float
) -> Executed:
    """Run a program, and kill it after ``seconds``."""
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
    """Wait for a process that was started with :func:`apart`, and return its output.

    On an exception it is killed, with the processes that it has started.
    """
    tree = ProcessTree(process.pid)
    try:
        return await process.communicate()
    finally:
        if process.returncode is None:
            tree.kill()
            await process.wait()


def copy_item(support: Path, place: Path, bounds: CopyBounds | None = None) -> None:
    """Copy the files that a notebook may need to a directory, which is made.

    Raises:
        TooLarge: They exceed the limits.
    """
    files = size = 0

    def unwanted(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if _is_unwanted(Path(directory, name))]

    def copy(source: str, target: str) -> None:
        nonlocal files, size
        files, size = files + 1, size + Path(source).stat().st_size
        if bounds is not None and (files > bounds.files or size > bounds.mb << 20):
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


def log_tail(told: bytes) -> str:
    """Return the end of a process's output as text."""
    return told.decode("utf-8", "replace").strip()[-_LOG_BYTES:]
