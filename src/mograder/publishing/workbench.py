"""Environments as a hub builds them, for a command that runs while no hub does (B100-B104).

They go where the course's hub looks for them, and what they download goes into its cache: a hub
that is started afterwards, or is running, finds both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from mograder.core.settings import Environ, LoadedSettings
from mograder.sandbox.environments import Environments
from mograder.sandbox.momentary import momentary_supervisor
from mograder.sandbox.runtime_wheel import build_runtime_wheel
from mograder.sandbox.safety import supervisor_config


@asynccontextmanager
async def local_environments(
    loaded: LoadedSettings, environ: Environ
) -> AsyncIterator[Environments]:
    """Build in sandboxes of this command's own; they are gone with the context.

    Raises:
        SandboxUnavailable: Nothing can be built here.
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
