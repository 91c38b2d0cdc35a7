"""The dates of items and their visibility, as instructors set them, in the browser or by a command.

The due date and the end of submissions are kept in the gradebook, where extensions are, and marks
follow them; the opening is a rule of visibility (B35-B44, compatibility-0.3.16.md 2.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal
from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from pydantic import (
    AwareDatetime,
    Field,
    RootModel,
    SerializerFunctionWrapHandler,
    StrictBool,
    model_serializer,
)
from starlette.responses import Response

from mograder.core.clock import within_reach
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.item_dates import ItemDates, SentTime, Visibility, read_opening
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.grading.course_late import CourseLate, Preview
from mograder.grading.late_changes import demand_known
from mograder.publishing.schedule import zone_of_form
from mograder.store.gradebook.grading_records import utc_iso
from mograder.store.gradebook.late_work import LateWork, PolicyChange
from mograder.store.releases.releases import ItemKind
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import item_name, item_page
from mograder.web.hub.core.responses import Body, tell
from mograder.web.marking.extension_pages import show_preview, typed_dates
from mograder.web.pages import go_to, with_outcome
from mograder.web.request_body import MEGABYTE, is_form, read_form, read_json
from mograder.web.route import INSTRUCTOR, JsonBody, Route

_MOST_ITEMS = 5000
_log = get_logger(__name__)


class VisibilityEntry(Body):
    """Whether students see an item: never while ``hidden``, else from a time on."""

    hidden: StrictBool = False
    visible_from: str | None = None

    @model_serializer(mode="wrap")
    def _as_0316_writes_it(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out fields that are not set, as in 0.3.16's file."""
        return {name: value for name, value in serialize(self).items() if value}


class Rules(RootModel[dict[str, VisibilityEntry]]):
    """The rules that are set, by item."""


class DatesEntry(Body):
    """The dates of an item; null for each that it does not have, and where they come from.

    ``opens_from`` is not empty for an item that an instructor shows now although it opens later.
    """

    opens: AwareDatetime | None = None
    due: AwareDatetime | None = None
    closes: AwareDatetime | None = None
    due_from: str = ""
    closes_from: str = ""
    opens_from: str = ""


class DatesSet(DatesEntry):
    """The dates of an item after a change; ``marks`` is how many marks changed with them."""

    status: Literal["ok"] = "ok"
    marks: int = 0


class _Given(Body):
    """The dates of a request: one that is missing stays, null is as in the settings."""

    opens: SentTime | None = None
    due: SentTime | None = None
    closes: SentTime | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    """The change of an item's dates: what the gradebook records, and the rule of visibility.

    The rule is to be in place of ``held``.
    """

    name: ItemName
    change: PolicyChange | None
    rule: Visibility | None
    held: Visibility
    version: str
    """That of the gradebook's dates from which the change was made, or of the preview."""


def list_dates(app: CurrentApp) -> dict[str, DatesEntry]:
    """Return the dates of every published item, and where they come from."""
    return {each.name: dates_of(app, each.name) for each in app.services.releases.all()}


async def set_dates(
    name: str, request: Annotated[Request, JsonBody(_Given)], app: CurrentApp, caller: Caller
) -> Annotated[Response, DatesSet]:
    """Set the dates of an item; a form that changes marks is answered by a preview first.

    The form's fields: ``opens``, ``due``, ``closes``, each also with ``-shown``: what it showed;
    ``timezone``, and ``version`` of a preview.
    """
    item = item_name(name)
    if not is_form(request):
        given = await read_json(request, _Given, MEGABYTE)
        wanted = await to_thread.run_sync(_change, app, item, given)
        return tell(request, await _record(request, app, caller, wanted), item_page(item))
    fields = await read_form(request)

    def typed() -> _Change:
        shown = dates_of(app, item)
        dates = {key: getattr(shown, key) for key in _Given.model_fields}
        return _change(app, item, _Given(**typed_dates(item, fields, dates)))

    wanted = await to_thread.run_sync(typed)
    if wanted.change is not None and "version" not in fields:
        found = await to_thread.run_sync(_preview, app, wanted.change)
        if found.differing:
            ways = item_page(item), f"/dates/{quote(item, safe='')}"
            return await show_preview(request, app.marking, item, [wanted.change], fields, *ways)
    wanted = replace(wanted, version=fields.get("version", wanted.version))
    await _record(request, app, caller, wanted)
    return go_to(request, with_outcome(item_page(item), "dates", item))


