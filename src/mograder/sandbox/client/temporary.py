"""A temporary supervisor for one command, beside the one that serves the hub.

Commands that check a machine, build environments or run notebooks use sandboxes as a hub does, and
must not disturb a running hub: they do not connect to its supervisor, which runs the students'
sessions.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mograder.sandbox.client.bootstrap import open_client
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.supervisor.config import SupervisorConfig

_LINGER_SECONDS = 30.0
"""How long the supervisor outlives a command that was killed."""


@dataclass(frozen=True, slots=True)
class TemporarySupervisor:
    """A supervisor's client and a private directory for the files that it works on."""

    client: SupervisorClient
    place: Path


@asynccontextmanager
async def momentary_supervisor(
    config: SupervisorConfig, *, own_cache: bool = False, warm: int = 0
) -> AsyncIterator[TemporarySupervisor]:
    """Run a supervisor with ``config`` in a temporary runtime directory until the context ends.

    It keeps ``warm`` zygotes at most. With ``own_cache`` it does not use the hub's package cache,
    in which it could create files of another owner.

    Raises:
        SandboxUnavailable: It cannot start, or its sandboxes do not work.
    """
    # Not below TMPDIR: the path of a socket is limited to 107 bytes.
    place = Path(tempfile.mkdtemp(prefix="mograder-", dir="/tmp"))
    cache = place / "uv-cache" if own_cache else config.uv_cache
    own = command_config(config.model_copy(update={"uv_cache": cache}), place, warm=warm)
    try:
        client = await open_client(own)
        try:
            yield TemporarySupervisor(client, place)
        finally:
            await client.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def command_config(config: SupervisorConfig, place: Path, *, warm: int = 0) -> SupervisorConfig:
    """Return the configuration of a command's own supervisor, whose files are in ``place``.

    It creates no cgroups and ends none: a running hub, which may have the same ones, has its
    sessions and zygotes there. It keeps ``warm`` environments at most.
    """
    changes: dict[str, object] = {
        "runtime": place,
        "socket": place / "supervisor.sock",
        "owned": True,
        "linger": _LINGER_SECONDS,
        "log": place / "supervisor.log",
        "warm_environments": warm,
        "leased": False,
        "divide_cgroups": False,
    }
    return config.model_copy(update=changes)
