"""The request to start a session: workspace, environment, limits, uid slot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.core.settings import LimitsSettings
from mograder.core.single_flight import Progress
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.protocol import Limits, Mode, StartSession
from mograder.sessions.item_policy import (
    NOTHING_DECIDED,
    Decisions,
    allowed,
    limited,
    script_of,
)
from mograder.sessions.session import SessionKey
from mograder.store.hub_state import HubState
from mograder.store.releases import Release, Releases
from mograder.store.workspaces import Workspaces


@dataclass(frozen=True, slots=True)
class _Found:
    """The values for a start that are read from the disk and the database."""

    directory: Path
    script: Script
    uid_slot: int


class Spawner:
    """Builds requests to start sessions, and prepares their environments.

    Mutable state: ``_scripts``, the last header that was read of each item, with its version.
    """

    def __init__(
        self,
        releases: Releases,
        workspaces: Workspaces,
        environments: Environments,
        slots: HubState,
        limits: Limits,
        decisions: Decisions = NOTHING_DECIDED,
    ) -> None:
        """``limits`` apply where neither the header nor ``decisions`` set others."""
        self._releases = releases
        self._workspaces = workspaces
        self._environments = environments
        self._slots = slots
        self._limits = limits
        self._decisions = decisions
        self._scripts: dict[str, tuple[str, Script]] = {}

    async def request(self, key: SessionKey, session_id: str, progress: Progress) -> StartSession:
        """Return the request that starts a session.

        The environment, the limits and the features are those of the release; the header of the
        student's copy is ignored.
        Raises: :class:`NotFound` when there is no notebook to open, :class:`InvalidInput` when it
        is too large, and the errors of preparing an environment.
        """
        # One switch to a thread for all lookups: the switch costs as much as they do.
        found = await asyncio.to_thread(self._find, key)
        environment = await self._environments.prepare(found.script, progress)
        decided = self._decisions.get(key.item)
        return StartSession(
            session_id=session_id,
            mode=key.mode,
            directory=found.directory,
            notebook=f"{key.item}.py",
            environment=environment.directory,
            base_url=f"/{key.url.rstrip('/')}",
            uid_slot=found.uid_slot,
            limits=limited(self._limits, found.script, decided),
            allow=allowed(found.script, decided),
        )

    async def version(self, key: SessionKey) -> str:
        """Return the release's version, which a running lecture must match; "" for an editor."""
        if key.mode is Mode.EDIT:
            return ""
        release = await asyncio.to_thread(self._releases.get, ItemName(key.item))
        return "" if release is None else release.version

    def _find(self, key: SessionKey) -> _Found:
        """Look up a session's directory, header and uid slot; blocks."""
        release = self._releases.get(ItemName(key.item))
        user, item = Username(key.user), ItemName(key.item)
        if key.mode is Mode.RUN:
            if release is None:
                raise NotFound("Lecture not found")
            directory = release.directory
        else:
            directory = self._workspaces.directory(user, item)
            _check_size(self._workspaces.notebook_size(user, item))
        return _Found(directory, self._script_of(release), self._slots.slot_of(key.user))

    def _script_of(self, release: Release | None) -> Script:
        """Return the release's header; read it only if the version has changed."""
        if release is None:
            return script_of(release)
        version, script = self._scripts.get(release.name, ("", Script()))
        if version != release.version:
            script = script_of(release)
            self._scripts[release.name] = release.version, script
        return script


def limits_of(settings: LimitsSettings) -> Limits:
    """Return the default limits of a session, from ``[limits]``."""
    return Limits(
        processes=settings.processes,
        open_files=settings.open_files,
        file_size_mb=settings.file_size_mb,
        tmp_mb=settings.tmp_mb,
        memory_mb=settings.memory_mb,
        memory_soft_mb=settings.memory_soft_mb,
        cpu_weight=settings.cpu_weight,
        workspace_mb=settings.workspace_mb,
    )


def _check_size(size: int | None) -> None:
    """Refuse large notebooks, which marimo would read whole; a sparse 10 GB file is easy to make.

    ``size`` is in bytes, or None without a notebook. Raises: :class:`NotFound`,
    :class:`InvalidInput`.
    """
    if size is None:
        raise NotFound("Notebook not found")
    if size > MAX_NOTEBOOK:
        raise InvalidInput(
            f"The notebook is larger than {MAX_NOTEBOOK // 1_000_000} MB and cannot be opened.",
            hint="Move the data in it to a file of its own.",
        )
