"""The request to start a session: workspace, environment, features, limits, uid slot.

The instructor sets an item's features and limits in the header of the release, the administrator in
``[items.NAME]`` of ``mograder.toml``; the administrator's values override the header's, key by key
(sessions.md, "What is switched off"). The header of a student's copy is ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username, is_rehearsal
from mograder.core.sections.settings_model import ItemSettings
from mograder.core.tasks import Progress
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.pep723 import ItemKind, Script, read_script
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.execution.item_limits import limited
from mograder.sandbox.protocol import Limits, Mode, StartSession
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.session import SessionKey
from mograder.store.copies.workspaces import Workspaces
from mograder.store.hub.hub_state import HubState
from mograder.store.releases.releases import Release, Releases

Decisions = Mapping[str, ItemSettings]
"""The ``[items.NAME]`` settings, by item name."""

NOTHING_DECIDED: Decisions = MappingProxyType({})

_LEAST_WEIGHT = 1
"""The processor weight of a rehearsal's sessions, which take what others leave."""

_log = get_logger(__name__)


class Spawner:
    def __init__(
        self,
        releases: Releases,
        workspaces: Workspaces,
        environments: Environments,
        slots: HubState,
        limits: Limits,
        decisions: Decisions = NOTHING_DECIDED,
        *,
        asset_url: str = "",
    ) -> None:
        """``limits`` apply where neither the header nor ``decisions`` set others.

        ``asset_url`` is that of :class:`StartSession`.
        """
        self._releases = releases
        self._workspaces = workspaces
        self._environments = environments
        self._slots = slots
        self._limits = limits
        self._decisions = decisions
        self._asset_url = asset_url
        self.recorder: CopyRecorder | None = None
        """Records each copy before its session starts, and after it has ended."""

    def ended(self, key: SessionKey) -> None:
        """Record the copy of a session whose process has ended; blocks, and never fails."""
        if self.recorder is not None and key.mode is Mode.EDIT:
            self.recorder.look(Username(key.user), ItemName(key.item))

    async def request(self, key: SessionKey, session_id: str, progress: Progress) -> StartSession:
        """Return the request that starts a session.

        The environment, the limits and the features are those of the release; the header of the
        student's copy is ignored.
        Raises: :class:`NotFound` when there is no notebook to open, :class:`InvalidInput` when it
        is too large, and the errors of preparing an environment.
        """
        # One switch to a thread for all lookups: the switch costs as much as they do.
        directory, script, uid_slot, code = await asyncio.to_thread(self._find, key)
        environment = await self._environments.prepare(script, progress)
        decided = self._decisions.get(key.item)
        limits, awaited = limited(self._limits, script, decided), not is_rehearsal(key.user)
        if not awaited:
            limits = limits.model_copy(update={"cpu_weight": _LEAST_WEIGHT})
        return StartSession(
            session_id=session_id,
            mode=key.mode,
            directory=directory,
            notebook=f"{key.item}.py",
            environment=environment.directory,
            base_url=f"/{key.url.rstrip('/')}",
            uid_slot=uid_slot,
            limits=limits,
            allow=allowed(script, decided),
            asset_url=self._asset_url,
            awaited=awaited,
            code=code,
        )

    async def version(self, key: SessionKey) -> str:
        """Return the release's version, which a running lecture must match; "" for an editor."""
        if key.mode is Mode.EDIT:
            return ""
        release = await asyncio.to_thread(self._releases.get, ItemName(key.item))
        return "" if release is None else release.version

    def _find(self, key: SessionKey) -> tuple[Path, Script, int, bool]:
        """Look up a session's directory, header and uid slot, and if its code is shown; blocks."""
        release = self._releases.get(ItemName(key.item))
        user, item = Username(key.user), ItemName(key.item)
        if key.mode is Mode.RUN:
            if release is None:
                raise NotFound("Lecture not found")
            directory = release.directory
        else:
            directory = self._workspaces.directory(user, item)
            _check_size(self._workspaces.notebook_size(user, item))
            if self.recorder is not None:
                self.recorder.look(user, item)
        # compatibility-0.3.16.md 2.5
        code = release is None or release.kind is not ItemKind.DEMO
        return directory, script_of(release), self._slots.slot_of(key.user), code


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


def script_of(release: Release | None) -> Script:
    """Return a release's header; an empty one for None, a copy whose release was withdrawn.

    Raises: :class:`InvalidInput` when the header cannot be parsed.
    """
    return Script() if release is None else _header(release.notebook, release.version)


@lru_cache(maxsize=512)
def _header(notebook: Path, version: str) -> Script:
    """Read a header; ``version``, part of the cache's key, differs after every replacement."""
    return read_script(notebook.read_text("utf-8"))


def allowed(script: Script, decided: ItemSettings | None) -> tuple[str, ...]:
    """Return the features that an item's page may offer (the administrator's, or the header's)."""
    return script.allow if decided is None or decided.allow is None else decided.allow


class Allowances:
    """The features that items allow, from the release and the settings.

    A release that is published again takes effect at once.
    """

    def __init__(self, releases: Releases, decisions: Decisions = NOTHING_DECIDED) -> None:
        self._releases = releases
        self._decisions = decisions

    async def allows(self, item: str, feature: str) -> bool:
        decided = self._decisions.get(item)
        if decided is not None and decided.allow is not None:
            return feature in decided.allow
        try:
            release = await asyncio.to_thread(self._releases.get, ItemName(item))
            return feature in (await asyncio.to_thread(script_of, release)).allow
        except (InvalidInput, OSError, UnicodeDecodeError) as error:
            _log.warning("the header of %s cannot be read; no feature is allowed: %s", item, error)
            return False
