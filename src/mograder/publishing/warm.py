"""Prepare the environments of everything that is published, before a student waits for one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.shared import Progress
from mograder.notebook.pep723 import Script, read_script
from mograder.publishing.publish import Preparer
from mograder.store.releases import Release

_log = get_logger(__name__)


class Published(Protocol):
    """What is published now."""

    def all(self) -> list[Release]:
        """Return every item's release."""


async def warm_releases(
    releases: Published, environments: Preparer, progress: Progress
) -> list[str]:
    """Prepare every item's environment and return the names of those that stand (B96, B129).

    One that cannot be prepared keeps nobody else's from being: it is logged, and its author was
    told when it was published.
    """
    warmed: list[str] = []
    for release in await asyncio.to_thread(releases.all):
        progress(f"Preparing the environment of {release.name}")
        try:
            script = await asyncio.to_thread(_script, release.notebook)
            await environments.prepare(script, progress)
        except (MograderError, OSError, UnicodeDecodeError) as error:
            _log.warning("the environment of %s cannot be prepared: %s", release.name, error)
        else:
            _log.info("the environment of %s is ready", release.name)
            warmed.append(release.name)
    return warmed


def _script(notebook: Path) -> Script:
    return read_script(notebook.read_text("utf-8"))
