"""The machines that run sessions: the instructors' page, and its changes, also for programs.

Only hubs with ``[nodes] enabled`` have these routes. A change is written to the database, and the
hub that is connected to the node acts on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import NotFound
from mograder.operations.machines import total
from mograder.store.hub.nodes import Nodes
from mograder.web.background import Report
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.models import NodeChanged, NodeEntry
from mograder.web.hub.core.notifier import Part
from mograder.web.hub.core.responses import deliver
from mograder.web.hub.machines.machine_watch import MachineWatch
from mograder.web.pages import outcome, page, with_outcome

PAGE = "/course/machines"


async def machines_page(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the machines with their load, and offer to drain and to remove them."""
    machines = await to_thread.run_sync(app.of(MachineWatch).look)
    done, name = outcome(request)
    return page(
        request,
        "machines.html",
        here="machines",
        machines=machines,
        total=total(machines),
        now=app.services.clock.now(),
        states=app.services.pool.states(),
        done=done,
        done_item=name,
    )


async def list_nodes(app: CurrentApp, caller: Caller) -> list[NodeEntry]:
    """List the nodes that have a token, with their load, by name."""
    found = await to_thread.run_sync(app.of(MachineWatch).look)
    return [NodeEntry.model_validate(each, from_attributes=True) for each in found]


async def drain(
    name: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, NodeChanged]:
    """Give a node no new sessions; students on it are told, and idle sessions end."""
    return await _change(request, app, caller, name, "drain", partial(Nodes.drain, draining=True))


async def undrain(
    name: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, NodeChanged]:
    """Give a node new sessions again."""
    return await _change(
        request, app, caller, name, "undrain", partial(Nodes.drain, draining=False)
    )


async def remove(
    name: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, NodeChanged]:
    """Refuse a node from now on; the sessions that it still runs end within its lease."""
    return await _change(request, app, caller, name, "remove", Nodes.remove)


async def _change(
    request: Request,
    app: HubApp,
    caller: Caller,
    name: str,
    action: str,
    change: Callable[[Nodes, str], bool],
) -> Response:
    machines = app.of(MachineWatch)

    def act() -> bool:
        known = any(each.name == name for each in machines.look())
        return known and change(Nodes(app.services.state.engine), name)

    async def job(_: Report) -> NodeChanged:
        if not await to_thread.run_sync(act):
            raise NotFound("There is no such node.", hint="Reload the page of the machines.")
        await app.audit.record(request, caller, f"{action} node", name)
        app.notifier.notify_instructors(Part.MACHINES)
        return NodeChanged(name=name)

    return await deliver(request, job, lambda _: with_outcome(PAGE, f"{action}-node", name))
