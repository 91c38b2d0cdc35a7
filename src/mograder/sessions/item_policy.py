"""The features and limits of one item (sessions.md, "What is switched off").

The instructor sets them in the header of the release, the administrator in ``[items.NAME]`` of
``mograder.toml``; the administrator's values override the header's, key by key. The header of a
student's copy is ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.settings_model import ItemLimits, ItemSettings
from mograder.notebook.pep723 import Script, read_script
from mograder.sandbox.protocol import Limits
from mograder.store.releases import Release, Releases

Decisions = Mapping[str, ItemSettings]
"""The ``[items.NAME]`` settings, by item name."""

NOTHING_DECIDED: Decisions = MappingProxyType({})

_log = get_logger(__name__)


def script_of(release: Release | None) -> Script:
    """Return a release's header; an empty one for None, a copy whose release was withdrawn.

    Raises: :class:`InvalidInput` when the header cannot be parsed.
    """
    return Script() if release is None else read_script(release.notebook.read_text("utf-8"))


def allowed(script: Script, decided: ItemSettings | None) -> tuple[str, ...]:
    """Return the features that an item's page may offer (the administrator's, or the header's)."""
    return script.allow if decided is None or decided.allow is None else decided.allow


def limited(ordinary: Limits, script: Script, decided: ItemSettings | None) -> Limits:
    """Return the limits of an item's sessions: ``[limits]``, the header, ``[items.NAME.limits]``.

    Later sources override earlier ones. The header may exceed ``[limits]``: instructors are
    trusted with the machine's resources, and the memory of all sessions is limited separately.
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
    """The features that items allow, from the release and the settings.

    They are needed only when a page requests a feature that is off by default, so nothing is
    cached, and a release that is published again takes effect at once.
    """

    def __init__(self, releases: Releases, decisions: Decisions = NOTHING_DECIDED) -> None:
        self._releases = releases
        self._decisions = decisions

    async def allows(self, item: str, feature: str) -> bool:
        """Return whether the administrator, or else the release's header, allows the feature."""
        decided = self._decisions.get(item)
        if decided is not None and decided.allow is not None:
            return feature in decided.allow
        try:
            return feature in await asyncio.to_thread(self._in_header, item)
        except (InvalidInput, OSError, UnicodeDecodeError) as error:
            _log.warning("the header of %s cannot be read; no feature is allowed: %s", item, error)
            return False

    def _in_header(self, item: str) -> tuple[str, ...]:
        return script_of(self._releases.get(ItemName(item))).allow
