"""The database of a course's hub, for commands on the hub's machine."""

from __future__ import annotations

from contextlib import AbstractContextManager

from mograder.core.errors import NotFound
from mograder.core.settings import LoadedSettings
from mograder.store.database import database_url
from mograder.store.existing_database import existing_state
from mograder.store.hub_state import HubState


def open_hub_state(loaded: LoadedSettings) -> AbstractContextManager[HubState | None]:
    """Return the hub's database, to be opened; None if no hub has run."""
    return existing_state(database_url(loaded.settings.database.url, loaded.course_dir))


def no_hub(loaded: LoadedSettings) -> NotFound:
    """Return the error of a command for a course without a hub's database."""
    return NotFound(
        f"No hub has run in {loaded.course_dir} yet, so nothing can be kept for it.",
        hint="Give the hub's course by -C, or start the hub once.",
    )
