"""Running an author's own notebook on their own machine: trusted, so without a sandbox.

marimo's own export of a session tells each cell's outputs and errors, and the sidecar each
check (compat.md 8). It runs on a copy, because marimo writes beside the notebook.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, ValidationError
from uv import find_uv_bin

from mograder.core.errors import InvalidInput
from mograder.core.shared import Progress
from mograder.notebook.pep723 import Script
from mograder.sandbox.executor import is_needed
from mograder.sandbox.runtime_wheel import build_runtime_wheel

_SKIPPED = frozenset({"ancestor-stopped", "ancestor-prevented"})
"""Cells that did not run because of an earlier one: that one is told."""

_TAGS = re.compile(r"<[^>]*>")
_LINE = re.compile(r'__marimo__cell_[^"]*", line (\d+)')
_TRACEBACK = "application/vnd.marimo+traceback"
_LOG_CHARACTERS = 2000
_MOST_BYTES = 64 << 20
_EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[\w+/=]+")


class _Check(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    label: str
    status: Literal["success", "partial", "danger", "warn"]
    details: tuple[str, ...] = ()


class _Output(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str
    data: dict[str, object] = {}
    ename: str = ""
    evalue: str | None = None


class _Console(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    text: str = ""
    mimetype: str = ""


class _Cell(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    outputs: tuple[_Output, ...] = ()
    console: tuple[_Console, ...] = ()


class _Session(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    cells: tuple[_Cell, ...]


@dataclass(frozen=True, slots=True)
class CheckRun:
    """The last that a check said under its label."""

    label: str
    status: Literal["success", "partial", "danger", "warn"]
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CellRun:
    """One cell: what it showed, and its error with the line (from 1) in its code, 0 unknown."""

    output: str
    error: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class AuthorRun:
    """What came of a run; ``problem`` is why it did not end, in a sentence."""

    cells: tuple[CellRun, ...] = ()
    checks: tuple[CheckRun, ...] = ()
    problem: str = ""


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
) -> AuthorRun:
    """Run a copy of a notebook, with a copy of the files beside it, and read what came of it."""
    workshop = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mograder-run-"))
    try:
        place = workshop / "item"
        await asyncio.to_thread(_copy, notebook, support, place)
        variables = {**environment.variables, "MOGRADER_SIDECAR_PATH": str(workshop / "checks")}
        told = await _export(python, place / notebook.name, variables, seconds)
        if told is None:
            return AuthorRun(
                problem=f"it was still running after {seconds:g} s; `timeout` in [defaults] of "
                "mograder.toml allows more."
            )
        return await asyncio.to_thread(_read, place, notebook.name, workshop / "checks", told)
    finally:
        await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)


async def _export(
    python: Sequence[str], notebook: Path, variables: Mapping[str, str], seconds: float
) -> bytes | None:
    """Run it; return what marimo logged, None if the time was not enough."""
    process = await asyncio.create_subprocess_exec(
        *python,
        *("-m", "marimo", "-y", "export", "session", notebook.name),
        *("--no-sandbox", "--force-overwrite"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=notebook.parent,
        env=variables,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            _, told = await _finished(process)
    except TimeoutError:
        return None
    return told


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


def _read(place: Path, name: str, sidecar: Path, told: bytes) -> AuthorRun:
    file = place / "__marimo__" / "session" / f"{name}.json"
    try:
        session = _Session.model_validate_json(_bytes(file))
        checks = [_Check.model_validate_json(line) for line in _bytes(sidecar).splitlines()]
    except FileNotFoundError:
        return AuthorRun(problem=f"marimo could not run it: {_tail(told)}")
    except (ValidationError, InvalidInput) as error:
        return AuthorRun(problem=f"what came of its run cannot be read: {error}")
    last = {check.label: check for check in checks}
    return AuthorRun(
        cells=tuple(map(_cell, session.cells)),
        checks=tuple(CheckRun(c.label, c.status, c.details) for c in last.values()),
    )


def _bytes(file: Path) -> bytes:
    if file.name == "checks" and not file.exists():
        return b""
    with file.open("rb") as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InvalidInput(f"its outputs are larger than {_MOST_BYTES >> 20} MB.")
    return data


def _cell(cell: _Cell) -> CellRun:
    shown = [plain_output(value) for output in cell.outputs for value in output.data.values()]
    printed = [plain_output(each.text) for each in cell.console if each.mimetype != _TRACEBACK]
    output = "\n".join([*shown, *printed])
    for each in cell.outputs:
        if each.type == "error" and each.ename not in _SKIPPED:
            traces = [plain_output(c.text) for c in cell.console if c.mimetype == _TRACEBACK]
            trace = traces[-1].strip() if traces else ""
            lines = _LINE.findall(trace)
            message = trace.rpartition("\n")[2] or each.evalue or each.ename
            return CellRun(output, message, int(lines[-1]) if lines else 0)
    return CellRun(output)


def plain_output(value: object) -> str:
    """Return the text of a cell's output without its HTML, but with what attributes hold."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return html.unescape(_TAGS.sub(_attributes, _EMBEDDED.sub("", text)))


def _attributes(tag: re.Match[str]) -> str:
    return " " + html.unescape(tag[0]) if "data-" in tag[0] else ""


def _tail(told: bytes) -> str:
    return told.decode("utf-8", "replace").strip()[-_LOG_CHARACTERS:]
