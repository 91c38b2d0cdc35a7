"""What one item may do and use beyond the ordinary (sessions.md, "What is switched off").

Its instructor says it in the header of the release, the administrator in ``[items.NAME]`` of
``mograder.toml``; the administrator's word beats the header's, key by key. A student's copy has
no say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.settings_model import ItemLimits, ItemSettings
from mograder.notebook.pep723 import Script, read_script
from mograder.sandbox.protocol import Limits
from mograder.store.releases import Release

Decisions = Mapping[str, ItemSettings]
"""What the administrator decided, by item."""

NOTHING_DECIDED: Decisions = MappingProxyType({})

_log = get_logger(__name__)


class ReleaseSource(Protocol):
    """Finds what is published; :class:`~mograder.store.releases.Releases` does."""

    def get(self, name: ItemName) -> Release | None: ...


def script_of(release: Release | None) -> Script:
    """Return a release's header; an old copy whose release is gone asks for nothing.

    Raises: :class:`InvalidInput` when the header cannot be read.
    """
    return Script() if release is None else read_script(release.notebook.read_text("utf-8"))


def allowed(script: Script, decided: ItemSettings | None) -> tuple[str, ...]:
    """Return the features that an item's page may offer."""
    return script.allow if decided is None or decided.allow is None else decided.allow


def limited(ordinary: Limits, script: Script, decided: ItemSettings | None) -> Limits:
    """Return the bounds of an item's sessions: ``[limits]``, the header, ``[items.NAME.limits]``.

    The header may ask for more than ``[limits]``: who may publish is trusted with the machine's
    time already, and the sum of all sessions has a bound of its own.
    """
    limits = _overlaid(ordinary, script.limits)
    return limits if decided is None else _overlaid(limits, decided.limits)


def _overlaid(below: Limits, above: ItemLimits) -> Limits:
    given: dict[str, int] = above.model_dump(exclude_none=True)
    memory = given.get("memory_mb", below.memory_mb)
    if given.keys() & {"memory_mb", "memory_soft_mb"}:
        given["memory_soft_mb"] = min(given.get("memory_soft_mb") or memory * 3 // 4, memory)
    return below.model_copy(update=given)


class Allowances:
    """Answers from the release and the settings, never from a student's copy.

    It is asked only when a page wants what is off by default, so it remembers nothing, and a
    release that is published again counts at once.
    """

    def __init__(self, releases: ReleaseSource, decisions: Decisions = NOTHING_DECIDED) -> None:
        self._releases = releases
        self._decisions = decisions

    async def allows(self, item: str, feature: str) -> bool:
        """Tell whether the administrator, or else the release's header, allows the feature."""
        decided = self._decisions.get(item)
        if decided is not None and decided.allow is not None:
            return feature in decided.allow
        try:
            return feature in await asyncio.to_thread(self._in_header, item)
        except (InvalidInput, OSError, UnicodeDecodeError) as error:
            _log.warning("what %s allows cannot be read, so nothing: %s", item, error)
            return False

    def _in_header(self, item: str) -> tuple[str, ...]:
        return script_of(self._releases.get(ItemName(item))).allow
