"""The launcher is a port: ``start(spec) -> Endpoint`` (architecture.md).

The local one asks the supervisor on this machine; node agents of a cluster come later. Nothing
above this file assumes a local path of a socket, a local pid, or that one process owns all
sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Mode(StrEnum):
    """How marimo serves a notebook: ``edit`` for assignments, ``run`` for lectures."""

    EDIT = "edit"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """All that is needed to start one sandboxed marimo.

    ``directory`` is the student's workspace (edit, writable) or the release (run, read-only);
    ``notebook`` a file name in it. ``uid_slot`` numbers the student for as long as the course
    lives, so that a launcher with sub-uids can give each one of their own. ``allow`` are the
    features (:data:`~mograder.notebook.pep723.FEATURES`) that the page may offer.
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


@dataclass(frozen=True, slots=True)
class Exit:
    """The news that a session's process ended; ``log_tail`` is its last output, bounded."""

    session_id: str
    status: int
    log_tail: str


class Launcher(Protocol):
    """What the pool asks of whoever runs the sandboxes.

    Raises: :class:`~mograder.core.errors.SandboxUnavailable` when no sandbox can be made,
    :class:`~mograder.core.errors.RemoteFailed` when the launcher itself cannot be reached.
    """

    async def start(self, spec: LaunchSpec) -> Launched: ...

    async def stop(self, session_id: str) -> bool:
        """End a session and all its processes; false if there was none."""
        ...

    async def running(self) -> list[Launched]: ...

    def watch(self, on_exit: Callable[[Exit], None], on_lost: Callable[[], None]) -> None:
        """Be told of every end of a session from now on, whoever caused it.

        ``on_lost``: the launcher itself has gone, and every session with it.
        """
        ...
