"""An instructor's requests to a hub: its users, its items with their dates, updates and rehearsals.

See compatibility-0.3.16.md 2.3. Every function raises the errors of a request of
:class:`~mograder.clients.hub.HubClient`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from pydantic import AwareDatetime, Field

from mograder.clients.hub import Event, HubAnswer, HubClient, Natural, messages
from mograder.core.errors import NotFound
from mograder.core.item_dates import Visibility
from mograder.core.tasks import Progress


class _Item(HubAnswer):
    name: str
    type: str


class _Count(HubAnswer):
    count: int


class _Revoked(HubAnswer):
    known: bool = True  # earlier hubs do not say


class ItemDatesAnswer(HubAnswer):
    """The dates of an item, where they come from, and how many marks changed with them."""

    opens: AwareDatetime | None = None
    due: AwareDatetime | None = None
    closes: AwareDatetime | None = None
    due_from: str = ""
    closes_from: str = ""
    opens_from: str = ""
    marks: int = 0


def sync_users(client: HubClient, users: Sequence[str]) -> int:
    """Replace the hub's access list; return how many are on it."""
    return client.read(_Count, "POST", "/sync-users", {"users": list(users)}).count


def items(client: HubClient) -> Mapping[str, str]:
    """Return the kind of every published assignment and lecture, by name, in the hub's order."""
    found = client.read(list[_Item], "GET", "/assignments")
    return {item.name: item.type for item in found}


def all_items(client: HubClient) -> Mapping[str, str]:
    """Return the kind of every published item, by name, demos last; not those of a 0.3.16 hub."""
    found = items(client)
    try:
        dated = client.read(dict[str, ItemDatesAnswer], "GET", "/dates")
    except NotFound:
        return found
    return {**found, **{name: "demo" for name in dated if name not in found}}


def rules(client: HubClient) -> Mapping[str, Visibility]:
    return client.read(dict[str, Visibility], "GET", "/visibility")


def set_rules(
    client: HubClient, changes: Mapping[str, Visibility], *, replace: bool = False
) -> None:
    """Set rules; with ``replace``, remove all others."""
    body = {"items": {name: rule.words() for name, rule in changes.items()}, "replace": replace}
    client.ask("POST", "/visibility", body)


def set_dates(
    client: HubClient, item: str, changes: Mapping[str, datetime | None]
) -> ItemDatesAnswer:
    """Set dates of an item, ``opens``, ``due`` or ``closes``; None is as in the hub's settings.

    Without a change it returns the dates in force.
    """
    if not changes:
        found = client.read(dict[str, ItemDatesAnswer], "GET", "/dates")
        return found.get(item, ItemDatesAnswer())
    body = {key: None if at is None else at.isoformat() for key, at in changes.items()}
    return client.read(ItemDatesAnswer, "POST", f"/dates/{quote(item, safe='')}", body)


def revoke_token(client: HubClient, username: str) -> bool:
    """End all tokens, sign-ins and open pages of a person; return whether the hub knew the name."""
    return client.read(_Revoked, "POST", f"/revoke-token/{quote(username, safe='')}").known


class UpdateLine(HubAnswer):
    """The changes of one copy by an update; ``reason`` is why it cannot be merged, else ""."""

    student: str
    changed: bool
    replaced: int
    added: int
    removed: int
    conflicts: int
    reason: str


class Preview(HubAnswer):
    """A preview of a release by its digest; ``state`` is ``done`` if it is complete."""

    release: str
    state: str
    copies: tuple[UpdateLine, ...]


class UpdatedCopy(HubAnswer):
    student: str
    state: str
    conflicts: int
    reason: str


class UpdateStatus(HubAnswer):
    item: str
    offered: bool
    withdrawn: bool
    preview: Preview | None
    copies: tuple[UpdatedCopy, ...]


class Undone(HubAnswer):
    undone: tuple[str, ...]
    kept: tuple[str, ...]
    waiting: tuple[str, ...]
    failed: dict[str, str]


def preview(client: HubClient, item: str, progress: Progress) -> UpdateStatus:
    """Have the hub compute what an update would do to each copy; nothing is changed."""
    return client.follow(UpdateStatus, "POST", f"{_path(item)}/preview", messages(progress))


def offer(client: HubClient, item: str, release: str) -> UpdateStatus:
    """Offer a release that was previewed, with its data files, to all copies of an item."""
    path = f"{_path(item)}?release={quote(release)}"
    return client.follow(UpdateStatus, "POST", path, lambda _: None)


def undo(client: HubClient, item: str, progress: Progress) -> Undone:
    """Withdraw the last offer; copies that were not edited since get their text back."""
    return client.follow(Undone, "DELETE", _path(item), messages(progress))


def _path(item: str) -> str:
    return f"/updates/{quote(item, safe='')}"


class Plan(HubAnswer):
    """The facts that a hub knows before a rehearsal; see its route. Memory is in bytes."""

    memory_each: Natural
    memory_total: Natural
    memory_used: Natural
    fits: Natural
    seconds: float


class Durations(HubAnswer):
    """Seconds from the request to open the notebook."""

    median: float
    p95: float
    worst: float


class Rehearsed(HubAnswer):
    """The result of a rehearsal; see the hub's route. Memory is in bytes."""

    students: Natural
    finished: Natural
    warm: Natural
    failed: Natural
    failures: dict[str, int]
    wait: Natural
    gave_way: Natural
    started: Durations | None
    first_output: Durations | None
    all_cells: Durations | None
    memory_each: Natural
    memory_largest: Natural
    memory_together: Natural
    memory_total: Natural
    holds: Natural
    holds_now: Natural
    errors: Natural
    seconds: float


def plan(client: HubClient, item: str, students: int, within: float) -> Plan:
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
    class Cancelled(HubAnswer):
        cancelled: bool

    return client.read(Cancelled, "DELETE", f"/rehearsal/{quote(item, safe='')}").cancelled


class Warmth(HubAnswer):
    """Items that are ready, errors of others by item, and the times for which items are warm."""

    warmed: tuple[str, ...] = ()
    failed: dict[str, str] = Field(default_factory=dict)
    planned: dict[str, tuple[AwareDatetime, ...]] = Field(default_factory=dict)


def warm(client: HubClient, items: Sequence[str], progress: Progress) -> Warmth:
    body = {"items": list(items)}
    return client.follow(Warmth, "POST", "/warm", messages(progress), body)


def warm_cache(client: HubClient, progress: Progress = lambda _: None) -> Warmth:
    """Prepare all items; a hub of 0.3.16 fetches their packages, and leaves out those that fail."""
    return client.follow(Warmth, "POST", "/warm-cache", messages(progress))


def set_warm_time(client: HubClient, items: Sequence[str], moment: datetime | None) -> Warmth:
    """Have items prepared before a time; None removes the times of the items."""
    told: dict[str, object] = {"forget": True} if moment is None else {"at": moment.isoformat()}
    return client.read(Warmth, "POST", "/warm", {"items": list(items), **told})


def warm_times(client: HubClient) -> Warmth:
    return client.read(Warmth, "GET", "/warm")
