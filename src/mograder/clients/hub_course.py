"""An instructor's requests to a hub about the course: its users, its items, their visibility.

See compatibility-0.3.16.md 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from pydantic import AwareDatetime

from mograder.clients.hub import HubAnswer, HubClient


@dataclass(frozen=True, slots=True)
class Rule:
    """The visibility of an item to students: all, nothing, or all from a given time on."""

    hidden: bool = False
    visible_from: AwareDatetime | None = None


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
    marks: int = 0


def sync_users(client: HubClient, users: Sequence[str]) -> int:
    """Replace the hub's list of users; return how many are on it.

    Raises:
        MograderError: The hub refused or could not be reached, as for all functions here.
    """
    return client.read(_Count, "POST", "/sync-users", {"users": list(users)}).count


def items(client: HubClient) -> Mapping[str, str]:
    """Return the kind of every published assignment and lecture, by name, in the hub's order."""
    found = client.read(list[_Item], "GET", "/assignments")
    return {item.name: item.type for item in found}


def rules(client: HubClient) -> Mapping[str, Rule]:
    """Return the visibility rules by item, for items that have one."""
    return client.read(dict[str, Rule], "GET", "/visibility")


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
        found = client.read(dict[str, ItemDatesAnswer], "GET", "/dates")
        return found.get(item, ItemDatesAnswer())
    body = {key: None if at is None else at.isoformat() for key, at in changes.items()}
    return client.read(ItemDatesAnswer, "POST", f"/dates/{quote(item, safe='')}", body)


def revoke_token(client: HubClient, username: str) -> bool:
    """End all tokens, sign-ins and open pages of a person; return whether the hub knew the name."""
    return client.read(_Revoked, "POST", f"/revoke-token/{quote(username, safe='')}").known


def _words(rule: Rule) -> dict[str, object]:
    words: dict[str, object] = {"hidden": True} if rule.hidden else {}
    if rule.visible_from is not None:
        words["visible_from"] = rule.visible_from.isoformat()
    return words
