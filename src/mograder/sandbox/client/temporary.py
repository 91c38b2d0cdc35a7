"""A temporary supervisor for one command, beside the one that serves the hub.

`mograder hub check` and `mograder hub warm-cache` run sandboxes as a hub does, and must not disturb
a running hub: they do not connect to its supervisor, which runs the students' sessions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.supervisor.config import SupervisorConfig

_LINGER_SECONDS = 30.0
"""How long the supervisor outlives a command that was killed."""


@dataclass(frozen=True, slots=True)
class TemporarySupervisor:
    """A supervisor's client and a private directory for the files that it works on."""

    client: SupervisorClient
    place: Path


def command_config(
    config: SupervisorConfig, place: Path, *, warm: int = 0, uv_cache: Path | None = None
) -> SupervisorConfig:
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
        "uv_cache": uv_cache or config.uv_cache,
    }
    return config.model_copy(update=changes)


@asynccontextmanager
async def momentary_supervisor(
    config: SupervisorConfig, *, own_cache: bool = False, warm: bool = False
) -> AsyncIterator[TemporarySupervisor]:
    """Run a supervisor with ``config`` in a temporary runtime directory until the context ends.

    It creates no zygotes unless ``warm``. With ``own_cache`` it does not use the hub's package
    cache, in which it could create files of another owner.

    Raises:
        SandboxUnavailable: It cannot start; the message is the supervisor's.
    """
    # Not below TMPDIR: the path of a socket is limited to 107 bytes.
    place = Path(tempfile.mkdtemp(prefix="mograder-", dir="/tmp"))
    cache = place / "uv-cache" if own_cache else None
    own = command_config(config, place, warm=int(warm), uv_cache=cache)
    try:
        client = SupervisorClient(own)
        await client.open()
        try:
            yield TemporarySupervisor(client, place)
        finally:
            await client.shutdown()
            await client.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)