def dates_of(app: HubApp, name: str) -> DatesEntry:
    """Return the dates of an item, and where they come from; reads files."""
    found, rule = app.dates.of(name), app.visibility.of(name)
    opens_from = found.opens_from
    if rule.visible_from != found.opens:
        hides = rule.hidden and rule.visible_from is None
        opens_from = "" if hides else "set by an instructor"
    return DatesEntry(
        opens=rule.visible_from and rule.visible_from.astimezone(UTC),
        due=found.general,
        closes=found.closes,
        due_from=found.due_from,
        closes_from=found.closes_from,
        opens_from=opens_from,
    )


def keep_told(app: HubApp, item: ItemName, told: ItemDates, by: str) -> bool:
    """Store a learning platform's dates, if that can be done; return whether they are others."""
    try:
        late = LateWork(app.marking.book())
        facts = late.facts()
        if facts.policy(item).told == told:
            return False
        told.demand_order(item)
        now = app.services.clock.now()
        late.record([facts.with_told(item, told)], by=by, at=now, version=facts.version)
    except MograderError as error:  # the next launch tells them again
        _log.warning("a learning platform's dates were not taken: %s", error.message)
        return False
    return True


def dates_in_words(item: str, dates: ItemDates | DatesEntry) -> str:
    told = ((key, getattr(dates, key)) for key in _Given.model_fields)
    return f"{item}: " + ", ".join(f"{key} {utc_iso(at) if at else 'unset'}" for key, at in told)


def _change(app: HubApp, item: ItemName, given: _Given) -> _Change:
    """Return the change that a request asks for.

    Raises: NotFound for an item that the course does not have and that no rule announces,
    InvalidInput for an impossible order, and due dates of an item without submissions.
    """
    release = app.services.releases.get(item)
    if release is None and item not in app.visibility.all():
        demand_known(app.services.loaded, app.marking.book(), item)
    if release and release.kind is not ItemKind.ASSIGNMENT and (given.due or given.closes):
        text = f"{item} is a {release.kind}, which has no due date"
        raise InvalidInput(f"{text}; --opens sets when students see it.")
    facts = LateWork(app.marking.book()).facts()
    asked = given.model_fields_set
    dates = {key: getattr(given, key) for key in asked - {"opens"}}
    held = app.visibility.of(item)
    rule = _rule(app, item, given.opens, held) if "opens" in asked else None
    opens, late = (rule or held).visible_from, CourseLate(app.services.loaded)
    change = late.dates_change(facts, item, dates, opens)
    changed = change.policy != facts.policy(item)
    return _Change(item, change if changed else None, rule, held, facts.version)


def _rule(
    app: HubApp, item: ItemName, opens: datetime | None, held: Visibility
) -> Visibility | None:
    """Return the rule for an opening, None if that changes nothing; what is hidden stays hidden."""
    if opens is not None:
        return None if opens == held.visible_from else Visibility(visible_from=opens)
    rule = Visibility(hidden=True) if held.hidden else app.visibility.usual(item)
    return None if rule == held else rule


def _preview(app: HubApp, change: PolicyChange) -> Preview:
    return CourseLate(app.services.loaded).preview(app.marking.book(), [change])


async def _record(request: Request, app: HubApp, caller: Caller, wanted: _Change) -> DatesSet:
    dates = await to_thread.run_sync(_write, app, wanted, caller.username)
    await app.marking.record(request, "set dates", dates_in_words(wanted.name, dates))
    app.notifier.notify_all()
    return dates


