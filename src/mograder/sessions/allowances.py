"""What an instructor allows a notebook's page beyond the ordinary (sessions.md, "Flags")."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.notebook.pep723 import Script, read_script
from mograder.store.releases import Release

_log = get_logger(__name__)


class ReleaseSource(Protocol):
    """Finds what is published; :class:`~mograder.store.releases.Releases` does."""

    def get(self, name: ItemName) -> Release | None: ...


def script_of(release: Release | None) -> Script:
    """Return a release's header; an old copy whose release is gone asks for nothing.

    Raises: :class:`InvalidInput` when the header cannot be read.
    """
    return Script() if release is None else read_script(release.notebook.read_text("utf-8"))


class Allowances:
    """Answers from the release, never from a student's copy of it.

    It is asked only when a page wants what is off by default, so it remembers nothing, and a
    release that is published again counts at once.
    """

    def __init__(self, releases: ReleaseSource) -> None:
        self._releases = releases

    async def allows(self, item: str, feature: str) -> bool:
        """Tell whether ``[tool.mograder] allow`` of the item's release names the feature."""
        try:
            return feature in await asyncio.to_thread(self._allowed, item)
        except (InvalidInput, OSError, UnicodeDecodeError) as error:
            _log.warning("what %s allows cannot be read, so nothing: %s", item, error)
            return False

    def _allowed(self, item: str) -> tuple[str, ...]:
        return script_of(self._releases.get(ItemName(item))).allow
