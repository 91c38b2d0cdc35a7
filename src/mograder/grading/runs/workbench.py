"""The executor, environments and limits with which a command runs notebooks on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.core.files.user_folder import user_cache
from mograder.core.log import get_logger
from mograder.core.settings import FILE_NAME, Environ, LoadedSettings
from mograder.core.system import SYSTEM, SYSTEM_NAME
from mograder.notebook.pep723 import read_script
from mograder.sandbox.environments.builder import CommandRunner, Environments
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.judging import Judges
from mograder.sandbox.execution.report import Executes
from mograder.sandbox.protocol import Limits

_log = get_logger(__name__)

AUTHORS_BOUNDS = CopyBounds(files=10_000, mb=1000)
"""The same limits as for the files of a release beside its notebooks."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """Runs and judges notebooks, each in the environment that its header asks for.

    ``warm`` prepares fast starts in an environment, where there are any. Without
    ``environments``, all notebooks have ``own``, the environment of the Python that runs mograder.
    """

    executor: Executes
    judges: Judges
    limits: Limits
    environments: Environments | None
    warm: Callable[[Path], Awaitable[object]]
    own: Path = Path()

    async def environment(self, text: str, say: Callable[[str], None]) -> Path:
        """Return a notebook's environment, built if missing, and pre-imported if that pays.

        Raises:
            InvalidInput: The header is wrong, or its packages cannot be installed.
        """
        directory = self.own
        if self.environments is not None:
            directory = (await self.environments.prepare(read_script(text), say)).directory
        try:
            await self.warm(directory)
        except MograderError as error:
            _log.warning("notebooks of %s start cold: %s", directory.name, error)
        return directory


def places(loaded: LoadedSettings, environ: Environ) -> tuple[Path, Path]:
    """Return the directories of wheels and environments: the course's, else the user's cache.

    Only Linux has hubs to share the course's with. Elsewhere folders of courses are often copied to
    a cloud, and on Windows the paths in an environment may become too long there.
    """
    directory = loaded.path(loaded.settings.hub.environments_dir)
    shared = SYSTEM == "linux" or not directory.is_relative_to(loaded.course_dir)
    if shared and (loaded.course_dir / FILE_NAME).is_file():
        return loaded.state_dir, directory
    cache = user_cache(environ.home)
    return cache, cache / "environments"


async def environments_of(
    loaded: LoadedSettings, environ: Environ, runner: CommandRunner
) -> Environments:
    """Return the environments of a command, which are built by the commands of ``runner``."""
    place, directory = places(loaded, environ)
    return Environments(
        directory,
        runner,
        wheel=await asyncio.to_thread(build_runtime_wheel, place / "wheels"),
        marimo=metadata.version("marimo"),
        timeout=loaded.settings.limits.build_timeout,
    )


def demand_no_sandbox(loaded: LoadedSettings) -> None:
    """Check that a course's settings allow runs without a sandbox.

    Raises:
        SandboxUnavailable: ``[security] use_bubblewrap`` demands one.
    """
    if loaded.settings.security.use_bubblewrap:
        raise SandboxUnavailable(
            f"[security] use_bubblewrap is true, but {SYSTEM_NAME} has no sandboxes.",
            hint="Remove that line from mograder.toml to run your own notebooks without one.",
        )


def own_variables(environ: Environ) -> dict[str, str]:
    """Return the environment variables of a program that runs with the person's own rights."""
    return {**environ.build, "PATH": environ.path, "HOME": str(environ.home)}
