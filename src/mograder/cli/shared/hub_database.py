"""The database of a course's hub, for commands on the hub's machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, NotFound
from mograder.core.settings import LoadedSettings
from mograder.store.database.upgrades import awaits_upgrade
from mograder.store.hub.hub_state import HubState, existing_state

HERE: Final = "command line"


@contextmanager
def current_hub_state(loaded: LoadedSettings) -> Iterator[HubState]:
    """Open the hub's database, which must be there and of this version."""
    with existing_state(loaded) as state:
        if state is None:
            raise NotFound(
                f"No hub has run in {loaded.course_dir} yet, so nothing can be kept for it.",
                hint="Give the hub's course by -C, or start the hub once.",
            )
        if awaits_upgrade(state.engine):
            raise Conflict(
                "The hub's database was made by an earlier version.",
                hint="Start the hub of this version once, which upgrades it.",
            )
        yield state


def record_here(state: HubState, action: str, what: str) -> None:
    state.record(SystemClock().now(), "", action, what, HERE, "ok")
