"""An instructor's requests to a hub before a lecture: rehearse an item, keep items warm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from mograder.clients.hub import Event, HubClient, messages, no_hub
from mograder.core.single_flight import Progress

A = TypeVar("A", bound="_Answer")
_Count = Annotated[int, Field(ge=0)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Plan(_Answer):
    """What the hub knows before a rehearsal; see its route. Memory is in bytes."""

    memory_each: _Count
    memory_total: _Count
    memory_used: _Count
    fits: _Count
    seconds: float


class Durations(_Answer):
    """Seconds from the request to open the notebook."""

    median: float
    p95: float
    worst: float


class Rehearsed(_Answer):
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
    return _read(Plan, client.ask("GET", path), client)


def rehearse(
    client: HubClient, item: str, students: int, within: float, progress: Event
) -> Rehearsed:
    """Run a rehearsal to its end; ``progress`` is called with ``over``, a count, among others."""
    body = {"students": students, "within": within}
    answer = client.follow("POST", f"/rehearsal/{quote(item, safe='')}", progress, body)
    return _validated(Rehearsed, answer, client)


def cancel(client: HubClient, item: str) -> bool:
    """End the rehearsal that runs; return whether there was one."""

    class Cancelled(_Answer):
        cancelled: bool

    answer = client.ask("DELETE", f"/rehearsal/{quote(item, safe='')}")
    return _read(Cancelled, answer, client).cancelled


class Warmth(_Answer):
    """Items that are ready, errors of others by item, and the times for which items are warm."""

    warmed: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    planned: dict[str, tuple[AwareDatetime, ...]] = {}


def warm(client: HubClient, items: Sequence[str], progress: Progress) -> Warmth:
    """Prepare items now."""
    body = {"items": list(items)}
    answer = client.follow("POST", "/warm", messages(progress), body)
    return _validated(Warmth, answer, client)


def warm_at(client: HubClient, items: Sequence[str], moment: datetime) -> Warmth:
    """Have items prepared before a time."""
    body = {"items": list(items), "at": moment.isoformat()}
    return _read(Warmth, client.ask("POST", "/warm", body), client)


def forget_warm(client: HubClient, items: Sequence[str]) -> Warmth:
    """Remove the times of items."""
    body = {"items": list(items), "forget": True}
    return _read(Warmth, client.ask("POST", "/warm", body), client)


def warm_times(client: HubClient) -> Warmth:
    """Return the times for which items are to be warm."""
    return _read(Warmth, client.ask("GET", "/warm"), client)


def _read(shape: type[A], answer: bytes, client: HubClient) -> A:
    try:
        return shape.model_validate_json(answer)
    except ValidationError as error:
        raise no_hub(client.url) from error


def _validated(shape: type[A], answer: dict[str, object], client: HubClient) -> A:
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        raise no_hub(client.url) from error
