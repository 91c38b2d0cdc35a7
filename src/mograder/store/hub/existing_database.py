"""The database of a hub that has run, for commands; the hub may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mograder.store.database.database import open_engine, schema_version, sqlite_file
from mograder.store.hub.hub_state import HubState


@contextmanager
def existing_state(url: str) -> Iterator[HubState | None]:
    """Open the database of a URL; None if no hub has run on it.

    It is never created here, since it would have the wrong owner or directory.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        yield None
        return
    engine = open_engine(url)
    try:
        yield None if schema_version(engine) is None else HubState(engine)
    finally:
        engine.dispose()
