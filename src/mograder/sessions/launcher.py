"""The launcher is a port: ``start(spec) -> Endpoint`` (architecture.md).

The local one asks the supervisor on this machine; node agents of a cluster come later. Nothing
above this file assumes a local path of a socket, a local pid, or that one process owns all
sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Mode(StrEnum):
    """How marimo serves a notebook: ``edit`` for assignments, ``run`` for lectures."""

    EDIT = "edit"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may use; megabytes are 2**20 bytes. ``[limits]``, and what an item sets."""

    processes: int
    open_files: int
    file_size_mb: int
    tmp_mb: int
    memory_mb: int
    memory_soft_mb: int
    cpu_weight: int
    workspace_mb: int


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """All that is needed to start one sandboxed marimo.

    ``directory`` is the student's workspace (edit, writable) or the release (run, read-only);
    ``notebook`` a file name in it. ``uid_slot`` numbers the student for as long as the course
    lives, so that a launcher with sub-uids can give each one of their own. ``allow`` are the
    features (:data:`~mograder.core.features.FEATURES`) that the page may offer.
    """

    session_id: str
    owner: str
    item: str
    mode: Mode
    directory: Path
    notebook: str
    environment: Path
    base_url: str
    uid_slot: int
    limits: SessionLimits
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a session's server listens: a Unix socket (local)."""

    socket: Path


@dataclass(frozen=True, slots=True)
class Launched:
    """A session that a launcher has: started now, or before this hub was."""

    session_id: str
    endpoint: Endpoint


class Limit(StrEnum):
    """The limit for which a launcher ended a session."""

    MEMORY = "memory"
    PROCESSES = "processes"
    WORKSPACE = "workspace"
    DISK = "disk"
    """The host's reserve, not the session's own bound."""
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Exit:
    """The news that a session's process ended; ``log_tail`` is its last output, bounded.

    ``limit`` is set when the launcher ended it for that.
    """

    session_id: str
    status: int
    log_tail: str
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """The news that a session's first process runs: forked from a warm one, or started cold.

    ``fallback`` is why a session that should have been warm is not.
    """

    session_id: str
    warm: bool
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """What a session uses now: bytes, processor seconds since its start, a count, bytes."""

    session_id: str
    memory: int
    cpu: float
    processes: int
    workspace: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """The sessions whose use has changed since the last one, and what is used besides (bytes)."""

    uses: Sequence[Use]
    overhead: int


News = Arrival | Measurement


def unheard(_: object) -> None:
    """Take news that nobody wants."""


class Launcher(Protocol):
    """What the pool asks of whoever runs the sandboxes.

    Raises: :class:`~mograder.core.errors.SandboxUnavailable` when no sandbox can be made,
    :class:`~mograder.core.errors.RemoteFailed` when the launcher itself cannot be reached.
    """

    async def start(self, spec: LaunchSpec) -> Launched: ...

    async def stop(self, session_id: str) -> bool:
        """End a session and all its processes; false if there was none."""
        ...

    def answered(self, session_id: str) -> None:
        """Say that a session's server has answered, so its start needs no more favour."""
        ...

    async def running(self) -> list[Launched]: ...

    def watch(
        self,
        on_exit: Callable[[Exit], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = unheard,
    ) -> None:
        """Be told of every end of a session from now on, whoever caused it, and of news.

        ``on_lost``: the connection to the launcher broke. Its sessions may live on, and their ends
        may have been missed: ask :meth:`running` what is still there.
        """
        ...
