"""The machines that run sessions: the instructors' page, its changes, and news for other pages.

A change is written to the database, and the hub that is connected to the node acts on it. Two small
queries every two seconds answer all pages and the metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.clock import Clock
from mograder.core.errors import NotFound
from mograder.core.log import get_logger
from mograder.core.tasks import every
from mograder.hub.notifier import Notifier, Part
from mograder.operations.machines import Machine, MachineState, NodesView, total
from mograder.store.hub.nodes import Nodes
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.responses import Body, Done, UnixTime, tell
from mograder.web.pages import page, with_outcome
from mograder.web.route import INSTRUCTOR, Route

PAGE = "/course/machines"


_LOOK_SECONDS = 2.0
_SAME = timedelta(seconds=30)
"""Two ends of a machine that differ by less are taken to be one, so that pages need no news."""
_REMINDER_SECONDS = 60.0
"""The pause between two reminders of pages that tell how many minutes are left."""
_log = get_logger(__name__)


class NodeEntry(Body):
    """A node: ``memory`` is what its sessions may use, ``used`` what they use, in bytes.

    ``load`` is its load average. ``seen`` is when it was last connected, null for never; ``ends``
    is when a draining node begins to end the sessions that are left, null if it waits for them.
    Both are Unix times. ``warm`` of its ``environments`` start sessions warm.
    """

    name: str
    state: Literal["ready", "draining", "away", "new", "removed"]
    version: str
    memory: int
    used: int
    processors: int
    load: float
    sessions: int
    runs: int
    environments: int
    warm: int
    seen: UnixTime | None
    ends: UnixTime | None


class NodeChanged(Done):
    """The node is drained, or no longer, or removed: the hub that it is connected to acts on it."""

    name: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """A machine that will be shut down, when, and whether another one takes the notebook now."""

    ends: datetime | None
    elsewhere: bool

    def seconds(self, now: datetime) -> int | None:
        return None if self.ends is None else max(0, int((self.ends - now).total_seconds()))

    def minutes(self, now: datetime) -> int | None:
        seconds = self.seconds(now)
        return None if seconds is None else seconds // 60


class MachineWatch:
    """The machines as they were at the last look.

    Mutable state: ``_seen``, the machines by name, replaced as a whole; ``_told``, those that pages
    were notified of last, and ``_reminded``, when they were reminded, for one loop.
    """

    def __init__(self, view: NodesView, clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._seen: Mapping[str, Machine] = {}
        self._told: Mapping[str, Machine] = {}
        self._reminded = clock.steady()

    def all(self) -> list[Machine]:
        return list(self._seen.values())

    def leaving(self, name: str) -> Leaving | None:
        machine = self._seen.get(name)
        if machine is None or machine.state is not MachineState.DRAINING:
            return None
        return Leaving(machine.ends, elsewhere=_any_ready(self._seen))

    def look(self) -> list[Machine]:
        """Read the database and return all machines, by name; blocks."""
        read, before = self._view.read(self._clock.now()), self._seen
        self._seen = {each.name: _steady(each, before.get(each.name)) for each in read}
        return list(self._seen.values())

    def changed(self) -> frozenset[str]:
        """Return the machines that changed since last asked, once a minute all draining; blocks."""
        before, found = self._told, {each.name: each for each in self.look()}
        names = before.keys() | found.keys()
        changed = {each for each in names if _gist(before, each) != _gist(found, each)}
        remind = self._clock.steady() - self._reminded >= _REMINDER_SECONDS
        if remind or _any_ready(before) != _any_ready(found):  # "Move now" is offered only then
            changed |= {k for k, m in found.items() if m.state is MachineState.DRAINING}
        if remind:
            self._reminded = self._clock.steady()
        self._told = found
        return frozenset(changed)

    async def tell(self, notifier: Notifier, users_on: Callable[[str], Iterable[str]]) -> None:
        """Look, and notify the pages; ``users_on`` returns the users on a machine."""
        changed = await asyncio.to_thread(self.changed)
        for user in {each for name in changed for each in users_on(name)}:
            notifier.notify(user, Part.SESSIONS)
        if changed:
            notifier.notify_instructors(Part.MACHINES)


def _steady(machine: Machine, before: Machine | None) -> Machine:
    """Return a machine with the end that it had before, if that is nearly the same."""
    if before is None or before.ends is None or machine.ends is None:
        return machine
    close = abs(before.ends - machine.ends) < _SAME
    return replace(machine, ends=before.ends) if close else machine


def _any_ready(machines: Mapping[str, Machine]) -> bool:
    return any(each.state is MachineState.READY for each in machines.values())


def _gist(machines: Mapping[str, Machine], name: str) -> object:
    """Return what students are told of a machine, and instructors at once."""
    found = machines.get(name)
    return found and (found.state, found.ends)


def open_machines(hub: HubApp) -> Run:
    services = hub.services
    seconds = services.loaded.settings.nodes.lease_seconds
    watch = hub.add(MachineWatch(NodesView(Nodes(services.state.engine), seconds), services.clock))
    hub.metrics.machines = watch.all

    def users_on(node: str) -> list[str]:
        return [live.key.user for live in services.pool.all() if live.endpoint.node == node]

    tell = partial(watch.tell, hub.notifier, users_on)
    return partial(every, _LOOK_SECONDS, "the machines", tell)


async def machines_page(request: Request, app: CurrentApp) -> Response:
    machines = await to_thread.run_sync(app.of(MachineWatch).look)
    return page(
        request,
        "machines.html",
        here="machines",
        machines=machines,
        total=total(machines),
        now=app.services.clock.now(),
        states=app.services.pool.states(),
    )


def list_nodes(app: CurrentApp) -> list[NodeEntry]:
    """List the nodes that have a token, with their load, by name."""
    found = app.of(MachineWatch).look()
    return [NodeEntry.model_validate(each, from_attributes=True) for each in found]


async def drain(name: str, request: Request, app: CurrentApp) -> Annotated[Response, NodeChanged]:
    """Give a node no new sessions; students on it are told, and idle sessions end."""
    return await _change(request, app, name, "drain", partial(Nodes.drain, draining=True))


async def undrain(name: str, request: Request, app: CurrentApp) -> Annotated[Response, NodeChanged]:
    """Give a node new sessions again."""
    return await _change(request, app, name, "undrain", partial(Nodes.drain, draining=False))


async def remove(name: str, request: Request, app: CurrentApp) -> Annotated[Response, NodeChanged]:
    """Refuse a node from now on; the sessions that it still runs end within its lease."""
    return await _change(request, app, name, "remove", Nodes.remove)


async def _change(
    request: Request, app: HubApp, name: str, action: str, change: Callable[[Nodes, str], bool]
) -> Response:
    machines = app.of(MachineWatch)

    def act() -> bool:
        known = any(each.name == name for each in machines.look())
        return known and change(Nodes(app.services.state.engine), name)

    if not await to_thread.run_sync(act):
        raise NotFound("There is no such node.", hint="Reload the page of the machines.")
    await app.audit.record(request, f"{action} node", name)
    app.notifier.notify_instructors(Part.MACHINES)
    return tell(request, NodeChanged(name=name), with_outcome(PAGE, f"{action}-node", name))


ROUTES = (
    Route("GET", "/course/machines", machines_page, INSTRUCTOR),
    Route("GET", "/nodes", list_nodes, INSTRUCTOR, "Nodes"),
    Route("POST", "/nodes/{name}/drain", drain, INSTRUCTOR, "Nodes"),
    Route("POST", "/nodes/{name}/undrain", undrain, INSTRUCTOR, "Nodes"),
    Route("POST", "/nodes/{name}/remove", remove, INSTRUCTOR, "Nodes"),
)
