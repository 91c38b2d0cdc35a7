"""Keeps items warm before students come: their environments, and what sessions are forked from.

An item is due some minutes before it opens, and before times that instructors set. It is warmed
again each minute, so that it is not the one whose process ends when others need one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Request
from pydantic import Field, StrictBool
from starlette.responses import Response

from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.item_dates import SentTime
from mograder.core.log import get_logger
from mograder.core.tasks import Progress, every
from mograder.hub.services import Services
from mograder.notebook.pep723 import Script
from mograder.publishing.warm import Warmth, due, warm_releases
from mograder.store.releases.release_times import Times, VisibilityRules, WarmTimes
from mograder.web.background import Report
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.items import item_name
from mograder.web.hub.core.responses import Body, Done, deliver
from mograder.web.request_body import MEGABYTE, read_json
from mograder.web.route import INSTRUCTOR, JsonBody, Route

_LOOK_SECONDS = 60.0
_log = get_logger(__name__)
_MOST_ITEMS = 1000
_KEPT = timedelta(hours=1)
"""How long a time is shown after it is over."""


class ItemWarmth(Done):
    """The items that were made ready now, the errors of others, and the times that are set."""

    warmed: list[str] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    planned: dict[str, list[str]] = Field(default_factory=dict)


class Warming:
    """The items that are to be warm; ``times`` are those that instructors have set."""

    def __init__(self, services: Services, visibility: VisibilityRules, times: WarmTimes) -> None:
        self._services = services
        self._visibility = visibility
        self.times = times
        self._told: frozenset[str] = frozenset()

    async def warm(self, items: Collection[str], progress: Progress) -> Warmth:
        """Prepare the environments of items now, and the processes that fork their sessions."""
        return await warm_releases(self._services.releases, self._prepare, progress, items)

    async def look(self) -> None:
        lead = timedelta(minutes=self._services.loaded.settings.hub.warm_minutes)
        moments = await asyncio.to_thread(self._moments)
        items = frozenset(due(moments, self._services.clock.now(), lead))
        for item in sorted(items - self._told):
            _log.info("keeping %s warm: students come soon", item)
        self._told = items
        if items:
            await self.warm(items, lambda _: None)

    async def _prepare(self, script: Script, progress: Progress) -> None:
        """Prepare an environment, and warm starts of its sessions also if it was ready before."""
        environments = self._services.environments
        environments.announce(await environments.prepare(script, progress))

    def _moments(self) -> list[tuple[str, datetime]]:
        found = [(item, moment) for item, times in self.times.all().items() for moment in times]
        with contextlib.suppress(MograderError):  # a file that cannot be read hides every item
            for item, rule in self._visibility.all().items():
                if rule.visible_from is not None and not rule.hidden:
                    found.append((item, rule.visible_from))
        return found


def open_warming(hub: HubApp) -> Run:
    services = hub.services
    times = WarmTimes(services.loaded.path(services.loaded.settings.hub.release_dir) / ".warm.json")
    warming = hub.add(Warming(services, hub.visibility, times))
    return partial(every, _LOOK_SECONDS, "items that open soon", warming.look)


class _Wish(Body):
    items: list[str] = Field(min_length=1, max_length=_MOST_ITEMS)
    at: SentTime | None = None
    forget: StrictBool = False


def planned(app: CurrentApp) -> ItemWarmth:
    """Return the times for which items are to be warm, besides those at which they open."""
    past, times = app.services.clock.now() - _KEPT, app.of(Warming).times.all()
    shown = {name: tuple(at for at in moments if at >= past) for name, moments in times.items()}
    return ItemWarmth(planned=_words({name: each for name, each in shown.items() if each}))


async def warm(
    request: Annotated[Request, JsonBody(_Wish)], app: CurrentApp
) -> Annotated[Response, ItemWarmth]:
    """Prepare items now, or before ``at``; with ``forget`` remove the times that were set."""
    wish = await read_json(request, _Wish, MEGABYTE)
    if wish.at is not None and wish.forget:
        raise InvalidInput("Give a time, or have the times removed; not both.")
    if wish.at is not None and wish.at < app.services.clock.now() - _KEPT:
        raise InvalidInput("That time is over.", hint="Look at its year and its time zone.")
    names = [str(item_name(name)) for name in wish.items]
    if not wish.forget:
        releases = await to_thread.run_sync(app.services.releases.all)
        known = {str(release.name) for release in releases}
        if unknown := [name for name in names if name not in known]:
            raise NotFound(f"There is no such item on this hub: {', '.join(unknown[:5])}")

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
        await app.audit.record(request, action, ", ".join(names))
        return answer

    return await deliver(request, job, "/course/items")


def _words(times: Times) -> dict[str, list[str]]:
    return {name: [each.isoformat() for each in moments] for name, moments in times.items()}


ROUTES = (
    Route("GET", "/warm", planned, INSTRUCTOR, "Items"),
    Route("POST", "/warm", warm, INSTRUCTOR, "Items"),
)
