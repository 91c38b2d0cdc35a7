"""One build of an environment: the project that uv locks for a notebook, and the commands.

Each command runs in a sandbox of the supervisor.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mograder.core.errors import InvalidInput
from mograder.core.system import SYSTEM, python_of
from mograder.core.tasks.single_flight import Progress
from mograder.core.wheel import OURS
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.interpreters import Interpreter
from mograder.sandbox.protocol import RunCommand

NO_MOGRADER = "".join(f"{name} ; python_version < '0'\n" for name in sorted(OURS))
"""uv overrides that remove ``mograder`` and ``mograder-hub`` from all requirements.

What an index has under these names is not ours; notebooks get the wheel of the runtime (decision
5). They are used only for the lock: in the project's settings they would exclude our wheel as well.
"""


def lock_project(script: Script) -> str:
    """Return a ``pyproject.toml`` with the notebook's requirements, and marimo."""
    names = {canonicalize_name(Requirement(text).name) for text in script.dependencies}
    wanted = [*script.dependencies, *([] if "marimo" in names else ["marimo"])]
    project = {"name": "notebook", "version": "0", "dependencies": wanted}
    if script.requires_python:
        project["requires-python"] = script.requires_python
    options = json.loads(script.tool_uv) if script.tool_uv else {}
    return tomlkit.dumps({"project": project, "tool": {"uv": options}})


_BUILD_VARIABLES = {
    "NO_COLOR": "1",
    "UV_NO_PROGRESS": "1",
    "UV_LINK_MODE": "copy",  # cache and environment are different mounts in the sandbox
    "UV_COMPILE_BYTECODE": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "XDG_CACHE_HOME": "caches",
}
_WARM = """\
import importlib.util, marimo, mograder.runtime
importlib.util.find_spec('matplotlib') and __import__('matplotlib.font_manager')
print('MARIMO', marimo.__version__)
try:
    from marimo._cli.cli import main
    options = [{each.name for each in main.commands[mode].params} for mode in ('edit', 'run')]
except Exception:
    options = [set()]
print('ASSET-URL', 'yes' if all('asset_url' in names for names in options) else 'no')
"""
"""Imports the slow modules; prints marimo's version and whether it has ``--asset-url``, an option
that its help hides."""
_EXPLANATION = ("\N{MULTIPLICATION SIGN}", "error:")
"""The beginnings of the line from which on uv explains a failure."""
LOCK = "lock.txt"
PROJECT = "pyproject.toml"
"""The file with the requirements, and with the settings by which uv finds packages."""

_OVERRIDES = "overrides.txt"
_LOCK_LINES, _MOST_LOCK_LINES = 1500, 60_000
"""Lines of a lock that are read at once: a package has one for each of its files' digests."""

_OUTPUT_LINES = 60
_HASHES = re.compile(r" \\\n(?:    --hash=\S+(?: \\)?\n)+")


class CommandRunner(Protocol):
    """Runs one build command in a sandbox (the supervisor's client)."""

    async def run(self, command: RunCommand, on_line: Progress) -> int: ...


@dataclass(frozen=True, slots=True)
class BuildFiles:
    """What a build needs besides a lock: the project's text, and our wheel's name and bytes."""

    project: str
    wheel: str
    content: bytes

    def write(self, workshop: Path, lock: str) -> None:
        """Make the directory of a build. Raises: :class:`OSError`."""
        (workshop / "caches").mkdir(parents=True)
        (workshop / PROJECT).write_text(self.project, "utf-8")
        (workshop / _OVERRIDES).write_text(NO_MOGRADER, "utf-8")
        (workshop / LOCK).write_text(lock, "utf-8")
        (workshop / self.wheel).write_bytes(self.content)


@dataclass(frozen=True, slots=True)
class BuildJob:
    """The commands of one build, each in a sandbox with the build directory and uv's cache."""

    runner: CommandRunner
    workshop: Path
    interpreter: Interpreter
    timeout: float
    tell: Progress

    async def lock(self) -> str:
        """Resolve the requirements and return the lock's text."""
        python = ("--python", str(self.interpreter.program))
        command = ("uv", "pip", "compile", PROJECT, "-o", LOCK, "--no-header")
        quietly = ("--no-annotate", "--quiet", "--override", _OVERRIDES, "--generate-hashes")
        await self._run("The notebook's requirements cannot be met", *command, *python, *quietly)
        return await self._read_lock()

    async def _read_lock(self) -> str:
        """Return the lock's text in pieces that the supervisor passes on whole.

        Read inside the sandbox: the build may have replaced the file by a link to any path.
        """
        if SYSTEM != "linux":  # there are no sandboxes
            return await asyncio.to_thread((self.workshop / LOCK).read_text, "utf-8")
        lines: list[str] = []
        while len(lines) % _LOCK_LINES == 0 and len(lines) < _MOST_LOCK_LINES:
            part = f"{len(lines) + 1},{len(lines) + _LOCK_LINES}p"
            failed = "The lock cannot be read"
            read = await self._run(failed, "/usr/bin/sed", "-n", part, LOCK)
            if not read:
                break
            lines += read
        return "\n".join(lines) + "\n"

    async def install(self, wheel: str) -> None:
        python = str(self.interpreter.program)
        failed = "The notebook's environment cannot be built"
        await self._run(failed, "uv", "venv", "--relocatable", "--python", python, "env")
        into = ("uv", "pip", "install", "--python", self._python(), "--no-deps")
        self.tell("Downloading and installing packages")
        await self._run(failed, *into, "-r", LOCK)
        await self._run(failed, *into, f"./{wheel}")

    async def warm(self) -> tuple[str, bool]:
        """Import slow modules once, which fills their caches.

        Return marimo's version, and whether it has ``--asset-url``.
        """
        self.tell("Warming up")
        lines = await self._run(
            "The notebook's environment does not start", self._python(), "-c", _WARM
        )
        versions = [line.split()[1] for line in lines if line.startswith("MARIMO ")]
        if not versions:
            raise InvalidInput("The notebook's environment has no working marimo.")
        return versions[-1][:40], "ASSET-URL yes" in lines

    def _python(self) -> str:
        """Return the environment's Python, relative to the directory of the build."""
        return python_of(self.workshop / "env").relative_to(self.workshop).as_posix()

    async def _run(self, failed: str, *argv: str) -> list[str]:
        lines: list[str] = []

        explained = False

        def hear(line: str) -> None:
            nonlocal explained
            if len(lines) < 100_000:
                lines.append(line)
            # From here on uv explains a failure, which the error message repeats.
            explained = explained or line.strip().startswith(_EXPLANATION)
            if line.strip() and argv[0] == "uv" and not explained:
                self.tell(line.strip())

        status = await self.runner.run(
            RunCommand(
                argv=argv,
                directory=self.workshop,
                readable=self.interpreter.roots,
                variables=_BUILD_VARIABLES,
                timeout=self.timeout,
            ),
            hear,
        )
        if status != 0:
            said = "\n".join(line for line in lines[-_OUTPUT_LINES:] if line.strip())
            raise InvalidInput(
                f"{failed}:\n{said}" if said else f"{failed} (exit status {status}).",
                hint="" if said else "The supervisor's log may tell why.",
            )
        return lines


def without_hashes(lock: str) -> str:
    """Return a lock without the digests of the packages' files.

    An index may get more files of a version later: the environment is the same, and so its key.
    """
    return _HASHES.sub("\n", lock)