def _write(app: HubApp, wanted: _Change, by: str) -> DatesSet:
    """Record a change, the rule only with the dates."""
    marks = 0

    def set_rule() -> None:
        if wanted.rule is not None:
            app.visibility.change({wanted.name: wanted.rule}, held={wanted.name: wanted.held})

    if wanted.change is None:
        set_rule()
    else:
        marks = len(_preview(app, wanted.change).differing)
        work, now = LateWork(app.marking.book()), app.services.clock.now()
        work.record([wanted.change], by=by, at=now, version=wanted.version, also=set_rule)
    return DatesSet(**dates_of(app, wanted.name).model_dump(), marks=marks)


class _Rules(Body):
    items: dict[str, VisibilityEntry] = Field(default={})
    replace: StrictBool = False


def visibility(app: CurrentApp) -> dict[str, VisibilityEntry]:
    """Return every visibility rule, by item; an item without a rule is visible."""
    return _entries(app.visibility.all())


async def set_visibility(
    request: Annotated[Request, JsonBody(_Rules)], app: CurrentApp
) -> Annotated[Response, Rules]:
    """Hide items, show them, or show them from a time on; an empty rule shows."""
    if is_form(request):
        rules = _form_rules(await read_form(request))
    else:
        rules = await read_json(request, _Rules, MEGABYTE)
    if len(rules.items) > _MOST_ITEMS:
        raise InvalidInput(f"A course may have at most {_MOST_ITEMS} items.")
    changes = {_item(name): _visibility(name, rule) for name, rule in rules.items.items()}
    change = partial(app.visibility.change, changes, replace=rules.replace)
    kept, names = await to_thread.run_sync(change), ", ".join(sorted(changes))
    what = names + (" (all others removed)" if rules.replace else "")
    await app.audit.record(request, "set visibility", what)
    app.notifier.notify_all()
    done = with_outcome("/course/items", "visibility", names)
    return tell(request, Rules(root=_entries(kept)), done)


def _item(name: str) -> str:
    try:
        return ItemName.parse(name)
    except InvalidInput as error:
        raise InvalidInput(f"Invalid name: {name[:100]}") from error


def _visibility(name: str, rule: VisibilityEntry) -> Visibility:
    if rule.visible_from is None:
        return Visibility(rule.hidden)
    try:
        moment = datetime.fromisoformat(rule.visible_from)
    except ValueError as error:
        raise InvalidInput(f"Bad datetime for {name}") from error
    if not within_reach(moment):
        raise InvalidInput(f"Bad datetime for {name}")
    if moment.utcoffset() is None:
        raise InvalidInput(f"visible_from for {name} needs a UTC offset")
    return Visibility(rule.hidden, moment)


def _form_rules(fields: Mapping[str, str]) -> _Rules:
    """Read the fields ``name``, ``state`` (show, hide or from), ``visible_from``, ``timezone``."""
    name, state = fields.get("name", ""), fields.get("state", "")
    if state == "from":
        moment = read_opening(fields.get("visible_from", ""), zone_of_form(fields))
        return _Rules(items={name: VisibilityEntry(visible_from=moment.isoformat())})
    if state not in ("show", "hide"):
        raise InvalidInput("Choose whether to show the item, to hide it, or from when to show it.")
    return _Rules(items={name: VisibilityEntry(hidden=state == "hide")})


def _entries(rules: Mapping[str, Visibility]) -> dict[str, VisibilityEntry]:
    return {n: VisibilityEntry.model_validate(rule.words()) for n, rule in sorted(rules.items())}


ROUTES = (
    Route("GET", "/visibility", visibility, INSTRUCTOR, "Course"),
    Route("POST", "/visibility", set_visibility, INSTRUCTOR, "Course"),
    Route("GET", "/dates", list_dates, INSTRUCTOR, "Course"),
    Route("POST", "/dates/{name}", set_dates, INSTRUCTOR, "Course"),
)
