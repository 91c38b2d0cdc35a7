"""The removal of a node's environments that no hub has used for a month.

A node does not know which items are published. A hub has it build an environment again that it
lacks, so nothing is lost but time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from mograder.core.tasks.periodic import repeat
from mograder.sandbox.client.environment_pruning import (
    InUse,
    finished_environments,
    last_use,
    prune_environments,
)

_log = logging.getLogger(__name__)

_DAY = 86_400.0
_UNUSED_SECONDS = 30 * _DAY


async def prune_unused(root: Path, in_use: InUse) -> tuple[str, ...]:
    """Remove environments that were not used for a month; return their names.

    Raises: the errors of ``in_use``.
    """
    recent = await asyncio.to_thread(_recent, root)
    pruned = await prune_environments(root, recent, in_use)
    return tuple(each.path.name for each in pruned.removed)


async def prune_daily(root: Path, in_use: InUse) -> None:
    """Call :func:`prune_unused` once a day, until cancelled; failures are logged."""

    async def prune() -> None:
        removed = await prune_unused(root, in_use)
        _log.info("removed %d environments that were not used for a month", len(removed))

    await repeat("unused environments", prune, _DAY, at_once=False)


def _recent(root: Path) -> frozenset[str]:
    since = time.time() - _UNUSED_SECONDS
    return frozenset(p.name for p in finished_environments(root) if last_use(p) > since)
