"""The database of a course's hub, for commands on the hub's machine; the hub may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mograder.core.errors import NotFound
from mograder.core.settings import LoadedSettings
from mograder.store.database import database_url, open_engine, schema_version
from mograder.store.hub_state import HubState


@contextmanager
def open_hub_state(loaded: LoadedSettings) -> Iterator[HubState | None]:
    """Open the hub's database; None if no hub has run.

    It is never created here, since it would have the wrong owner or directory.
    """
    url = database_url(loaded.settings.database.url, loaded.course_dir)
    file = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else None
    if file is not None and not file.exists():
        yield None
        return
    engine = open_engine(url)
    try:
        yield None if schema_version(engine) is None else HubState(engine)
    finally:
        engine.dispose()


def no_hub(loaded: LoadedSettings) -> NotFound:
    """Return the error of a command for a course without a hub's database."""
    return NotFound(
        f"No hub has run in {loaded.course_dir} yet, so nothing can be kept for it.",
        hint="Give the hub's course by -C, or start the hub once.",
    )
