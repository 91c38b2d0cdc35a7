"""An instructor's requests to a hub about updates of copies: preview, offer, undo."""

from __future__ import annotations

from urllib.parse import quote

from mograder.clients.hub import HubAnswer, HubClient, messages
from mograder.core.single_flight import Progress


class UpdateLine(HubAnswer):
    """What an update would do to one copy; ``reason`` is why it cannot be merged, else ""."""

    student: str
    changed: bool
    replaced: int
    added: int
    removed: int
    conflicts: int
    reason: str


class Preview(HubAnswer):
    """A preview; ``state`` is ``done`` if it is complete."""

    state: str
    copies: tuple[UpdateLine, ...]


class UpdatedCopy(HubAnswer):
    """What has become of one copy by the last offer."""

    student: str
    state: str
    conflicts: int
    reason: str


class UpdateStatus(HubAnswer):
    """An item's update on the hub."""

    item: str
    offered: bool
    withdrawn: bool
    preview: Preview | None
    copies: tuple[UpdatedCopy, ...]


class Undone(HubAnswer):
    """What undoing an update did, by student."""

    undone: tuple[str, ...]
    kept: tuple[str, ...]
    waiting: tuple[str, ...]
    failed: dict[str, str]


def preview(client: HubClient, item: str, progress: Progress) -> UpdateStatus:
    """Have the hub compute what an update would do to each copy; nothing is changed.

    Raises:
        MograderError: The hub refused or could not be reached, as for all functions here.
    """
    return client.follow(UpdateStatus, "POST", f"{_path(item)}/preview", messages(progress))


def offer(client: HubClient, item: str) -> UpdateStatus:
    """Offer the published release to all copies of an item."""
    return client.follow(UpdateStatus, "POST", _path(item), lambda _: None)


def undo(client: HubClient, item: str, progress: Progress) -> Undone:
    """Withdraw the last offer; copies that were not edited since get their text back."""
    return client.follow(Undone, "DELETE", _path(item), messages(progress))


def _path(item: str) -> str:
    return f"/updates/{quote(item, safe='')}"
