"""An instructor's requests to a hub about updates of copies: preview, offer, undo."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.hub import HubClient, messages, no_hub
from mograder.core.single_flight import Progress

M = TypeVar("M", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class UpdateLine(_Answer):
    """What an update would do to one copy; ``reason`` is why it cannot be merged, else ""."""

    student: str
    changed: bool
    replaced: int
    added: int
    removed: int
    conflicts: int
    reason: str


class Preview(_Answer):
    """A preview; ``state`` is ``done`` if it is complete."""

    state: str
    copies: tuple[UpdateLine, ...]


class UpdatedCopy(_Answer):
    """What has become of one copy by the last offer."""

    student: str
    state: str
    conflicts: int
    reason: str


class UpdateStatus(_Answer):
    """An item's update on the hub."""

    item: str
    offered: bool
    withdrawn: bool
    preview: Preview | None
    copies: tuple[UpdatedCopy, ...]


class Undone(_Answer):
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
    return _read(
        UpdateStatus, client.follow("POST", f"{_path(item)}/preview", messages(progress)), client
    )


def status(client: HubClient, item: str) -> UpdateStatus:
    """Return the state of an item's update."""
    return _read(UpdateStatus, client.follow("GET", _path(item), lambda _: None), client)


def offer(client: HubClient, item: str) -> UpdateStatus:
    """Offer the published release to all copies of an item."""
    return _read(UpdateStatus, client.follow("POST", _path(item), lambda _: None), client)


def undo(client: HubClient, item: str, progress: Progress) -> Undone:
    """Withdraw the last offer; copies that were not edited since get their text back."""
    return _read(Undone, client.follow("DELETE", _path(item), messages(progress)), client)


def _path(item: str) -> str:
    return f"/updates/{quote(item, safe='')}"


def _read(shape: type[M], answer: dict[str, object], client: HubClient) -> M:
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        raise no_hub(client.url) from error
