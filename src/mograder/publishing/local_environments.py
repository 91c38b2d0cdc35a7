"""Building of environments as on a hub, for a command that runs without one (B100-B104).

Environments and downloads go to the directories of the course's hub, so that a hub that runs, or is
started later, finds both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from mograder.core.settings import Environ, LoadedSettings
from mograder.sandbox.client.bootstrap import supervisor_config
from mograder.sandbox.client.temporary import momentary_supervisor
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel


@asynccontextmanager
async def local_environments(
    loaded: LoadedSettings, environ: Environ
) -> AsyncIterator[Environments]:
    """Yield environments that are built in sandboxes of a temporary supervisor.

    Raises:
        SandboxUnavailable: No sandbox can be started here.
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
