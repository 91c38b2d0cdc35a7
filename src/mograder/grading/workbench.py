"""What a command needs to run notebooks here: a supervisor of its own, and environments.

For a short while only: when the command ends, the supervisor and all that it runs are gone. What
was built stays, for the next time.
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

from mograder.core.settings import FILE_NAME, Environ, LoadedSettings
from mograder.notebook.pep723 import read_script
from mograder.sandbox.environments import Environments
from mograder.sandbox.executor import Executor
from mograder.sandbox.host import SupervisorConfig
from mograder.sandbox.protocol import Limits
from mograder.sandbox.runtime_wheel import build_runtime_wheel
from mograder.sandbox.safety import open_sandbox, supervisor_config
from mograder.store.files import remove_tree

_WARM_FROM = 3
"""Runs for which it pays to import marimo once for all of them."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """Runs notebooks, each in the environment that its header asks for."""

    executor: Executor
    limits: Limits
    environments: Environments

    async def environment(self, text: str, say: Callable[[str], None]) -> Path:
        """Return the environment of a notebook, built first if need be.

        Raises:
            InvalidInput: The header is wrong, or what it asks for cannot be had.
        """
        return (await self.environments.prepare(read_script(text), say)).directory


@asynccontextmanager
async def open_workbench(
    loaded: LoadedSettings, environ: Environ, *, sandbox: bool = True, runs: int = 1, jobs: int = 2
) -> AsyncIterator[Workbench]:
    """Yield a workbench for so many runs, ``jobs`` at a time.

    Without ``sandbox``, or where the settings switch it off, nothing protects this machine from
    the notebooks.

    Raises:
        SandboxUnavailable: A sandbox is wanted and none can be made.
    """
    place = _place(loaded, environ)
    runtime = Path(tempfile.mkdtemp(prefix="mograder-"))
    wanted = loaded.settings.security.use_bubblewrap if sandbox else False
    config = _config(loaded, environ, place, runtime).model_copy(
        update={
            "sandbox": "none" if wanted is False else "bubblewrap",
            "warm_environments": 1 if runs >= _WARM_FROM else 0,
        }
    )
    try:
        link, _ = await open_sandbox(config, wanted, dev=False)
        environments = Environments(
            place / "environments",
            link,
            wheel=await asyncio.to_thread(build_runtime_wheel, place / "wheels"),
            marimo=metadata.version("marimo"),
            timeout=loaded.settings.limits.build_timeout,
            on_ready=link.warm if runs >= _WARM_FROM else lambda _: None,
        )
        try:
            executor = Executor(link, runtime / "copies", remove_tree, at_once=jobs)
            yield Workbench(executor, _limits(loaded), environments)
        finally:
            await environments.close()
            await link.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, runtime, ignore_errors=True)


def _place(loaded: LoadedSettings, environ: Environ) -> Path:
    """Where builds stay: in the course, or where there is none, in the user's own cache."""
    if (loaded.course_dir / FILE_NAME).is_file():
        return loaded.state_dir
    return environ.home / ".cache" / "mograder"


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


def _limits(loaded: LoadedSettings) -> Limits:
    limits = loaded.settings.limits
    return Limits(
        processes=limits.processes,
        open_files=limits.open_files,
        file_size_mb=limits.file_size_mb,
        tmp_mb=limits.tmp_mb,
        memory_mb=limits.memory_mb,
        memory_soft_mb=limits.memory_soft_mb,
        cpu_weight=limits.cpu_weight,
        workspace_mb=limits.workspace_mb,
    )
