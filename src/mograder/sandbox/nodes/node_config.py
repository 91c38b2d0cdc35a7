"""The configuration of a node, and that of its supervisor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mograder.core.sections.settings_model import LimitsSettings, SecuritySettings
from mograder.core.settings import Environ, own_runtime_dir
from mograder.sandbox.client.bootstrap import build_variables, named_files
from mograder.sandbox.limits.procfs import usable_memory, usable_starts
from mograder.sandbox.supervisor.config import SupervisorConfig

_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A node: its directories, the shares below which hubs may name directories, its capacity.

    ``memory`` is in bytes, for all sessions and runs together; ``starts`` how many sessions may
    start at the same time; ``build_seconds`` limits each command of a build.
    """

    state: Path
    shares: tuple[Path, ...]
    supervisor: SupervisorConfig
    memory: int
    starts: int
    drain_seconds: float
    build_seconds: float

    @property
    def environments(self) -> Path:
        """The directory of environments."""
        return self.state / "environments"


def node_config(environ: Environ) -> NodeConfig:
    """Return the configuration by the variables of this process; it changes nothing."""
    node, limits = environ.node, LimitsSettings()
    state = node.state.absolute()
    runtime = environ.runtime_directory or own_runtime_dir(state, environ)
    as_root = os.geteuid() == 0
    cache = node.uv_cache or (state / "uv-cache" if as_root else environ.home / ".cache/uv")
    build = build_variables(environ)
    supervisor = SupervisorConfig(
        runtime=runtime,
        socket=runtime / "supervisor.sock",
        uv_cache=cache.absolute().resolve(),
        sandbox="bubblewrap",
        uid_base=SecuritySettings().sandbox_uid_base,
        owned=False,
        path=environ.path,
        build_variables=build,
        build_readable=named_files(build),
        warm_environments=limits.warm_environments,
        disk_reserve_mb=limits.disk_reserve_mb,
        disk_reserve_percent=limits.disk_reserve_percent,
        warm_memory_mb=limits.warm_memory_mb,
    )
    return NodeConfig(
        state=state,
        shares=tuple(share.absolute().resolve() for share in node.shares),
        supervisor=supervisor,
        memory=node.memory_mb * _MEGABYTE or usable_memory(),
        starts=usable_starts(),
        drain_seconds=node.drain_seconds,
        build_seconds=limits.build_timeout,
    )
