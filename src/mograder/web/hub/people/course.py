"""Instructors' settings for the whole course: its people, visibility of items, revoked tokens.

B35-B44, compatibility-0.3.16.md 2.3. Each change is in the audit log before it is answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from starlette.responses import Response

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.names import ItemName, Username
from mograder.operations.accounts import is_recorded
from mograder.store.releases.visibility import Visibility
from mograder.web.background import Report
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.models import AuditEntry, Revoked, Rules, Synced, VisibilityEntry
from mograder.web.hub.core.responses import deliver
from mograder.web.hub.people.roster_watch import end_removed
from mograder.web.pages import with_outcome
from mograder.web.request_body import MEGABYTE, is_form, read_form, read_json
from mograder.web.route import JsonBody

_MOST_USERS = 50_000
_MOST_ITEMS = 5000
_LONG_FORM = 4 * MEGABYTE


class _Users(BaseModel):
    model_config = ConfigDict(extra="ignore")

    users: object = Field(None, json_schema_extra={"type": "array", "items": {"type": "string"}})


class RuleAsked(BaseModel):
    """A rule of visibility as it is sent."""

    model_config = ConfigDict(extra="forbid")

    hidden: StrictBool = False
    visible_from: str | None = None


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: dict[str, RuleAsked] = {}
    replace: StrictBool = False


async def sync_users(
    request: Annotated[Request, JsonBody(_Users)], app: CurrentApp, caller: Caller
) -> Annotated[Response, Synced]:
    """Replace the list of enrolled users; a removed user loses access at once."""
    if is_form(request):
        fields = await read_form(request, _LONG_FORM)
        await _demand_unchanged(app, fields.get("stamp"))
        users = fields.get("users", "").splitlines()
    else:
        users = _texts((await read_json(request, _Users, _LONG_FORM)).users)
    if len(users) > _MOST_USERS:
        raise InvalidInput(f"A course may have at most {_MOST_USERS} users.")

    async def job(report: Report) -> Synced:
        listed = await to_thread.run_sync(app.services.roster.replace, users)
        await app.audit.record(request, caller, "sync users", f"{len(listed)} users")
        report("Closing the notebooks of those who are not on the list")
        await end_removed(app)
        app.notifier.notify_all()
        return Synced(count=len(listed))

    return await deliver(request, job, lambda _: with_outcome("/course/people", "people"))


async def visibility(app: CurrentApp, caller: Caller) -> dict[str, VisibilityEntry]:
    """Return every visibility rule, by item; an item without a rule is visible."""
    return _entries(await to_thread.run_sync(app.visibility.all))


async def set_visibility(
    request: Annotated[Request, JsonBody(_Rules)], app: CurrentApp, caller: Caller
) -> Annotated[Response, Rules]:
    """Hide items, show them, or show them from a time on; an empty rule shows."""
    if is_form(request):
        rules = _form_rules(await read_form(request))
    else:
        rules = await read_json(request, _Rules, MEGABYTE)
    changes = _visibilities(rules.items)

    async def job(_: Report) -> Rules:
        def change() -> Mapping[str, Visibility]:
            return app.visibility.change(changes, replace=rules.replace)

        kept = await to_thread.run_sync(change)
        what = ", ".join(sorted(changes)) + (" (all others removed)" if rules.replace else "")
        await app.audit.record(request, caller, "set visibility", what)
        app.notifier.notify_all()
        return Rules(root=_entries(kept))

    done = with_outcome("/course/items", "visibility", ", ".join(sorted(changes)))
    return await deliver(request, job, lambda _: done)


async def revoke_token(
    user: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Revoked]:
    """End all tokens, logins and open pages of a person; new tokens can be made."""
    name, services = Username.of_account(user), app.services

    async def job(_: Report) -> Revoked:
        known = await to_thread.run_sync(is_recorded, services.loaded, services.state, name)
        epoch = await to_thread.run_sync(services.revocations.bump_epoch, name)
        await to_thread.run_sync(services.capabilities.revoke_user, name)
        await app.audit.record(request, caller, "revoke token", name)
        return Revoked(epoch=epoch, known=known)

    done = with_outcome(f"/course/students/{quote(name, safe='')}", "revoked", name)
    return await deliver(request, job, lambda _: done)


async def audit_log(
    app: CurrentApp, caller: Caller, limit: int = 100, before: int | None = None
) -> list[AuditEntry]:
    """Return the entries of the audit log, the newest first; ``before`` is an entry's number."""
    if not 1 <= limit <= 1000 or (before is not None and not 1 <= before < 2**31):
        raise InvalidInput("Ask for 1 to 1000 lines, before the number of one.")

    def read() -> list[AuditEntry]:
        rows = app.services.state.recent_audit(limit, before=before)
        return [AuditEntry.model_validate(row, from_attributes=True) for row in rows]

    return await to_thread.run_sync(read)


async def _demand_unchanged(app: HubApp, stamp: str | None) -> None:
    """Refuse a page's list if the roster was changed since the page was opened.

    Raises: Conflict.
    """
    if stamp is not None and stamp != str(await to_thread.run_sync(app.services.roster.stamp)):
        raise Conflict(
            "The list was changed since you opened it, so nothing was saved.",
            hint="Go back, keep a copy of your lines, and reload the page.",
        )


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidInput("'users' must be a list")
    return [str(each) for each in value]


def _visibilities(rules: Mapping[str, RuleAsked]) -> dict[str, Visibility]:
    if len(rules) > _MOST_ITEMS:
        raise InvalidInput(f"A course may have at most {_MOST_ITEMS} items.")
    return {_item(name): _visibility(name, rule) for name, rule in rules.items()}


def _item(name: str) -> str:
    try:
        return ItemName.parse(name)
    except InvalidInput as error:
        raise InvalidInput(f"Invalid name: {name[:100]}") from error


def _visibility(name: str, rule: RuleAsked) -> Visibility:
    if rule.visible_from is None:
        return Visibility(rule.hidden)
    try:
        moment = datetime.fromisoformat(rule.visible_from)
    except ValueError as error:
        raise InvalidInput(f"Bad datetime for {name}") from error
    if moment.utcoffset() is None:
        raise InvalidInput(f"visible_from for {name} needs a UTC offset")
    return Visibility(rule.hidden, moment)


def _form_rules(fields: Mapping[str, str]) -> _Rules:
    """Return the rules of a form.

    Its fields: ``name``, ``state`` (show, hide or from), ``visible_from``, ``timezone``.
    """
    name, state = fields.get("name", ""), fields.get("state", "")
    if state == "from":
        moment = _local(fields.get("visible_from", ""), fields.get("timezone") or "UTC")
        return _Rules(items={name: RuleAsked(visible_from=moment)})
    if state not in ("show", "hide"):
        raise InvalidInput("Choose whether to show the item, to hide it, or from when to show it.")
    return _Rules(items={name: RuleAsked(hidden=state == "hide")})


def _local(text: str, zone: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).isoformat()
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError) as error:
        raise InvalidInput(
            "This is no date and time.", hint="Write it as 2026-10-05T09:00."
        ) from error


def _entries(rules: Mapping[str, Visibility]) -> dict[str, VisibilityEntry]:
    return {name: _entry(rule) for name, rule in sorted(rules.items())}


def _entry(rule: Visibility) -> VisibilityEntry:
    moment = rule.visible_from
    return VisibilityEntry(hidden=rule.hidden, visible_from=moment.isoformat() if moment else None)
