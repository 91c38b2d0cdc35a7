"""A workbench: the runner, environments and limits with which a command runs notebooks here.

On Linux a supervisor of the command's own makes sandboxes; it ends with the command, and so do its
sessions. Other systems have no sandboxes: a person's own notebook runs there with the person's
rights, as the editor runs it. Environments are built once for each set of requirements, and kept
for the next time. No two sandboxes of a run have the same number, and so the same user id, at a
time.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from importlib import metadata
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.core.log import get_logger
from mograder.core.operating_system import SYSTEM, SYSTEM_NAME, user_cache
from mograder.core.settings import FILE_NAME, Environ, LoadedSettings
from mograder.notebook.pep723 import read_script
from mograder.sandbox.environments.builder import CommandRunner, Environments
from mograder.sandbox.environments.record import make_own_environment
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.execution.item_limits import AUTHORS_BOUNDS, limits_for
from mograder.sandbox.execution.judging import Runner
from mograder.sandbox.execution.plain_processes import PlainProcesses
from mograder.sandbox.protocol import COMMANDS_SLOT, Limits

if sys.platform == "linux":
    from mograder.sandbox.client.bootstrap import momentary_supervisor, supervisor_config
    from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
    from mograder.store.filesystem.files import remove_tree

_log = get_logger(__name__)

_WARM_FROM = 2
"""Number of runs from which importing marimo once for all of them pays."""
_WARM_ENVIRONMENTS = 4

UNPROTECTED = (
    ""
    if SYSTEM == "linux"
    else f"{SYSTEM_NAME} has no sandbox: notebooks run with your rights, as in the editor."
)
"""The sentence for people whose machine is not protected from notebooks; empty on Linux."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """Runs and judges notebooks, each in the environment that its header asks for.

    ``limits`` returns those of a run by the text whose header counts and the name of the item; it
    raises :class:`~mograder.core.errors.InvalidInput` for a wrong header.

    ``warm`` prepares fast starts in an environment, where there are any. Without
    ``environments``, all notebooks have ``own``, the environment of the Python that runs mograder.
    """

    runner: Runner
    limits: Callable[[str, str], Limits]
    environments: Environments | None
    warm: Callable[[Path], Awaitable[object]]
    own: Path = Path()

    async def environment(self, text: str, say: Callable[[str], None]) -> Path:
        """Return a notebook's environment, built if missing, and pre-imported if that pays.

        Raises: InvalidInput if the header is wrong, or its packages cannot be installed.
        """
        directory = self.own
        if self.environments is not None:
            directory = (await self.environments.prepare(read_script(text), say)).directory
        try:
            await self.warm(directory)
        except MograderError as error:
            _log.warning("notebooks of %s start cold: %s", directory.name, error)
        return directory


class SandboxSlots:
    """Gives out pairs of free numbers, the lowest first; for one event loop.

    ``numbers`` are those to give out, by default those of commands. Mutable state: ``_free``,
    numbers that were returned, and ``_new``, those never given out.
    """

    def __init__(self, numbers: Iterable[int] | None = None) -> None:
        self._free: list[int] = []
        self._new = iter(itertools.count(COMMANDS_SLOT) if numbers is None else numbers)

    @contextmanager
    def pair(self) -> Iterator[tuple[int, int]]:
        """Hold two numbers: the worker's and the judge's."""
        one, other = (heappop(self._free) if self._free else next(self._new) for _ in range(2))
        try:
            yield one, other
        finally:
            heappush(self._free, one)
            heappush(self._free, other)


@asynccontextmanager
async def open_workbench(
    loaded: LoadedSettings,
    environ: Environ,
    *,
    sandbox: bool = True,
    own_python: bool = False,
    runs: int = 1,
    jobs: int = 2,
) -> AsyncIterator[Workbench]:
    """Yield a workbench for ``runs`` runs, ``jobs`` at a time; on Linux with its own supervisor.

    Without ``sandbox``, or if the settings switch it off, this machine is not protected from the
    notebooks; on other systems it never is. With ``own_python`` they have the packages of the
    Python that runs mograder.

    Raises:
        SandboxUnavailable: A sandbox is wanted and cannot be made; or the settings demand one on a
            system that has none.
    """
    if sys.platform != "linux":
        async with open_plain(loaded, environ, own_python=own_python, jobs=jobs) as plain:
            yield plain
    else:
        place, _ = _places(loaded, environ)
        config = supervisor_config(loaded, environ)
        if not sandbox:
            config = config.model_copy(update={"sandbox": "none"})
        if config.uv_cache.is_relative_to(loaded.state_dir):
            config = config.model_copy(update={"uv_cache": place / "uv-cache"})
        warm = _WARM_ENVIRONMENTS if runs >= _WARM_FROM else 0
        async with (
            momentary_supervisor(config, warm=warm) as moment,
            _directory() as copies,
            _environments_of(loaded, environ, moment.client, own_python) as environments,
        ):
            own, client = copies / "own", moment.client
            if own_python:
                await asyncio.to_thread(make_own_environment, own)
            runner = SandboxedRunner(
                client, copies / "runs", remove_tree, at_once=jobs, bounds=AUTHORS_BOUNDS
            )
            yield Workbench(runner, _limits(loaded), environments, client.warm, own)


@asynccontextmanager
async def open_plain(
    loaded: LoadedSettings, environ: Environ, *, own_python: bool = False, jobs: int = 2
) -> AsyncIterator[Workbench]:
    """Yield a workbench without a supervisor, for ``jobs`` runs at a time.

    With ``own_python``, notebooks have the packages of the Python that runs mograder.

    Raises: SandboxUnavailable if ``[security] use_bubblewrap`` demands a sandbox.
    """
    demand_no_sandbox(loaded)
    variables = own_variables(environ)
    if cache := loaded.settings.hub.uv_cache_dir:
        variables["UV_CACHE_DIR"] = str(loaded.path(cache))
    async with _directory() as copies:
        runner = PlainProcesses(variables, copies, at_once=jobs, bounds=AUTHORS_BOUNDS)
        async with _environments_of(loaded, environ, runner, own_python) as environments:
            # Only supervisors keep processes for fast starts.
            yield Workbench(runner, _limits(loaded), environments, lambda _: asyncio.sleep(0))


@asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    made = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="mograder-"))
    try:
        yield made
    finally:
        await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)


def _limits(loaded: LoadedSettings) -> Callable[[str, str], Limits]:
    return lambda text, item: limits_for(loaded.settings, read_script(text), item)


def _places(loaded: LoadedSettings, environ: Environ) -> tuple[Path, Path]:
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


@asynccontextmanager
async def _environments_of(
    loaded: LoadedSettings, environ: Environ, runner: CommandRunner, own_python: bool
) -> AsyncIterator[Environments | None]:
    """Yield the environments of a command, built by ``runner``; None with ``own_python``."""
    if own_python:
        yield None
        return
    place, directory = _places(loaded, environ)
    environments = Environments(
        directory,
        runner,
        wheel=await asyncio.to_thread(build_runtime_wheel, place / "wheels"),
        marimo=metadata.version("marimo"),
        timeout=loaded.settings.limits.build_timeout,
    )
    try:
        yield environments
    finally:
        await environments.close()


def demand_no_sandbox(loaded: LoadedSettings) -> None:
    if loaded.settings.security.use_bubblewrap:
        raise SandboxUnavailable(
            f"[security] use_bubblewrap is true, but {SYSTEM_NAME} has no sandboxes.",
            hint="Remove that line from mograder.toml to run your own notebooks without one.",
        )


def own_variables(environ: Environ) -> dict[str, str]:
    """Return the environment variables of a program that runs with the person's own rights."""
    return {**environ.build, "PATH": environ.path, "HOME": str(environ.home)}
