"""A node's configuration, and its process: one in its directory, which signals find by that."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.files import file_lock
from mograder.core.files.disk import closing_fd
from mograder.core.sections.settings_model import SecuritySettings
from mograder.core.settings import Environ, limits_of, own_runtime_dir
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
        return self.state / "environments"


def node_config(environ: Environ) -> NodeConfig:
    """Return the configuration by the variables of this process; it changes nothing.

    Raises: :class:`InvalidInput` for a limit that cannot be used.
    """
    node, limits = environ.node, limits_of(environ.node.limits)
    state = node.state.absolute()
    runtime = environ.runtime_directory or own_runtime_dir(state, environ)
    cache = node.uv_cache or state / "uv-cache"  # a home may be read-only, as for our unit
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


_LOCK = "agent.lock"
_HOLD_SECONDS = 5.0
_DIGITS = 20


@contextlib.contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold the lock of a node's directory, with the number of this process in the file.

    Raises: :class:`Conflict` if another node is at work there, :class:`InvalidInput` for a
    directory in which this user cannot write.
    """
    try:
        lock = file_lock.open_lock(state / _LOCK)
    except OSError as error:
        raise InvalidInput(
            f"The node's directory {state} cannot be written: {error.strerror} ({_LOCK}).",
            hint="Run the node as the user who owns it, or name another one with --state.",
        ) from error
    with closing_fd(lock):
        if not file_lock.acquire(lock, seconds=_HOLD_SECONDS):
            raise Conflict(
                f"Another node is at work in {state}.",
                hint="Stop it, or give this one a directory of its own with --state.",
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield


def send(state: Path, number: signal.Signals) -> None:
    """Send a signal to the node of a directory. Raises: :class:`NotFound` if none is at work."""
    absent = NotFound(f"No node is at work in {state}.", hint="Name its directory with --state.")
    try:
        lock = os.open(state / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        raise absent from None
    with closing_fd(lock), contextlib.suppress(ProcessLookupError, PermissionError):
        text = os.pread(lock, _DIGITS, 0).decode("ascii", "replace")
        if not text.isdecimal() or file_lock.acquire(lock):
            raise absent  # it has ended, and the number may be another process's
        # Opened before the lock is tried again: then the process is the one that holds it.
        with closing_fd(os.pidfd_open(int(text))) as process:
            if file_lock.acquire(lock):
                raise absent
            signal.pidfd_send_signal(process, number)
            return
    raise absent
