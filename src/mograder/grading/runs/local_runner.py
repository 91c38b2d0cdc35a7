"""A temporary supervisor and environments, for commands that run notebooks on this machine.

When the command ends, the supervisor and its sessions end too. The environments that were built are
kept for the next time.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.core.log import get_logger
from mograder.core.settings import FILE_NAME, Environ, LoadedSettings
from mograder.notebook.pep723 import read_script
from mograder.sandbox.client.bootstrap import open_sandbox, supervisor_config
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.build_job import CommandRunner
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.execution.judge_runner import JudgeRunner
from mograder.sandbox.execution.judging import Judges
from mograder.sandbox.execution.runner import CopyBounds, Executor
from mograder.sandbox.protocol import Limits, RunCommand
from mograder.sandbox.supervisor.config import SupervisorConfig
from mograder.store.files import remove_tree

_log = get_logger(__name__)

_WARM_FROM = 2
"""Number of runs from which importing marimo once for all of them pays."""
_WARM_ENVIRONMENTS = 4
_LINGER_SECONDS = 30.0
"""How long the supervisor outlives a command that was killed."""
_AUTHORS = CopyBounds(files=10_000, mb=1000)
"""The same limits as for the files of a release beside its notebooks."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """Runs notebooks, each in the environment that its header asks for."""

    executor: Executor
    limits: Limits
    environments: Environments
    client: SupervisorClient
    judges: Judges

    async def environment(self, text: str, say: Callable[[str], None]) -> Path:
        """Return a notebook's environment, built if missing, and pre-imported if that pays.

        Raises:
            InvalidInput: The header is wrong, or its packages cannot be installed.
        """
        directory = (await self.environments.prepare(read_script(text), say)).directory
        try:
            await self.client.warm(directory)
        except MograderError as error:
            _log.warning("notebooks of %s start cold: %s", directory.name, error)
        return directory


async def kept_environment(loaded: LoadedSettings, environ: Environ, text: str) -> Path | None:
    """Return a notebook's environment if an earlier command built it; start no process for it.

    Raises:
        InvalidInput: The header is wrong.
    """
    place, environments_dir = _places(loaded, environ)
    environments = await _environments(loaded, place, environments_dir, _NoCommands())
    found = await environments.kept(read_script(text))
    return None if found is None else found.directory


class _NoCommands:
    """Refuses all commands of builds."""

    async def run(self, command: RunCommand, on_line: Callable[[str], None]) -> int:
        """Raise :class:`SandboxUnavailable`."""
        raise SandboxUnavailable(f"{command.argv[0]} is not run: there is no supervisor.")


async def _environments(
    loaded: LoadedSettings, place: Path, directory: Path, runner: CommandRunner
) -> Environments:
    return Environments(
        directory,
        runner,
        wheel=await asyncio.to_thread(build_runtime_wheel, place / "wheels"),
        marimo=metadata.version("marimo"),
        timeout=loaded.settings.limits.build_timeout,
    )


@asynccontextmanager
async def open_workbench(
    loaded: LoadedSettings,
    environ: Environ,
    *,
    sandbox: bool = True,
    trusted: bool = False,
    runs: int = 1,
    jobs: int = 2,
) -> AsyncIterator[Workbench]:
    """Yield a workbench for ``runs`` runs, ``jobs`` at a time.

    With ``trusted``, the files beside a notebook may be as many and as large as an author's.
    Without ``sandbox``, or if the settings switch it off, this machine is not protected from the
    notebooks.

    Raises:
        SandboxUnavailable: A sandbox is wanted and cannot be made.
    """
    place, environments_dir = _places(loaded, environ)
    runtime = Path(tempfile.mkdtemp(prefix="mograder-"))
    wanted = loaded.settings.security.use_bubblewrap if sandbox else False
    config = _config(loaded, environ, place, runtime).model_copy(
        update={
            "sandbox": "none" if wanted is False else "bubblewrap",
            "warm_environments": _WARM_ENVIRONMENTS if runs >= _WARM_FROM else 0,
        }
    )
    try:
        client, _ = await open_sandbox(config, wanted, dev=False)
        environments = await _environments(loaded, place, environments_dir, client)
        limits = limits_of(loaded.settings.limits)
        bounds = _AUTHORS if trusted else CopyBounds()
        copies = runtime / "copies"
        executor = Executor(client, copies, remove_tree, at_once=jobs, bounds=bounds)
        judges = JudgeRunner(client, runtime / "judging", remove_tree, at_once=jobs, bounds=bounds)
        try:
            yield Workbench(executor, limits, environments, client, judges)
        finally:
            await environments.close()
            await client.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, runtime, ignore_errors=True)


def _places(loaded: LoadedSettings, environ: Environ) -> tuple[Path, Path]:
    """Return the directories of wheels and environments: the course's, else the user's cache."""
    if (loaded.course_dir / FILE_NAME).is_file():
        return loaded.state_dir, loaded.path(loaded.settings.hub.environments_dir)
    cache = environ.home / ".cache" / "mograder"
    return cache, cache / "environments"


def _config(
    loaded: LoadedSettings, environ: Environ, place: Path, runtime: Path
) -> SupervisorConfig:
    config = supervisor_config(loaded, environ)
    changes: dict[str, object] = {
        "runtime": runtime,
        "socket": runtime / "supervisor.sock",
        "owned": True,
        "linger": _LINGER_SECONDS,
        "log": runtime / "supervisor.log",
    }
    if config.uv_cache.is_relative_to(loaded.state_dir):
        changes["uv_cache"] = place / "uv-cache"
    return config.model_copy(update=changes)
