"""The page by which people install the student's commands from the hub, and the wheel it names."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import NotFound
from mograder.store.client_wheel import ClientWheels
from mograder.web.client_install import UV_LINES, ClientInstall, client_install, send_wheel
from mograder.web.context import request_context
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.pages import page as show_page
from mograder.web.route import ANYONE, Route


async def page(request: Request, app: CurrentApp) -> Response:
    return show_page(
        request, "client.html", install=await lines_for(request, app), uv_lines=UV_LINES
    )


async def send(request: Request, app: CurrentApp, digest: str, name: str) -> Response:
    return await send_wheel(request, app.of(ClientWheels), digest, name)


async def lines_for(request: Request, app: HubApp) -> ClientInstall:
    """Raise :class:`~mograder.core.errors.NotFound` where no wheel can be made."""
    wheel = await to_thread.run_sync(app.of(ClientWheels).current)
    loaded = app.services.loaded
    server = "" if loaded.on_moodle else loaded.settings.https.url
    return client_install(wheel, request_context(request).address_here, loaded.settings, server)


async def lines_if_any(request: Request, app: HubApp) -> ClientInstall | None:
    try:
        return await lines_for(request, app)
    except NotFound:
        return None


def open_client(hub: HubApp) -> None:
    hub.add(ClientWheels(hub.services.loaded.course_dir))


ROUTES = (
    Route("GET", "/client", page, ANYONE),
    Route("GET", "/client/{digest}/{name}", send, ANYONE),
)
