"""``mograder hub prune`` and its line in ``hub check``: removing environments not in use."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from mograder.core.errors import Conflict, Forbidden, MograderError
from mograder.core.files import file_lock
from mograder.core.settings import LoadedSettings
from mograder.notebook.pep723 import Script, read_script
from mograder.operations.trial_notebook import TRIAL_NOTEBOOK
from mograder.sandbox.environments.pruning import (
    Pruned,
    needed_environments,
    prune_environments,
)
from mograder.store.hub.hub_state import existing_state


async def prune(loaded: LoadedSettings, *, dry_run: bool) -> Pruned:
    """Remove every environment that no published item, session or prepared process needs.

    With ``dry_run`` nothing is removed.

    Raises: :class:`Conflict` if it cannot be determined which environments are needed,
    :class:`Forbidden` if they belong to another user.
    """
    root = loaded.path(loaded.settings.hub.environments_dir)
    if not root.is_dir():
        return Pruned((), (), 0)
    if not dry_run and root.stat().st_uid != os.geteuid():
        raise Forbidden(
            f"The environments in {root} belong to another user.",
            hint="Run it as the hub's user; on a deployed machine: sudo mograder-hub prune",
        )
    needed = await needed_here(loaded)
    if needed is None:
        raise Conflict(
            "No hub has run on this course yet, so it cannot be told which environments it needs.",
            hint="Start the hub once, or name the course with -C.",
        )
    # Sessions on nodes have no lock here, and the hub serves the files of their pages.
    with existing_state(loaded) as state:
        used = {row.environment for row in (state.sessions() if state else ())}
    return await asyncio.to_thread(prune_environments, root, needed, used=used, dry_run=dry_run)


def is_running(loaded: LoadedSettings) -> bool:
    try:
        with (loaded.state_dir / "hub.lock").open("rb") as lock:
            return not file_lock.acquire(lock.fileno(), shared=True)
    except OSError:
        return False


async def needed_here(loaded: LoadedSettings) -> frozenset[str] | None:
    """Return the environments of the published items; None if no hub has run on this course."""
    wheels = (loaded.state_dir / "wheels").glob("*.whl")
    # A hub updates the time of the wheel that it uses at each start.
    wheel = max(wheels, key=lambda path: path.stat().st_mtime, default=None)
    if wheel is None:
        return None
    hub = loaded.settings.hub
    published = await asyncio.to_thread(published_scripts, loaded.path(hub.release_dir))
    # The empty header is for copies whose item is no longer published; that of the trial session
    # is included so that its environment is kept for the next run.
    needed = {*published, Script(), read_script(TRIAL_NOTEBOOK)}
    return await needed_environments(loaded.path(hub.environments_dir), wheel.name, needed)


def published_scripts(releases: Path) -> frozenset[Script]:
    """Return the headers of the published notebooks; it changes nothing there."""
    scripts = set()
    for notebook in releases.glob("[!.]*/*.py"):
        if notebook.stem == notebook.parent.name:
            # Such a release starts no session.
            with suppress(MograderError, OSError, UnicodeDecodeError):
                scripts.add(read_script(notebook.read_text("utf-8")))
    return frozenset(scripts)
