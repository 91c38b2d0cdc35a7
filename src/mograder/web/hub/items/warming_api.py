"""Warming of items before students come, by instructors: now, or before a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from anyio import to_thread
from fastapi import Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool
from starlette.responses import Response

from mograder.core.errors import InvalidInput, NotFound
from mograder.store.releases.warm_times import Times
from mograder.web.background import Report
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import item_name
from mograder.web.hub.core.models import ItemWarmth
from mograder.web.hub.core.responses import deliver
from mograder.web.hub.items.warming import Warming
from mograder.web.request_body import MEGABYTE, read_json
from mograder.web.route import JsonBody

_MOST_ITEMS = 1000
_KEPT = timedelta(hours=1)
"""How long a time is shown after it is over."""


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: list[str] = Field(min_length=1, max_length=_MOST_ITEMS)
    at: AwareDatetime | None = None
    forget: StrictBool = False


async def planned(app: CurrentApp, caller: Caller) -> ItemWarmth:
    """Return the times for which items are to be warm, besides those at which they open."""
    return ItemWarmth(planned=_words(await to_thread.run_sync(app.of(Warming).times.all)))


async def warm(
    request: Annotated[Request, JsonBody(_Wish)], app: CurrentApp, caller: Caller
) -> Annotated[Response, ItemWarmth]:
    """Prepare items now, or before ``at``; with ``forget`` remove the times that were set."""
    wish = await read_json(request, _Wish, MEGABYTE)
    if wish.at is not None and wish.forget:
        raise InvalidInput("Give a time, or have the times removed; not both.")
    names = [str(item_name(name)) for name in wish.items]
    if not wish.forget:
        await to_thread.run_sync(_demand, app, names)

    async def job(report: Report) -> ItemWarmth:
        times, past = app.of(Warming).times, app.services.clock.now() - _KEPT
        if wish.forget:
            left = await to_thread.run_sync(times.remove, names, past)
            answer, action = ItemWarmth(planned=_words(left)), "warm no more"
        elif wish.at is not None:
            left = await to_thread.run_sync(times.add, names, wish.at, past)
            answer, action = ItemWarmth(planned=_words(left)), f"warm for {wish.at:%F %R %Z}"
        else:
            done = await app.of(Warming).warm(names, report)
            answer = ItemWarmth(warmed=list(done.ready), failed=dict(done.failed))
            action = "warm"
        await app.audit.record(request, caller, action, ", ".join(names))
        return answer

    return await deliver(request, job, lambda _: "/course/items")


def _demand(app: HubApp, names: list[str]) -> None:
    known = {str(release.name) for release in app.services.releases.all()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NotFound(f"There is no such item on this hub: {', '.join(unknown[:5])}")


def _words(times: Times) -> dict[str, list[str]]:
    return {name: [each.isoformat() for each in moments] for name, moments in times.items()}
