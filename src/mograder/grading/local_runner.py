"""What a command needs to run notebooks here: a supervisor of its own, and environments.

For a short while only: when the command ends, the supervisor and all that it runs are gone. What
was built stays, for the next time.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.settings import FILE_NAME, Environ, LoadedSettings
from mograder.notebook.pep723 import read_script
from mograder.sandbox.client.bootstrap import open_sandbox, supervisor_config
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.execution.runner import CopyBounds, Executor
from mograder.sandbox.protocol import Limits
from mograder.sandbox.supervisor.config import SupervisorConfig
from mograder.store.files import remove_tree

_log = get_logger(__name__)

_WARM_FROM = 2
"""Runs for which it pays to import marimo once for all of them."""
_WARM_ENVIRONMENTS = 4
_AUTHORS = CopyBounds(files=10_000, mb=1000)
"""As much as a release may hold beside its notebooks."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """Runs notebooks, each in the environment that its header asks for."""

    executor: Executor
    limits: Limits
    environments: Environments
    warm: Callable[[Path], Awaitable[object]]

    async def environment(self, text: str, say: Callable[[str], None]) -> Path:
        """Return the environment of a notebook, built first if need be, and warm if that pays.

        Raises:
            InvalidInput: The header is wrong, or what it asks for cannot be had.
        """
        directory = (await self.environments.prepare(read_script(text), say)).directory
        await self.warm(directory)
        return directory


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
    """Yield a workbench for so many runs, ``jobs`` at a time.

    With ``trusted``, as much may lie beside a notebook as beside an author's.
    Without ``sandbox``, or where the settings switch it off, nothing protects this machine from
    the notebooks.

    Raises:
        SandboxUnavailable: A sandbox is wanted and none can be made.
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
        environments = Environments(
            environments_dir,
            client,
            wheel=await asyncio.to_thread(build_runtime_wheel, place / "wheels"),
            marimo=metadata.version("marimo"),
            timeout=loaded.settings.limits.build_timeout,
        )
        # What a session may use, by the names that the settings have for it.
        limits = loaded.settings.limits.model_dump(include=set(Limits.model_fields))
        bounds = _AUTHORS if trusted else CopyBounds()
        copies = runtime / "copies"
        executor = Executor(client, copies, remove_tree, at_once=jobs, bounds=bounds)
        try:
            yield Workbench(executor, Limits.model_validate(limits), environments, _Warming(client))
        finally:
            await environments.close()
            await client.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, runtime, ignore_errors=True)


class _Warming:
    """Has environments warm before their notebooks run, where the supervisor keeps any warm."""

    def __init__(self, client: SupervisorClient) -> None:
        self._client = client

    async def __call__(self, environment: Path) -> None:
        try:
            await self._client.warm(environment)
        except MograderError as error:
            _log.warning("notebooks of %s start cold: %s", environment.name, error)


def _places(loaded: LoadedSettings, environ: Environ) -> tuple[Path, Path]:
    """Where wheels and environments stay: with the course, or else in the user's own cache."""
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
        "log": runtime / "supervisor.log",
    }
    if config.uv_cache.is_relative_to(loaded.state_dir):
        changes["uv_cache"] = place / "uv-cache"
    return config.model_copy(update=changes)
