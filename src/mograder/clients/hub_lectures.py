"""An instructor's requests to a hub before a lecture: rehearse an item, keep items warm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from pydantic import AwareDatetime, Field

from mograder.clients.hub import Event, HubAnswer, HubClient, messages
from mograder.core.single_flight import Progress

_Count = Annotated[int, Field(ge=0)]


class Plan(HubAnswer):
    """What the hub knows before a rehearsal; see its route. Memory is in bytes."""

    memory_each: _Count
    memory_total: _Count
    memory_used: _Count
    fits: _Count
    seconds: float


class Durations(HubAnswer):
    """Seconds from the request to open the notebook."""

    median: float
    p95: float
    worst: float


class Rehearsed(HubAnswer):
    """The result of a rehearsal; see the hub's route. Memory is in bytes."""

    students: _Count
    finished: _Count
    warm: _Count
    failed: _Count
    failures: dict[str, int]
    wait: _Count
    gave_way: _Count
    started: Durations | None
    first_output: Durations | None
    all_cells: Durations | None
    memory_each: _Count
    memory_largest: _Count
    memory_together: _Count
    memory_total: _Count
    holds: _Count
    holds_now: _Count
    errors: _Count
    seconds: float


def plan(client: HubClient, item: str, students: int, within: float) -> Plan:
    """Return what a rehearsal would take.

    Raises:
        MograderError: The hub refused or could not be reached, as for all functions here.
    """
    path = f"/rehearsal/{quote(item, safe='')}?students={students}&within={within:g}"
    return client.read(Plan, "GET", path)


def rehearse(
    client: HubClient, item: str, students: int, within: float, progress: Event
) -> Rehearsed:
    """Run a rehearsal to its end; ``progress`` is called with ``over``, a count, among others."""
    body = {"students": students, "within": within}
    path = f"/rehearsal/{quote(item, safe='')}"
    return client.follow(Rehearsed, "POST", path, progress, body)


def cancel(client: HubClient, item: str) -> bool:
    """End the rehearsal that runs; return whether there was one."""

    class Cancelled(HubAnswer):
        cancelled: bool

    return client.read(Cancelled, "DELETE", f"/rehearsal/{quote(item, safe='')}").cancelled


class Warmth(HubAnswer):
    """Items that are ready, errors of others by item, and the times for which items are warm."""

    warmed: tuple[str, ...] = ()
    failed: dict[str, str] = Field(default_factory=dict)
    planned: dict[str, tuple[AwareDatetime, ...]] = Field(default_factory=dict)


def warm(client: HubClient, items: Sequence[str], progress: Progress) -> Warmth:
    """Prepare items now."""
    body = {"items": list(items)}
    return client.follow(Warmth, "POST", "/warm", messages(progress), body)


def warm_at(client: HubClient, items: Sequence[str], moment: datetime) -> Warmth:
    """Have items prepared before a time."""
    body = {"items": list(items), "at": moment.isoformat()}
    return client.read(Warmth, "POST", "/warm", body)


def forget_warm(client: HubClient, items: Sequence[str]) -> Warmth:
    """Remove the times of items."""
    body = {"items": list(items), "forget": True}
    return client.read(Warmth, "POST", "/warm", body)


def warm_times(client: HubClient) -> Warmth:
    """Return the times for which items are to be warm."""
    return client.read(Warmth, "GET", "/warm")
