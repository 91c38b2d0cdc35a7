"""Preparation of the environments of all published items, before a student waits for one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import Progress
from mograder.notebook.pep723 import Script, read_script
from mograder.sandbox.client.bootstrap import momentary_supervisor, supervisor_config
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.store.releases.releases import Releases

_LATE = timedelta(minutes=10)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Warmth:
    """The items whose environments are ready, and the errors of the others by item."""

    ready: tuple[str, ...]
    failed: Mapping[str, str]


def due(times: Iterable[tuple[str, datetime]], now: datetime, lead: timedelta) -> list[str]:
    """Return the items that are to be warm now, sorted: from ``lead`` before each time to it.

    For some minutes after that they are kept warm as well: who comes late must not wait longer.
    """
    wanted = {item for item, moment in times if moment - lead <= now < moment + _LATE}
    return sorted(wanted) if lead else []


async def warm_releases(
    releases: Releases,
    prepare: Callable[[Script, Progress], Awaitable[object]],
    progress: Progress,
    only: Collection[str] | None = None,
) -> Warmth:
    """Prepare every item's environment and return which of them are ready (B96, B129).

    ``prepare`` waits until an environment is ready, or raises the installer's error. With ``only``,
    those of these items. A failure is logged and returned, and does not stop the others.
    """
    warmed: list[str] = []
    failed: dict[str, str] = {}
    for release in await asyncio.to_thread(releases.all):
        if only is not None and release.name not in only:
            continue
        progress(f"Preparing the environment of {release.name}")
        try:
            script = await asyncio.to_thread(_script, release.notebook)
            await prepare(script, progress)
        except (MograderError, OSError, UnicodeDecodeError) as error:
            _log.warning("the environment of %s cannot be prepared: %s", release.name, error)
            failed[release.name] = str(error)
        else:
            # What is repeated each minute is no news.
            level = logging.INFO if only is None else logging.DEBUG
            _log.log(level, "the environment of %s is ready", release.name)
            warmed.append(release.name)
    return Warmth(tuple(warmed), failed)


def read_notebook_script(notebook: Path) -> Script:
    """Raise InvalidInput if the file is unreadable, is not UTF-8, or has a malformed header."""
    try:
        return _script(notebook)
    except OSError as error:
        raise InvalidInput(f"{notebook} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{notebook} is not UTF-8 text.") from error


def _script(notebook: Path) -> Script:
    return read_script(notebook.read_text("utf-8"))


@asynccontextmanager
async def local_environments(
    loaded: LoadedSettings, environ: Environ
) -> AsyncIterator[Environments]:
    """Yield environments that are built in sandboxes of a temporary supervisor (B100-B104).

    They and their downloads go to the directories of the course's hub, so that a hub that runs, or
    is started later, finds both. For a command that runs without a hub.

    Raises: SandboxUnavailable if no sandbox can be started here.
    """
    async with momentary_supervisor(supervisor_config(loaded, environ)) as moment:
        environments = Environments(
            loaded.path(loaded.settings.hub.environments_dir),
            moment.client,
            wheel=build_runtime_wheel(loaded.state_dir / "wheels"),
            marimo=metadata.version("marimo"),
            timeout=loaded.settings.limits.build_timeout,
        )
        try:
            yield environments
        finally:
            await environments.close()
