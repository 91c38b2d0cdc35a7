"""Where a hub runs sessions: its own machine, or nodes, which are imported only then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mograder.core.clock import Clock
from mograder.core.settings import LoadedSettings
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.store.hub.hub_state import HubState
from mograder.web.hub.core.hosting import Hosting, own_machine


@dataclass(frozen=True, slots=True)
class Course:
    """The settings that decide it; ``epoch`` is that of this hub."""

    loaded: LoadedSettings
    state: HubState
    clock: Clock
    supervisor: SupervisorClient
    epoch: int


@asynccontextmanager
async def open_hosting(course: Course) -> AsyncIterator[Hosting]:
    """Return what runs the sessions; nodes are let in during the block, if it has some.

    Raises: as :func:`~mograder.web.hub.core.hub_nodes.open_nodes`.
    """
    if not course.loaded.settings.nodes.enabled:
        yield own_machine(course.loaded, course.supervisor)
        return
    from mograder.web.hub.core.hub_nodes import open_nodes  # noqa: PLC0415 - see above

    async with open_nodes(
        course.loaded,
        course.state,
        course.clock,
        course.supervisor,
        course.epoch,
    ) as hosting:
        yield hosting
