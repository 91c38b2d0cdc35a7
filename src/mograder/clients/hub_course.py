"""An instructor's requests to a hub about the course: its users, its items, their visibility.

See compatibility-0.3.16.md 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter, ValidationError

from mograder.clients.hub import HubClient, no_hub

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """The visibility of an item to students: all, nothing, or all from a given time on."""

    hidden: bool = False
    visible_from: AwareDatetime | None = None


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    type: str


class _Count(BaseModel):
    model_config = ConfigDict(extra="ignore")

    count: int


class _Revoked(BaseModel):
    model_config = ConfigDict(extra="ignore")

    known: bool = True  # earlier hubs do not say


class ItemDatesAnswer(BaseModel):
    """The dates of an item, where they come from, and how many marks changed with them."""

    model_config = ConfigDict(extra="ignore")

    opens: AwareDatetime | None = None
    due: AwareDatetime | None = None
    closes: AwareDatetime | None = None
    due_from: str = ""
    closes_from: str = ""
    marks: int = 0


_DATES = TypeAdapter(ItemDatesAnswer)
_ALL_DATES = TypeAdapter(dict[str, ItemDatesAnswer])
_ITEMS = TypeAdapter(list[_Item])
_RULES = TypeAdapter(dict[str, Rule])
_COUNT = TypeAdapter(_Count)
_REVOKED = TypeAdapter(_Revoked)


def sync_users(client: HubClient, users: Sequence[str]) -> int:
    """Replace the hub's list of users; return how many are on it.

    Raises:
        MograderError: The hub refused or could not be reached, as for all functions here.
    """
    answer = client.ask("POST", "/sync-users", {"users": list(users)})
    return _read(_COUNT, answer, client).count


def items(client: HubClient) -> Mapping[str, str]:
    """Return the kind of every published assignment and lecture, by name, in the hub's order."""
    answer = client.ask("GET", "/assignments")
    return {item.name: item.type for item in _read(_ITEMS, answer, client)}


def rules(client: HubClient) -> Mapping[str, Rule]:
    """Return the visibility rules by item, for items that have one."""
    return _read(_RULES, client.ask("GET", "/visibility"), client)


def set_rules(client: HubClient, changes: Mapping[str, Rule], *, replace: bool = False) -> None:
    """Set rules; with ``replace``, remove all others."""
    body = {"items": {name: _words(rule) for name, rule in changes.items()}, "replace": replace}
    client.ask("POST", "/visibility", body)


def set_dates(
    client: HubClient, item: str, changes: Mapping[str, datetime | None]
) -> ItemDatesAnswer:
    """Set dates of an item, ``opens``, ``due`` or ``closes``; None is as in the hub's settings.

    Without a change it returns the dates in force.
    """
    if not changes:
        answer = client.ask("GET", "/dates")
        return _read(_ALL_DATES, answer, client).get(item, ItemDatesAnswer())
    body = {key: None if at is None else at.isoformat() for key, at in changes.items()}
    answer = client.ask("POST", f"/dates/{quote(item, safe='')}", body)
    return _read(_DATES, answer, client)


def revoke_token(client: HubClient, username: str) -> bool:
    """End all tokens, sign-ins and open pages of a person; return whether the hub knew the name."""
    answer = client.ask("POST", f"/revoke-token/{quote(username, safe='')}")
    return _read(_REVOKED, answer, client).known


def _words(rule: Rule) -> dict[str, object]:
    words: dict[str, object] = {"hidden": True} if rule.hidden else {}
    if rule.visible_from is not None:
        words["visible_from"] = rule.visible_from.isoformat()
    return words


def _read(shape: TypeAdapter[T], answer: bytes, client: HubClient) -> T:
    try:
        return shape.validate_json(answer)
    except ValidationError as error:
        raise no_hub(client.url) from error
