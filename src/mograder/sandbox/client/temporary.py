"""A supervisor for one command, beside whichever one serves the hub.

`mograder hub check` and `mograder hub warm-cache` run things in sandboxes as a hub does, and must
not disturb a running hub: they never speak to its supervisor, whose sessions are students' work.
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
"""It ends by itself soon after a command that was killed."""


@dataclass(frozen=True, slots=True)
class TemporarySupervisor:
    """A supervisor and a private directory, in which it can be given things to work on."""

    client: SupervisorClient
    place: Path


@asynccontextmanager
async def momentary_supervisor(
    config: SupervisorConfig, *, own_cache: bool = False
) -> AsyncIterator[TemporarySupervisor]:
    """Run a supervisor as ``config`` says, but for its place; it is gone with the context.

    It divides no cgroups and keeps no warm processes: those may be the hub's. With ``own_cache``
    it leaves the hub's package cache alone too, which as another user it could spoil.

    Raises:
        SandboxUnavailable: It cannot start; the message has its own words.
    """
    # Short, since the path of a socket is, and so not below TMPDIR.
    place = Path(tempfile.mkdtemp(prefix="mograder-", dir="/tmp"))
    own = config.model_copy(
        update={
            "runtime": place,
            "socket": place / "supervisor.sock",
            "owned": True,
            "linger": _LINGER_SECONDS,
            "log": place / "log",
            "warm_environments": 0,
            "divide_cgroups": False,
            "uv_cache": place / "uv-cache" if own_cache else config.uv_cache,
        }
    )
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
